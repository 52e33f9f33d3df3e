"""Columns known by date: events and other columns of a calendar table, and the public holidays of a country.

A table may be finer than the panel (days for weeks or months), or daily for a panel of hours. Text becomes one column
per category, named `column=category`, that counts the dates of the period (0 or 1 in days). Columns of 0 and 1 only
count too; other numbers are the mean over the period. A date without a row has no event: categories and 0/1 columns
are 0 there, other numbers NaN. Holidays count the same way: `holiday`, and one column for each that comes in more
than one year.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.columns import Column, Kind, Rows, infer_types
from shelfcast.data.dates import read_dates
from shelfcast.data.panel import Calendar
from shelfcast.data.sources import Source, Table, open_table
from shelfcast.errors import ConfigError, DataError, nearest, shorten
from shelfcast.periods import Frequency, Unit

_MOST_CATEGORIES = 50
HOLIDAY = "holiday"


@dataclass(frozen=True)
class _Grid:
    """The periods `first` to `last` of a calendar."""

    frequency: Frequency
    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1

    def of_days(self, days: NDArray[np.datetime64]) -> NDArray[np.int64]:
        """Period of each day; with hours, the first of the day."""
        return self.frequency.to_period(days)

    def span(self) -> tuple[dt.date, dt.date]:
        """First and last day."""
        begin, end = self.frequency.first_day([self.first, self.last + 1])
        last = end if self.frequency.unit is Unit.HOUR else end - np.timedelta64(1, "D")
        return dt.date.fromisoformat(str(begin)), dt.date.fromisoformat(str(last))


def calendar_from(
    source: "Source | None",
    *,
    frequency: Frequency,
    first: int,
    last: int,
    date: str = "date",
    place: str | None = None,
    columns: Sequence[str] = (),
    country: str | None = None,
    subdivision: str | None = None,
    root: Path | str | None = None,
) -> tuple[Calendar, tuple[str, ...]]:
    """Calendar columns for the periods `first` to `last`, and the names of its places (empty if shared by all).

    Parameters
    ----------
    source : calendar table, as `open_table` takes; None for holidays only.
    date, place : its columns of dates and of places; without `place` it holds for all series.
    columns : which of its other columns; all if empty.
    country, subdivision : ISO codes, such as `US` and `CA`, of public holidays; None for none.

    Raises
    ------
    DataError : the table is not a calendar. ConfigError : an unknown country or subdivision.
    """
    grid = _Grid(frequency, first, last)
    values = np.zeros((1, grid.length, 0), dtype=np.float32)
    names: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    if source is not None:
        values, names, places = _from_table(open_table(source, "calendar", root), grid, date, place, columns)
    if country is not None:
        more, titles = _holidays(grid, country, subdivision)
        shared = np.broadcast_to(more, (len(values), *more.shape))
        values, names = np.concatenate([values, shared], axis=2), (*names, *titles)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        came = f"'{shorten(twice[0])}' twice"
        raise DataError("calendar columns of different names", came, "rename the table's column", table="calendar")
    return Calendar(frequency, first, values, names), places


# ---- tables


def _from_table(
    table: Table, grid: _Grid, date: str, place: str | None, columns: Sequence[str]
) -> tuple[NDArray[np.float32], tuple[str, ...], tuple[str, ...]]:
    """Values (P, T, F), names (F,) and places of a calendar table."""
    keys = [place] if place else []
    table.require([date, *keys, *columns])
    chosen = list(columns) or [c for c in table.columns if c not in (date, *keys)]
    if not chosen:
        raise DataError("columns beside the date", "none", "add events or other columns by date", table=table.name)
    dates = read_dates(table, date, [], Frequency(Unit.HOUR))
    frame = pl.concat(list(table.batches([date, *keys, *chosen])) or [_nothing(table)], how="vertical_relaxed")
    _check_rows(frame, table, date, keys)
    hours, _ = dates.periods(frame[date])
    names = frame[place].cast(pl.String) if place else pl.repeat("", frame.height, eager=True)
    places = tuple(sorted(names.unique().to_list()))
    codes = np.searchsorted(np.array(places), names.to_numpy().astype(str))
    made = _numeric(infer_types(frame.select(chosen)), table)
    values = _scatter(made, codes, hours.to_numpy().astype(np.int64), grid, len(places))
    return values, tuple(made.columns), places if place else ()


def _nothing(table: Table) -> pl.DataFrame:
    raise table.no_rows()


def _check_rows(frame: pl.DataFrame, table: Table, date: str, keys: Sequence[str]) -> None:
    """One row, without nulls, for each date and place."""
    rows = Rows(frame, 0, table.name)
    for column in (date, *keys):
        role = Column(column, column, Kind.KEY)
        rows.refuse(frame[column].is_null(), role, "a value in every row", "nulls", "fill them in or drop the rows")
    advice = "keep one row for each date" + ("and place" if keys else ", or name the column of places")
    twice = frame.select(date, *keys).is_duplicated()
    rows.refuse(twice, Column(date, date, Kind.DATE), "one row for each date", "repeated dates", advice)


def _numeric(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Numbers as Float32; text as one 0/1 column for each category."""
    made: list[pl.Series] = []
    for column in frame.get_columns():
        if column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
            made.append(column.cast(pl.Float32).fill_nan(None))
        else:
            made += _categories(column, table)
    return pl.DataFrame(made)


def _categories(column: pl.Series, table: Table) -> list[pl.Series]:
    text = column.cast(pl.String).str.strip_chars()
    found = sorted(value for value in text.unique().drop_nulls().to_list() if value)
    if len(found) > _MOST_CATEGORIES:
        came = f"{len(found):,} different texts"
        advice = "choose the columns to use, or group rare values"
        expected = f"at most {_MOST_CATEGORIES} categories in '{column.name}'"
        raise DataError(expected, came, advice, table=table.name, samples=found)
    return [(text == value).fill_null(False).cast(pl.Float32).rename(f"{column.name}={value}") for value in found]


def _scatter(
    frame: pl.DataFrame, places: NDArray[np.int64], hours: NDArray[np.int64], grid: _Grid, n_places: int
) -> NDArray[np.float32]:
    """(P, T, F): the sum over each period of columns of 0 and 1, the mean of others."""
    if grid.frequency.unit is Unit.HOUR:
        is_daily = not (hours % 24).any()
        repeat = 24 if is_daily else 1
        periods = (hours[:, None] + np.arange(repeat)).ravel()
        rows = np.repeat(np.arange(len(hours)), repeat)
    else:
        periods = grid.of_days((hours // 24).astype("datetime64[D]"))
        rows = np.arange(len(hours))
    inside = (periods >= grid.first) & (periods <= grid.last)
    cells = (places[rows] * grid.length + periods - grid.first)[inside]
    rows = rows[inside]
    columns = [_column(frame[name], rows, cells, n_places * grid.length) for name in frame.columns]
    return np.stack(columns, axis=1).reshape(n_places, grid.length, len(columns)).astype(np.float32)


def _column(values: pl.Series, rows: NDArray[np.int64], cells: NDArray[np.int64], n_cells: int) -> NDArray[np.float64]:
    """(n_cells,) one column, added up by cell."""
    is_flag = bool(values.is_in([0.0, 1.0]).all())
    numbers = values.fill_null(float("nan")).to_numpy()[rows].astype(np.float64)
    given = ~np.isnan(numbers)
    total = np.bincount(cells[given], numbers[given], n_cells).astype(np.float64)
    if is_flag:
        return total
    count = np.bincount(cells[given], minlength=n_cells)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


# ---- holidays


def _holidays(grid: _Grid, country: str, subdivision: str | None) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """(T, F) holidays inside each period: all, and by name those of more than one year."""
    begin, end = grid.span()
    found = [(day, name) for day, name in _public(country, subdivision, begin, end) if begin <= day <= end]
    years: dict[str, set[int]] = {}
    for day, name in found:
        years.setdefault(name, set()).add(day.year)
    one_year = begin.year == end.year
    names = sorted(n for n, seen in years.items() if (len(seen) > 1 or one_year) and "(observed)" not in n)
    groups = {HOLIDAY: {day for day, _ in found}}
    groups |= {f"{HOLIDAY}={name}": {day for day, title in found if title == name} for name in names}
    return np.stack([_count(grid, days) for days in groups.values()], axis=1), tuple(groups)


def _count(grid: _Grid, days: Iterable[dt.date]) -> NDArray[np.float32]:
    """(T,) days inside each period; with hours, 1 in every hour of the day."""
    periods = grid.of_days(np.array(sorted(days), dtype="datetime64[D]"))
    if grid.frequency.unit is Unit.HOUR:
        periods = (periods[:, None] + np.arange(24)).ravel()
    periods = periods[(periods >= grid.first) & (periods <= grid.last)]
    return np.bincount(periods - grid.first, minlength=grid.length).astype(np.float32)


def _public(country: str, subdivision: str | None, begin: dt.date, end: dt.date) -> list[tuple[dt.date, str]]:
    """Days and English names, where there are any, of public holidays."""
    import holidays
    from holidays.registry import COUNTRIES

    codes = holidays.list_supported_countries()
    if country.upper() not in codes:
        named = [f"{entry[1]} ({name.replace('_', ' ').title()})" for name, entry in COUNTRIES.items()]
        raise ConfigError("calendar.country", f"unknown country '{shorten(country, 40)}'; {nearest(country, named)}")
    kinds = codes[country.upper()]
    if subdivision is not None and subdivision not in kinds:
        listed = nearest(subdivision, kinds) if kinds else f"{country} has none"
        raise ConfigError("calendar.subdivision", f"unknown subdivision '{shorten(subdivision, 40)}'; {listed}")
    years = range(begin.year, end.year + 1)
    languages = holidays.country_holidays(country.upper()).supported_languages or ()
    language = "en_US" if "en_US" in languages else None
    days = holidays.country_holidays(country.upper(), subdiv=subdivision, years=years, language=language)
    return [(day, name) for day, names in sorted(days.items()) for name in names.split("; ")]
