"""Seasonal factors and holiday effects around any base model: demand = level x year x week x events.

*Year*: one factor for each seven days of the year (weeks, days, hours) or month. *Week*: one for each weekday (days)
or hour of the week (hours). Both are pooled over a group, whose series share them, and shrunk to the item by empirical
Bayes: a factor keeps the part of its distance from 1 (an item's from its group's) that repeats between years or blocks
of weeks. *Events*: calendar columns that count, 0/1, at offsets of up to two days around them, or their own week or
month; effects are ridge regression of what season leaves, pooled over the group. Periods near rare events do not enter
the season, so peaks go to the event and smooth change to the season.

A level is a series' mean over each year back from the last period, at the factors found so far; a part of a year joins
the next. Under a year of history the year's factors are 1, under two weeks the week's. Every factor lies within
`BOUNDS`, so dividing by it is safe even where nothing was ever sold; unseen items take their group's factors, unseen
groups everyone's.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.aggregates import is_single
from shelfcast.data.panel import Panel
from shelfcast.errors import StoreError
from shelfcast.models.elasticity import Elasticities
from shelfcast.models.events import EventEffects, event_columns
from shelfcast.models.season_factors import BOUNDS, Shape, mean_one, shrunken_factors, week_bin, year_bin

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
EVERYONE = "*"
_ARRAYS = ("year", "week", "item_year", "item_week")
_ROUNDS = 3
_BIG = 10.0  # units a period from which a series no longer weighs more in its group
_LOST_BINS = 0.25  # share of the year without any quiet period above which events stay in the season


@dataclass(frozen=True)
class SeasonalAddon:
    """Fitted factors of G groups, the first of them everyone, and of their P items.

    Parameters
    ----------
    group : static column by which series are pooled; None for one group.
    groups : (G,) names. items : P rows of `item` and `group`.
    year, week : (G, B) factors of groups. item_year, item_week : (P, B) factors of items.
    events : effects of calendar columns by group.
    """

    group: str | None
    groups: tuple[str, ...]
    items: pl.DataFrame
    year: Array
    week: Array
    item_year: Array
    item_week: Array
    events: EventEffects

    @classmethod
    def learn(
        cls, panel: Panel, group: str | None = None, elasticity: Elasticities | None = None
    ) -> "SeasonalAddon":  # fmt: skip
        """From observed demand up to `panel.last`; for an earlier origin give `panel.as_of(origin)`.

        Parameters
        ----------
        group : static column, such as the category.
        elasticity : what promotions explain is divided out first.

        Raises
        ------
        DataError : no column `group`.
        """
        labels = _labels(panel, group)
        names = [EVERYONE, *(() if group is None else labels["group"].unique().sort().to_list())]
        items = labels.unique().sort("item", "group")
        rows = _Rows.of(panel, labels, items, names, elasticity)
        shape = Shape.of(panel.frequency, rows.period)
        n_places = len(panel.calendar.values)
        events = EventEffects.none(event_columns(panel), len(names))
        year, week = np.ones((len(names), shape.n_year)), np.ones((len(names), shape.n_week))
        for _ in range(_ROUNDS if len(rows.y) else 0):
            effect = events.table(panel.calendar, shape.first, shape.last)
            at = rows.period - shape.first
            factor = year[rows.group, shape.year[at]] * week[rows.group, shape.week[at]]
            rows = rows.levelled(np.clip(factor * effect[rows.group, rows.place, at], *BOUNDS), shape)
            demand, expected = rows.tables(len(names), n_places, shape)
            quiet = _quiet(events.near(panel.calendar, shape.first, shape.last), shape)
            usual = expected * quiet * events.table(panel.calendar, shape.first, shape.last)
            year = shape.year_factors(demand * quiet, usual * week[:, None, shape.week])
            week = shape.week_factors(demand * quiet, usual * year[:, None, shape.year])
            season = year[:, None, shape.year] * week[:, None, shape.week]
            events = events.fitted(demand, expected * season, panel.calendar, shape.first)
        item_year, item_week = _item_factors(rows, shape, items.height, year, week, events, panel)
        return cls(group, tuple(names), items, year, week, item_year, item_week, events)

    def factors(self, panel: Panel, first: int, last: int) -> Array:
        """(N, n) factors, above 0, of every series over the periods `first` to `last`, both included."""
        series = np.repeat(np.arange(panel.n_series), last - first + 1)
        period = np.tile(np.arange(first, last + 1), panel.n_series)
        return self.factors_at(panel, series, period).reshape(panel.n_series, last - first + 1)

    def factors_at(self, panel: Panel, series: Ints, period: Ints) -> Array:
        """(R,) factors of rows given by series and period."""
        if not len(period):
            return np.ones(0)
        first, last = int(period.min()), int(period.max())
        near = np.arange(first, last + 1)
        year, week = year_bin(panel.frequency, near)[period - first], week_bin(panel.frequency, near)[period - first]
        group, item = self._places(panel)
        factor = np.concatenate((self.year, self.item_year)), np.concatenate((self.week, self.item_week))
        at = np.where(item >= 0, item + len(self.groups), group)[series]
        effect = self.events.table(panel.calendar, first, last)[group[series], panel.place[series], period - first]
        return np.clip(factor[0][at, year] * factor[1][at, week] * effect, *BOUNDS)

    def _places(self, panel: Panel) -> tuple[Ints, Ints]:
        """(N,) group and item of each series; everyone's group, and -1, where it was not seen."""
        labels = _labels(panel, self.group)
        group = _codes(labels["group"], list(self.groups))
        index = self.items.with_row_index("_at")
        found = labels.join(index, on=["item", "group"], how="left", maintain_order="left")["_at"]
        return group, found.cast(pl.Int64).fill_null(-1).to_numpy()

    def save(self, folder: Path) -> None:
        """Write `seasonal.json` and `seasonal.npz` into a folder."""
        arrays: dict[str, NDArray[np.generic]] = {name: getattr(self, name) for name in _ARRAYS}
        arrays["effects"] = self.events.effects
        for column in self.items.get_columns():
            arrays[f"keys.{column.name}"] = np.asarray(column.to_list(), dtype=np.str_)
        meta = {"group": self.group, "groups": self.groups, "events": self.events.columns}
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            np.savez(Path(folder) / "seasonal.npz", **arrays)  # type: ignore[arg-type]
            (Path(folder) / "seasonal.json").write_text(json.dumps(meta, indent=1))
        except OSError as error:
            raise StoreError(f"cannot write the seasonal factors to {folder}: {error}. Choose another.") from error

    @classmethod
    def load(cls, folder: Path) -> "SeasonalAddon":
        """Inverse of `save`."""
        try:
            meta = json.loads((Path(folder) / "seasonal.json").read_text())
            with open(Path(folder) / "seasonal.npz", "rb") as raw, np.load(raw, allow_pickle=False) as file:
                items = pl.DataFrame({k: pl.Series(file[f"keys.{k}"], dtype=pl.String) for k in ("item", "group")})
                year, week, item_year, item_week = (file[name] for name in _ARRAYS)
                columns = tuple((str(name), bool(rare), tuple(offsets)) for name, rare, offsets in meta["events"])
                events = EventEffects(columns, file["effects"])
            return cls(meta["group"], tuple(meta["groups"]), items, year, week, item_year, item_week, events)
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile, pl.exceptions.PolarsError) as error:
            raise StoreError(f"expected seasonal factors in {folder}; got: {error}. Learn them again.") from error


@dataclass(frozen=True)
class _Rows:
    """R observed rows. y : lift-free units. level, weight : units and dimensionless. Others : (R,) places."""

    y: Array
    level: Array
    weight: Array
    series: Ints
    period: Ints
    group: Ints
    item: Ints
    place: Ints
    last: int

    @classmethod
    def of(
        cls, panel: Panel, labels: pl.DataFrame, items: pl.DataFrame, groups: list[str], elasticity: Elasticities | None
    ) -> "_Rows":
        single = is_single(panel)
        series, period = panel.row_series(), panel.row_periods()
        use = np.flatnonzero(panel.observed & single[series] & (period <= panel.last))
        y = panel.demand[use].astype(np.float64)
        if elasticity is not None and len(use):
            rows, lift = elasticity.row_lifts(panel, panel.first, int(period.max()))
            y = y / lift[np.searchsorted(rows.row, use)]
        series, period = series[use], period[use]
        item = labels.join(items.with_row_index("_at"), on=["item", "group"], how="left", maintain_order="left")["_at"]
        group = _codes(labels["group"], groups)
        ones = np.ones(len(y))
        return cls(
            y, ones, ones, series, period, group[series], item.to_numpy().astype(np.int64)[series],
            panel.place[series].astype(np.int64), panel.last,
        )  # fmt: skip

    def levelled(self, factor: Array, shape: "Shape") -> "_Rows":
        """With the level of each series and year at the given factors (R,), and the weights that follow."""
        n_years = int(shape.length / shape.per_year) + 2
        n_series = int(self.series.max()) + 1
        first = np.full(n_series, self.last)
        np.minimum.at(first, self.series, self.period)
        whole = np.maximum(np.round((self.last - first + 1) / shape.per_year).astype(np.int64), 1)
        back = ((self.last - self.period) / shape.per_year).astype(np.int64)
        block = self.series * n_years + np.minimum(back, whole[self.series] - 1)
        units, shares = np.bincount(block, self.y), np.bincount(block, factor)
        level = (units / np.where(shares > 0, shares, 1.0))[block]
        return replace(self, level=level, weight=1.0 / (1.0 + level / _BIG))

    def tables(self, n_groups: int, n_places: int, shape: "Shape") -> tuple[Array, Array]:
        """Weighted demand and level (G, P, T), summed; group 0 is everyone."""
        cell = (self.group * n_places + self.place) * shape.length + self.period - shape.first
        size = n_groups * n_places * shape.length

        def table(values: Array) -> Array:
            summed: Array = np.bincount(cell, weights=self.weight * values, minlength=size).astype(np.float64)
            made = summed.reshape(n_groups, n_places, shape.length)
            made[0] = made.sum(axis=0)
            return made

        return table(self.y), table(self.level)


def _item_factors(
    rows: _Rows, shape: Shape, n_items: int, year: Array, week: Array, events: EventEffects, panel: Panel
) -> tuple[Array, Array]:
    """(P, B) factors of the year and of the week by item: its group's times its own, shrunk to 1."""
    of_item = np.zeros(n_items, dtype=np.int64)
    of_item[rows.item] = rows.group
    if not len(rows.y):
        return year[of_item], week[of_item]
    at = rows.period - shape.first
    effect = events.table(panel.calendar, shape.first, shape.last)[rows.group, rows.place, at]
    season = year[rows.group, shape.year[at]] * week[rows.group, shape.week[at]]
    level = rows.level * season * effect

    def own(bins: Ints, repeats: Ints, n_bins: int, *, smooth: bool) -> Array:
        n_repeats = int(repeats.max()) + 1
        key = (rows.item * n_bins + bins[at]) * n_repeats + repeats[at]

        def summed(values: Array) -> Array:
            made: Array = np.bincount(key, rows.weight * values, n_items * n_bins * n_repeats).astype(np.float64)
            return made.reshape(n_items, n_bins, n_repeats)

        return shrunken_factors(summed(rows.y), summed(level), of_item, smooth=smooth)

    item_year, item_week = year[of_item], week[of_item]
    if shape.has_year:
        item_year = mean_one(item_year * own(shape.year, shape.years, shape.n_year, smooth=shape.is_fine))
    if shape.has_week:
        item_week = mean_one(item_week * own(shape.week, shape.blocks, shape.n_week, smooth=False))
    return item_year, item_week


def _quiet(near: NDArray[np.bool_], shape: Shape) -> Array:
    """(1, P, T) 1 away from rare events; 1 everywhere where too much of the year would be lost."""
    quiet = ~near
    seen = np.bincount(shape.year, minlength=shape.n_year) > 0
    left = np.bincount(shape.year, weights=quiet.any(axis=0), minlength=shape.n_year) > 0
    lost = (seen & ~left).sum() / max(seen.sum(), 1)
    return np.where(lost > _LOST_BINS, 1.0, quiet.astype(np.float64))[None]


def _labels(panel: Panel, group: str | None) -> pl.DataFrame:
    """N rows of text: `item` and `group`."""
    column = pl.Series([EVERYONE] * panel.n_series, dtype=pl.String) if group is None else panel.column(group)
    return panel.series.select(
        pl.col("item").cast(pl.String), column.cast(pl.String).fill_null("?").alias("group")
    )  # fmt: skip


def _codes(labels: pl.Series, names: list[str]) -> Ints:
    """(N,) place of each label among the names; 0 where it is not one of them."""
    return labels.replace_strict(names, list(range(len(names))), default=0, return_dtype=pl.Int64).to_numpy()
