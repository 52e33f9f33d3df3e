"""Exact inventory arithmetic: one period (`step`), or many (`replay`, compiled).

The order of events in one period, here and nowhere else:

1. what was due is received;
2. on-hand stock, pipeline and forecast are observed;
3. the order is placed (only in review periods);
4. demand happens: sales = min(on hand, demand), and the rest is lost, or owed (backlog);
5. end stock and costs are counted.

An order placed in period `t` with lead time `L` is on hand at the start of period `t + L`. With `L = 0` it is there
before the demand of `t` itself. The next order that can change anything is placed `R` periods later (the review
period) and arrives `L` after that, so an order protects `L + R` periods, the current one included: `Horizon(0, L + R)`
seen from the last known period. Orders are whole packs: what is wanted is first raised to the minimum order, then
rounded up to packs; nothing wanted is nothing ordered. Demand does not depend on orders, so history can be replayed.

With backlog `on_hand` is net stock: negative is owed. Numpy everywhere; numba is imported when `replay` first runs.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shelfcast.errors import DataError
from shelfcast.inventory import blocks
from shelfcast.inventory.blocks import whole_packs
from shelfcast.inventory.economics import Array, Economics, Ints, Supply


class Unmet(Enum):
    """What becomes of demand that the shelf cannot meet."""

    LOST = "lost"
    BACKLOG = "backlog"


@dataclass(frozen=True)
class Stock:
    """Units of B items at the start of a period, before anything is received.

    Parameters
    ----------
    on_hand : (B,) units; negative is owed (backlog only).
    pipeline : (B, L) units on order; slot 0 arrives this period, slot j in j periods.
    """

    on_hand: Array
    pipeline: Array

    @classmethod
    def of(cls, on_hand: ArrayLike, n_slots: int) -> "Stock":
        """Stock (B,) with an empty pipeline of `n_slots`."""
        held = np.atleast_1d(np.asarray(on_hand, dtype=np.float64))
        return cls(held, np.zeros((len(held), n_slots)))

    @property
    def on_order(self) -> Array:
        """(B,) units in the pipeline."""
        return np.asarray(self.pipeline.sum(axis=1))

    @property
    def position(self) -> Array:
        """(B,) units on hand and on order, less what is owed. Receiving does not change it."""
        return np.asarray(self.on_hand + self.on_order)

    def take(self, rows: Ints) -> "Stock":
        """The items at `rows`."""
        return Stock(self.on_hand[rows], self.pipeline[rows])


@dataclass(frozen=True)
class Rule:
    """Order `min(cap, (target - position)+)`: every parametric rule that `replay` runs.

    Parameters
    ----------
    target : order-up-to level in units: a number, (B,), or (B, T) for one level per period.
    cap : most units wanted at once, a number or (B,).
    """

    target: Array
    cap: Array

    @classmethod
    def base_stock(cls, target: ArrayLike) -> "Rule":
        """Order up to `target`."""
        return cls(np.asarray(target, dtype=np.float64), np.asarray(np.inf))

    @classmethod
    def capped(cls, target: ArrayLike, cap: ArrayLike) -> "Rule":
        """Order up to `target`, but never more than `cap` at once."""
        return cls(np.asarray(target, dtype=np.float64), np.asarray(cap, dtype=np.float64))

    @classmethod
    def constant(cls, quantity: ArrayLike) -> "Rule":
        """Order `quantity` at every review, whatever the stock."""
        return cls(np.asarray(np.inf), np.asarray(quantity, dtype=np.float64))


@dataclass(frozen=True)
class Ledger:
    """What happened to B items in one period, or summed over many; each column is (B,).

    Parameters
    ----------
    ordered, received, sales : units.
    short : units lost; with backlog, the units owed at the end of each period.
    end_stock : units left on the shelf (summed over periods: unit-periods).
    short_periods : periods in which something was short.
    revenue, purchase, holding, stockout : money, undiscounted; purchase is paid on receipt.
    cash : money, `price x sales - cost x received - storage x end stock`, discounted to the first period.
    """

    ordered: Array
    received: Array
    sales: Array
    short: Array
    end_stock: Array
    short_periods: Array
    revenue: Array
    purchase: Array
    holding: Array
    stockout: Array
    cash: Array

    @property
    def mismatch(self) -> Array:
        """(B,) money: holding plus stock-out cost."""
        return np.asarray(self.holding + self.stockout)

    @property
    def fill_rate(self) -> Array:
        """(B,) share of demand sold at once with lost sales; 1 where there was none."""
        wanted = self.sales + self.short
        return np.divide(self.sales, wanted, out=np.ones_like(wanted), where=wanted > 0)

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def where(self, counted: NDArray[np.bool_]) -> "Ledger":
        """The same with zeros for items that are not `counted` (B,)."""
        return Ledger(**{f.name: np.where(counted, getattr(self, f.name), 0.0) for f in fields(self)})


@dataclass(frozen=True)
class Replay:
    """Result of many periods: the summed ledger, the stock after the last, and how many periods count.

    Parameters
    ----------
    ledger : columns (B,), summed over counted periods; `cash` includes the credit for terminal stock.
    stock : at the start of the period after the last.
    periods, excluded : (B,) periods in the ledger, and periods left out because demand was not observed.
    """

    ledger: Ledger
    stock: Stock
    periods: Ints
    excluded: Ints

    @property
    def mean_mismatch(self) -> Array:
        """(B,) mismatch cost per counted period."""
        return np.asarray(self.ledger.mismatch / np.maximum(self.periods, 1))


def step(
    stock: Stock,
    order: ArrayLike,
    demand: ArrayLike,
    economics: Economics,
    *,
    unmet: Unmet = Unmet.LOST,
    lead_time: ArrayLike | None = None,
) -> tuple[Stock, Ledger]:
    """One period of B items, in the order of events above.

    Parameters
    ----------
    stock : at the start of the period.
    order : (B,) units placed now, >= 0.
    demand : (B,) units, >= 0.
    lead_time : (B,) periods; without it, the width of the pipeline for all.

    Returns
    -------
    The stock at the start of the next period, and the ledger of this one.

    Examples
    --------
    >>> after, ledger = step(Stock(np.array([3.0]), np.array([[2.0]])), [4.0], [7.0], Economics(1.0, 9.0))
    >>> after.on_hand.tolist(), after.pipeline.tolist(), ledger.sales.tolist(), ledger.mismatch.tolist()
    ([0.0], [[4.0]], [5.0], [18.0])
    """
    n, width = stock.pipeline.shape
    placed, wanted = (np.broadcast_to(np.asarray(x, dtype=np.float64), (n,)) for x in (order, demand))
    slot = np.broadcast_to(np.asarray(width if lead_time is None else lead_time, dtype=np.int64), (n,))
    width = max(width, int(slot.max(initial=0)))
    due = np.zeros((n, width + 1))
    due[:, : stock.pipeline.shape[1]] = stock.pipeline
    due[np.arange(n), slot] += placed
    received = due[:, 0]
    end = stock.on_hand + received - wanted
    shelf, short = np.maximum(end, 0.0), np.maximum(-end, 0.0)
    sales = np.maximum(stock.on_hand, 0.0) + received - shelf
    after = Stock(shelf if unmet is Unmet.LOST else end, due[:, 1:])
    units = np.stack((placed, received, sales, short, shelf, np.where(short > 0, 1.0, 0.0)), axis=1)
    return after, _ledger(units, economics)


def replay(
    demand: ArrayLike,
    rule: Rule,
    stock: Stock,
    economics: Economics,
    supply: Supply,
    *,
    unmet: Unmet = Unmet.LOST,
    observed: ArrayLike | None = None,
) -> Replay:
    """T periods of B items under a parametric rule, compiled; exactly what `step` would do.

    Parameters
    ----------
    demand : (B, T) units. Where not observed it still moves stock (missing moves none) but is not counted.
    rule : order-up-to levels (per item, or per item and period) and cap.
    stock : at the start of the first period.
    observed : (B, T) bool; false leaves the period out of the ledger. All are observed without it.

    Raises
    ------
    DataError : shapes disagree, or observed demand is missing or negative.
    """
    wanted, seen = _checked(demand, observed, stock)
    n, n_periods = wanted.shape
    terms, money = supply.for_items(n), economics.for_items(n)
    target = _levels(rule.target, n, n_periods)
    cap = np.broadcast_to(rule.cap, (n,))
    if np.isnan(cap).any() or (np.isinf(target).any(axis=1) & np.isinf(cap)).any():
        raise DataError("a finite target or a finite cap for every item", "neither", "give one of them", table="rule")
    numbers = np.stack(
        (
            terms.pack_size,
            terms.minimum_order,
            cap,
            terms.review_period,
            money.price,
            money.cost,
            money.storage,
            money.discount,
        )
    )
    width = max(stock.pipeline.shape[1], int(terms.lead_time.max(initial=0))) + 1
    due = np.zeros((width, n))
    due[: stock.pipeline.shape[1]] = stock.pipeline.T
    counted = np.ones((n, 1), dtype=bool) if seen is None else seen
    units, on_hand = np.zeros((blocks.N_FLOWS, n)), np.array(stock.on_hand, dtype=np.float64)
    lead = np.ascontiguousarray(terms.lead_time)
    _compiled()(wanted, target, counted, lead, numbers, unmet is Unmet.LOST, on_hand, due, units)
    periods = np.full(n, n_periods) if seen is None else seen.sum(axis=1)
    end = Stock(on_hand, np.roll(due, -n_periods % width, axis=0)[:-1].T.copy())
    ledger = replace(_ledger(units[:6].T, money), cash=units[6] + _terminal(end, money, n_periods))
    return Replay(ledger, end, periods, n_periods - periods)


def replay_steps(
    decide: Callable[[int, Stock], Array],
    demand: ArrayLike,
    stock: Stock,
    economics: Economics,
    supply: Supply,
    *,
    unmet: Unmet = Unmet.LOST,
    observed: ArrayLike | None = None,
) -> Replay:
    """As `replay`, for any decision: `decide(t, stock)` gives the units (B,) wanted in period `t`.

    A loop over periods, vectorised over items; about ten times slower than `replay`. Review periods, packs and
    minimum orders are applied here, so `decide` need not know of them.
    """
    wanted, seen = _checked(demand, observed, stock)
    n, n_periods = wanted.shape
    terms, money = supply.for_items(n), economics.for_items(n)
    total = _ledger(np.zeros((n, 6)), money)
    for t in range(n_periods):
        asked = np.where(t % terms.review_period == 0, decide(t, stock), 0.0)
        order = whole_packs(asked, terms.pack_size, terms.minimum_order)
        stock, ledger = step(stock, order, wanted[:, t], money, unmet=unmet, lead_time=terms.lead_time)
        ledger = replace(ledger, cash=ledger.cash * money.discount**t)
        total += ledger if seen is None else ledger.where(seen[:, t])
    total = replace(total, cash=total.cash + _terminal(stock, money, n_periods))
    periods = np.full(n, n_periods) if seen is None else seen.sum(axis=1)
    return Replay(total, stock, periods, n_periods - periods)


def _ledger(units: Array, economics: Economics) -> Ledger:
    """Columns of money from columns of units (B, 6); cash undiscounted."""
    ordered, received, sales, short, end_stock, short_periods = units.T
    revenue, purchase = economics.price * sales, economics.cost * received
    holding, stockout = economics.holding_cost * end_stock, economics.stockout_cost * short
    cash = revenue - purchase - economics.storage * end_stock
    return Ledger(ordered, received, sales, short, end_stock, short_periods, revenue, purchase, holding, stockout, cash)


def _terminal(stock: Stock, economics: Economics, n_periods: int) -> Array:
    """(B,) discounted credit for stock left after the last period: at salvage, never above cost."""
    worth = np.minimum(economics.cost, economics.salvage)
    return np.asarray(economics.discount**n_periods * worth * np.maximum(stock.on_hand, 0.0))


def _levels(target: Array, n: int, n_periods: int) -> Array:
    """Order-up-to levels as (B, 1) or (B, T)."""
    levels = target[:, None] if target.ndim == 1 else target.reshape(target.shape or (1, 1))
    if np.isnan(levels).any() or levels.shape[0] not in (1, n) or levels.shape[1] not in (1, n_periods):
        raise DataError(f"targets ({n},) or ({n}, {n_periods}) without gaps", f"{target.shape}", table="rule")
    return np.ascontiguousarray(np.broadcast_to(levels, (n, levels.shape[1])), dtype=np.float64)


def _checked(demand: ArrayLike, observed: ArrayLike | None, stock: Stock) -> tuple[Array, NDArray[np.bool_] | None]:
    """Demand (B, T) and its mask, once their shapes and values are sound."""
    wanted = np.ascontiguousarray(demand, dtype=np.float64)
    seen = None if observed is None else np.ascontiguousarray(observed, dtype=bool)
    if wanted.ndim != 2 or len(wanted) != len(stock.on_hand) or (seen is not None and seen.shape != wanted.shape):
        came = f"demand {wanted.shape}, stock of {len(stock.on_hand)}"
        raise DataError("demand and mask of shape (items, periods), stock for each item", came, table="replay")
    if seen is not None:
        wanted = np.where(~seen & ~(wanted >= 0), 0.0, wanted)
    if wanted.size and not (wanted.min() >= 0 and wanted.max() < np.inf):
        wrong = np.argwhere(~((wanted >= 0) & np.isfinite(wanted)))
        samples = [f"item {i}, period {t}: {wanted[i, t]:g}" for i, t in wrong[:3]]
        advice = "mark missing periods as not observed, and net returns first"
        raise DataError("demand of at least 0", f"{len(wrong)} other", advice, table="replay", samples=samples)
    return wanted, seen


@lru_cache(maxsize=1)
def _compiled() -> Any:
    """The compiled loop; kept on disk where the machine allows it, so later processes skip seven seconds."""
    from numba import njit
    from numba.extending import register_jitable

    for part in blocks.PARTS:
        register_jitable(error_model="numpy")(part)
    try:
        return njit(cache=True, error_model="numpy")(blocks.loop)
    except RuntimeError:  # numba finds no folder that it may write to
        return njit(error_model="numpy")(blocks.loop)
