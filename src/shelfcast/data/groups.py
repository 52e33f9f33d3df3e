"""Histories of groups of series: what similar products did, learned once and kept.

A group is everyone, an item in all its locations, a location, or one value of a static column. Its history is frozen
when it is learned, so a product's features never depend on the company it is forecast in; at an earlier origin only
what had happened by then is read. Categories enter models as their rank by mean demand: names mean nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.panel import Panel

Ints = NDArray[np.int64]
EVERYONE = "everyone"
_WIDE = 20  # series for each value of a column whose rank is a feature
MIN_LAUNCHES = 10  # below, a group's launches say less than those of a wider one


@dataclass(frozen=True)
class Group:
    """One way to group series.

    Parameters
    ----------
    column : `everyone`, a key, or a static column.
    labels : (G,) sorted text of its values.
    rank : (G,) place of each by mean demand, least first.
    sums : (G, K + 1, 7) cumulated sums over steps, see `group_kernels`.
    first_step : number of the first step, counted from period 0.
    is_wide : whether its values hold enough series each that their rank does not betray a single one's future.
    """

    column: str
    labels: NDArray[np.str_]
    rank: NDArray[np.float32]
    sums: NDArray[np.float64]
    first_step: int
    is_wide: bool

    def codes(self, panel: Panel) -> Ints:
        """(N,) group of every series of a panel; -1 where it was not there when this was learned."""
        if self.column == EVERYONE:
            return np.zeros(panel.n_series, dtype=np.int64)
        if self.column not in panel.series.columns:
            return np.full(panel.n_series, -1, dtype=np.int64)
        text = as_text(panel.series[self.column])
        places = dict(zip(self.labels.tolist(), range(len(self.labels)), strict=True))
        return np.asarray(text.replace_strict(places, default=-1, return_dtype=pl.Int64).to_numpy())


def as_text(column: pl.Series) -> pl.Series:
    """A static column as text, nulls as '?'."""
    return column.cast(pl.String).fill_null("?")


def is_category(column: pl.Series) -> bool:
    """Whether a static column holds categories rather than numbers."""
    return not column.dtype.is_numeric()


def group_columns(panel: Panel) -> tuple[str, ...]:
    """The columns by which series are grouped: everyone, the keys where there are two, categories of static columns."""
    keys = [name for name in panel.keys if len(panel.keys) > 1]
    statics = [name for name in panel.series.columns if name not in panel.keys and is_category(panel.series[name])]
    return (EVERYONE, *keys, *statics)


def settled(panel: Panel, window: int) -> int:
    """Period up to which the data have only begun: a product first seen by then need not be new.

    It is `window` periods from the first, or a quarter of a shorter history.
    """
    return panel.first + min(window, (panel.last - panel.first) // 4)


def launched(panel: Panel, window: int) -> NDArray[np.bool_]:
    """(N,) whether a series began after the data had settled: the one definition of a launch that was watched."""
    return np.asarray((panel.lengths > 0) & (panel.start > settled(panel, window)))


def learn_group(panel: Panel, column: str, step: int, first_step: int, n_launch: int) -> Group:
    """The history of one grouping of a panel, in whole steps up to its last period."""
    from shelfcast.data import group_kernels

    n_steps = max((panel.last + 1) // step - first_step, 0)
    if column == EVERYONE:
        labels = np.array([EVERYONE])
        codes = np.zeros(panel.n_series, dtype=np.int64)
    else:
        text = as_text(panel.series[column])
        labels = np.array(sorted(text.unique().to_list()), dtype=np.str_)
        codes = np.searchsorted(labels, text.to_numpy().astype(np.str_)).astype(np.int64)
    sums = np.zeros((len(labels), n_steps + 1, group_kernels.N_GROUP_SUMS))
    group_kernels.group_sums(
        codes, panel.start, panel.indptr, panel.demand, panel.observed, planned_price(panel), panel.last, step,
        first_step, n_launch, launched(panel, n_launch), sums,
    )  # fmt: skip
    seen = sums[:, -1, group_kernels.SEEN]
    mean = np.divide(sums[:, -1, group_kernels.UNITS], seen, out=np.zeros(len(labels)), where=seen > 0)
    rank = np.searchsorted(np.sort(mean), mean).astype(np.float32)
    is_wide = 1 < len(labels) <= panel.n_series / _WIDE
    return Group(column, labels, rank, sums, first_step, is_wide)


def planned_price(panel: Panel) -> NDArray[np.float32]:
    """(R,) the price known ahead, NaN without one; what was paid is none."""
    if panel.names.price is None:
        return np.full(len(panel.demand), np.nan, dtype=np.float32)
    return np.ascontiguousarray(panel.known[:, panel.names.known.index(panel.names.price)])


def save_groups(groups: tuple[Group, ...], path: Path) -> None:
    """Write groups to one file."""
    arrays: dict[str, Any] = {"columns": np.array([g.column for g in groups], dtype=np.str_)}
    for i, group in enumerate(groups):
        arrays |= {
            f"labels{i}": group.labels,
            f"rank{i}": group.rank,
            f"sums{i}": group.sums,
            f"first{i}": group.first_step,
            f"wide{i}": group.is_wide,
        }
    np.savez(path, **arrays)


def load_groups(path: Path) -> tuple[Group, ...]:
    """Inverse of `save_groups`; raises what numpy raises where the file is not whole."""
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
        columns = [str(name) for name in file["columns"]]
        return tuple(
            Group(c, *_arrays(file, i), first_step=int(file[f"first{i}"]), is_wide=bool(file[f"wide{i}"]))
            for i, c in enumerate(columns)
        )


def _arrays(file: Any, place: int) -> tuple[Any, Any, Any]:
    """Labels, ranks and sums of one stored group."""
    return file[f"labels{place}"], file[f"rank{place}"], file[f"sums{place}"]
