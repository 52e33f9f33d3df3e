"""Trials: what a rule may see, blocks that add up, segments, and the oracle as a bound."""

from dataclasses import fields, replace

import numpy as np
import pytest

from shelfcast.errors import ConfigError
from shelfcast.horizons import Horizon
from shelfcast.inventory.budget import Scarce
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.policies import CappedBaseStock, Cover, ProjectedStockout, QuantileOfSum
from shelfcast.inventory.simulator import replay_steps
from shelfcast.inventory.stock import Stock, Unmet
from shelfcast.inventory.trials import (
    Oracle,
    Outcome,
    Segmented,
    Trial,
    decision,
    run_decision,
    run_rule,
    view_at,
    with_ratio,
)
from shelfcast.laws import Counts

N, LENGTH = 40, 30


def trial(lead=2, review=1, pack=1.0, *, seed=0, **more):
    rng = np.random.default_rng(seed)
    demand = rng.poisson(5.0, (N, LENGTH)).astype(float)
    counted = rng.random((N, LENGTH)) < 0.9
    counted[:, :lead] = False
    supply = Supply(lead, review, pack, **more)
    return Trial(demand, counted, Stock.of(np.full(N, 5.0 * (lead + review)), lead), Economics(0.5, 4.5), supply)


def laws(t, horizon):
    return Counts.poisson(np.full(N, 5.0 * horizon.span))


def test_blocks_add_up_whatever_their_length():
    outcomes = [run_rule(trial(), QuantileOfSum(), laws, n) for n in (1, 7, LENGTH)]
    assert [o.cost.shape[1] for o in outcomes] == [30, 5, 1]
    for name in ("cost", "sales", "short", "end_stock", "orders", "periods", "ordered_squares", "cash"):
        totals = [getattr(o, name).sum(axis=1) for o in outcomes]
        assert np.allclose(totals[0], totals[1])
        assert np.allclose(totals[0], totals[2])
    assert outcomes[0].total("cost") == pytest.approx(outcomes[0].total("holding") + outcomes[0].total("stockout"))
    assert outcomes[0].total("periods") == trial().counted.sum()


@pytest.mark.parametrize("block", [4, 7, LENGTH])
@pytest.mark.parametrize("rule", [Cover(4.0), CappedBaseStock(1.2), ProjectedStockout()])
@pytest.mark.parametrize(
    "terms",
    [
        {"lead": 0, "review": 3},
        {"lead": 2, "review": 1, "shelf_life": 4},
        {"lead": 3, "review": 7, "pack": 6.0, "minimum_order": 20.0},
        {"lead": 1, "review": 2, "drawn": np.random.default_rng(3).integers(0, 5, (N, LENGTH))},
    ],
)
def test_the_compiled_replay_between_reviews_is_that_of_one_period_after_another(terms, rule, block):
    here = trial(**terms)
    here = replace(here, economics=Economics(0.5, 4.5, 6.0, 1.5, discount=0.99, order_cost=2.0))
    quick, slow = run_rule(here, rule, laws, block), run_decision(here, decision(here, rule, laws), block)
    for name in (f.name for f in fields(Outcome)):
        assert np.allclose(getattr(quick, name), getattr(slow, name)), name


def test_periods_that_do_not_count_change_no_stock():
    some, every = trial(), trial()
    every.counted[:] = True
    partly = run_rule(some, Cover(3.0), laws, 1)
    whole = run_rule(every, Cover(3.0), laws, 1)
    assert np.allclose(partly.cost, np.where(some.counted, whole.cost, 0.0))


def test_a_rule_is_shown_the_laws_of_its_own_period_and_planned_lead_time():
    asked = []

    def watching(t, horizon):
        asked.append((t, horizon))
        return laws(t, horizon)

    run_rule(trial(lead=2, review=2), ProjectedStockout(), watching, 8)
    assert {t for t, _ in asked} == set(range(0, LENGTH, 2))
    assert {h for _, h in asked} == {Horizon(0, 1), Horizon(1, 1), Horizon(2, 2), Horizon(0, 4)}


def test_segments_order_by_their_own_rule():
    which = np.arange(N) % 2
    mixed = run_rule(trial(), Segmented((Cover(2.0), Cover(5.0)), which), laws, LENGTH)
    low, high = (run_rule(trial(), Cover(k), laws, LENGTH) for k in (2.0, 5.0))
    assert np.allclose(mixed.cost[which == 0], low.cost[which == 0])
    assert np.allclose(mixed.cost[which == 1], high.cost[which == 1])


@pytest.mark.parametrize(("lead", "review", "pack"), [(0, 1, 1.0), (2, 1, 1.0), (3, 2, 1.0), (2, 1, 12.0)])
def test_no_rule_beats_the_oracle(lead, review, pack):
    here = trial(lead, review, pack)
    perfect = run_rule(here, Oracle(here.demand, here.supply, here.economics), laws, LENGTH)
    best = perfect.total("cost")
    if pack == 1.0:
        assert perfect.total("short") == 0.0
    for rule in (Cover(3.0), QuantileOfSum(), CappedBaseStock(), ProjectedStockout()):
        assert run_rule(here, rule, laws, LENGTH).total("cost") > best


def test_wrong_costs_change_decisions_and_not_charges():
    here = trial()
    told = Trial(here.demand, here.counted, here.stock, here.economics, here.supply, Economics(0.5, 45.0))
    right, wrong = (run_rule(t, QuantileOfSum(), laws, LENGTH) for t in (here, told))
    assert wrong.total("ordered") > right.total("ordered")
    assert wrong.total("holding") == pytest.approx(0.5 * wrong.total("end_stock"))
    assert with_ratio(here.economics, 0.8, 7).over(7).critical_ratio == pytest.approx(0.8)


def test_mixed_lead_times_are_refused():
    with pytest.raises(ConfigError, match="one lead time for all items"):
        Trial(np.ones((2, 3)), np.ones((2, 3), bool), Stock.of([1.0, 1.0], 2), Economics(1.0, 9.0), Supply([1, 2]))


def test_a_budget_holds_at_every_review_and_all_of_it_goes_to_the_best_earners():
    here = trial(lead=1)
    money = replace(here.economics, cost=np.asarray(2.0))
    spent = []

    def run(budget):
        limited = replace(here, economics=money, scarce=Scarce(budget))
        spent.clear()
        order = decision(limited, QuantileOfSum(), laws)

        def watched(t, stock):
            wanted = order(t, stock)
            spent.append(2.0 * wanted.sum())
            return wanted

        return run_decision(limited, watched, LENGTH)

    free, tight, none = run(None).total("cost"), run(250.0).total("cost"), run(0.0)
    assert tight > free
    assert none.total("ordered") == 0.0
    run(250.0)
    assert max(spent) <= 250.0
    assert sum(s == pytest.approx(250.0, abs=2.0) for s in spent) > LENGTH / 2


def test_capacity_holds_in_units_of_room():
    here = replace(trial(lead=1), scarce=Scarce(capacity=300.0, volume=np.where(np.arange(N) < 20, 1.0, 3.0)))
    order = decision(here, QuantileOfSum(), laws)
    wanted = order(0, Stock.of(np.zeros(N), 1))
    assert wanted @ here.scarce.volume <= 300.0
    assert wanted[:20].sum() > 2 * wanted[20:].sum()  # the same gain a unit, a third of the room


def test_random_lead_times_widen_what_is_aimed_at_and_cost_less_when_known():
    rng = np.random.default_rng(7)
    chances = np.tile([0.0, 0.3, 0.4, 0.0, 0.3], (N, 1))
    drawn = rng.choice(5, (N, LENGTH), p=chances[0])
    blind = trial(lead=2, drawn=drawn)
    told = replace(blind, supply=replace(blind.supply, chances=chances))
    seen, planned = (view_at(t, 0, t.stock, laws, with_path=False) for t in (told, blind))
    aims = [QuantileOfSum().target(v).units[0] for v in (seen, planned)]
    assert aims[0] > aims[1] + 3
    by_hand = sum(p * Counts.poisson(np.array([5.0 * (lead + 1)])).cdf(aims[0])[0] for lead, p in enumerate(chances[0]))
    assert by_hand == pytest.approx(0.9, abs=0.02)
    assert seen.lead_sd[0] == pytest.approx(np.sqrt(0.3 + 1.6 + 4.8 - 2.3**2))
    assert seen.rate[0] == pytest.approx(5.0, rel=0.01)

    def cost(here):  # where demand waits, since there the quantile is the best rule
        order = decision(here, QuantileOfSum(), laws)
        made = replay_steps(order, here.demand, here.stock, here.economics, here.supply, unmet=Unmet.BACKLOG)
        return made.ledger.mismatch.sum()

    assert cost(told) < 0.95 * cost(blind)
