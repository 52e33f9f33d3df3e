"""Costs, critical ratios and terms of supply: hand values, the pinball identity, and refusals that name the item."""

import json
from math import erf, exp, pi, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfcast.errors import DataError
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.policies import quantile_each
from shelfcast.laws import Counts, Normal

GOLDEN = json.loads((Path(__file__).parent / "golden" / "inventory.json").read_text())


def golden(name):
    return pytest.approx(GOLDEN[name]["value"], abs=GOLDEN[name]["tolerance"])


def test_costs_from_what_a_retailer_knows():
    economics = Economics.of(price=[10.0, 5.0], cost=6.0, goodwill=[0.0, 3.0], storage=0.1, discount=0.95)
    assert economics.stockout_cost == pytest.approx([4.0, 2.0])
    assert economics.holding_cost == pytest.approx([0.4, 0.4])
    assert economics.critical_ratio == pytest.approx([10 / 11, 5 / 6])
    assert economics.storage == pytest.approx([0.1, 0.1])


def test_take_and_for_items_keep_values_and_names():
    economics = Economics(1.0, np.array([4.0, 9.0, 19.0]), names=("a", "b", "c"))
    taken = economics.take(np.array([2, 0]))
    assert taken.stockout_cost.tolist() == [19.0, 4.0]
    assert taken.holding_cost.tolist() == [1.0, 1.0]
    assert taken.names == ("c", "a")
    assert Economics(1.0, 9.0).for_items(3).stockout_cost.tolist() == [9.0] * 3


positive = st.floats(0.01, 1e3)


@given(stock=st.floats(0, 1e3), demand=st.floats(0, 1e3), holding=positive, stockout=positive)
def test_mismatch_is_a_multiple_of_pinball_at_the_critical_ratio(stock, demand, holding, stockout):
    economics = Economics(holding, stockout)
    level = float(economics.critical_ratio)
    pinball = max(level * (demand - stock), (level - 1) * (demand - stock))
    cost = float(economics.mismatch(max(stock - demand, 0), max(demand - stock, 0)))
    assert cost == pytest.approx((holding + stockout) * pinball, rel=1e-9, abs=1e-6)


def test_newsvendor_normal():
    economics = Economics(0.18, 0.70)
    best = quantile_each(Normal(np.array([50.0]), np.array([8.0])), economics.critical_ratio)[0]
    assert best == golden("newsvendor normal base stock")
    z = (best - 50) / 8
    cdf, density = (1 + erf(z / sqrt(2))) / 2, exp(-z * z / 2) / sqrt(2 * pi)
    left, unmet = 8 * (density + z * cdf), 8 * (density - z * (1 - cdf))
    assert float(economics.mismatch(left, unmet)) == golden("newsvendor normal cost")


def test_newsvendor_poisson():
    economics, law = Economics(1.0, 4.0), Counts.poisson(np.array([6.0]))
    best = quantile_each(law, economics.critical_ratio)[0]
    assert best == golden("newsvendor poisson base stock")
    demand = np.arange(law.table.shape[1])
    costs = [law.table[0] @ economics.mismatch(np.maximum(s - demand, 0), np.maximum(demand - s, 0)) for s in range(20)]
    assert int(np.argmin(costs)) == best
    assert min(costs) == golden("newsvendor poisson cost")


@pytest.mark.parametrize(
    ("changed", "field", "shown"),
    [
        ({"holding_cost": [1.0, -1.0]}, "holding_cost", "soap: holding_cost -1"),
        ({"holding_cost": [1.0, 0.0]}, "holding_cost", "soap: holding_cost 0"),
        ({"stockout_cost": [1.0, np.nan]}, "stockout_cost", "soap: stockout_cost missing"),
        ({"price": [1.0, -2.0]}, "price", "soap: price -2"),
        ({"cost": [1.0, np.inf]}, "cost", "soap: cost inf"),
        ({"discount": [1.0, 1.5]}, "discount", "soap: discount 1.5"),
    ],
)
def test_bad_numbers_are_refused_and_the_item_is_named(changed, field, shown):
    given_costs = {"holding_cost": [1.0, 1.0], "stockout_cost": [9.0, 9.0], **changed}
    with pytest.raises(DataError, match=field) as caught:
        Economics(**given_costs, names=("milk", "soap"))
    assert shown in str(caught.value)
    assert "milk" not in str(caught.value)


def test_a_price_below_cost_says_what_to_do():
    with pytest.raises(DataError, match="goodwill"):
        Economics.of(price=5.0, cost=6.0, storage=0.1)


def test_free_holding_says_what_to_do():
    with pytest.raises(DataError, match="storage cost"):
        Economics.of(price=5.0, cost=3.0)


def test_lengths_that_disagree_are_refused():
    with pytest.raises(DataError, match="one per item"):
        Economics([1.0, 1.0], [9.0, 9.0, 9.0])
    with pytest.raises(DataError, match="3 items"):
        Economics([1.0, 1.0], 9.0).for_items(3)


@pytest.mark.parametrize(
    "terms", [{"lead_time": -1}, {"lead_time": 1.5}, {"review_period": 0}, {"pack_size": -6}, {"minimum_order": np.nan}]
)
def test_bad_terms_of_supply_are_refused(terms):
    with pytest.raises(DataError, match=next(iter(terms))):
        Supply(**terms)


@pytest.mark.parametrize(
    ("terms", "shown"),
    [({"lead_time": [1, -2]}, "soap: lead_time -2"), ({"pack_size": [6, np.nan]}, "soap: pack_size missing")],
)
def test_bad_terms_of_supply_name_the_item(terms, shown):
    with pytest.raises(DataError) as caught:
        Supply(**terms, names=("milk", "soap"))
    assert shown in str(caught.value)
    assert "milk" not in str(caught.value)
    assert Supply(lead_time=[1, 2], names=("milk", "soap")).for_items(2).take(np.array([1])).names == ("soap",)


def test_protected_periods_are_lead_time_plus_review_period():
    assert Supply(lead_time=[0, 1, 4], review_period=[1, 1, 2]).protected.tolist() == [1, 2, 6]
