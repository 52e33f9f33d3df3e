"""Quantile forecasts as a value: what is scored, stored and served.

The long table (`frame`) has a row for every series, origin, horizon and level; the wide one (`table`, which is
stored) a row for every series, origin and horizon, with a column for the mean and one for every level, named by
`level_column`. Both carry the dates of the first and last period summed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.errors import DataError
from shelfcast.horizons import Horizon
from shelfcast.laws import Grid
from shelfcast.periods import Frequency


def level_column(level: float) -> str:
    """Name of the stored column of a level: `q0.9`."""
    return f"q{np.format_float_positional(level, trim='-')}"


@dataclass(frozen=True)
class Forecast:
    """Quantiles of demand on a grid of levels.

    Parameters
    ----------
    series : N rows of keys, one a series.
    origins : O period numbers: the last known period of each.
    frequency : turns periods into dates.
    horizons : K horizons.
    levels : Q levels, strictly increasing in (0, 1).
    values : (N, O, K, Q) float32 units; non-decreasing along Q, >= 0.
    mean : (N, O, K) float32 units, or None.
    model : name of what made it.
    """

    series: pl.DataFrame
    origins: tuple[int, ...]
    frequency: Frequency
    horizons: tuple[Horizon, ...]
    levels: tuple[float, ...]
    values: NDArray[np.float32]
    mean: NDArray[np.float32] | None = None
    model: str = ""

    def __post_init__(self) -> None:
        shape = (self.series.height, len(self.origins), len(self.horizons), len(self.levels))
        assert self.values.shape == shape, f"values of shape {self.values.shape}, axes say {shape}"
        assert self.mean is None or self.mean.shape == shape[:-1], f"mean of shape {self.mean.shape}"

    def law(self, horizon: Horizon, origin: int | None = None) -> Grid:
        """The N laws of one horizon at one origin (the last by default); raises DataError where it was not forecast."""
        if horizon not in self.horizons:
            listed = ", ".join(map(str, self.horizons))
            raise DataError(
                f"a forecast of horizon {horizon} (lead+span)", f"horizons {listed}", f"add {horizon} to the horizons"
            )
        place = len(self.origins) - 1 if origin is None else self._place(origin)
        return Grid(np.asarray(self.levels), self.values[:, place, self.horizons.index(horizon)])

    def _place(self, origin: int) -> int:
        """Place of an origin on its axis."""
        if origin in self.origins:
            return self.origins.index(origin)
        wanted, *there = map(str, self.frequency.to_date([origin, *self.origins]))
        raise DataError(f"a forecast of origin {wanted}", f"origins {', '.join(there)}", f"add {wanted} to the origins")

    def rounded(self) -> "Forecast":
        """Quantiles rounded to whole units, for items that sell in whole units; the mean is kept."""
        return replace(self, values=np.rint(self.values))

    def at(self, origins: Iterable[int]) -> "Forecast":
        """Only the given origins; raises DataError for one that was not forecast."""
        places = [self._place(origin) for origin in origins]
        mean = None if self.mean is None else self.mean[:, places]
        return replace(
            self, origins=tuple(self.origins[p] for p in places), values=self.values[:, places], mean=mean
        )  # fmt: skip

    def take(self, series: NDArray[np.int64] | slice) -> "Forecast":
        """Only the series at the given places."""
        mean = None if self.mean is None else self.mean[series]
        return replace(self, series=self.series[series], values=self.values[series], mean=mean)

    def _axes(self) -> pl.DataFrame:
        """Keys, origin, lead, span, first and last date: one row for every (series, origin, horizon)."""
        n, o, k = self.values.shape[:3]
        lead, span = (np.array([getattr(h, a) for h in self.horizons], dtype=np.int32) for a in ("lead", "span"))
        origins = np.asarray(self.origins)
        first = self.frequency.to_date(origins[:, None] + lead + 1)
        final = self.frequency.to_date(origins[:, None] + lead + span)
        rows = pl.DataFrame({"origin": np.repeat(self.frequency.to_date(origins), k)}).with_columns(
            pl.Series("lead", np.tile(lead, o)),
            pl.Series("span", np.tile(span, o)),
            pl.Series("first_date", first.ravel()),
            pl.Series("last_date", final.ravel()),
        )
        places = pl.Series(np.repeat(np.arange(n), o * k))
        return self.series[places].hstack(rows[pl.Series(np.tile(np.arange(o * k), n))])

    def table(self) -> pl.DataFrame:
        """Wide table: keys, origin, lead, span, first_date, last_date, mean, and a column for every level."""
        flat = self.values.reshape(-1, len(self.levels))
        columns = [pl.Series(level_column(level), flat[:, q]) for q, level in enumerate(self.levels)]
        mean = [] if self.mean is None else [pl.Series("mean", self.mean.ravel())]
        return self._axes().hstack([*mean, *columns])

    def frame(self) -> pl.DataFrame:
        """Long table: keys, origin, lead, span, first_date, last_date, level, value."""
        n_levels = len(self.levels)
        axes = self._axes()
        rows = axes[pl.Series(np.repeat(np.arange(axes.height), n_levels))]
        level = np.tile(np.asarray(self.levels), axes.height)
        return rows.hstack([pl.Series("level", level), pl.Series("value", self.values.ravel())])

    @classmethod
    def from_table(cls, table: pl.DataFrame, frequency: Frequency, model: str = "") -> "Forecast":
        """From a wide table, as `table` makes it, in any row order; every series needs every origin and horizon."""
        keys = [name for name in ("item", "location") if name in table.columns]
        levels = sorted(float(name[1:]) for name in table.columns if name.startswith("q0"))
        ordered = table.sort([*keys, "origin", "lead", "span"])
        series = ordered.select(keys).unique(maintain_order=True)
        pairs = ordered.select("lead", "span").unique(maintain_order=True).sort("lead", "span")
        origins = ordered["origin"].unique().sort()
        shape = (series.height, len(origins), pairs.height)
        if ordered.height != int(np.prod(shape)):
            raise DataError(f"{int(np.prod(shape))} rows (series x origins x horizons)", f"{ordered.height}")
        _refuse_holes(ordered, shape)
        values = ordered.select([level_column(level) for level in levels]).to_numpy().astype(np.float32)
        mean = ordered["mean"].to_numpy().astype(np.float32).reshape(shape) if "mean" in table.columns else None
        return cls(
            series=series,
            origins=tuple(int(p) for p in frequency.to_period(origins.to_numpy())),
            frequency=frequency,
            horizons=tuple(Horizon(lead, span) for lead, span in pairs.iter_rows()),
            levels=tuple(levels),
            values=values.reshape(*shape, len(levels)),
            mean=mean,
            model=model,
        )


def _refuse_holes(ordered: pl.DataFrame, shape: tuple[int, int, int]) -> None:
    """Raise DataError where sorted rows are not the same origins and horizons for every series."""
    for name, column in ordered.select("origin", "lead", "span").to_dict().items():
        grid = column.to_physical().to_numpy().reshape(shape)
        if (grid != grid[:1]).any() or (name != "origin" and (grid != grid[:, :1]).any()):
            raise DataError("one row for every origin and horizon of every series", "some missing and others twice")


def concat_series(forecasts: Sequence[Forecast]) -> Forecast:
    """Join forecasts of different series (shards) with the same other axes."""
    first = forecasts[0]
    if len(forecasts) == 1:
        return first
    means = [f.mean for f in forecasts if f.mean is not None]
    return replace(
        first,
        series=pl.concat([f.series for f in forecasts]),
        values=np.concatenate([f.values for f in forecasts]),
        mean=np.concatenate(means) if len(means) == len(forecasts) else None,
    )


def concat_origins(forecasts: Sequence[Forecast]) -> Forecast:
    """Join forecasts of the same series at different origins."""
    first = forecasts[0]
    means = [f.mean for f in forecasts if f.mean is not None]
    return replace(
        first,
        origins=tuple(origin for f in forecasts for origin in f.origins),
        values=np.concatenate([f.values for f in forecasts], axis=1),
        mean=np.concatenate(means, axis=1) if len(means) == len(forecasts) else None,
    )
