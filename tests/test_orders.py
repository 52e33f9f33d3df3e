"""The order table: quantities and reasons by hand, joins, budgets against brute force, refusals."""

from datetime import date
from itertools import product

import numpy as np
import polars as pl
import pytest

from shelfcast.boards import why_nothing
from shelfcast.errors import DataError
from shelfcast.horizons import Horizon
from shelfcast.inventory.budget import Group, ration
from shelfcast.inventory.budget import expected_gain as gain_of
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.orders import Bound, GridLaws, Inventory, Limits, Missing, orders
from shelfcast.inventory.policies import CappedBaseStock, Cover, ProjectedStockout, QuantileOfSum
from shelfcast.laws import Counts

LEVELS = (0.1, 0.5, 0.9)
KEYS = pl.DataFrame({"item": ["milk", "milk", "soap"], "location": [1, 2, 1]})


def laws(scale=(1.0, 2.0, 3.0), mean=None):
    """Quantiles 2, 4, 10 over two periods and 3, 6, 15 over three, times `scale`."""
    grid = np.array([[2.0, 4.0, 10.0], [3.0, 6.0, 15.0]])
    values = np.asarray(scale)[:, None, None] * grid
    return GridLaws((Horizon(0, 2), Horizon(0, 3)), LEVELS, values, mean)


def inventory(on_hand=(0.0, 0.0, 0.0), on_order=None, missing=Missing.REFUSE):
    return Inventory(KEYS.with_columns(on_hand=pl.Series(on_hand)), on_order, missing)


def placed(
    *, held=None, economics=None, policy=None, supply=None, budget=None, keys=KEYS, forecast=None, dates=()
) -> pl.DataFrame:
    return orders(
        keys,
        forecast or laws(),
        held or inventory(),
        economics or Economics(1.0, 9.0, 8.0, 2.0),
        policy or QuantileOfSum(),
        Limits(supply or Supply(), budget),
        dates=dates,
    )


def test_quantities_and_reasons_by_hand():
    table = placed(held=inventory((1.0, 25.0, 0.0)), supply=Supply([1, 1, 2]))
    assert table["quantity"].to_list() == [9.0, 0.0, 45.0]
    assert table["target"].to_list() == [10.0, 20.0, 45.0]
    assert table["protects"].to_list() == ["0+2", "0+2", "0+3"]
    assert table["arrival"].to_list() == [1, 1, 2]
    assert table["cost"].to_list() == [18.0, 0.0, 90.0]
    assert table["limit"].to_list() == ["none", "enough stock", "none"]
    assert table["critical_ratio"].to_list() == [0.9] * 3
    assert table["why"][1] == "Expect 10 in 2 periods, aim at 20, have 25 and 0 on order: enough, no order."
    assert table.select("item", "location").equals(KEYS)


def test_horizons_agree_with_lead_and_review_times():
    table = placed(supply=Supply([1, 0, 0], [1, 2, 3]))
    assert table["protects"].to_list() == ["0+2", "0+2", "0+3"]
    assert table["critical_ratio"].to_list() == pytest.approx([9 / 10, 9 / 11, 9 / 12])
    by_hand = [10.0, 8 + (9 / 11 - 0.5) / 0.4 * 12, 18 + 0.25 / 0.4 * 27]  # between the levels 0.5 and 0.9
    assert table["quantity"].to_list() == np.ceil(by_hand).tolist()


def test_arrival_dates_as_far_as_the_calendar_reaches():
    days = [date(2026, 11, 23), date(2026, 11, 30)]
    table = placed(supply=Supply([0, 1, 2], [2, 1, 1]), dates=days)
    assert table["arrival_date"].to_list() == [*days, None]
    assert table["arrival_date"].dtype == pl.Date
    assert placed()["arrival_date"].to_list() == [None] * 3


def test_open_orders_are_added_up_and_joined_by_key_in_any_order():
    on_order = pl.DataFrame(
        {"location": [1, 2, 1, 9], "item": ["soap", "milk", "soap", "milk"], "quantity": [4, 3, 5, 99]}
    )
    stock = Inventory(
        KEYS.with_columns(on_hand=pl.Series([1, 2, 3]))[::-1], on_order.with_columns(due=pl.Series([0, 1, 1, 0]))
    )
    table = placed(held=stock)
    assert table["on_hand"].to_list() == [1.0, 2.0, 3.0]
    assert table["on_order"].to_list() == [0.0, 3.0, 9.0]
    assert table["position"].to_list() == [1.0, 5.0, 12.0]
    assert stock.stock(KEYS, Supply())[0].pipeline.tolist() == [[0.0, 0.0], [0.0, 3.0], [4.0, 5.0]]


def test_packs_minimum_and_cap_are_named():
    supply = Supply(pack_size=[6, 1, 1], minimum_order=[0, 50, 0])
    table = placed(supply=supply)
    assert table["quantity"].to_list() == [12.0, 50.0, 30.0]
    assert table["limit"].to_list() == ["pack", "minimum", "none"]
    assert "10 wanted, in packs of 6 that is 12." in table["why"][0]
    assert "20 wanted, the minimum order makes it 50." in table["why"][1]
    capped = placed(policy=CappedBaseStock(cap=1.0), forecast=laws(mean=np.array([[4.0, 6.0]] * 3)))
    assert capped["quantity"].to_list() == [2.0, 2.0, 2.0]
    assert set(capped["limit"]) == {"cap"}


def test_a_pack_larger_than_yearly_demand_is_one_pack_and_a_remark():
    table = placed(supply=Supply(pack_size=[500, 1, 1]))
    assert table["quantity"][0] == 500
    assert "lasts about 192 periods" in table["why"][0]  # 500 / 5.2 x 2


def test_a_forecast_mean_is_used_where_there_is_one():
    table = placed(policy=Cover(2.0), forecast=laws(mean=np.array([[7.0, 9.0]] * 3)))
    assert table["quantity"].to_list() == [7.0, 7.0, 7.0]
    assert table["mean_demand"].to_list() == [7.0, 7.0, 7.0]


def test_no_demand_stock_below_zero_and_a_level_beyond_the_forecast_are_said():
    table = placed(
        held=inventory((0.0, -3.0, 0.0)), forecast=laws((0.0, 1.0, 1.0)), economics=Economics(1.0, [9.0, 9.0, 99.0])
    )
    assert table["limit"].to_list() == ["no demand", "none", "none"]
    assert table["on_hand"].to_list() == [0.0, 0.0, 0.0]
    assert "Recorded stock -3 counts as 0." in table["why"][1]
    assert "stops at level 0.9, 0.99 was asked" in table["why"][2]
    assert "stops" not in table["why"][1]


def test_a_budget_of_zero_orders_nothing_and_says_so():
    table = placed(budget=0.0)
    assert table["quantity"].to_list() == [0.0] * 3
    assert table["limit"].to_list() == ["budget"] * 3
    assert "10 wanted, the budget leaves 0." in table["why"][0]


def test_orders_of_nothing_say_why():
    table = placed(held=inventory((0.0, 0.0, 99.0)), budget=0.0)
    assert why_nothing(table) == "budget (2), enough stock (1)"
    assert why_nothing(table.clear()) == "there are no products"


def test_a_budget_that_suffices_changes_nothing():
    assert placed(budget=120.0).equals(placed())


@pytest.mark.parametrize("policy", [QuantileOfSum(), Cover(9.0)])
@pytest.mark.parametrize("budget", [1.0, 20.0, 57.0, 119.0])
def test_a_budget_is_never_exceeded_and_packs_stay_whole(policy, budget):
    supply = Supply(pack_size=[2, 3, 1], minimum_order=[4, 0, 0])
    free, limited = placed(policy=policy, supply=supply), placed(policy=policy, supply=supply, budget=budget)
    assert limited["cost"].sum() <= budget
    assert (limited["quantity"] <= free["quantity"]).all()
    assert ((limited["quantity"] / pl.Series([2, 3, 1])) % 1 == 0).all()
    assert limited["quantity"][0] == 0 or limited["quantity"][0] >= 4


def expected_gain(quantity, law, economics):
    """Expected saving in mismatch cost from `quantity` against none, summed over items; the slow way."""
    demand = np.arange(law.table.shape[1])
    cost = [
        [
            row @ economics.take(np.array([i])).mismatch(np.maximum(s - demand, 0), np.maximum(demand - s, 0))
            for s in (0, q)
        ]
        for i, (row, q) in enumerate(zip(law.table, quantity, strict=True))
    ]
    return sum(none - some for none, some in cost)


@pytest.mark.parametrize("budget", [4.0, 11.0, 17.0, 26.0])
def test_a_budget_is_used_as_well_as_by_trying_everything(budget):
    law = Counts.poisson(np.array([1.0, 3.0, 4.0]))
    economics = Economics([1.0, 0.5, 0.2], [9.0, 4.0, 6.0], 0.0, [2.0, 3.0, 5.0])
    unlimited = np.array([3.0, 5.0, 8.0])
    groups = [Group(np.arange(3), law)]
    found = ration(budget, unlimited, np.zeros(3), groups, economics, Supply().for_items(3)).quantity
    tried = [q for q in product(range(4), range(6), range(9)) if np.dot(q, economics.cost) <= budget]
    best = max(expected_gain(q, law, economics) for q in tried)
    assert np.dot(found, economics.cost) <= budget
    assert expected_gain(found, law, economics) > 0.93 * best


def test_the_gain_of_orders_is_that_of_summing_over_the_law():
    law = Counts.poisson(np.array([1.0, 3.0, 4.0]))
    economics = Economics([1.0, 0.5, 0.2], [9.0, 4.0, 6.0])
    quantity = np.array([2.0, 4.0, 6.0])
    found = gain_of(quantity, np.zeros(3), [Group(np.arange(3), law)], economics)
    assert found.sum() == pytest.approx(expected_gain(quantity, law, economics), rel=0.01)  # 200 points for a law


def test_orders_are_ranked_by_gain_per_unit_of_money():
    table = placed(economics=Economics(1.0, [9.0, 30.0, 9.0], 8.0, [2.0, 2.0, 8.0]), held=inventory((0.0, 0.0, 90.0)))
    assert table["rank"].to_list() == [2, 1, None]
    assert table["gain"][2] == 0.0
    assert (table["gain"][:2] > 0).all()


def test_scarce_money_has_a_price_and_enough_has_none():
    assert (placed(budget=1e6)["price_of_money"] == 0).all()
    tight, tighter = (placed(budget=b)["price_of_money"][0] for b in (80.0, 20.0))
    assert 0 < tight < tighter
    level = (9.0 - tighter * 2.0) / 10.0  # the level at which the last unit of every item is bought
    assert 0 <= level < 0.9


def test_capacity_leaves_the_best_use_of_room():
    table = orders(KEYS, laws(), inventory(), Economics(1.0, 9.0), QuantileOfSum(), Limits(Supply(), None, 30.0))
    assert table["quantity"].sum() <= 30.0
    assert "capacity" in table["limit"].to_list()
    bulky = Limits(Supply(), None, 30.0, np.array([1.0, 1.0, 10.0]))
    crowded = orders(KEYS, laws(), inventory(), Economics(1.0, 9.0), QuantileOfSum(), bulky)
    assert crowded["quantity"].to_numpy() @ np.array([1.0, 1.0, 10.0]) <= 30.0
    assert crowded["quantity"][2] < table["quantity"][2]
    with pytest.raises(DataError, match="capacity of at least 0"):
        Limits(Supply(), None, -1.0)


def test_the_projected_rule_needs_each_period_on_the_way_and_says_which():
    with pytest.raises(DataError, match=r"no 0\+1 or 1\+1 for 3 series"):
        placed(policy=ProjectedStockout())
    single = GridLaws(
        (Horizon(0, 1), Horizon(0, 2), Horizon(1, 1)),
        LEVELS,
        np.tile([[1.0, 2.0, 5.0], [2.0, 4.0, 10.0], [1.0, 2.0, 5.0]], (3, 1, 1)),
    )
    table = placed(policy=ProjectedStockout(), forecast=single)
    assert (table["quantity"] > 0).all()
    lost = " What is asked for before it comes, and not on the shelf, is lost."
    assert table["why"].str.ends_with(lost).to_list() == (table["target"] < table["mean_demand"]).to_list()
    assert table["target"].to_list() == pytest.approx((table["position"] + table["quantity"]).to_list(), abs=1.0)


def test_missing_stock_is_refused_or_zero_as_declared():
    partial = KEYS.with_columns(on_hand=pl.Series([1, 2, 3]))[:2]
    with pytest.raises(DataError, match="none for 1 of 3") as caught:
        placed(held=Inventory(partial))
    assert "('soap', 1)" in str(caught.value)
    assert placed(held=Inventory(partial, missing=Missing.ZERO))["on_hand"].to_list() == [1.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (KEYS.with_columns(onhand=1), "did you mean 'onhand'"),
        (KEYS.with_columns(on_hand=1, location=pl.lit("x")), "same type"),
        (pl.concat([KEYS, KEYS]).with_columns(on_hand=1), "share a key"),
        (KEYS.with_columns(on_hand=pl.Series([1.0, None, 2.0])), "1 rows without"),
        (KEYS.with_columns(on_hand=pl.Series([1.0, np.nan, np.inf])), "2 rows without"),
        (KEYS.with_columns(on_hand=pl.lit("many")), "numbers in 'on_hand'"),
    ],
)
def test_bad_stock_tables_are_refused(table, message):
    with pytest.raises(DataError, match=message):
        placed(held=Inventory(table))


def test_bad_open_orders_are_refused():
    for quantity in (-1.0, np.nan):
        with pytest.raises(DataError, match="at least 0"):
            placed(held=inventory(on_order=KEYS.with_columns(quantity=pl.lit(quantity))))


def test_a_horizon_that_was_not_forecast_says_which_and_what_to_do():
    with pytest.raises(DataError, match=r"no 0\+5 or 0\+8 for 2 series; forecast are 0\+2, 0\+3") as caught:
        placed(supply=Supply([1, 4, 7]))
    assert "add 0+5, 0+8 to the horizons" in str(caught.value)


def test_doubled_series_budgets_and_free_items_are_refused():
    with pytest.raises(DataError, match="series: expected one row per series"):
        placed(keys=pl.concat([KEYS[:2], KEYS[:1]]))
    with pytest.raises(DataError, match="budget of at least 0"):
        Limits(Supply(), -1.0)
    with pytest.raises(DataError, match="a cost above 0"):
        placed(economics=Economics(1.0, 9.0), budget=5.0)


def test_no_series_gives_an_empty_table():
    forecast = GridLaws((Horizon(0, 2),), LEVELS, np.zeros((0, 1, 3)))
    table = placed(keys=KEYS[:0], forecast=forecast)
    assert len(table) == 0
    assert table.columns[-2:] == ["limit", "why"]


def test_every_reason_has_a_sentence():
    few = CappedBaseStock(cap=0.1)
    tables = [
        placed(held=inventory((0.0, 99.0, 0.0)), supply=Supply(pack_size=[6, 1, 1], minimum_order=[0, 0, 99])),
        placed(forecast=laws((0.0, 1.0, 1.0)), budget=30.0),
        placed(policy=few, supply=Supply(pack_size=0.0)),
        orders(KEYS, laws(), inventory(), Economics(1.0, 9.0), QuantileOfSum(), Limits(Supply(), None, 30.0)),
        placed(),
    ]
    seen = pl.concat(tables)
    assert set(seen["limit"]) == {bound.value for bound in Bound}
    assert seen["why"].null_count() == 0
    assert seen["why"].str.ends_with(".").all()
