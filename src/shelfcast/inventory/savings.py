"""What a rule is worth: service and money of one outcome, and the difference of two with an interval.

Two rules are compared on the same items and periods. Intervals come from resampling items and blocks of periods
together (both with replacement, the same draw for both rules), so they allow for items that share a week as well as for
weeks that share an item. Amounts are in the currency of the economics.
"""

from dataclasses import dataclass

import numpy as np

from shelfcast.inventory.economics import Array, Ints
from shelfcast.inventory.trials import Outcome

N_DRAWS = 1000


@dataclass(frozen=True)
class Difference:
    """Cost of one rule against another.

    Parameters
    ----------
    relative : (cost - other) / other over all; below 0 is a saving. NaN where the other costs nothing.
    low, high : 95 % interval of `relative`.
    saved : other - cost, money.
    improved, worsened : shares of items whose cost fell, or rose.
    worst_decile : mean relative change of the tenth of items that came off worst.
    """

    relative: float
    low: float
    high: float
    saved: float
    improved: float
    worsened: float
    worst_decile: float

    @property
    def is_saving(self) -> bool:
        """Whether the interval leaves no doubt."""
        return self.high < 0.0


def difference(
    cost: Array, other: Array, clusters: Ints | None = None, *, n: int = N_DRAWS, seed: int = 0
) -> Difference:
    """Of costs (B, K) by item and block of periods.

    Parameters
    ----------
    clusters : (B,) items that are resampled together (one product in many places); each by itself without it.
    """
    a, b = (_summed(x, clusters) for x in (cost, other))
    total = float(b.sum())
    item_a, item_b = a.sum(axis=1), b.sum(axis=1)
    moved = np.divide(item_a - item_b, item_b, out=np.zeros_like(item_b), where=item_b > 0)
    worst = np.sort(moved)[-max(len(moved) // 10, 1) :] if len(moved) else np.zeros(1)
    relative = (float(a.sum()) - total) / total if total > 0 else float("nan")
    low, high = _interval(a, b, n, seed)
    n_items = max(len(item_a), 1)
    improved, worsened = int((item_a < item_b - 1e-9).sum()), int((item_a > item_b + 1e-9).sum())
    saved = total - float(a.sum())
    return Difference(relative, low, high, saved, improved / n_items, worsened / n_items, float(worst.mean()))


def _summed(values: Array, clusters: Ints | None) -> Array:
    """(C, K) sums over the items of a cluster."""
    if clusters is None:
        return values
    out = np.zeros((int(clusters.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(out, clusters, values)
    return out


def _interval(a: Array, b: Array, n: int, seed: int) -> tuple[float, float]:
    """95 % of the relative difference over `n` draws of items and blocks."""
    rng = np.random.default_rng(seed)
    n_items, n_blocks = a.shape
    if not n_items or not b.sum() > 0:
        return float("nan"), float("nan")
    found = np.empty(n)
    for i in range(n):
        items = np.bincount(rng.integers(0, n_items, n_items), minlength=n_items)
        blocks = np.bincount(rng.integers(0, n_blocks, n_blocks), minlength=n_blocks)
        one, two = items @ a @ blocks, items @ b @ blocks
        found[i] = (one - two) / two if two > 0 else np.nan
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def measures(outcome: Outcome, periods_a_year: float) -> dict[str, float]:
    """Money and service over all items and counted periods.

    Returns
    -------
    cost, holding, stockout, cash, waste (units), fill_rate (units sold at once over units wanted), in_stock_rate
    (periods without a lost unit), mean_stock (units at the end of a period, all items together), turns (sales a year
    over mean stock), order_variability (standard deviation of an item's order per period over its mean, weighted by
    what is ordered), orders.
    """
    total = outcome.total
    sales, short, periods = total("sales"), total("short"), total("periods")
    per_item = np.maximum(outcome.periods.sum(axis=1), 1.0)
    mean = outcome.ordered.sum(axis=1) / per_item
    variance = np.maximum(outcome.ordered_squares.sum(axis=1) / per_item - mean**2, 0.0)
    stock, n_items = total("end_stock"), len(per_item)
    return {
        "cost": total("cost"),
        "holding": total("holding"),
        "stockout": total("stockout"),
        "cash": total("cash"),
        "waste": total("waste"),
        "fill_rate": share(sales, sales + short),
        "in_stock_rate": 1.0 - share(total("short_periods"), periods),
        "mean_stock": share(stock, periods) * n_items,
        "turns": share(sales * periods_a_year, stock),
        "order_variability": share(float(np.sqrt(variance).sum()), float(mean.sum())),
        "orders": total("orders"),
    }


def share(part: float, whole: float) -> float:
    """`part / whole`; NaN where there is no whole."""
    return part / whole if whole > 0 else float("nan")


def regret_captured(cost: float, base: float, oracle: float) -> float:
    """Share of what perfect knowledge would save that a rule saves: `(base - cost) / (base - oracle)`."""
    return share(base - cost, base - oracle)


def stock_at_fill(fill: Array, stock: Array, wanted: float) -> float:
    """Mean stock that a rule needs for a fill rate, between the points (P,) of its frontier; NaN beyond them."""
    order = np.argsort(fill)
    if not len(fill) or not fill[order[0]] <= wanted <= fill[order[-1]]:
        return float("nan")
    return float(np.interp(wanted, fill[order], stock[order]))
