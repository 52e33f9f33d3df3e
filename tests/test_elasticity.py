"""Price elasticities and promotion lifts: known truths are recovered, and a slow least squares agrees."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from promoted import FLAG, draw, made
from shelfcast.data.aggregates import with_aggregates
from shelfcast.errors import ConfigError, DataError, StoreError
from shelfcast.models.elasticity import Elasticities, elasticity_tables
from shelfcast.models.promotions import REGULAR, Design, rolling_max
from shelfcast.models.shrinkage import Evidence, Posterior, combine, downward, identified, spread, upward
from shelfcast.models.shrunken_effects import Sample, cells, pooled_coefficients
from shelfcast.models.two_way import within
from shop import rewritten_after


@pytest.fixture(scope="module")
def shop():
    panel, truth = draw()
    return panel, truth, Elasticities.learn(panel, group="category", reference="base")


# ---- recovery


def test_groups_items_and_series_are_recovered(shop):
    _, truth, learned = shop
    assert abs(learned.levels["group"].mean[:, 0] - truth.groups).max() < 0.5  # six items of spread 0.5 a group
    assert abs(learned.levels["item"].mean[:, 0] - truth.items).max() < 0.35
    error = learned.levels["series"].mean[:, 0] - truth.series
    assert np.sqrt((error**2).mean()) < 0.2
    table = learned.table("item")
    assert table["identified"].all()
    assert table["identified_flag"].all()
    assert np.log(table["lift_flag"].to_numpy()) == pytest.approx(FLAG, abs=0.05)
    assert table.columns[:2] == ["item", "group"]
    assert (table["low"] < table["estimate"]).all()
    assert (table["estimate"] < table["high"]).all()


def test_shrunken_series_are_nearer_the_truth_than_their_own_data_and_than_the_group():
    panel, truth = draw(n_weeks=40, noise=0.4, within=0.3, cut=0.1, seed=4)
    learned = Elasticities.learn(panel, group="category", reference="base")
    error = np.sqrt(((learned.levels["series"].mean[:, 0] - truth.series) ** 2).mean())
    own = []
    for i in range(panel.n_series):
        alone = Elasticities.learn(panel.take([i]), reference="base")
        own.append(alone.levels["series"].mean[0, 0])
    raw = np.sqrt(((np.array(own) - truth.series) ** 2).mean())
    of_group = learned.levels["group"].mean[truth.group[truth.item], 0]
    pooled = np.sqrt(((of_group - truth.series) ** 2).mean())
    assert error < 0.9 * min(raw, pooled), (error, raw, pooled)


@pytest.mark.parametrize(("kind", "least"), [("series", 0.85), ("item", 0.8)])
def test_intervals_cover_about_their_level(kind, least):
    inside = []
    for seed in range(4):
        panel, truth = draw(n_items=16, n_locations=5, n_weeks=60, seed=seed)
        table = Elasticities.learn(panel, group="category", reference="base").table(kind, coverage=0.9)
        truths = {"series": truth.series, "item": truth.items}[kind]
        inside += list((table["low"].to_numpy() <= truths) & (truths <= table["high"].to_numpy()))
    assert least < np.mean(inside) < 0.97


def test_errors_shared_by_the_locations_of_an_item_widen_its_interval():
    panel, truth = draw(n_weeks=80, seed=2)
    shock = 0.5 * np.random.default_rng(1).normal(size=(len(truth.items), 80))[truth.item]
    together = replace(panel, demand=(panel.demand * np.exp(shock.ravel())).astype(np.float32))
    # cuts that all locations of an item share
    known = panel.known.reshape(-1, 6, 80, 3)[:, :1].repeat(6, axis=1).reshape(-1, 3)
    plain, wide = (
        Elasticities.learn(replace(p, known=known), group="category", reference="base").levels["item"].deviation[:, 0]
        for p in (panel, together)
    )
    assert (wide > 1.3 * plain).all()


# ---- oracles


def _dummies(codes):
    return (codes[:, None] == np.unique(codes)[None]).astype(float)


def test_pooled_and_series_estimates_equal_least_squares_with_dummies():
    panel, truth = draw(n_items=4, n_locations=9, n_weeks=12, cut=0.4, seed=7)
    keep = np.random.default_rng(0).random(len(panel.demand)) < 0.8
    panel = replace(panel, observed=keep, demand=np.where(keep, panel.demand, 0).astype(np.float32))
    design = Design.of(panel, "base")
    x = design.rows(panel, panel.first, panel.last).x[keep][:, :2]
    z = np.log(panel.demand[keep] + 0.5)
    sample = Sample(x, z, panel.row_series()[keep], panel.row_periods()[keep])
    family = truth.group[truth.item]
    cell = cells(sample, family)
    assert len(np.unique(cell)) == 24  # 12 weeks x 2 groups, 18 series each
    wide = np.hstack((x, _dummies(sample.series), _dummies(cell)))
    slow = np.linalg.lstsq(wide, z, rcond=None)[0]
    pooled = pooled_coefficients(sample, cell, design.least[:2])
    assert pooled == pytest.approx(slow[:2], abs=1e-5)
    # residuals equal too, so group-period effects do; a series' own fit given them is plain least squares
    error = within(z - x @ pooled, sample.series, cell)
    assert error == pytest.approx(z - wide @ slow, abs=1e-5)


@pytest.mark.parametrize("overlap", [0, 1, 6])
def test_two_sets_of_effects_are_swept_out_even_where_they_barely_meet(overlap):
    """Series that follow each other, with `overlap` periods in common: there alternating projections need thousands."""
    length = 10
    first = np.arange(12) * (length - overlap)
    series = np.repeat(np.arange(12), length)
    cell = (first[:, None] + np.arange(length)).ravel()
    cell[::7] = -1
    values = np.random.default_rng(overlap).normal(size=(len(series), 2)) + series[:, None]
    kept = values.copy()
    wide = np.hstack((_dummies(series), _dummies(cell)[:, 1:]))
    slow = np.linalg.lstsq(wide, values, rcond=None)[0]
    assert within(values, series, cell) == pytest.approx(values - wide @ slow, abs=1e-5)
    assert np.array_equal(values, kept)


def test_a_lone_series_equals_its_least_squares():
    panel, _ = draw(n_items=1, n_locations=1, n_weeks=90, seed=3)
    learned = Elasticities.learn(panel, reference="base")
    known = panel.known.astype(float)
    x = np.column_stack((np.log(known[:, 0] / known[:, 2]), known[:, 1], np.ones(90)))
    slow = np.linalg.lstsq(x, np.log(panel.demand + 0.5), rcond=None)[0]
    assert learned.levels["series"].mean[0, :2] == pytest.approx(slow[:2], abs=2e-3)  # a vague prior remains


def test_the_tree_equals_the_joint_normal_posterior():
    """One coefficient, three series in two items: messages against the whole covariance matrix."""
    item, t_series, t_item = np.array([0, 0, 1]), 0.3, 0.5
    b, v = np.array([1.0, 2.0, -1.0]), np.array([0.2, 0.4, 0.1])
    above_mean, above_variance = 0.4, 0.7
    known = np.ones((3, 1), dtype=bool)
    evidence = Evidence((1 / v)[:, None, None], (b / v)[:, None])
    items, messages = upward(evidence, np.full((3, 1), t_series), item, 2, np.ones(2))
    top, of_items = upward(items, np.full((2, 1), t_item), np.zeros(2, int), 1, np.ones(1))
    at_top = combine(top, known[:1], np.full((1, 1), above_mean), np.full((1, 1), above_variance))
    at_items = downward(items, known[:2], of_items, at_top, np.zeros(2, int), np.full((2, 1), t_item))
    at_series = downward(evidence, known, messages, at_items, item, np.full((3, 1), t_series))
    root, mid = np.ones((6, 1)), np.zeros((6, 2))  # order: root, items, series
    mid[[1, 2, 3, 4, 5], [0, 1, 0, 0, 1]] = 1
    low = np.zeros((6, 3))
    low[3:] = np.eye(3)
    prior = above_variance * root @ root.T + t_item * mid @ mid.T + t_series * low @ low.T
    seen = prior[3:, 3:] + np.diag(v)
    gain = np.linalg.solve(seen, prior[3:, :]).T
    mean = above_mean + gain @ (b - above_mean)
    variance = np.diag(prior - gain @ prior[3:, :])
    found = [at_top, at_items, at_series]
    assert np.concatenate([p.mean[:, 0] for p in found]) == pytest.approx(mean, abs=1e-6)
    assert np.concatenate([p.deviation[:, 0] for p in found]) ** 2 == pytest.approx(variance, abs=1e-6)


def test_spread_is_the_moment_estimate():
    rng = np.random.default_rng(0)
    parent = np.repeat(np.arange(200), 5)
    v = rng.uniform(0.05, 0.5, 1000)
    b = rng.normal(size=200)[parent] + np.sqrt(0.25 + v) * rng.normal(size=1000)
    found = spread(b[:, None], v[:, None], np.ones((1000, 1), bool), parent, np.zeros(200, int), unknown=9.0)
    assert found[0, 0] == pytest.approx(0.25, abs=0.05)
    alone = spread(b[:3, None], v[:3, None], np.ones((3, 1), bool), np.arange(3), np.zeros(3, int), unknown=9.0)
    assert alone[0, 0] == 9.0


def test_identified_by_hand():
    flag_with_price = np.array([[0.5, 2.0], [2.0, 8.0]])  # the price moves exactly with the flag
    apart = np.array([[0.5, 0.0], [0.0, 8.0]])
    never = np.array([[0.0, 0.0], [0.0, 8.0]])
    found = identified(np.stack((flag_with_price, apart, never)), np.array([0.01, 1.5]))
    assert found.tolist() == [[False, True], [True, True], [False, True]]


def test_rolling_max_equals_the_slow_one():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(60) < 0.2, np.nan, rng.random(60))
    indptr = np.array([0, 25, 25, 60])
    for window in (1, 2, 3, 7, 8, 13):
        fast = rolling_max(values, indptr, window)
        for begin, end in pairwise(indptr):
            for at in range(begin, end):
                near = values[max(begin, at + 1 - window) : at + 1]
                expected = np.nan if np.isnan(near).all() else np.nanmax(near)
                assert fast[at] == pytest.approx(expected, nan_ok=True)


# ---- not identified


def test_a_price_that_never_changes_takes_the_items_value_and_says_so(shop):
    panel, _, _ = shop
    known = panel.known.copy().reshape(-1, 104, 3)
    known[3, :, 0] = known[3, :, 2]
    known[66:, :, 0] = known[66:, :, 2]  # all locations of the last item
    learned = Elasticities.learn(replace(panel, known=known.reshape(-1, 3)), group="category", reference="base")
    series, items, groups = (learned.table(kind) for kind in ("series", "item", "group"))
    assert not series["identified"][3]
    assert series["identified"].sum() == 72 - 7
    assert items.filter(~pl.col("identified"))["item"].to_list() == ["item-11"]
    assert items["estimate"][11] == pytest.approx(groups["estimate"][1], abs=0.05)
    assert series["estimate"][3] == pytest.approx(items["estimate"][0], abs=0.1)
    assert series["high"][3] - series["low"][3] > series["high"][2] - series["low"][2]


def test_a_price_that_always_moves_with_a_flag_is_not_identified_but_their_lift_is_right():
    panel, truth = draw(seed=5, within=0.0, between=0.0)
    known = panel.known.reshape(-1, 104, 3).astype(float).copy()
    on = np.random.default_rng(2).random(104) < 0.2
    demand = panel.demand.reshape(-1, 104).astype(float).copy()
    before = truth.series[7] * np.log(known[7, :, 0] / known[7, :, 2]) + FLAG * known[7, :, 1]
    known[7, :, 0], known[7, :, 1] = known[7, :, 2] * np.where(on, 0.7, 1.0), on
    true = np.exp(truth.series[7] * np.log(0.7) + FLAG)
    demand[7] *= np.exp(np.log(true) * on - before)
    changed = replace(panel, known=known.reshape(-1, 3).astype(np.float32), demand=demand.ravel().astype(np.float32))
    learned = Elasticities.learn(changed, group="category", reference="base")
    assert not learned.table("series")["identified"][7]
    assert learned.table("series")["identified_flag"][7]
    lift = learned.lift(changed, changed.first, changed.last)[7]
    assert lift[~on] == pytest.approx(1.0)
    assert lift[on] == pytest.approx(true, rel=0.1)


def test_nothing_identified_gives_no_estimate_and_a_lift_of_one(shop):
    panel, _, _ = shop
    known = panel.known.copy()
    known[:, 0], known[:, 1] = 2.0, 0.0
    flat = replace(panel, known=known)
    learned = Elasticities.learn(flat, group="category")
    assert learned.table("series")["estimate"].null_count() == panel.n_series
    assert learned.table("all")["lift_flag"].to_list() == [None]
    assert (learned.lift(panel, panel.first, panel.last) == 1.0).all()


def test_zeros_missing_prices_and_huge_demand_do_no_harm(shop):
    panel, truth, _ = shop
    demand, known = panel.demand.copy().reshape(-1, 104), panel.known.copy().reshape(-1, 104, 3)
    demand[0], demand[1] = 0.0, 1e9
    known[2, :, 0], known[3, ::3, 0], known[4, 5, 0] = np.nan, np.nan, 0.0
    changed = replace(panel, demand=demand.ravel(), known=known.reshape(-1, 3))
    learned = Elasticities.learn(changed, group="category", reference="base")
    table = learned.table("series")
    assert table["n"].to_list()[:5] == [0, 104, 0, 104 - 35, 103]
    assert table["identified"].to_list()[:5] == [False, False, False, True, True] or not table["identified"][0]
    assert np.isfinite(learned.levels["series"].mean).all()
    lift = learned.lift(changed, changed.first, changed.last)
    assert np.isfinite(lift).all()
    assert (lift > 0).all()
    rest = learned.levels["series"].mean[5:, 0] - truth.series[5:]
    assert np.sqrt((rest**2).mean()) < 0.2


def test_a_panel_without_any_demand_or_rows_has_no_estimate(shop):
    panel, _, _ = shop
    silent = replace(panel, observed=np.zeros_like(panel.observed), demand=np.zeros_like(panel.demand))
    for empty in (silent, panel.take([])):
        learned = Elasticities.learn(empty, group="category", reference="base")
        assert learned.table("series").height == empty.n_series
        assert learned.table("all")["estimate"].to_list() == [None]


# ---- laws


def test_demand_after_the_origin_changes_nothing(shop):
    panel, _, _ = shop
    origin = panel.first + 70
    one = Elasticities.learn(panel.as_of(origin), group="category", reference="base")
    other = Elasticities.learn(rewritten_after(panel, origin).as_of(origin), group="category", reference="base")
    assert one.table("series").equals(other.table("series"))
    assert one.table("all")["n"][0] == 71 * panel.n_series


def test_order_of_series_and_aggregates_change_nothing(shop):
    panel, _, learned = shop
    order = np.random.default_rng(0).permutation(panel.n_series)
    mixed = Elasticities.learn(
        with_aggregates(panel.take(order), [["category"], []]), group="category", reference="base"
    )
    assert mixed.levels["series"].mean == pytest.approx(learned.levels["series"].mean[order], abs=1e-6)
    assert mixed.table("group").equals(learned.table("group")) or mixed.levels["group"].mean == pytest.approx(
        learned.levels["group"].mean, abs=1e-6
    )


def test_lift_is_the_formula_and_is_capped(shop):
    panel, _, learned = shop
    lift = learned.lift(panel, panel.first, panel.last).ravel()
    known, b = panel.known.astype(float), np.repeat(learned.levels["series"].mean, 104, axis=0)
    expected = (known[:, 0] / known[:, 2]) ** b[:, 0] * np.exp(b[:, 1] * known[:, 1])
    assert lift == pytest.approx(np.clip(expected, 0.1, 10), rel=1e-6)
    capped = Elasticities.learn(panel, group="category", reference="base", cap=1.5)
    assert capped.lift(panel, panel.first, panel.last).max() == pytest.approx(1.5)
    beyond = learned.lift(panel, panel.last + 1, panel.last + 3)
    assert beyond.shape == (panel.n_series, 3)
    assert (beyond == 1.0).all()


def test_unseen_series_take_their_items_groups_or_everyones_value(shop):
    _, _, learned = shop
    names = pl.DataFrame(
        {
            "item": ["item-00", "item-00", "other", "other"],
            "location": ["store-00", "elsewhere", "elsewhere", "elsewhere"],
            "category": ["food", "food", "toys", "tools"],
        }
    )
    few = made(np.ones((4, 5)), np.tile([0.5, 0.0, 1.0], (20, 1)), names)
    found = learned.coefficients(few)
    levels = learned.levels
    expected = [levels["series"].mean[0], levels["item"].mean[0], levels["group"].mean[1], levels["all"].mean[0]]
    assert found == pytest.approx(np.array(expected))


def test_the_regular_price_is_the_recent_maximum_without_a_column():
    panel, truth = draw(seed=1)
    learned = Elasticities.learn(panel, group="category")
    error = learned.levels["series"].mean[:, 0] - truth.series
    assert np.sqrt((error**2).mean()) < 0.2
    assert learned.design.window == 13


def test_a_flag_of_price_cuts_only_is_left_to_the_price():
    panel, _ = draw(seed=6)
    known = panel.known
    cut_only = ((known[:, 0] < known[:, 2] * 0.99) & (known[:, 1] == 0)).astype(np.float32)
    names = replace(panel.names, known=(*panel.names.known, "tpr"), promotions=("flag", "tpr"))
    learned = Elasticities.learn(
        replace(panel, known=np.column_stack((known, cut_only)), names=names), group="category", reference="base"
    )
    assert learned.design.names == ("price", "flag", REGULAR)
    plain = Elasticities.learn(panel, group="category", reference="base")
    assert learned.levels["item"].mean == pytest.approx(plain.levels["item"].mean, abs=1e-5)


def test_depths_and_categories():
    rng = np.random.default_rng(0)
    n, t = 20, 60
    depth = np.where(rng.random((n, t)) < 0.3, rng.choice([0.1, 0.3], (n, t)), 0.0)
    kind = rng.choice([0, 1, 2], (n, t), p=[0.6, 0.2, 0.2])
    z = np.log(40) + 2.0 * depth + np.array([0.0, 0.3, 0.7])[kind] + 0.1 * rng.normal(size=(n, t))
    known = np.stack((depth, kind), axis=2).reshape(-1, 2)
    names = pl.DataFrame({"item": [f"i{i}" for i in range(n)]})
    panel = made(np.exp(z), known, names, columns=("depth", "kind"))
    panel = replace(panel, names=replace(panel.names, categories={"kind": ("none", "leaflet", "stand")}))
    table = Elasticities.learn(panel).table("all")
    assert table["estimate"].to_list() == [None]
    assert table["lift_kind=leaflet"][0] == pytest.approx(np.exp(0.3), rel=0.05)
    assert table["lift_kind=stand"][0] == pytest.approx(np.exp(0.7), rel=0.05)
    typical = depth[depth > 0].mean()
    assert table["lift_depth"][0] == pytest.approx(np.exp(2.0 * typical), rel=0.05)


def test_saved_and_loaded(shop, tmp_path):
    panel, _, learned = shop
    learned.save(tmp_path / "model")
    again = Elasticities.load(tmp_path / "model")
    for kind in ("all", "group", "item", "series"):
        assert again.table(kind).equals(learned.table(kind))
    assert (again.lift(panel, 2000, 2010) == learned.lift(panel, 2000, 2010)).all()
    with pytest.raises(StoreError, match="Learn them again"):
        Elasticities.load(tmp_path)


def test_clear_errors(shop):
    panel, _, learned = shop
    bare = replace(panel, names=replace(panel.names, price=None, promotions=()))
    with pytest.raises(DataError, match="a price or promotions among the known columns"):
        Elasticities.learn(bare)
    with pytest.raises(DataError, match="a known column 'bas' of regular prices"):
        Elasticities.learn(panel, reference="bas")
    with pytest.raises(DataError, match="'categry'"):
        Elasticities.learn(panel, group="categry")
    with pytest.raises(ConfigError, match="cap: expected a lift above 1"):
        Elasticities.learn(panel, cap=1.0)
    with pytest.raises(ConfigError, match="kind: unknown kind 'items'"):
        learned.table("items")
    lost = replace(panel, names=replace(panel.names, known=("price", "flag", "other")))
    with pytest.raises(DataError, match="no base"):
        learned.lift(lost, 2000, 2001)


def test_tables_of_all_kinds(shop):
    panel, _, learned = shop
    tables = elasticity_tables(panel, "category", "base")
    assert list(tables) == ["all", "group", "item", "series"]
    assert [table.height for table in tables.values()] == [1, 2, 12, 72]
    assert tables["item"].equals(learned.table("item"))
    assert isinstance(Posterior(np.zeros((1, 1)), np.ones((1, 1, 1))).deviation, np.ndarray)
