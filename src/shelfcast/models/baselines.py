"""Window forecasters: fast, honest floors that every learned model must clear.

All read a window of recent history of every series at once and end in quantiles; spans get theirs from span sums in
history, never from adding quantiles. A series with fewer than `min_history` usable samples gets the launch profile of
similar products (`launches`). Local models: `fit` learns the launch profile alone.

    seasonal-naive     last season's value plus past seasonal differences (their quantiles, or a Gaussian)
    recent-quantiles   quantiles of the latest sums
    season-quantiles   quantiles of the sums at the same place in earlier seasons (same weekday)
    season-profile     divide by a shrunken season factor, quantiles of the latest sums, multiply back
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from statistics import NormalDist
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, nearest
from shelfcast.horizons import Horizon
from shelfcast.laws import Empirical
from shelfcast.models.history import History, Samples, merge
from shelfcast.models.local import Laws, LocalForecaster

Array = NDArray[np.float64]


class Errors(Enum):
    """Law of the seasonal naive forecast's errors."""

    EMPIRICAL = "empirical"
    GAUSSIAN = "gaussian"


@dataclass
class RecentQuantiles(LocalForecaster):
    """Quantiles of the latest `window` sums, whatever the season.

    Parameters
    ----------
    window : periods; None for eight weeks of hours, 56 days, 26 weeks or 12 months.
    """

    window: int | None = None
    name: ClassVar[str] = "recent-quantiles"

    def _laws(self, panel: Panel, origin: int) -> Laws:
        n = self.window or _default_window(panel)
        history = History.of(panel, origin, n + self._reach - 1)
        return _cached(lambda h: _quantiles(self.levels, history.recent(h.span, n)), key=lambda h: h.span)


@dataclass
class SeasonQuantiles(LocalForecaster):
    """Quantiles of the sums that began at the same place of the season, in the last `seasons` seasons.

    With daily data: the same weekday. With weeks and months, whose season is a year, neighbouring places count too. A
    series with too few of them falls back to its latest sums.

    Parameters
    ----------
    seasons : how many earlier seasons; None for 26 (days, hours) or 3 (weeks, months: years).
    neighbours : places before and after that count as the same; None for 0 (hours, days), 2 (weeks), 1 (months).
    """

    seasons: int | None = None
    neighbours: int | None = None
    name: ClassVar[str] = "season-quantiles"

    def _laws(self, panel: Panel, origin: int) -> Laws:
        season = panel.frequency.season
        n = self.seasons or (26 if season in (7, 24) else 3)
        recent = _default_window(panel)
        reach = max(-(-h.end // season) * season - h.lead for h in self.horizons)
        near = self.neighbours if self.neighbours is not None else {52: 2, 12: 1}.get(season, 0)
        history = History.of(panel, origin, max(reach + (n - 1) * season + near, recent + self._reach - 1))
        back = season * np.arange(n)[:, None] + np.arange(-near, near + 1)

        def law(horizon: Horizon) -> tuple[Array, Array, NDArray[np.int64]]:
            newest = origin + horizon.lead + 1 - -(-horizon.end // season) * season
            same = history.sums(newest - back.ravel(), horizon.span)
            return _quantiles(self.levels, merge(same, history.recent(horizon.span, recent), self.min_history))

        return _cached(law, key=lambda h: (h.span, h.lead - -(-h.end // season) * season))


@dataclass
class SeasonProfile(LocalForecaster):
    """Divide by a season factor, take the quantiles of the latest `window` periods, multiply back.

    The factor of a place in the season is the series' mean there over its mean, shrunk to 1 by the noise of that mean:
    with n observations there and a squared coefficient of variation c, by n / (n + c / `factor_variance`).

    A sum of several periods is the mean of the latest `level_window` periods times its length, plus the errors that
    this forecast made at the latest `error_window` origins, shrunk with the root of the level where that is lower now:
    overlapping sums are too few to take quantiles of directly.

    Parameters
    ----------
    window : periods of which the quantiles are taken; None for 56 days, 26 weeks, 12 months.
    factor_window : seasons over which factors are estimated; None for 104 (hours, days) or 3 (weeks, months).
    factor_variance : variance of true factors around 1 over series.
    level_window : periods of the mean that sums start from; None for 28 days or hours' days, 13 weeks, 6 months.
    error_window : past origins of the errors of sums; None for a year.
    """

    window: int | None = None
    factor_window: int | None = None
    factor_variance: float = 0.05
    level_window: int | None = None
    error_window: int | None = None
    name: ClassVar[str] = "season-profile"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.factor_variance, int | float) or not 0 < self.factor_variance < np.inf:
            raise ConfigError("model.factor_variance", f"expected a number above 0; got {self.factor_variance!r}")

    def _laws(self, panel: Panel, origin: int) -> Laws:
        season = panel.frequency.season
        n = self.window or _default_window(panel)
        n_factor = (self.factor_window or (104 if season in (7, 24) else 3)) * season
        n_level = self.level_window or {24: 28 * 24, 7: 28, 52: 13, 12: 6}[season]
        n_error = self.error_window or round(panel.frequency.year)
        sums = max((h.end for h in self.horizons if h.span > 1), default=0)
        reach = n_error + n_level + sums if sums else 0
        history = History.of(panel, origin, max(n_factor, n + self._reach - 1, reach))
        factors = self._factors(history, panel, n_factor)
        place = panel.frequency.season_position
        scaled = replace(history, weight=factors[:, place(np.arange(history.first, origin + 1))])

        def base(horizon: Horizon) -> tuple[Array, Array, NDArray[np.int64]]:
            if horizon.span == 1:
                return _quantiles(self.levels, scaled.recent(1, n))
            return self._sum(scaled, horizon, n_level, n_error)

        shared = _cached(base, key=lambda h: h if h.span > 1 else 1)

        def law(horizon: Horizon) -> tuple[Array, Array, NDArray[np.int64]]:
            quantiles, mean, count = shared(horizon)
            ahead = place(origin + np.arange(horizon.lead + 1, horizon.end + 1))
            weight = factors[:, ahead].sum(axis=1)
            return quantiles * weight[:, None], mean * weight, count

        return law

    def _sum(
        self, scaled: History, horizon: Horizon, n_level: int, n_error: int
    ) -> tuple[Array, Array, NDArray[np.int64]]:
        """Law of a sum in units of a mean period: latest level plus the quantiles of past errors of such levels."""
        origins = scaled.last - horizon.end - np.arange(n_error)
        before = scaled.sums(origins - n_level + 1, n_level, _LEVEL_SHARE)
        came = scaled.sums(origins + horizon.lead + 1, horizon.span)
        now = scaled.sums(np.array([scaled.last - n_level + 1]), n_level, _LEVEL_SHARE)
        valid = before.valid & came.valid
        mean = Samples(before.values, valid).mean()[:, None]
        scale = _root_scale(before.values, mean)
        level, today = now.values[:, :1], _root_scale(now.values[:, :1], mean)
        values = np.maximum(level + np.minimum(today / scale, 1.0) * (came.values - before.values), 0.0)
        quantiles, centre, count = _quantiles(self.levels, Samples(np.where(valid, values, 0.0), valid))
        return quantiles, centre, np.where(now.valid[:, 0], count, 0)

    def _factors(self, history: History, panel: Panel, n_periods: int) -> Array:
        """(N, season) shrunken factors with mean about 1."""
        season = panel.frequency.season
        demand, seen = history.demand[:, -n_periods:], history.observed[:, -n_periods:].astype(np.float64)
        place = panel.frequency.season_position(np.arange(history.last - n_periods + 1, history.last + 1))
        one_hot = np.eye(season)[place]
        count, units = seen @ one_hot, demand @ one_hot
        total = np.maximum(seen.sum(axis=1), 1.0)[:, None]
        mean = units.sum(axis=1, keepdims=True) / total
        variance = (demand**2).sum(axis=1, keepdims=True) / total - mean**2
        level = np.where(mean > 0, mean, 1.0)
        raw = np.where(count > 0, units / np.maximum(count, 1.0) / level, 1.0)
        shrink = count / (count + variance / level**2 / self.factor_variance + 1e-9)
        return np.where(mean > 0, 1.0 + shrink * (raw - 1.0), 1.0)


@dataclass
class SeasonalNaive(LocalForecaster):
    """Last season's value, with the law of past seasonal differences.

    A target `m` seasons ahead of the newest complete season repeats the window `m` seasons before it. Empirical errors
    are the differences over `m` seasons in the last `seasons` seasons; Gaussian ones have the root mean square of
    one-season differences times sqrt(m), over all the history within `seasons`.

    Parameters
    ----------
    errors : `empirical` or `gaussian`.
    seasons : seasons of history for the errors; None for 26 (hours, days) or 3 (weeks, months).
    """

    errors: str = Errors.EMPIRICAL.value
    seasons: int | None = None
    name: ClassVar[str] = "seasonal-naive"

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = [kind.value for kind in Errors]
        if self.errors not in kinds:
            raise ConfigError("model.errors", f"unknown errors '{self.errors}'; {nearest(str(self.errors), kinds)}")

    def _laws(self, panel: Panel, origin: int) -> Laws:
        season = panel.frequency.season
        ahead = max(-(-h.end // season) for h in self.horizons)
        n = (self.seasons or (26 if season in (7, 24) else 3)) * season
        history = History.of(panel, origin, n + (ahead + _EARLIER) * season + self._reach)

        gaussian = self.errors == Errors.GAUSSIAN.value
        kept: dict[tuple[int, int], tuple[Array, NDArray[np.int64]]] = {}

        def errors(span: int, m: int) -> tuple[Array, NDArray[np.int64]]:
            """Quantiles (N, Q) of the error m seasons ahead and how many differences (N,) they rest on."""
            steps = 1 if gaussian else m
            if (span, steps) not in kept:
                found = _differences(history, span, n, steps * season)
                quantiles = self._gaussian(found) if gaussian else _quantiles(self.levels, found)[0]
                kept[span, steps] = quantiles, found.count
            quantiles, count = kept[span, steps]
            return (quantiles * np.sqrt(m) if gaussian else quantiles), count

        def law(horizon: Horizon) -> tuple[Array, Array, NDArray[np.int64]]:
            m = -(-horizon.end // season)
            newest = origin + horizon.lead + 1 - m * season
            found = history.sums(newest - season * np.arange(_EARLIER + 1), horizon.span)
            latest = found.valid.argmax(axis=1)[:, None]
            point = np.take_along_axis(found.values, latest, 1)[:, 0]
            quantiles, count = errors(horizon.span, m)
            return point[:, None] + quantiles, point, np.where(found.valid.any(axis=1), count, 0)

        return law

    def _gaussian(self, differences: Samples) -> Array:
        """(N, Q) quantiles of a centred normal with the root mean square of the differences."""
        squares = np.where(differences.valid, differences.values**2, 0.0).sum(axis=1)
        z = np.array([NormalDist().inv_cdf(level) for level in self.levels])
        return np.asarray(np.sqrt(squares / np.maximum(differences.count, 1))[:, None] * z)


_LEVEL_SHARE = 0.25  # of the periods of a level that must be observed
_EARLIER = 3  # seasons to look further back where last season's value was not observed


def _differences(history: History, span: int, n_samples: int, distance: int) -> Samples:
    """The latest sums minus the sums `distance` periods earlier, where both were observed."""
    starts = history.last - span + 1 - np.arange(n_samples)
    later, earlier = history.sums(starts, span), history.sums(starts - distance, span)
    valid = later.valid & earlier.valid
    return Samples(np.where(valid, later.values - earlier.values, 0.0), valid)


def _root_scale(level: Array, mean: Array) -> Array:
    """(N, J) how far errors spread at a level, beside a series' `mean` (N, 1): with the root, as counts do.

    A level of nothing keeps the spread of a fiftieth of the mean, so that what stopped selling is not bought again.
    """
    return np.where(mean > 0, np.sqrt((level + 0.02 * mean) * mean), 1.0)


def _quantiles(levels: tuple[float, ...], samples: Samples) -> tuple[Array, Array, NDArray[np.int64]]:
    """Quantiles (N, Q), mean (N,) and number (N,) of the samples."""
    count = samples.count
    law = Empirical.of(samples.values, samples.valid | (count == 0)[:, None])
    return law.quantile(levels), samples.mean(), count


def _default_window(panel: Panel) -> int:
    """Periods of recent history: long enough for quantiles, short enough to follow the level."""
    return {24: 24 * 56, 7: 56, 52: 26, 12: 12}[panel.frequency.season]


def _cached(law: Laws, key: Callable[[Horizon], object]) -> Laws:
    """Horizons with one key share one law, so 28 days of seven weekdays cost seven."""
    known: dict[object, tuple[Array, Array, NDArray[np.int64]]] = {}

    def look_up(horizon: Horizon) -> tuple[Array, Array, NDArray[np.int64]]:
        place = key(horizon)
        if place not in known:
            known[place] = law(horizon)
        return known[place]

    return look_up


MODELS: dict[str, type[LocalForecaster]] = {
    model.name: model for model in (SeasonalNaive, RecentQuantiles, SeasonQuantiles, SeasonProfile)
}
