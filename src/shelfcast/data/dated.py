"""Features of dates: places in the season, month and year, calendar columns, distances to rare events."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.periods import Frequency, Unit

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
POSITIONS = ("place in season", "day of month", "place in year")
DISTANCES = ("periods to next event", "periods since last event")
_RARE = 0.1  # share of periods up to which a column of counts is an event with a before and an after
_FAR = 15  # periods beyond which an event is not near


@dataclass(frozen=True)
class DateColumns:
    """Which calendar columns are read, and how; judged once, up to the last period of the panel learned from.

    Parameters
    ----------
    names : (C,) calendar columns.
    counts : (C,) whether a column counts (0 is "nothing there", and absent as a feature) rather than measures.
    rare : (C,) whether it is an event with a before and an after.
    """

    names: tuple[str, ...]
    counts: tuple[bool, ...]
    rare: tuple[bool, ...]

    @classmethod
    def of(cls, panel: Panel) -> "DateColumns":
        """The columns of a panel's calendar that are not the same everywhere."""
        calendar, kept = panel.calendar, []
        for j, name in enumerate(calendar.names):
            values = calendar.values[:, : max(panel.last + 1 - calendar.start, 0), j]
            given = values[np.isfinite(values)]
            if given.size and given.min() < given.max():
                counts = bool((given >= 0).all() and (given == np.round(given)).all())
                kept.append((name, counts, counts and float((given > 0).mean()) <= _RARE))
        names, counted, rare = zip(*kept, strict=True) if kept else ((), (), ())
        return cls(tuple(names), tuple(counted), tuple(rare))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns that `DateRows` fills."""
        near = DISTANCES if any(self.rare) else ()
        return (*POSITIONS, *near, *(f"calendar {name}" for name in self.names))


@dataclass
class DateRows:
    """Features of dates for one panel, read from tables that grow where a target lies beyond them.

    Sums begin with the calendar itself, so that a feature does not depend, not even by a rounding error, on the rows
    that are asked for together.
    """

    columns: DateColumns
    panel: Panel

    def __post_init__(self) -> None:
        calendar, reach = self.panel.calendar, round(2 * self.panel.frequency.year)
        n = calendar.values.shape[1]
        ends = (calendar.start, calendar.start + n) if n else (self.panel.last, self.panel.last)
        self._make(min(ends[0], self.panel.first) - reach, max(ends[1], self.panel.last) + reach)

    def _make(self, low: int, high: int) -> None:
        """Tables over periods `low .. high - 1`."""
        self.low, self.high = low, high
        self.place_in = positions(self.panel.frequency, np.arange(low, high))
        values = self._values(low, high).astype(np.float64)
        given = ~np.isnan(values)
        zero = np.zeros((len(values), 1, values.shape[2]))
        self.sums = np.concatenate([zero, np.cumsum(np.where(given, values, 0.0), axis=1)], axis=1)
        self.given = np.concatenate([zero, np.cumsum(given, axis=1)], axis=1)
        self.distances = self._distances()

    def fill(self, place: Ints, first: Ints, span: Ints, out: Floats) -> None:
        """Fill `out` (J, features) for targets of `span` periods from period `first` at a place (J,)."""
        if not len(first):
            return
        if first.min() < self.low or (first + span).max() > self.high:
            self._make(min(self.low, int(first.min())), max(self.high, int((first + span).max())))
        begin = first - self.low
        out[:, : len(POSITIONS)] = self.place_in[begin + (span - 1) // 2]
        at = len(POSITIONS)
        if any(self.columns.rare):
            out[:, at : at + 2] = self.distances[place, begin]
            at += 2
        if self.columns.names:
            total = self.sums[place, begin + span] - self.sums[place, begin]
            n = self.given[place, begin + span] - self.given[place, begin]
            counts = np.array(self.columns.counts, dtype=bool)
            below = np.where(counts, span[:, None], n)
            is_absent = np.where(counts, total == 0, n == 0)
            out[:, at:] = np.divide(total, below, out=np.full(total.shape, np.nan), where=~is_absent)

    def _values(self, low: int, high: int) -> Floats:
        """(P, T, C) columns over periods `low .. high - 1`; NaN for one that this calendar lacks."""
        calendar, names = self.panel.calendar, self.columns.names
        found = calendar.at(np.arange(len(calendar.values))[:, None], np.arange(low, high)[None])
        made = np.full((*found.shape[:2], len(names)), np.nan, dtype=np.float32)
        for c, name in enumerate(names):
            if name in calendar.names:
                made[:, :, c] = found[:, :, calendar.names.index(name)]
        return made

    def _distances(self) -> Floats:
        """(P, T, 2) periods to the next and since the last rare event, 0 on its day; NaN where it is far."""
        values = self._values(self.low - _FAR, self.high + _FAR)[..., np.array(self.columns.rare, dtype=bool)]
        on = (np.nan_to_num(values) > 0).any(axis=2)
        t, far = np.arange(on.shape[1]), 10 * _FAR
        since = t - np.maximum.accumulate(np.where(on, t, -far), axis=1)
        until = np.minimum.accumulate(np.where(on, t, on.shape[1] + far)[:, ::-1], axis=1)[:, ::-1] - t
        both = np.stack([until, since], axis=2)[:, _FAR : on.shape[1] - _FAR].astype(np.float32)
        return np.where(both <= _FAR, both, np.float32(np.nan))


def positions(frequency: Frequency, periods: Ints) -> Floats:
    """(T, 3) place in the season, day of the month (days and hours only) and place in the year, as a share."""
    days = frequency.to_date(periods).astype("datetime64[D]")
    months, years = days.astype("datetime64[M]"), days.astype("datetime64[Y]")
    month_day = (days - months).astype(np.int64) + 1.0
    if frequency.unit in (Unit.WEEK, Unit.MONTH):
        month_day = np.full(len(days), np.nan)
    year_share = (days - years.astype("datetime64[D]")).astype(np.int64) / 366.0
    return np.stack([frequency.season_position(periods), month_day, year_share], axis=1).astype(np.float32)
