"""The automatic textbook methods, one series at a time through statsforecast (extra `classical`).

    ets      error, trend and season chosen by AICc (Hyndman and Khandakar 2008)
    theta    the best of four theta models (Assimakopoulos and Nikolopoulos 2000; Fiorucci and others 2016)
    arima    seasonal ARIMA chosen by AICc, stepwise (Hyndman and Khandakar 2008)

These cost 0.1 to 3 CPU-seconds for three years of days, so send them only the series that deserve it. Each sees at most
the last `history` periods, begun at its first observed one and divided by their mean. Unobserved periods between are
drawn as a straight line from neighbour to neighbour (a place in the season cannot be skipped); those at the end hold
the last observed value. A series with fewer than `FEWEST` observed periods, or without two different values, gets
`SES`; so does one whose fit fails, is not finite or leaves ten times the highest value seen, and that is counted in
`Outcome.failed`.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from shelfcast.errors import ConfigError
from shelfcast.models.points import Array, Series
from shelfcast.models.smoothing import SES, whole

THREE_YEARS = 1095
FEWEST = 12
_HIGHEST = 10.0
Method = Literal["AutoETS", "AutoTheta", "AutoARIMA"]


@dataclass(frozen=True)
class Outcome:
    """What an automatic method made of N series.

    Parameters
    ----------
    path : (N, H) units, >= 0.
    failed : (N,) bool; the fit failed and SES stands in. Short and constant series are not counted.
    """

    path: Array
    failed: NDArray[np.bool_]


@dataclass(frozen=True)
class _Automatic:
    """What the three share.

    Parameters
    ----------
    history : at most this many of the latest periods are seen; None for all.
    """

    history: int | None = THREE_YEARS
    method: ClassVar[Method]
    longest_season: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if self.history is not None:
            whole("history", self.history)

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        return self.outcome(series, n_periods).path

    def outcome(self, series: Series, n_periods: int) -> Outcome:
        """The path, and which series fell back; ConfigError where statsforecast is not installed."""
        is_held = self.longest_season is None or series.season <= self.longest_season
        draw = _drawer(self.method, series.season if is_held else 1)
        path, failed = SES().path(series, n_periods), np.zeros(series.n_series, dtype=bool)
        for i in range(series.n_series):
            values = _filled(series, i, self.history)
            drawn = _attempt(draw, values, n_periods) if len(values) else path[i]
            if drawn is None:
                failed[i] = True
            else:
                path[i] = drawn
        return Outcome(path, failed)


@dataclass(frozen=True)
class AutoETS(_Automatic):
    """ETS with the form chosen by AICc; a season longer than 24 periods cannot be held and is left out."""

    name: ClassVar[str] = "ets"
    method: ClassVar[Method] = "AutoETS"
    longest_season: ClassVar[int | None] = 24


@dataclass(frozen=True)
class AutoTheta(_Automatic):
    """The best of the standard, optimised and dynamic theta models by squared error; season by decomposition."""

    name: ClassVar[str] = "theta"
    method: ClassVar[Method] = "AutoTheta"


@dataclass(frozen=True)
class AutoARIMA(_Automatic):
    """Seasonal ARIMA by stepwise search on AICc; candidates are compared by approximate likelihood."""

    name: ClassVar[str] = "arima"
    method: ClassVar[Method] = "AutoARIMA"


def _drawer(name: Method, season: int) -> Callable[[Array, int], Array]:
    """Values (T,) and a number of periods -> the path that statsforecast's method draws."""
    try:
        with _quiet():
            from statsforecast import models
    except ImportError as error:
        raise ConfigError(
            "model",
            f"{name} needs the library statsforecast, which is not installed",
            "pip install 'shelfcast[classical]', or choose a model that needs nothing more, as 'holt-winters'",
        ) from error
    settings: dict[str, Any] = {"approximation": True} if name == "AutoARIMA" else {}
    model = getattr(models, name)(season_length=season, **settings)
    return lambda values, n_periods: np.asarray(model.forecast(values, n_periods)["mean"], dtype=np.float64)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's warnings on convergence, old syntax and overflow: what fails is counted instead."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _filled(series: Series, i: int, history: int | None) -> Array:
    """Values of series `i` without gaps; none where there is too little to fit."""
    rows = slice(
        max(series.indptr[i], series.indptr[i + 1] - history) if history else series.indptr[i], series.indptr[i + 1]
    )
    demand, at = series.demand[rows], np.flatnonzero(series.observed[rows])
    if len(at) < FEWEST or np.ptp(demand[at]) == 0.0:
        return np.zeros(0)
    return np.interp(np.arange(at[0], len(demand)), at, demand[at])


def _attempt(method: Callable[[Array, int], Array], values: Array, n_periods: int) -> Array | None:
    """The path (n_periods,) of one series; None where the fit fails or explodes."""
    unit = float(np.mean(values / values.max()) * values.max())
    scaled = values / unit
    try:
        with _quiet():
            path = method(scaled, n_periods)
    except Exception:  # whatever one series does to the library must not end the batch
        return None
    if path.shape != (n_periods,) or not np.isfinite(path).all() or path.max() > _HIGHEST * scaled.max():
        return None
    return np.maximum(path, 0.0) * unit
