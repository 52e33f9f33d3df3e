"""Compiled loops over flat series: one pass over the data per evaluation, all series in one call.

Importing this module imports numba, so models import it when first asked for a path. An unobserved period is taken out
of the series before anything is estimated: no interval advances and no level moves. Methods with a season count places
back from the origin over all periods, observed or not: place 0 is the origin's own.

The optimised smoothing parameter is found by Brent's bounded search (golden section with parabolas; Brent 1973, chapter
5; Forsythe, Malcolm and Moler 1977, `fmin`) to within 1e-5. Series beyond 1e100 are scaled down before squares are
taken. Trend and season recursions are in `trends`.
"""

import numpy as np
from numpy.typing import NDArray

from shelfcast.compiled import compiled

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

_GOLDEN = 0.5 * (3.0 - 5.0**0.5)
_ROOT_EPS = 2.2e-16**0.5
_TOLERANCE = 1e-5
_HUGE = 1e100


@compiled
def largest(values: Array) -> float:
    """The largest of some values >= 0; four at a time, since each comparison waits for the one before."""
    a = b = c = d = 0.0
    for i in range(0, len(values) - 3, 4):
        a, b = max(a, values[i]), max(b, values[i + 1])
        c, d = max(c, values[i + 2]), max(d, values[i + 3])
    for i in range(len(values) - len(values) % 4, len(values)):
        a = max(a, values[i])
    return max(max(a, b), max(c, d))


@compiled
def seen_values(demand: Array, observed: Mask) -> tuple[Array, float]:
    """Observed values in order, divided by a unit that is 1 unless squares could overflow; and that unit."""
    n_seen = 0
    for i in range(len(demand)):
        n_seen += observed[i]
    values = demand
    if n_seen < len(demand):
        values = np.empty(n_seen)
        at = 0
        for i in range(len(demand)):
            if observed[i]:
                values[at] = demand[i]
                at += 1
    peak = largest(values)
    return (values, 1.0) if peak < _HUGE else (values / peak, peak)


@compiled
def smooth(values: Array, alpha: float) -> float:
    """Level after all values: `level = alpha value + (1 - alpha) level`, begun at the first."""
    level: float = values[0]
    for i in range(1, len(values)):
        level = alpha * values[i] + (1.0 - alpha) * level
    return level


@compiled
def plain_squares(values: Array, alpha: float) -> float:
    """Sum of squared one-step errors of smoothing; four values a turn, so that one level waits for one product only."""
    k1 = 1.0 - alpha
    k2, k3, k4 = k1 * k1, k1 * k1 * k1, k1 * k1 * k1 * k1
    level = values[0]
    total = other = 0.0
    end = 1 + (len(values) - 1) // 4 * 4
    for i in range(1, end, 4):
        w, x, y, z = values[i], values[i + 1], values[i + 2], values[i + 3]
        after_w = alpha * w
        after_x = alpha * x + k1 * after_w
        after_y = alpha * y + k1 * after_x
        after_z = alpha * z + k1 * after_y
        e, f, g, h = w - level, x - (after_w + k1 * level), y - (after_x + k2 * level), z - (after_y + k3 * level)
        total += e * e + g * g
        other += f * f + h * h
        level = after_z + k4 * level
    for i in range(end, len(values)):
        error = values[i] - level
        total += error * error
        level = alpha * values[i] + k1 * level
    return total + other


@compiled
def squares(values: Array, season: int, alpha: float) -> float:
    """Sum of squared one-step errors of smoothing each of `season` interleaved series with one alpha."""
    kept = 1.0 - alpha
    total = 0.0
    if season == 1:
        return plain_squares(values, alpha)
    levels = values[:season].copy()
    place = 0
    for i in range(season, len(values)):
        error = values[i] - levels[place]
        total += error * error
        levels[place] = alpha * values[i] + kept * levels[place]
        place = place + 1 if place + 1 < season else 0
    return total


@compiled
def gappy_squares(values: Array, season: int, alpha: float) -> float:
    """`squares` where NaN marks what was not observed."""
    levels = np.full(season, np.nan)
    total = 0.0
    for i in range(len(values)):
        value, level = values[i], levels[i % season]
        if np.isnan(value):
            continue
        if np.isnan(level):
            levels[i % season] = value
        else:
            total += (value - level) ** 2
            levels[i % season] = alpha * value + (1.0 - alpha) * level
    return total


@compiled
def best_alpha(values: Array, season: int, gaps: bool, low: float, high: float) -> float:
    """Alpha in (low, high) at a local minimum of the squared one-step errors, by Brent's bounded search.

    `best` is the lowest point so far, `second` and `third` the next two, through which the parabola goes; `step` is
    the last move and `before` the one before it.
    """
    best = low + _GOLDEN * (high - low)
    second = third = best
    step = before = 0.0
    lowest = gappy_squares(values, season, best) if gaps else squares(values, season, best)
    at_second = at_third = lowest
    for _ in range(100):
        middle = 0.5 * (low + high)
        near = _ROOT_EPS * abs(best) + _TOLERANCE / 3.0
        if abs(best - middle) <= 2.0 * near - 0.5 * (high - low):
            break
        golden = True
        if abs(before) > near:
            r = (best - second) * (lowest - at_third)
            q = (best - third) * (lowest - at_second)
            p = (best - third) * q - (best - second) * r
            q = 2.0 * (q - r)
            p = -p if q > 0.0 else p
            q = abs(q)
            earlier, before = before, step
            if abs(p) < abs(0.5 * q * earlier) and p > q * (low - best) and p < q * (high - best):
                golden = False
                step = p / q
                reached = best + step
                if reached - low < 2.0 * near or high - reached < 2.0 * near:
                    step = near if middle >= best else -near
        if golden:
            before = low - best if best >= middle else high - best
            step = _GOLDEN * before
        tried = best + (max(abs(step), near) if step >= 0.0 else -max(abs(step), near))
        found = gappy_squares(values, season, tried) if gaps else squares(values, season, tried)
        if found <= lowest:
            low, high = (best, high) if tried >= best else (low, best)
            third, at_third, second, at_second = second, at_second, best, lowest
            best, lowest = tried, found
            continue
        low, high = (tried, high) if tried < best else (low, tried)
        if found <= at_second or second == best:
            third, at_third, second, at_second = second, at_second, tried, found
        elif found <= at_third or third in (best, second):
            third, at_third = tried, found
    return best


@compiled
def ses_levels(demand: Array, observed: Mask, indptr: Ints, alpha: float, low: float, high: float) -> Array:
    """(N,) level of each series; `alpha` < 0 asks for the best one of each series in (low, high)."""
    out = np.zeros(len(indptr) - 1)
    for i in range(len(out)):
        rows = slice(indptr[i], indptr[i + 1])
        values, unit = seen_values(demand[rows], observed[rows])
        if len(values):
            own = alpha if alpha >= 0.0 else best_alpha(values, 1, False, low, high)
            out[i] = smooth(values, own) * unit
    return out


@compiled
def seasonal_levels(
    demand: Array, observed: Mask, indptr: Ints, season: int, alpha: float, low: float, high: float
) -> Array:
    """(N, season) level of each place of the next season; places never observed get the mean of what was."""
    out = np.zeros((len(indptr) - 1, season))
    for i in range(len(out)):
        rows = slice(indptr[i], indptr[i + 1])
        values, unit = seen_values(demand[rows], observed[rows])
        if not len(values):
            continue
        out[i] = values.mean() * unit
        n_rows = indptr[i + 1] - indptr[i]
        begin = indptr[i] + n_rows % season
        gaps = len(values) < n_rows
        whole = demand[begin : indptr[i + 1]] / unit if gaps or unit != 1.0 else demand[begin : indptr[i + 1]]
        if gaps:
            for j in range(len(whole)):
                if not observed[begin + j]:
                    whole[j] = np.nan
        if len(whole):
            own = alpha if alpha >= 0.0 else best_alpha(whole, season, gaps, low, high)
            _last_levels(whole, season, own, unit, out[i])
    return out


@compiled
def _last_levels(values: Array, season: int, alpha: float, unit: float, out: Array) -> None:
    """Level of each place after all values; `out` keeps its value where a place has only NaN."""
    for place in range(season):
        level = np.nan
        for i in range(place, len(values), season):
            if np.isnan(level):
                level = values[i]
            elif not np.isnan(values[i]):
                level = alpha * values[i] + (1.0 - alpha) * level
        if not np.isnan(level):
            out[place] = level * unit


@compiled
def window_means(demand: Array, observed: Mask, indptr: Ints, season: int, window: int) -> Array:
    """(N, season) mean of the latest `window` observed values at each place of the next season; see `seasonal_levels`.

    Places never observed get the mean of the other places, 0 where there is none.
    """
    out = np.zeros((len(indptr) - 1, season))
    for i in range(len(out)):
        known, total = 0, 0.0
        missing = np.zeros(season, dtype=np.bool_)
        for place in range(season):
            taken, mean = 0, 0.0
            at = indptr[i + 1] - season + place
            while at >= indptr[i] and taken < window:
                if observed[at]:
                    taken += 1
                    mean += (demand[at] - mean) / taken
                at -= season
            missing[place] = taken == 0
            out[i, place] = mean
            if taken:
                known += 1
                total += (mean - total) / known
        for place in range(season):
            if missing[place]:
                out[i, place] = total
    return out


@compiled
def croston_rates(demand: Array, observed: Mask, indptr: Ints, alpha: float) -> Array:
    """(N,) smoothed size over smoothed interval, both begun at their first value; 0 without demand."""
    out = np.zeros(len(indptr) - 1)
    for i in range(len(out)):
        size = interval = 0.0
        since = 0
        for at in range(indptr[i], indptr[i + 1]):
            if not observed[at]:
                continue
            since += 1
            if demand[at] > 0.0:
                first = interval == 0.0
                size = demand[at] if first else alpha * demand[at] + (1.0 - alpha) * size
                interval = since if first else alpha * since + (1.0 - alpha) * interval
                since = 0
        out[i] = size / interval if interval > 0.0 else 0.0
    return out


@compiled
def tsb_rates(demand: Array, observed: Mask, indptr: Ints, alpha_d: float, alpha_p: float) -> Array:
    """(N,) smoothed size times the smoothed chance of demand, which falls in every period without."""
    out = np.zeros(len(indptr) - 1)
    for i in range(len(out)):
        size, chance = 0.0, -1.0
        for at in range(indptr[i], indptr[i + 1]):
            if not observed[at]:
                continue
            sold = 1.0 if demand[at] > 0.0 else 0.0
            chance = sold if chance < 0.0 else alpha_p * sold + (1.0 - alpha_p) * chance
            if sold > 0.0:
                size = demand[at] if size == 0.0 else alpha_d * demand[at] + (1.0 - alpha_d) * size
        out[i] = size * max(chance, 0.0)
    return out


@compiled
def mean_interval(values: Array) -> float:
    """Periods up to the last demand over the number of periods with demand; 0 without demand."""
    last, n_sold = 0, 0
    for i in range(len(values)):
        if values[i] > 0.0:
            last = i + 1
            n_sold += 1
    return last / n_sold if n_sold else 0.0


@compiled
def block_rate(values: Array, width: int, low: float, high: float, sums: Array) -> float:
    """Demand per period from smoothing sums of `width` periods; the oldest periods that fill no block are left out."""
    n_blocks = len(values) // width
    spare = len(values) - n_blocks * width
    for b in range(n_blocks):
        begin = spare + b * width
        total = 0.0
        for i in range(begin, begin + width):
            total += values[i]
        sums[b] = total
    blocks = values if width == 1 else sums[:n_blocks]
    return smooth(blocks, best_alpha(blocks, 1, False, low, high)) / width


@compiled
def block_rates(demand: Array, observed: Mask, indptr: Ints, low: float, high: float, every: bool) -> Array:
    """(N,) rate from blocks as wide as the mean interval (ADIDA), or the mean over all widths up to it (IMAPA)."""
    out = np.zeros(len(indptr) - 1)
    longest = 0
    for i in range(len(out)):
        longest = max(longest, indptr[i + 1] - indptr[i])
    sums = np.empty(longest)
    for i in range(len(out)):
        rows = slice(indptr[i], indptr[i + 1])
        values, unit = seen_values(demand[rows], observed[rows])
        widest = int(np.round(mean_interval(values)))
        if widest < 1:
            continue
        total = 0.0
        for width in range(1 if every else widest, widest + 1):
            total += block_rate(values, width, low, high, sums)
        out[i] = total / (widest if every else 1) * unit
    return out
