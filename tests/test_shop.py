"""The maker of test data keeps its own promises."""

import numpy as np
import polars as pl
import pytest

from shop import DAY, WEEKDAYS, draw, panel_of, rewritten_after


def test_demand_has_the_stated_season_and_lift():
    frame, truth = draw(40, 400, n_launches=0, stock_outs=0.0, promotions=0.1, lift=3.0)
    weekday = frame["date"].dt.weekday().to_numpy() - 1
    plain = frame["promo"].to_numpy() == 0
    demand = frame["demand"].to_numpy()
    by_day = np.array([demand[plain & (weekday == d)].mean() for d in range(7)])
    assert by_day / by_day.mean() == pytest.approx(WEEKDAYS, abs=0.06)
    assert WEEKDAYS.mean() == pytest.approx(1.0)
    total = demand[~plain].sum() / truth.rates[truth.promoted].sum()
    assert total == pytest.approx(1.0, abs=0.02)
    assert truth.promoted.mean() == pytest.approx(0.1, abs=0.01)


def test_stock_outs_sell_nothing_launches_begin_half_way_and_promotions_are_cheaper():
    frame, truth = draw(6, 140, stock_outs=0.2)
    out = frame.filter(pl.col("in_stock") == 0)
    assert out.height > 50
    assert out["demand"].sum() == 0
    first = frame.group_by("item").agg(pl.col("date").min()).sort("item")["date"]
    assert (DAY.to_period(first.to_numpy()) - 19_723).tolist() == truth.starts.tolist() == [0, 0, 0, 0, 70, 70]
    prices = frame.group_by("item", "promo").agg(pl.col("price").mean()).pivot("promo", index="item", values="price")
    assert (prices["1"] / prices["0"]).to_numpy() == pytest.approx(0.8)


def test_a_seed_gives_one_shop():
    assert draw(seed=3)[0].equals(draw(seed=3)[0])
    assert not draw(seed=3)[0].equals(draw(seed=4)[0])


def test_a_panel_of_lists_by_hand():
    panel = panel_of([[1, 2, 3], [], [4, 5]], starts=[10, 0, 12], observed=[[1, 0, 1], [], [1, 1]])
    demand, observed = panel.window(10, 13)
    assert demand.tolist() == [[1, 0, 3, 0], [0, 0, 0, 0], [0, 0, 4, 5]]
    assert observed.tolist() == [[True, False, True, False], [False] * 4, [False, False, True, True]]
    assert panel.last == 13


def test_rewriting_changes_all_after_the_origin_and_nothing_before():
    panel = panel_of([np.arange(1, 101)], past=np.arange(100)[:, None], known=np.ones((100, 1)))
    other = rewritten_after(panel, 49)
    assert (other.demand[:50] == panel.demand[:50]).all()
    assert (other.demand[50:] != panel.demand[50:]).all()
    assert 20 < other.observed[50:].sum() < 40
    assert (other.past[50:] != panel.past[50:]).all()
    assert (other.known == panel.known).all()
