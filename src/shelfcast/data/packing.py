"""A long table into a panel, without sorting.

The place of a row is `indptr[series] + period - start[series]`, so two passes over the table in any row order are
enough: the first finds each series' first and last period, the second scatters batch after batch. Memory follows the
panel, not the table. Duplicates are seen because a cell is written twice; absent rows are what no row wrote.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.censoring import with_lower_bounds
from shelfcast.data.panel import KEYS, Calendar, FeatureNames, Panel, ragged_tails
from shelfcast.data.schema import Absent, Duplicates, Negatives, Schema
from shelfcast.data.tables import DemandTable, infer_types
from shelfcast.errors import DataError, nearest

_DIRECT_CELLS = 1 << 26  # item x location pairs looked up in one table; beyond, by binary search
_FILL_ROWS = 4_000_000  # rows filled forward at a time
Ints = NDArray[np.int64]


def pack(
    sales: DemandTable,
    *,
    items: pl.DataFrame | None = None,
    known: DemandTable | None = None,
) -> Panel:
    """Pack a demand table into a panel.

    Parameters
    ----------
    sales : as `demand_table` opens it.
    items : static columns by `item`, `location` or both, as `static_table` reads them. With all the keys, a product
        that is only here becomes a series without rows.
    known : columns known ahead, as `known_table` opens it; where it has a value, that counts. May reach past the last
        sale.

    Raises
    ------
    DataError : anything in the tables that is not as declared; two rows of one key and date among them.
    """
    schema = sales.schema
    _require(schema.known_columns, {"sales": sales.columns, "known": known.columns if known else ()})
    _require(schema.static, {"sales": sales.columns, "items": items.columns if items is not None else ()})
    extents = _extents(sales)
    index = _SeriesIndex.of(extents.frame, items)
    layout = _layout(extents, index, schema, known)
    rows = _Rows.empty(layout, schema)
    for batch in sales.batches(checked=False):
        _scatter(rows, layout, index, batch, schema)
    _refuse_duplicates(rows, layout, index, sales)
    observed = _observed(rows, layout, schema)
    rows.demand[~observed] = 0
    _settle_past(rows, layout, schema)
    if schema.negatives is not Negatives.REFUSE:
        np.maximum(rows.demand, 0, out=rows.demand)
    if known is not None:
        _scatter_known(rows, layout, index, known)
    names = FeatureNames(
        past=schema.past,
        known=schema.known_columns,
        price=schema.price,
        paid=schema.paid,
        promotions=tuple(schema.promotions),
        categories={**sales.categories, **(known.categories if known else {})},
        sold_out=schema.sold_out,
    )
    _fill_known(rows.known, layout.indptr, names)
    made = Panel(
        calendar=Calendar(sales.frequency),
        series=index.series,
        start=layout.start.astype(np.int32),
        indptr=layout.indptr,
        demand=rows.demand.astype(np.float32, copy=False),
        observed=observed,
        past=rows.past,
        known=rows.known,
        names=names,
        place=np.zeros(index.series.height, dtype=np.int32),
        last=extents.last,
    )
    return made if schema.sold_out is None else with_lower_bounds(made)


def _require(columns: Sequence[str], tables: Mapping[str, Sequence[str]]) -> None:
    """Every column that the schema names must be in one of the tables."""
    there = [name for names in tables.values() for name in names]
    for column in columns:
        if column not in there:
            raise DataError(
                f"a column '{column}' in the {' or the '.join(tables)} table", f"none; {nearest(column, there)}",
                "correct the name in the schema",
            )  # fmt: skip


@dataclass(frozen=True)
class _Extents:
    """First and last period of every series, and the last period with a sale or a zero of any."""

    frame: pl.DataFrame
    last: int


def _extents(table: DemandTable) -> _Extents:
    """First pass: extents by key, and static columns, from checked batches."""
    schema = table.schema
    keys = [name for name in KEYS if name in table.columns]
    static = [name for name in schema.static if name in table.columns]
    parts: list[pl.DataFrame] = []
    statics: list[pl.DataFrame] = []
    last: int | None = None
    ends = [
        pl.col("period").min().alias("first"),
        pl.col("period").max().alias("final"),
        pl.col("period").filter(pl.col("demand") > 0).min().alias("first_sale"),
    ]
    merge = [pl.col("first").min(), pl.col("final").max(), pl.col("first_sale").min()]
    for batch in table.batches({*keys, "period", "demand", *static}):
        parts.append(batch.group_by(keys).agg(ends))
        newest = batch.select(pl.col("period").filter(pl.col("demand").is_not_null()).max()).item()
        last = newest if last is None else max(last, newest if newest is not None else last)
        if static:
            statics.append(batch.select(*keys, *static).unique())
        if sum(part.height for part in parts) > 4_000_000:
            parts = [pl.concat(parts).group_by(keys).agg(merge)]
            statics = [pl.concat(statics, how="vertical_relaxed").unique()] if statics else []
    if last is None:
        raise DataError(f"demand in column '{schema.demand}'", "only empty cells", table="sales")
    frame = pl.concat(parts).group_by(keys).agg(merge)
    if statics:
        values = pl.concat(statics, how="vertical_relaxed").unique()
        _refuse_changing(values, keys)
        frame = frame.join(values.select(*keys).hstack(infer_types(values.select(static))), on=keys, how="left")
    return _Extents(frame, last)


def _refuse_changing(static: pl.DataFrame, keys: list[str]) -> None:
    """Static columns must not change within a series."""
    twice = static.filter(pl.struct(keys).is_duplicated()).sort(keys)
    if twice.height:
        raise DataError(
            f"static columns {[c for c in static.columns if c not in keys]} with one value a series",
            f"{twice.select(keys).n_unique()} series where they change",
            "declare them as known or past columns, or correct them",
            table="sales", samples=twice.rows(named=True),
        )  # fmt: skip


@dataclass(frozen=True)
class _SeriesIndex:
    """The series in order of their keys, and the way from key codes to their places.

    Parameters
    ----------
    series : N rows: keys as text, static columns.
    extents : N rows: first, final, first_sale; null for a series without rows.
    codes : (M,) sorted pair codes of the M series with rows; `places` (M,) their places.
    direct : (item codes x location codes) place or -1, where that table is small.
    """

    series: pl.DataFrame
    extents: pl.DataFrame
    codes: Ints
    places: Ints
    width: int
    direct: NDArray[np.int32] | None

    @classmethod
    def of(cls, extents: pl.DataFrame, items: pl.DataFrame | None) -> "_SeriesIndex":
        keys = [name for name in KEYS if name in extents.columns]
        coded = extents.with_columns(pl.col(k).to_physical().cast(pl.Int64).alias(f"_{k}") for k in keys)
        frame = coded.with_columns(pl.col(keys).cast(pl.String))
        if items is not None:
            frame = _with_items(frame, items, keys)
        frame = frame.sort(keys)
        width = int(coded["_location"].to_numpy().max()) + 1 if "location" in keys else 1
        own = frame.with_row_index("_place").filter(pl.col("_item").is_not_null())
        codes = own["_item"].to_numpy() * width + (own["_location"].to_numpy() if "location" in keys else 0)
        order = np.argsort(codes)
        places = own["_place"].to_numpy().astype(np.int64)
        direct = None
        if len(codes) and codes.max() < _DIRECT_CELLS:
            direct = np.full(int(codes.max()) + 1, -1, dtype=np.int32)
            direct[codes] = places
        drop = ["first", "final", "first_sale", *(f"_{k}" for k in keys)]
        ends = frame.select("first", "final", "first_sale")
        return cls(frame.drop(drop), ends, codes[order], places[order], width, direct)

    @property
    def keys(self) -> list[str]:
        """The key columns there are."""
        return [name for name in KEYS if name in self.series.columns]

    def locate(self, batch: pl.DataFrame) -> Ints:
        """(rows,) place of each row's series."""
        code = batch["item"].to_physical().to_numpy().astype(np.int64)
        if self.width > 1 or "location" in batch.columns:
            code = code * self.width + batch["location"].to_physical().to_numpy()
        if self.direct is not None:
            return np.asarray(self.direct[code], dtype=np.int64)
        return np.asarray(self.places[np.searchsorted(self.codes, code)])


def _with_items(frame: pl.DataFrame, items: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Join static columns; with all keys, products only in `items` are appended as series without rows."""
    on = [key for key in keys if key in items.columns]
    clash = sorted((set(items.columns) & set(frame.columns)) - set(on))
    if clash:
        raise DataError("each static column in one table", f"{clash} in the sales and the items table", table="items")
    items = items.with_columns(pl.col(on).cast(pl.String))
    return frame.join(items, on=on, how="full" if on == keys else "left", coalesce=True)


@dataclass(frozen=True)
class _Layout:
    """Where each series' rows are: `start` and `end` periods (N,), `indptr` (N + 1,), and the panel's last period."""

    start: Ints
    end: Ints
    indptr: Ints
    last: int


def _layout(extents: _Extents, index: _SeriesIndex, schema: Schema, known: DemandTable | None) -> _Layout:
    ends, last = index.extents, extents.last
    start = pl.coalesce("first_sale", "first") if schema.from_first_sale else pl.col("first")
    begin = ends.select(start.fill_null(last + 1)).to_series().to_numpy().astype(np.int64)
    end = ends["final"].fill_null(last).to_numpy().astype(np.int64)
    if schema.absent is Absent.ZERO:
        end = np.maximum(end, last)
    if known is not None:
        end = _known_ends(known, index, end)
    lengths = np.maximum(end - begin + 1, 0)
    return _Layout(begin, end, np.concatenate(([0], np.cumsum(lengths))), last)


@dataclass(frozen=True)
class _Rows:
    """The panel's flat arrays while they are filled; `present` and `hidden` say what rows wrote.

    Repeated rows are added up in float64, so that their order does not show in the float32 of the panel; `spent` holds
    what was paid for the units of a cell, and those units (R, 2), where prices are paid and rows repeated.
    """

    demand: NDArray[np.floating]
    present: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    known: NDArray[np.float32]
    past: NDArray[np.float32]
    written: list[int]
    spent: NDArray[np.float64] | None

    @classmethod
    def empty(cls, layout: _Layout, schema: Schema) -> "_Rows":
        n = int(layout.indptr[-1])
        wide = [np.full((n, len(names)), np.nan, dtype=np.float32) for names in (schema.known_columns, schema.past)]
        units = np.float64 if schema.duplicates is Duplicates.SUM else np.float32
        adds = schema.duplicates is Duplicates.SUM and schema.paid is not None
        spent = np.zeros((n, 2)) if adds else None
        return cls(np.zeros(n, units), np.zeros(n, bool), np.zeros(n, bool), wide[0], wide[1], [0], spent)


def _scatter(rows: _Rows, layout: _Layout, index: _SeriesIndex, batch: pl.DataFrame, schema: Schema) -> None:
    """Write one batch."""
    place = index.locate(batch)
    offset = batch["period"].to_numpy() - layout.start[place]
    keep: Any = slice(None)
    if schema.from_first_sale and offset.min() < 0:
        keep = offset >= 0
    at = (layout.indptr[place] + offset)[keep]
    demand = batch["demand"]
    units = demand.fill_null(0.0).to_numpy().astype(rows.demand.dtype)[keep]
    if schema.duplicates is Duplicates.SUM:
        np.add.at(rows.demand, at, units)
    else:
        rows.demand[at] = units
    rows.present[at] = True
    rows.written[0] += len(at)
    if demand.null_count():
        rows.hidden[at[demand.is_null().to_numpy()[keep]]] = True
    if schema.in_stock is not None:
        short = batch["in_stock"].to_numpy()[keep] < schema.in_stock_from
        rows.hidden[at[short]] = True
    for array, columns in ((rows.known, schema.known_columns), (rows.past, schema.past)):
        for j, column in enumerate(columns):
            if column in batch.columns and not (column == schema.paid and rows.spent is not None):
                array[at, j] = batch[column].to_numpy()[keep]
    if rows.spent is not None and schema.paid in batch.columns:
        price = batch[schema.paid].to_numpy().astype(np.float64)[keep]
        sold = np.where(np.isnan(price), 0.0, np.maximum(units, 0.0))
        np.add.at(rows.spent, at, np.stack((sold * np.nan_to_num(price), sold), axis=1))


def _refuse_duplicates(rows: _Rows, layout: _Layout, index: _SeriesIndex, table: DemandTable) -> None:
    """Fewer cells than rows means that some were written twice; only then are they looked for."""
    if table.schema.duplicates is Duplicates.SUM or rows.written[0] == int(rows.present.sum()):
        return
    count = np.zeros(len(rows.present), dtype=np.int32)
    for batch in table.batches({*index.keys, "period"}, checked=False):
        place = index.locate(batch)
        offset = batch["period"].to_numpy() - layout.start[place]
        np.add.at(count, (layout.indptr[place] + offset)[offset >= 0], 1)
    cells = np.flatnonzero(count > 1)
    place = np.searchsorted(layout.indptr, cells[:3], side="right") - 1
    when = table.frequency.to_date(layout.start[place] + cells[:3] - layout.indptr[place])
    samples = [
        {**index.series.row(int(p), named=True), "date": str(d), "rows": int(count[c])}
        for p, d, c in zip(place, when, cells[:3], strict=True)
    ]
    raise DataError(
        "one row for each key and date", f"{len(cells)} keys and dates with two or more rows",
        "add them up with duplicates = 'sum', or name the location column if there is one",
        table="sales", samples=samples,
    )  # fmt: skip


def _observed(rows: _Rows, layout: _Layout, schema: Schema) -> NDArray[np.bool_]:
    """(R,) which cells count as demand: by the declared meaning of absent rows, and none after the last period."""
    observed = ~rows.hidden
    later = ragged_tails(layout.indptr, layout.last + 1 - layout.start)
    if schema.absent is Absent.UNOBSERVED:
        observed &= rows.present
    elif schema.longest_gap is not None:
        ends_gap = rows.present.copy()
        ends_gap[later] = True
        _hide_long_gaps(observed, ends_gap, layout.indptr, schema.longest_gap)
    observed[later] = False
    return observed


def _hide_long_gaps(
    observed: NDArray[np.bool_], present: NDArray[np.bool_], indptr: Ints, longest: int
) -> None:  # fmt: skip
    """Absent runs of more than `longest` periods count as unobserved."""
    absent = np.flatnonzero(~present)
    if not len(absent):
        return
    series = np.searchsorted(indptr, absent, side="right")
    breaks = np.flatnonzero((np.diff(absent) != 1) | (np.diff(series) != 0)) + 1
    runs = np.diff(np.concatenate(([0], breaks, [len(absent)])))
    observed[absent[np.repeat(runs > longest, runs)]] = False


def _known_cells(batch: pl.DataFrame, index: _SeriesIndex) -> tuple[Ints, pl.DataFrame]:
    """Place of the series of each row of a known table, rows repeated for every series that shares its key."""
    on = [key for key in index.keys if key in batch.columns]
    text = batch.with_columns(pl.col(on).cast(pl.String))
    found = text.join(index.series.select(on).with_row_index("_place"), on=on, how="inner")
    return found["_place"].to_numpy().astype(np.int64), found


def _known_ends(known: DemandTable, index: _SeriesIndex, end: Ints) -> Ints:
    """Last period of each series, moved on to where its known columns reach."""
    end = end.copy()
    keys = {name for name in KEYS if name in known.columns}
    for batch in known.batches({*keys, "period"}):
        place, found = _known_cells(batch, index)
        np.maximum.at(end, place, found["period"].to_numpy().astype(np.int64))
    return end


def _scatter_known(rows: _Rows, layout: _Layout, index: _SeriesIndex, known: DemandTable) -> None:
    """Write the values of a known table over those of the sales table; rows before a series' start are left out."""
    columns = known.schema.known_columns
    for batch in known.batches(checked=False):
        place, found = _known_cells(batch, index)
        offset = found["period"].to_numpy() - layout.start[place]
        for j, column in enumerate(columns):
            if column in found.columns:
                keep = (offset >= 0) & found[column].is_not_null().to_numpy()
                rows.known[(layout.indptr[place] + offset)[keep], j] = found[column].to_numpy()[keep]


def _fill_known(known: NDArray[np.float32], indptr: Ints, names: FeatureNames) -> None:
    """Where no row wrote: promotions are off; price and other known columns stay as last known.

    Before they are first known they stay NaN: what is known later must not be seen before.
    """
    for j, name in enumerate(names.known):
        if name in names.promotions:
            np.nan_to_num(known[:, j], copy=False)
        else:
            _fill_forward(known, j, indptr)


def _settle_past(rows: _Rows, layout: _Layout, schema: Schema) -> None:
    """What was paid a unit stays as last known; what no origin can know is hidden."""
    if schema.paid is not None:
        place = schema.past.index(schema.paid)
        if rows.spent is not None:
            sold = rows.spent[:, 1] > 0
            rows.past[sold, place] = rows.spent[sold, 0] / rows.spent[sold, 1]
        _fill_forward(rows.past, place, layout.indptr)
    rows.past[ragged_tails(layout.indptr, layout.last + 1 - layout.start)] = np.nan


def _fill_forward(values: NDArray[np.float32], j: int, indptr: Ints) -> None:
    """Fill the gaps of a column with what was last known in the series, in pieces."""
    for begin, end in _spans_of_rows(indptr):
        column = values[indptr[begin] : indptr[end], j]
        if np.isnan(column).any():
            column[:] = _filled(column, indptr[begin : end + 1] - indptr[begin])


def _spans_of_rows(indptr: Ints) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of series of about `_FILL_ROWS` rows."""
    begin, n = 0, len(indptr) - 1
    while begin < n:
        end = max(int(np.searchsorted(indptr, indptr[begin] + _FILL_ROWS, side="right")) - 1, begin + 1)
        yield begin, min(end, n)
        begin = min(end, n)


def _filled(column: NDArray[np.float32], indptr: Ints) -> NDArray[np.float32]:
    """Forward fill within series; leading gaps stay NaN."""
    rows = np.arange(len(column))
    latest = np.maximum.accumulate(np.where(np.isnan(column), -1, rows))
    first = np.repeat(indptr[:-1], np.diff(indptr))
    return np.where(latest >= first, column[np.maximum(latest, 0)], np.float32(np.nan))


def with_calendar(panel: Panel, calendar: Calendar, place: str | None = None, places: Sequence[str] = ()) -> Panel:
    """The panel with columns by date.

    Parameters
    ----------
    calendar : as `calendar_from` makes.
    place, places : the series column that says which of the calendar's places a series is at, and their names.
    """
    if place is None or not places:
        return replace(panel, calendar=calendar, place=np.zeros(panel.n_series, dtype=np.int32))
    return replace(panel, calendar=calendar, place=_places(panel.series, place, places))


def _places(series: pl.DataFrame, place: str, places: Sequence[str]) -> NDArray[np.int32]:
    """(N,) index into the calendar's places."""
    if place not in series.columns:
        raise DataError(f"a series column '{place}' for the calendar's places", f"{series.columns}", table="calendar")
    codes = {name: code for code, name in enumerate(places)}
    found = series[place].cast(pl.String).replace_strict(codes, default=None, return_dtype=pl.Int32)
    if found.null_count():
        missing = series[place].filter(found.is_null()).unique().to_list()
        raise DataError("a calendar for every place", f"none for {len(missing)}", table="calendar", samples=missing)
    return np.asarray(found.to_numpy(), dtype=np.int32)
