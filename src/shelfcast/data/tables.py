"""The door of the data layer: tables are read, checked against the schema and made canonical, batch by batch.

A canonical batch has `item` and `location` (categorical), `period` (Int32), `demand` (Float64, null where unobserved or in the
future), `in_stock` (Float32, null counts as 1), then the columns known ahead (Float32), past (Float32) and static (as they
are), under the schema's names. Decisions taken here:

- flags and depths that are null count as 0, a category that is null or `none` is code 0; other nulls stay null (a price: as last
  known). NaN is refused in demand and known columns, except from pandas, which has no other null;
- demand below zero is refused, clipped to 0, or (`Negatives.NET`) left negative for packing to net within its period;
- item and location numbers become text; a row after `today` may have known columns but no demand.

Every refusal is a DataError that says what was expected, what came, in which rows, and what to do.
"""

import datetime as dt
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import polars as pl

from shelfcast.data.dates import Dates, read_dates
from shelfcast.data.schema import Negatives, PromotionKind, Schema
from shelfcast.data.sources import Query, Source, Table, open_table
from shelfcast.errors import ConfigError, DataError, shorten
from shelfcast.periods import Frequency, Unit

__all__ = ["DemandTable", "Query", "Source", "Table", "demand_table", "known_table", "open_table", "static_table"]

NONE = "none"  # category of code 0
_MOST_CATEGORIES = 1000
_NULL_WORDS = ("", "na", "n/a", "null", "none")
_YES = ("1", "y", "yes", "true", "t", "on", "1.0")
_NO = ("0", "n", "no", "false", "f", "off", "0.0")
_CELL = 60  # characters of a cell shown in a message


class Kind(Enum):
    """How a column is read."""

    KEY = "text or whole numbers"
    DATE = "dates"
    DEMAND = "numbers (units)"
    FRACTION = "flags, or the fraction of the period in stock from 0 to 1"
    PRICE = "prices of 0 or more"
    NUMBER = "finite numbers"
    PAST = "numbers"
    FLAG = "flags: 0 or 1, true or false, yes or no"
    DEPTH = "discount depths from 0 to 1"
    CATEGORY = "categories"
    STATIC = "anything"


@dataclass(frozen=True)
class Column:
    """One canonical column: its name, the column it is read from, and how."""

    name: str
    source: str
    kind: Kind


@dataclass(frozen=True)
class DemandTable:
    """A checked table of rows by key and period; one of known columns has no demand, and may lack a key.

    Parameters
    ----------
    frequency : length of a period.
    schema : what was asked for.
    categories : category column -> names by code; code 0 is `none`.
    static_dtypes : static column -> type in the table (text files have text: see `infer_types`).
    roles : canonical columns in order.
    """

    frequency: Frequency
    schema: Schema
    categories: Mapping[str, tuple[str, ...]]
    static_dtypes: Mapping[str, pl.DataType]
    roles: tuple[Column, ...]
    _table: Table = field(repr=False)
    _dates: Dates = field(repr=False)
    _latest: int = field(repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """Canonical names in order."""
        return tuple(role.name for role in self.roles)

    def batches(self, columns: Collection[str] | None = None, *, checked: bool = True) -> Iterator[pl.DataFrame]:
        """Canonical batches of the given columns (all if None), in canonical order.

        With `checked=False` keys, periods and demand are trusted, for a second reading; other columns are always checked.
        Text keys keep one code for one text over all batches while this table is alive.
        """
        unknown = sorted(set(columns or ()) - set(self.columns))
        assert not unknown, f"not canonical columns: {unknown}"
        roles = [role for role in self.roles if columns is None or role.name in columns]
        offset = 0
        for batch in self._table.batches(list(dict.fromkeys(role.source for role in roles))):
            yield self._canonical(Rows(batch, offset, self._table.name), roles, checked)
            offset += batch.height
        if offset == 0:
            raise _no_rows(self._table)

    def _canonical(self, rows: "Rows", roles: Sequence[Column], checked: bool) -> pl.DataFrame:
        made: dict[str, pl.Series] = {}
        for role in roles:
            values = rows.batch[role.source]
            if role.kind is Kind.DATE:
                made[role.name] = self._periods(values, rows, role, checked)
            elif role.kind is Kind.DEMAND:
                made[role.name] = _demand(values, rows, role, self.schema.negatives, checked)
            elif role.kind is Kind.CATEGORY:
                made[role.name] = _coded(values, self.categories[role.source])
            else:
                made[role.name] = _READERS[role.kind](values, rows, role)
        if checked and "demand" in made and "period" in made:
            self._check_future(made["period"], made["demand"], rows)
        return pl.DataFrame([values.rename(name) for name, values in made.items()])

    def _periods(self, values: pl.Series, rows: "Rows", role: Column, checked: bool) -> pl.Series:
        if checked and values.null_count():
            rows.refuse(values.is_null(), role, "a date in every row", "null dates", "fill them in or drop the rows")
        periods, off = self._dates.periods(values)
        if checked and off is not None:
            advice, came = _off_grid(self.frequency, values.dtype)
            rows.refuse(off, role, f"dates on the grid of frequency '{self.frequency}'", came, advice)
        return periods

    def _check_future(self, periods: pl.Series, demand: pl.Series, rows: "Rows") -> None:
        latest = periods.max()
        if isinstance(latest, int) and latest > self._latest:
            wrong = (periods > self._latest) & demand.is_not_null()
            day = self.frequency.to_date(self._latest)
            advice = "check the dates; leave demand empty in rows that only plan prices or promotions ahead"
            rows.refuse(
                wrong, self.roles[[r.name for r in self.roles].index("period")],
                f"no demand after today's period ({day})", "demand dated in the future", advice,
            )  # fmt: skip


def _no_rows(table: Table) -> DataError:
    return DataError("a table with rows", "a header only", "check the export or the query", table=table.name)


def _off_grid(frequency: Frequency, dtype: pl.DataType) -> tuple[str, str]:
    """Advice and finding for dates that are not labels of their periods."""
    if frequency.unit is Unit.HOUR:
        return "round the times down to the hour", "times within the hour"
    if frequency.unit is Unit.DAY:
        return "drop the time of day and sum by day, or declare frequency = 'hour'", "times of day"
    if frequency.unit is Unit.WEEK:
        return "write the first day of each week, or declare its weekday, as 'week-sun'", "dates on other weekdays"
    return "write the first day of each month", "dates inside a month"


@dataclass(frozen=True)
class Rows:
    """A batch and where it stands in its table, for messages."""

    batch: pl.DataFrame
    offset: int
    table: str

    def refuse(self, wrong: pl.Series, role: Column, expected: str, came: str, advice: str) -> None:
        """Raise DataError with three of the rows where `wrong` is true; do nothing where there are none."""
        places = wrong.fill_null(False).arg_true()
        if not len(places):
            return
        shown = self.batch.columns[:6]
        shown = shown if role.source in shown else [*shown[:5], role.source]
        samples = [
            f"row {self.offset + int(i) + 1}: "
            + ", ".join(f"{name}={shorten(self.batch[name][int(i)], _CELL)}" for name in shown)
            for i in places.head(3)
        ]
        more = f"{came} in {len(places):,} rows"
        raise DataError(f"{expected} in '{role.source}'", more, advice, table=self.table, samples=samples)


# ---- readers of columns


def _is_text(dtype: pl.DataType) -> bool:
    return dtype in (pl.String, pl.Categorical) or isinstance(dtype, pl.Enum)


def _key(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    if values.null_count():
        rows.refuse(values.is_null(), role, "a key in every row", "null keys", "fill them in or drop the rows")
    if values.dtype == pl.Categorical:
        return values
    if not (_is_text(values.dtype) or values.dtype.is_integer()):
        advice = "cast the column to text or whole numbers"
        came = f"type {values.dtype}"
        rows.refuse(pl.repeat(True, len(values), eager=True), role, role.kind.value, came, advice)
    return values.cast(pl.String).cast(pl.Categorical)


def _numbers(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    """Float64; DataError with the rows where text is no number."""
    if values.dtype.is_numeric() or values.dtype == pl.Null:
        return values.cast(pl.Float64)
    if values.dtype == pl.Boolean and role.kind is not Kind.DEMAND:
        return values.cast(pl.Float64)
    if not _is_text(values.dtype):
        came = f"type {values.dtype}"
        rows.refuse(values.is_not_null(), role, role.kind.value, came, "cast the column to numbers")
        return pl.repeat(None, len(values), dtype=pl.Float64, eager=True)
    text = values.cast(pl.String).str.strip_chars()
    read = text.cast(pl.Float64, strict=False)
    if read.null_count() > text.null_count():
        wrong = read.is_null() & text.is_not_null() & ~text.str.to_lowercase().is_in(_NULL_WORDS)
        advice = (
            "write plain numbers with a decimal point and no thousands separators or units; leave unknown cells empty"
        )
        rows.refuse(wrong, role, role.kind.value, "text", advice)
    return read


def _finite(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    """The same values; DataError where NaN or infinite. The sum tells in one pass whether there is any."""
    if len(values) and not math.isfinite(values.sum()):
        advice = "leave the cell empty where the value is unknown"
        rows.refuse(~values.is_finite(), role, "finite numbers", "NaN or infinite values", advice)
    return values


def _within(values: pl.Series, low: float, high: float, rows: Rows, role: Column, advice: str) -> pl.Series:
    least, most = values.min(), values.max()
    if isinstance(least, float) and isinstance(most, float) and (least < low or most > high):
        wrong = (values < low) | (values > high)
        rows.refuse(wrong, role, role.kind.value, "values outside that range", advice)
    return values


def _demand(values: pl.Series, rows: Rows, role: Column, negatives: Negatives, checked: bool) -> pl.Series:
    read = _numbers(values, rows, role)
    if checked:
        _finite(read, rows, role)
        least = read.min()
        if negatives is Negatives.REFUSE and isinstance(least, float) and least < 0:
            advice = (
                "set negatives = 'clip' to count returns as 0, or 'net' to net them against the sales of their period"
            )
            rows.refuse(read < 0, role, "demand of 0 or more", "negative demand", advice)
    return read.clip(lower_bound=0) if negatives is Negatives.CLIP else read


def _price(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    read = _finite(_numbers(values, rows, role), rows, role)
    return _within(read, 0, math.inf, rows, role, "correct the price, or leave it empty").cast(pl.Float32)


def _number(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    return _finite(_numbers(values, rows, role), rows, role).cast(pl.Float32)


def _past(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    return _finite(_numbers(values, rows, role).fill_nan(None), rows, role).cast(pl.Float32)


def _words(values: pl.Series) -> pl.Series:
    """Text as flags where it says yes or no, otherwise as it is: 'Y' -> '1', '0.3' -> '0.3'."""
    text = values.cast(pl.String).str.strip_chars().str.to_lowercase()
    return text.replace([*_YES, *_NO], ["1"] * len(_YES) + ["0"] * len(_NO))


def _flag(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    if _is_text(values.dtype):
        words = _words(values)
        wrong = ~words.is_in(["0", "1", *_NULL_WORDS])
        rows.refuse(wrong, role, role.kind.value, "other values", "write 1 or 0")
        return (words == "1").fill_null(False).cast(pl.Float32)
    read = _finite(_numbers(values, rows, role), rows, role)
    least, most = read.min(), read.max()
    if least is not None and not (least in (0, 1) and most in (0, 1) and read.is_in([0.0, 1.0]).all()):
        advice = "write 1 or 0; a depth or a category is declared as such"
        rows.refuse(~read.is_in([0.0, 1.0]), role, role.kind.value, "other numbers", advice)
    return read.fill_null(0).cast(pl.Float32)


def _fraction(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    values = _words(values) if _is_text(values.dtype) else values
    read = _finite(_numbers(values, rows, role), rows, role).fill_null(1)
    return _within(read, 0, 1, rows, role, "write 1 for in stock, 0 for out, 0.25 for a quarter").cast(pl.Float32)


def _depth(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    read = _finite(_numbers(values, rows, role), rows, role).fill_null(0)
    return _within(read, 0, 1, rows, role, "write 0.3 for 30 %").cast(pl.Float32)


def _static(values: pl.Series, rows: Rows, role: Column) -> pl.Series:
    return values


_READERS: dict[Kind, Callable[[pl.Series, Rows, Column], pl.Series]] = {
    Kind.KEY: _key,
    Kind.FRACTION: _fraction,
    Kind.PRICE: _price,
    Kind.NUMBER: _number,
    Kind.PAST: _past,
    Kind.FLAG: _flag,
    Kind.DEPTH: _depth,
    Kind.STATIC: _static,
}
_PROMOTIONS = {
    PromotionKind.FLAG: Kind.FLAG,
    PromotionKind.DEPTH: Kind.DEPTH,
    PromotionKind.CATEGORY: Kind.CATEGORY,
}


def _coded(values: pl.Series, names: Sequence[str]) -> pl.Series:
    """Float32 code of each category."""
    codes = range(1, len(names))
    text = values.cast(pl.String).str.strip_chars()
    return text.replace_strict(list(names[1:]), list(codes), default=0, return_dtype=pl.Float32)


def _categories(
    table: Table, columns: Sequence[str], before: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Names of the categories of each column: `none`, those known before, then the others in alphabetical order."""
    found: dict[str, set[str]] = {column: set() for column in columns}
    for batch in table.batches(columns) if columns else ():
        for column in columns:
            text = batch[column].unique().cast(pl.String).drop_nulls().str.strip_chars()
            found[column] |= {name for name in text.to_list() if name.lower() not in (NONE, "")}
            if len(found[column]) > _MOST_CATEGORIES:
                advice = "declare it as a flag or a depth, or join rare categories"
                came = f"more than {_MOST_CATEGORIES:,}"
                samples = sorted(found[column])[:3]
                expected = f"a handful of categories in '{column}'"
                raise DataError(expected, came, advice, table=table.name, samples=samples)
    first = {column: tuple(before.get(column, (NONE,))) for column in columns}
    return {column: (*first[column], *sorted(found[column] - set(first[column]))) for column in columns}


# ---- opening


def demand_table(
    source: Source,
    schema: Schema,
    *,
    today: dt.date,
    name: str = "sales",
    root: Path | str | None = None,
    optional: Collection[str] = (),
) -> DemandTable:
    """Open a sales table and find out its dates, frequency and categories.

    Parameters
    ----------
    source : data frame, path (file, glob, folder) or `Query`; relative paths start at `root`.
    today : no demand may be dated after the period of this day.
    name : what messages call the table.
    optional : columns of the schema that may be absent here, since another table has them.
    """
    table = open_table(source, name, root)
    table.require([c for c in schema.columns if c not in optional])
    there = [c for c in schema.columns if c in table.columns]
    return _open(table, schema, [r for r in _roles(schema) if r.source in there], today, None, {})


def known_table(
    source: Source,
    schema: Schema,
    *,
    frequency: Frequency,
    categories: Mapping[str, Sequence[str]] | None = None,
    name: str = "known",
    root: Path | str | None = None,
) -> DemandTable:
    """Open a table of columns known ahead (planned prices, promotions) by date and by item, location or both.

    It gives the key columns and known columns of the schema that it has. `categories` are those of the sales table: their
    codes stay, new ones follow.
    """
    table = open_table(source, name, root)
    table.require([schema.date])
    wanted = {*schema.keys, schema.date, *schema.known_columns}
    roles = [r for r in _roles(schema) if r.source in wanted and r.source in table.columns]
    if not any(r.kind is Kind.KEY for r in roles):
        table.require(schema.keys[:1])
    if not any(r.source in schema.known_columns for r in roles):
        listed = ", ".join(schema.known_columns) or "none declared"
        came = f"none of them; there are: {shorten(', '.join(table.columns))}"
        raise DataError(f"known columns of the schema ({listed})", came, "name them in the schema", table=name)
    return _open(table, schema, roles, dt.date.max, frequency, categories or {})


def _roles(schema: Schema) -> list[Column]:
    """Canonical columns of a schema, in order."""
    named = [Column("item", schema.item, Kind.KEY)]
    if schema.location:
        named.append(Column("location", schema.location, Kind.KEY))
    named += [Column("period", schema.date, Kind.DATE), Column("demand", schema.demand, Kind.DEMAND)]
    if schema.in_stock:
        named.append(Column("in_stock", schema.in_stock, Kind.FRACTION))
    others = {schema.price: Kind.PRICE} if schema.price else {}
    others |= {column: _PROMOTIONS[kind] for column, kind in schema.promotions.items()}
    others |= dict.fromkeys(schema.known, Kind.NUMBER)
    others |= dict.fromkeys(schema.past, Kind.PAST)
    others |= dict.fromkeys(schema.static, Kind.STATIC)
    taken = sorted({role.name for role in named} & set(others))
    if taken:
        raise ConfigError("schema", f"a column is called '{taken[0]}', as one of our own", "rename it in your table")
    return named + [Column(column, column, kind) for column, kind in others.items()]


def _open(
    table: Table,
    schema: Schema,
    roles: Sequence[Column],
    today: dt.date,
    frequency: Frequency | None,
    before: Mapping[str, Sequence[str]],
) -> DemandTable:
    if frequency is None and schema.frequency:
        frequency = Frequency.parse(schema.frequency)
    keys = [role.source for role in roles if role.kind is Kind.KEY]
    dates = read_dates(table, schema.date, keys, frequency)
    end = dt.datetime.combine(today, dt.time(23))
    coded = [role.source for role in roles if role.kind is Kind.CATEGORY]
    return DemandTable(
        frequency=dates.frequency,
        schema=schema,
        categories=_categories(table, coded, before),
        static_dtypes={role.name: table.dtypes[role.source] for role in roles if role.kind is Kind.STATIC},
        roles=tuple(roles),
        _table=table,
        _dates=dates,
        _latest=int(dates.frequency.to_period(end)),
    )


def static_table(
    source: Source,
    schema: Schema,
    *,
    columns: Sequence[str] | None = None,
    name: str = "items",
    root: Path | str | None = None,
) -> pl.DataFrame:
    """An items or locations table: `item`, `location` or both (categorical, whichever it has) and static columns.

    `columns` are all others if None. Text that holds only numbers becomes numbers. Raises DataError for null or repeated keys.
    """
    table = open_table(source, name, root)
    keys = [r for r in _roles(schema) if r.kind is Kind.KEY and r.source in table.columns]
    if not keys:
        table.require(schema.keys[:1])
    sources = [role.source for role in keys]
    others = [c for c in table.columns if c not in sources] if columns is None else list(columns)
    parts = list(table.batches([*sources, *others]))
    if not parts:
        raise _no_rows(table)
    frame = pl.concat(parts, how="vertical_relaxed")
    rows = Rows(frame, 0, name)
    for role in keys:
        _key(frame[role.source], rows, role)
    twice = frame.select(sources).is_duplicated()
    rows.refuse(twice, keys[0], "one row for each key", "repeated keys", "keep one row for each key")
    named = [_key(frame[role.source], rows, role).rename(role.name) for role in keys]
    return pl.DataFrame([*named, *infer_types(frame.select(others)).get_columns()])


def infer_types(frame: pl.DataFrame) -> pl.DataFrame:
    """Text columns that hold whole or decimal numbers only, as numbers; codes with leading zeros stay text."""
    return pl.DataFrame([_inferred(column) for column in frame.get_columns()])


def _inferred(column: pl.Series) -> pl.Series:
    if not _is_text(column.dtype) or column.null_count() == len(column):
        return column
    text = column.cast(pl.String)
    if text.str.contains(r"^0\d").any():
        return column
    for dtype in (pl.Int64, pl.Float64):
        read = text.cast(dtype, strict=False)
        if read.null_count() == text.null_count():
            return read
    return column
