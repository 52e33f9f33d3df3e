"""Distributions in leaves: scaled targets as two-byte codes, merged without sorting.

A code is a place on a line of values that is even in logarithms, with zero apart; 4,096 of them cover the range seen in
training, so that a value is off by a fraction of a percent at most.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.models.drawing import Rows
from shelfcast.models.trees import Trees

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
N_CODES = 4096


@dataclass(frozen=True)
class Leaves:
    """Samples of all leaves.

    Parameters
    ----------
    first, count : (M,) sample of leaf m is `first[m] : first[m] + count[m]`.
    codes : (S,) scaled targets, coded. value_of : (N_CODES,) what a code means. leaf_mean : (M,) mean of a sample.
    series, origin, lead : (S,) where each sample came from: place in the training panel, origin, lead.
    """

    first: Ints
    count: NDArray[np.int32]
    codes: NDArray[np.uint16]
    value_of: Floats
    leaf_mean: Floats
    series: NDArray[np.int32]
    origin: NDArray[np.int32]
    lead: NDArray[np.int32]

    @classmethod
    def of(cls, trees: Trees, scaled: NDArray[np.float64], rows: Rows) -> "Leaves":
        """Samples of grown trees, with scaled targets (J,) of the training rows."""
        value_of, codes = _coded(scaled)
        kept = codes[trees.kept]
        leaf = np.repeat(np.arange(len(trees.count)), trees.count)
        total = np.bincount(leaf, scaled[trees.kept], len(trees.count))
        mean = total / np.maximum(trees.count, 1)
        origins = (column[trees.kept].astype(np.int32) for column in (rows.series, rows.origin, rows.lead))
        return cls(trees.first, trees.count, kept, value_of, mean.astype(np.float32), *origins)

    def means(self, leaves: NDArray[np.int32], size: Floats) -> Floats:
        """(J,) means in units of the leaves (J, T) that rows reached, -1 where a tree is not asked; units of 1 (J,)."""
        from shelfcast.models import tree_kernels

        out = np.empty(len(leaves), dtype=np.float32)
        tree_kernels.means(leaves, self.count, self.leaf_mean, size, out)
        return out

    def quantiles(self, leaves: NDArray[np.int32], levels: Floats, size: Floats) -> Floats:
        """(J, Q) quantiles at levels (J, Q), otherwise as `means`."""
        from shelfcast.models import tree_kernels

        out = np.empty(levels.shape, dtype=np.float32)
        tree_kernels.merge(leaves, self.first, self.count, self.codes, levels, size, self.value_of, out)
        return out

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name that the trees do not store already."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("first", "count")}


def _coded(scaled: NDArray[np.float64]) -> tuple[Floats, NDArray[np.uint16]]:
    """What each code means, and the codes (J,) of values >= 0."""
    positive = scaled[scaled > 0]
    low, high = (np.log(positive.min()), np.log(positive.max())) if len(positive) else (0.0, 0.0)
    step = max(high - low, 1e-6) / (N_CODES - 2)
    values = np.concatenate(([0.0], np.exp(low + step * np.arange(N_CODES - 1)))).astype(np.float32)
    places = np.rint((np.log(np.maximum(scaled, 1e-300)) - low) / step)
    return values, np.where(scaled > 0, 1 + places.clip(0, N_CODES - 2), 0).astype(np.uint16)
