"""Compiled damped trend and Holt-Winters recursions over a whole grid of parameters in one pass.

Own definition. With level l, trend b, season s, damping phi, error e = y - forecast:

    additive          forecast = l + phi b + s
                      l' = l + phi b + alpha e,  b' = phi b + alpha beta e,  s' = s + gamma e
    multiplicative    forecast = (l + phi b) s
                      the same with e / s for l and b, and s' = s + gamma e / (l + phi b)

The level begins at the mean of the first two seasons (at least ten observed values), the trend at zero, the season at
the mean deviation (or ratio) of each place over the first four seasons. All sets of the grid run side by side through
the series, so that one pass costs little more than one set; a second pass tries multiples of the best set, and the set
of least squared one-step error wins. Unobserved periods are skipped: only the place in the season moves. In the
multiplicative form the level has a floor of `LEVEL_FLOOR` of its beginning and the season one of `FACTOR_FLOOR`, so
that neither zeros nor a negative factor can divide by nothing; a lower floor for factors would let one sale on a day
that never sells throw the level away.
"""

import numpy as np

from shelfcast.compiled import compiled
from shelfcast.models.kernels import Array, Ints, Mask, seen_values

FACTOR_FLOOR = 0.2
LEVEL_FLOOR = 0.02
FIRST_SEASONS = 4


@compiled
def first_season(demand: Array, observed: Mask, season: int, product: bool) -> Array:
    """(season,) mean deviation (ratio) of each place, counted back from the origin, over the first seasons."""
    neutral = 1.0 if product else 0.0
    n_rows = min(len(demand), FIRST_SEASONS * season)
    sums, counts = np.zeros(season), np.zeros(season)
    for i in range(n_rows):
        if observed[i]:
            place = (len(demand) - 1 - i) % season
            sums[place] += demand[i]
            counts[place] += 1.0
    mean = sums.sum() / max(counts.sum(), 1.0)
    out = np.full(season, neutral)
    if season == 1 or mean <= 0.0 or len(demand) < 2 * season:
        return out
    for place in range(season):
        if counts[place] > 0.0:
            own = sums[place] / counts[place]
            out[place] = max(own / mean, FACTOR_FLOOR) if product else own - mean
    return out


@compiled
def step_sums(value: float, sets: Array, level: Array, trend: Array, season: Array, total: Array) -> None:
    """One additive step of every set (P,); `sets` is (4, P): alpha, alpha beta, gamma, phi."""
    for k in range(len(level)):
        ahead = sets[3, k] * trend[k]
        base = level[k] + ahead
        error = value - base - season[k]
        total[k] += error * error
        level[k] = base + sets[0, k] * error
        trend[k] = ahead + sets[1, k] * error
        season[k] += sets[2, k] * error


@compiled
def step_products(
    value: float, floor: float, sets: Array, level: Array, trend: Array, season: Array, total: Array
) -> None:
    """One multiplicative step of every set; see `step_sums`."""
    for k in range(len(level)):
        ahead = sets[3, k] * trend[k]
        base = max(level[k] + ahead, floor)
        error = value - base * season[k]
        total[k] += error * error
        shift = error / season[k]
        level[k] = max(base + sets[0, k] * shift, floor)
        trend[k] = ahead + sets[1, k] * shift
        season[k] = max(season[k] + sets[2, k] * error / base, FACTOR_FLOOR)


@compiled
def run(demand: Array, observed: Mask, unit: float, sets: Array, first: Array, start: int, product: bool) -> Array:
    """(P, 3 + season) squared error, level, trend and season of every set after the last value."""
    n_sets, n_places = sets.shape[1], len(first)
    level, taken = 0.0, 0
    for i in range(len(demand)):
        if observed[i] and taken < start:
            taken += 1
            level += (demand[i] / unit - level) / taken
    floor = max(LEVEL_FLOOR * level, 1e-9)
    levels, trends, totals = np.full(n_sets, level), np.zeros(n_sets), np.zeros(n_sets)
    seasons = np.empty((n_places, n_sets))
    for place in range(n_places):
        seasons[place] = first[place]
    for i in range(len(demand)):
        if observed[i]:
            place = (len(demand) - 1 - i) % n_places
            if product:
                step_products(demand[i] / unit, floor, sets, levels, trends, seasons[place], totals)
            else:
                step_sums(demand[i] / unit, sets, levels, trends, seasons[place], totals)
    out = np.empty((n_sets, 3 + n_places))
    out[:, 0], out[:, 1], out[:, 2], out[:, 3:] = totals, levels, trends, seasons.T
    return out


@compiled
def least(states: Array) -> int:
    """The set of least squared error; the first one where none is finite."""
    best = 0
    for k in range(len(states)):
        if states[k, 0] < states[best, 0]:
            best = k
    return best


@compiled
def near(best: Array, multiples: Array) -> Array:
    """(4, P) the best set (4,) times each of `multiples` (4, P), no parameter above 1."""
    out = np.empty(multiples.shape)
    for j in range(4):
        for k in range(multiples.shape[1]):
            out[j, k] = min(best[j] * multiples[j, k], 1.0)
    return out


@compiled
def draw(state: Array, phi: float, product: bool, out: Array) -> None:
    """The path of one set into `out` (H,), never negative."""
    n_places, damping, trend = len(state) - 3, 1.0, 0.0
    for h in range(len(out)):
        damping *= phi
        trend += damping * state[2]
        season = state[3 + (n_places - 1 - h % n_places)]
        base = state[1] + trend
        out[h] = max(base * season if product else base + season, 0.0)


@compiled
def trend_paths(
    demand: Array,
    observed: Mask,
    indptr: Ints,
    season: int,
    product: bool,
    grid: Array,
    multiples: Array,
    n_periods: int,
) -> Array:
    """(N, n_periods) path of each series by its best set; `grid` and `multiples` are (4, P)."""
    out = np.zeros((len(indptr) - 1, n_periods))
    for i in range(len(out)):
        rows = slice(indptr[i], indptr[i + 1])
        values, unit = seen_values(demand[rows], observed[rows])
        n_seen = len(values)
        mean = values.mean() if n_seen else 0.0
        if mean <= 0.0:
            continue
        unit *= mean
        first = first_season(demand[rows] / unit, observed[rows], season, product)
        start = min(max(2 * season, 10), n_seen)
        states = run(demand[rows], observed[rows], unit, grid, first, start, product)
        best = least(states)
        close = near(grid[:, best], multiples)
        finer = run(demand[rows], observed[rows], unit, close, first, start, product)
        chosen = least(finer)
        draw(finer[chosen], close[3, chosen], product, out[i])
        out[i] *= unit
    return out
