"""The door of the data layer: tables are read, checked against the schema and made canonical, batch by batch.

A canonical batch has `item` and `location` (categorical), `period` (Int32), `demand` (Float64, null where unobserved
or in the future), `in_stock` (Float32, null counts as 1), then the columns known ahead (Float32), past (Float32) and
static (as they are), under the schema's names. Decisions taken here:

- flags and depths that are null count as 0, a category that is null or `none` is code 0; other nulls stay null (a
  price: as last known). NaN is refused in demand and known columns, except from pandas, which has no other null;
- demand below zero is refused, clipped to 0, or (`Negatives.NET`) left negative for packing to net within its period;
- item and location numbers become text; a row after `today` may have known columns but no demand.

Every refusal is a DataError that says what was expected, what came, in which rows, and what to do.
"""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from shelfcast.data.columns import (
    PROMOTIONS,
    READERS,
    Column,
    Kind,
    Rows,
    coded,
    infer_types,
    read_categories,
    read_demand,
    read_key,
)
from shelfcast.data.dates import Dates, read_dates
from shelfcast.data.queries import Query
from shelfcast.data.schema import Schema
from shelfcast.data.sources import Source, Table, open_table
from shelfcast.errors import ConfigError, DataError, shorten
from shelfcast.periods import Frequency, Unit

__all__ = [
    "DemandTable",
    "Query",
    "Source",
    "Table",
    "demand_table",
    "infer_types",
    "known_table",
    "open_table",
    "static_table",
]


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

        With `checked=False` keys, periods and demand are trusted, for a second reading; other columns are always
        checked. Text keys keep one code for one text over all batches while this table is alive.
        """
        unknown = sorted(set(columns or ()) - set(self.columns))
        assert not unknown, f"not canonical columns: {unknown}"
        roles = [role for role in self.roles if columns is None or role.name in columns]
        offset = 0
        for batch in self._table.batches(list(dict.fromkeys(role.source for role in roles))):
            yield self._canonical(Rows(batch, offset, self._table.name), roles, checked)
            offset += batch.height
        if offset == 0:
            raise self._table.no_rows()

    def raw_demand(self) -> Iterator[pl.DataFrame]:
        """Demand as numbers before negatives are clipped, in batches."""
        role = next(role for role in self.roles if role.kind is Kind.DEMAND)
        for batch in self._table.batches([role.source]):
            yield pl.DataFrame({"demand": batch[role.source].cast(pl.Float64, strict=False)})

    def _canonical(self, rows: "Rows", roles: Sequence[Column], checked: bool) -> pl.DataFrame:
        made: dict[str, pl.Series] = {}
        for role in roles:
            values = rows.batch[role.source]
            if role.kind is Kind.DATE:
                made[role.name] = self._periods(values, rows, role, checked)
            elif role.kind is Kind.DEMAND:
                made[role.name] = read_demand(values, rows, role, self.schema.negatives, checked)
            elif role.kind is Kind.CATEGORY:
                made[role.name] = coded(values, self.categories[role.source])
            else:
                made[role.name] = READERS[role.kind](values, rows, role)
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


def _off_grid(frequency: Frequency, dtype: pl.DataType) -> tuple[str, str]:
    """Advice and finding for dates that are not labels of their periods."""
    if frequency.unit is Unit.HOUR:
        return "round the times down to the hour", "times within the hour"
    if frequency.unit is Unit.DAY:
        return "drop the time of day and sum by day, or declare frequency = 'hour'", "times of day"
    if frequency.unit is Unit.WEEK:
        return "write the first day of each week, or declare its weekday, as 'week-sun'", "dates on other weekdays"
    return "write the first day of each month", "dates inside a month"


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

    It gives the key columns and known columns of the schema that it has. `categories` are those of the sales table:
    their codes stay, new ones follow.
    """
    table = open_table(source, name, root)
    table.require([schema.date])
    wanted = {*schema.keys, schema.date, *schema.known_columns}
    roles = [r for r in _roles(schema) if r.source in wanted and r.source in table.columns]
    if not any(r.kind is Kind.KEY for r in roles):
        table.require(schema.keys[:1])
    if schema.paid in table.columns:
        came = f"'{schema.paid}', which is declared as paid: known only afterwards"
        advice = "leave it to the sales table, or declare it as price if it is planned"
        raise DataError("columns that are known ahead", came, advice, table=name)
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
    others |= {column: PROMOTIONS[kind] for column, kind in schema.promotions.items()}
    others |= dict.fromkeys(schema.known, Kind.NUMBER)
    others |= {column: Kind.PAID if column == schema.paid else Kind.PAST for column in schema.past}
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
        categories=read_categories(table, coded, before),
        static_dtypes={role.name: table.dtypes[role.source] for role in roles if role.kind is Kind.STATIC},
        roles=tuple(roles),
        _table=table,
        _dates=dates,
        _latest=int(dates.frequency.to_period(np.datetime64(end))),
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

    `columns` are all others if None. Text that holds only numbers becomes numbers. Raises DataError for null or
    repeated keys.
    """
    table = open_table(source, name, root)
    keys = [r for r in _roles(schema) if r.kind is Kind.KEY and r.source in table.columns]
    if not keys:
        table.require(schema.keys[:1])
    sources = [role.source for role in keys]
    others = [c for c in table.columns if c not in sources] if columns is None else list(columns)
    parts = list(table.batches([*sources, *others]))
    if not parts:
        raise table.no_rows()
    frame = pl.concat(parts, how="vertical_relaxed")
    rows = Rows(frame, 0, name)
    for role in keys:
        read_key(frame[role.source], rows, role)
    twice = frame.select(sources).is_duplicated()
    rows.refuse(twice, keys[0], "one row for each key", "repeated keys", "keep one row for each key")
    named = [read_key(frame[role.source], rows, role).rename(role.name) for role in keys]
    return pl.DataFrame([*named, *infer_types(frame.select(others)).get_columns()])
