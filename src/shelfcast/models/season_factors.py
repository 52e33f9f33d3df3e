"""Places in the year and the week, and factors of them that are shrunk by what repeats.

The year has one factor for each seven days (weeks, days, hours) or month; the week one for each weekday (days) or hour
of the week (hours). Repeats are years, and blocks of weeks, counted back from the last period.

Axes: U units (groups or items), B bins, Y repeats, T periods, G groups, P places.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shelfcast.periods import Frequency, Unit

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
BOUNDS = (0.05, 20.0)
_BLOCKS = 12  # blocks of weeks that show how well a week's shape repeats
_PRIOR_REPEATS = 10.0  # degrees of freedom of the family's noise that join a unit's own
_KERNEL = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9.0  # mean over neighbouring weeks of the year
_WEEK = {Unit.HOUR: 168, Unit.DAY: 7, Unit.WEEK: 1, Unit.MONTH: 1}


@dataclass(frozen=True)
class Shape:
    """T periods of history with their places in the year and week, and the repeat that each belongs to.

    Parameters
    ----------
    first : first period. per_year : periods in a year.
    year, week : (T,) bins. years, blocks : (T,) repeats of the year and the week, from the latest back.
    """

    first: int
    per_year: float
    year: Ints
    week: Ints
    years: Ints
    blocks: Ints
    n_year: int
    n_week: int

    @classmethod
    def of(cls, frequency: Frequency, period: Ints) -> "Shape":
        first, last = (int(period.min()), int(period.max())) if len(period) else (0, -1)
        t = np.arange(first, last + 1)
        weeks = (last - t) // _WEEK[frequency.unit]
        n_weeks = int(weeks[0]) + 1 if len(t) else 0
        blocks = weeks * min(n_weeks, _BLOCKS) // max(n_weeks, 1)
        years = ((last - t) / frequency.year).astype(np.int64)
        n_year = 12 if frequency.unit is Unit.MONTH else 52
        return cls(
            first, frequency.year, year_bin(frequency, t), week_bin(frequency, t), years, blocks, n_year,
            _WEEK[frequency.unit],
        )  # fmt: skip

    @property
    def length(self) -> int:
        """T."""
        return len(self.year)

    @property
    def last(self) -> int:
        """Last period."""
        return self.first + self.length - 1

    @property
    def is_fine(self) -> bool:
        """Whether the year's factors are those of weeks, whose neighbours resemble each other."""
        return self.n_year > 12

    @property
    def has_year(self) -> bool:
        """Whether a year was seen whole."""
        return bool(self.length >= np.floor(self.per_year))

    @property
    def has_week(self) -> bool:
        """Whether there is a week within which periods differ, seen twice."""
        return self.n_week > 1 and self.length >= 2 * self.n_week

    def year_factors(self, demand: Array, expected: Array) -> Array:
        """(G, B) factors of the year from tables (G, P, T); 1 before a year was seen."""
        if not self.has_year:
            return np.ones((len(demand), self.n_year))
        return mean_one(self._by_bin(demand, expected, self.year, self.years, self.n_year, smooth=self.is_fine))

    def week_factors(self, demand: Array, expected: Array) -> Array:
        """(G, B) factors of the week; 1 for weeks and months."""
        if not self.has_week:
            return np.ones((len(demand), self.n_week))
        return mean_one(self._by_bin(demand, expected, self.week, self.blocks, self.n_week, smooth=False))

    def _by_bin(self, demand: Array, expected: Array, bins: Ints, repeats: Ints, n_bins: int, *, smooth: bool) -> Array:
        n_repeats = int(repeats.max()) + 1
        order = np.argsort(bins * n_repeats + repeats, kind="stable")
        key = (bins * n_repeats + repeats)[order]
        begin = np.flatnonzero(np.diff(key, prepend=-1))

        def summed(table: Array) -> Array:
            made = np.zeros((len(table), n_bins * n_repeats))
            made[:, key[begin]] = np.add.reduceat(table.sum(axis=1)[:, order], begin, axis=1)
            return made.reshape(len(table), n_bins, n_repeats)

        return shrunken_factors(summed(demand), summed(expected), np.zeros(len(demand), dtype=np.int64), smooth=smooth)


def shrunken_factors(demand: Array, expected: Array, family: Ints, *, smooth: bool = False) -> Array:
    """(U, B) factors around 1 from demand and expected demand (U, B, Y) by bin and repeat.

    raw = sum demand / sum expected; its noise is the variance between repeats (with one repeat: half the mean square of
    steps between neighbouring bins) over their number; the variance of true factors, one for a family (U,) of units, is
    what the mean square distance from 1 has above the noise. A bin that nothing was expected in takes the mean of its
    nearest neighbours. With `smooth` the raw factors are first parted into their mean over neighbouring bins and the
    rest, each shrunk by itself: a season that moves slowly is told from noise sooner than a peak, yet a peak that
    comes back every year is kept. Negative factors cannot arise; the result lies within `BOUNDS`.
    """
    total = expected.sum(axis=2)
    there = total > 0
    raw = filled(np.where(there, demand.sum(axis=2) / np.where(there, total, 1.0), np.nan))
    some = expected > 0
    size = expected.sum(axis=(1, 2)) / np.maximum(some.sum(axis=(1, 2)), 1)
    size = np.where(size > 0, size, 1.0)
    step = np.where(some, demand / np.where(some, expected, 1.0) - raw[:, :, None], 0.0)
    squares = (expected * step**2).sum(axis=(1, 2)) / size
    free = np.maximum(some.sum(axis=2) - 1, 0).sum(axis=1)
    n_families = int(family.max(initial=0)) + 1
    of_family = np.bincount(family, squares, n_families) / np.maximum(np.bincount(family, free, n_families), 1)
    noise = (squares + _PRIOR_REPEATS * of_family[family]) / (free + _PRIOR_REPEATS)
    jumps = ((raw - np.roll(raw, 1, axis=1)) ** 2).mean(axis=1) / 2
    noise = np.where(free > 0, noise, jumps)
    variance = noise[:, None] / np.maximum(total / size[:, None], 0.2)
    if not smooth:
        return np.asarray(np.clip(1.0 + _kept(raw - 1.0, variance, family), *BOUNDS))
    near = sum(weight * np.roll(raw, shift, axis=1) for shift, weight in zip((-2, -1, 0, 1, 2), _KERNEL, strict=True))
    of_near = float((_KERNEL**2).sum())
    of_rest = 1.0 - 2.0 * _KERNEL[2] + of_near
    made = 1.0 + _kept(near - 1.0, of_near * variance, family) + _kept(raw - near, of_rest * variance, family)
    return np.asarray(np.clip(made, *BOUNDS))


def _kept(distance: Array, variance: Array, family: Ints) -> Array:
    """Distances (U, B) times spread / (spread + variance), with the family's spread = mean(distance^2 - variance)."""
    above = (distance**2 - variance).mean(axis=1)
    n_families = int(family.max(initial=0)) + 1
    size = np.maximum(np.bincount(family, minlength=n_families), 1)
    spread = np.maximum(np.bincount(family, above, n_families) / size, 0.0)[family][:, None]
    return np.asarray(distance * spread / np.maximum(spread + variance, 1e-12))


def year_bin(frequency: Frequency, periods: Ints) -> Ints:
    """Seven days of the year 0 .. 51 (the last has eight or nine), or month - 1."""
    dates = frequency.to_date(periods).astype("datetime64[D]")
    if frequency.unit is Unit.MONTH:
        return np.asarray(dates.astype("datetime64[M]").astype(np.int64) % 12)
    day = (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    return np.asarray(np.minimum(day // 7, 51))


def week_bin(frequency: Frequency, periods: Ints) -> Ints:
    """Weekday (0 = Monday) for days, hour of the week for hours, else 0."""
    if frequency.unit is Unit.DAY:
        return frequency.season_position(periods)
    if frequency.unit is Unit.HOUR:
        return np.asarray((np.asarray(periods) + 3 * 24) % 168)
    return np.zeros(len(periods), dtype=np.int64)


def filled(raw: Array) -> Array:
    """NaN in a cycle of bins (U, B) replaced by interpolation between the nearest others; 1 where there is none."""
    made = raw.copy()
    n_bins = raw.shape[1]
    for unit in np.flatnonzero(np.isnan(raw).any(axis=1)):
        known = np.flatnonzero(~np.isnan(raw[unit]))
        made[unit] = np.interp(np.arange(n_bins), known, raw[unit, known], period=n_bins) if len(known) else 1.0
    return made


def mean_one(factors: Array) -> Array:
    """Factors scaled so that the mean over their bins is 1."""
    return np.asarray(np.clip(factors / factors.mean(axis=1, keepdims=True), *BOUNDS))
