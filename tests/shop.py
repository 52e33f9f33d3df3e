"""A small made-up shop: demand of a known law with stock-outs, launches, prices, promotions and a weekly season."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from shelfcast.data.panel import Calendar, FeatureNames, Panel
from shelfcast.data.schema import PromotionKind, Schema
from shelfcast.periods import Frequency, Unit

DAY = Frequency(Unit.DAY)
WEEKDAYS = np.array([0.7, 0.7, 0.8, 0.9, 1.2, 1.6, 1.1])  # Monday first; mean 1
SCHEMA = Schema(
    in_stock="in_stock",
    price="price",
    promotions={"promo": PromotionKind.FLAG},
    past=("views",),
    static=("department",),
)


@dataclass(frozen=True)
class Truth:
    """What the table of a shop was drawn from.

    Parameters
    ----------
    rates : (N, T) expected demand, 0 before the launch.
    in_stock, promoted : (N, T) bool.
    starts : (N,) first period, counted from 0.
    """

    rates: np.ndarray
    in_stock: np.ndarray
    promoted: np.ndarray
    starts: np.ndarray


def draw(n_series=6, n_periods=140, *, seed=0, first=19_723, n_launches=2, stock_outs=0.05, promotions=0.06, lift=2.0):
    """A table of daily sales, as a shop would export it, and the truth behind it.

    `first` is the period of the first day (19,723 is Monday 2024-01-01); the last `n_launches` series begin half-way.
    Demand is Poisson, 0 on days without stock; promoted days sell `lift` times as much at 0.8 of the price.
    """
    rng = np.random.default_rng(seed)
    when = first + np.arange(n_periods)
    starts = np.where(np.arange(n_series) >= n_series - n_launches, n_periods // 2, 0)
    alive = np.arange(n_periods) >= starts[:, None]
    promoted = alive & (rng.random((n_series, n_periods)) < promotions)
    in_stock = rng.random((n_series, n_periods)) >= stock_outs
    means = rng.uniform(1.0, 12.0, n_series)[:, None]
    rates = alive * means * WEEKDAYS[DAY.season_position(when)] * np.where(promoted, lift, 1.0)
    demand = np.where(in_stock, rng.poisson(rates), 0)
    price = np.round(rng.uniform(1, 20, n_series), 2)[:, None] * np.where(promoted, 0.8, 1.0)
    series, period = np.nonzero(alive)
    names = np.array([f"item-{i:02d}" for i in range(n_series)])
    frame = pl.DataFrame(
        {
            "item": names[series],
            "date": DAY.to_date(when[period]),
            "demand": demand[alive],
            "in_stock": in_stock[alive].astype(np.int8),
            "price": price[alive],
            "promo": promoted[alive].astype(np.int8),
            "views": rng.poisson(30, alive.sum()),
            "department": np.array(["food", "toys"])[series % 2],
        }
    )
    return frame, Truth(rates, in_stock, promoted, starts)


def panel_of(rows, *, starts=None, observed=None, past=None, known=None, frequency=DAY, last=None, static=None):
    """A panel from one array of demand a series, without the packing: rows (N lists), starts (N,), observed (N lists).

    `past` and `known` are one list of columns' arrays: (rows, F) in order of the series.
    """
    rows = [np.asarray(row, dtype=np.float32) for row in rows]
    starts = np.zeros(len(rows)) if starts is None else starts
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    n_rows = int(lengths.sum())
    demand = np.concatenate([np.zeros(0, np.float32), *rows])
    seen = np.ones(n_rows, dtype=bool)
    if observed is not None:
        seen = np.concatenate([np.zeros(0, bool), *(np.asarray(o, dtype=bool) for o in observed)])
    ends = np.asarray(starts, dtype=np.int64) + lengths - 1
    wide = [np.zeros((n_rows, 0), np.float32) if x is None else np.asarray(x, dtype=np.float32) for x in (past, known)]
    names = FeatureNames(*(tuple(f"{kind}{j}" for j in range(x.shape[1])) for kind, x in zip("pk", wide, strict=True)))
    keys = pl.DataFrame({"item": [f"item-{i:02d}" for i in range(len(rows))]}, schema={"item": pl.String})
    return Panel(
        calendar=Calendar(frequency),
        series=keys if static is None else keys.hstack(pl.DataFrame(static)),
        start=np.asarray(starts, dtype=np.int32),
        indptr=np.concatenate(([0], np.cumsum(lengths))),
        demand=np.where(seen, demand, np.float32(0)),
        observed=seen,
        past=wide[0],
        known=wide[1],
        names=names,
        place=np.zeros(len(rows), dtype=np.int32),
        last=int(ends.max()) if last is None and len(rows) else (last or 0),
    )


def rewritten_after(panel, origin, seed=0):
    """Everything a model may not see at `origin`, replaced."""
    rng = np.random.default_rng(seed)
    later = panel.row_periods() > origin
    demand, observed, past = panel.demand.copy(), panel.observed.copy(), panel.past.copy()
    observed[later] = rng.random(later.sum()) < 0.5
    demand[later] = np.where(observed[later], 1_000 + rng.poisson(5, later.sum()), 0)
    past[later] = rng.normal(size=past[later].shape)
    return replace(panel, demand=demand, observed=observed, past=past)
