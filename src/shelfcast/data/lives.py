"""Kinds of series that are hard to forecast, as of a panel's last period: their life, their stock, their season."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.data.profile import first_sale
from shelfcast.scoring import ratio

Array = NDArray[np.float64]
LIVES = ("current", "new", "ended", "unsold")
STRONG = 0.1
_SEASONS = 26  # seasons in which places are compared


class Spread(NamedTuple):
    """Squared deviations `between` and `within` places of the season (N,), and the degrees of freedom of each (N,)."""

    between: Array
    within: Array
    free_between: Array
    free_within: Array
    mean: Array
    seasons: Array


def lives(seen: Panel) -> NDArray[np.str_]:
    """(N,) `unsold`, `new` (first sold within a quarter of a year), `ended` (nothing in that time) or `current`."""
    quarter = round(seen.frequency.year / 4)
    first = first_sale(seen)
    lately = seen.history(seen.last, quarter)[0].sum(axis=1) > 0
    return np.select([first > seen.last, first > seen.last - quarter, ~lately], ["unsold", "new", "ended"], "current")


def shortages(seen: Panel) -> NDArray[np.str_]:
    """(N,) `short` where a period of the last quarter of a year was not observed or sold out; else `full`."""
    begin = seen.last - round(seen.frequency.year / 4) + 1
    _, observed = seen.window(begin, seen.last)
    there = np.arange(begin, seen.last + 1) >= seen.start[:, None]
    hidden = there & (~observed | seen.sold_out(begin, seen.last))
    return np.where(hidden.any(axis=1), "short", "full")


def seasons(seen: Panel) -> NDArray[np.str_]:
    """(N,) `strong` where places of the season tell 0.1 of the variance of demand, else `weak`; or `short`.

    The share is Kelley's epsilon squared, `1 - (within / its degrees of freedom) / (total / its own)`, which is 0 on
    average where there is no season, however short the history. Two whole seasons are needed.
    """
    spread = season_spread(seen)
    total = ratio(spread.between + spread.within, spread.free_between + spread.free_within)
    share = 1.0 - ratio(ratio(spread.within, spread.free_within), total)
    strong = np.nan_to_num(share, nan=0.0) >= STRONG
    return np.where(spread.seasons < 2, "short", np.where(strong & (spread.mean > 0), "strong", "weak"))


def season_spread(seen: Panel) -> Spread:
    """How demand scatters between and within places of the season: the latest 26, or 4 of more than 24 periods."""
    season = seen.frequency.season
    history, observed = seen.history(seen.last, min(_SEASONS, 4 if season > 24 else _SEASONS) * season)
    demand, n_periods = history.astype(np.float64), history.shape[1]
    place = np.eye(season)[seen.frequency.season_position(seen.last - n_periods + 1 + np.arange(n_periods))]
    weight = observed.astype(np.float64)
    count, units = weight @ place, (demand * weight) @ place
    total = weight.sum(axis=1)
    mean = units.sum(axis=1) / np.maximum(total, 1.0)
    of_places = (np.square(units) / np.maximum(count, 1.0)).sum(axis=1)
    filled = (count > 0).sum(axis=1)
    return Spread(
        between=of_places - np.maximum(total, 1.0) * mean**2,
        within=(np.square(demand) * weight).sum(axis=1) - of_places,
        free_between=np.maximum(filled - 1, 1).astype(np.float64),
        free_within=np.maximum(np.maximum(total, 1.0) - filled, 1.0),
        mean=mean,
        seasons=total / season,
    )
