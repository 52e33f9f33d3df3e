"""The cells of a forecast that can be scored: what happened, what was forecast, scale and weight of each series.

One origin at a time, so that memory does not grow with the number of origins. A cell (series, horizon) is scored when
every period of its horizon was observed, and none sold out. Scale and weight of a series use nothing after the origin.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from shelfcast import scoring
from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, DataError
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon, same_window, window_sums
from shelfcast.laws import Grid

Array = NDArray[np.float64]
WEIGHT_PERIODS = 28
REPRICED = 0.05
_SCALE_ROWS = 4_000_000


@dataclass(frozen=True)
class Said:
    """What an earlier origin said of the windows of a later one.

    there : (K,) whether it forecast that window. values : (N, K, Q), point : (N, K); meaningless where not there.
    """

    there: NDArray[np.bool_]
    values: NDArray[np.float32]
    point: Array


@dataclass(frozen=True)
class Cells:
    """The cells of one origin.

    demand : (N, K) units, 0 where not scored. scored : (N, K). values : (N, K, Q). point : (N, K).
    flagged : (N, K) windows that are promoted, or repriced, or None where not asked for.
    given_weight : (N,) or None for dollar sales.
    before : what the origins before said of the same windows, the latest first; as many as were asked for.
    """

    panel: Panel
    origin: int
    levels: tuple[float, ...]
    demand: Array
    scored: NDArray[np.bool_]
    values: NDArray[np.float32]
    point: Array
    flagged: NDArray[np.bool_] | None
    given_weight: Array | None
    before: tuple[Said, ...] = ()

    @cached_property
    def scale(self) -> Array:
        """(N,) mean absolute one-step difference up to the origin, units."""
        return series_scale(self.panel, self.origin)

    @cached_property
    def squared_scale(self) -> Array:
        """(N,) mean squared one-step difference up to the origin, squared units."""
        return series_scale(self.panel, self.origin, power=2)

    @cached_property
    def weight(self) -> Array:
        """(N,) weight of each series, not normalised."""
        return dollar_sales(self.panel, self.origin) if self.given_weight is None else self.given_weight

    def loss(self, q: int) -> Array:
        """(N, K) pinball loss of the level at place `q`, 0 where not scored."""
        quantile = self.values[..., q].astype(np.float64)
        return np.where(self.scored, scoring.pinball(self.demand, quantile, self.levels[q]), 0.0)


def each_origin(
    forecast: Forecast, panel: Panel, weights: ArrayLike | None = None, *, flag: str | None = None, n_before: int = 0,
) -> Iterator[Cells]:  # fmt: skip
    """The cells of every origin; `panel` in the forecast's order, `weights` (N,) or (N, O) or None.

    Parameters
    ----------
    flag : `promoted` or `repriced`, to tell windows apart by.
    n_before : how many origins before each are asked what they said of its windows (`Cells.before`).
    """
    given = None if weights is None else np.asarray(weights, dtype=np.float64)
    if given is not None and given.shape[0] != panel.n_series:
        raise ConfigError("weights", f"expected one for each of {panel.n_series} series; got shape {given.shape}")
    for o, origin in enumerate(forecast.origins):
        demand, scored = window_demand(panel, origin, forecast.horizons)
        point = _point(forecast, o)
        earlier = sorted(
            (p for p, there in enumerate(forecast.origins) if there < origin), key=forecast.origins.__getitem__
        )
        yield Cells(
            panel=panel,
            origin=origin,
            levels=forecast.levels,
            demand=demand,
            scored=scored,
            values=forecast.values[:, o],
            point=point,
            flagged=None if flag is None else _FLAGGED[flag](panel, origin, forecast.horizons),
            given_weight=given if given is None or given.ndim == 1 else given[:, o],
            before=tuple(_said(forecast, place, origin) for place in reversed(earlier[-n_before:] if n_before else [])),
        )


def _point(forecast: Forecast, o: int) -> Array:
    """(N, K) mean forecast from the origin at place `o`; the median where there is none."""
    if forecast.mean is None:
        return Grid(np.asarray(forecast.levels), forecast.values[:, o]).quantile(0.5)[..., 0]
    return forecast.mean[:, o].astype(np.float64)


def _said(forecast: Forecast, o: int, origin: int) -> Said:
    """What the origin at place `o` said of the windows of a later one."""
    place, there = same_window(forecast.horizons, origin - forecast.origins[o])
    return Said(there, forecast.values[:, o][:, place], _point(forecast, o)[:, place])


def window_demand(
    panel: Panel, origin: int, horizons: Sequence[Horizon]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Demand (N, K) of every horizon from one origin, units, and whether all its periods can be scored (0 if not).

    A period cannot where it was not observed, nor where it sold out: what was wanted is known from below only.
    """
    last = origin + max(h.end for h in horizons)
    demand, observed = panel.window(origin, last)
    return window_sums(demand, observed & ~panel.sold_out(origin, last), horizons)


def promoted(panel: Panel, origin: int, horizons: Sequence[Horizon]) -> NDArray[np.bool_]:
    """(N, K) whether a promotion is planned in any period of each horizon from one origin."""
    columns = [panel.names.known.index(name) for name in panel.names.promotions]
    known = panel.known_window(origin, origin + max(h.end for h in horizons))[..., columns]
    flags = np.asarray((known > 0).any(axis=-1))
    return window_sums(flags, np.ones_like(flags), horizons)[0] > 0


def repriced(panel: Panel, origin: int, horizons: Sequence[Horizon]) -> NDArray[np.bool_]:
    """(N, K) whether a price of each window is more than 5 % from that at the origin; no window is without prices."""
    last = origin + max(h.end for h in horizons)
    if panel.names.price is None:
        return np.zeros((panel.n_series, len(horizons)), dtype=bool)
    price = panel.known_window(origin, last)[..., panel.names.known.index(panel.names.price)]
    moved = np.abs(price - price[:, :1]) > REPRICED * price[:, :1]
    return window_sums(moved, np.ones_like(moved), horizons)[0] > 0


_FLAGGED = {"promoted": promoted, "repriced": repriced}


def series_scale(panel: Panel, origin: int, *, power: int = 1) -> Array:
    """(N,) `scoring.one_step_scale` of every series up to an origin, in shards of bounded memory."""
    parts = []
    for piece in panel.shards(_SCALE_ROWS):
        counts = (origin + 1 - piece.start.astype(np.int64))[:, None]
        parts.append(scoring.one_step_scale(piece.demand, piece.observed, piece.indptr, counts, power=power)[:, 0])
    return np.concatenate(parts) if parts else np.zeros(0)


def dollar_sales(panel: Panel, origin: int, n_periods: int = WEIGHT_PERIODS) -> Array:
    """(N,) demand times price over the last periods up to an origin, in money; an unknown price counts as 0."""
    price = panel.price_window(origin - n_periods + 1, origin)
    if price is None:
        raise ConfigError("weights", "expected weights of the series or a panel with a price; got neither")
    demand, _ = panel.window(origin - n_periods + 1, origin)
    return np.asarray((demand * np.nan_to_num(price)).sum(axis=1, dtype=np.float64))


def aligned(forecast: Forecast, panel: Panel) -> Panel:
    """The panel's series in the forecast's order; DataError where one is missing."""
    keys = panel.keys
    wanted, there = (table.select(pl.col(keys).cast(pl.String)) for table in (forecast.series, panel.series))
    if wanted.equals(there):
        return panel
    found = wanted.join(there.with_row_index("_place"), on=keys, how="left", maintain_order="left")
    lost = found.filter(pl.col("_place").is_null())
    if lost.height:
        raise DataError(
            "every forecast series in the panel", f"{lost.height} that are not", "score with the panel it came from",
            table="panel", samples=lost.select(keys).head(3).rows(),
        )  # fmt: skip
    return panel.take(found["_place"].to_numpy())


def require_same_axes(a: Forecast, b: Forecast) -> None:
    """Raise DataError unless two forecasts have the same series, origins, horizons and levels."""
    for axis in ("origins", "horizons", "levels"):
        if getattr(a, axis) != getattr(b, axis):
            raise DataError(f"two forecasts of the same {axis}", f"{getattr(a, axis)} and {getattr(b, axis)}")
    if not a.series.equals(b.series.select(a.series.columns)):
        raise DataError("two forecasts of the same series in the same order", "different series")
