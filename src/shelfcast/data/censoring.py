"""Sold-out periods: what was sold is a lower bound on what was wanted, neither a gap nor the demand itself.

Taking sales for demand makes a forecast, and with it the next orders, spiral down; leaving sold-out periods out does
worse, since exactly the periods of high demand vanish. Here a sold-out period takes the demand to be expected of one
that reached at least its sales. Only a period that *began* empty tells nothing, and stays unobserved.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.laws import Counts

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
WINDOW = 26  # latest usable periods that level and spread come from
_LEAST_HISTORY = 4  # usable periods that a series needs for a law of its own; below, sales are kept
_MOST_UNITS = 2000.0  # means beyond it are rounded into larger units before a table is made


def at_least(sales: Array, observed: Mask, sold_out: Mask, window: int = WINDOW) -> Array:
    """Demand (N, T): as sold, but expected demand given that it reached the sales where `sold_out`.

    Period by period from the first, so no later period is used: level and dispersion are those of the latest `window`
    observed periods, sold-out ones as completed before, and the law is negative binomial with the dispersion of the
    series, shrunk toward that of all.

    Parameters
    ----------
    sales : (N, T) units; 0 where not observed.
    observed : (N, T) false where nothing is known: closed, missing, or empty from the start.
    sold_out : (N, T) true where the shelf was empty at the end, among observed periods.
    """
    made = np.where(observed, sales, 0.0).astype(np.float64)
    for t in np.flatnonzero((sold_out & observed).any(axis=0)):
        rows = np.flatnonzero(sold_out[:, t] & observed[:, t])
        low = max(int(t) - window, 0)
        made[rows, t] = completed(made[rows, t], made[rows, low:t], observed[rows, low:t])
    return made


def completed(bound: Array, past: Array, seen: Mask) -> Array:
    """Expected demand (n,) given at least `bound`, from past demand (n, w) where `seen`."""
    count = seen.sum(axis=1)
    mean = np.where(seen, past, 0.0).sum(axis=1) / np.maximum(count, 1)
    variance = np.where(seen, (past - mean[:, None]) ** 2, 0.0).sum(axis=1) / np.maximum(count - 1, 1)
    safe = np.maximum(mean, 1e-6)
    own = np.maximum((variance - mean) / safe**2, 0.02)
    pooled = float(np.median(own[mean > 0])) if (mean > 0).any() else 0.3
    dispersion = np.clip((count * own + 8.0 * pooled) / (count + 8.0), 0.02, 4.0)
    unit = np.maximum(np.maximum(mean, bound) / _MOST_UNITS, 1.0)
    law = Counts.negative_binomial(np.maximum(mean / unit, 1e-3), dispersion)
    units = np.arange(law.table.shape[-1])
    is_above = units >= np.floor(bound / unit)[:, None]
    chance = np.where(is_above, law.table, 0.0)
    mass = chance.sum(axis=1)
    above = (chance * units).sum(axis=1) / np.where(mass > 1e-9, mass, 1.0) * unit
    known = (count >= _LEAST_HISTORY) & (mass > 1e-9)
    return np.asarray(np.where(known, np.maximum(above, bound), bound))


def with_lower_bounds(panel: Panel) -> Panel:
    """The panel with demand of its sold-out periods completed, each from what lies before it."""
    demand = np.array(panel.demand)
    begin = 0
    for piece in panel.shards(_CELLS):
        sold_out = piece.sold_out(piece.first, piece.last)
        if sold_out.any():
            sales, seen = piece.window(piece.first, piece.last)
            whole = at_least(sales.astype(np.float64), seen, sold_out)
            series, period = np.nonzero(sold_out)
            rows = piece.indptr[series] + period + piece.first - piece.start[series]
            demand[begin + rows] = whole[series, period]
        begin += len(piece.demand)
    return replace(panel, demand=demand)


_CELLS = 5_000_000  # rows completed at once


def with_history(panel: Panel, first: int, demand: Array, observed: Mask) -> Panel:
    """The panel with demand (N, n) from period `first` on replaced, and everything after it hidden.

    Every series must have rows for those periods; what lies outside its rows is ignored.
    """
    last = first + demand.shape[1] - 1
    where = np.arange(first, last + 1) - panel.start[:, None].astype(np.int64)
    inside = (where >= 0) & (where < panel.lengths[:, None])
    rows = (panel.indptr[:-1, None] + where)[inside]
    units, seen = np.array(panel.demand), np.array(panel.observed)
    units[rows] = np.where(observed, demand, 0.0)[inside]
    seen[rows] = observed[inside]
    return replace(panel, demand=units, observed=seen).as_of(last)
