"""Who belongs to which slice: labels of series and of forecast windows, and how cells are summed by them.

Labels of series are taken as of an origin, so that a product is not called fast for what it sold afterwards. Scores use
them through `Slices`, which adds up cells (series x horizons) of one origin without a loop over series.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.lives import lives, seasons, shortages
from shelfcast.data.panel import Panel
from shelfcast.data.profile import demand_classes, first_sale, velocity_classes
from shelfcast.errors import ConfigError, nearest
from shelfcast.horizons import Horizon

Array = NDArray[np.float64]
SEGMENTS = ("velocity", "demand_class", "age", "life", "stock", "season")
FLAGS = ("promoted", "repriced")
"""Slices of windows, not of series; one of them can be asked for at a time."""

_SHARD_ROWS = 4_000_000


def segments(panel: Panel, origin: int) -> pl.DataFrame:
    """Labels of every series as of an origin.

    Returns
    -------
    N rows:
    `velocity` from units per observed period in the last quarter of a year: `fast` are the series that together sell
    the first 80 % of units, `medium` the next 15 %, `slow` the rest, `none` those that sold nothing;
    `demand_class`: smooth, intermittent, erratic, lumpy, as `data.profile.demand_classes` says;
    `age` since the first sale: `unsold`, `new` (under a quarter of a year), `young` (under a year), `established`;
    `life`, `stock` and `season`, as `data.lives` says: current, new, ended, unsold; short, full; strong, weak, short.
    """
    quarter, year = round(panel.frequency.year / 4), round(panel.frequency.year)
    sold_first, rate, classes, kinds = [], [], [], []
    for piece in panel.shards(_SHARD_ROWS):
        seen = piece.as_of(origin)
        demand, observed = seen.window(origin - quarter + 1, origin)
        rate.append(demand.sum(axis=1, dtype=np.float64) / np.maximum(observed.sum(axis=1), 1))
        sold_first.append(first_sale(seen))
        classes.append(pl.Series(demand_classes(seen)).cast(pl.String))
        kinds.append(pl.DataFrame({"life": lives(seen), "stock": shortages(seen), "season": seasons(seen)}))
    age = origin + 1 - np.concatenate(sold_first)
    ages = np.select([age <= 0, age < quarter, age < year], ["unsold", "new", "young"], "established")
    made = {"velocity": velocity_classes(np.concatenate(rate)), "demand_class": pl.concat(classes), "age": ages}
    return pl.DataFrame(made).hstack(pl.concat(kinds))


@dataclass(frozen=True)
class Groups:
    """A partition of N series, for sums over each part.

    Parameters
    ----------
    table : G rows of labels, one a group.
    place : (N,) group of each series.
    """

    table: pl.DataFrame
    place: NDArray[np.int64]

    @classmethod
    def of(cls, labels: pl.DataFrame, n_series: int) -> "Groups":
        """Series with equal labels form a group; without columns, all of them do."""
        if not labels.width:
            return cls(pl.DataFrame(), np.zeros(n_series, dtype=np.int64))
        table = labels.unique(maintain_order=True).sort(labels.columns, nulls_last=True)
        keyed = table.with_row_index("_place")
        joined = labels.join(keyed, on=labels.columns, how="left", nulls_equal=True, maintain_order="left")
        return cls(table, joined["_place"].to_numpy().astype(np.int64))

    def split(self, labels: pl.Series) -> "Groups":
        """Each group parted by a further label of its series."""
        return Groups.of(pl.DataFrame([pl.Series("_group", self.place), labels]), len(labels))

    def sum(self, cells: Array) -> Array:
        """(P, G, H) sums over series of (P, N, H)."""
        order, starts = self._order
        if len(starts) == 1:
            return np.asarray(cells.sum(axis=1, keepdims=True))
        return np.asarray(np.add.reduceat(cells[:, order], starts, axis=1))

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Series in order of their groups, and where each group begins."""
        order = np.argsort(self.place, kind="stable")
        return order, np.flatnonzero(np.diff(self.place[order], prepend=-1))


@dataclass(frozen=True)
class Slices:
    """How cells (N, K) of one origin are summed: by P states of windows, G groups of series and H sets of horizons.

    Horizons of different spans are never put together: a sum of seven days and a day are not one quantity.

    Parameters
    ----------
    groups : of series.
    horizons : H rows: `lead` (null unless asked for) and `span`.
    members : (K, H) 1 where a horizon belongs to a set.
    flag : of `FLAGS`, where P is 2 (not so, so); else P is 1.
    """

    groups: Groups
    horizons: pl.DataFrame
    members: Array
    flag: str | None

    @classmethod
    def of(cls, groups: Groups, horizons: Sequence[Horizon], by: Collection[str]) -> "Slices":
        """Slices for groups of series, and by `lead`, `promoted` or `repriced` where `by` names them."""
        leads = [h.lead if "lead" in by else None for h in horizons]
        each = pl.DataFrame({"lead": leads, "span": [h.span for h in horizons]}, schema=_HORIZON)
        sets = each.unique().sort("span", "lead")
        same = [[row == other for other in sets.iter_rows()] for row in each.iter_rows()]
        return cls(groups, sets, np.array(same, dtype=np.float64), flag_of(by))

    def by_series(self, cells: NDArray[np.generic], is_so: NDArray[np.bool_] | None) -> Array:
        """(P, N, H) sums over horizons of cells (N, K)."""
        values = np.asarray(cells, dtype=np.float64)
        if self.flag is None or is_so is None:
            return np.asarray((values @ self.members)[None])
        return np.stack([np.where(is_so == state, values, 0.0) @ self.members for state in (False, True)])

    def sum(self, cells: NDArray[np.generic], is_so: NDArray[np.bool_] | None) -> Array:
        """(P, G, H) sums over series and horizons of cells (N, K)."""
        return self.groups.sum(self.by_series(cells, is_so))


def flag_of(by: Collection[str]) -> str | None:
    """The slice of windows that `by` names; ConfigError where it names two."""
    named = [flag for flag in FLAGS if flag in by]
    if len(named) > 1:
        raise ConfigError("by", f"expected one of {', '.join(FLAGS)}; got {' and '.join(named)}")
    return named[0] if named else None


_HORIZON = {"lead": pl.Int32, "span": pl.Int32}


def series_labels(
    series: pl.DataFrame, by: Collection[str], given: pl.DataFrame | None, derive: Callable[[], pl.DataFrame]
) -> pl.DataFrame:
    """The columns of N series that `by` names: given ones, static ones, or derived segments, in the order of `by`.

    Raises ConfigError for a name that is none of them.
    """
    axes = ("lead", "span", "level", "origin", *FLAGS)
    tables = [series] if given is None else [given, series]
    if given is None and set(by) & set(SEGMENTS) - set(series.columns):
        tables.append(derive())
    columns = []
    for name in by:
        found = [table[name] for table in tables if name in table.columns]
        if not found and name not in axes:
            there = [*axes, *SEGMENTS, *(column for table in tables for column in table.columns)]
            raise ConfigError("by", f"unknown slice '{name}'; {nearest(name, dict.fromkeys(there))}")
        columns += found[:1] if name not in axes else []
    return pl.DataFrame(columns) if columns else pl.DataFrame()
