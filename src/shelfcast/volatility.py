"""How much forecasts of one window change from origin to origin, and whether the changes pay.

A *revision* is a pair: what an origin said of a window, and what the origin before had said of it. Definitions, over
the revisions of a slice:

    revision          sum of |new - old| (mean over levels) / sum |y|; by level where asked
    sfpc              mean of 200 |new - old| / (|new| + |old|) of the point forecasts
    volatility        2 sum of D / sum |y|, D what the new law claims to be better than the old (`scoring.divergence`)
    excess_volatility 2 sum of (D - [pinball(y, old) - pinball(y, new)]) / sum |y|: the claims less what they gained
    belief_movement   mean of (p_new - p_old)^2 of p = P(Y <= theta), theta the median two origins before
    belief_reduction  mean of p_old (1 - p_old) - p_new (1 - p_new)
    order_flips       share of two successive revisions of the order level that go opposite ways

If each forecast is the law of demand given what was known then, forecasts of a window are a martingale: excess
volatility is 0 and belief movement equals belief reduction, on average, however large the revisions. Without a
revision all of them are 0. Volatility and excess volatility are in units of `wql`. The order level is the quantile
nearest 0.9 in whole units. Beliefs and flips take three origins that forecast the window: at its old median a belief
is 1/2, and moves as much as it falls whatever comes.

Sources: Eisenach et al. (arXiv 2009.14799) for excess volatility, with the new law's expectation in place of the loss
of its median, which is not 0 without a revision; Augenblick and Rabin (2021) for movement and reduction of belief.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from shelfcast import scoring
from shelfcast.cells import Cells, Said
from shelfcast.forecast import Forecast
from shelfcast.horizons import same_window
from shelfcast.laws import Grid

Array = NDArray[np.float64]
ORDER_LEVEL = 0.9
_BLOCK = 200_000  # cells (series x horizons) whose laws are compared at once


def has_revisions(forecast: Forecast) -> bool:
    """Whether any window was forecast from two successive origins."""
    gaps = np.diff(sorted(forecast.origins))
    return any(same_window(forecast.horizons, int(gap))[1].any() for gap in np.unique(gaps))


def claimed(cells: Cells, old: Said) -> Array:
    """(N, K, Q) `scoring.divergence` of every revision, in blocks of series; 0 where there is none."""
    made = np.zeros(cells.values.shape)
    there = np.flatnonzero(old.there)
    size = max(1, _BLOCK // max(len(there), 1))
    for begin in range(0, len(made) if len(there) else 0, size):
        block = np.ix_(np.arange(begin, min(begin + size, len(made))), there)
        made[block] = scoring.divergence(cells.values[block], old.values[block], cells.levels)
    return made


def beliefs(cells: Cells, old: Said, older: Said) -> tuple[Array, Array]:
    """(N, K) movement and reduction of the belief that demand is at most the median of the older forecast."""
    levels = np.asarray(cells.levels)
    theta = Grid(levels, older.values).quantile(0.5)[..., 0]
    p, q = Grid(levels, old.values).cdf(theta), Grid(levels, cells.values).cdf(theta)
    return (q - p) ** 2, p * (1 - p) - q * (1 - q)


def flips(cells: Cells, old: Said, older: Said) -> Array:
    """(N, K) whether the order level went one way and then back."""
    place = int(np.abs(np.asarray(cells.levels) - ORDER_LEVEL).argmin())
    now, then, first = (np.rint(values[..., place]) for values in (cells.values, old.values, older.values))
    return np.asarray((now - then) * (then - first) < 0, dtype=np.float64)


def origins_before(names: Collection[str]) -> int:
    """How many origins before each the given metrics look at."""
    return 2 if set(names) & {"order_flips", "belief_movement", "belief_reduction"} else int(bool(names))
