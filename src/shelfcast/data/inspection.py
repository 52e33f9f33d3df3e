"""What would poison the forecasts: new periods that do not look like those before them.

Each check has a name, so that a user who knows better can accept it. A new period is set against the same place of the
season in the eight seasons before (a Monday against Mondays). Nothing stops where there is no earlier panel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel

Array = NDArray[np.float64]
CHECKS = ("older", "missing", "volume", "unknown", "price", "restated")
_SEASONS = 8
_UNKNOWN, _RESTATED, _PRICE = 0.2, 0.05, 2.0


@dataclass(frozen=True)
class Finding:
    """One check that failed, in a sentence; `stops` unless accepted."""

    check: str
    stops: bool
    sentence: str


def inspect(
    old: Panel | None, new: Panel, *, fewest_series: float = 0.5, most_change: float = 4.0, accept: tuple[str, ...] = ()
) -> list[Finding]:
    """Compare a brought-up panel with the one before it.

    Parameters
    ----------
    old, new : without aggregates; `old` None for the first.
    fewest_series : share of the usual number of selling series that a new period needs.
    most_change : times more or fewer units than usual that a new period may have.
    accept : names of checks that do not stop.
    """
    if old is None:
        return []
    found = [*_older(old, new)]
    if new.last > old.last:
        found += [*_periods(old, new, fewest_series, most_change), *_unknown(old, new), *_prices(old, new)]
    found += _restated(old, new)
    return [Finding(check, check not in accept, sentence) for check, sentence in found]


def _older(old: Panel, new: Panel) -> list[tuple[str, str]]:
    if new.last >= old.last:
        return []
    return [("older", f"the sales end on {new.date(new.last)}, earlier than last time ({old.date(old.last)})")]


def _periods(old: Panel, new: Panel, fewest: float, most: float) -> list[tuple[str, str]]:
    """Series that sell, and units, of each new period against its usual."""
    season = new.frequency.season if new.frequency.season <= 24 else 1
    first = old.last - _SEASONS * season + 1
    demand, _ = new.window(first, new.last)
    sold, units = (demand > 0).sum(axis=0).astype(np.float64), demand.sum(axis=0, dtype=np.float64)
    n_before, found = old.last - first + 1, []
    for at in range(n_before, demand.shape[1]):
        same = np.arange(at % season, n_before, season)
        usual_sold, usual = (float(np.median(x[same])) for x in (sold, units))
        day = new.date(first + at)
        if sold[at] < fewest * usual_sold:
            found.append(
                ("missing", f"on {day} {sold[at]:,.0f} series sold something where {usual_sold:,.0f} usually do")
            )
        elif usual > 0 and not usual / most <= units[at] <= usual * most:
            found.append(("volume", f"on {day} {units[at]:,.0f} units were sold where {usual:,.0f} are usual"))
    return found


def _unknown(old: Panel, new: Panel) -> list[tuple[str, str]]:
    added = new.n_series - old.n_series
    if old.n_series < 5 or added <= _UNKNOWN * old.n_series:
        return []
    return [("unknown", f"{added:,} series are new, beside {old.n_series:,} known ones: did the keys change?")]


def _prices(old: Panel, new: Panel) -> list[tuple[str, str]]:
    """The median change of price between the last old and the last new period."""
    earlier, latest = (new.price_window(p, p) for p in (old.last, new.last))
    if earlier is None or latest is None:
        return []
    before, now = earlier[:, 0].astype(np.float64), latest[:, 0].astype(np.float64)
    both = (before > 0) & (now > 0)
    if not both.any():
        return []
    change = float(np.median(now[both] / before[both]))
    if 1 / _PRICE <= change <= _PRICE:
        return []
    return [
        ("price", f"the median price is {change:.3g} times that of {new.date(old.last)}: another currency or unit?")
    ]


def _restated(old: Panel, new: Panel) -> list[tuple[str, str]]:
    """Share of cells of the latest old periods that were changed."""
    season = max(old.frequency.season if old.frequency.season <= 24 else 4, 1)
    if old.n_series != new.n_series or new.last < old.last:
        return []
    before, now = (panel.window(old.last - season + 1, old.last) for panel in (old, new))
    sold = (before[0] > 0) | (now[0] > 0)
    changed = (before[0] != now[0]) & sold
    if not sold.any() or changed.sum() <= max(_RESTATED * sold.sum(), 3):
        return []
    return [("restated", f"{changed.sum() / sold.sum():.0%} of the latest sales read before have changed since")]
