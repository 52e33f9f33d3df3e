"""Compiled sums of groups of series over coarse steps of time, and features read from them.

A step is a few periods (a week of days); sums are cumulated over steps with a leading zero, so that a mean over any
steps is one difference. Steps are aligned to period 0, never to a panel, and only whole steps up to an origin are read.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.compiled import compiled

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

UNITS, SEEN, LAUNCH_UNITS, LAUNCH_SEEN, LAUNCHES, PRICE, PRICED = range(7)
N_GROUP_SUMS = 7
N_GROUP_STATE, N_GROUP_AHEAD = 3, 2


@compiled
def group_sums(
    code: Ints, start: Any, indptr: Ints, demand: Any, observed: Any, price: Any, last: int, step: int,
    first_step: int, n_launch: int, launched: Any, out: Array,
) -> None:  # fmt: skip
    """Fill `out` (G, K + 1, 7) with cumulated sums of the groups `code` (N,) of series.

    The first `n_launch` periods of a launched series count in the step in which they end, once and for all.
    """
    n_steps = out.shape[1] - 1
    for i in range(len(code)):
        g = code[i]
        if g < 0:
            continue
        units = seen = 0.0
        for k in range(indptr[i + 1] - indptr[i]):
            period, r = start[i] + k, indptr[i] + k
            at = period // step - first_step + 1
            if period > last or at < 1 or at > n_steps:
                continue
            if observed[r]:
                out[g, at, UNITS] += demand[r]
                out[g, at, SEEN] += 1.0
                if k < n_launch:
                    units, seen = units + demand[r], seen + 1.0
            if price[r] > 0.0:
                out[g, at, PRICE] += math.log(price[r])
                out[g, at, PRICED] += 1.0
            if k == n_launch - 1 and launched[i] and seen > 0:
                out[g, at, LAUNCH_UNITS] += units
                out[g, at, LAUNCH_SEEN] += seen
                out[g, at, LAUNCHES] += 1.0
    for g in range(out.shape[0]):
        for at in range(1, n_steps + 1):
            for c in range(out.shape[2]):
                out[g, at, c] += out[g, at - 1, c]


@compiled
def _mean(sums: Array, g: int, low: int, high: int, top: int, below: int) -> float:
    """Sum of one column over that of another, steps `low .. high - 1`; NaN where there is nothing."""
    low, high = min(max(low, 0), sums.shape[1] - 1), min(max(high, 0), sums.shape[1] - 1)
    if high <= low:
        return math.nan
    n = sums[g, high, below] - sums[g, low, below]
    return (sums[g, high, top] - sums[g, low, top]) / n if n > 0 else math.nan


@compiled
def group_levels(code: Ints, steps: Ints, sums: Array, n_level: int, least: int, level: Array, launch: Array) -> None:
    """Mean demand of each row's group over the last `n_level` steps up to step `steps` (J,), and of its launches.

    With fewer than `least` launches there is no launch level: NaN.
    """
    for j in range(len(code)):
        level[j] = launch[j] = math.nan
        if code[j] >= 0:
            now = min(steps[j], sums.shape[1] - 1)
            level[j] = _mean(sums, code[j], now - n_level, now, UNITS, SEEN)
            if now > 0 and sums[code[j], now, LAUNCHES] >= least:
                launch[j] = _mean(sums, code[j], 0, now, LAUNCH_UNITS, LAUNCH_SEEN)


@compiled
def group_state(code: Ints, steps: Ints, scale: Array, sums: Array, n_level: int, at: int, out: Any) -> None:
    """Fill columns `at ..` of `out` with level and launch level over the scale, and growth of the level."""
    for j in range(len(code)):
        g, s = code[j], scale[j]
        for c in range(N_GROUP_STATE):
            out[j, at + c] = np.float32(np.nan)
        if g < 0:
            continue
        now = min(steps[j], sums.shape[1] - 1)
        level = _mean(sums, g, now - n_level, now, UNITS, SEEN)
        out[j, at] = level / s
        out[j, at + 1] = _mean(sums, g, 0, now, LAUNCH_UNITS, LAUNCH_SEEN) / s
        before = _mean(sums, g, now - 2 * n_level, now - n_level, UNITS, SEEN)
        out[j, at + 2] = (level + 0.1 * s) / (before + 0.1 * s)


@compiled
def group_ahead(
    code: Ints, steps: Ints, year_now: Ints, year_first: Ints, year_last: Ints, scale: Array, log_price: Array,
    sums: Array, n_level: int, at: int, out: Any,
) -> None:  # fmt: skip
    """Fill columns `at ..` of `out` with growth from origin to target a year ago, and price against the group's.

    `year_now`, `year_first`, `year_last` (J,) are steps of the origin and of the target a year earlier.
    """
    for j in range(len(code)):
        g = code[j]
        for c in range(N_GROUP_AHEAD):
            out[j, at + c] = np.float32(np.nan)
        if g < 0:
            continue
        now = min(steps[j], sums.shape[1] - 1)
        if year_first[j] - 1 >= 0 and year_last[j] + 2 <= now:
            then = _mean(sums, g, year_first[j] - 1, year_last[j] + 2, UNITS, SEEN)
            before = _mean(sums, g, year_now[j] - n_level, year_now[j], UNITS, SEEN)
            out[j, at] = (then + 0.1 * scale[j]) / (before + 0.1 * scale[j])
        out[j, at + 1] = log_price[j] - _mean(sums, g, now - n_level, now, PRICE, PRICED)
