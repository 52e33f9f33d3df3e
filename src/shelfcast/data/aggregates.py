"""Totals as further series: stores, departments, state x category, everything.

An aggregate's demand is the sum of its members' observed demand; a period counts as observed when at least half of the
members that have a row were. Past columns are summed over the members where they are known. Known columns are means
weighted by revenue, and since they are known ahead, their weights must not be: a member's weight in a period is its
revenue up to `lag` periods before, so a price up to `lag` periods ahead of an origin says nothing of sales after it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.panel import KEYS, Panel
from shelfcast.errors import DataError, nearest

AGGREGATE = "aggregate"
SINGLE = "item"
_TICKS = 1 << 20  # parts of a money unit; total revenue up to 8e12 fits


def with_aggregates(panel: Panel, groups: Sequence[Sequence[str]], *, lag: int | None = None) -> Panel:
    """The panel with one further series for every group of every grouping.

    Parameters
    ----------
    panel : N series.
    groups : each a tuple of key or static columns; the empty tuple is the total of all.
    lag : periods by which the weights of known columns lag; two seasons of the calendar's smallest kind by default
        (56 days, 52 weeks, 12 months, 48 hours).

    Returns
    -------
    A panel whose `series` has a column `aggregate` ('item', 'total', 'state x category') and where an aggregate's
    item reads 'state=CA, category=FOODS' and its location, if there is one, '*'. Static columns that are not in the
    grouping are null.

    Raises
    ------
    DataError : a column that is not among the series'.
    """
    if AGGREGATE in panel.series.columns:
        raise DataError("a panel without aggregates", f"a column '{AGGREGATE}'", "rename that static column")
    shift = lag if lag is not None else {24: 48, 7: 56, 52: 52, 12: 12}[panel.frequency.season]
    parts = [replace(panel, series=panel.series.with_columns(pl.lit(SINGLE).alias(AGGREGATE)))]
    parts += [_aggregate(panel, tuple(columns), shift) for columns in groups]
    keys = pl.concat([part.series.select(pl.col(panel.keys).cast(pl.String)) for part in parts])
    _refuse_twice(keys)
    return concat(parts)


def is_single(panel: Panel) -> NDArray[np.bool_]:
    """(N,) which series are no aggregates; all of them where the panel holds nothing else."""
    if AGGREGATE not in panel.series.columns:
        return np.ones(panel.n_series, dtype=bool)
    single = (panel.series[AGGREGATE].cast(pl.String) == SINGLE).fill_null(False).to_numpy()
    return np.asarray(single if single.any() else np.ones(panel.n_series, dtype=bool))


def concat(panels: Sequence[Panel]) -> Panel:
    """The series of several panels of one calendar and one set of columns, one after the other."""
    first = panels[0]
    ends = np.cumsum([0, *(len(p.demand) for p in panels)])
    indptr = [p.indptr[:-1] + end for p, end in zip(panels, ends[:-1], strict=True)]
    return replace(
        first,
        series=pl.concat([p.series for p in panels], how="diagonal_relaxed"),
        start=np.concatenate([p.start for p in panels]),
        indptr=np.concatenate([*indptr, ends[-1:]]),
        demand=np.concatenate([p.demand for p in panels]),
        observed=np.concatenate([p.observed for p in panels]),
        past=np.concatenate([p.past for p in panels]),
        known=np.concatenate([p.known for p in panels]),
        place=np.concatenate([p.place for p in panels]),
        last=max(p.last for p in panels),
    )


def _aggregate(panel: Panel, columns: tuple[str, ...], lag: int) -> Panel:
    """One series for every distinct value of `columns`."""
    for column in columns:
        if column not in panel.series.columns:
            raise DataError(f"a column '{column}' to add up by", nearest(column, panel.series.columns), table="panel")
    parts = [pl.lit(f"{c}=") + pl.col(c).cast(pl.String).fill_null("?") for c in columns]
    label = pl.concat_str(parts, separator=", ") if parts else pl.lit("total")
    labels = panel.series.with_columns(label.alias("_label"))["_label"]
    names = labels.unique().sort()
    groups = panel.series.select(columns).unique() if columns else pl.DataFrame()
    if groups.height > len(names):  # a null beside a text '?'
        _refuse_twice(groups.select(label))
    member = labels.replace_strict(names, list(range(len(names))), return_dtype=pl.Int64).to_numpy().astype(np.int64)
    start, indptr, cell = _cells(panel, member, len(names))
    n_cells = int(indptr[-1])
    rows = np.bincount(cell, minlength=n_cells)
    seen = np.bincount(cell, weights=panel.observed, minlength=n_cells)
    observed = (seen > 0) & (2 * seen >= rows)
    demand = np.bincount(cell, weights=panel.demand, minlength=n_cells)
    weights = _lagged_revenue(panel, lag)
    known = [_weighted_mean(cell, panel.known[:, j], weights, n_cells) for j in range(panel.known.shape[1])]
    past = [
        _weighted_mean(cell, values, weights, n_cells) if name == panel.names.paid else _sum(cell, values, n_cells)
        for name, values in zip(panel.names.past, panel.past.T, strict=True)
    ]
    _, at = np.unique(member, return_index=True)
    return replace(
        panel,
        series=_series(panel, columns, names, at),
        start=start.astype(np.int32),
        indptr=indptr,
        demand=np.where(observed, demand, 0).astype(np.float32),
        observed=observed,
        past=np.stack(past, axis=1) if past else np.zeros((n_cells, 0), np.float32),
        known=np.stack(known, axis=1) if known else np.zeros((n_cells, 0), np.float32),
        place=panel.place[at],
    )


def _refuse_twice(keys: pl.DataFrame) -> None:
    """DataError where two series have one name: forecasts of them could not be told apart."""
    twice = keys.filter(keys.is_duplicated()).unique(maintain_order=True)
    if twice.height:
        advice = "rename those items, or their groups; name each grouping once"
        came = f"{twice.height} that are taken"
        raise DataError("names of totals that no other series has", came, advice, table="panel", samples=twice.rows())


def _cells(
    panel: Panel, member: NDArray[np.int64], n_groups: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Start and indptr of the groups, and the group's cell (R,) that each row adds to."""
    some = panel.lengths > 0
    start = np.full(n_groups, np.iinfo(np.int64).max)
    end = np.full(n_groups, np.iinfo(np.int64).min)
    np.minimum.at(start, member[some], panel.start[some].astype(np.int64))
    np.maximum.at(end, member[some], (panel.start + panel.lengths - 1)[some])
    empty = end < start
    start[empty], end[empty] = panel.last + 1, panel.last
    indptr = np.concatenate(([0], np.cumsum(end - start + 1)))
    shift = indptr[member] - start[member] + panel.start - panel.indptr[:-1]
    return start, indptr, np.arange(len(panel.demand)) + np.repeat(shift, panel.lengths)


def _series(panel: Panel, columns: tuple[str, ...], names: pl.Series, at: NDArray[np.int64]) -> pl.DataFrame:
    """Rows of the aggregates: keys, level, and the static columns that they are grouped by."""
    keys = {"item": names, **({"location": pl.Series(["*"] * len(names))} if "location" in panel.keys else {})}
    static = [panel.series[c][pl.Series(at)] for c in columns if c not in KEYS]
    level = " x ".join(columns) or "total"
    frame = pl.DataFrame(keys).with_columns(pl.lit(level).alias(AGGREGATE))
    return frame.hstack(static)


def _lagged_revenue(panel: Panel, lag: int) -> NDArray[np.float64]:
    """(R,) revenue of each series from its start to `lag` periods before each row, plus a little, so that some weigh.

    Units where the panel has no price. Equal weights where nothing was sold yet. Summed in whole millionths (2^-20), so
    that what another series sells later cannot change a rounding error.
    """
    price = np.ones(len(panel.demand)) if panel.prices is None else np.nan_to_num(panel.prices.astype(np.float64))
    running = np.concatenate(([0], np.cumsum(np.rint(panel.demand * price * _TICKS).astype(np.int64))))
    first = np.repeat(panel.indptr[:-1], panel.lengths)
    end = np.maximum(np.arange(len(panel.demand)) - lag + 1, first)
    return (running[end] - running[first]) / _TICKS + 1e-6


def _sum(cell: NDArray[np.int64], values: NDArray[np.float32], n_cells: int) -> NDArray[np.float32]:
    """(n_cells,) sum of the values that are there; NaN where there is none."""
    there = ~np.isnan(values)
    total = np.bincount(cell[there], weights=values[there], minlength=n_cells)
    return np.where(np.bincount(cell[there], minlength=n_cells) > 0, total, np.nan).astype(np.float32)


def _weighted_mean(
    cell: NDArray[np.int64], values: NDArray[np.float32], weights: NDArray[np.float64], n_cells: int
) -> NDArray[np.float32]:
    """(n_cells,) mean of the values that are there; NaN where there is none."""
    there = ~np.isnan(values)
    total = np.bincount(cell[there], weights=weights[there], minlength=n_cells)
    summed = np.bincount(cell[there], weights=(weights * values)[there], minlength=n_cells)
    with np.errstate(invalid="ignore"):
        return np.where(total > 0, summed / total, np.nan).astype(np.float32)
