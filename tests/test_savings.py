"""Differences and their intervals by hand, service measures by hand, tuning that sees the tuning period alone."""

import numpy as np
import pytest

from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.policies import Cover, QuantileOfSum
from shelfcast.inventory.savings import difference, measures, regret_captured, stock_at_fill
from shelfcast.inventory.stock import Stock
from shelfcast.inventory.trials import Trial, run_rule
from shelfcast.inventory.tuning import candidates, tune
from shelfcast.laws import Counts


def test_a_difference_by_hand():
    cost, other = np.array([[1.0, 1.0], [4.0, 4.0], [3.0, 3.0]]), np.array([[2.0, 2.0], [4.0, 4.0], [2.0, 2.0]])
    found = difference(cost, other)
    assert found.relative == 0.0
    assert (found.improved, found.worsened, found.worst_decile) == (1 / 3, 1 / 3, 0.5)
    assert found.low < 0 < found.high
    assert not found.is_saving


def test_a_saving_of_every_item_leaves_no_doubt_and_noise_does():
    rng = np.random.default_rng(0)
    other = rng.gamma(2.0, 5.0, (80, 12))
    sure = difference(0.9 * other, other)
    assert (sure.relative, sure.low, sure.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert sure.is_saving
    noise = difference(rng.permutation(other), other)
    assert noise.low < noise.relative < noise.high
    assert not noise.is_saving


def test_an_interval_covers_what_it_claims():
    """Of many samples from one population, about 95 of 100 intervals hold the true difference."""
    inside = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        item, week = rng.gamma(4.0, 1.0, (60, 1)), rng.gamma(8.0, 1.0, (1, 16))
        other = item * week * rng.gamma(2.0, 0.5, (60, 16))
        cost = item * week * rng.gamma(2.0, 0.45, (60, 16))
        found = difference(cost, other, n=200)
        inside += found.low <= -0.1 <= found.high
    assert 0.88 <= inside / 120 <= 1.0


def test_items_of_one_cluster_are_drawn_together():
    other = np.ones((40, 6))
    cost = np.where(np.arange(40)[:, None] < 20, 0.5, 1.5) * other  # half the rows gain what the others lose
    apart = difference(cost, other)
    together = difference(cost, other, np.arange(40) // 20)
    assert together.high - together.low > 2 * (apart.high - apart.low)
    assert together.improved == 0.5


def test_measures_by_hand():
    demand = np.array([[3.0, 3.0, 3.0, 3.0]])
    trial = Trial(demand, np.ones((1, 4), bool), Stock.of([4.0], 0), Economics(1.0, 9.0, price=5.0), Supply(0, 4))
    outcome = run_rule(trial, Cover(2.0), lambda t, h: Counts.poisson(np.array([2.0 * h.span])), 2)
    found = measures(outcome, 52.0)
    assert outcome.ordered.sum() == 0.0  # 2 periods of 2 are what there is
    assert found["fill_rate"] == pytest.approx(4 / 12)
    assert found["in_stock_rate"] == pytest.approx(1 / 4)
    assert found["mean_stock"] == pytest.approx(1 / 4)
    assert found["turns"] == pytest.approx(52 * 4 / 1)
    assert found["cost"] == pytest.approx(1.0 + 9 * 8)
    assert found["cash"] == pytest.approx(20.0 - 1.0)


def test_regret_and_frontier_by_hand():
    assert regret_captured(60.0, 100.0, 20.0) == 0.5
    fill, stock = np.array([0.9, 0.7, 0.8]), np.array([30.0, 10.0, 16.0])
    assert stock_at_fill(fill, stock, 0.85) == pytest.approx(23.0)
    assert np.isnan(stock_at_fill(fill, stock, 0.95))


def test_tuning_takes_the_cheapest_and_segments_only_where_sure():
    rng = np.random.default_rng(1)
    which = np.repeat([0, 1], 60)
    demand = np.where(which[:, None] == 0, rng.poisson(5.0, (120, 40)), rng.poisson(9.0, (120, 40))).astype(float)
    trial = Trial(demand, np.ones((120, 40), bool), Stock.of(np.full(120, 15.0), 2), Economics(1.0, 9.0), Supply(2))

    def run(rule):
        return run_rule(trial, rule, lambda t, h: Counts.poisson(np.full(120, 5.0 * h.span)), 4)

    tried = candidates("cover", 3, 1)
    found = tune(tried, run, which)
    costs = {rule: run(rule).cost for rule in tried}
    assert found.overall == min(tried, key=lambda rule: costs[rule].sum())
    own = [min(tried, key=lambda rule: costs[rule][which == s].sum()) for s in (0, 1)]
    assert own[1].periods > own[0].periods  # the law says 5 for all; half of the items sell 9
    assert found.rules == tuple(own)
    alike = tune(tried, run, np.arange(120) % 3)
    assert set(alike.rules) == {alike.overall}


def test_candidates_hold_settings_around_every_rule():
    for name in ("cover", "safety-stock", "quantile", "capped", "reorder-point", "projected"):
        assert len(candidates(name, 3, 1)) >= 8
    assert QuantileOfSum(0.9) in candidates("quantile", 3, 1)
    assert candidates("learned", 3, 1) == []
