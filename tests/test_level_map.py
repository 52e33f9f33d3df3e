"""Levels that a forest is asked for: learned from rows that its trees have not seen."""

import numpy as np
import pytest

from shelfcast.errors import ConfigError, DataError
from shelfcast.horizons import per_period
from shelfcast.models.binning import Bins, Table
from shelfcast.models.forest import QuantileForest
from shelfcast.models.launches import LaunchProfile
from shelfcast.models.level_map import SIZES, WANTED, LevelMap
from shelfcast.models.trees import Growth, bags, grow_trees

LEVELS = (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995)
HORIZONS = per_period(7)
SMALL = {"n_rows": 6_000, "n_trees": 10, "min_leaf": 10}


def told(width, n=40_000, seed=0):
    """Means of two sizes, quantiles of which the larger's are `width` times as wide as they should be, and outcomes."""
    rng = np.random.default_rng(seed)
    mean = np.where(rng.random(n) < 0.5, 5.0, 80.0)
    spread = 0.2 * mean
    normal = np.quantile(np.random.default_rng(1).normal(size=200_000), WANTED)
    wide = np.where(mean > 10, width, 1.0) * spread
    quantiles = (mean[:, None] + wide[:, None] * normal).astype(np.float32)
    return mean.astype(np.float32), quantiles, mean + spread * rng.normal(size=n), rng


def test_forecasts_that_hold_are_asked_for_what_is_wanted():
    mean, quantiles, outcome, rng = told(width=1.0)
    asked = LevelMap.learn(mean, quantiles, outcome, rng).levels(np.array([5.0, 80.0], dtype=np.float32), LEVELS)
    np.testing.assert_allclose(asked, np.tile(LEVELS, (2, 1)), atol=0.015)


def test_quantiles_too_far_out_are_asked_for_further_in_where_they_are():
    mean, quantiles, outcome, rng = told(width=1.6)
    made = LevelMap.learn(mean, quantiles, outcome, rng)
    small, large = made.levels(np.array([5.0, 80.0], dtype=np.float32), (0.05, 0.95))
    np.testing.assert_allclose(small, [0.05, 0.95], atol=0.01)
    assert large[0] == pytest.approx(0.152, abs=0.02)  # the normal law's share below -1.645 / 1.6
    assert large[1] == pytest.approx(0.848, abs=0.02)


def test_levels_rise_with_what_is_wanted_and_stay_in_range():
    mean, quantiles, outcome, rng = told(width=3.0, n=9_000)
    made = LevelMap.learn(mean, quantiles, outcome, rng)
    wanted = tuple(np.linspace(0.001, 0.999, 300))
    asked = made.levels(np.geomspace(0.01, 1e4, 50).astype(np.float32), wanted)
    assert (np.diff(asked, axis=1) >= 0).all()
    assert asked.min() > 0
    assert asked.max() < 1


def test_counts_that_tie_with_their_quantiles_are_not_pushed_aside():
    rng = np.random.default_rng(3)
    outcome = rng.poisson(0.7, 60_000).astype(float)
    quantiles = np.tile(np.quantile(outcome, WANTED).astype(np.float32), (len(outcome), 1))
    mean = rng.uniform(0.6, 0.8, len(outcome)).astype(np.float32)
    asked = LevelMap.learn(mean, quantiles, outcome, rng).levels(mean[:1], (0.25, 0.5, 0.75))
    np.testing.assert_allclose(asked[0], [0.25, 0.5, 0.75], atol=0.03)


@pytest.mark.parametrize(("n", "sizes"), [(999, None), (2_500, 2), (40_000, SIZES)])
def test_sizes_follow_the_rows_there_are(n, sizes):
    mean, quantiles, outcome, rng = told(width=1.0, n=n)
    made = LevelMap.learn(mean, quantiles, outcome, rng)
    assert made is None if sizes is None else len(made.size) == sizes


def test_rows_of_bins_reach_the_leaves_of_their_values():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(800, 5)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    table = Table(bins := Bins.learn(values), *bins.cells(values))
    trees = grow_trees(table, np.nan_to_num(values[:, 0]) + rng.normal(size=800), np.arange(800), Growth(5, 20), 0)
    rows = np.array([0, 3, 4, 500, 799])
    np.testing.assert_array_equal(trees.leaves(table.values(rows)), trees.leaves(values[rows]))
    np.testing.assert_array_equal(np.isnan(table.values(rows)), np.isnan(values[rows]))


def test_bags_are_those_that_trees_were_grown_on():
    values = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    table = Table(bins := Bins.learn(values), *bins.cells(values))
    item, growth = np.arange(400) // 4, Growth(4, 10, 1000, 0.5, 1.0)
    trees = grow_trees(table, values[:, 0].astype(float), item, growth, 7)
    owner = np.searchsorted(trees.roots, np.repeat(np.arange(len(trees.count)), trees.count), side="right") - 1
    for tree, (chosen, _) in enumerate(bags(item, 3, growth, 7)):
        assert set(np.flatnonzero(chosen)) == set(item[trees.kept[owner == tree]])


def test_a_product_without_history_is_asked_for_what_is_wanted(shop_panel):
    model = QuantileForest(horizons=HORIZONS, levels=(0.1, 0.5, 0.9), **SMALL).fit(shop_panel)
    stratum = model.strata_[1]
    assert stratum.level_map is not None
    features = np.full((1, len(model.features_.names)), np.nan, dtype=np.float32)
    size = np.array([3.0], dtype=np.float32)
    new, _ = stratum.quantiles(features, (0.1, 0.9), size, np.array([True]))
    plain = type(stratum)(stratum.span, stratum.forests).quantiles(features, (0.1, 0.9), size, np.array([False]))[0]
    np.testing.assert_array_equal(new, plain)


def test_launches_of_a_group_answer_half_for_products_without_history(shop_panel, tmp_path):
    panel, origin = shop_panel, int(shop_panel.start.max()) - 1
    settings = {"horizons": HORIZONS, "levels": (0.1, 0.5, 0.9), **SMALL}
    group = next(name for name in panel.series.columns if name not in panel.keys)
    plain = QuantileForest(**settings).fit(panel)
    model = QuantileForest(**settings, launch_group=group).fit(panel)
    profile = LaunchProfile.learn(panel, settings["horizons"], settings["levels"], group)
    said, without = model.predict(panel, [origin]), plain.predict(panel, [origin])
    new = panel.start > origin
    assert new.any()
    assert not new.all()
    wanted = (without.values[new, 0] + profile.values[profile.of(panel)[new]]) / 2
    np.testing.assert_allclose(said.values[new, 0], wanted, rtol=1e-5)
    np.testing.assert_array_equal(said.values[~new], without.values[~new])
    model.save(tmp_path)
    np.testing.assert_array_equal(QuantileForest.load(tmp_path).predict(panel, [origin]).values, said.values)


def test_a_launch_group_that_is_not_there_is_told(shop_panel):
    with pytest.raises(DataError, match="nothing_such"):
        QuantileForest(horizons=HORIZONS, **SMALL, launch_group="nothing_such").fit(shop_panel)
    with pytest.raises(ConfigError, match="launch_group"):
        QuantileForest(horizons=HORIZONS, launch_group=3)


def test_trees_that_see_every_item_leave_levels_as_they_are(shop_panel):
    model = QuantileForest(HORIZONS, LEVELS, **SMALL, item_share=1.0).fit(shop_panel)
    assert model.strata_[1].level_map is None
    assert np.isfinite(model.predict(shop_panel, [shop_panel.last]).values).all()
