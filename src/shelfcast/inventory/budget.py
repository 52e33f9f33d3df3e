"""The best use of a limited budget or capacity: which units to give up when all that is wanted is too much.

Needs only laws and costs, so it serves any policy. Exact up to whole packs and minimum orders: each item's expected
gain is concave in its stock, so one price on what is scarce (money, room) makes the last unit of every item earn the
same per unit of it. That price is what a little more of it would earn.
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
class Scarce:
    """What all orders of one review together may take.

    Parameters
    ----------
    budget : money, >= 0; none without it.
    capacity : room, in units of `volume`, >= 0; none without it.
    volume : (N,) room a unit takes, > 0, or one number.
    """

    budget: float | None = None
    capacity: float | None = None
    volume: Array | float = 1.0

    @property
    def binds(self) -> bool:
        """Whether there is a limit at all."""
        return self.budget is not None or self.capacity is not None

    def share(self, part: float, rows: Ints) -> "Scarce":
        """The limits times `part`, for the items at `rows`."""
        budget, capacity = (None if x is None else part * x for x in (self.budget, self.capacity))
        return Scarce(budget, capacity, self.volume if np.ndim(self.volume) == 0 else np.asarray(self.volume)[rows])

    def keep(
        self, quantity: Array, position: Array, groups: Sequence[Group], economics: Economics, supply: Supply
    ) -> Array:
        """(N,) units of `quantity`, in packs, that keep to the limits; see `ration`."""
        if self.budget is not None:
            quantity = ration(self.budget, quantity, position, groups, economics, supply).quantity
        if self.capacity is not None:
            room = np.broadcast_to(np.asarray(self.volume, dtype=np.float64), quantity.shape)
            quantity = ration(self.capacity, quantity, position, groups, economics, supply, room).quantity
        return quantity


NO_LIMIT = Scarce()


@dataclass(frozen=True)
class _Case:
    """All N items: what is wanted and held (units), the laws, what a unit takes of what is scarce, and packs."""

    unlimited: Array
    position: Array
    groups: Sequence[Group]
    economics: Economics
    supply: Supply
    weight: Array

    def spent(self, quantity: Array) -> float:
        return float(quantity @ self.weight)


@dataclass(frozen=True)
class Rationed:
    """Units (N,) that keep to a limit, and what one more unit of what is scarce would earn (0 where it is enough)."""

    quantity: Array
    price: float


def ration(
    limit: float,
    unlimited: Array,
    position: Array,
    groups: Sequence[Group],
    economics: Economics,
    supply: Supply,
    weight: Array | None = None,
) -> Rationed:
    """(N,) units that take at most `limit`, best earners first, never more than `unlimited`.

    A price `x` on what is scarce, found by bisection, lowers each item's level to `(p - x w) / (p + h)` (Hadley and
    Whitin 1963, on the newsvendor with one constraint). What whole packs leave over buys the next packs that earn most.

    Parameters
    ----------
    limit : money, or units of room, >= 0.
    unlimited : (N,) units wanted, in packs.
    position : (N,) units on hand and on order.
    groups : the N items by protected horizon.
    weight : (N,) what a unit takes of the limit; its cost by default.

    Raises
    ------
    DataError : a wanted item takes nothing, so the limit does not bound it.
    """
    weight = economics.cost if weight is None else weight
    free = np.flatnonzero((unlimited > 0) & (weight <= 0))
    if len(free):
        samples = [economics.names[i] if economics.names else f"row {i}" for i in free[:3]]
        came, advice = f"0 for {len(free)} items", "give the cost of every item, or no budget"
        raise DataError("a cost above 0 where there is a budget", came, advice, table="economics", samples=samples)
    case = _Case(unlimited, position, groups, economics, supply, weight)
    if case.spent(unlimited) <= limit:
        return Rationed(unlimited, 0.0)
    price = _price(case, limit)
    quantity = _at_price(price, case)
    for _ in range(_PASSES):
        added = _next_packs(quantity, case, limit)
        if not added.any():
            break
        quantity = quantity + added
    return Rationed(quantity, max(price, 0.0))


def expected_gain(quantity: Array, position: Array, groups: Sequence[Group], economics: Economics) -> Array:
    """(N,) money that an order saves over the protected periods: stock-outs avoided less stock left over.

    `(p + h) E[min(D, y + q) - min(D, y)] - h q`, with `D` the demand of the protected periods and `y` the position.
    """
    sold = np.empty(len(quantity))
    for group in groups:
        points = group.law.quantile(_POINTS)
        before = np.minimum(points, position[group.rows, None]).mean(axis=1)
        after = np.minimum(points, (position + quantity)[group.rows, None]).mean(axis=1)
        sold[group.rows] = after - before
    return np.asarray((economics.stockout_cost + economics.holding_cost) * sold - economics.holding_cost * quantity)


_POINTS = (np.arange(200) + 0.5) / 200


_PASSES = 20  # each spends most of what was left; the rest is below the price of nearly every pack


def _price(case: _Case, limit: float) -> float:
    """The least price on what is scarce at which what is bought takes at most `limit`."""
    cost = np.where(case.unlimited > 0, case.weight, np.inf)
    low = -float((case.economics.holding_cost / cost).max())
    high = float((case.economics.stockout_cost / cost).max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if case.spent(_at_price(middle, case)) <= limit else (middle, high)
    return high


def _at_price(price: float, case: _Case) -> Array:
    """(N,) units bought when each unit of what is scarce costs `price`: whole packs, none below the minimum order."""
    money, pack = case.economics, case.supply.pack_size
    level = (money.stockout_cost - price * case.weight) / (money.stockout_cost + money.holding_cost)
    aim = np.empty(len(level))
    for group in case.groups:
        aim[group.rows] = quantile_each(group.law, level[group.rows])
    room = np.clip(aim - case.position, 0.0, case.unlimited)
    size = np.where(pack > 0, pack, 1.0)
    packed = np.where(pack > 0, np.floor(room / size + 1e-9) * size, room)
    is_too_small = packed < np.minimum(case.supply.minimum_order, case.unlimited)
    return np.where(level >= 1, case.unlimited, np.where((level <= 0) | is_too_small, 0.0, packed))


def _next_packs(quantity: Array, case: _Case, limit: float) -> Array:
    """(N,) units to add: one more pack for the best earners that what is left pays for."""
    money, pack = case.economics, case.supply.pack_size
    first = whole_packs(np.ones_like(quantity), pack, case.supply.minimum_order)
    more = np.minimum(np.where(quantity > 0, pack, first), case.unlimited - quantity) * (pack > 0)
    left, price = limit - case.spent(quantity), more * case.weight
    candidates = np.flatnonzero((more > 1e-9) & (price <= left))
    met = np.empty(len(quantity))
    for group in case.groups:
        met[group.rows] = group.law.cdf((case.position + quantity)[group.rows])
    gain = money.stockout_cost - (money.stockout_cost + money.holding_cost) * met
    ranked = candidates[np.argsort(-gain[candidates] / case.weight[candidates], kind="stable")]
    taken = ranked[np.cumsum(price[ranked]) <= left]
    added = np.zeros_like(quantity)
    added[taken] = more[taken]
    return added
