"""Hand-made features as networks read them: what the history had too late is not read."""

import json

import numpy as np
import pytest

from shelfcast.horizons import per_period
from shelfcast.networks.handmade import HandMade
from shop import panel_of

YEARLY = ("a year ago", "around a year ago", "growth a year ago", "everyone growth to target a year ago")


@pytest.fixture(scope="module")
def panel():
    return panel_of(np.random.default_rng(0).poisson(6, (12, 700)))


def read(made, panel, origin):
    """(columns of the state, columns of the horizons) at one origin, by name, over series and horizons."""
    state, ahead = made.read(panel, made.dates(panel), np.full((panel.n_series, 1), origin), None)
    names = [name for name in made.features.names if name not in made.features.dates.features]
    values = np.concatenate([np.repeat(state[:, 0, None], ahead.shape[2], axis=1), ahead[:, 0]], axis=-1)
    return dict(zip([*names, "size"], values.reshape(-1, values.shape[-1]).T, strict=True))


@pytest.mark.parametrize(("last", "is_read"), [(250, False), (400, False), (600, True)])
def test_a_year_that_comes_too_late_is_not_read(panel, last, is_read):
    """Before 364 days nothing is known of a year ago; with 400, only the last tenth of the history had it."""
    made = HandMade.learn(panel.as_of(last), per_period(7))
    found = read(made, panel, 650)
    for name in YEARLY:
        assert found[name].any() == is_read, name
    assert np.ptp(found["last observed"]) > 0.1
    assert np.abs(found["lead"]).max() > 0.1
    for column in read(made, panel.as_of(last), last).values():
        assert np.isfinite(column).all()


def test_they_are_stored_in_strict_json(panel, tmp_path):
    made = HandMade.learn(panel.as_of(250), per_period(7))
    assert np.isinf(made.spread).any()
    text = json.dumps(made.save(tmp_path), allow_nan=False)
    again = HandMade.load(tmp_path, made.horizons, json.loads(text))
    np.testing.assert_array_equal(again.spread, made.spread)
    np.testing.assert_array_equal(again.centre, made.centre)


@pytest.mark.parametrize("n_old", [0, 1])
def test_series_that_came_late_are_read_all_the_same(panel, n_old):
    """All or nearly all of them began when the panel was old: that their features are new tells nothing."""
    rng = np.random.default_rng(1)
    rows = [rng.poisson(6, 60) for _ in range(6)] + [np.ones(3)] * n_old
    late = panel_of(rows, starts=[640] * 6 + [0] * n_old, last=699)
    made = HandMade.learn(late if n_old else late.take(slice(0, 6)), per_period(7))
    found = read(made, late.take(slice(0, 6)), 690)
    for name in ("last observed", "mean of 2nd window", "variation"):
        assert np.ptp(found[name]) > 0.01, name
    assert not found["a year ago"].any()
