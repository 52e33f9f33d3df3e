"""Scores of revisions: closed forms, hand values, and what martingales, constants and flutter must give."""

from statistics import NormalDist

import numpy as np
import pytest

from shelfcast import scoring
from shelfcast.errors import ConfigError
from shelfcast.evaluation import evaluate
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon, per_period
from shelfcast.metrics import OF_REVISIONS
from shop import DAY, panel_of

FINE = (np.arange(49) + 0.5) / 49
Z = np.array([NormalDist().inv_cdf(a) for a in FINE])
N, STEPS, LEVEL = 2_000, 4, 50.0


def value(table, metric, **where):
    for name, wanted in where.items():
        table = table.filter(table[name] == wanted)
    found = table.filter(table["metric"] == metric)
    assert found.height == 1, found
    return float(found["value"][0])


def evolving(means, spreads, demand):
    """Forecasts from origins 0 .. of period `STEPS`, which alone is observed; other windows never change."""
    n, n_origins = means.shape
    values = np.full((n, n_origins, STEPS, len(FINE)), LEVEL, dtype=np.float32)
    for o in range(n_origins):
        values[:, o, STEPS - 1 - o] = means[:, o, None] + spreads[o] * Z
    rows = np.zeros((n, STEPS + 1))
    rows[:, STEPS] = demand
    panel = panel_of(rows, observed=np.arange(STEPS + 1)[None].repeat(n, 0) == STEPS)
    made = Forecast(
        panel.series, tuple(range(n_origins)), DAY, per_period(STEPS), tuple(FINE), values, values.mean(axis=-1)
    )  # fmt: skip
    return made, panel


def walk(seed=0):
    """Demand that is a sum of steps, one of which is seen at each origin: its laws are a martingale."""
    steps = np.random.default_rng(seed).normal(size=(N, STEPS))
    known = LEVEL + np.cumsum(steps, axis=1) - steps  # before each origin's own step
    return known, np.sqrt(STEPS - np.arange(STEPS)), LEVEL + steps.sum(axis=1)


def test_divergence_is_half_the_integral_of_squared_differences_of_cdfs():
    new, old = NormalDist(3, 1), NormalDist(4, 2)
    made = scoring.divergence([new.inv_cdf(a) for a in FINE], [old.inv_cdf(a) for a in FINE], FINE).mean()
    x = np.linspace(-15, 20, 20_001)
    gap = np.array([(new.cdf(v) - old.cdf(v)) ** 2 for v in x])
    assert made == pytest.approx(0.5 * gap.mean() * 35, rel=0.01)


def test_divergence_is_the_mean_loss_that_draws_of_the_new_law_pay():
    levels = np.array([0.1, 0.5, 0.9])
    new, old = np.array([1.0, 2.0, 5.0]), np.array([2.5, 2.5, 4.0])
    place = (np.arange(200_000) + 0.5) / 200_000
    draws = np.interp(place, levels, new)[:, None]
    paid = (scoring.pinball(draws, old, levels) - scoring.pinball(draws, new, levels)).mean(axis=0)
    np.testing.assert_allclose(scoring.divergence(new, old, levels), paid, atol=1e-4)
    np.testing.assert_allclose(scoring.divergence(old, old, levels), 0.0, atol=1e-12)


def test_a_martingale_has_revisions_but_no_excess_volatility():
    means, spreads, demand = walk()
    scores = evaluate(*evolving(means, spreads, demand), metrics=OF_REVISIONS)
    assert value(scores, "volatility") > 0.001
    assert abs(value(scores, "excess_volatility")) < 0.03 * value(scores, "volatility")
    moved, fell = value(scores, "belief_movement"), value(scores, "belief_reduction")
    assert moved > 0.01
    assert moved == pytest.approx(fell, rel=0.03)
    by_lead = evaluate(*evolving(means, spreads, demand), by=("lead",), metrics=["revision"])
    assert value(by_lead, "revision", lead=0) == pytest.approx(np.abs(spreads[2] * Z[None] + means[:, 2, None] - (
        spreads[3] * Z[None] + means[:, 3, None])).mean() / LEVEL, rel=0.05)  # fmt: skip


def test_flutter_is_charged_as_excess():
    """Means off by independent noise of spread s: excess volatility grows, and belief moves more than it falls."""
    means, spreads, demand = walk()
    noise = np.random.default_rng(1).normal(size=means.shape)
    excess = []
    for size in (0.0, 0.5, 1.0):
        scores = evaluate(*evolving(means + size * noise, spreads, demand), metrics=OF_REVISIONS)
        excess.append(value(scores, "excess_volatility"))
    assert excess[1] > excess[0] + 0.001
    assert excess[2] > 2 * excess[1]
    assert value(scores, "belief_movement") > 1.3 * abs(value(scores, "belief_reduction"))


def test_a_constant_forecast_has_no_revisions():
    demand = np.random.default_rng(2).normal(LEVEL, 5, 50)
    scores = evaluate(*evolving(np.full((50, STEPS), LEVEL), np.ones(STEPS), demand), metrics=OF_REVISIONS)
    assert scores["value"].to_list() == [0.0] * len(OF_REVISIONS)


def test_revisions_by_hand():
    """Said of period 4 from origins 1, 2, 3: medians 10, 12, 9; 11 came."""
    rows = [[0.0, 0, 0, 0, 11]]
    values = np.zeros((1, 3, 3, 1), dtype=np.float32)
    values[0, [0, 1, 2], [2, 1, 0], 0] = 10, 12, 9
    panel = panel_of(rows, observed=[[False] * 4 + [True]])
    made = Forecast(panel.series, (1, 2, 3), DAY, per_period(3), (0.5,), values, None)
    scores = evaluate(made, panel, by=("lead",), metrics=OF_REVISIONS)
    assert value(scores, "revision", lead=1) == pytest.approx(2 / 11)
    assert value(scores, "revision", lead=0) == pytest.approx(3 / 11)
    assert value(scores, "volatility", lead=1) == pytest.approx(2 / 11)  # claims 2 x 0.5 x 2
    assert value(scores, "excess_volatility", lead=1) == pytest.approx((2 - 0) / 11)  # losses 1 and 1: nothing gained
    assert value(scores, "excess_volatility", lead=0) == pytest.approx((3 - -1) / 11)  # loss 1 became 2
    assert value(scores, "order_flips", lead=0) == 1.0
    # at lead 0, three origins forecast periods 2, 3 and 4, but no other forecast than that of period 4 is above 0
    assert value(scores, "sfpc", lead=0) == pytest.approx(200 * 3 / 21 / 2)


def test_only_the_same_window_is_compared():
    """Origins two apart: leads match leads two longer, spans only spans."""
    horizons = (*per_period(3), Horizon(0, 2), Horizon(2, 2))
    panel = panel_of([[1.0] * 12])
    values = np.zeros((1, 2, 5, 1), dtype=np.float32)
    values[0, 0, 2], values[0, 0, 4] = 5, 7  # said first of lead 2 and span 2+2
    values[0, 1, 0], values[0, 1, 3] = 6, 9  # said later of lead 0 and span 0+2: the same windows
    made = Forecast(panel.series, (4, 6), DAY, horizons, (0.5,), values, None)
    scores = evaluate(made, panel, metrics=["revision"])
    assert value(scores, "revision", span=1) == pytest.approx(1.0)
    assert value(scores, "revision", span=2) == pytest.approx(2 / 2)
    by_origin = evaluate(made, panel, by=("origin",), metrics=["revision"])
    assert by_origin["origin"].unique().to_list() == [panel.date(6).item()]


def test_windows_that_never_overlap_are_refused_by_name():
    panel = panel_of([[1.0] * 12])
    made = Forecast(panel.series, (4, 8), DAY, per_period(2), (0.5,), np.ones((1, 2, 2, 1), np.float32), None)
    with pytest.raises(ConfigError, match="two successive origins"):
        evaluate(made, panel, metrics=["excess_volatility"])
    assert not OF_REVISIONS & set(evaluate(made, panel)["metric"])
