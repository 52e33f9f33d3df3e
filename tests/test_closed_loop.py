"""The closed loop: nothing but what was sold is seen, and what naive handling of sold-out periods does."""

from dataclasses import replace

import numpy as np
import pytest

from shelfcast.closed_loop import SoldOut, closed_loop
from shelfcast.forecast import concat_origins
from shelfcast.horizons import Horizon
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.policies import QuantileOfSum
from shelfcast.inventory.stock import Stock
from shelfcast.inventory.trials import Trial, run_rule
from shelfcast.models.table import forecaster
from shelfcast.replays import ForecastLaws
from shop import panel_of

N, PAST, T = 60, 40, 36
HORIZONS = (Horizon(0, 2),)


@pytest.fixture(scope="module")
def demand():
    return np.random.default_rng(0).poisson(6.0, (N, PAST + T)).astype(float)


def game(demand, *, first=PAST):
    """A panel of daily demand, and the trial of its last periods: lead time 1, a review every period, ratio 0.7."""
    panel = panel_of(list(demand), starts=[0] * N, last=PAST + T - 1)
    counted = np.ones((N, T), bool)
    stock = Stock(np.full(N, 8.0), np.full((N, 1), 6.0))
    trial = Trial(demand[:, first:], counted, stock, Economics(1.0, 2.3), Supply(1, 1, 1.0))
    model = forecaster("recent-quantiles", horizons=HORIZONS, levels=(0.1, 0.3, 0.5, 0.7, 0.9), window=14)
    return panel, trial, model.fit(panel.as_of(panel.first + first - 1))


def run(demand, told):
    panel, trial, model = game(demand)
    return closed_loop(panel, lambda p, o: model.predict(p, [o]), QuantileOfSum(), trial, panel.first + PAST, told)


@pytest.fixture(scope="module")
def outcomes(demand):
    return {told: run(demand, told) for told in SoldOut}


def test_told_the_truth_it_is_the_open_loop(demand, outcomes):
    panel, trial, model = game(demand)
    at = panel.first + PAST
    made = concat_origins([model.predict(panel.as_of(at + t - 1), [at + t - 1]) for t in range(T)])
    laws = ForecastLaws(made, np.arange(N), at)
    opened = run_rule(trial, QuantileOfSum(), laws, 4)
    assert np.array_equal(opened.ordered, outcomes[SoldOut.TRUTH].ordered)
    assert np.allclose(opened.cost, outcomes[SoldOut.TRUTH].cost)


def test_naive_handling_spirals_down_and_lower_bounds_hold(outcomes):
    late = {told: outcome.ordered[:, -3:].sum() for told, outcome in outcomes.items()}
    assert late[SoldOut.DROPPED] < 0.88 * late[SoldOut.TRUTH]
    assert late[SoldOut.DROPPED] < late[SoldOut.AS_SOLD] < 0.96 * late[SoldOut.TRUTH]
    assert late[SoldOut.AT_LEAST] == pytest.approx(late[SoldOut.TRUTH], rel=0.03)
    fills = {told: o.total("sales") / (o.total("sales") + o.total("short")) for told, o in outcomes.items()}
    assert fills[SoldOut.DROPPED] < fills[SoldOut.AS_SOLD] < fills[SoldOut.AT_LEAST]


@pytest.mark.parametrize("told", [SoldOut.AS_SOLD, SoldOut.AT_LEAST])
def test_no_order_knows_later_demand(demand, outcomes, told):
    """Rewriting everything from the twentieth period on changes no order up to it."""
    other = demand.copy()
    other[:, PAST + 20 :] = 99.0
    assert np.array_equal(run(other, told).ordered[:, :5], outcomes[told].ordered[:, :5])
    assert not np.array_equal(run(other, told).ordered, outcomes[told].ordered)


def test_demand_that_the_shelf_did_not_meet_is_not_seen(demand):
    """With a shelf that is empty from the first period on, nothing is observed, and forecasts stay as they were."""
    panel, trial, model = game(demand)
    seen = []

    def predict(p, origin):
        seen.append(p.window(panel.first + PAST, origin) if origin >= panel.first + PAST else None)
        return model.predict(p, [origin])

    empty = replace(trial, stock=Stock(np.zeros(N), np.zeros((N, 1))), supply=Supply(30, 1, 1.0), planned=1)
    closed_loop(panel, predict, QuantileOfSum(), empty, panel.first + PAST, SoldOut.AT_LEAST)
    demand_seen, observed = seen[20]
    assert not observed.any()
    assert (demand_seen[~observed] == 0).all()
