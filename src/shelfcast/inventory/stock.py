"""What a replay holds and counts: stock, rules that order up to a level, and the ledger of what happened.

The order of events that gives these numbers their meaning stands in `simulator`.
"""

from dataclasses import dataclass, fields
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shelfcast.inventory.economics import Array, Economics, Ints


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
    recent : (B, A) units received in the periods before, newest first, where goods perish; without it, all on hand
        came in the period before.
    """

    on_hand: Array
    pipeline: Array
    recent: Array | None = None

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
        return Stock(self.on_hand[rows], self.pipeline[rows], None if self.recent is None else self.recent[rows])

    def receipts(self, n: int) -> Array:
        """(B, n) units received in the last `n` periods, newest first."""
        out = np.zeros((len(self.on_hand), n))
        known = np.maximum(self.on_hand, 0.0)[:, None] if self.recent is None else self.recent
        width = min(n, known.shape[1])
        out[:, :width] = known[:, :width]
        return out


@dataclass(frozen=True)
class Rule:
    """Order `min(cap, (target - position)+)` where the position is at most `reorder`: what `replay` runs.

    Parameters
    ----------
    target : order-up-to level in units: a number, (B,), or (B, T) for one level per period.
    cap : most units wanted at once, a number or (B,).
    reorder : nothing is ordered while the position is above it; a number or (B,).
    """

    target: Array
    cap: Array
    reorder: ArrayLike = np.inf

    @classmethod
    def base_stock(cls, target: ArrayLike) -> "Rule":
        """Order up to `target`."""
        return cls(np.asarray(target, dtype=np.float64), np.asarray(np.inf))

    @classmethod
    def capped(cls, target: ArrayLike, cap: ArrayLike) -> "Rule":
        """Order up to `target`, but never more than `cap` at once."""
        return cls(np.asarray(target, dtype=np.float64), np.asarray(cap, dtype=np.float64))

    @classmethod
    def reorder_point(cls, reorder: ArrayLike, target: ArrayLike) -> "Rule":
        """Order up to `target` once the position is at or below `reorder`: (s, S)."""
        return cls(np.asarray(target, dtype=np.float64), np.asarray(np.inf), np.asarray(reorder, dtype=np.float64))

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
    waste : units thrown away at the end of their shelf life.
    orders : orders placed.
    revenue, purchase, holding, stockout, ordering, spoilage : money, undiscounted; purchase is paid on receipt,
        spoilage is the cost of waste.
    cash : money, `price x sales - cost x received - storage x end stock - order cost x orders`, discounted to the
        first period.
    """

    ordered: Array
    received: Array
    sales: Array
    short: Array
    end_stock: Array
    short_periods: Array
    waste: Array
    orders: Array
    revenue: Array
    purchase: Array
    holding: Array
    stockout: Array
    ordering: Array
    spoilage: Array
    cash: Array

    @classmethod
    def of(cls, units: Array, economics: Economics) -> "Ledger":
        """From columns of units (8, B), `ordered` to `orders` as above; cash undiscounted."""
        ordered, received, sales, short, end_stock, short_periods, waste, orders = units
        revenue, purchase = economics.price * sales, economics.cost * received
        holding, stockout = economics.holding_cost * end_stock, economics.stockout_cost * short
        ordering, spoilage = economics.order_cost * orders, economics.cost * waste
        cash = revenue - purchase - economics.storage * end_stock - ordering
        money = (revenue, purchase, holding, stockout, ordering, spoilage, cash)
        return cls(ordered, received, sales, short, end_stock, short_periods, waste, orders, *money)

    @property
    def mismatch(self) -> Array:
        """(B,) money: holding plus stock-out cost, and what orders and waste cost where they cost something."""
        return np.asarray(self.holding + self.stockout + self.ordering + self.spoilage)

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
