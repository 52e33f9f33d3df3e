"""One period by hand; conservation; compiled against a slow loop; known optima by long replay."""

import json
from math import ceil, sqrt
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfcast.errors import DataError
from shelfcast.inventory.blocks import BLOCK, whole_packs
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.simulator import Rule, Stock, Unmet, replay, replay_steps, step
from shelfcast.laws import Counts

GOLDEN = json.loads((Path(__file__).parent / "golden" / "inventory.json").read_text())
LOST, BACKLOG = Unmet.LOST, Unmet.BACKLOG


def golden(name):
    return pytest.approx(GOLDEN[name]["value"], abs=GOLDEN[name]["tolerance"])


# --- one period, by hand ---------------------------------------------------------------------------------------------


def test_a_period_of_lost_sales_by_hand():
    economics = Economics(1.0, 9.0, price=20.0, cost=11.0)
    before = Stock(np.array([3.0]), np.array([[2.0, 5.0]]))
    after, ledger = step(before, [4.0], [7.0], economics)
    assert before.position.tolist() == [10.0]
    assert (after.on_hand.tolist(), after.pipeline.tolist()) == ([0.0], [[5.0, 4.0]])
    assert [ledger.received[0], ledger.sales[0], ledger.short[0], ledger.end_stock[0]] == [2.0, 5.0, 2.0, 0.0]
    assert [ledger.revenue[0], ledger.purchase[0], ledger.holding[0], ledger.stockout[0]] == [100.0, 22.0, 0.0, 18.0]
    assert ledger.mismatch[0] == 18.0
    assert ledger.cash[0] == 78.0
    assert ledger.fill_rate[0] == pytest.approx(5 / 7)


def test_a_backlog_is_owed_and_then_delivered():
    economics = Economics(1.0, 9.0)
    stock, first = step(Stock(np.array([3.0]), np.array([[0.0]])), [6.0], [5.0], economics, unmet=BACKLOG)
    assert (stock.on_hand[0], first.sales[0], first.short[0]) == (-2.0, 3.0, 2.0)
    stock, second = step(stock, [0.0], [1.0], economics, unmet=BACKLOG)
    assert (stock.on_hand[0], second.sales[0], second.short[0], second.end_stock[0]) == (3.0, 3.0, 0.0, 3.0)


@pytest.mark.parametrize("lead", [0, 1, 2, 5])
def test_an_order_is_on_hand_at_the_start_of_the_period_lead_time_later(lead):
    demand = np.zeros((1, 8))
    demand[0, lead] = 1.0
    supply = Supply(lead_time=lead, review_period=8)
    result = replay(demand, Rule.constant(1.0), Stock.of([0.0], 0), Economics(1.0, 9.0), supply)
    assert result.ledger.sales[0] == 1.0
    early = np.roll(demand, -1, axis=1) if lead else np.zeros((1, 8))
    missed = replay(early, Rule.constant(1.0), Stock.of([0.0], 0), Economics(1.0, 9.0), supply)
    assert missed.ledger.sales[0] == 0.0


def test_an_order_protects_lead_time_plus_review_period():
    """With L = 2 and R = 3 only the order of period 0 can serve periods 2 to 4: the position must cover 0 to 4."""
    demand = np.ones((1, 5))
    supply, economics = Supply(lead_time=2, review_period=3), Economics(1.0, 9.0)
    enough = replay(demand, Rule.base_stock(5.0), Stock.of([2.0], 2), economics, supply)
    too_few = replay(demand, Rule.base_stock(4.0), Stock.of([2.0], 2), economics, supply)
    assert (enough.ledger.short[0], too_few.ledger.short[0]) == (0.0, 1.0)


def test_whole_packs_by_hand():
    assert whole_packs(np.array([0.0, -3.0, 1.0, 6.0, 6.5]), 6.0, 0.0).tolist() == [0.0, 0.0, 6.0, 6.0, 12.0]
    assert whole_packs(np.array([0.0, 1.0, 25.0]), 6.0, 20.0).tolist() == [0.0, 24.0, 30.0]
    assert whole_packs(np.array([0.3, 2.5]), 0.0, 1.0).tolist() == [1.0, 2.5]


# --- laws ------------------------------------------------------------------------------------------------------------


@st.composite
def cases(draw):
    """A few items with whole demand, any terms of supply, any rule and any stock."""
    n, n_periods = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    width = draw(st.integers(0, 4))
    stock = Stock(rng.integers(0, 10, n).astype(float), rng.integers(0, 5, (n, width)).astype(float))
    life = rng.integers(0, 4, n) * draw(st.integers(0, 1))
    drawn = rng.integers(0, 6, (n, n_periods)) if draw(st.booleans()) else None
    terms = (rng.integers(0, 5, n), rng.integers(1, 4, n), rng.integers(0, 7, n), rng.integers(0, 9, n))
    supply = Supply(*terms, life, drawn)
    economics = Economics(
        rng.uniform(0.1, 2, n), rng.uniform(0, 20, n), rng.uniform(0, 30, n), rng.uniform(0, 9, n), 3.0, 0.9, 2.0
    )
    target = rng.integers(0, 30, [n, (n, n_periods)][draw(st.integers(0, 1))]).astype(float)
    rules = [Rule.base_stock(target), Rule.capped(target, 7.0), Rule.constant(3.0), Rule.reorder_point(4.0, target)]
    rule = draw(st.sampled_from(rules))
    observed = rng.random((n, n_periods)) < 0.7
    return rng.poisson(3, (n, n_periods)).astype(float), rule, stock, economics, supply, observed


def slow(demand, rule, stock, economics, supply, unmet, observed, i):
    """One item, one obvious loop: a list of open orders, a list of batches by age, no arrays."""
    units = dict.fromkeys(("ordered", "received", "sales", "short", "end_stock", "waste", "mismatch", "cash"), 0.0)
    held, due = float(stock.on_hand[i]), {j: float(q) for j, q in enumerate(stock.pipeline[i])}
    terms, money = supply.for_items(len(demand)), economics.for_items(len(demand))
    lead = np.broadcast_to(terms.lead_time[:, None], demand.shape) if terms.drawn is None else terms.drawn
    batches, life = [[-1, held]], int(terms.shelf_life[i])
    for t, wanted in enumerate(demand[i]):
        order = 0.0
        if t % terms.review_period[i] == 0:
            level = np.broadcast_to(rule.target.T, (demand.shape[1], len(demand))).T[i, t]
            need = min(float(np.broadcast_to(rule.cap, len(demand))[i]), level - held - sum(due.values()))
            if need > 0 and level_reached(held + sum(due.values()), rule):
                pack = terms.pack_size[i]
                need = max(need, terms.minimum_order[i])
                order = ceil(need / pack) * pack if pack else need
        due[t + int(lead[i, t])] = due.get(t + int(lead[i, t]), 0.0) + order
        received = due.pop(t, 0.0)
        owed, shelf = max(-held, 0.0), max(held, 0.0) + received
        sales = min(shelf, wanted + owed)
        short = wanted + owed - sales
        batches.append([t, received])
        sold_from(batches, sales)
        waste = sum(q for born, q in batches if life and t - born >= life - 1)
        batches = [[born, q] for born, q in batches if not life or t - born < life - 1]
        left = shelf - sales - waste
        held = left - (short if unmet is BACKLOG else 0.0)
        if observed[i, t]:
            fixed = money.order_cost[i] * (order > 0)
            cash = money.price[i] * sales - money.cost[i] * received - money.storage[i] * left - fixed
            mismatch = money.holding_cost[i] * left + money.stockout_cost[i] * short + fixed + money.cost[i] * waste
            seen = (order, received, sales, short, left, waste, mismatch, cash * money.discount[i] ** t)
            units = {name: units[name] + value for name, value in zip(units, seen, strict=True)}
    n_periods = demand.shape[1]
    credit = min(money.cost[i], money.salvage[i]) * max(held, 0.0)
    return units | {"cash": units["cash"] + money.discount[i] ** n_periods * credit}, held, sum(due.values())


def level_reached(position, rule):
    return position <= rule.reorder


def sold_from(batches, sales):
    """Take what is sold from the oldest batches first."""
    for batch in batches:
        taken = min(batch[1], sales)
        batch[1] -= taken
        sales -= taken


@settings(deadline=None, max_examples=120)
@given(case=cases(), unmet=st.sampled_from(Unmet))
def test_compiled_replay_equals_an_obvious_loop(case, unmet):
    demand, rule, stock, economics, supply, observed = case
    result = replay(demand, rule, stock, economics, supply, unmet=unmet, observed=observed)
    for i in range(len(demand)):
        units, held, on_order = slow(demand, rule, stock, economics, supply, unmet, observed, i)
        for name, value in units.items():
            assert getattr(result.ledger, name)[i] == pytest.approx(value, abs=1e-9)
        assert result.stock.on_hand[i] == pytest.approx(held, abs=1e-9)
        assert result.stock.on_order[i] == pytest.approx(on_order, abs=1e-9)
        assert result.excluded[i] == (~observed[i]).sum()


@settings(deadline=None, max_examples=60)
@given(case=cases(), unmet=st.sampled_from(Unmet))
def test_units_are_conserved(case, unmet):
    demand, rule, stock, economics, supply, _ = case
    result = replay(demand, rule, stock, economics, supply, unmet=unmet)
    ledger, shelf = result.ledger, np.maximum(result.stock.on_hand, 0)
    assert np.allclose(stock.on_hand + ledger.received, ledger.sales + ledger.waste + shelf)
    assert np.allclose(stock.on_order + ledger.ordered, ledger.received + result.stock.on_order)
    if unmet is LOST:
        assert (result.stock.on_hand >= 0).all()
        assert np.allclose(ledger.sales + ledger.short, demand.sum(axis=1))


@settings(deadline=None, max_examples=30)
@given(case=cases())
def test_batched_equals_one_by_one(case):
    demand, rule, stock, economics, supply, observed = case
    whole = replay(demand, rule, stock, economics, supply, observed=observed)
    for i in range(len(demand)):
        row = np.array([i])
        target = rule.target[row] if rule.target.ndim else rule.target
        terms = supply.for_items(len(demand)).take(row)
        one = replay(
            demand[row],
            Rule(target, rule.cap, rule.reorder),
            stock.take(row),
            economics.take(row),
            terms,
            observed=observed[row],
        )
        assert one.ledger.mismatch[0] == whole.ledger.mismatch[i]
        assert one.ledger.cash[0] == whole.ledger.cash[i]


@settings(deadline=None, max_examples=30)
@given(case=cases(), unmet=st.sampled_from(Unmet))
def test_steps_equal_the_compiled_replay(case, unmet):
    demand, rule, stock, economics, supply, observed = case
    n, n_periods = demand.shape
    levels = np.broadcast_to(rule.target[:, None] if rule.target.ndim == 1 else rule.target, (n, n_periods))
    by_steps = replay_steps(
        lambda t, now: np.where(
            now.position <= rule.reorder, np.minimum(rule.cap, np.maximum(levels[:, t] - now.position, 0)), 0.0
        ),
        demand, stock, economics, supply, unmet=unmet, observed=observed,
    )  # fmt: skip
    compiled = replay(demand, rule, stock, economics, supply, unmet=unmet, observed=observed)
    for name in compiled.ledger.__dataclass_fields__:
        assert np.allclose(getattr(by_steps.ledger, name), getattr(compiled.ledger, name)), name
    assert np.allclose(by_steps.stock.on_hand, compiled.stock.on_hand)
    assert np.allclose(by_steps.stock.on_order, compiled.stock.on_order)


@pytest.mark.parametrize("is_counted_whole", [False, True])
@pytest.mark.parametrize("unmet", Unmet)
def test_items_of_several_blocks_keep_apart(unmet, is_counted_whole):
    """More items than one block holds, the last block not full, the second with one lead time and a daily review."""
    rng, n, n_periods = np.random.default_rng(11), 2 * BLOCK + 22, 23
    lead, review = rng.integers(0, 6, n), rng.integers(1, 4, n)
    lead[BLOCK : 2 * BLOCK], review[BLOCK : 2 * BLOCK] = 3, 1
    supply = Supply(lead, review, rng.choice([0, 1, 6], n), rng.integers(0, 9, n))
    economics = Economics(rng.uniform(0.1, 2, n), rng.uniform(0, 20, n), 9.0, rng.uniform(0, 9, n), 3.0, 0.9)
    stock = Stock(rng.integers(0, 10, n).astype(float), rng.integers(0, 5, (n, 4)).astype(float))
    demand, levels = rng.poisson(3, (n, n_periods)).astype(float), rng.uniform(0, 30, (n, n_periods))
    arguments = (demand, stock, economics, supply)
    observed = None if is_counted_whole else rng.random((n, n_periods)) < 0.7
    by_steps = replay_steps(
        lambda t, now: np.minimum(9.0, np.maximum(levels[:, t] - now.position, 0)),
        *arguments, unmet=unmet, observed=observed,
    )  # fmt: skip
    compiled = replay(demand, Rule.capped(levels, 9.0), *arguments[1:], unmet=unmet, observed=observed)
    for name in compiled.ledger.__dataclass_fields__:
        assert np.allclose(getattr(by_steps.ledger, name), getattr(compiled.ledger, name)), name
    assert np.allclose(by_steps.stock.pipeline, compiled.stock.pipeline)
    assert np.allclose(by_steps.stock.on_hand, compiled.stock.on_hand)


@settings(deadline=None, max_examples=30)
@given(case=cases())
def test_every_order_is_whole_packs_and_at_least_the_minimum(case):
    demand, rule, stock, economics, supply, _ = case
    terms, now = supply.for_items(len(demand)), stock
    for t in range(demand.shape[1]):
        column = rule.target[:, t : t + 1] if rule.target.ndim == 2 else rule.target
        every = Supply(terms.lead_time, 1, terms.pack_size, terms.minimum_order, terms.shelf_life)
        result = replay(demand[:, t : t + 1], Rule(column, rule.cap, rule.reorder), now, economics, every)
        order, pack = result.ledger.ordered, np.maximum(terms.pack_size, 1e-9)
        assert ((order == 0) | (order >= terms.minimum_order)).all()
        assert np.allclose(np.where(terms.pack_size > 0, order / pack % 1, 0), 0)
        now = result.stock


# --- known optima ----------------------------------------------------------------------------------------------------


def long_run(rule, lead, stockout, unmet=LOST, *, draws=None, pack=1.0, n=600, n_periods=1500, start=0.0):
    """Mean cost per period and its standard error, over items that are independent copies."""
    demand = np.random.default_rng(7).poisson(5.0, (n, n_periods)).astype(float) if draws is None else draws
    warm = np.broadcast_to(np.arange(demand.shape[1]) >= 100, demand.shape)
    supply = Supply(lead_time=lead, pack_size=pack)
    result = replay(
        demand, rule, Stock.of(np.full(len(demand), start), 0), Economics(1.0, stockout), supply, unmet=unmet,
        observed=warm,
    )  # fmt: skip
    costs = result.mean_mismatch
    return costs.mean(), costs.std(ddof=1) / sqrt(len(costs))


@pytest.mark.parametrize("stockout", [4, 9, 19, 39])
def test_constant_order_exactly_and_by_replay_whatever_the_lead_time(stockout):
    size = 200
    law = Counts.poisson(5.0).table
    chain = np.zeros((size, size))
    for x in range(size):
        ends = np.maximum(x + 4 - np.arange(len(law)), 0)
        np.add.at(chain[x], np.minimum(ends, size - 1), law)
    steady = np.linalg.matrix_power(chain, 2**14)[0]
    lost = 5.0 - 4.0  # what comes in goes out, and no more is sold
    exact = steady @ np.arange(size) + stockout * lost
    assert exact == golden(f"constant order p={stockout}")
    for lead in (0, 1, 4):
        cost, error = long_run(Rule.constant(4.0), lead, stockout)
        assert abs(cost - exact) < 4 * error


@pytest.mark.parametrize("lead", [1, 4])
def test_backlogged_normal_demand_costs_the_closed_form(lead):
    z = NormalDist().inv_cdf(0.9)
    closed = 10 * NormalDist().pdf(z) * 1.6 * sqrt(lead + 1)
    assert closed == golden(f"backlog normal L={lead}")
    target = 5 * (lead + 1) + z * 1.6 * sqrt(lead + 1)
    draws = np.random.default_rng(3).normal(5.0, 1.6, (600, 1500)).clip(0)
    cost, error = long_run(Rule.base_stock(target), lead, 9, BACKLOG, draws=draws, pack=0.0)
    assert abs(cost - closed) < 4 * error + 0.002  # demand below zero, 9 in 10,000, is clipped


def test_backlogged_poisson_is_a_newsvendor_over_the_protected_periods():
    law = Counts.poisson(25.0).table
    demand = np.arange(len(law))
    costs = [law @ (np.maximum(s - demand, 0) + 9 * np.maximum(demand - s, 0)) for s in range(60)]
    best = int(np.argmin(costs))
    assert best == golden("backlog poisson base stock")
    assert costs[best] == golden("backlog poisson cost")
    cost, error = long_run(Rule.base_stock(float(best)), 4, 9, BACKLOG)
    assert abs(cost - costs[best]) < 4 * error


@pytest.mark.parametrize(("stockout", "lead"), [(4, 1), (9, 2), (19, 4)])
def test_the_best_base_stock_under_lost_sales(stockout, lead):
    runs = [long_run(Rule.base_stock(float(s)), lead, stockout, n=300) for s in range(5 * lead + 3, 5 * lead + 20)]
    cost, error = min(runs)
    known = GOLDEN[f"lost sales base stock p={stockout} L={lead}"]["value"]
    assert abs(cost - known) < 4 * error


def test_the_best_capped_base_stock_under_lost_sales():
    runs = [long_run(Rule.capped(float(s), float(r)), 2, 9, n=300) for s in range(17, 23) for r in range(5, 9)]
    cost, error = min(runs)
    assert abs(cost - GOLDEN["lost sales capped p=9 L=2"]["value"]) < 4 * error


# --- edges and refusals ----------------------------------------------------------------------------------------------


def test_stock_larger_than_any_demand_orders_nothing():
    result = replay(np.full((1, 9), 5.0), Rule.base_stock(30.0), Stock.of([1e6], 1), Economics(1.0, 9.0), Supply())
    assert result.ledger.ordered[0] == 0
    assert result.ledger.short[0] == 0


def test_a_pack_larger_than_yearly_demand_is_bought_once():
    result = replay(np.ones((1, 52)), Rule.base_stock(3.0), Stock.of([0.0], 1), Economics(1.0, 9.0), Supply(1, 1, 500))
    assert result.ledger.ordered[0] == 500
    assert result.stock.on_hand[0] == 500 - 51


def test_missing_demand_counts_only_where_not_observed():
    demand = np.array([[1.0, np.nan, 1.0]])
    arguments = (Rule.base_stock(5.0), Stock.of([5.0], 1), Economics(1.0, 9.0), Supply())
    result = replay(demand, *arguments, observed=~np.isnan(demand))
    assert (result.periods[0], result.excluded[0], result.ledger.sales[0]) == (2, 1, 2.0)
    with pytest.raises(DataError, match="item 0, period 1: nan"):
        replay(demand, *arguments)
    with pytest.raises(DataError, match="item 0, period 1: -1"):
        replay(np.array([[1.0, -1.0, 1.0]]), *arguments)


def test_terminal_stock_is_credited_at_most_at_cost():
    economics = Economics(1.0, 9.0, price=0.0, cost=2.0, salvage=7.0, discount=0.5)
    result = replay(np.zeros((1, 2)), Rule.base_stock(0.0), Stock.of([10.0], 1), economics, Supply())
    assert result.ledger.cash[0] == pytest.approx(0.25 * 2 * 10)  # storage is 1 - 2 x 0.5 = 0


@pytest.mark.parametrize("rule", [Rule.base_stock(np.inf), Rule.base_stock(np.nan), Rule.base_stock(np.ones((2, 3)))])
def test_rules_without_a_usable_target_are_refused(rule):
    with pytest.raises(DataError, match="target"):
        replay(np.ones((1, 5)), rule, Stock.of([0.0], 1), Economics(1.0, 9.0), Supply())


def test_shapes_that_disagree_are_refused():
    with pytest.raises(DataError, match="items, periods"):
        replay(np.ones((2, 5)), Rule.base_stock(1.0), Stock.of([0.0], 1), Economics(1.0, 9.0), Supply())


def test_reorder_points_with_order_costs_reach_the_textbook_cost():
    demand = np.random.default_rng(9).poisson(6.0, (600, 1500)).astype(float)
    economics, supply = Economics(1.0, 4.0, order_cost=5.0), Supply(lead_time=0)

    def cost(s, big):
        result = replay(
            demand, Rule.reorder_point(s, big), Stock.of(np.full(600, big), 0), economics, supply, unmet=BACKLOG
        )
        return result.mean_mismatch.mean(), result.mean_mismatch.std(ddof=1) / sqrt(600)

    best, error = cost(4.0, 10.0)
    assert abs(best - GOLDEN["(s, S) cost"]["value"]) < 4 * error + 0.005  # the start takes a few of 1500 periods
    assert all(best < cost(s, big)[0] for s, big in ((3.0, 10.0), (5.0, 10.0), (4.0, 8.0), (4.0, 12.0)))


def test_a_unit_is_sold_for_its_shelf_life_and_then_thrown_away():
    """Three units with a shelf life of two: sold in the period of arrival and the next, the third is waste."""
    demand = np.array([[1.0, 1.0, 1.0]])
    supply = Supply(lead_time=0, review_period=3, shelf_life=2)
    economics = Economics(1.0, 9.0, cost=2.0)
    ledger = replay(demand, Rule.constant(3.0), Stock.of([0.0], 0), economics, supply).ledger
    assert (ledger.sales[0], ledger.waste[0], ledger.short[0], ledger.end_stock[0]) == (2.0, 1.0, 1.0, 2.0)
    assert (ledger.spoilage[0], ledger.mismatch[0]) == (2.0, 2.0 + 9.0 + 2.0)


def test_drawn_lead_times_may_cross_and_the_buyer_sees_the_plan():
    drawn = np.array([[3, 1, 1, 1]])
    supply, seen = Supply(lead_time=2, drawn=drawn), []

    def decide(t, stock):
        seen.append(stock.pipeline[0].tolist())
        return np.array([float(t + 1)])

    result = replay_steps(decide, np.zeros((1, 4)), Stock.of([0.0], 1), Economics(1.0, 9.0), supply)
    assert result.stock.on_hand[0] == 1 + 2 + 3  # what was ordered first comes with what was ordered third
    assert seen[1][:2] == [0.0, 1.0]  # planned to come in period 2, comes in 3
    assert seen[2][:2] == [2.0, 1.0]  # the second has come; the first is late: next period at the earliest
    assert seen[3][0] == 1.0 + 3.0
    with pytest.raises(DataError, match="drawn for 5 periods"):
        replay_steps(decide, np.zeros((1, 5)), Stock.of([0.0], 1), Economics(1.0, 9.0), supply)
