"""Features as bins: each feature's values cut at quantiles, rows as lists of the bins that are present.

Bins of all features are numbered in one line, feature after feature. Value x lies in the first bin whose upper edge is
not below it, so "bin up to b" is the same as "x <= edge b": trees grow on bins and walk on values.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
N_BINS = 64


@dataclass(frozen=True)
class Bins:
    """Edges of F features.

    Parameters
    ----------
    edges : (E,) upper edges of all features' bins but their last, which has none.
    starts : (F + 1,) first bin of each feature; edges of feature f are `starts[f] - f : starts[f + 1] - f - 1`.
    """

    edges: Floats
    starts: Ints

    @classmethod
    def learn(cls, values: Floats, n_bins: int = N_BINS) -> "Bins":
        """Edges at quantiles of a sample (J, F); every value its own bin where there are few."""
        found: list[Floats] = []
        for f in range(values.shape[1]):
            column = np.sort(values[np.isfinite(values[:, f]), f])
            distinct = np.unique(column)
            if len(distinct) > n_bins:
                places = (np.arange(1, n_bins) * len(column)) // n_bins
                distinct = np.unique(column[places])
            else:
                distinct = distinct[:-1]
            found.append(distinct.astype(np.float32))
        sizes = np.array([len(edges) + 1 for edges in found], dtype=np.int64)
        starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        return cls(np.concatenate(found) if found else np.zeros(0, dtype=np.float32), starts)

    @property
    def n_bins(self) -> int:
        """Bins of all features together."""
        return int(self.starts[-1])

    @property
    def n_features(self) -> int:
        """F."""
        return len(self.starts) - 1

    @property
    def kind(self) -> Any:
        """Smallest type that holds a bin number, and three beyond them that fill rows up while trees grow."""
        return np.uint16 if self.n_bins + 3 <= 2**16 else np.uint32

    def thresholds(self) -> Floats:
        """(n_bins,) upper edge of every bin, infinite for a feature's last."""
        out = np.full(self.n_bins, np.inf, dtype=np.float32)
        last = np.zeros(self.n_bins, dtype=bool)
        last[self.starts[1:] - 1] = True
        out[~last] = self.edges
        return out

    def cells(self, values: Floats) -> tuple[NDArray[Any], Ints]:
        """Present cells of rows (J, F) as bin numbers, row after row, and where rows begin (J + 1,)."""
        from shelfcast.models import tree_kernels

        indptr = np.zeros(len(values) + 1, dtype=np.int64)
        np.cumsum((~np.isnan(values)).sum(axis=1), out=indptr[1:])
        out = np.empty(int(indptr[-1]), dtype=self.kind)
        tree_kernels.fill_cells(values, self.edges, self.starts, indptr, out)
        return out, indptr


@dataclass(frozen=True)
class Table:
    """Training rows as lists of bins.

    Parameters
    ----------
    bins : edges of the features. cells : bin numbers of present cells. indptr : (J + 1,) where rows begin.
    """

    bins: Bins
    cells: NDArray[Any]
    indptr: Ints

    @classmethod
    def joined(cls, bins: Bins, parts: list[tuple[NDArray[Any], Ints]]) -> "Table":
        """One table of blocks of rows; the list is emptied, so that there are never two copies of all."""
        sizes = [len(cells) for cells, _ in parts]
        cells = np.empty(sum(sizes), dtype=bins.kind)
        indptr = [np.zeros(1, dtype=np.int64)]
        at = 0
        while parts:
            block, begins = parts.pop(0)
            cells[at : at + len(block)] = block
            indptr.append(begins[1:] + at)
            at += len(block)
        return cls(bins, cells, np.concatenate(indptr))

    def with_column(self, values: Floats) -> "Table":
        """A table with one more feature (J,), present in every row, behind the others."""
        own = Bins.learn(values[:, None])
        bins = Bins(
            np.concatenate([self.bins.edges, own.edges]), np.append(self.bins.starts, self.bins.n_bins + own.n_bins)
        )
        cells, indptr = (
            np.empty(len(self.cells) + self.n_rows, dtype=bins.kind),
            self.indptr + np.arange(self.n_rows + 1),
        )
        last = np.zeros(len(cells), dtype=bool)
        last[indptr[1:] - 1] = True
        cells[~last] = self.cells
        cells[last] = own.cells(values[:, None])[0] + self.bins.n_bins
        return Table(bins, cells, indptr)

    def keeping(self, features: NDArray[np.bool_]) -> "Table":
        """A table in which the other features, (F,) false, are absent everywhere."""
        kept = features[np.searchsorted(self.bins.starts, np.arange(self.bins.n_bins), side="right") - 1][self.cells]
        before = np.concatenate(([0], np.cumsum(kept)))
        return Table(self.bins, self.cells[kept], before[self.indptr])

    def values(self, rows: Ints) -> Floats:
        """(J, F) features of some rows, each as the upper edge of its bin: a tree sends it where it sends the row."""
        out = np.full((len(rows), self.bins.n_features), np.nan, dtype=np.float32)
        length = self.indptr[rows + 1] - self.indptr[rows]
        row = np.repeat(np.arange(len(rows)), length)
        first = np.cumsum(length) - length
        cells = self.cells[self.indptr[rows][row] + np.arange(len(row)) - first[row]]
        out[row, np.searchsorted(self.bins.starts, cells, side="right") - 1] = self.bins.thresholds()[cells]
        return out

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the cells and row pointers."""
        return self.cells.nbytes + self.indptr.nbytes
