"""A panel brought up to date with only what is new: rows of late periods are packed behind those that are there.

The rows of a table from a period on (the new ones, and late ones that may have been corrected) are scattered into
fresh arrays into which the older rows are copied as they stand, so that the cost of reading, checking and placing
follows what is new. The result is the panel that packing the whole table would give (a law in the tests), but for one
thing: corrections of rows before that period are not seen, which is what makes it cheap.

Gaps longer than `longest_gap` cannot be told from a panel, so such tables are packed as a whole (`can_update`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.packing import (
    _extents,
    _fill_known,
    _known_ends,
    _Layout,
    _observed,
    _refuse_duplicates,
    _require,
    _Rows,
    _scatter,
    _scatter_known,
    _SeriesIndex,
    _settle_past,
    _spans_of_rows,
)
from shelfcast.data.panel import Calendar, Panel
from shelfcast.data.schema import Absent, Negatives, Schema
from shelfcast.data.tables import DemandTable, infer_types

Ints = NDArray[np.int64]


def can_update(schema: Schema) -> bool:
    """Whether late rows are enough, or the whole table must be packed again."""
    return schema.longest_gap is None


def recent(table: DemandTable, since: int) -> DemandTable:
    """The table's rows from period `since` on."""
    whole, dates = table._table, table._dates
    column = next(role.source for role in table.roles if role.name == "period")

    def read(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        for batch in whole.read(list(dict.fromkeys((*columns, column)))):
            periods, _ = dates.periods(batch[column])
            late = batch.filter((periods >= since) | periods.is_null())
            if late.height:
                yield late.select(columns)

    return replace(table, _table=replace(whole, read=read))


def has_rows(table: DemandTable) -> bool:
    """Whether a table holds any row."""
    column = next(role.source for role in table.roles if role.name == "period")
    return any(batch.height for batch in table._table.read([column]))


def update(
    panel: Panel, sales: DemandTable, *, since: int, items: pl.DataFrame | None = None, known: DemandTable | None = None
) -> Panel:
    """The panel with its rows from `since` on made anew.

    Parameters
    ----------
    panel : as `pack` made it, without calendar and aggregates.
    sales, items, known : as `pack` takes them, whole; only rows from `since` on are read of `sales` and `known`.
    since : first period to be read again.

    Raises
    ------
    DataError : as `pack`, of the rows read.
    """
    schema = sales.schema
    assert can_update(schema), "tables with longest_gap are packed as a whole"
    _require(schema.known_columns, {"sales": sales.columns, "known": known.columns if known else ()})
    _require(schema.static, {"sales": sales.columns, "items": items.columns if items is not None else ()})
    codes = _joined_categories(panel, sales, known)
    late = replace(recent(sales, since), categories=codes)
    ahead = None if known is None else replace(recent(known, since), categories=codes)
    ahead = None if ahead is None or not has_rows(ahead) else ahead
    extents = _extents(late)
    extents = replace(extents, last=max(extents.last, min(panel.last, since - 1)))
    index = _SeriesIndex.of(extents.frame, _all_keys(panel, items))
    old = _places(panel, index.series)
    layout, kept = _layout(panel, old, index, extents.last, schema, since, ahead)
    rows = _Rows.empty(layout, schema)
    for batch in late.batches(checked=False):
        _scatter(rows, layout, index, batch, schema)
    _refuse_duplicates(rows, layout, index, late)
    observed = _observed(rows, layout, schema)
    rows.demand[~observed] = 0
    if schema.negatives is not Negatives.REFUSE:
        np.maximum(rows.demand, 0, out=rows.demand)
    demand = rows.demand.astype(np.float32, copy=False)
    _copy_heads(
        panel, old, kept, layout, {"demand": demand, "observed": observed, "past": rows.past, "known": rows.known}
    )
    _settle_past(rows, layout, schema)
    if ahead is not None:
        _scatter_known(rows, layout, index, ahead)
    names = replace(panel.names, categories=codes)
    _fill_known(rows.known, layout.indptr, names)
    return Panel(
        calendar=Calendar(panel.frequency),
        series=_series(panel, index, items),
        start=layout.start.astype(np.int32),
        indptr=layout.indptr,
        demand=demand,
        observed=observed,
        past=rows.past,
        known=rows.known,
        names=names,
        place=np.zeros(index.series.height, dtype=np.int32),
        last=extents.last,
    )


def _joined_categories(panel: Panel, sales: DemandTable, known: DemandTable | None) -> Mapping[str, tuple[str, ...]]:
    """Categories in the panel's order, new ones after them."""
    there = {**sales.categories, **(known.categories if known else {})}
    before = panel.names.categories
    return {
        name: (*before.get(name, ("none",)), *(n for n in names if n not in before.get(name, ("none",))))
        for name, names in there.items()
    }


def _all_keys(panel: Panel, items: pl.DataFrame | None) -> pl.DataFrame:
    """Keys of the panel's series, and of products that the items table adds."""
    keys = panel.series.select(pl.col(panel.keys).cast(pl.String))
    if items is None or not set(panel.keys) <= set(items.columns):
        return keys
    return pl.concat([keys, items.select(pl.col(panel.keys).cast(pl.String))]).unique()


def _places(panel: Panel, series: pl.DataFrame) -> Ints:
    """(N',) place in the panel of each series; -1 for new ones."""
    there = panel.series.select(pl.col(panel.keys).cast(pl.String)).with_row_index("_old")
    found = series.select(panel.keys).join(there, on=panel.keys, how="left", maintain_order="left")
    return found["_old"].cast(pl.Int64).fill_null(-1).to_numpy().copy()


def _layout(
    panel: Panel, old: Ints, index: _SeriesIndex, last: int, schema: Schema, since: int, ahead: DemandTable | None
) -> tuple[_Layout, Ints]:
    """Where rows are, and how many of each series (N',) are kept from the panel."""
    was = np.where(old >= 0, old, 0)
    start_old = np.where(old >= 0, panel.start[was].astype(np.int64), since)
    kept = np.where(old >= 0, np.clip(since - start_old, 0, panel.lengths[was]), 0)
    ends = index.extents
    first = ends["first"].fill_null(last + 1).to_numpy().astype(np.int64)
    if schema.from_first_sale:  # zeros before the first sale go as soon as there is one
        sold = np.zeros(len(old), dtype=bool)
        sold[old >= 0] = _has_sold(panel, since)[old[old >= 0]]
        sale = ends["first_sale"].fill_null(last + 1).to_numpy().astype(np.int64)
        begins = ~sold & ends["first_sale"].is_not_null().to_numpy()
        kept, first = np.where(begins, 0, kept), np.where(begins, sale, first)
    start = np.where(kept > 0, start_old, first)
    end = np.where(kept > 0, start_old + kept - 1, start - 1)
    end = np.maximum(end, ends["final"].fill_null(-(1 << 40)).to_numpy().astype(np.int64))
    nothing = (kept == 0) & ends["final"].is_null().to_numpy()
    if schema.absent is Absent.ZERO:
        end = np.where(nothing, end, np.maximum(end, last))
    end = np.where(nothing, last, end)
    if ahead is not None:
        end = _known_ends(ahead, index, end)
    lengths = np.maximum(end - start + 1, 0)
    return _Layout(start, end, np.concatenate(([0], np.cumsum(lengths))), last), kept


def _has_sold(panel: Panel, since: int) -> NDArray[np.bool_]:
    """(N,) whether a series sold anything before a period."""
    early = (panel.demand > 0) & (panel.row_periods() < since)
    total = np.concatenate(([0], np.cumsum(early)))
    return np.asarray(total[panel.indptr[1:]] > total[panel.indptr[:-1]])


def _copy_heads(
    panel: Panel, old: Ints, kept: Ints, layout: _Layout, arrays: Mapping[str, NDArray[np.generic]]
) -> None:
    """Copy the first `kept` rows of every old series to its new place, some millions at a time."""
    for begin, end in _spans_of_rows(layout.indptr):
        n = kept[begin:end]
        ends = np.cumsum(n)
        total = int(ends[-1]) if len(ends) else 0
        step = np.arange(total)
        source = step + np.repeat(panel.indptr[np.maximum(old[begin:end], 0)] - (ends - n), n)
        target = step + np.repeat(layout.indptr[begin:end] - (ends - n), n)
        for name, array in arrays.items():
            array[target] = getattr(panel, name)[source]


def _series(panel: Panel, index: _SeriesIndex, items: pl.DataFrame | None) -> pl.DataFrame:
    """Keys and static columns: from the items table as it is now; from sales as first seen."""
    keys, table = panel.keys, index.series
    before = panel.series.with_columns(pl.col(keys).cast(pl.String))
    fresh = [c for c in table.columns if c not in keys]
    typed = pl.DataFrame([*table.select(keys).get_columns(), *infer_types(table.select(fresh)).get_columns()])
    if items is not None:
        on = [key for key in keys if key in items.columns]
        known = items.with_columns(pl.col(on).cast(pl.String)).select(*on, *(c for c in items.columns if c not in keys))
        typed = typed.join(known, on=on, how="left", maintain_order="left")
    joined = typed.join(before, on=keys, how="left", maintain_order="left", suffix="_before")
    made = []
    for name in panel.series.columns:
        if f"{name}_before" in joined.columns and name in fresh:
            made.append(pl.coalesce(f"{name}_before", pl.col(name).cast(before[name].dtype, strict=False)).alias(name))
        else:
            made.append(pl.col(name))
    return joined.select(made)
