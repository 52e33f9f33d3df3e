"""Span sums in the recent past of every series at once: what the window forecasters draw their laws from.

A sample of a span is the demand of `span` consecutive periods of history. A window observed for at least half of its
periods counts, scaled up to the whole; one observed for less is left out. Sums come from running totals, so their cost
does not grow with the span.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_LEAST_WEIGHT = 0.05  # a window expected to sell less than this share of a mean one says nothing of the mean


@dataclass(frozen=True)
class Samples:
    """Past span sums.

    Parameters
    ----------
    values : (N, S) units.
    valid : (N, S) bool; false where too little was observed.
    """

    values: Array
    valid: Mask

    @property
    def count(self) -> NDArray[np.int64]:
        """(N,) samples that count."""
        return np.asarray(self.valid.sum(axis=1))

    def mean(self) -> Array:
        """(N,) units; 0 where there is no sample."""
        return np.asarray(np.where(self.valid, self.values, 0.0).sum(axis=1) / np.maximum(self.count, 1))


@dataclass(frozen=True)
class History:
    """The last W periods of N series up to an origin, as running totals.

    Parameters
    ----------
    first : period of the first entry.
    demand, observed : (N, W) units and bool.
    weight : (N, W) expected share of a mean period, by which sums are scaled; 1 without a season profile.
    """

    first: int
    demand: Array
    observed: Mask
    weight: Array | None = None

    @cached_property
    def _units(self) -> Array:
        return _running(self.demand)

    @cached_property
    def _seen(self) -> Array:
        return _running(self.observed.astype(np.float64))

    @cached_property
    def _weighted(self) -> Array | None:
        return None if self.weight is None else _running(self.observed * self.weight)

    @classmethod
    def of(cls, panel: Panel, origin: int, n_periods: int) -> "History":
        """The `n_periods` before and including `origin`, seen through the gate."""
        demand, observed = panel.history(origin, n_periods)
        return cls(origin - n_periods + 1, demand.astype(np.float64), observed)

    @property
    def last(self) -> int:
        """Period of the last entry."""
        return int(self.first + self.demand.shape[1] - 1)

    def sums(self, starts: NDArray[np.int64], span: int, least: float = 0.5) -> Samples:
        """Span sums that begin at the given periods (S,); those outside the window do not count, nor those of which
        less than the share `least` was observed."""
        inside = (starts >= self.first) & (starts + span - 1 <= self.last)
        low = np.where(inside, starts - self.first, 0)
        high = low + np.where(inside, span, 0)
        units, seen = self._units[:, high] - self._units[:, low], self._seen[:, high] - self._seen[:, low]
        running = self._weighted
        weight = seen if running is None else running[:, high] - running[:, low]
        valid = inside & (seen > 0) & (seen >= least * span) & (weight >= _LEAST_WEIGHT * seen)
        scale = float(span) if running is None else 1.0
        return Samples(np.where(valid, units * scale / np.where(valid, weight, 1.0), 0.0), valid)

    def recent(self, span: int, n_samples: int) -> Samples:
        """The `n_samples` latest sums, each one period earlier."""
        return self.sums(self.last - span + 1 - np.arange(n_samples), span)


def _running(values: Array) -> Array:
    """Running sum along axis 1 with a leading zero."""
    out = np.zeros((len(values), values.shape[1] + 1))
    np.cumsum(values, axis=1, out=out[:, 1:])
    return out


def merge(preferred: Samples, fallback: Samples, at_least: int) -> Samples:
    """`preferred` where it has `at_least` samples, else `fallback`."""
    enough = preferred.count >= at_least
    width = max(preferred.values.shape[1], fallback.values.shape[1])

    def padded(array: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.pad(array, ((0, 0), (0, width - array.shape[1])))

    values = np.where(enough[:, None], padded(preferred.values), padded(fallback.values))
    valid = np.where(enough[:, None], padded(preferred.valid), padded(fallback.valid))
    return Samples(np.asarray(values, dtype=np.float64), np.asarray(valid, dtype=bool))
