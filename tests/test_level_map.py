"""Levels that a forest is asked for: learned from rows that its trees have not seen."""

import json
from dataclasses import replace

import numpy as np
import pytest

from shelfcast.errors import ConfigError, DataError
from shelfcast.horizons import per_period
from shelfcast.models.binning import Bins, Table
from shelfcast.models.forest import QuantileForest
from shelfcast.models.level_map import SIZES, WANTED, LevelMap
from shelfcast.models.stratum import Stratum
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


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_levels_never_move_away_from_the_median(width):
    mean, quantiles, outcome, rng = told(width=width)
    made = LevelMap.learn(mean, quantiles, outcome, rng)
    low, high = WANTED < 0.5, WANTED > 0.5
    assert (made.asked[:, low] >= WANTED[low]).all()
    assert (made.asked[:, high] <= WANTED[high]).all()
    np.testing.assert_allclose(
        made.levels(np.array([80.0], dtype=np.float32), (0.05, 0.5, 0.95))[0], [0.05, 0.5, 0.95], atol=0.01
    )


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


@pytest.fixture(scope="module")
def fitted(shop_panel):
    """A forest, its stratum of single days, and features of rows that reach various leaves."""
    model = QuantileForest(HORIZONS, (0.1, 0.5, 0.9), **SMALL).fit(shop_panel)
    values = np.random.default_rng(0).normal(size=(400, len(model.features_.names))).astype(np.float32)
    return model, model.strata_[1], values


def test_learned_levels_are_asked_for_but_of_products_without_history(fitted):
    _, stratum, values = fitted
    assert stratum.level_map is not None
    halves = replace(stratum, level_map=LevelMap(np.array([0.0]), WANTED[None, :] / 2))
    size, new = np.full(len(values), 3.0, dtype=np.float32), np.ones(len(values), dtype=bool)
    half, whole = (halves.quantiles(values, (level,), size, new)[0] for level in (0.25, 0.5))
    assert (half < whole).any()
    np.testing.assert_array_equal(halves.quantiles(values, (0.5,), size, ~new)[0], half)
    mixed = np.arange(len(values)) % 2 == 0
    said = halves.quantiles(values, (0.5,), size, mixed)[0]
    np.testing.assert_array_equal(said, np.where(mixed[:, None], whole, half))


def test_levels_are_learned_from_trees_that_have_not_seen_the_row(fitted):
    _, stratum, values = fitted
    (forest,) = stratum.forests
    leaves, n_trees = forest.leaves, forest.trees.n_trees
    tree = np.searchsorted(forest.trees.roots, np.arange(len(leaves.count)), side="right") - 1
    codes = np.where(np.repeat(tree, leaves.count) == 0, leaves.codes, leaves.codes.max())
    spoilt = replace(stratum, forests=(replace(forest, leaves=replace(leaves, codes=codes.astype(np.uint16))),))
    size, first = np.ones(len(values)), np.zeros((len(values), n_trees), dtype=bool)
    first[:, 0] = True
    for one, other in zip(
        spoilt.out_of_bag(values, size, [first]), stratum.out_of_bag(values, size, [first]), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert (spoilt.out_of_bag(values, size, [~first])[0] > stratum.out_of_bag(values, size, [~first])[0]).any()
    every, plain = stratum.out_of_bag(values, size, [np.ones_like(first)]), replace(stratum, level_map=None)
    wanted = plain.quantiles(values, tuple(WANTED), size.astype(np.float32), np.zeros(len(values), dtype=bool))
    for one, other in zip(every, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_forest_learns_its_levels_from_trees_that_have_not_seen_an_item(shop_panel, monkeypatch):
    asked = []
    old = Stratum.out_of_bag
    monkeypatch.setattr(Stratum, "out_of_bag", lambda *given: asked.append(given[3]) or old(*given))
    model = QuantileForest(HORIZONS, LEVELS, **SMALL).fit(shop_panel)
    n_unseen = np.concatenate([trees.sum(axis=1) for (trees,) in asked])
    assert n_unseen.min() >= 1
    assert n_unseen.max() < SMALL["n_trees"]
    assert max(len(trees) for (trees,) in asked) <= 2048
    assert len(asked) > 1
    assert model.strata_[1].level_map is not None


def test_launches_of_a_group_answer_half_for_products_without_history(shop_panel, fitted, tmp_path):
    panel, plain = shop_panel, fitted[0]
    model = QuantileForest(HORIZONS, (0.1, 0.5, 0.9), **SMALL, launch_group="department").fit(panel)
    profile = model.launches_
    told = np.arange(1, 1 + profile.values.size).reshape(profile.values.shape).astype(float)
    model.launches_ = replace(profile, values=told, mean=told[:, :, 1] + 0.5)
    assert profile.groups == ("", "food", "toys")
    origins = [int(panel.start.max()) - 1, panel.last]
    said, without, group = model.predict(panel, origins), plain.predict(panel, origins), profile.of(panel)
    new = panel.start > origins[0]
    assert new.any()
    assert not new.all()
    np.testing.assert_array_equal(group, 1 + np.arange(panel.n_series) % 2)
    np.testing.assert_allclose(said.values[new, 0], (without.values[new, 0] + told[group[new]]) / 2, rtol=1e-6)
    np.testing.assert_allclose(said.mean[new, 0], (without.mean[new, 0] + told[group[new], :, 1] + 0.5) / 2, rtol=1e-6)
    np.testing.assert_array_equal(said.values[~new, 0], without.values[~new, 0])
    np.testing.assert_array_equal(said.values[:, 1], without.values[:, 1])
    model.save(tmp_path)
    np.testing.assert_array_equal(QuantileForest.load(tmp_path).predict(panel, origins).values, said.values)


def test_a_forest_saved_before_levels_were_learned_still_loads(shop_panel, fitted, tmp_path):
    fitted[0].save(tmp_path)
    with np.load(tmp_path / "span-1.npz") as file:
        np.savez(tmp_path / "old.npz", **{name: file[name] for name in file.files if not name.startswith("map_")})
    (tmp_path / "old.npz").replace(tmp_path / "span-1.npz")
    text = json.loads((tmp_path / "model.json").read_text())
    del text["settings"]["launch_group"]
    (tmp_path / "model.json").write_text(json.dumps(text))
    loaded = QuantileForest.load(tmp_path)
    assert loaded.strata_[1].level_map is None
    np.testing.assert_array_equal(
        loaded.predict(shop_panel, [shop_panel.last]).mean, fitted[0].predict(shop_panel, [shop_panel.last]).mean
    )


def test_a_launch_group_that_is_not_there_is_told(shop_panel):
    with pytest.raises(DataError, match="nothing_such"):
        QuantileForest(horizons=HORIZONS, **SMALL, launch_group="nothing_such").fit(shop_panel)
    with pytest.raises(ConfigError, match="launch_group"):
        QuantileForest(horizons=HORIZONS, launch_group=3)


@pytest.mark.parametrize(
    "few", [{"item_share": 1.0}, {"item_share": 0.95}, {"n_trees": 5}, {"two_stage": True, "item_share": 1.0}]
)
def test_where_hardly_a_tree_has_not_seen_an_item_levels_are_those_wanted(few, shop_panel):
    model = QuantileForest(HORIZONS, LEVELS, **SMALL | few).fit(shop_panel)
    assert model.strata_[1].level_map is None
    assert np.isfinite(model.predict(shop_panel, [shop_panel.last]).values).all()
