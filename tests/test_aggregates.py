"""Totals as series: sums against SQL, the rule of half, weighted prices against a loop, and no look-ahead."""

from dataclasses import replace

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import shop
from shelfcast.data.aggregates import AGGREGATE, SINGLE, concat, with_aggregates
from shelfcast.data.panel import FeatureNames, Panel
from shelfcast.errors import DataError
from shelfcast.periods import Frequency, Unit

STATES, KINDS = ["CA", "CA", "TX", "TX", "WI"], ["food", "toys", "food", "food", None]


def a_panel(seed: int = 0, *, lengths=(30, 12, 25, 0, 18), starts=(0, 18, 5, 0, 9)) -> Panel:
    """Five ragged series, one without rows, with a price, a promotion, page views, gaps and NaNs; ends at period 29."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 9, n).astype(float) for n in lengths]
    seen = [rng.random(n) < 0.7 for n in lengths]
    price = rng.uniform(1, 5, sum(lengths)).astype(np.float32)
    price[rng.random(sum(lengths)) < 0.1] = np.nan
    flag = rng.integers(0, 2, sum(lengths))
    views = rng.integers(0, 50, sum(lengths)).astype(np.float32)
    views[rng.random(sum(lengths)) < 0.1] = np.nan
    made = shop.panel_of(
        rows, starts=starts, observed=seen, past=views[:, None], known=np.stack((price, flag), axis=1),
        static={"state": STATES, "kind": KINDS}, last=29,
    )  # fmt: skip
    return replace(made, names=FeatureNames(("views",), ("price", "promo"), "price", ("promo",)))


def cells(panel: Panel) -> pl.DataFrame:
    """The panel as a long table: a row for every series and period."""
    place = pl.Series(panel.row_series())
    table = panel.series.select(pl.col("item").alias("key"), "state", "kind")[place]
    return table.with_columns(
        period=pl.Series(panel.row_periods()), demand=pl.Series(panel.demand), observed=pl.Series(panel.observed),
        views=pl.Series(panel.past[:, 0]).fill_nan(None), price=pl.Series(panel.known[:, 0]).fill_nan(None),
    )  # fmt: skip


def totals(panel: Panel) -> Panel:
    """The aggregates of a panel that has some."""
    return panel.take((panel.series[AGGREGATE] != SINGLE).to_numpy())


# ---- which series there are


def test_names_levels_and_static_columns():
    made = with_aggregates(a_panel(), [[], ["state"], ["state", "kind"]])
    assert made.series[AGGREGATE].to_list() == [SINGLE] * 5 + ["total"] + ["state"] * 3 + ["state x kind"] * 4
    assert made.series["item"].to_list()[5:] == [
        "total", "state=CA", "state=TX", "state=WI",
        "state=CA, kind=food", "state=CA, kind=toys", "state=TX, kind=food", "state=WI, kind=?",
    ]  # fmt: skip
    assert made.series["state"].to_list()[5:] == [None, "CA", "TX", "WI", "CA", "CA", "TX", "WI"]
    assert made.series["kind"].to_list()[5:] == [None] * 4 + ["food", "toys", "food", None]


def test_the_products_stay_as_they_were():
    panel = a_panel()
    single = with_aggregates(panel, [["state"]]).take(slice(0, 5))
    for name in ("start", "indptr", "demand", "observed", "past", "known", "place"):
        np.testing.assert_array_equal(getattr(single, name), getattr(panel, name))
    assert single.series.drop(AGGREGATE).equals(panel.series)


def test_locations():
    panel = a_panel()
    keyed = replace(panel, series=panel.series.with_columns(location=pl.Series(["a", "b", "a", "b", "a"])))
    made = with_aggregates(keyed, [["location"], ["location", "state"]])
    assert made.series["location"].to_list() == ["a", "b", "a", "b", "a", *"*" * 7]
    assert made.series["item"].to_list()[5:7] == ["location=a", "location=b"]
    assert made.find("location=a", "*") == 5
    everything = made.demand[made.indptr[5] : made.indptr[7]].sum()
    assert everything <= panel.demand.sum()


def test_no_groups_and_no_series():
    panel = a_panel()
    assert with_aggregates(panel, []).n_series == 5
    none = with_aggregates(panel.take([]), [[], ["state"]])
    assert none.n_series == 0


def test_products_without_rows():
    """A group of products that never sold is a series without rows."""
    made = with_aggregates(a_panel(lengths=(30, 12, 25, 0, 0), starts=(0, 18, 5, 0, 0)), [["state"]])
    assert made.lengths.tolist()[5:] == [30, 25, 0]
    alone = with_aggregates(a_panel().take([3]), [[], ["state"]])
    assert alone.lengths.tolist() == [0, 0, 0]


def test_refusals():
    with pytest.raises(DataError, match="did you mean 'state'"):
        with_aggregates(a_panel(), [["stat"]])
    made = with_aggregates(a_panel(), [[]])
    with pytest.raises(DataError, match="a column 'aggregate'"):
        with_aggregates(made, [[]])
    with pytest.raises(DataError, match="name each grouping once"):
        with_aggregates(a_panel(), [["state"], ["state"]])
    panel = a_panel()
    named = replace(panel, series=panel.series.with_columns(item=pl.Series(["total", "b", "c", "d", "e"])))
    with pytest.raises(DataError, match="that no other series has") as caught:
        with_aggregates(named, [[]])
    assert "total" in str(caught.value)


def test_groups_that_only_look_alike():
    """A null and a '?' would be one name; they are not one group."""
    panel = a_panel()
    named = replace(panel, series=panel.series.with_columns(kind=pl.Series(["?", None, "x", "x", "x"])))
    with pytest.raises(DataError, match="that no other series has"):
        with_aggregates(named, [["kind"]])


# ---- what they hold


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("groups", [[], ["state"], ["kind"], ["state", "kind"]], ids=str)
def test_sums_against_sql(seed, groups):
    """Demand of observed members; observed where half of the members with a row were; past columns that are known."""
    panel = a_panel(seed)
    made = totals(with_aggregates(panel, [groups]))
    long_table = cells(panel)
    by = ", ".join(f"coalesce({name}, '?') as {name}" for name in groups)
    group = ", ".join(f"{name}" for name in groups)
    connection = duckdb.connect()
    connection.register("long_table", long_table)
    expected = connection.sql(f"""
        with members as (select {by + "," if by else ""} period, demand, observed, views from long_table),
        sums as (
            select {group + "," if group else ""} period, sum(demand) filter (observed) as demand,
                   count(*) filter (observed) as seen, count(*) as there, sum(views) as views
            from members group by all
        )
        select {group + "," if group else ""} period, seen > 0 and 2 * seen >= there as observed,
               case when seen > 0 and 2 * seen >= there then demand else 0 end as demand, views
        from sums order by all
    """).fetchall()
    names = made.series.with_columns(pl.col(groups).fill_null("?")).select(groups).rows() if groups else [()]
    got = []
    for i, period, demand, observed, views in zip(
        made.row_series(), made.row_periods(), made.demand, made.observed, made.past[:, 0], strict=True
    ):  # fmt: skip
        got.append((*names[i], int(period), bool(observed), float(demand), None if np.isnan(views) else float(views)))
    # Periods in which no member has a row are filled, unobserved.
    there = {row[: len(groups) + 1] for row in expected}
    assert [row for row in sorted(got) if row[: len(groups) + 1] in there] == expected
    assert all(row[-3:-1] == (False, 0.0) for row in got if row[: len(groups) + 1] not in there)


@pytest.mark.parametrize(("seen", "is_observed"), [(0, False), (1, False), (2, True), (3, True), (4, True)])
def test_half_of_the_members(seen, is_observed):
    observed = [[i < seen] for i in range(4)]
    made = totals(with_aggregates(shop.panel_of([[5.0]] * 4, observed=observed), [[]]))
    assert made.observed.tolist() == [is_observed]
    assert made.demand.tolist() == [5.0 * seen if is_observed else 0.0]


@pytest.mark.parametrize("lag", [0, 3, 10])
def test_prices_against_a_loop(lag):
    """The mean price of the members, weighted by what each had earned up to `lag` periods before."""
    panel = a_panel(1)
    made = totals(with_aggregates(panel, [["state"]], lag=lag))
    rows = cells(panel).with_columns(revenue=pl.col("demand").cast(pl.Float64) * pl.col("price").fill_null(0))
    for i, period, price in zip(made.row_series(), made.row_periods(), made.known[:, 0], strict=True):
        state = made.series["state"][int(i)]
        members = rows.filter(pl.col("state") == state)
        there = members.filter(pl.col("period") == period, pl.col("price").is_not_null())
        top = bottom = 0.0
        for key, value in there.select("key", "price").iter_rows():
            before = members.filter(pl.col("key") == key, pl.col("period") <= period - lag)
            weight = before["revenue"].sum() + 1e-6
            top, bottom = top + weight * value, bottom + weight
        if bottom:
            assert price == pytest.approx(top / bottom, rel=1e-5)
        else:
            assert np.isnan(price)


def test_prices_by_hand():
    """Sales 1 at 2.00 and 3 at 4.00: revenue 2 and 12, so the next period's price is (2 x 2 + 12 x 5) / 14."""
    panel = shop.panel_of([[1.0, 0.0], [3.0, 0.0]], known=np.array([[2.0], [2.0], [4.0], [5.0]]))
    priced = replace(panel, names=FeatureNames((), ("price",), "price"))
    made = totals(with_aggregates(priced, [[]], lag=1))
    assert made.known[:, 0].tolist() == pytest.approx([3.0, 64 / 14])
    without = totals(with_aggregates(replace(priced, names=FeatureNames((), ("k",))), [[]], lag=1))
    assert without.known[:, 0].tolist() == pytest.approx([3.0, (1 * 2 + 3 * 5) / 4])  # by units


# ---- knowledge time


@given(st.integers(0, 2**32 - 1), st.integers(0, 29), st.integers(0, 12))
def test_no_look_ahead(seed, origin, lag):
    """Rewriting demand after an origin changes nothing before it, and no known column up to `lag` periods after it."""
    panel = a_panel(seed)
    rng = np.random.default_rng(seed)
    later = panel.row_periods() > origin
    panel = replace(panel, demand=(panel.demand * 0.37).astype(np.float32))  # sums that round
    other = np.where(later, rng.uniform(0, 1e9, len(later)), panel.demand).astype(np.float32)
    seen = np.where(later, rng.random(len(later)) < 0.5, panel.observed)
    rewritten = replace(panel, demand=np.where(seen, other, 0).astype(np.float32), observed=seen)
    before, after = (with_aggregates(p, [[], ["state"]], lag=lag) for p in (panel, rewritten))
    known = before.row_periods() <= origin + lag
    past = before.row_periods() <= origin
    np.testing.assert_array_equal(before.known[known], after.known[known])
    for name in ("demand", "observed", "past"):
        np.testing.assert_array_equal(getattr(before, name)[past], getattr(after, name)[past])


@given(st.integers(0, 2**32 - 1), st.integers(0, 28))
def test_hiding_the_future_before_or_after_adding_up(seed, origin):
    """`as_of` then totals, or totals then `as_of`: the same demand and past columns."""
    panel = a_panel(seed)
    first = with_aggregates(panel.as_of(origin), [[], ["kind"]])
    then = with_aggregates(panel, [[], ["kind"]]).as_of(origin)
    assert first.last == then.last == origin
    for name in ("demand", "observed", "past", "start", "indptr"):
        np.testing.assert_array_equal(getattr(first, name), getattr(then, name))


def test_lag_of_two_seasons():
    """With weeks the weights lag by a year, with days by eight weeks."""
    for unit, lag in ((Unit.DAY, 56), (Unit.WEEK, 52), (Unit.MONTH, 12), (Unit.HOUR, 48)):
        n = lag + 1
        known = np.array([[1.0]] * n + [[3.0]] * n)
        rows = [np.r_[1.0, np.zeros(n - 1)], np.zeros(n)]
        panel = shop.panel_of(rows, known=known, frequency=Frequency(unit))
        made = totals(with_aggregates(panel, [[]]))
        assert made.known[lag - 1, 0] == 2.0
        assert made.known[lag, 0] == pytest.approx(1.0, abs=1e-5)


def test_concat_of_one():
    panel = a_panel()
    assert concat([panel]).fingerprint() == panel.fingerprint()
