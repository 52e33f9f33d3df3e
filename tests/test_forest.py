"""The forest's parts: a grower against one written out, boosted means, cases, and edges of data."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from shelfcast.data.groups import launched
from shelfcast.errors import ConfigError, NotFittedError, StoreError
from shelfcast.horizons import Horizon
from shelfcast.models.binning import Bins, Table
from shelfcast.models.boosting import FLOOR, boosted, held_out_mean
from shelfcast.models.drawing import draw_rows
from shelfcast.models.forest import QuantileForest
from shelfcast.models.table import load
from shelfcast.models.tree_kernels import COUNT_BITS, walk
from shelfcast.models.trees import MOST_ROWS, Growth, grow_one, grow_trees, nodes_of, pack, pack_weighted
from shop import panel_of

HORIZONS = (Horizon(0), Horizon(6), Horizon(0, 7))
SMALL = {"n_rows": 4_000, "n_trees": 12, "min_leaf": 10}


def table_of(values):
    values = np.asarray(values, dtype=np.float32)
    bins = Bins.learn(values)
    return Table.joined(bins, [bins.cells(values)])


def best_split(values, target, min_leaf):
    """Feature, threshold and children's sizes of the split with the least squared error, by trying all."""
    best = (np.inf, None)
    for f in range(values.shape[1]):
        for cut in np.unique(values[:, f])[:-1]:
            left = values[:, f] <= cut
            if min(left.sum(), (~left).sum()) < min_leaf:
                continue
            error = sum(((part - part.mean()) ** 2).sum() for part in (target[left], target[~left]))
            if error < best[0] - 1e-9:
                best = (error, (f, int(left.sum()), int((~left).sum())))
    return best[1]


@pytest.mark.parametrize("seed", range(5))
def test_the_first_split_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 8, (300, 4)).astype(np.float32)
    target = values[:, 1] * 2.0 + (values[:, 3] > 3) * rng.normal(4, 1, 300) + rng.normal(0, 0.5, 300)
    growth = Growth(n_trees=1, min_leaf=20, n_kept=4, item_share=1.0, feature_share=1.0)
    trees = grow_trees(table_of(values), target, np.arange(300), growth, seed)
    feature, n_left, n_right = best_split(values, target, 20)
    root = int(trees.roots[0])
    chosen = int(trees.feature[root])
    assert (
        -2 - chosen if chosen < -1 else chosen
    ) == feature  # nothing is missing, so that it does not matter where to
    left = values[:, feature] <= trees.threshold[root]
    assert (left.sum(), (~left).sum()) == (n_left, n_right)


@pytest.mark.parametrize(("seed", "shape", "kind"), [(0, (12_000, 11), np.uint16), (1, (600, 1_500), np.uint32)])
def test_rows_are_in_the_leaves_that_they_walk_to(seed, shape, kind):
    """More rows than the cache holds, so that they are moved, and many absent features, so that places are guessed."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 99, shape).astype(np.float32)
    values[rng.random(shape) < rng.random(shape[1])] = np.nan
    target = np.nansum(values[:, :3], axis=1) + np.isnan(values[:, 4]) * rng.normal(70, 9, len(values))
    table, rows = table_of(values), np.sort(rng.choice(len(values), len(values) - 50, replace=False)).astype(np.int32)
    assert table.cells.dtype == kind
    some = np.delete(np.arange(shape[1]), 3)
    grown = grow_one(table, pack(target)[rows], rows, some, 20)
    assert 3 not in np.where(grown.feature < -1, -2 - grown.feature, grown.feature)
    leaves = np.flatnonzero(grown.left < 0)
    assert len(leaves) > 5
    assert sorted(grown.rows) == rows.tolist()
    reached = np.empty(len(values), dtype=np.int32)
    walk(values, nodes_of(grown.feature, grown.threshold, grown.left), 0, reached)
    for leaf in leaves:
        first, last = grown.spans[leaf]
        assert last - first >= 20
        assert (reached[grown.rows[first:last]] == leaf).all()
    error = sum(((target[reached == leaf] - target[reached == leaf].mean()) ** 2).sum() for leaf in leaves)
    assert error < 0.9 * ((target - target.mean()) ** 2).sum()


def test_a_tree_sees_a_share_of_the_rows_of_its_items():
    """Fewer rows of the same items, other ones in each tree; all of them at 1."""
    rng = np.random.default_rng(0)
    values, item = rng.normal(size=(4_000, 3)).astype(np.float32), np.arange(4_000) // 40
    whole = Growth(n_trees=6, min_leaf=4_000, n_kept=4_000, item_share=0.5)
    trees = [
        grow_trees(table_of(values), values[:, 0].astype(np.float64), item, growth, 1)
        for growth in (whole, replace(whole, row_share=0.25))
    ]
    every, some = ([set(t.kept[a : a + n].tolist()) for a, n in zip(t.first, t.count, strict=True)] for t in trees)
    assert [len(rows) for rows in every] == [2_000] * 6
    for own, all_rows in zip(some, every, strict=True):
        assert own < all_rows
        assert 400 < len(own) < 600
        assert {item[row] for row in own} == {item[row] for row in all_rows}
    assert len(set(map(frozenset, some))) == 6
    few = grow_trees(table_of(values), values[:, 0].astype(np.float64), item, replace(whole, row_share=1e-9), 1)
    np.testing.assert_array_equal(few.kept, trees[0].kept)  # a tree without rows would say that nothing sells


def test_boosted_means_are_near_the_truth_and_unbiased():
    rng = np.random.default_rng(3)
    values = rng.uniform(0, 1, (20_000, 3)).astype(np.float32)
    truth = np.exp(1.5 * values[:, 0] - values[:, 1])
    target = rng.poisson(truth).astype(np.float64)
    made, log_mean = boosted(table_of(values), target, np.arange(len(target)), rng)
    assert np.exp(log_mean).mean() == pytest.approx(target.mean(), rel=0.02)
    assert np.corrcoef(np.exp(log_mean), truth)[0, 1] > 0.95
    np.testing.assert_allclose(made.log_mean(values), log_mean, atol=0.02)  # bins against numbers


def test_held_out_means_have_not_seen_their_block():
    """The target is another number in each block of dates: a booster that saw a row's block would know it."""
    rng = np.random.default_rng(5)
    date = rng.integers(0, 40, 8_000)
    values = np.column_stack([date, rng.normal(size=8_000)]).astype(np.float32)
    target = np.where(date // 10 == 1, 9.0, 1.0)
    mean, scale = held_out_mean(table_of(values), target, date, 10, rng)
    assert np.median(scale[date // 10 == 1]) < 3  # its folds are the blocks 0 and 2, all ones
    assert (scale >= FLOOR).all()
    assert (mean.of(values) >= FLOOR).all()


@pytest.mark.parametrize("two_stage", [False, True])
def test_cases_weigh_one_together(two_stage, shop_panel):
    """All series together weigh one, those that are kept no more, and none is from after training."""
    panel = shop_panel
    model = QuantileForest(HORIZONS, (0.5,), two_stage=two_stage, **SMALL).fit(panel.as_of(panel.last - 30))
    origin = panel.last - 20
    series = [0, 2, 4]
    found = model.cases(panel, origin, series, most=10_000)
    shares = found.unique(["item", "lead", "span", "case_item"]).group_by("item", "lead", "span")
    weights = shares.agg(pl.col("series_weight").sum())["series_weight"]
    np.testing.assert_allclose(weights, 1.0, rtol=1e-6)
    assert len(weights) == len(series) * len(HORIZONS)
    wide = found.group_by("item", "lead", "span").agg(kept=pl.col("weight").sum())
    assert (wide["kept"] <= 1 + 1e-9).all()
    assert (found["last"].to_physical() <= panel.last - 30).all()  # nothing that training had not seen
    top = model.cases(panel, origin, series, most=1)
    assert top.n_unique(["item", "lead", "span", "case_item"]) == len(series) * len(HORIZONS)
    assert (top["weight"] <= top["series_weight"] + 1e-9).all()


def test_cases_need_a_fit_and_survive_saving(tmp_path, shop_panel):
    panel = shop_panel
    with pytest.raises(NotFittedError, match="nothing to explain"):
        QuantileForest(HORIZONS).cases(panel, panel.last, [0])
    model = QuantileForest(HORIZONS, (0.5,), two_stage=True, **SMALL).fit(panel)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.cases(panel, panel.last, [1]).equals(model.cases(panel, panel.last, [1]))
    np.testing.assert_array_equal(again.predict(panel, [panel.last]).values, model.predict(panel, [panel.last]).values)


def test_constant_demand_is_forecast_as_it_is():
    panel = panel_of(np.full((4, 200), 7))
    made = QuantileForest(HORIZONS, (0.1, 0.5, 0.9), **SMALL).fit(panel).predict(panel, [panel.last])
    np.testing.assert_allclose(made.values[:, 0, 0], 7.0, rtol=0.02)
    np.testing.assert_allclose(made.values[:, 0, 2], 49.0, rtol=0.02)


def test_fewer_rows_than_a_leaf_needs():
    panel = panel_of([[3, 4, 5]])
    made = QuantileForest((Horizon(0),), (0.1, 0.9), min_leaf=40).fit(panel).predict(panel, [panel.last])
    assert np.isfinite(made.values).all()
    assert 0 < made.values[0, 0, 0, 1] < 50


def test_a_category_unseen_and_a_line_without_a_column():
    """Another department than any in training, with no static value at all: sound, and near its own level."""
    panel = panel_of(np.random.default_rng(0).poisson(6, (8, 300)), static={"department": ["toys"] * 4 + ["food"] * 4})
    model = QuantileForest((Horizon(0),), (0.5,), **SMALL).fit(panel.take(slice(0, 4)))
    for column in (["tools"] * 8, [None] * 8):
        other = panel_of(np.random.default_rng(1).poisson(6, (8, 300)), static={"department": column})
        made = model.predict(other, [other.last])
        assert np.isfinite(made.values).all()
        assert 3 < np.median(made.values) < 9


@pytest.mark.parametrize(("length", "first_launch"), [(300, 29), (40, 10), (3, 1)])
def test_a_launch_is_later_than_the_beginning_of_the_data(length, first_launch):
    starts = np.arange(length)
    panel = panel_of([np.ones(length - s) for s in starts], starts=starts)
    assert np.flatnonzero(launched(panel, 28))[0] == first_launch
    assert not launched(panel_of([[], [1.0, 2.0]], starts=[0, 0], last=1), 28).any()


def test_where_the_data_begin_nothing_is_a_launch():
    """A product first sold on the second day of the data is drawn as no launch, and no row is from the first weeks."""
    panel = panel_of([np.full(300, 5), np.full(299, 5), np.full(299, 5)], starts=[0, 1, 1])
    rows = draw_rows(panel, np.arange(3), 1, 2_000, np.random.default_rng(0))
    assert len(rows) == pytest.approx(1_800, abs=100)  # the tenth of launches is empty
    assert rows.origin.min() >= panel.first + 28
    later = panel_of([np.full(300, 5), np.full(150, 5)], starts=[0, 150])
    assert (draw_rows(later, np.arange(3), 1, 2_000, np.random.default_rng(0)).origin == 149).any()


def test_rows_are_not_drawn_for_what_they_turn_out_to_sell():
    """From some quarter on all demand is the first product's; rows from before it are the same ones."""
    demand = np.random.default_rng(8).poisson(3.0, (4, 1_100)).astype(float)
    turn = 28 + 8 * 91  # the data settle in 28 days
    turned = demand.copy()
    turned[:, turn:] = [[1_000.0]] + [[0.0]] * 3
    before, after = (draw_rows(panel_of(d), np.arange(3), 1, 4_000, np.random.default_rng(0)) for d in (demand, turned))
    old = [rows.at(rows.origin < turn) for rows in (before, after)]
    assert len(old[0]) > 1_000
    assert all(np.array_equal(*(getattr(rows, column) for rows in old)) for column in ("series", "origin", "lead"))
    assert np.mean(before.series == 0) == pytest.approx(0.25, abs=0.03)
    assert np.mean(after.series[after.origin >= turn + 91] == 0) > 0.8


def test_a_column_joins_a_table_behind_the_others():
    values = np.random.default_rng(5).normal(size=(200, 3)).astype(np.float32)
    values[np.random.default_rng(7).random(values.shape) < 0.3] = np.nan
    more = np.random.default_rng(6).normal(size=200).astype(np.float32)
    joined, whole = table_of(values).with_column(more), table_of(np.column_stack([values, more]))
    assert np.array_equal(joined.bins.edges, whole.bins.edges)
    assert np.array_equal(joined.bins.starts, whole.bins.starts)
    assert np.array_equal(joined.cells, whole.cells)
    assert np.array_equal(joined.indptr, whole.indptr)


def test_a_table_without_some_features_keeps_the_numbers_of_the_rest():
    values = np.random.default_rng(5).normal(size=(200, 4)).astype(np.float32)
    values[np.random.default_rng(7).random(values.shape) < 0.3] = np.nan
    table, kept = table_of(values), np.array([True, False, False, True])
    few = table.keeping(kept)
    rows = np.arange(200)
    np.testing.assert_array_equal(few.values(rows)[:, kept], table.values(rows)[:, kept])
    assert np.isnan(few.values(rows)[:, ~kept]).all()
    assert few.bins is table.bins


def test_packed_weights_keep_signed_sums_and_weights():
    target, weight = np.array([-2.0, 1.0, 0.5]), np.array([1.0, 2.0, 3.0])
    total = int(pack_weighted(target, weight, 100).sum())
    assert total & ((1 << COUNT_BITS) - 1) == 300
    assert total >> COUNT_BITS == pytest.approx(-0.5 / 2.0 * 8191, abs=2)


def test_more_rows_than_a_tree_can_count_are_refused():
    with pytest.raises(ConfigError, match=f"at most {MOST_ROWS:,} rows"):
        QuantileForest(HORIZONS, (0.5,), n_rows=MOST_ROWS + 1)


@pytest.mark.parametrize(("n_trees", "over_mean"), [(1, 0), (3, 1), (8, 2)])
def test_two_stages_average_a_forest_over_the_mean_and_one_over_the_size(n_trees, over_mean, shop_panel, tmp_path):
    """By their trees, of which a third are over the mean."""
    panel = shop_panel
    settings = SMALL | {"n_trees": n_trees}
    model = QuantileForest(HORIZONS, (0.1, 0.9), two_stage=True, **settings).fit(panel)
    stratum = model.strata_[1]
    made = [(forest.by_mean, forest.trees.n_trees) for forest in stratum.forests]
    assert made == [(True, over_mean), (False, n_trees - over_mean)][not over_mean :]
    features = np.random.default_rng(0).random((7, len(model.features_.names)), dtype=np.float32)
    size = np.full(7, 3.0, dtype=np.float32)
    new, levels = np.ones(7, dtype=bool), (0.1, 0.9)
    found, _ = stratum.quantiles(features, levels, size, new)
    each = [replace(stratum, forests=(forest,)).quantiles(features, levels, size, new)[0] for forest in stratum.forests]
    np.testing.assert_allclose(found, np.average(each, axis=0, weights=[n for _, n in made]), rtol=1e-6)
    model.save(tmp_path / "model")
    loaded = QuantileForest.load(tmp_path / "model").strata_[1]
    for asked in (new, ~new):
        said = stratum.quantiles(features, levels, size, asked)[0]
        np.testing.assert_array_equal(loaded.quantiles(features, levels, size, asked)[0], said)


def test_a_forest_saved_in_the_form_before_is_refused(shop_panel, tmp_path):
    """That form had no names of forests before those of arrays."""
    QuantileForest(HORIZONS, (0.5,), **SMALL).fit(shop_panel).save(tmp_path)
    with np.load(tmp_path / "span-1.npz") as file:
        old = {name.removeprefix("forest0_"): file[name] for name in file.files}
    np.savez(tmp_path / "span-1.npz", **old)
    with pytest.raises(StoreError, match=r"no forest in it.*fit.* again"):
        QuantileForest.load(tmp_path)
