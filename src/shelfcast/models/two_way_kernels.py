"""Compiled passes over rows in order of series, for `two_way`."""

import numpy as np
from numpy.typing import NDArray

from shelfcast.compiled import compiled

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Places = NDArray[np.int32]


@compiled
def centre(values: Array, begin: Ints) -> None:
    """Take each series' mean from its rows, in place; series u has rows `begin[u]` to `begin[u + 1]`."""
    for u in range(len(begin) - 1):
        total = 0.0
        for r in range(begin[u], begin[u + 1]):
            total += values[r]
        mean = total / (begin[u + 1] - begin[u])
        for r in range(begin[u], begin[u + 1]):
            values[r] -= mean


@compiled
def cell_sums(values: Array, cell: Places, n_cells: int) -> Array:
    """(C,) sums of the rows of each cell."""
    out = np.zeros(n_cells)
    for r in range(len(values)):
        if cell[r] >= 0:
            out[cell[r]] += values[r]
    return out


@compiled
def applied(effect: Array, begin: Ints, cell: Places) -> Array:
    """(C,) cells' sums of the rows' effects, each row's taken net of its series' mean."""
    out = np.zeros(len(effect))
    for u in range(len(begin) - 1):
        total = 0.0
        for r in range(begin[u], begin[u + 1]):
            if cell[r] >= 0:
                total += effect[cell[r]]
        mean = total / (begin[u + 1] - begin[u])
        for r in range(begin[u], begin[u + 1]):
            if cell[r] >= 0:
                out[cell[r]] += effect[cell[r]] - mean
    return out


@compiled
def swept(values: Array, begin: Ints, cell: Places, count: Array, tolerance: float, steps: int) -> Array:
    """Values (R,) net of both effects; stops when no cell's mean is above `tolerance`, or after `steps`."""
    centre(values, begin)
    if not len(count):
        return values
    safe = np.maximum(count, 1.0)
    residual = cell_sums(values, cell, len(count))
    effect = np.zeros(len(count))
    towards = residual / safe
    size = (residual * towards).sum()
    for _ in range(steps):
        if np.abs(residual / safe).max() <= tolerance:
            break
        image = applied(towards, begin, cell)
        bend = (towards * image).sum()
        if bend <= 0.0:
            break
        length = size / bend
        effect += length * towards
        residual -= length * image
        ahead = residual / safe
        before, size = size, (residual * ahead).sum()
        towards = ahead + size / before * towards
    for r in range(len(values)):
        if cell[r] >= 0:
            values[r] -= effect[cell[r]]
    centre(values, begin)
    return values
