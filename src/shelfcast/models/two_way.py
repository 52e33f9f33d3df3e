"""Sweeping two sets of effects, of series and of cells, out of columns of rows in order of series.

Alternating projections need thousands of passes where cells and series share few rows. The cells' effects solve a
linear system (the Schur complement of the series' effects), symmetric and semi-definite: conjugate gradients with the
counts as preconditioner need some dozens, each one pass over the rows (Correia 2017, "Linear models with
high-dimensional fixed effects").
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEPS = 500
_TOLERANCE = 1e-7


def within(values: Array, series: Ints, cell: Ints) -> Array:
    """Values (R,) or (R, J) net of the effects of series and cells.

    Rows are in order of series; a cell of -1 has no effect. Stops when the means of cells are under 1e-7 of the spread.
    """
    if not len(values):
        return values
    from shelfcast.models.two_way_kernels import swept

    begin = np.append(np.flatnonzero(np.diff(series, prepend=-1) != 0), len(series))
    where = cell.astype(np.int32)
    count = np.bincount(cell + 1)[1:].astype(np.float64)
    columns: list[Array] = []
    for column in values.reshape(len(values), -1).T:
        tolerance = _TOLERANCE * float(column.std()) + 1e-300
        columns.append(swept(np.array(column, dtype=np.float64), begin, where, count, tolerance, _STEPS))
    return np.asarray(np.stack(columns, axis=1).reshape(values.shape))
