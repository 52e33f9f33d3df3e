"""Which series and windows a training step sees, and how much each counts.

A series is drawn with probability in proportion to `share ^ draw_power x n ^ (level_power - 1)`: its share is what it
sold (in money, where there are prices) over the mean of its level of aggregation, `n` the number of series of that
level. Its losses, in units of its own mean step from period to period, count `share ^ weight_power`.

Every step draws from a generator of its own, `(seed, step)`, so that a run that was stopped goes on exactly where it
was.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.aggregates import AGGREGATE
from shelfcast.data.panel import Panel

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Facts:
    """What is known of the series of a training panel; all (N,).

    Parameters
    ----------
    step : mean absolute difference of successive observed periods, units, > 0.
    share : what was sold over the mean of the series' level of aggregation, money or units.
    crowd : number of series of the series' level of aggregation.
    first, last : earliest and latest period that may be the last origin of a window; last < first where there is none.
    """

    step: Array
    share: Array
    crowd: Array
    first: Ints
    last: Ints

    @classmethod
    def of(cls, panel: Panel, forks: int, until: int) -> "Facts":
        """In pieces, so that memory does not follow the rows; targets end at period `until`."""
        parts = [_of_rows(piece) for piece in panel.shards(5_000_000)]
        step, sold = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else (np.zeros(0),) * 2
        start = panel.start.astype(np.int64)
        end = np.minimum(start + panel.lengths - 1, until)
        some = panel.lengths > 0
        last = np.where(some & (end >= start), np.maximum(end - 1, start) + forks // 2, start - 1)
        first = np.where(start > panel.first, start - 1, start)
        share, crowd = _in_level(panel, sold)
        return cls(step, share, crowd, first, last)

    def chances(self, power: float, level_power: float = 1.0) -> Array:
        """(N,) cumulative probabilities of drawing each series; empty where none can be drawn."""
        wanted = np.maximum(self.share, 1e-3) ** power * self.crowd ** (level_power - 1)
        weight = np.where(self.last >= self.first, wanted, 0.0)
        total = np.cumsum(weight)
        return total / total[-1] if len(total) and total[-1] > 0 else np.zeros(0)


def _of_rows(panel: Panel) -> tuple[Array, Array]:
    """Mean step and what was sold (N,) of a piece."""
    y, seen = panel.demand.astype(np.float64), panel.observed
    column = panel.prices
    price = np.ones(len(y)) if column is None else np.where(column > 0, column, 1.0).astype(np.float64)
    series = panel.row_series()
    pair = np.zeros(len(y), dtype=bool)
    pair[1:] = seen[1:] & seen[:-1] & (series[1:] == series[:-1])
    gap = np.abs(np.diff(y, prepend=y[:1]))
    n = panel.n_series
    count = np.maximum(np.bincount(series[pair], minlength=n), 1)
    step = np.bincount(series[pair], weights=gap[pair], minlength=n) / count
    observed = np.maximum(np.bincount(series[seen], minlength=n), 1)
    mean = np.bincount(series, weights=y * seen, minlength=n) / observed
    sold = np.bincount(series, weights=y * seen * price, minlength=n) / observed
    return np.maximum(step, 0.1 * mean + 1e-12), sold


def _in_level(panel: Panel, sold: Array) -> tuple[Array, Array]:
    """What each series sold over the mean of its level of aggregation, and how many series that level has."""
    group = np.zeros(len(sold), dtype=np.int64)
    if AGGREGATE in panel.series.columns:
        label = np.asarray([str(value) for value in panel.series[AGGREGATE].to_list()])
        _, group = np.unique(label, return_inverse=True)
    crowd = np.maximum(np.bincount(group), 1)
    mean = np.bincount(group, weights=sold) / crowd if len(sold) else np.zeros(0)
    return np.asarray(sold / np.maximum(mean[group], 1e-12)), crowd[group].astype(np.float64)


@dataclass(frozen=True)
class Draw:
    """Series (B,), last possible origins (B,) and decoded places (O,) of one step."""

    series: Ints
    last_fork: Ints
    origins: Ints


def draw(
    facts: Facts, chances: Array, rng: np.random.Generator, n_series: int, n_origins: int, forks: int,
    lags: tuple[int, ...] = (),
) -> Draw:  # fmt: skip
    """One step's series, windows and origins; with `lags`, origins come in runs that are so far apart."""
    series = np.minimum(np.searchsorted(chances, rng.random(n_series), side="right"), len(chances) - 1)
    room = facts.last[series] - facts.first[series] + 1
    last = facts.first[series] + np.floor(rng.random(n_series) * room).astype(np.int64)
    if lags and max(lags) < forks:
        starts = rng.permutation(forks - max(lags))[: max(1, n_origins // (1 + len(lags)))]
        origins = np.unique(starts[:, None] + max(lags) - np.array([0, *lags]))
    else:
        origins = np.sort(rng.permutation(forks)[: min(n_origins, forks)])
    return Draw(series.astype(np.int64), last, origins)
