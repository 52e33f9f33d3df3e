"""Windows of many series at once, by index arithmetic on the panel's flat arrays, and their trailing statistics.

A window is rectangular: B series by T periods, each series from its own first period. Cells without a row are not
observed. Everything here is trailing: entry `t` of a statistic reads entries up to `t` alone, so nothing after an
origin can reach a forecast made there, and no copy of the panel is needed to hide it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.networks.rhythms import Rhythm

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """Cells of B series over T periods.

    Parameters
    ----------
    demand : (B, T) units, 0 where not observed.
    seen : (B, T) 1.0 where observed, else 0.0.
    age : (B, T) periods since the series' first row, that one being 1; 0 before it.
    rows, inside : (B, T) row of the panel, and whether there is one.
    """

    demand: Array
    seen: Array
    age: Array
    rows: Ints
    inside: NDArray[np.bool_]


def gather(panel: Panel, series: Ints, first: Ints, n_periods: int) -> Window:
    """The cells of the given series (B,) over `n_periods` from `first` (B,)."""
    offset = (first - panel.start[series])[:, None] + np.arange(n_periods)
    lengths = (panel.indptr[series + 1] - panel.indptr[series])[:, None]
    inside = (offset >= 0) & (offset < lengths)
    rows = np.where(inside, panel.indptr[series][:, None] + offset, 0)
    age = np.where(lengths > 0, np.maximum(offset + 1, 0), 0).astype(np.float64)
    if not len(panel.demand):
        return Window(np.zeros(rows.shape), np.zeros(rows.shape), age, rows, inside)
    seen = panel.observed[rows] & inside
    demand = np.where(seen, panel.demand[rows], np.float32(0)).astype(np.float64)
    return Window(np.maximum(demand, 0.0), seen.astype(np.float64), age, rows, inside)


def columns_at(values: Floats, window: Window) -> Floats:
    """(B, T, F) columns of the panel at a window's cells; NaN where there is no row."""
    if not len(values) or not values.shape[1]:
        return np.full((*window.rows.shape, values.shape[1]), np.nan, dtype=np.float32)
    return np.where(window.inside[..., None], values[window.rows], np.float32(np.nan))


def trailing_sum(values: Array, n_periods: int) -> Array:
    """(B, T) sum of the latest `n_periods` entries, fewer at the beginning."""
    total = np.cumsum(values, axis=1)
    made = total.copy()
    made[:, n_periods:] -= total[:, :-n_periods] if n_periods < values.shape[1] else 0
    return made


def trailing_mean(values: Array, seen: Array, n_periods: int) -> tuple[Array, Array]:
    """(B, T) mean of the seen among the latest `n_periods` (0 where none), and how many there were."""
    count = trailing_sum(seen, n_periods)
    total = np.maximum(trailing_sum(values * seen, n_periods), 0.0)
    return np.where(count > 0.5, total / np.maximum(count, 1.0), 0.0), count


def seasonal_mean(values: Array, seen: Array, season: int, n_seasons: int) -> tuple[Array, Array]:
    """(B, T) mean of the seen among entries `t, t - season, ..` (`n_seasons` of them), and how many there were."""
    b, t = values.shape
    pad = -t % season
    folded = [np.pad(x, ((0, 0), (0, pad))).reshape(b, -1, season) for x in (values * seen, seen)]
    sums = []
    for x in folded:
        total = np.cumsum(x, axis=1)
        made = total.copy()
        made[:, n_seasons:] -= total[:, :-n_seasons] if n_seasons < total.shape[1] else 0
        sums.append(made.reshape(b, -1)[:, :t])
    total, count = sums
    return np.where(count > 0.5, total / np.maximum(count, 1.0), 0.0), count


@dataclass(frozen=True)
class Level:
    """Trailing level of every cell.

    Parameters
    ----------
    scale : (B, T) units a period, > 0: mean of the latest periods, half of it over those without a promotion, plus an
        offset; what is known of longer windows, and at last `launch`, stands in where few were observed.
    silent : (B, T) nothing sold in the longest window, of which at least a fourth was observed.
    state : (B, T, Fs) float32 state features: sizes of windows against each other, zeros, spread, age. Size and age
        count up to a limit: beyond it they tell no more than the date, which a network would learn by heart.
    """

    scale: Array
    state: Floats
    silent: NDArray[np.bool_]


N_STATE = 12
_MANY = 100.0  # units a period from which on a law's relative width no longer depends on their number


def level_of(window: Window, promoted: NDArray[np.bool_] | None, rhythm: Rhythm, launch: float, offset: float) -> Level:
    """Scale and state features of a window's cells; `promoted` (B, T) where there are promotions."""
    y, seen = window.demand, window.seen
    means, counts = zip(*(trailing_mean(y, seen, n) for n in rhythm.means), strict=True)
    mean = np.full(y.shape, launch)
    for value, count, n in reversed(list(zip(means, counts, rhythm.means, strict=True))[1:]):
        trust = np.minimum(count / min(7, n), 1.0)
        mean = np.where(count > 0.5, trust * value + (1 - trust) * mean, mean)
    base = mean
    if promoted is not None:
        calm = seen * ~promoted
        quiet, count = trailing_mean(y, calm, rhythm.scale)
        trust = np.minimum(count / 4, 1.0)
        base = trust * quiet + (1 - trust) * mean
    scale = 0.5 * (mean + base) + offset
    zeros = (y <= 0) * seen
    squares = trailing_sum(y * y, rhythm.means[2])
    spread = np.sqrt(np.maximum(squares / np.maximum(counts[2], 1) - means[2] ** 2, 0.0))
    share = [trailing_sum(zeros, n) / np.maximum(c, 1) for n, c in zip(rhythm.means[1:3], counts[1:3], strict=True)]
    n_long = rhythm.means[3]
    features = [
        np.log(scale / (1 + scale / _MANY)) / 3,
        *(np.log((a + offset) / (b + offset)) * ((m > 0.5) & (k > 0.5)) for a, b, m, k in
          zip(means[:-1], means[1:], counts[:-1], counts[1:], strict=True)),
        2 * share[0] - 1,
        2 * share[1] - 1,
        np.log((spread + offset) / (means[2] + offset)),
        np.log1p(np.minimum(window.age, n_long) / rhythm.scale) - 1.5,
        counts[1] / rhythm.scale - 0.5,
        counts[3] < 0.5,
        np.log(scale / (base + offset)),
        counts[3] / n_long - 0.5,
    ]  # fmt: skip
    state = np.stack([np.broadcast_to(f, y.shape) for f in features], axis=-1)
    silent = (means[3] <= 0) & (counts[3] >= min(rhythm.means[2], n_long / 4))
    return Level(scale, np.clip(state, -8, 8).astype(np.float32), silent)
