"""The best use of a limited budget: which units to give up when all that is wanted costs too much.

Needs only laws and costs, so it serves any policy. Exact up to whole packs and minimum orders: each item's expected
gain is concave in its stock, so one price on money makes the last unit of every item earn the same per unit of money.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shelfcast.errors import DataError
from shelfcast.inventory.blocks import whole_packs
from shelfcast.inventory.economics import Array, Economics, Ints, Supply
from shelfcast.inventory.policies import quantile_each
from shelfcast.laws import QuantileFunction


@dataclass(frozen=True)
class Group:
    """Items that share a protected horizon: their places among all N, and their laws over it."""

    rows: Ints
    law: QuantileFunction


@dataclass(frozen=True)
class _Case:
    """All N items: what is wanted and held (units), the laws, what units cost and how they are packed."""

    unlimited: Array
    position: Array
    groups: Sequence[Group]
    economics: Economics
    supply: Supply

    def spent(self, quantity: Array) -> float:
        return float(quantity @ self.economics.cost)


def within_budget(
    budget: float, unlimited: Array, position: Array, groups: Sequence[Group], economics: Economics, supply: Supply
) -> Array:
    """(N,) units that cost at most `budget`, best earners first, never more than `unlimited`.

    A price `x` on money, found by bisection, lowers each item's level to `(p - x c) / (p + h)` (Hadley and Whitin 1963,
    on the newsvendor with one constraint). What whole packs leave over buys the next packs that earn most.

    Parameters
    ----------
    budget : money, >= 0.
    unlimited : (N,) units wanted, in packs.
    position : (N,) units on hand and on order.
    groups : the N items by protected horizon.

    Raises
    ------
    DataError : a wanted item costs nothing, so a budget does not limit it.
    """
    free = np.flatnonzero((unlimited > 0) & (economics.cost <= 0))
    if len(free):
        samples = [economics.names[i] if economics.names else f"row {i}" for i in free[:3]]
        came, advice = f"0 for {len(free)} items", "give the cost of every item, or no budget"
        raise DataError("a cost above 0 where there is a budget", came, advice, table="economics", samples=samples)
    case = _Case(unlimited, position, groups, economics, supply)
    if case.spent(unlimited) <= budget:
        return unlimited
    quantity = _at_price(_price(case, budget), case)
    for _ in range(_PASSES):
        added = _next_packs(quantity, case, budget)
        if not added.any():
            break
        quantity = quantity + added
    return quantity


_PASSES = 20  # each spends most of what was left; the rest is below the price of nearly every pack


def _price(case: _Case, budget: float) -> float:
    """The least price on money at which what is bought costs at most `budget`."""
    cost = np.where(case.unlimited > 0, case.economics.cost, np.inf)
    low = -float((case.economics.holding_cost / cost).max())
    high = float((case.economics.stockout_cost / cost).max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if case.spent(_at_price(middle, case)) <= budget else (middle, high)
    return high


def _at_price(price: float, case: _Case) -> Array:
    """(N,) units bought when each unit of money costs `price` more: whole packs, none below the minimum order."""
    money, pack = case.economics, case.supply.pack_size
    level = (money.stockout_cost - price * money.cost) / (money.stockout_cost + money.holding_cost)
    aim = np.empty(len(level))
    for group in case.groups:
        aim[group.rows] = quantile_each(group.law, level[group.rows])
    room = np.clip(aim - case.position, 0.0, case.unlimited)
    size = np.where(pack > 0, pack, 1.0)
    packed = np.where(pack > 0, np.floor(room / size + 1e-9) * size, room)
    is_too_small = packed < np.minimum(case.supply.minimum_order, case.unlimited)
    return np.where(level >= 1, case.unlimited, np.where((level <= 0) | is_too_small, 0.0, packed))


def _next_packs(quantity: Array, case: _Case, budget: float) -> Array:
    """(N,) units to add: one more pack for the best earners that the rest of the budget pays for."""
    money, pack = case.economics, case.supply.pack_size
    first = whole_packs(np.ones_like(quantity), pack, case.supply.minimum_order)
    more = np.minimum(np.where(quantity > 0, pack, first), case.unlimited - quantity) * (pack > 0)
    left, price = budget - case.spent(quantity), more * money.cost
    candidates = np.flatnonzero((more > 1e-9) & (price <= left))
    met = np.empty(len(quantity))
    for group in case.groups:
        met[group.rows] = group.law.cdf((case.position + quantity)[group.rows])
    gain = money.stockout_cost - (money.stockout_cost + money.holding_cost) * met
    ranked = candidates[np.argsort(-gain[candidates] / money.cost[candidates], kind="stable")]
    taken = ranked[np.cumsum(price[ranked]) <= left]
    added = np.zeros_like(quantity)
    added[taken] = more[taken]
    return added
