"""Season and promotions around any base model: divide them out of the history, forecast, multiply them back.

The base sees demand at the regular price, without promotion, in a mean period of the year and week. Both add-ons read
known columns and the calendar, so a path needs the panel, not its flat histories alone.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.models.elasticity import Elasticities
from shelfcast.models.points import PointModel, Series
from shelfcast.models.seasonal import SeasonalAddon

Array = NDArray[np.float64]


@dataclass(frozen=True)
class WithAddons:
    """A base model between the two add-ons; either may be None. Learned on no more than what the origin may see."""

    base: PointModel
    seasonal: SeasonalAddon | None = None
    elasticity: Elasticities | None = None

    @property
    def name(self) -> str:
        """The base's name and those of the add-ons, as `ses+season+price`."""
        parts = ("+season" if self.seasonal else "", "+price" if self.elasticity else "")
        return self.base.name + "".join(parts)

    def path(self, panel: Panel, origin: int, n_periods: int) -> Array:
        """(N, n_periods) expected demand of the periods after `origin`, units, >= 0."""
        return adjusted_path(self.base, panel, origin, n_periods, self.seasonal, self.elasticity)


def adjusted_path(
    base: PointModel,
    panel: Panel,
    origin: int,
    n_periods: int,
    seasonal: SeasonalAddon | None = None,
    elasticity: Elasticities | None = None,
) -> Array:
    """(N, n_periods) path of `base` on adjusted history times season and lift of each period ahead, units, >= 0.

    Known columns and calendar are read beyond the origin, demand is not. With both None it is the base's own path.
    """
    series = adjusted_series(panel, origin, seasonal, elasticity)
    path = base.path(series, n_periods) * _ahead(panel, origin, n_periods, seasonal, elasticity)
    return np.asarray(np.maximum(path, 0.0))


def adjusted_series(
    panel: Panel, origin: int, seasonal: SeasonalAddon | None = None, elasticity: Elasticities | None = None
) -> Series:
    """Histories up to `origin` with season and lift divided out."""
    series = Series.of(panel, origin)
    if not len(series.demand):
        return series
    of_row = np.repeat(np.arange(series.n_series), np.diff(series.indptr))
    period = np.arange(len(of_row)) - series.indptr[of_row] + panel.start[of_row]
    demand = series.demand
    if seasonal is not None:
        demand = demand / seasonal.factors_at(panel, of_row, period)
    if elasticity is not None:
        demand = demand / elasticity.row_lifts(panel, panel.first, origin)[1]
    return replace(series, demand=demand)


def _ahead(
    panel: Panel, origin: int, n_periods: int, seasonal: SeasonalAddon | None, elasticity: Elasticities | None
) -> Array:
    """(N, n_periods) season times lift of the periods after the origin."""
    made = np.ones((panel.n_series, n_periods))
    if seasonal is not None:
        made *= seasonal.factors(panel, origin + 1, origin + n_periods)
    if elasticity is not None:
        made *= elasticity.lift(panel, origin + 1, origin + n_periods)
    return made
