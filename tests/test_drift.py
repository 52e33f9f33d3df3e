"""Alarms: told in the week of a change, quiet otherwise; the sums behind them against a count by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import shop
from shelfcast.drift import alarms, input_alarms, score_published, weekly
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon

LEVELS = (0.1, 0.5, 0.9)
N = 30


def panel_of(factor: float = 1.0):
    """Ten weeks of Poisson sales, of which the latest is multiplied."""
    demand = np.random.default_rng(0).poisson(20, (N, 70)).astype(float)
    demand[:, -7:] *= factor
    return shop.panel_of(list(demand), starts=np.full(N, 1000))


def kinds(panel, origin=0):
    return pl.DataFrame({"half": ["a", "b"] * (panel.n_series // 2)})


def said(panel, origin, middle):
    """One single day ahead, the same for all."""
    values = np.broadcast_to(np.array([middle - 6, middle, middle + 6], dtype=np.float32), (N, 1, 1, 3))
    keys = panel.series.select(panel.keys)
    return Forecast(keys, (origin,), panel.frequency, (Horizon(0, 1),), LEVELS, values)


def watched(panel, middles):
    """Weekly measures of forecasts published every day, with a middle for each week, the latest last."""
    days = range(panel.last - 7 * len(middles), panel.last)
    tables = []
    for n, origin in enumerate(days):
        seen = replace(panel, last=origin + 1)
        tables.append(score_published([said(panel, origin, middles[n // 7])], seen, origin, kinds))
    return pl.concat(tables)


def test_sums_are_those_counted_by_hand():
    panel = panel_of()
    table = watched(panel, [20.0])
    week = panel.window(panel.last - 6, panel.last)[0]
    row = table.filter(pl.col("kind") == "all").select(pl.col("n", "demand", "error").sum()).row(0)
    assert row == pytest.approx((7 * N, week.sum(), (20 - week).sum()))
    below = table.filter(pl.col("kind") == "all")["below"].list.get(1).sum()
    assert below == (week < 20).sum()
    by_half = table.filter(pl.col("kind") == "half").group_by("segment").agg(pl.col("demand").sum()).sort("segment")
    assert by_half["demand"].to_list() == [week[::2].sum(), week[1::2].sum()]


def test_only_what_became_known_is_scored():
    panel = panel_of()
    assert score_published([], panel, panel.last, kinds).is_empty()


def test_steady_forecasts_are_quiet_and_a_bias_is_told():
    panel = panel_of()
    quiet = alarms(weekly(watched(panel, [20.0] * 4), LEVELS, panel.last, 7), "day", 7)
    assert [a for a in quiet if a.measure == "bias"] == []
    told = alarms(weekly(watched(panel, [20.0, 20.0, 20.0, 26.0]), LEVELS, panel.last, 7), "day", 7)
    mine = next(a for a in told if (a.kind, a.measure) == ("all", "bias"))
    assert "too high by 3" in mine.sentence or "too high by 2" in mine.sentence
    assert any(a.measure == "coverage" for a in told)


@pytest.mark.parametrize(("factor", "is_told"), [(1.0, False), (0.5, True), (2.0, True)])
def test_a_week_unlike_those_before_is_told(factor, is_told):
    found = input_alarms(panel_of(factor), kinds(panel_of()))
    assert bool(found) == is_told
    if is_told:
        assert {a.kind for a in found} == {"all", "half"}
        assert "units in the latest week, against" in found[0].sentence
