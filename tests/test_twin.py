"""The torch twin: equal to the exact replay on whole orders, gradients equal to differences off the kinks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.simulator import Rule, Stock, Unmet, replay, replay_steps
from shelfcast.inventory.twin import jittered, rollout

COLUMNS = ("ordered", "received", "sales", "short", "end_stock", "waste", "orders", "holding", "stockout", "cash")


def up_to(target, cap):
    """A capped base-stock rule on tensors."""
    return lambda t, on_hand, due: torch.minimum(cap, (target - on_hand - sum(due)).clip(0.0))


def case(rng, n, n_periods, *, drawn, life):
    supply = Supply(
        rng.integers(0, 4, n), rng.integers(1, 4, n), rng.choice([1.0, 6.0], n), rng.choice([0.0, 4.0], n),
        rng.integers(0, 4, n) if life else 0, rng.integers(0, 5, (n, n_periods)) if drawn else None,
    )  # fmt: skip
    economics = Economics(rng.uniform(0.1, 1, n), rng.uniform(1, 9, n), 5.0, 2.0, 1.0, 0.99, 0.7)
    stock = Stock(rng.integers(0, 9, n).astype(float), rng.integers(0, 5, (n, 4)).astype(float))
    return rng.integers(0, 9, (n, n_periods)).astype(float), supply, economics, stock


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), drawn=st.booleans(), life=st.booleans(), unmet=st.sampled_from(Unmet))
def test_whole_orders_give_exactly_the_ledger_of_the_compiled_replay(seed, drawn, life, unmet):
    rng = np.random.default_rng(seed)
    demand, supply, economics, stock = case(rng, 6, 12, drawn=drawn, life=life)
    target, cap = rng.integers(0, 40, 6).astype(float), rng.integers(1, 20, 6).astype(float)
    counted = rng.random(demand.shape) < 0.8
    exact = replay(demand, Rule.capped(target, cap), stock, economics, supply, unmet=unmet, observed=counted)
    made = rollout(
        up_to(*map(torch.tensor, (target, cap))), torch.tensor(demand), stock, economics, supply,
        counted=torch.tensor(counted), unmet=unmet, is_whole=True,
    )  # fmt: skip
    for name in COLUMNS:
        assert np.allclose(getattr(made.ledger, name).numpy(), getattr(exact.ledger, name)), name
    assert np.allclose(made.cost.numpy(), exact.ledger.mismatch)
    assert np.array_equal(made.on_hand.numpy(), exact.stock.on_hand)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_rules_are_shown_the_same_open_orders_where_lead_times_are_random(seed):
    """A rule that weighs each slot by its place would order otherwise at the first difference."""
    demand, supply, economics, stock = case(np.random.default_rng(seed), 5, 12, drawn=True, life=False)
    weights = 0.5 ** np.arange(12)

    def numpy_rule(t, stock):
        return np.maximum(30 - stock.on_hand - stock.pipeline @ weights[: stock.pipeline.shape[1]], 0.0)

    def torch_rule(t, on_hand, due):
        return (30 - on_hand - sum(units * w for units, w in zip(due, weights, strict=False))).clip(0.0)

    exact = replay_steps(numpy_rule, demand, stock, economics, supply)
    made = rollout(torch_rule, torch.tensor(demand), stock, economics, supply, is_whole=True)
    assert np.allclose(made.ledger.ordered.numpy(), exact.ledger.ordered)
    assert np.allclose(made.cost.numpy(), exact.ledger.mismatch)


@pytest.mark.parametrize("unmet", Unmet)
def test_gradients_agree_with_differences_off_the_kinks(unmet):
    rng = np.random.default_rng(3)
    n, n_periods = 40, 30
    supply = Supply(rng.integers(0, 4, n), rng.integers(1, 3, n), 0.0)
    economics = Economics(1.0, 9.0, 12.0, 3.0, 1.0, 0.99)
    demand = torch.tensor(rng.gamma(2.0, 2.5, (n, n_periods)))
    stock = Stock.of(rng.uniform(5.0, 15.0, n), 3)

    def cost(target, cap):
        made = rollout(up_to(target, cap), demand, stock, economics, supply, unmet=unmet)
        return (made.cost - made.ledger.cash).sum()

    target = torch.tensor(rng.uniform(10.0, 25.0, n), requires_grad=True)
    cap = torch.tensor(rng.uniform(4.0, 9.0, n), requires_grad=True)
    assert torch.autograd.gradcheck(cost, (target, cap), eps=1e-7, atol=1e-3, rtol=1e-4)


def test_whole_demand_on_whole_targets_has_a_wrong_gradient_and_jitter_mends_it():
    rng = np.random.default_rng(0)
    demand = rng.poisson(5.0, (2000, 60)).astype(float)
    economics, supply, stock = Economics(1.0, 4.0), Supply(2, 1, 0.0), Stock.of(np.full(2000, 10.0), 2)

    def slope(wanted, at):
        target = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        made = rollout(up_to(target, torch.tensor(np.inf)), torch.tensor(wanted), stock, economics, supply)
        (found,) = torch.autograd.grad(made.cost.mean(), target)
        return float(found)

    def cost(at):
        return replay(demand, Rule.base_stock(at), stock, economics, Supply(2, 1, 0.0)).ledger.mismatch.mean()

    around = cost(15.5) - cost(14.5)
    wrong, mended = slope(demand, 15.0), slope(jittered(demand, rng), 15.0)
    assert abs(mended - around) < 0.05 * abs(around) + 0.3
    assert abs(wrong - around) > 3 * abs(mended - around)


def test_jitter_keeps_the_mean_and_leaves_zeros():
    demand = np.tile([0.0, 1.0, 5.0], (4000, 1))
    made = jittered(demand, np.random.default_rng(1))
    assert (made[:, 0] == 0).all()
    assert made.mean(axis=0) == pytest.approx([0.0, 1.0, 5.0], abs=0.03)
