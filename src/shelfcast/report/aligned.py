"""Wide forecast tables as arrays on the series and periods of a panel, and the demand that followed."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.errors import DataError
from shelfcast.horizons import Horizon
from shelfcast.laws import Grid

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
_SPANS = 1 << 31


@dataclass(frozen=True)
class Aligned:
    """Rows of a wide forecast table whose keys the panel has.

    Parameters
    ----------
    place : (R,) series of the panel.
    origin : (R,) period of the origin.
    horizon : (R,) index into `horizons`.
    horizons : K horizons, sorted.
    levels : (Q,) increasing.
    values : (R, Q) units.
    mean : (R,) units.
    """

    place: Ints
    origin: Ints
    horizon: Ints
    horizons: tuple[Horizon, ...]
    levels: Array
    values: Array
    mean: Array

    @property
    def origins(self) -> list[int]:
        """Distinct origins, oldest first."""
        return [int(o) for o in np.unique(self.origin)]

    def where(self, keep: NDArray[np.bool_]) -> "Aligned":
        """Only some rows; the axes stay."""
        return Aligned(
            self.place[keep], self.origin[keep], self.horizon[keep], self.horizons, self.levels,
            self.values[keep], self.mean[keep],
        )  # fmt: skip

    def dense(self, n_series: int) -> tuple[Array, Array]:
        """Values (N, K, Q) and mean (N, K) of a table of one origin; NaN where there is no forecast."""
        values = np.full((n_series, len(self.horizons), len(self.levels)), np.nan)
        mean = np.full((n_series, len(self.horizons)), np.nan)
        values[self.place, self.horizon], mean[self.place, self.horizon] = self.values, self.mean
        return values, mean


def key_text(table: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """The key columns as text, so that tables of different key types can be joined."""
    return table.select(pl.col(keys).cast(pl.String))


def places_of(panel: Panel, table: pl.DataFrame) -> Ints:
    """(rows,) series of the panel for each row of a table with its keys; -1 where it has none."""
    keys = panel.keys
    lacking = [name for name in keys if name not in table.columns]
    if lacking:
        raise DataError(f"key columns {keys}", f"columns {table.columns}", "keep the keys", table="report")
    known = key_text(panel.series, keys).with_row_index("place")
    found = key_text(table, keys).join(known, on=keys, how="left", maintain_order="left")
    return found["place"].cast(pl.Int64).fill_null(-1).to_numpy()


def align(panel: Panel, table: pl.DataFrame) -> Aligned:
    """Arrays of a wide forecast table; rows of series that the panel lacks are left out."""
    place = places_of(panel, table)
    rows = table.filter(pl.Series(place >= 0))
    names = sorted((n for n in rows.columns if _is_level(n)), key=lambda n: float(n[1:]))
    levels = np.array([float(name[1:]) for name in names])
    values = rows.select(pl.col(names).cast(pl.Float64)).to_numpy() if names else np.zeros((rows.height, 0))
    lead, span = (rows[name].cast(pl.Int64).to_numpy() for name in ("lead", "span"))
    packed, index = np.unique(lead * _SPANS + span, return_inverse=True)
    mean = rows["mean"].cast(pl.Float64).to_numpy() if "mean" in rows.columns else _mean(levels, values)
    return Aligned(
        place=place[place >= 0],
        origin=panel.frequency.to_period(rows["origin"].to_numpy()),
        horizon=index,
        horizons=tuple(Horizon(*divmod(int(pair), _SPANS)) for pair in packed),
        levels=levels,
        values=values,
        mean=mean,
    )


def _is_level(name: str) -> bool:
    """Whether a column is a quantile, as `q0.9`."""
    return name[:1] == "q" and name[1:].replace(".", "", 1).isdigit()


def _mean(levels: Array, values: Array) -> Array:
    """(R,) mean of the laws where none was stored."""
    return Grid(levels, values).mean() if len(levels) else np.full(len(values), np.nan)


def truth(panel: Panel, rows: Aligned) -> tuple[Array, NDArray[np.bool_]]:
    """(R,) demand that followed in units, and whether all of it was observed. One origin at a time, to bound memory."""
    demand, complete = np.zeros(len(rows.place)), np.zeros(len(rows.place), dtype=bool)
    for origin in rows.origins:
        at = np.flatnonzero(rows.origin == origin)
        sums, whole = panel.labels([origin], rows.horizons)
        demand[at] = sums[rows.place[at], 0, rows.horizon[at]]
        complete[at] = whole[rows.place[at], 0, rows.horizon[at]]
    return demand, complete


def tiling(horizons: tuple[Horizon, ...]) -> tuple[Horizon, ...]:
    """Horizons that follow one another without overlap, shortest first: what a fan is drawn from."""
    singles = tuple(h for h in sorted(horizons) if h.span == 1)
    if len(singles) > 1:
        return singles
    chosen: list[Horizon] = []
    for horizon in sorted(horizons):
        if not chosen or horizon.lead >= chosen[-1].end:
            chosen.append(horizon)
    return tuple(chosen)
