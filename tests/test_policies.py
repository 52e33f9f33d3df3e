"""Targets by hand, quantiles row by row, caps, settings, and a policy replayed against the compiled rule."""

import json
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shelfcast.errors import ConfigError
from shelfcast.horizons import Horizon
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.policies import (
    POLICIES,
    CappedBaseStock,
    Cover,
    ProjectedStockout,
    QuantileOfSum,
    ReorderPoint,
    SafetyStock,
    View,
    policy,
    quantile_each,
    spread,
)
from shelfcast.inventory.simulator import Rule, Stock, replay
from shelfcast.inventory.trials import replay_policy
from shelfcast.laws import Counts, Empirical, Grid, Normal

GOLDEN = json.loads((Path(__file__).parent / "golden" / "inventory.json").read_text())


def view(law, *, on_hand=0.0, span=4, review=1, sd=None, economics=None):
    stock = Stock.of(np.full(law.shape, on_hand), span)
    path = (Counts.poisson(np.full(law.shape, 3.0)),) * (span - review + 1)
    return View(9, stock, Horizon(0, span), law, economics or Economics(1.0, 9.0), review, sd, path)


def normal(mean=(20.0, 40.0), sd=(4.0, 6.0)):
    return Normal(np.array(mean), np.array(sd))


def test_cover_orders_up_to_periods_of_mean_demand():
    assert Cover(3.0).order(view(normal())) == pytest.approx([15.0, 30.0], abs=1e-5)
    assert Cover(3.0).order(view(normal(), on_hand=18.0)) == pytest.approx([0.0, 12.0], abs=1e-5)


def test_safety_stock_is_the_spreadsheet():
    given_sd = view(normal(), sd=np.array([2.0, 3.0]))
    assert SafetyStock(1.5).target(given_sd).units == pytest.approx([20 + 1.5 * 2 * 2, 40 + 1.5 * 3 * 2], abs=1e-4)


def test_safety_stock_without_a_deviation_takes_the_laws_own():
    assert SafetyStock(1.0).target(view(normal())).units == pytest.approx([24.0, 46.0], rel=0.005)


def test_spread_of_known_laws():
    assert spread(normal()) == pytest.approx([4.0, 6.0], rel=0.01)
    assert spread(Counts.poisson(np.array([9.0]))) == pytest.approx([3.0], rel=0.02)  # the mass beyond 1 in 400 is cut


def test_quantile_of_the_sum_under_a_known_law_is_the_closed_form():
    economics = Economics(1.0, np.array([9.0, 4.0]))
    z9, z8 = NormalDist().inv_cdf(0.9), NormalDist().inv_cdf(0.8)
    target = QuantileOfSum().target(view(normal(), economics=economics))
    assert target.units == pytest.approx([20 + z9 * 4, 40 + z8 * 6])
    assert target.level == pytest.approx([0.9, 0.8])
    assert QuantileOfSum(0.5).order(view(normal(), on_hand=25.0)) == pytest.approx([0.0, 15.0])


def test_quantile_of_the_sum_orders_the_best_backlog_level():
    law = Counts.poisson(np.array([25.0]))
    assert QuantileOfSum().order(view(law, span=5)).tolist() == [GOLDEN["backlog poisson base stock"]["value"]]


def test_a_cap_limits_the_order_and_not_the_target():
    seen = view(normal(), review=2)
    aim = CappedBaseStock(cap=1.5, level=0.9).target(seen)
    assert aim.cap == pytest.approx([1.5 * 5 * 2, 1.5 * 10 * 2], abs=1e-5)
    assert aim.units == pytest.approx(QuantileOfSum(0.9).target(seen).units)
    assert CappedBaseStock(cap=1.5, level=0.9).order(seen) == pytest.approx([15.0, 30.0], abs=1e-5)
    assert CappedBaseStock(cap=100.0, base_stock=7.0).order(seen).tolist() == [7.0, 7.0]


@given(seed=st.integers(0, 2**32 - 1))
def test_each_law_at_its_own_level_equals_one_by_one(seed):
    rng = np.random.default_rng(seed)
    n, levels = 5, np.array([0.1, 0.4, 0.5, 0.9])
    wanted = rng.random(n)
    values = np.sort(rng.random((n, 4)) * 50, axis=1)
    laws = (
        Grid(levels, values),
        Empirical.of(values),
        Counts.poisson(values[:, 0]),
        Normal(values[:, 1], values[:, 0]),
    )
    for law in laws:
        every = law.quantile(wanted)
        assert quantile_each(law, wanted) == pytest.approx(every[np.arange(n), np.arange(n)])


def test_more_levels_than_one_block_and_levels_at_the_ends():
    wanted = np.linspace(0, 1, 300)
    law = Normal(np.full(300, 50.0), np.full(300, 5.0))
    found = quantile_each(law, wanted)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    assert found[150] == pytest.approx(law.quantile([wanted[150]])[0, 0])


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_wants_finite_units_and_less_with_more_stock(name):
    rule = policy(name)
    law = Counts.poisson(np.array([0.001, 3.0, 40.0]))
    orders = [rule.order(view(law, on_hand=held)) for held in (0.0, 1.0, 10.0, 1e6)]
    assert all(np.isfinite(order).all() and (order >= 0).all() for order in orders)
    assert (np.diff(orders, axis=0) <= 0).all()
    assert (orders[-1] == 0).all()
    aim = rule.target(view(law))
    assert orders[0].tolist() == np.minimum(aim.cap, aim.units).tolist()


def test_a_policy_replayed_equals_the_compiled_rule():
    rng = np.random.default_rng(5)
    demand = rng.poisson(5, (20, 30)).astype(float)
    law, supply, economics = Counts.poisson(np.full(20, 20.0)), Supply(2, 2, 6, 12), Economics(1.0, 9.0, 4.0, 2.0)
    stock = Stock.of(np.full(20, 8.0), 2)
    asked = []

    def laws(t):
        asked.append(t)
        return law

    slow = replay_policy(QuantileOfSum(), laws, demand, stock, economics, supply)
    target = quantile_each(law, 9.0 / 11.0)  # what is left costs 1 a period, and orders are two periods apart
    fast = replay(demand, Rule.base_stock(target), stock, economics, supply)
    assert np.allclose(slow.ledger.mismatch, fast.ledger.mismatch)
    assert np.allclose(slow.ledger.cash, fast.ledger.cash)
    assert asked == list(range(0, 30, 2))


@pytest.mark.parametrize("review", [1, 4, 7])
def test_what_is_left_is_held_until_the_next_order_so_rarer_orders_aim_lower(review):
    """Orders that arrive at once, every R periods: cost of a cycle summed over the Poisson law, all targets tried."""
    economics, rate, most = Economics(1.0, 40.0), 2.0, 60
    sums = [Counts.poisson(np.array([rate * k])) for k in range(1, review + 1)]
    short = [float(np.maximum(np.arange(sums[-1].table.shape[1]) - s, 0) @ sums[-1].table[0]) for s in range(most)]
    left = [sum(float(np.maximum(s - np.arange(x.table.shape[1]), 0) @ x.table[0]) for x in sums) for s in range(most)]
    cost = np.array(left) + 40.0 * np.array(short)
    seen = View(0, Stock.of([0.0], 0), Horizon(0, review), sums[-1], economics, review, path=(sums[-1],))
    for rule in (QuantileOfSum(), ProjectedStockout(1.0)):
        aim = int(np.ceil(rule.target(seen).units[0]))
        assert cost[aim] <= 1.01 * cost.min()
    if review > 1:  # as if every period had an order
        assert cost[int(quantile_each(sums[-1], economics.critical_ratio)[0])] > 1.05 * cost.min()


def test_replaying_mixed_lead_times_is_refused():
    stock = Stock.of([1.0, 1.0], 2)
    with pytest.raises(ConfigError, match="one lead time"):
        replay_policy(Cover(), lambda t: normal(), np.ones((2, 3)), stock, Economics(1.0, 9.0), Supply([1, 2]))


def test_policies_by_name_and_their_refusals():
    assert policy("capped", {"cap": 2.0, "level": 0.9}) == CappedBaseStock(2.0, 0.9)
    with pytest.raises(ConfigError, match="did you mean 'cover'"):
        policy("covr")
    with pytest.raises(ConfigError, match="did you mean 'level'"):
        policy("quantile", {"levle": 0.9})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cover", {"periods": 0.0}),
        ("cover", {"periods": float("nan")}),
        ("safety-stock", {"z": -1.0}),
        ("quantile", {"level": 95.0}),
        ("capped", {"cap": 0.0}),
        ("capped", {"base_stock": -1.0}),
    ],
)
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(ConfigError, match=rf"policy\.{next(iter(settings))}: expected"):
        policy(name, settings)


def test_a_reorder_point_waits_and_then_orders_a_lot():
    economics = Economics(2.0, 18.0, order_cost=40.0)
    aim = ReorderPoint(level=0.5).target(view(normal(), economics=economics))
    lots = np.sqrt(2 * 40 * np.array([5.0, 10.0]) / 2)  # Harris: 14.14 and 20
    assert aim.reorder == pytest.approx([20.0, 40.0])
    assert aim.units == pytest.approx([20 + lots[0], 40 + lots[1]], abs=1e-4)
    assert aim.order(np.array([20.1, 39.0])) == pytest.approx([0.0, 1 + lots[1]], abs=1e-4)
    without = ReorderPoint(level=0.5).target(view(normal(), review=2))
    assert without.units == pytest.approx([20 + 2 * 5, 40 + 2 * 10], abs=1e-4)  # orders cost nothing: a review's demand
    fixed = ReorderPoint(reorder=4.0, base_stock=10.0)
    assert fixed.order(view(normal(), on_hand=4.0)).tolist() == [6.0, 6.0]
    assert fixed.order(view(normal(), on_hand=5.0)).tolist() == [0.0, 0.0]
    with pytest.raises(ConfigError, match="together"):
        ReorderPoint(reorder=4.0)
