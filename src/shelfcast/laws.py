"""Laws of demand: batches of one-dimensional distributions, whatever made them.

Networks, forests and textbook models all end in a `QuantileFunction`; scores, storage and buying rules begin from it.
Convention: `quantile(a)` is the smallest value whose cdf reaches `a` (linearly interpolated for grids), and no law puts
weight below zero. The batch shape is `*b`; levels are numbers in (0, 1), never percent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt
from statistics import NormalDist
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@runtime_checkable
class QuantileFunction(Protocol):
    """A batch of laws of demand in units, batch shape `*b`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The batch shape `*b`."""
        ...

    def quantile(self, levels: ArrayLike) -> Array:
        """(*b, Q) units for levels (Q,): non-decreasing in level, >= 0."""
        ...

    def cdf(self, value: ArrayLike) -> Array:
        """(*b) probability of demand at most `value` (*b or scalar)."""
        ...

    def mean(self) -> Array:
        """(*b) units."""
        ...

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """(*b, n) independent draws, units."""
        ...


@dataclass(frozen=True)
class Grid:
    """Quantiles at given levels, linear between them, flat beyond the outermost.

    Parameters
    ----------
    levels : (Q,) strictly increasing in (0, 1).
    values : (*b, Q) units, non-decreasing along Q.
    """

    levels: Array
    values: NDArray[np.floating]

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", np.asarray(self.levels, dtype=np.float64))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape[:-1])

    def quantile(self, levels: ArrayLike) -> Array:
        wanted = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        place = np.interp(wanted, self.levels, np.arange(len(self.levels)))
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, len(self.levels) - 1)
        share = place - below
        values = np.asarray(self.values, dtype=np.float64)
        low, high = values[..., below], values[..., above]
        return low + share * (high - low)

    def cdf(self, value: ArrayLike) -> Array:
        """Inverse of `quantile`; 0 below the lowest stored quantile and 1 above the highest."""
        values = np.asarray(self.values, dtype=np.float64)
        x = np.broadcast_to(np.asarray(value, dtype=np.float64), self.shape)[..., None]
        n = len(self.levels)
        above = (values <= x).sum(axis=-1)
        low, high = np.clip(above - 1, 0, n - 1), np.clip(above, 0, n - 1)
        v_low = np.take_along_axis(values, low[..., None], -1)[..., 0]
        v_high = np.take_along_axis(values, high[..., None], -1)[..., 0]
        gap = np.where(v_high > v_low, v_high - v_low, 1.0)
        inside = self.levels[low] + (x[..., 0] - v_low) / gap * (self.levels[high] - self.levels[low])
        return np.where(above == 0, 0.0, np.where(above == n, 1.0, inside))

    def mean(self) -> Array:
        """Integral of the quantile function, flat beyond the outermost levels."""
        values = np.asarray(self.values, dtype=np.float64)
        edges = np.concatenate(([0.0], self.levels, [1.0]))
        padded = np.concatenate((values[..., :1], values, values[..., -1:]), axis=-1)
        return np.asarray(((padded[..., 1:] + padded[..., :-1]) / 2 * np.diff(edges)).sum(axis=-1))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        place = np.interp(rng.random((*self.shape, n)), self.levels, np.arange(len(self.levels)))
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, len(self.levels) - 1)
        values = np.asarray(self.values, dtype=np.float64)
        low, high = np.take_along_axis(values, below, -1), np.take_along_axis(values, above, -1)
        return low + (place - below) * (high - low)


@dataclass(frozen=True)
class Empirical:
    """Equally likely past values; rows may hold fewer than S of them.

    Parameters
    ----------
    values : (*b, S) units, sorted along S; entries from `count` on are ignored.
    count : (*b) number of values that count, >= 1.
    """

    values: Array
    count: NDArray[np.int64]

    @classmethod
    def of(cls, values: ArrayLike, valid: ArrayLike | None = None) -> "Empirical":
        """From unsorted values (*b, S) of which `valid` (*b, S) count; every row needs one."""
        x = np.asarray(values, dtype=np.float64)
        keep = np.ones(x.shape, dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
        return cls(np.sort(np.where(keep, x, np.inf), axis=-1), keep.sum(axis=-1))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape[:-1]

    def quantile(self, levels: ArrayLike) -> Array:
        """Linear between order statistics at place `(count - 1) x level`."""
        wanted = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        place = np.maximum(self.count - 1, 0)[..., None] * wanted
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, np.maximum(self.count - 1, 0)[..., None])
        low, high = np.take_along_axis(self.values, below, -1), np.take_along_axis(self.values, above, -1)
        share = place - below
        return np.where(share > 0, low + share * (np.where(share > 0, high, low) - low), low)

    def cdf(self, value: ArrayLike) -> Array:
        x = np.broadcast_to(np.asarray(value, dtype=np.float64), self.shape)
        reached = np.minimum((self.values <= x[..., None]).sum(axis=-1), self.count)
        return np.asarray(reached / self.count)

    def mean(self) -> Array:
        inside = np.arange(self.values.shape[-1]) < self.count[..., None]
        return np.asarray(np.where(inside, self.values, 0.0).sum(axis=-1) / self.count)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        place = np.floor(rng.random((*self.shape, n)) * self.count[..., None]).astype(np.int64)
        return np.take_along_axis(self.values, place, -1)


@dataclass(frozen=True)
class Normal:
    """Normal law clipped at zero: what the spreadsheet assumes.

    Parameters
    ----------
    centre, sd : (*b) units; mean and standard deviation before clipping.
    """

    centre: Array
    sd: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(np.shape(self.centre), np.shape(self.sd))

    def quantile(self, levels: ArrayLike) -> Array:
        z = np.array([NormalDist().inv_cdf(float(a)) for a in np.atleast_1d(np.asarray(levels))])
        raw = np.asarray(self.centre)[..., None] + np.asarray(self.sd)[..., None] * z
        return np.asarray(np.maximum(raw, 0.0))

    def cdf(self, value: ArrayLike) -> Array:
        x = np.asarray(value, dtype=np.float64)
        z = (x - self.centre) / np.where(self.sd > 0, self.sd, 1.0)
        reached = np.where(self.sd > 0, _normal_cdf(z), x >= self.centre)
        return np.asarray(np.where(x < 0, 0.0, reached))

    def mean(self) -> Array:
        """Mean after clipping: `centre x Phi(z) + sd x phi(z)` with `z = centre / sd`."""
        z = self.centre / np.where(self.sd > 0, self.sd, 1e-12)
        density = np.exp(-np.minimum(z * z, 1e3) / 2) / sqrt(2 * np.pi)
        return np.asarray(self.centre * _normal_cdf(z) + self.sd * density)

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        draws = rng.normal(np.asarray(self.centre)[..., None], np.asarray(self.sd)[..., None], (*self.shape, n))
        return np.asarray(np.maximum(draws, 0.0))


@dataclass(frozen=True)
class Counts:
    """A law on whole units 0, 1, .. M given by its table of probabilities.

    Parameters
    ----------
    table : (*b, M + 1) probabilities that sum to 1.
    """

    table: Array

    @classmethod
    def poisson(cls, mean: ArrayLike) -> "Counts":
        """Poisson laws of the given means (*b), cut where the rest is below 1e-12."""
        mu = np.asarray(mean, dtype=np.float64)
        top = int(mu.max() + 10 * sqrt(mu.max() + 1) + 15)
        k = np.arange(1, top + 1)
        with np.errstate(divide="ignore"):
            steps = np.log(mu)[..., None] - np.log(k)
        logs = np.concatenate((np.zeros((*mu.shape, 1)), np.cumsum(steps, axis=-1)), axis=-1) - mu[..., None]
        return cls._normalised(np.exp(logs))

    @classmethod
    def negative_binomial(cls, mean: ArrayLike, dispersion: ArrayLike) -> "Counts":
        """Variance `mean + dispersion x mean^2`, dispersion > 0; cut far in the tail."""
        mu, alpha = np.broadcast_arrays(np.asarray(mean, dtype=np.float64), np.asarray(dispersion, dtype=np.float64))
        sd = np.sqrt(mu + alpha * mu * mu).max()
        top = int(mu.max() + 25 * sd + 15)
        k = np.arange(1, top + 1)
        size = (1.0 / alpha)[..., None]
        with np.errstate(divide="ignore"):
            steps = np.log((size + k - 1) / k) + np.log(mu / (mu + 1.0 / alpha))[..., None]
        start = -(1.0 / alpha) * np.log1p(alpha * mu)
        logs = np.concatenate((np.zeros((*mu.shape, 1)), np.cumsum(steps, axis=-1)), axis=-1) + start[..., None]
        return cls._normalised(np.exp(logs))

    @classmethod
    def _normalised(cls, table: Array) -> "Counts":
        return cls(table / table.sum(axis=-1, keepdims=True))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.table.shape[:-1]

    def quantile(self, levels: ArrayLike) -> Array:
        wanted = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        cumulative = np.cumsum(self.table, axis=-1)
        found = [(cumulative < a - 1e-12).sum(axis=-1) for a in wanted]
        return np.asarray(np.minimum(np.stack(found, axis=-1), self.table.shape[-1] - 1), dtype=np.float64)

    def cdf(self, value: ArrayLike) -> Array:
        x = np.broadcast_to(np.floor(np.asarray(value, dtype=np.float64)), self.shape)
        cumulative = np.cumsum(self.table, axis=-1)
        place = np.clip(x, 0, self.table.shape[-1] - 1).astype(np.int64)
        reached = np.take_along_axis(cumulative, place[..., None], -1)[..., 0]
        return np.where(x < 0, 0.0, reached)

    def mean(self) -> Array:
        return np.asarray((self.table * np.arange(self.table.shape[-1])).sum(axis=-1))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        cumulative = np.cumsum(self.table, axis=-1)[..., None, :]
        return np.asarray((cumulative < rng.random((*self.shape, n))[..., None]).sum(axis=-1), dtype=np.float64)


@dataclass(frozen=True)
class Tailed:
    """Quantiles at given levels of a law that goes on beyond them: linear down to zero, an exponential tail above.

    The tail's scale is that of the topmost levels, so that chances of demand far above the grid, and quantiles at
    levels that it does not hold, are neither 0 nor the last value over and over.

    Parameters
    ----------
    levels : (Q,) strictly increasing in (0, 1).
    values : (*b, Q) units, non-decreasing along Q.
    """

    levels: Array
    values: Array
    scale: Array

    @classmethod
    def of(cls, levels: ArrayLike, values: NDArray[np.floating]) -> "Tailed":
        """From a grid: zero demand is put before it, and the tail (*b) fitted above."""
        a = np.concatenate(([0.0], np.asarray(levels, dtype=np.float64)))
        q = np.concatenate((np.zeros((*values.shape[:-1], 1)), np.asarray(values, dtype=np.float64)), axis=-1)
        inner = min(max(int(np.searchsorted(a, 1 - 4 * (1 - a[-1]))), 0), len(a) - 2)
        scale = (q[..., -1] - q[..., inner]) / np.log((1 - a[inner]) / (1 - a[-1]))
        return cls(a, q, np.maximum(scale, 0.02 * q[..., -1] + 0.05))

    def above(self, value: Array, *, strict: bool = True) -> Array:
        """(*b) chance of demand above `value` (*b), or at least it where not `strict`; never 0."""
        a, q, x = self.levels, self.values, value[..., None]
        n = (q <= x).sum(axis=-1) if strict else (q < x).sum(axis=-1)
        low, high = np.clip(n - 1, 0, len(a) - 1), np.clip(n, 0, len(a) - 1)
        left, right = (np.take_along_axis(q, i[..., None], -1)[..., 0] for i in (low, high))
        gap = np.where(right > left, right - left, 1.0)
        inside = 1 - (a[low] + np.clip((value - left) / gap, 0, 1) * (a[high] - a[low]))
        beyond = (1 - a[-1]) * np.exp(-np.minimum(np.maximum(value - q[..., -1], 0) / self.scale, _FARTHEST))
        return np.asarray(np.where(n == 0, 1.0, np.where(n == len(a), beyond, inside)))

    def exceeded(self, chance: Array) -> Array:
        """(*b, P) units that demand exceeds with the given chances, (P,) or (*b, P), above 0."""
        a, q = self.levels, self.values
        wanted = np.broadcast_to(chance, (*q.shape[:-1], np.shape(chance)[-1]))
        place = np.interp(1 - wanted, a, np.arange(len(a)))
        below = np.minimum(np.floor(place).astype(np.int64), len(a) - 2)
        left, right = np.take_along_axis(q, below, -1), np.take_along_axis(q, below + 1, -1)
        tail = np.where(q[..., -1] > 0, self.scale, 0.0)  # a law of zeros stays one
        beyond = q[..., -1:] + tail[..., None] * np.log(np.maximum((1 - a[-1]) / wanted, 1.0))
        return np.asarray(np.where(1 - wanted > a[-1], beyond, left + (place - below) * (right - left)))

    def mean(self, floor: Array | float = 0.0) -> Array:
        """(*b) expected demand given that it is above `floor` (*b)."""
        chance = self.above(np.broadcast_to(np.asarray(floor, dtype=np.float64), self.scale.shape))
        return np.asarray((self.exceeded(chance[..., None] * (1 - _MIDDLES)) * _MASSES).sum(axis=-1))


def mixture(laws: Sequence[QuantileFunction], weights: ArrayLike, levels: ArrayLike) -> Grid:
    """One of several laws (B,), each with its chance: `F(x) = sum of weight_m F_m(x)`, as a grid of its quantiles.

    Parameters
    ----------
    weights : (B, M) chances that sum to 1.
    levels : (Q,) of the grid.

    Examples
    --------
    >>> few, many = (Counts(np.eye(9)[[units]]) for units in (2, 8))
    >>> mixture([few, many], [[0.75, 0.25]], [0.5, 0.9]).values.tolist()
    [[2.0, 8.0]]
    """
    share = np.asarray(weights, dtype=np.float64)
    points = np.concatenate([law.quantile(_MIDDLES) for law in laws], axis=-1)
    mass = (share[:, :, None] * _MASSES).reshape(len(share), -1)
    order = np.argsort(points, axis=-1, kind="stable")
    points, mass = np.take_along_axis(points, order, -1), np.take_along_axis(mass, order, -1)
    reached = np.cumsum(mass, axis=-1)
    wanted = np.asarray(levels, dtype=np.float64)
    places = np.stack([(reached < level - 1e-9).sum(axis=-1) for level in wanted], axis=-1)
    return Grid(wanted, np.take_along_axis(points, np.minimum(places, points.shape[-1] - 1), -1))


_EDGES = np.concatenate((np.linspace(0.0, 0.9, 181)[:-1], np.linspace(0.9, 1.0, 81)))  # finer where orders are decided
_FARTHEST = 600.0  # scales of a tail beyond which its chance is no number any more
_MIDDLES, _MASSES = (_EDGES[1:] + _EDGES[:-1]) / 2, np.diff(_EDGES)

_erf = np.vectorize(erf, otypes=[np.float64])


def _normal_cdf(z: ArrayLike) -> Array:
    return np.asarray(0.5 * (1.0 + _erf(np.asarray(z, dtype=np.float64) / sqrt(2.0))))
