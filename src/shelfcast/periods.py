"""Calendar arithmetic: dates to whole period numbers and back.

A frequency is an hour, a day, a week with an anchor weekday, or a month. Periods are numbered from 1970: period 0 is
the first hour, day, month of 1970, or the week whose anchor day is the first on or after 1970-01-01. Every date is
the label of its period; `to_period` maps any moment inside a period to it, so `is_label` tells whether dates lie on
the grid.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shelfcast.errors import ConfigError, DataError, nearest

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


class Unit(Enum):
    """Length of one period."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


_ALIASES = {"h": Unit.HOUR, "d": Unit.DAY, "w": Unit.WEEK, "m": Unit.MONTH, "ms": Unit.MONTH}
_SEASONS = {Unit.HOUR: 24, Unit.DAY: 7, Unit.WEEK: 52, Unit.MONTH: 12}
_YEARS = {Unit.HOUR: 8766.0, Unit.DAY: 365.25, Unit.WEEK: 52.18, Unit.MONTH: 12.0}
_CODES = {Unit.HOUR: "h", Unit.DAY: "D", Unit.WEEK: "D", Unit.MONTH: "M"}


@dataclass(frozen=True, slots=True)
class Frequency:
    """How long a period is and, for weeks, on which weekday (0 = Monday) its label falls.

    A week's label is its first day, or its last where `is_ending` says so.
    """

    unit: Unit
    anchor: int = 0
    is_ending: bool = False

    @classmethod
    def parse(cls, text: str) -> "Frequency":
        """From `hour`, `day`, `week`, `week-sun`, `week-ending-sat`, `month`; short `h`, `D`, `W`, `W-SUN`, `M`."""
        name, _, rest = text.strip().lower().partition("-")
        is_ending = rest.startswith("ending-")
        anchor = rest.removeprefix("ending-")
        unit = _ALIASES.get(name)
        units = [u.value for u in Unit]
        if unit is None and name not in units:
            raise ConfigError("frequency", f"unknown frequency '{text}'; {nearest(name, units)}")
        unit = unit or Unit(name)
        if rest and (unit is not Unit.WEEK or anchor.upper() not in WEEKDAYS):
            raise ConfigError(
                "frequency", f"expected a weekday after 'week-', as 'week-sun' or 'week-ending-sat'; got '{text}'"
            )
        return cls(unit, WEEKDAYS.index(anchor.upper()) if anchor else 0, is_ending)

    def __str__(self) -> str:
        if self.unit is not Unit.WEEK:
            return str(self.unit.value)
        return f"week-{'ending-' if self.is_ending else ''}{WEEKDAYS[self.anchor].lower()}"

    @property
    def season(self) -> int:
        """Periods of the season that repeats first: 24 hours, 7 days, 52 weeks, 12 months."""
        return _SEASONS[self.unit]

    @property
    def year(self) -> float:
        """Periods in a mean year."""
        return _YEARS[self.unit]

    @property
    def _offset(self) -> int:
        """Days from 1970-01-01 to the first anchor day."""
        return (self.anchor - _EPOCH_WEEKDAY) % 7

    def to_period(self, dates: ArrayLike) -> NDArray[np.int64]:
        """Period numbers of dates (anything numpy reads as datetime64), same shape.

        A week is the seven days that begin, or end, with its label.
        """
        moments = np.asarray(dates, dtype=f"datetime64[{_CODES[self.unit]}]").astype(np.int64)
        if self.unit is not Unit.WEEK:
            return moments
        return (moments - self._offset + 6 * self.is_ending) // 7

    def to_date(self, periods: ArrayLike) -> NDArray[np.datetime64]:
        """Labels of periods: datetime64[D], or datetime64[us] for hours (polars reads no seconds)."""
        numbers = np.asarray(periods, dtype=np.int64)
        if self.unit is Unit.WEEK:
            numbers = numbers * 7 + self._offset
        dates = numbers.astype(f"datetime64[{_CODES[self.unit]}]")
        return dates.astype("datetime64[us]" if self.unit is Unit.HOUR else "datetime64[D]")

    def first_day(self, periods: ArrayLike) -> NDArray[np.datetime64]:
        """First days of periods, datetime64[D]."""
        return np.asarray(self.to_date(periods).astype("datetime64[D]") - np.timedelta64(6 * self.is_ending, "D"))

    def is_label(self, dates: ArrayLike) -> NDArray[np.bool_]:
        """Whether each date is the label of a period, not merely inside one."""
        moments = np.asarray(dates, dtype="datetime64[s]")
        return np.asarray(self.to_date(self.to_period(dates)).astype("datetime64[s]") == moments)

    def season_position(self, periods: ArrayLike) -> NDArray[np.int64]:
        """Place inside the season, 0 .. season - 1: hour of the day, weekday (0 = Monday), week of 52, month - 1."""
        numbers = np.asarray(periods, dtype=np.int64)
        shift = _EPOCH_WEEKDAY if self.unit is Unit.DAY else 0
        return (numbers + shift) % self.season


def infer_frequency(dates: ArrayLike) -> Frequency:
    """The frequency on whose grid all the distinct dates lie.

    Hours if any date has a time of day; else weeks if all share a weekday; months if all are first days; else days.
    Raises DataError where the dates cannot belong to one grid (minutes), or where there are too few to tell.
    """
    moments = np.unique(np.asarray(dates, dtype="datetime64[s]"))
    if len(moments) == 0:
        raise DataError("at least one date", "none", "check that the date column is filled")
    days = moments.astype("datetime64[D]")
    if (days != moments).any():
        hours = moments.astype("datetime64[h]")
        if (hours != moments).any():
            wrong = [str(m) for m in moments[hours != moments][:3]]
            raise DataError(
                "dates of one frequency (hour, day, week or month)", "times within the hour",
                "round the dates down to the hour or the day", samples=wrong,
            )  # fmt: skip
        return Frequency(Unit.HOUR)
    months = days.astype("datetime64[M]")
    if len(days) > 1 and (months == days).all():
        return Frequency(Unit.MONTH)
    weekdays = (days.astype(np.int64) + _EPOCH_WEEKDAY) % 7
    if len(days) > 2 and (weekdays == weekdays[0]).all():
        return Frequency(Unit.WEEK, int(weekdays[0]))
    return Frequency(Unit.DAY)
