"""Exact inventory arithmetic: one period (`step`), or many (`replay`, compiled).

The order of events in one period, here and nowhere else:

1. what was due is received;
2. on-hand stock, pipeline and forecast are observed;
3. the order is placed (only in review periods);
4. demand happens: sales = min(on hand, demand), and the rest is lost, or owed (backlog);
5. what has reached its shelf life is thrown away (the oldest sold first), then end stock and costs are counted.

An order placed in period `t` with lead time `L` is on hand at the start of period `t + L`. With `L = 0` it is there
before the demand of `t` itself. The next order that can change anything is placed `R` periods later (the review
period) and arrives `L` after that, so an order protects `L + R` periods, the current one included: `Horizon(0, L + R)`
seen from the last known period. Orders are whole packs: what is wanted is first raised to the minimum order, then
rounded up to packs; nothing wanted is nothing ordered. Demand does not depend on orders, so history can be replayed.

With backlog `on_hand` is net stock: negative is owed. Numpy everywhere; numba is imported when `replay` first runs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shelfcast.errors import DataError
from shelfcast.inventory import blocks
from shelfcast.inventory.blocks import whole_packs
from shelfcast.inventory.economics import Array, Economics, Ints, Supply
from shelfcast.inventory.stock import Ledger, Replay, Rule, Stock, Unmet

__all__ = ["Ledger", "Replay", "Rule", "Stock", "Unmet", "replay", "replay_steps", "reviews", "step", "steps", "trade"]


def step(
    stock: Stock,
    order: ArrayLike,
    demand: ArrayLike,
    economics: Economics,
    *,
    unmet: Unmet = Unmet.LOST,
    lead_time: ArrayLike | None = None,
    shelf_life: ArrayLike = 0,
) -> tuple[Stock, Ledger]:
    """One period of B items, in the order of events above.

    Parameters
    ----------
    stock : at the start of the period.
    order : (B,) units placed now, >= 0.
    demand : (B,) units, >= 0.
    lead_time : (B,) periods; without it, the width of the pipeline for all.
    shelf_life : (B,) periods, as in `Supply`.

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
    shelf, short, sales = trade(stock.on_hand, received, wanted)
    waste, recent = _spoiled(stock, received, shelf, np.broadcast_to(np.asarray(shelf_life), (n,)))
    shelf = shelf - waste
    after = Stock(shelf if unmet is Unmet.LOST else shelf - short, due[:, 1:], recent)
    counts = (np.where(short > 0, 1.0, 0.0), waste, np.where(placed > 0, 1.0, 0.0))
    return after, Ledger.of(np.stack((placed, received, sales, short, shelf, *counts)), economics)


def trade(on_hand: Any, received: Any, demand: Any) -> tuple[Any, Any, Any]:
    """Shelf, shortage and sales (B,) of one period: what is received meets what is wanted.

    Arrays or tensors alike, so that `twin` differentiates through the very arithmetic that `step` counts with.
    """
    end = on_hand + received - demand
    shelf, short = end.clip(0.0), (-end).clip(0.0)
    return shelf, short, on_hand.clip(0.0) + received - shelf


def _spoiled(stock: Stock, received: Array, shelf: Array, life: Ints) -> tuple[Array, Array | None]:
    """(B,) units to throw away, and the receipts to remember; with the oldest sold first, all beyond the last ones."""
    longest = int(life.max(initial=0))
    if not longest:
        return np.zeros(len(shelf)), None
    recent = np.concatenate((received[:, None], stock.receipts(longest)), axis=1)[:, :longest]
    is_kept = np.arange(longest) < (life - 1)[:, None]
    waste = np.maximum(shelf - np.where(is_kept, recent, 0.0).sum(axis=1), 0.0)
    return np.where(life > 0, waste, 0.0), recent


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
    reorder = np.broadcast_to(np.asarray(rule.reorder, dtype=np.float64), (n,))
    if np.isnan(cap).any() or np.isnan(reorder).any() or (np.isinf(target).any(axis=1) & np.isinf(cap)).any():
        raise DataError("a finite target or a finite cap for every item", "neither", "give one of them", table="rule")
    lead = terms.lead_time[:, None] if terms.drawn is None else _drawn(terms.drawn, n_periods)
    counted = np.ones((n, 1), dtype=bool) if seen is None else seen
    units, ring = np.zeros((blocks.N_FLOWS, n)), _Ring.of(stock, terms)
    rows = (wanted, target, counted, np.ascontiguousarray(lead))
    ring.run(rows, _numbers(terms, money, cap, reorder), units, n_periods, is_lost=unmet is Unmet.LOST)
    periods, end = np.full(n, n_periods) if seen is None else seen.sum(axis=1), ring.stock
    ledger = replace(Ledger.of(units[:-1], money), cash=units[-1] + _terminal(end, money, n_periods))
    return Replay(ledger, end, periods, n_periods - periods)


def _numbers(terms: Supply, money: Economics, cap: Array, reorder: Array) -> Array:
    """(11, B) rows in the order that `blocks` names."""
    supply = (terms.pack_size, terms.minimum_order, cap, terms.review_period)
    return np.stack(
        (*supply, money.price, money.cost, money.storage, money.discount, reorder, terms.shelf_life, money.order_cost)
    )


def _drawn(drawn: Ints, n_periods: int) -> Ints:
    """(B, T) lead times, once there is one for every period."""
    if drawn.shape[1] < n_periods:
        raise DataError(f"lead times drawn for {n_periods} periods", f"{drawn.shape[1]}", table="supply")
    return drawn[:, :n_periods]


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
    money, end = economics.for_items(n), stock
    total = Ledger.of(np.zeros((8, n)), money)
    for t, after, ledger in steps(decide, wanted, stock, money, supply, unmet=unmet):
        total += ledger if seen is None else ledger.where(seen[:, t])
        end = after
    total = replace(total, cash=total.cash + _terminal(end, money, n_periods))
    periods = np.full(n, n_periods) if seen is None else seen.sum(axis=1)
    return Replay(total, end, periods, n_periods - periods)


def steps(
    decide: Callable[[int, Stock], Array],
    demand: Array,
    stock: Stock,
    economics: Economics,
    supply: Supply,
    *,
    unmet: Unmet = Unmet.LOST,
) -> Iterator[tuple[int, Stock, Ledger]]:
    """Period by period: its number, the stock after it, and its ledger with cash discounted to the first period.

    Where lead times are drawn, `decide` is shown open orders when they are planned to arrive, at the earliest in the
    next period; only what arrives now is known to.
    """
    n, n_periods = demand.shape
    terms, money = supply.for_items(n), economics.for_items(n)
    lead = None if terms.drawn is None else _drawn(terms.drawn, n_periods)
    placed: list[Array] = []
    for t in range(n_periods):
        shown = stock if lead is None else _as_planned(stock, placed, lead[:, :t], terms.lead_time)
        asked = np.where(t % terms.review_period == 0, decide(t, shown), 0.0)
        order = whole_packs(asked, terms.pack_size, terms.minimum_order)
        placed.append(order)
        arrives = terms.lead_time if lead is None else lead[:, t]
        stock, ledger = step(
            stock, order, demand[:, t], money, unmet=unmet, lead_time=arrives, shelf_life=terms.shelf_life
        )  # fmt: skip
        yield t, stock, replace(ledger, cash=ledger.cash * money.discount**t)


def reviews(
    decide: Callable[[int, Stock], Array],
    demand: Array,
    stock: Stock,
    economics: Economics,
    supply: Supply,
    counted: NDArray[np.bool_],
    *,
    block: int,
) -> Iterator[tuple[slice, Array]]:
    """From each review to the next, compiled; lost sales, and one review period for all items.

    Does what `steps` does, but asks `decide` in review periods only. A stretch ends at the ends of blocks of `block`
    periods too.

    Returns
    -------
    The periods of each stretch, and the flows (9, B) of its counted periods, as `blocks` names them, with cash
    discounted to the first period of all.
    """
    n, n_periods = demand.shape
    terms, money, review = supply.for_items(n), economics.for_items(n), int(np.max(supply.review_period))
    lead = None if terms.drawn is None else _drawn(terms.drawn, n_periods)
    ring = _Ring.of(stock, terms)
    numbers = _numbers(replace(terms, review_period=np.full(n, n_periods)), money, np.zeros(n), np.full(n, np.inf))
    endless, placed, nothing = np.full((n, 1), np.inf), list[Array](), np.zeros(n)
    edges = sorted({*range(0, n_periods, review), *range(0, n_periods, block), n_periods})
    for first, after in pairwise(edges):
        numbers[blocks.CAP] = nothing
        if first % review == 0:
            shown = ring.stock if lead is None else _as_planned(ring.stock, placed, lead[:, :first], terms.lead_time)
            asked = np.broadcast_to(decide(first, shown), (n,))
            numbers[blocks.CAP] = whole_packs(asked, terms.pack_size, terms.minimum_order)
        placed += [numbers[blocks.CAP].copy(), *[nothing] * (after - first - 1)]
        periods, units = slice(first, after), np.zeros((blocks.N_FLOWS, n))
        arrives = terms.lead_time[:, None] if lead is None else lead[:, periods]
        here = (demand[:, periods], endless, counted[:, periods], arrives)
        ring.run(tuple(np.ascontiguousarray(x) for x in here), numbers, units, after - first)
        units[-1] *= money.discount**first
        yield periods, units


@dataclass
class _Ring:
    """Stock as the compiled loop holds it, its first row the coming period: shelf (B,), open orders (W, B) and receipts
    (A, B)."""

    on_hand: Array
    due: Array
    recent: Array

    @classmethod
    def of(cls, stock: Stock, terms: Supply) -> "_Ring":
        due = np.zeros((max(stock.pipeline.shape[1], terms.longest) + 1, len(stock.on_hand)))
        due[: stock.pipeline.shape[1]] = stock.pipeline.T
        recent = np.ascontiguousarray(stock.receipts(int(terms.shelf_life.max(initial=0)))[:, ::-1].T)
        return cls(np.array(stock.on_hand, dtype=np.float64), due, recent)

    def run(self, rows: tuple[Any, ...], numbers: Array, units: Array, n_periods: int, *, is_lost: bool = True) -> None:
        """Demand, targets, mask and lead times (B, n_periods), or (B, 1), through the loop; flows go into `units`."""
        _compiled()(*rows, numbers, is_lost, self.on_hand, self.due, self.recent, units)
        self.due = np.roll(self.due, -n_periods % len(self.due), axis=0)
        if len(self.recent):
            self.recent = np.roll(self.recent, -n_periods % len(self.recent), axis=0)

    @property
    def stock(self) -> Stock:
        """As rules see it."""
        recent = self.recent[::-1].T.copy() if len(self.recent) else None
        return Stock(self.on_hand.copy(), self.due[:-1].T.copy(), recent)


def _as_planned(stock: Stock, placed: list[Array], lead: Ints, planned: Ints) -> Stock:
    """The stock with open orders at the periods they were planned for; `placed` and `lead` up to the period before.

    What was on order before the first period keeps its place.
    """
    n, t = len(stock.on_hand), len(placed)
    pipeline = np.zeros((n, max(stock.pipeline.shape[1], int(planned.max(initial=0)), 1) + 1))
    pipeline[:, : stock.pipeline.shape[1]] = stock.pipeline
    rows = np.arange(n)
    for back in range(1, min(t, pipeline.shape[1] - 1) + 1):
        order, comes = placed[t - back], lead[:, t - back] - back
        is_open = (comes > 0) & (order > 0)
        moved, at = np.where(is_open, order, 0.0), np.where(is_open, comes, 0)
        pipeline[rows, at] -= moved
        pipeline[rows, np.where(is_open, np.maximum(planned - back, 1), 0)] += moved
    return replace(stock, pipeline=pipeline)


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
