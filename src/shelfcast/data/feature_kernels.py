"""Compiled sums over flat series, from which features of any (series, origin, horizon) are read in constant time.

Running sums begin anew at each series, with a leading zero; entry `indptr[i] + i + k` of series i sums k rows.
So a series' features never depend, not even by a rounding error, on what lies beside it. `now` is the number of rows of
a series up to the origin; nothing at or after row `now` is read but known columns. Zeros before the first sale count
for nothing: the product was not on sale.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.compiled import compiled

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

UNITS, SEEN, SOLD, SQUARE, QUIET, QUIET_SEEN, PRICE, PRICED = range(8)  # columns of the running sums
N_SUMS = 8
N_STATE, N_AHEAD, N_PRICE = 20, 8, 3
_PRIOR = 2.0  # periods that the level of similar products counts as, at launch


@compiled
def running(
    demand: Any, observed: Any, promoted: Any, price: Any, indptr: Ints, season: int
) -> tuple[Array, Array, Any, Ints]:
    """Running sums (R + N, 8), sums by place in the season (R, 2), row of the last sale (R,), of the first (N,).

    The first sale of a series never sold is its length.
    """
    n = len(indptr) - 1
    sums = np.zeros((len(demand) + n, N_SUMS))
    phase = np.zeros((len(demand), 2))
    last_sale = np.full(len(demand), -1, dtype=np.int32)
    first_sale = np.zeros(n, dtype=np.int64)
    for i in range(n):
        base, length, latest = indptr[i], indptr[i + 1] - indptr[i], -1
        first_sale[i] = length
        for k in range(length):
            r, at = base + k, base + i + k
            y, seen = float(demand[r]), 1.0 if observed[r] else 0.0
            if not observed[r]:
                y = 0.0
            if y > 0.0:
                latest = k
                if first_sale[i] == length:
                    first_sale[i] = k
            last_sale[r] = latest
            is_quiet = 0.0 if promoted[r] else 1.0
            for c in range(N_SUMS):
                sums[at + 1, c] = sums[at, c]
            sums[at + 1, UNITS] += y
            sums[at + 1, SEEN] += seen
            sums[at + 1, SOLD] += 1.0 if y > 0.0 else 0.0
            sums[at + 1, SQUARE] += y * y
            sums[at + 1, QUIET] += y * is_quiet
            sums[at + 1, QUIET_SEEN] += seen * is_quiet
            if price[r] > 0.0:
                sums[at + 1, PRICE] += math.log(price[r])
                sums[at + 1, PRICED] += 1.0
            phase[r, 0], phase[r, 1] = y, seen
            if k >= season:
                phase[r, 0] += phase[r - season, 0]
                phase[r, 1] += phase[r - season, 1]
    return sums, phase, last_sale, first_sale


@compiled
def _over(sums: Array, base: int, low: int, high: int, least: int, most: int, column: int) -> float:
    """Sum of a column over rows `low .. high - 1`, kept within `least .. most - 1`."""
    low, high = max(low, least), min(high, most)
    return sums[base + high, column] - sums[base + low, column] if high > low else 0.0


@compiled
def _mean(sums: Array, base: int, low: int, high: int, least: int, most: int, top: int, below: int) -> float:
    """Sum of one column over that of another; NaN where there is nothing."""
    n = _over(sums, base, low, high, least, most, below)
    return _over(sums, base, low, high, least, most, top) / n if n > 0 else math.nan


_FLOOR = (0.0, 0.0, 0.3, 0.15)


@compiled
def scales(
    series: Ints, origin: Ints, start: Any, indptr: Ints, sums: Array, first_sale: Ints, windows: Ints, fallback: Array,
    offset: float, out: Array,
) -> None:  # fmt: skip
    """Level of demand at each (series, origin): mean of the second window, half of it without promoted periods.

    With fewer observations than the window the level of similar products, `fallback` (J,), counts as up to `_PRIOR`
    observations; with next to none the longer windows are tried first.
    """
    for j in range(len(series)):
        i = series[j]
        length = indptr[i + 1] - indptr[i]
        now, base = origin[j] - start[i] + 1, indptr[i] + i
        first = first_sale[i] if first_sale[i] < now else 0
        known = min(now, length)
        units = seen = quiet = quiet_seen = 0.0
        for w in range(1, len(windows)):
            low = now - windows[w]
            seen = _over(sums, base, low, now, first, known, SEEN)
            units = _over(sums, base, low, now, first, known, UNITS)
            quiet = _over(sums, base, low, now, first, known, QUIET)
            quiet_seen = _over(sums, base, low, now, first, known, QUIET_SEEN)
            if 4.0 * seen >= windows[1]:
                break
        prior = _PRIOR * max(1.0 - seen / windows[1], 0.0)
        level = fallback[j] if seen == 0 else (units + prior * fallback[j]) / (seen + prior)
        if quiet_seen >= 0.25 * seen and quiet_seen > 0:
            level = 0.5 * (level + (quiet + prior * fallback[j]) / (quiet_seen + prior))
        for w in range(2, len(windows)):
            usual = _mean(sums, base, now - windows[w], now, first, known, UNITS, SEEN)
            if usual > 0:
                level = max(level, _FLOOR[w] * usual)
        out[j] = level + offset


@compiled
def state_rows(
    series: Ints, origin: Ints, scale: Array, start: Any, indptr: Ints, demand: Any, observed: Any, sums: Array,
    last_sale: Any, first_sale: Ints, windows: Ints, out: Any,
) -> None:  # fmt: skip
    """Fill `out` (J, N_STATE) with what a series did up to each origin; see `features.STATE` for the columns."""
    nan = np.float32(np.nan)
    for j in range(len(series)):
        i, s = series[j], scale[j]
        length = indptr[i + 1] - indptr[i]
        now, base, rows = origin[j] - start[i] + 1, indptr[i] + i, indptr[i]
        first = first_sale[i] if first_sale[i] < now else 0
        known = min(now, length)
        for c in range(N_STATE):
            out[j, c] = nan
        out[j, 0] = math.log(s)
        out[j, 1] = max(now - first, 0) if length > 0 else 0
        if known <= first:
            continue
        for w in range(len(windows)):
            out[j, 2 + w] = _mean(sums, base, now - windows[w], now, first, known, UNITS, SEEN) / s
        found, at = 0, known - 1
        while at >= first and found < 2 and at > known - 1 - windows[1]:
            if observed[rows + at]:
                out[j, 6 + found] = demand[rows + at] / s
                found += 1
            at -= 1
        before = _mean(sums, base, now - 2 * windows[1], now - windows[1], first, known, UNITS, SEEN)
        out[j, 8] = (out[j, 3] * s + 0.1 * s) / (before + 0.1 * s)
        out[j, 9] = 1.0 - _mean(sums, base, now - windows[1], now, first, known, SOLD, SEEN)
        out[j, 10] = 1.0 - _mean(sums, base, now - windows[2], now, first, known, SOLD, SEEN)
        seen = _over(sums, base, now - windows[3], now, first, known, SEEN)
        sold = _over(sums, base, now - windows[3], now, first, known, SOLD)
        if sold > 0:
            out[j, 11] = seen / sold
        n = _over(sums, base, now - windows[2], now, first, known, SEEN)
        units = _over(sums, base, now - windows[2], now, first, known, UNITS)
        if n > 0 and units > 0:
            mean = units / n
            variance = _over(sums, base, now - windows[2], now, first, known, SQUARE) / n - mean * mean
            out[j, 12] = math.sqrt(max(variance, 0.0)) / mean
            out[j, 13] = units / _over(sums, base, now - windows[2], now, first, known, SOLD) / s
        if last_sale[rows + known - 1] >= 0:
            out[j, 14] = now - 1 - last_sale[rows + known - 1]
        out[j, 15] = _over(sums, base, now - windows[1], now, first, known, SEEN) / min(windows[1], now - first)
        peak = -1.0
        for at in range(max(now - windows[1], first), known):
            if observed[rows + at] and demand[rows + at] > peak:
                peak = demand[rows + at]
        if peak >= 0:
            out[j, 16] = peak / s
        quiet = _mean(sums, base, now - windows[3], now, first, known, QUIET, QUIET_SEEN)
        quiet_seen = _over(sums, base, now - windows[3], now, first, known, QUIET_SEEN)
        if seen > quiet_seen and quiet_seen > 0:
            lifted = seen and (
                _over(sums, base, now - windows[3], now, first, known, UNITS)
                - _over(sums, base, now - windows[3], now, first, known, QUIET)
            ) / (seen - quiet_seen)
            out[j, 17] = quiet / s
            out[j, 18] = (lifted + 0.1 * s) / (quiet + 0.1 * s)
            n = _over(sums, base, now - windows[0], now, first, known, SEEN)
            if n > 0:
                out[j, 19] = 1.0 - _over(sums, base, now - windows[0], now, first, known, QUIET_SEEN) / n


@compiled
def _same_place(phase: Array, rows: int, least: int, newest: int, season: int, n: int) -> tuple[float, float]:
    """Units and observations at row `newest` and at the `n - 1` rows a season apart before it, none before `least`."""
    if newest < least:
        return 0.0, 0.0
    oldest = newest - n * season
    units, seen = phase[rows + newest, 0], phase[rows + newest, 1]
    stop = newest - ((newest - least) // season + 1) * season  # the last place before `least`
    oldest = max(oldest, stop)
    if oldest >= 0:
        units, seen = units - phase[rows + oldest, 0], seen - phase[rows + oldest, 1]
    return units, seen


@compiled
def ahead_rows(
    series: Ints, origin: Ints, lead: Ints, span: Ints, scale: Array, start: Any, indptr: Ints, sums: Array,
    phase: Array, first_sale: Ints, windows: Ints, season: int, year: int, n_factor: int, variance: float,
    out: Any, weight: Array,
) -> None:  # fmt: skip
    """Fill `out` (J, N_AHEAD) with what history says of the target periods, and `weight` (J,) with their season factor.

    The factor of a place in the season is its mean over the mean of all, of the last `n_factor` seasons, shrunk to 1 by
    the noise of that mean: `n / (n + c / variance)` for n observations of squared coefficient of variation c.
    """
    nan = np.float32(np.nan)
    for j in range(len(series)):
        i, s = series[j], scale[j]
        length, rows, base = indptr[i + 1] - indptr[i], indptr[i], indptr[i] + i
        now = origin[j] - start[i] + 1
        first = first_sale[i] if first_sale[i] < now else 0
        known = min(now, length)
        for c in range(N_AHEAD):
            out[j, c] = nan
        out[j, 0], out[j, 1] = lead[j], span[j]
        target = now + lead[j]  # row of the first period
        out[j, 7] = (max(now - first, 0) if length > 0 else 0) + lead[j]
        weight[j] = 1.0
        if known <= first:
            continue
        reach = min(span[j], season)
        low = now - n_factor * season
        n_all = _over(sums, base, low, now, first, known, SEEN)
        mean = _over(sums, base, low, now, first, known, UNITS) / n_all if n_all > 0 else 0.0
        noise = 0.0
        if mean > 0:
            noise = max(_over(sums, base, low, now, first, known, SQUARE) / n_all / (mean * mean) - 1.0, 0.0) / variance
        factor = few = few_seen = many = many_seen = 0.0
        for p in range(reach):
            back = ((target + p - known) // season + 1) * season if target + p >= known else 0
            newest = target + p - back
            units, seen = _same_place(phase, rows, first, newest, season, n_factor)
            raw = 1.0
            if mean > 0 and seen > 0:
                raw = 1.0 + seen / (seen + noise) * (units / seen / mean - 1.0)
            factor += max(raw, 0.05) / reach
            units, seen = _same_place(phase, rows, first, newest, season, 4)
            few, few_seen = few + units, few_seen + seen
            units, seen = _same_place(phase, rows, first, newest, season, 13)
            many, many_seen = many + units, many_seen + seen
        whole = (span[j] // season) * season
        weight[j] = factor if span[j] < season else (whole + factor * (span[j] - whole)) / span[j]
        if few_seen > 0:
            out[j, 2] = few / few_seen / s
        if many_seen > 0:
            out[j, 3] = many / many_seen / s
        ago = target - year
        if ago + span[j] <= known and ago >= first:
            out[j, 4] = _mean(sums, base, ago, ago + span[j], first, known, UNITS, SEEN) / s
        side = windows[0] // 2
        if ago - side >= first and ago + span[j] + side <= known:
            near = _mean(sums, base, ago - side, ago + span[j] + side, first, known, UNITS, SEEN)
            out[j, 5] = near / s
            then = _mean(sums, base, now - year - windows[1], now - year, first, known, UNITS, SEEN)
            out[j, 6] = (near + 0.1 * s) / (then + 0.1 * s)


@compiled
def price_rows(
    series: Ints, origin: Ints, lead: Ints, span: Ints, start: Any, indptr: Ints, price: Any, sums: Array,
    windows: Ints, out: Any, log_price: Array,
) -> None:  # fmt: skip
    """Fill `log_price` (J,) and `out` (J, 3): log price over the origin's, over that of the last half year, cut.

    The cut is the share below the highest price of the third window, up to the target's first period.
    """
    for j in range(len(series)):
        i = series[j]
        length, rows, base = indptr[i + 1] - indptr[i], indptr[i], indptr[i] + i
        now = origin[j] - start[i] + 1
        begin, end = max(now + lead[j], 0), min(now + lead[j] + span[j], length)
        total, n = 0.0, 0
        for at in range(begin, end):
            if price[rows + at] > 0.0:
                total += math.log(price[rows + at])
                n += 1
        if n == 0:
            continue
        ahead = log_price[j] = total / n
        if 0 < now <= length and price[rows + now - 1] > 0.0:
            out[j, 0] = ahead - math.log(price[rows + now - 1])
        usual = _mean(sums, base, now - 2 * windows[2], now, 0, min(now, length), PRICE, PRICED)
        out[j, 1] = ahead - usual
        top = math.exp(ahead)
        for at in range(max(now - windows[2], 0), begin):
            if at < length and price[rows + at] > top:
                top = price[rows + at]
        out[j, 2] = max(1.0 - math.exp(ahead) / top, 0.0)


@compiled
def targets(
    series: Ints, origin: Ints, lead: Ints, span: Ints, start: Any, indptr: Ints, sums: Array, last: int, out: Array
) -> None:
    """Fill `out` (J,) with the units of each target, NaN where a period was not observed or lies after `last`."""
    for j in range(len(series)):
        i = series[j]
        base, length = indptr[i] + i, indptr[i + 1] - indptr[i]
        low = origin[j] + lead[j] + 1 - start[i]
        out[j] = math.nan
        inside = low >= 0 and low + span[j] <= length and origin[j] + lead[j] + span[j] <= last
        if inside and sums[base + low + span[j], SEEN] - sums[base + low, SEEN] == span[j]:
            out[j] = sums[base + low + span[j], UNITS] - sums[base + low, UNITS]


@compiled
def worth(demand: Any, observed: Any, price: Any, start: Any, indptr: Ints, first: int, last: int, out: Array) -> None:
    """Fill `out` (N,) with what each series sold over periods `first .. last`, in money where prices are known."""
    for i in range(len(out)):
        low, high = max(first - start[i], 0), min(last + 1 - start[i], indptr[i + 1] - indptr[i])
        units = log_price = 0.0
        n = 0
        for r in range(indptr[i] + low, indptr[i] + high):
            if observed[r]:
                units += demand[r]
            if price[r] > 0.0:
                log_price += math.log(price[r])
                n += 1
        out[i] = units * (math.exp(log_price / n) if n > 0 else 1.0)


@compiled
def column_means(series: Ints, first: Ints, last: Ints, start: Any, indptr: Ints, values: Any, out: Any) -> None:
    """Fill `out` (J, F) with the means of columns (R, F) over periods `first .. last` of each series, NaN left out."""
    for j in range(len(series)):
        i = series[j]
        low = max(first[j] - start[i], 0)
        high = min(last[j] - start[i] + 1, indptr[i + 1] - indptr[i])
        for f in range(values.shape[1]):
            total, n = 0.0, 0
            for r in range(indptr[i] + low, indptr[i] + high):
                if not math.isnan(values[r, f]):
                    total += values[r, f]
                    n += 1
            if n > 0:
                out[j, f] = total / n
