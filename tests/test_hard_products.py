"""Slices of products that are hard to forecast, by hand; and products that have ended decay to zero in every model."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from shelfcast.cells import repriced
from shelfcast.data.lives import lives, seasons, shortages
from shelfcast.data.panel import Calendar, FeatureNames, Panel
from shelfcast.errors import ConfigError
from shelfcast.evaluation import evaluate
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon, per_period
from shelfcast.models.table import forecaster
from shelfcast.periods import Frequency

DAY = Frequency.parse("day")
FIRST = int(DAY.to_period("2024-01-01"))
N = 400
SMALL = {"steps": 120, "series": 8}
LEARNED = {
    "patchwork": {}, "forest-point": {"n_rows": 20_000}, "sqrf": {"n_rows": 20_000, "n_trees": 20},
    **dict.fromkeys(("mq-fnn", "mq-rnn", "mq-cnn", "mqtransformer", "rnn-point", "rnn-distribution"), SMALL),
}  # fmt: skip


def panel_of(demand, *, observed=None, price=None):
    """Series of equal length from demand (N, T)."""
    demand = np.asarray(demand, dtype=np.float32)
    n, periods = demand.shape
    known = np.zeros((n * periods, 0)) if price is None else np.asarray(price).reshape(-1, 1)
    return Panel(
        calendar=Calendar(DAY),
        series=pl.DataFrame({"item": [f"item-{i:02d}" for i in range(n)]}),
        start=np.full(n, FIRST, dtype=np.int32),
        indptr=np.arange(n + 1, dtype=np.int64) * periods,
        demand=demand.ravel(),
        observed=np.ones(n * periods, dtype=bool) if observed is None else np.asarray(observed).ravel(),
        past=np.zeros((n * periods, 0), dtype=np.float32),
        known=known.astype(np.float32),
        names=FeatureNames() if price is None else FeatureNames(known=("price",), price="price"),
        place=np.zeros(n, dtype=np.int32),
        last=FIRST + periods - 1,
    )


def test_lives_by_hand():
    late = np.concatenate([np.zeros(N - 30), np.ones(30)])
    gone = np.concatenate([np.ones(N - 120), np.zeros(120)])
    assert lives(panel_of([np.ones(N), late, gone, np.zeros(N)])).tolist() == ["current", "new", "ended", "unsold"]


def test_a_missing_period_of_the_last_quarter_is_a_shortage():
    observed = np.ones((3, N), dtype=bool)
    observed[1, N - 91], observed[2, N - 92] = False, False
    assert shortages(panel_of(np.ones((3, N)), observed=observed)).tolist() == ["full", "short", "full"]


def test_seasons_by_hand():
    rng = np.random.default_rng(0)
    week = np.tile([1.0, 1, 1, 1, 1, 9, 9], N // 7 + 1)[:N]
    assert seasons(panel_of([week, rng.poisson(3.0, N), np.ones(N)])).tolist() == ["strong", "weak", "weak"]
    assert seasons(panel_of([week[:13]])).tolist() == ["short"]


def test_a_window_is_repriced_where_a_price_in_it_is_five_percent_off():
    price = np.full((2, 10), 10.0)
    price[0, 7:] = 9.0  # ten percent less from the third day after the origin
    price[1, 7:] = 9.6
    panel, origin = panel_of(np.ones((2, 10)), price=price), FIRST + 4
    horizons = (Horizon(1, 1), Horizon(2, 1), Horizon(0, 3))
    assert repriced(panel, origin, horizons).tolist() == [[False, True, True], [False, False, False]]
    values = np.zeros((2, 1, 3, 1), dtype=np.float32)
    made = Forecast(panel.series, (origin,), DAY, horizons, (0.5,), values, None, "zero")
    table = evaluate(made, panel, by=("repriced",), metrics=["pinball"]).filter(pl.col("span") == 1)
    assert dict(table.select("repriced", "weight").iter_rows()) == {False: 3.0, True: 1.0}
    with pytest.raises(ConfigError, match="expected one of promoted, repriced"):
        evaluate(made, panel, by=("repriced", "promoted"))


@pytest.mark.parametrize("name", LEARNED)
def test_what_has_ended_decays_to_zero(name):
    """Ten of forty products stop 120 days before the origin; they had sold as much as the others."""
    rng = np.random.default_rng(1)
    demand = rng.poisson(rng.uniform(2, 6, (40, 1)) * np.ones(N))
    ends = rng.integers(N - 200, N - 120, 10)
    demand[:10] = np.where(np.arange(N) < ends[:, None], demand[:10], 0)
    panel = panel_of(demand)
    model = forecaster(name, horizons=per_period(14), levels=(0.1, 0.5, 0.9), **LEARNED[name])
    made = model.fit(panel, seed=0).predict(replace(panel), [panel.last])
    point = made.mean if made.mean is not None else made.values[..., 1]
    assert point[:10].mean() < 0.02 * demand[10:].mean()
    assert made.values[:10, ..., 2].max() < 0.5  # no unit at the 0.9 quantile
    assert point[10:].mean() > 0.8 * demand[10:].mean()
