"""The projected stock-out: what the shelf will hold when an order arrives, and how often that is too little.

Demand of the periods before the arrival is rolled through stock and open orders with lost sales, so the shelf at the
arrival is a law of its own; the order is the least quantity at which the stock-out probability of the window it serves
is allowed. Periods are taken as independent. Arithmetic is on a lattice of whole units, exact for whole demand up to
`MOST_CELLS` units in all the periods together; for larger items a cell holds more units, and what falls between two
cells is shared between them, which keeps the mean. Plain functions on arrays, compiled by numba when first used.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from shelfcast.inventory.economics import Array
from shelfcast.laws import Counts, Grid, QuantileFunction

MOST_CELLS = 256
N_POINTS = 128  # equally likely values that stand for a law that is no table of counts


def atoms(laws: Sequence[QuantileFunction], n_points: int = N_POINTS) -> tuple[Array, Array]:
    """Values (B, K, Q) in units and their probabilities, of K laws of B items."""
    found = [_points(law, n_points) for law in laws]
    shape = (len(found[0][0]), len(found), max(values.shape[-1] for values, _ in found))
    values, weights = np.zeros(shape), np.zeros(shape)
    for k, (own, chances) in enumerate(found):
        values[:, k, : own.shape[-1]], weights[:, k, : own.shape[-1]] = own, chances
    return values, weights


def _points(law: QuantileFunction, n_points: int) -> tuple[Array, Array]:
    """Values and probabilities (B, Q) that stand for a law: its own table, or equally likely quantiles."""
    if isinstance(law, Counts):
        table = np.asarray(law.table, dtype=np.float64)
        return np.broadcast_to(np.arange(table.shape[-1], dtype=np.float64), table.shape), table
    values = np.asarray(law.quantile((np.arange(n_points) + 0.5) / n_points), dtype=np.float64)
    return values, np.broadcast_to(1.0 / n_points, values.shape)


def wanted_from(on_hand: Array, pipeline: Array, laws: Sequence[QuantileFunction], allowed: Array) -> Array:
    """As `wanted`, from the laws of the path themselves; grids become points within the loop, which spares memory."""
    grids = [law for law in laws if isinstance(law, Grid)]
    if len(grids) < len(laws) or any(not np.array_equal(law.levels, grids[0].levels) for law in grids):
        return wanted(on_hand, pipeline, *atoms(laws), allowed)
    place = np.interp((np.arange(N_POINTS) + 0.5) / N_POINTS, grids[0].levels, np.arange(len(grids[0].levels)))
    tables = np.stack([law.values for law in grids], axis=1).astype(np.float64)
    order: Array = _compiled_grid()(on_hand, pipeline, tables, place, allowed)
    return order


def wanted(on_hand: Array, pipeline: Array, values: Array, weights: Array, allowed: Array) -> Array:
    """(B,) units to order now.

    Parameters
    ----------
    on_hand : (B,) units; negative is owed.
    pipeline : (B, W) units by period of arrival, the present one first.
    values, weights : (B, K, Q) as `atoms` gives them: K - 1 single periods, then the window the order serves.
    allowed : (B,) stock-out probability in that window.
    """
    order: Array = _compiled()(on_hand, pipeline, values, weights, allowed)
    return order


def sloped(on_hand: Array, pipeline: Array, values: Array, weights: Array, allowed: Array) -> tuple[Array, Array]:
    """As `wanted`, and how it changes: (B, K + 1) slopes by differences of a cell.

    Slope `k < K` is that of a unit more on the way at period `k` (stock on hand counts with period 0; all from period
    K - 1 on count there), the last one that of the logarithm of `allowed`, taken a quarter either way, which bridges
    the jumps of laws with few values.
    """
    lacking = max(values.shape[1] - pipeline.shape[1], 0)
    padded = np.ascontiguousarray(np.pad(pipeline, ((0, 0), (0, lacking))))
    found: tuple[Array, Array] = _compiled_slopes()(on_hand, padded, values, weights, allowed)
    return found


def _slopes(on_hand: Array, pipeline: Array, values: Array, weights: Array, allowed: Array) -> Any:
    """As `sloped`, item by item."""
    n, n_laws = values.shape[:2]
    orders, slopes = np.zeros(n), np.zeros((n, n_laws + 1))
    for i in range(n):
        if allowed[i] >= 1.0:
            continue
        width = _cell(values[i], weights[i])
        chances = _lattice(values[i], weights[i], width)
        lead = n_laws - 1
        shelf = _shelf(on_hand[i], pipeline[i], chances, width, lead)
        base = _least(shelf, chances[lead], allowed[i])
        orders[i] = (base + 0.5) * width if width > 1.0 and base > 0.0 else base
        if base > 0.0:
            more = pipeline[i].copy()
            for k in range(lead):
                more[k] += width
                moved = _shelf(on_hand[i], more, chances, width, lead)
                slopes[i, k] = max(_least(moved, chances[lead], allowed[i]) - base, -1.0)
                more[k] -= width
            slopes[i, lead] = max(-base, -1.0)
        below = _least(shelf, chances[lead], allowed[i] * 0.8)
        above = _least(shelf, chances[lead], min(allowed[i] * 1.25, 1.0))
        slopes[i, lead + 1] = (above - below) * width / np.log(1.25 / 0.8)
    return orders, slopes


def _orders(on_hand: Array, pipeline: Array, values: Array, weights: Array, allowed: Array) -> Array:
    """As `wanted`, item by item."""
    n = len(values)
    out = np.zeros(n)
    for i in range(n):
        if allowed[i] < 1.0:
            out[i] = _order(on_hand[i], pipeline[i], values[i], weights[i], allowed[i])
    return out


def _orders_of_grids(on_hand: Array, pipeline: Array, tables: Array, place: Array, allowed: Array) -> Array:
    """As `wanted_from`, item by item: `tables` (B, K, L) of quantiles, `place` (Q,) of the points between levels."""
    n, n_laws, n_levels = tables.shape
    out, values = np.zeros(n), np.empty((n_laws, len(place)))
    weights = np.full((n_laws, len(place)), 1.0 / len(place))
    for i in range(n):
        if allowed[i] < 1.0:
            for k in range(n_laws):
                for q in range(len(place)):
                    below = int(place[q])
                    low, high = tables[i, k, below], tables[i, k, min(below + 1, n_levels - 1)]
                    values[k, q] = low + (place[q] - below) * (high - low)
            out[i] = _order(on_hand[i], pipeline[i], values, weights, allowed[i])
    return out


def _order(on_hand: float, pipeline: Array, values: Array, weights: Array, allowed: float) -> float:
    """Units of one item."""
    width, lead = _cell(values, weights), len(values) - 1
    chances = _lattice(values, weights, width)
    cells = _least(_shelf(on_hand, pipeline, chances, width, lead), chances[lead], allowed)
    return (cells + 0.5) * width if width > 1.0 and cells > 0.0 else cells  # half a cell: a cell has a middle


def _cell(values: Array, weights: Array) -> float:
    """Units a cell: 1, or more where the highest demands of all periods exceed the lattice."""
    total = 0.0
    for k in range(len(values)):
        top = 0.0
        for q in range(values.shape[1]):
            if weights[k, q] > 1e-12:
                top = max(top, values[k, q])
        total += top
    return max(1.0, total / MOST_CELLS)


def _lattice(values: Array, weights: Array, width: float) -> Array:
    """(K, M) chances of demand in cells; a value between two cells is shared so that the mean is kept."""
    top = 0.0
    for k in range(len(values)):
        for q in range(values.shape[1]):
            if weights[k, q] > 1e-12:
                top = max(top, values[k, q])
    out = np.zeros((len(values), int(top / width) + 2))
    for k in range(len(values)):
        for q in range(values.shape[1]):
            if weights[k, q] > 1e-12:
                place = values[k, q] / width
                below = int(place)
                out[k, below] += weights[k, q] * (1.0 - (place - below))
                out[k, below + 1] += weights[k, q] * (place - below)
    return out


def _shelf(on_hand: float, pipeline: Array, chances: Array, width: float, lead: int) -> Array:
    """(C,) chances of stock at the arrival, in cells; the last cell holds all that can never run out."""
    n_cells = len(chances) * (chances.shape[1] - 1) + 1
    shelf = _moved(_start(0.0, n_cells), max(on_hand, 0.0) / width)
    owed = max(-on_hand, 0.0)  # a backlog is delivered from what comes first
    for k in range(lead + 1):
        comes = pipeline[k] if k < len(pipeline) else 0.0
        if k == lead:
            for later in range(lead + 1, len(pipeline)):
                comes += pipeline[later]
        paid = min(owed, comes)
        owed -= paid
        shelf = _moved(shelf, (comes - paid) / width)
        if k < lead:
            shelf = _sold(shelf, chances[k])
    return shelf


def _start(place: float, n_cells: int) -> Array:
    out = np.zeros(n_cells)
    out[int(place)] = 1.0
    return out


def _moved(shelf: Array, cells: float) -> Array:
    """Stock after `cells` more have come."""
    if cells <= 0.0:
        return shelf
    n = len(shelf)
    cells = min(cells, float(n))
    whole = int(cells)
    part = cells - whole
    out = np.zeros(n)
    for x in range(n):
        if shelf[x] > 0.0:
            out[min(x + whole, n - 1)] += shelf[x] * (1.0 - part)
            out[min(x + whole + 1, n - 1)] += shelf[x] * part
    return out


def _sold(shelf: Array, chance: Array) -> Array:
    """Stock after one period of demand, with lost sales; the last cell stays, since it never runs out."""
    n, m = len(shelf), len(chance)
    out, backwards, more = np.zeros(n), chance[::-1].copy(), np.zeros(m + 1)  # more[d]: chance of d cells or more
    for d in range(m - 1, -1, -1):
        more[d] = more[d + 1] + chance[d]
    for x in range(n - 1):
        if shelf[x] > 1e-15:
            first = x - min(x, m - 1)
            skipped = m - 1 - (x - first)
            for y in range(first, x + 1):
                out[y] += shelf[x] * backwards[skipped + y - first]
            out[0] += shelf[x] * more[min(x + 1, m)]
    out[n - 1] += shelf[n - 1]
    return out


def _least(shelf: Array, chance: Array, allowed: float) -> float:
    """Fewest cells to order so that demand exceeds stock plus order with at most the allowed chance; between two whole
    cells the chance is taken as linear."""
    n, m = len(shelf), len(chance)
    short = np.zeros(m)  # chance that demand exceeds stock by exactly d
    for x in range(min(n, m)):
        if shelf[x] > 1e-15:
            for d in range(x + 1, m):
                short[d - x] += shelf[x] * chance[d]
    above, before = 0.0, 0.0
    for d in range(m - 1, 0, -1):
        before = above
        above += short[d]
        if above > allowed:  # ordering d - 1 leaves `above`, ordering d leaves `before`
            return float(d - 1 + (above - allowed) / (above - before))
    return 0.0


_PARTS = (_cell, _lattice, _start, _moved, _sold, _shelf, _least, _order)


@lru_cache(maxsize=1)
def _compiled() -> Any:
    """The compiled `_orders`."""
    return _built(_orders)


@lru_cache(maxsize=1)
def _compiled_grid() -> Any:
    """The compiled `_orders_of_grids`."""
    return _built(_orders_of_grids)


@lru_cache(maxsize=1)
def _compiled_slopes() -> Any:
    """The compiled `_slopes`."""
    return _built(_slopes)


def _built(function: Any) -> Any:
    """Compiled with its parts; kept on disk where the machine allows it."""
    from numba import njit
    from numba.extending import register_jitable

    for part in _PARTS:
        register_jitable(part)
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # numba finds no folder that it may write to
        return njit(function)
