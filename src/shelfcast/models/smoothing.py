"""Exponential smoothing and window averages: the cheap textbook methods, compiled, all series in one call.

Every method takes unobserved periods out before it estimates (never zeros, no gap in the recursion); places in the
season are counted over all periods, back from the origin. A series without an observed period, or of zeros, gets zeros;
paths are finite and never negative.

    ses                      one level (Brown 1956; Hyndman and Athanasopoulos, FPP3, section 8.1)
    seasonal-es              one level for each place in the season
    damped                   level and damped trend (Gardner and McKenzie 1985)
    holt-winters             level, damped trend and season, additive or multiplicative (Winters 1960)
    window-average           mean of the latest values
    seasonal-window-average  mean of the latest values at the same place in the season
    seasonal-naive-point     the latest value at the same place in the season

The loops are in `kernels` and `trends`; numba is imported when the first path is asked for.
"""

from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shelfcast.errors import ConfigError
from shelfcast.models.points import Array, Series

ALPHAS = (0.01, 0.99)
_BEST = -1.0
_LARGEST = 1e300


class Form(Enum):
    """How the season joins the level."""

    ADDITIVE = "additive"
    MULTIPLICATIVE = "multiplicative"


def share(key: str, value: float) -> None:
    """Raise ConfigError unless a smoothing parameter lies in (0, 1]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value <= 1.0:
        raise ConfigError(f"model.{key}", f"expected a number above 0 and at most 1; got {value!r}")


def whole(key: str, value: int) -> None:
    """Raise ConfigError unless a count is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"model.{key}", f"expected a whole number >= 1; got {value!r}")


def flat(levels: Array, n_periods: int) -> Array:
    """(N, n_periods) the same level (N,) in every period."""
    return np.repeat(_clean(levels)[:, None], n_periods, axis=1)


def repeated(places: Array, n_periods: int) -> Array:
    """(N, n_periods) the levels of a season (N, m), over and over."""
    return _clean(places)[:, np.arange(n_periods) % places.shape[1]]


def _clean(path: Array) -> Array:
    """Never negative, never beyond what later sums can hold."""
    return np.clip(path, 0.0, _LARGEST)


@dataclass(frozen=True)
class SES:
    """Simple exponential smoothing: `level = alpha y + (1 - alpha) level`, begun at the first value.

    Parameters
    ----------
    alpha : in (0, 1]; None takes, for each series, the minimum in (0.01, 0.99) of the squared one-step errors.

    Notes
    -----
    Equal to statsforecast's SimpleExponentialSmoothing and, with None, to its SimpleExponentialSmoothingOptimized (both
    search by Brent's bounded method with a tolerance of 1e-5, so both can end in a local minimum) on observed values.

    Examples
    --------
    >>> series = Series(np.array([2.0, 4.0]), np.ones(2, bool), np.array([0, 2]), origin=1, season=7)
    >>> SES(alpha=0.25).path(series, 2)
    array([[2.5, 2.5]])
    """

    alpha: float | None = None
    name: ClassVar[str] = "ses"

    def __post_init__(self) -> None:
        if self.alpha is not None:
            share("alpha", self.alpha)

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        from shelfcast.models import kernels

        alpha = _BEST if self.alpha is None else self.alpha
        return flat(kernels.ses_levels(series.demand, series.observed, series.indptr, alpha, *ALPHAS), n_periods)


@dataclass(frozen=True)
class SeasonalES:
    """Simple exponential smoothing of each place in the season by itself.

    Parameters
    ----------
    alpha : in (0, 1]; None takes, for each series, the one alpha of least squared one-step errors over all places.

    Notes
    -----
    With a given alpha equal to statsforecast's SeasonalExponentialSmoothing: the recursion begins with the first whole
    season counted back from the origin. Ours differs in three ways: a series shorter than a season gets its mean
    (theirs is NaN), a place never observed gets the mean of all, and None fits one alpha for all places together,
    where theirs fits one each from a seventh of the data.
    """

    alpha: float | None = None
    name: ClassVar[str] = "seasonal-es"

    def __post_init__(self) -> None:
        if self.alpha is not None:
            share("alpha", self.alpha)

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        from shelfcast.models import kernels

        alpha = _BEST if self.alpha is None else self.alpha
        places = kernels.seasonal_levels(
            series.demand, series.observed, series.indptr, series.season, alpha, *ALPHAS
        )  # fmt: skip
        return repeated(places, n_periods)


@dataclass(frozen=True)
class WindowAverage:
    """Mean of the latest `window` observed values, or of all where there are fewer."""

    window: int = 28
    name: ClassVar[str] = "window-average"

    def __post_init__(self) -> None:
        whole("window", self.window)

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        from shelfcast.models import kernels

        return flat(
            kernels.window_means(series.demand, series.observed, series.indptr, 1, self.window)[:, 0], n_periods
        )  # fmt: skip


@dataclass(frozen=True)
class SeasonalWindowAverage:
    """Mean of the latest `seasons` observed values at the same place in the season.

    A place never observed gets the mean of the other places.
    """

    seasons: int = 8
    name: ClassVar[str] = "seasonal-window-average"

    def __post_init__(self) -> None:
        whole("seasons", self.seasons)

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        from shelfcast.models import kernels

        places = kernels.window_means(series.demand, series.observed, series.indptr, series.season, self.seasons)
        return repeated(places, n_periods)


@dataclass(frozen=True)
class SeasonalNaivePoint:
    """The latest observed value at the same place in the season."""

    name: ClassVar[str] = "seasonal-naive-point"

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        return SeasonalWindowAverage(1).path(series, n_periods)


@dataclass(frozen=True)
class DampedSES:
    """Level and damped trend, the trend begun at zero; parameters by two passes over a small grid (see `trends`).

    The grid is alpha .02 to .1, beta 0 (no trend) to .3, phi .8, .9 or .98; then multiples of the best set. Alpha ends
    at .15 because the next day's error asks for a faster level than a month ahead can bear: with alphas up to .7 the
    RMSSE of 28 days on M5's 154 aggregates is 1.14, with these 1.09.
    """

    name: ClassVar[str] = "damped"

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        return _trend_path(series, 1, Form.ADDITIVE, *_DAMPED, n_periods)


@dataclass(frozen=True)
class HoltWinters:
    """Level, damped trend (phi .95) and season; parameters by two passes over a small grid (see `trends`).

    Parameters
    ----------
    form : additive (default, safe with zeros) or multiplicative, where level and season factors have floors and no
        factor is negative. For series with many zeros it is the worse choice.

    The grid is alpha .01 to .1, beta 0 (no trend), .05 or .2, gamma 0 (a fixed season) to .25; then multiples of the
    best set, alpha never above .1 (see `DampedSES`; here .79 against .84). A series shorter than two seasons begins
    with a neutral season.
    """

    form: Form = Form.ADDITIVE
    name: ClassVar[str] = "holt-winters"

    def __post_init__(self) -> None:
        if not isinstance(self.form, Form):
            raise ConfigError("model.form", f"expected Form.ADDITIVE or Form.MULTIPLICATIVE; got {self.form!r}")

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        grid, multiples = _DAMPED if series.season == 1 else _SEASONED
        return _trend_path(series, series.season, self.form, grid, multiples, n_periods)


def _trend_path(series: Series, season: int, form: Form, grid: Array, multiples: Array, n_periods: int) -> Array:
    from shelfcast.models import trends

    past = (series.demand, series.observed, series.indptr)
    return _clean(trends.trend_paths(*past, season, form is Form.MULTIPLICATIVE, grid, multiples, n_periods))


def _sets(*choices: tuple[float, ...]) -> NDArray[np.float64]:
    """(4, P) every combination of alpha, alpha beta, gamma and phi."""
    return np.ascontiguousarray(np.array(list(product(*choices)), dtype=np.float64).T)


def _grid(alpha: tuple[float, ...], beta: tuple[float, ...], gamma: tuple[float, ...], phi: tuple[float, ...]) -> Array:
    """`_sets` of alpha, beta, gamma and phi, beta multiplied by alpha."""
    sets = _sets(alpha, beta, gamma, phi)
    sets[1] *= sets[0]
    return sets


_DAMPED = (
    _grid((0.02, 0.05, 0.1), (0.0, 0.03, 0.1, 0.3), (0.0,), (0.8, 0.9, 0.98)),
    _sets((0.6, 0.8, 1.0, 1.25, 1.5), (0.5, 1.0, 2.0), (0.0,), (1.0,)),
)
_SEASONED = (
    _grid((0.01, 0.03, 0.1), (0.0, 0.05, 0.2), (0.0, 0.03, 0.1, 0.25), (0.95,)),
    _sets((0.6, 0.8, 1.0), (0.5, 1.0, 2.0), (0.5, 1.0, 2.0), (1.0,)),
)
