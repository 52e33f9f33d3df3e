"""Methods for demand with many zeros: the Croston family and temporal aggregation, compiled, all series in one call.

Sizes are the demands above zero; an interval is the number of *observed* periods from one demand to the next (the first
one from the start of the series). An unobserved period is taken out: no interval advances, no chance of demand falls. A
series without demand, or without an observed period, gets zeros.

    croston   smoothed size / smoothed interval (Croston 1972)
    sba       (1 - alpha / 2) x croston, which is biased upward (Syntetos and Boylan 2005)
    tsb       smoothed size x smoothed chance of demand, which falls while nothing sells (Teunter, Syntetos, Babai 2011)
    adida     smoothed sums of blocks as wide as the mean interval (Nikolopoulos and others 2011)
    imapa     mean of such rates over all widths up to the mean interval (Petropoulos and Kourentzes 2015)

The definitions are statsforecast's (CrostonClassic and CrostonSBA with alpha .1, TSB, ADIDA, IMAPA), there on observed
values; the loops are in `kernels`.
"""

from dataclasses import dataclass
from typing import ClassVar

from shelfcast.models.points import Array, Series
from shelfcast.models.smoothing import flat, share

_BLOCK_ALPHAS = (0.1, 0.3)


@dataclass(frozen=True)
class Croston:
    """Smoothed size over smoothed interval, each begun at its first value and moved only where there is demand.

    Examples
    --------
    Sizes 2, 4 and intervals 1, 2: (.9 x 2 + .1 x 4) / (.9 x 1 + .1 x 2) = 2.2 / 1.1.

    >>> import numpy as np
    >>> series = Series(np.array([2.0, 0.0, 4.0]), np.ones(3, bool), np.array([0, 3]), origin=2, season=7)
    >>> Croston().path(series, 1).round(6)
    array([[2.]])
    """

    alpha: float = 0.1
    name: ClassVar[str] = "croston"

    def __post_init__(self) -> None:
        share("alpha", self.alpha)

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        from shelfcast.models import kernels

        return flat(kernels.croston_rates(series.demand, series.observed, series.indptr, self.alpha), n_periods)


@dataclass(frozen=True)
class SBA:
    """Croston's rate times `1 - alpha / 2`."""

    alpha: float = 0.1
    name: ClassVar[str] = "sba"

    def __post_init__(self) -> None:
        share("alpha", self.alpha)

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        return (1.0 - self.alpha / 2.0) * Croston(self.alpha).path(series, n_periods)


@dataclass(frozen=True)
class TSB:
    """Smoothed size times smoothed chance of demand; decays toward zero when a product is no longer sold.

    Parameters
    ----------
    alpha_d : of sizes, moved only where there is demand.
    alpha_p : of the chance of demand, moved in every observed period.
    """

    alpha_d: float = 0.05
    alpha_p: float = 0.05
    name: ClassVar[str] = "tsb"

    def __post_init__(self) -> None:
        share("alpha_d", self.alpha_d)
        share("alpha_p", self.alpha_p)

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        from shelfcast.models import kernels

        rates = kernels.tsb_rates(series.demand, series.observed, series.indptr, self.alpha_d, self.alpha_p)
        return flat(rates, n_periods)


@dataclass(frozen=True)
class ADIDA:
    """Rate from sums over blocks as wide as the mean interval, smoothed with the best alpha in (.1, .3).

    The oldest periods that do not fill a block are left out; half an interval rounds to the even width.
    """

    name: ClassVar[str] = "adida"

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        return _block_path(series, n_periods, every_width=False)


@dataclass(frozen=True)
class IMAPA:
    """Mean of the rates from blocks of every width from one period to the mean interval; see `ADIDA`."""

    name: ClassVar[str] = "imapa"

    def path(self, series: Series, n_periods: int) -> Array:
        """(N, n_periods) units; see `PointModel`."""
        return _block_path(series, n_periods, every_width=True)


def _block_path(series: Series, n_periods: int, *, every_width: bool) -> Array:
    from shelfcast.models import kernels

    rates = kernels.block_rates(series.demand, series.observed, series.indptr, *_BLOCK_ALPHAS, every_width)
    return flat(rates, n_periods)
