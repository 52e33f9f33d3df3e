"""Point models: one expected value for each period ahead, for many series at once.

The textbook methods of the first generation all read flat series and end in a path of means. Means may be added, so the
mean of a span is the sum of its periods; its quantiles come from the Distribution Engine, never from the path.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.horizons import Horizon

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Flat histories of N series, each up to and including one origin.

    Parameters
    ----------
    demand : (R,) units; 0 where not observed.
    observed : (R,) bool; an unobserved period is skipped by every method, never taken for a zero.
    indptr : (N + 1,) values of series i are `indptr[i]:indptr[i + 1]`.
    origin : the last period, the same for all.
    season : periods of the season that repeats first.
    """

    demand: Array
    observed: NDArray[np.bool_]
    indptr: NDArray[np.int64]
    origin: int
    season: int

    @property
    def n_series(self) -> int:
        """Number of series N."""
        return len(self.indptr) - 1

    @property
    def n_observed(self) -> NDArray[np.int64]:
        """(N,) observed periods of each series."""
        seen = np.concatenate(([0], np.cumsum(self.observed)))
        return np.asarray(seen[self.indptr[1:]] - seen[self.indptr[:-1]])

    @classmethod
    def of(cls, panel: Panel, origin: int, n_periods: int | None = None) -> "Series":
        """What the panel shows at `origin`, at most the last `n_periods` of each series, through the gate."""
        seen = panel.as_of(origin)
        length = np.clip(origin + 1 - seen.start.astype(np.int64), 0, seen.lengths)
        begin = seen.indptr[:-1] + (np.maximum(length - n_periods, 0) if n_periods else 0)
        size = length if n_periods is None else np.minimum(length, n_periods)
        ends = np.cumsum(size)
        rows = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(begin - (ends - size), size)
        indptr = np.concatenate(([0], ends)).astype(np.int64)
        return cls(seen.demand[rows].astype(np.float64), seen.observed[rows], indptr, origin, panel.frequency.season)


class PointModel(Protocol):
    """A textbook method, with its settings; estimation happens in `path`."""

    @property
    def name(self) -> str:
        """Its name in the table of forecasters."""
        ...

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) expected demand of the periods after the origin, units, >= 0; 0 where there is no history."""
        ...


def span_means(path: Array, horizons: tuple[Horizon, ...]) -> Array:
    """(N, K) mean demand of each horizon from the path (N, H) of its periods."""
    total = np.concatenate((np.zeros((len(path), 1)), np.cumsum(path, axis=1)), axis=1)
    return np.stack([total[:, h.end] - total[:, h.lead] for h in horizons], axis=1)
