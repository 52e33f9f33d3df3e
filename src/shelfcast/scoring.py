"""Scores of quantile forecasts: each formula once, elementwise on plain arrays.

Convention: losses are lower-is-better, in units unless scaled; the pinball loss has no factor 2, and where a factor 2
belongs (weighted quantile loss, CRPS) the function's name says which score it is. `demand` is only what was observed:
callers leave out the rest through `where` or by zero weights. Which cells are scored, and in what groups, is decided in
`evaluation`.

Sources: Gneiting and Raftery (2007) for the pinball loss and CRPS; the M5 Competitors' Guide (2020) for the scaled
scores and their weights; `one_step_scale` holds the denominator of both.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_] | bool


def pinball(demand: Any, quantile: Any, level: Any) -> Any:
    """Pinball loss `(y - q)(a - 1{y < q})` in units; no factor 2. The level's quantile of y minimises its mean.

    Parameters
    ----------
    demand, quantile : units, of shapes that broadcast. Only operators are used, so tensors may come as well as arrays.
    level : in (0, 1).

    Examples
    --------
    Demand 10 against a 0.9-quantile of 12 and of 8: 0.1 x 2 and 0.9 x 2.

    >>> [round(float(pinball(10.0, q, 0.9)), 3) for q in (12.0, 8.0)]
    [0.2, 1.8]
    """
    error = demand - quantile
    return level * error - (error < 0) * error


def weighted_quantile_loss(
    loss: ArrayLike, demand: ArrayLike, *, where: Mask = True, axis: int | tuple[int, ...] | None = None
) -> Array:
    """WQL: `2 sum(pinball) / sum(|y|)`, a share of demand. At level 0.5 it is sum(|y - q|) / sum(|y|).

    Parameters
    ----------
    loss : pinball losses, units; or sums of them.
    demand : units, same shape; or sums of |y|, with `axis=()` to keep every entry.
    where : cells that count, bool.
    axis : axes summed; all by default.

    Returns
    -------
    The shape left by `axis`; NaN where there was no demand.
    """
    total = np.sum(np.asarray(loss, dtype=np.float64), axis=axis, where=where)
    size = np.sum(np.abs(np.asarray(demand, dtype=np.float64)), axis=axis, where=where)
    return ratio(2 * total, size)


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Array:
    """`numerator / denominator`, NaN where the denominator is zero or NaN."""
    below = np.asarray(denominator, dtype=np.float64)
    defined = np.abs(below) > 0
    return np.where(defined, np.asarray(numerator, dtype=np.float64) / np.where(defined, below, 1.0), np.nan)


def scaled(loss: ArrayLike, scale: ArrayLike) -> Array:
    """Loss over the series' own scale (`one_step_scale`), so that series can be averaged; NaN without a scale.

    With the pinball loss and `power=1` it is M5's scaled pinball loss (SPL); with squared errors and `power=2` the
    square of its RMSSE.
    """
    return ratio(loss, scale)


def one_step_scale(
    demand: NDArray[Any], observed: NDArray[np.bool_], indptr: NDArray[Any], counts: NDArray[Any], *, power: int = 1
) -> Array:
    """Mean of `|y_t - y_{t-1}|^power` from the first sale to each origin, over pairs of observed periods.

    The M5 guide's denominator, power 1 for SPL and 2 for RMSSE. A period before the first positive demand counts for
    nothing: the item was not on sale yet. Unlike M5's, series may hold unobserved periods; a pair with one is left out.

    Parameters
    ----------
    demand, observed : (R,) units and bool; rows of series i are `indptr[i]:indptr[i + 1]`, one a period.
    indptr : (N + 1,).
    counts : (N, O) rows of each series up to each origin.
    power : 1 or 2.

    Returns
    -------
    (N, O) units^power; NaN where there was no pair, 0 where demand never changed.

    Examples
    --------
    Zeros before the first sale, then 2, 5, 1: (3 + 4) / 2.

    >>> one_step_scale(np.array([0, 0, 2, 5, 1.0]), np.ones(5, bool), np.array([0, 5]), np.array([[5]]))
    array([[3.5]])
    """
    first, last = np.asarray(indptr[:-1]), np.asarray(indptr[1:])
    steps, counted = np.zeros(len(demand) + 1), np.zeros(len(demand) + 1, dtype=np.int64)
    sold = np.concatenate(([0], np.cumsum(observed & (demand > 0))))
    on_sale = sold[:-1] > np.repeat(sold[first], last - first)
    pair = np.zeros(len(demand), dtype=bool)
    pair[1:] = observed[1:] & observed[:-1] & on_sale[1:]
    np.cumsum(np.where(pair, _step(demand) ** power, 0.0), out=steps[1:])
    np.cumsum(pair, out=counted[1:])
    end = first[:, None] + np.clip(counts, 0, (last - first)[:, None])
    return ratio(steps[end] - steps[first][:, None], counted[end] - counted[first][:, None])


def _step(demand: NDArray[Any]) -> Array:
    """(R,) `|y_t - y_{t-1}|`; the first is 0."""
    return np.abs(np.diff(demand, prepend=demand[:1]).astype(np.float64))


def crps(demand: ArrayLike, quantiles: ArrayLike, levels: ArrayLike) -> Array:
    """CRPS of quantiles on a grid: `2 x integral of the pinball loss over the levels (0, 1)`, in units.

    The quantile function is taken linear between the levels and flat beyond the outermost, as `laws.Grid` has it,
    and the integral over each piece is exact. On a piece [l, r] with value v_l + s (a - l), c = v_l - s l - y, and
    a* the level at which it crosses y (clipped to the piece):

        -c (r^2 - l^2) - 2/3 s (r^3 - l^3) + 2 c (r - a*) + s (r^2 - a*^2)

    (Park et al., arXiv 2111.06581, the form for splines.) No tail is guessed: demand beyond the outermost quantiles is
    charged as if the law ended there, so grids with few levels score a little worse than the laws they came from.

    Parameters
    ----------
    demand : (*b) units.
    quantiles : (*b, Q) units, non-decreasing along Q.
    levels : (Q,) increasing in (0, 1).

    Examples
    --------
    One level is a point forecast, and its CRPS the absolute error.

    >>> float(crps(3.0, [5.0], [0.5]))
    2.0
    """
    y, values = np.asarray(demand, dtype=np.float64), np.asarray(quantiles, dtype=np.float64)
    inner = [float(level) for level in np.asarray(levels)]
    edges, places = [0.0, *inner, 1.0], [0, *range(len(inner)), len(inner) - 1]
    total = np.zeros(np.broadcast_shapes(y.shape, values.shape[:-1]))
    for piece in range(len(edges) - 1):
        left, right = values[..., places[piece]], values[..., places[piece + 1]]
        total += _crps_piece(y, left, right, edges[piece], edges[piece + 1])
    return total


def _crps_piece(y: Array, left: Array, right: Array, low: float, high: float) -> Array:
    """Integral of 2 (1{y <= q(a)} - a)(q(a) - y) over a in [low, high], q linear from `left` to `right`."""
    rise = right - left
    slope = rise / (high - low)
    share = np.clip(y - left, 0.0, rise) / np.where(rise > 0, rise, 1.0)
    at = low + (high - low) * np.where(rise > 0, share, y > left)
    c = left - slope * low - y
    whole = -c * (high**2 - low**2) - 2 / 3 * slope * (high**3 - low**3)
    return np.asarray(whole + 2 * c * (high - at) + slope * (high**2 - at**2))


def coverage(
    demand: ArrayLike, quantile: ArrayLike, *, where: Mask = True, axis: int | tuple[int, ...] | None = None
) -> tuple[Array, Array]:
    """Shares P(y < q) and P(y <= q): a calibrated quantile of a count has its level between the two.

    For continuous demand both are the level. Parameters as in `weighted_quantile_loss`; NaN where no cell counts.
    """
    y, q = np.asarray(demand), np.asarray(quantile)
    keep = np.broadcast_to(np.asarray(where), np.broadcast_shapes(y.shape, q.shape))
    n = keep.sum(axis=axis)
    return ratio((keep & (y < q)).sum(axis=axis), n), ratio((keep & (y <= q)).sum(axis=axis), n)


def bias(demand: ArrayLike, point: ArrayLike, *, where: Mask = True) -> float:
    """`sum(f - y) / sum(|y|)`: above zero means too much was forecast."""
    y, f = np.asarray(demand, dtype=np.float64), np.asarray(point, dtype=np.float64)
    return float(ratio(np.sum(f - y, where=where), np.sum(np.abs(y), where=where)))


def wape(demand: ArrayLike, point: ArrayLike, *, where: Mask = True) -> float:
    """`sum(|f - y|) / sum(|y|)`."""
    y, f = np.asarray(demand, dtype=np.float64), np.asarray(point, dtype=np.float64)
    return float(ratio(np.sum(np.abs(f - y), where=where), np.sum(np.abs(y), where=where)))


def crosses(quantiles: ArrayLike) -> NDArray[np.bool_]:
    """(*b) whether quantiles (*b, Q) fall anywhere as the level rises."""
    return np.asarray((np.diff(np.asarray(quantiles), axis=-1) < 0).any(axis=-1))


def symmetric_change(earlier: ArrayLike, later: ArrayLike) -> Array:
    """Symmetric percentage change `200 |new - old| / (|new| + |old|)`, 0 .. 200; a pair of zeros is no change."""
    old, new = np.asarray(earlier, dtype=np.float64), np.asarray(later, dtype=np.float64)
    return np.nan_to_num(200 * ratio(np.abs(new - old), np.abs(new) + np.abs(old)))


def divergence(new: ArrayLike, old: ArrayLike, levels: ArrayLike) -> Array:
    """Pinball loss that the old quantiles would lose to the new ones, were the new law true: >= 0, 0 where equal.

    With F and Q the cdf and quantile function of the new law, linear between the levels and flat beyond them as
    `laws.Grid` has it, at level a

        E[pinball(Y, old_a) - pinball(Y, new_a)] = integral of (F(x) - a) over x from new_a to old_a
            = integral of (old_a - Q(v))+ over levels v above a, and of (Q(v) - old_a)+ over those below,

    exact on each piece of Q. If forecasts are calibrated, this is what a revision gains on average.

    Parameters
    ----------
    new, old : (*b, Q) units, non-decreasing along Q.
    levels : (Q,) increasing in (0, 1).

    Returns
    -------
    (*b, Q) units.

    Examples
    --------
    One level is a point: moving it by 4 units claims 0.5 x 4 units of pinball loss.

    >>> divergence([3.0], [7.0], [0.5]).tolist()
    [2.0]
    """
    law, q = np.asarray(new, dtype=np.float64), np.asarray(old, dtype=np.float64)
    inner = [float(level) for level in np.asarray(levels)]
    edges, places = [0.0, *inner, 1.0], [0, *range(len(inner)), len(inner) - 1]
    made = np.zeros(np.broadcast_shapes(law.shape, q.shape))
    for piece in range(len(edges) - 1):
        left, right = law[..., places[piece], None], law[..., places[piece + 1], None]
        width = edges[piece + 1] - edges[piece]
        made[..., :piece] += width * _mean_excess(q[..., :piece] - right, q[..., :piece] - left)
        made[..., piece:] += width * _mean_excess(left - q[..., piece:], right - q[..., piece:])
    return made


def _mean_excess(low: Array, high: Array) -> Array:
    """Mean of x+ over x from `low` to `high`."""
    gap = high - low
    above, below = np.maximum(high, 0.0), np.maximum(low, 0.0)
    return np.where(gap > 0, (above * above - below * below) / np.where(gap > 0, 2 * gap, 1.0), above)


class Interval(NamedTuple):
    """A relative difference of two losses and its bootstrap interval: -0.05 means the first is 5 % lower."""

    difference: float
    low: float
    high: float


def paired_bootstrap(
    loss_a: ArrayLike,
    loss_b: ArrayLike,
    weight: ArrayLike,
    groups: ArrayLike,
    n: int,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
) -> Interval:
    """Relative difference `(A - B) / B` of two weighted losses, with a percentile interval from resampled groups.

    Losses of one group (a series, with all its periods) stay together, and both models are drawn the same groups, so
    neither the correlation inside a series nor the common difficulty of a draw widens or narrows the interval falsely.

    Parameters
    ----------
    loss_a, loss_b : (C,) losses of the same cells.
    weight : (C,) or scalar; multiplies both losses, 0 leaves a cell out. With 1 and pinball losses, the relative
        difference is that of the WQL, whose denominators cancel.
    groups : (C,) whole numbers >= 0: the group of each cell.
    n : number of draws.
    confidence : share of draws inside the interval.

    Returns
    -------
    Interval: 0, 0, 0 for equal losses; infinite where only B has no loss; NaN bounds for a single group, of which
    resampling says nothing.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    scale = np.broadcast_to(np.asarray(weight, dtype=np.float64), group.shape)
    a = np.bincount(group, scale * np.asarray(loss_a, dtype=np.float64))
    b = np.bincount(group, scale * np.asarray(loss_b, dtype=np.float64))
    difference = float(_relative(a.sum(), b.sum()))
    if len(a) < 2 and difference != 0:
        return Interval(difference, float("nan"), float("nan"))
    draws = np.empty(n)
    block = max(1, 4_000_000 // max(len(a), 1))
    for begin in range(0, n, block):
        picked = rng.integers(0, len(a), (min(block, n - begin), len(a)))
        draws[begin : begin + block] = _relative(a[picked].sum(axis=1), b[picked].sum(axis=1))
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2], method="closest_observation")
    return Interval(difference, float(low), float(high))


def _relative(a: ArrayLike, b: ArrayLike) -> Array:
    """(a - b) / b; 0 where equal, infinite where only b is 0."""
    gap, base = np.subtract(a, b), np.asarray(b, dtype=np.float64)
    return np.where(gap == 0, 0.0, np.where(base > 0, gap / np.where(base > 0, base, 1.0), np.copysign(np.inf, gap)))
