"""Trees for what has no history: what they learn from, whom they answer, and that nobody else notices."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from shelfcast.horizons import Horizon
from shelfcast.models import growing
from shelfcast.models.drawing import draw_openings, openings
from shelfcast.models.forest import QuantileForest
from shelfcast.models.table import load
from shop import panel_of, rewritten_after

HORIZONS, LEVELS = (Horizon(0), Horizon(5), Horizon(0, 7)), (0.1, 0.5, 0.9)
SMALL = {"n_rows": 4_000, "n_trees": 12, "min_leaf": 10}
KIND = {"large": 40.0, "small": 2.0}
N_OLD, N_LAUNCHED, LAST = 20, 130, 299
NEW = [N_OLD + N_LAUNCHED, N_OLD + N_LAUNCHED + 1]  # a large one and a small one


@pytest.fixture(scope="module")
def whole():
    """Old products that sell 9 a period, launches of two kinds from period 60 on, and one new product of each kind."""
    rng = np.random.default_rng(3)
    starts = [0] * N_OLD + rng.integers(60, 280, N_LAUNCHED).tolist() + [LAST + 1] * 2
    kinds = ["small"] * N_OLD + [("large", "small")[k % 2] for k in range(N_LAUNCHED)] + ["large", "small"]
    means = [9.0] * N_OLD + [KIND[kind] for kind in kinds[N_OLD:]]
    rows = [rng.poisson(mean, LAST + 20 - start) for mean, start in zip(means, starts, strict=True)]
    return panel_of(rows, starts=starts, static={"kind": kinds})


@pytest.fixture(scope="module")
def launches(whole):
    return whole.as_of(LAST)


@pytest.fixture(scope="module")
def model(launches):
    return QuantileForest(HORIZONS, LEVELS, **SMALL).fit(launches)


def test_openings_are_first_periods_of_watched_launches(launches):
    leads = np.array([0, 5])
    drawn = draw_openings(launches, leads, 7, 150, np.random.default_rng(0))
    assert 100 < len(drawn) <= 150
    assert (drawn.origin == launches.start[drawn.series] - 1).all()
    assert (drawn.origin + drawn.lead + drawn.span <= LAST).all()
    assert len(set(zip(drawn.series, drawn.lead, strict=True))) == len(drawn)
    assert drawn.series.min() == N_OLD
    places, first, rows = openings(launches, drawn)
    assert first.lengths.max() == 12
    np.testing.assert_array_equal(places[rows.series], drawn.series)
    for k, place in enumerate(places):
        begin = launches.indptr[place]
        np.testing.assert_array_equal(
            first.demand[first.indptr[k] : first.indptr[k + 1]], launches.demand[begin : begin + first.lengths[k]]
        )


def test_new_products_sell_what_launches_of_their_kind_sold(launches, model):
    made = model.predict(launches, [LAST])
    for place, kind in zip(NEW, KIND, strict=True):
        for k, horizon in enumerate(HORIZONS):
            expected = KIND[kind] * horizon.span
            low, middle, high = made.values[place, 0, k]
            assert low < middle < high
            assert middle == pytest.approx(expected, rel=0.2, abs=1)
    assert (made.mean[NEW[0]] > 8 * made.mean[NEW[1]]).all()


def test_what_is_sold_later_moves_nothing(whole, launches, model):
    """Demand after the cut is rewritten, before it is hidden: every forecast stays."""
    later = rewritten_after(whole, LAST)
    assert not np.array_equal(later.demand, whole.demand)
    again = QuantileForest(HORIZONS, LEVELS, **SMALL).fit(later.as_of(LAST))
    np.testing.assert_array_equal(again.predict(launches, [LAST]).values, model.predict(launches, [LAST]).values)
    for forest in model.strata_[1].launches:
        assert (forest.leaves.origin == launches.start[forest.leaves.series] - 1).all()


def test_products_with_history_do_not_notice(launches, model, monkeypatch):
    monkeypatch.setattr(growing, "LAUNCHED_ITEMS", N_LAUNCHED + 1)
    without = QuantileForest(HORIZONS, LEVELS, **SMALL).fit(launches)
    assert all(not stratum.launches for stratum in without.strata_.values())
    one, other = (each.predict(launches, [LAST]) for each in (model, without))
    np.testing.assert_array_equal(one.values[: NEW[0]], other.values[: NEW[0]])
    np.testing.assert_array_equal(one.mean[: NEW[0]], other.mean[: NEW[0]])
    assert not np.array_equal(one.values[NEW], other.values[NEW])
    assert np.isfinite(other.values[NEW]).all()


def test_they_are_saved_and_explained(launches, model, tmp_path):
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict(launches, [LAST]).values, model.predict(launches, [LAST]).values)
    asked = [NEW[1], 0, NEW[0]]
    cases = again.cases(launches, LAST, asked, most=3)
    assert cases.equals(model.cases(launches, LAST, asked, most=3))
    assert list(dict.fromkeys(cases["item"])) == [f"item-{place:02d}" for place in asked]
    starts = dict(zip(launches.series["item"], launches.start, strict=True))
    kinds = dict(zip(launches.series["item"], launches.series["kind"], strict=True))
    for place, kind in zip(NEW, KIND, strict=True):
        mine = cases.filter(item=f"item-{place:02d}", lead=5, span=1)
        assert len(mine) > 3
        assert {kinds[item] for item in mine["case_item"]} == {kind}
        ages = [launches.frequency.to_period(date) - starts[item] for item, date in mine["case_item", "first"].rows()]
        assert set(ages) <= {0, 5}
    assert set(cases.filter(item="item-00")["case_item"]) & {f"item-{k:02d}" for k in range(N_OLD)}


def test_preflight_tells_their_rows(launches, model):
    line = model.preflight(launches)
    stated = int(re.search(r"at most ([\d,]+) of launches", line)[1].replace(",", ""))
    drawn = sum(
        len(draw_openings(launches, leads, span, 4_000, np.random.default_rng(0)))
        for span, leads in ((1, np.array([0, 5])), (7, np.array([0])))
    )
    assert drawn <= stated <= 1.1 * drawn
    assert "of launches" not in model.preflight(launches.take(np.r_[:N_OLD, N_OLD : N_OLD + 99]))


def test_too_few_launches_have_no_trees_of_their_own(launches):
    """Nor have those whose first periods were not seen, and those of items that were sold before."""

    def without(panel, **settings):
        fitted = QuantileForest(HORIZONS, LEVELS, **SMALL | settings).fit(panel)
        assert np.isfinite(fitted.predict(panel, [LAST]).values).all()
        return not fitted.strata_[1].launches

    assert not without(launches)
    assert without(launches.take(np.r_[:N_OLD, N_OLD : N_OLD + 99, NEW]))
    assert without(launches, n_rows=90)
    unseen = launches.observed.copy()
    for begin in launches.indptr[N_OLD + 3 : NEW[0]]:
        unseen[begin : begin + 6] = False
    assert without(replace(launches, observed=unseen))
    olds = [f"item-{k % N_OLD:02d}" for k in range(launches.n_series)]
    shops = [f"shop-{k // N_OLD}" for k in range(launches.n_series)]
    series = launches.series.with_columns(item=pl.Series(olds), location=pl.Series(shops)).select(
        "item", "location", "kind"
    )
    assert without(replace(launches, series=series))


def test_two_stages_have_them_too(launches, model):
    """They read no expected units, and are the same trees."""
    both = QuantileForest(HORIZONS, LEVELS, two_stage=True, **SMALL).fit(launches)
    one, other = (each.predict(launches, [LAST]).values for each in (model, both))
    np.testing.assert_array_equal(one[NEW], other[NEW])
    assert not np.array_equal(one[: NEW[0]], other[: NEW[0]])


def test_half_of_the_trees_read_what_does_not_change_with_dates(model):
    every, lasting = model.strata_[1].launches
    assert (every.trees.n_trees, lasting.trees.n_trees) == (6, 6)
    names = np.array(model.features_.names)
    read, few = (set(names[np.flatnonzero(f.trees.importance(len(names)))].tolist()) for f in (every, lasting))
    assert few <= {"kind rank", "lead", "span", "age at target", "place in season"}
    assert "kind rank" in few
    assert read - few
