"""Which level a forest is asked for, so that what it says holds as often as it should.

A merged sample mixes leaves of trees of which few could tell how much is expected: where much is, trees mix what
scatters little with what scatters widely, and outer quantiles lie too far out. Trees that have not seen an item say how
far: of rows of training, the level at which their forecast reached the outcome is learned by the size of the forecast.
That is for no second forest (out of bag: Breiman 2001, Random Forests, Machine Learning 45), but errs both ways: rows
of the item itself make a forecast better, other items of the same dates have been seen. So levels only move towards the
median: what is too wide without the item is too wide with it, and of what is too narrow nothing follows. Between two
sizes levels are interpolated; levels rise with the level wanted, so that quantiles never cross.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
WANTED = np.concatenate([[0.02, 0.03], np.linspace(0.05, 0.95, 37), [0.97, 0.98]])  # beyond them the last ratio holds
_ENDS = np.concatenate(([0.0], WANTED, [1.0]))
SIZES, ROWS_A_SIZE = 8, 1_000  # sizes at most, and rows that each is learned from at least
SAMPLE = 40_000  # rows that are forecast by trees that have not seen them
_OFFSET = 0.1  # units, so that nothing expected is a size too


@dataclass(frozen=True)
class LevelMap:
    """Levels to ask for.

    Parameters
    ----------
    size : (S,) log of expected units, ascending. asked : (S, 41) level to ask for where `WANTED` is wanted.
    """

    size: Doubles
    asked: Doubles

    @classmethod
    def learn(cls, mean: Floats, quantiles: Floats, target: Doubles, rng: np.random.Generator) -> Self | None:
        """From forecasts of rows that were not learned from: means (J,), quantiles (J, 41) at `WANTED`; targets (J,).

        None where there are too few rows to learn from. Counts reach their quantile at many levels: one of them is
        drawn.
        """
        n_sizes = min(SIZES, len(target) // ROWS_A_SIZE)
        if n_sizes == 0:
            return None
        below, at_most = (quantiles < target[:, None]).sum(axis=1), (quantiles <= target[:, None]).sum(axis=1)
        reached = rng.uniform(_ENDS[below], _ENDS[at_most + 1])
        parts = np.array_split(np.argsort(mean, kind="stable"), n_sizes)
        size = np.array([np.log(mean[part].mean() + _OFFSET) for part in parts])
        found = np.stack([np.quantile(reached[part], WANTED) for part in parts])
        return cls(size, found.clip(np.minimum(WANTED, 0.5), np.maximum(WANTED, 0.5)))

    def levels(self, mean: Floats, levels: tuple[float, ...]) -> Floats:
        """(J, Q) levels to ask for, of forecasts with means (J,)."""
        asked = np.stack([np.interp(levels, _ENDS, np.concatenate(([0.0], row, [1.0]))) for row in self.asked])
        place = np.interp(np.log(mean + _OFFSET), self.size, np.arange(len(self.size)))
        low = place.astype(np.int64)
        part = (place - low)[:, None]
        out = (1 - part) * asked[low] + part * asked[np.minimum(low + 1, len(asked) - 1)]
        return np.asarray(out, dtype=np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, to be stored."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
