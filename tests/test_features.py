"""Features: nothing after the origin moves them, and a few recomputed by hand."""

import numpy as np
import pytest

from shelfcast.data.feature_rows import FeatureRows
from shelfcast.data.features import Features
from shop import rewritten_after

ORIGIN = 19_723 + 90
LEAD, SPAN = np.array([0, 3, 9]), np.array([1, 1, 7])


def rows_at(features, panel, origin):
    series = np.arange(panel.n_series)
    return FeatureRows(features, panel).grid(series, np.full(len(series), origin), LEAD, SPAN)


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_after_the_origin_moves_a_feature(shop_panel, seed):
    features = Features.learn(shop_panel.as_of(ORIGIN))
    said = rows_at(features, shop_panel, ORIGIN)
    for other in (shop_panel.as_of(ORIGIN), rewritten_after(shop_panel, ORIGIN, seed)):
        for one, same in zip(said, rows_at(features, other, ORIGIN), strict=True):
            np.testing.assert_array_equal(one, same)


def test_histories_of_groups_are_those_of_the_origin_too(shop_panel):
    """Growth of groups at an origin is nearly the same if learned on more (offsets of scales may differ)."""
    short, long = Features.learn(shop_panel.as_of(ORIGIN)), Features.learn(shop_panel)
    kept = [i for i, name in enumerate(short.names) if name in long.names and not name.endswith(" rank")]
    one, other = rows_at(short, shop_panel, ORIGIN)[0], rows_at(long, shop_panel, ORIGIN)[0]
    places = [long.names.index(short.names[i]) for i in kept]
    grouped = [k for k, i in enumerate(kept) if short.names[i].startswith(("everyone growth", "department growth"))]
    assert grouped
    np.testing.assert_allclose(one[:, kept][:, grouped], other[:, places][:, grouped], rtol=0.05)


def test_rolling_means_are_those_of_observed_days(shop_panel):
    features = Features.learn(shop_panel)
    values, scale, _ = rows_at(features, shop_panel, ORIGIN)
    for window, name in ((7, "mean of 1st window"), (28, "mean of 2nd window")):
        demand, seen = shop_panel.history(ORIGIN, window)
        found = values[:: len(LEAD), features.names.index(name)] * scale[:: len(LEAD)]
        full = seen.any(axis=1) & (shop_panel.start <= ORIGIN - 35)
        np.testing.assert_allclose(found[full], (demand.sum(axis=1) / seen.sum(axis=1))[full], rtol=1e-5)
