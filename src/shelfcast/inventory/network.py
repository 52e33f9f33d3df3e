"""A supplier, a warehouse and its stores: buy for all of them together, place where a unit is worth most.

One period, in the order of `simulator`, warehouse before stores: both receive what is due; the warehouse orders from
the supplier, up to an echelon target (stock of the whole network, less what stores owe); it ships from what it holds;
demand happens at the stores; everyone counts. With a lead time of zero an order can be shipped on, and a shipment sold,
in the same period. Every period of a warehouse or a store is a `step`, whose demand is what is shipped or what
customers want. B networks (items, or warehouses with stores of their own) are replayed side by side.

Placing is water-filling: expected gain is concave in each store's stock, so one value of a unit at the warehouse, the
same for its stores, is best (Eppen and Schrage 1981 on allocation; Clark and Scarf 1960 on echelon targets). A unit is
kept only where keeping is cheaper than the store's gain: no store is filled beyond level `(p + h_w) / (p + h_s)`,
which with one store is Clark and Scarf's optimum.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from shelfcast.errors import DataError
from shelfcast.inventory.economics import Array, Economics
from shelfcast.inventory.policies import quantile_each
from shelfcast.inventory.simulator import step
from shelfcast.inventory.stock import Stock, Unmet
from shelfcast.laws import Empirical, Grid, QuantileFunction


@dataclass(frozen=True)
class Network:
    """One warehouse and n stores.

    Parameters
    ----------
    lead_time : periods from the supplier to the warehouse, >= 0.
    store_leads : n periods from the warehouse to each store, >= 0.
    review_period : periods between two orders from the supplier, >= 1; stores are served every period.
    holding_cost : money per unit and period at the warehouse or on its way to a store, >= 0.
    store_holding, stockout : money per unit left at a store, > 0, and per unit short, >= 0.
    unmet : lost, or owed by the store.
    is_whole : ship whole units.
    """

    lead_time: int
    store_leads: tuple[int, ...]
    review_period: int = 1
    holding_cost: float = 1.0
    store_holding: float = 1.0
    stockout: float = 9.0
    unmet: Unmet = Unmet.LOST
    is_whole: bool = False

    def __post_init__(self) -> None:
        checks = {
            "lead times of at least 0": min(self.lead_time, *self.store_leads, 0) >= 0 and len(self.store_leads) > 0,
            "a review period of at least 1": self.review_period >= 1,
            "costs of at least 0, holding at a store above 0 and no less than at the warehouse": (
                self.stockout >= 0 and 0 <= self.holding_cost <= self.store_holding and self.store_holding > 0
            ),
        }
        for expected, fits in checks.items():
            if not fits:
                raise DataError(expected, str(self), "correct the terms", table="network")

    @property
    def n_stores(self) -> int:
        """n."""
        return len(self.store_leads)

    @property
    def protected(self) -> int:
        """Periods that an order from the supplier protects: its lead time, a review, and the mean way to a store."""
        return self.lead_time + self.review_period + round(sum(self.store_leads) / self.n_stores)

    @property
    def top_level(self) -> float:
        """Level of a store's own demand beyond which a unit is better kept at the warehouse."""
        return (self.stockout + self.holding_cost) / (self.stockout + self.store_holding)


@dataclass(frozen=True)
class NetworkReplay:
    """Sums over counted periods, each (B,): money held and short, units bought, sold and short, and stock left."""

    holding: Array
    stockout: Array
    bought: Array
    sales: Array
    short: Array
    periods: int
    warehouse: Stock
    stores: Stock

    @property
    def mean_cost(self) -> Array:
        """(B,) money per counted period."""
        return np.asarray((self.holding + self.stockout) / self.periods)


def replay_network(
    network: Network,
    demand: ArrayLike,
    target: ArrayLike,
    laws: Callable[[int], QuantileFunction],
    *,
    start: ArrayLike = 0.0,
    skip: int = 0,
) -> NetworkReplay:
    """T periods of B networks.

    Parameters
    ----------
    demand : (B, n, T) units, >= 0.
    target : echelon order-up-to level in units: a number, (B,) or (B, T).
    laws : for period `t`, the laws (B, n) of each store's demand over the periods that a shipment protects, its lead
        time and one more.
    start : (B, n) units in the stores at first; warehouses start empty.
    skip : first periods that are not counted.

    Raises
    ------
    DataError : demand of another shape, missing or negative.
    """
    wanted = np.asarray(demand, dtype=np.float64)
    if wanted.ndim != 3 or wanted.shape[1] != network.n_stores or not (wanted >= 0).all():
        came = f"shape {wanted.shape}" + ("" if wanted.ndim != 3 else f", least {wanted.min(initial=0.0):g}")
        raise DataError(f"demand of at least 0, (networks, {network.n_stores}, periods)", came, table="network")
    b, n, n_periods = wanted.shape
    levels = np.asarray(target, dtype=np.float64)
    levels = np.broadcast_to(levels[:, None] if levels.ndim == 1 else levels, (b, n_periods))
    warehouse = Stock.of(np.zeros(b), network.lead_time)
    leads = np.tile(network.store_leads, b)
    stores = Stock.of(np.broadcast_to(np.asarray(start, dtype=np.float64), (b, n)).ravel(), int(leads.max()))
    buying = Economics(np.ones(()), np.zeros(()))
    selling = Economics(np.array(network.store_holding), np.array(network.stockout))
    sums = {name: np.zeros(b) for name in ("holding", "stockout", "bought", "sales", "short")}
    for t in range(n_periods):
        echelon = warehouse.position + stores.position.reshape(b, n).sum(axis=1)
        order = np.maximum(levels[:, t] - echelon, 0.0) * (t % network.review_period == 0)
        there = warehouse.on_hand + warehouse.pipeline[:, :1].sum(axis=1) + (order if not network.lead_time else 0.0)
        shipped = place(network, there, stores.position.reshape(b, n), laws(t))
        warehouse, kept = step(warehouse, order, shipped.sum(axis=1), buying, lead_time=network.lead_time)
        stores, sold = step(
            stores, shipped.ravel(), wanted[:, :, t].ravel(), selling, unmet=network.unmet, lead_time=leads
        )
        if t >= skip:
            moving = stores.on_order.reshape(b, n).sum(axis=1)
            by_network = {
                k: getattr(sold, k).reshape(b, n).sum(axis=1) for k in ("holding", "stockout", "sales", "short")
            }
            by_network["holding"] = by_network["holding"] + network.holding_cost * (kept.end_stock + moving)
            for name, values in (by_network | {"bought": order}).items():
                sums[name] += values
    return NetworkReplay(**sums, periods=n_periods - skip, warehouse=warehouse, stores=stores)


def place(network: Network, there: Array, position: Array, law: QuantileFunction) -> Array:
    """(B, n) units to ship now: each to where it gains most, none beyond a store's `top_level`.

    Parameters
    ----------
    there : (B,) units that the warehouse holds.
    position : (B, n) units at and on their way to the stores, less what they owe.
    law : (B, n) demand until the next shipment can arrive.
    """
    grid = law if isinstance(law, Grid) else Grid(_LEVELS, law.quantile(_LEVELS))
    low, high = np.full(len(there), -network.holding_cost), np.full(len(there), network.stockout)
    wanted = _asked(network, low, position, grid)
    is_enough = wanted.sum(axis=1) <= there
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = _asked(network, middle, position, grid).sum(axis=1) <= there
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
    more, less = _asked(network, low, position, grid), _asked(network, high, position, grid)
    gap = (more - less).sum(axis=1)  # a jump: units between are worth the same, whoever gets them
    share = np.divide(there - less.sum(axis=1), gap, out=np.zeros_like(gap), where=gap > 1e-12)
    shipped = np.where(is_enough[:, None], wanted, less + share.clip(0.0, 1.0)[:, None] * (more - less))
    return _rest(network, there, position, law, np.floor(shipped + 1e-9), wanted) if network.is_whole else shipped


def _asked(network: Network, value: Array, position: Array, grid: Grid) -> Array:
    """(B, n) units that stores take where a unit is worth `value` (B,) at the warehouse."""
    level = (network.stockout - value) / (network.stockout + network.store_holding)
    aim = quantile_each(grid, np.broadcast_to(level[:, None], grid.shape))
    return np.where(level[:, None] > 0, np.maximum(aim - position, 0.0), 0.0)


_HALVINGS = 40
_LEVELS = np.concatenate(([1e-6], np.arange(1, 400) / 400, [0.9985, 0.9995, 0.9999, 1.0 - 1e-6]))


def _rest(
    network: Network, there: Array, position: Array, law: QuantileFunction, shipped: Array, wanted: Array
) -> Array:
    """What rounding and jumps of the laws left over goes, unit by unit, to the stores that gain most."""
    for _ in range(_PASSES * network.n_stores):
        left = there - shipped.sum(axis=1)
        lacking = np.ceil(wanted - 1e-9) - shipped
        chance = law.cdf(position + shipped)
        gain = np.where((lacking > 0) & (chance < network.top_level), 1.0 - chance, -1.0)
        best = gain.argmax(axis=1)
        rows = np.flatnonzero((left >= 1.0 - 1e-9) & (gain.max(axis=1) > 0))
        if not len(rows):
            break
        shipped[rows, best[rows]] += 1.0
    return shipped


_PASSES = 4


def echelon_target(law: QuantileFunction, level: float) -> Array:
    """(B,) units: the quantile of the network's demand over `Network.protected` periods; `level` is for tuning."""
    return np.asarray(law.quantile([level])[..., 0])


def tuned_target(
    network: Network, demand: Array, law: QuantileFunction, laws: Callable[[int], QuantileFunction],
    levels: Sequence[float], *, skip: int = 0,
) -> tuple[float, Array]:  # fmt: skip
    """The level whose target costs least on past demand (B, n, T), and the targets (B,); every level is replayed."""

    def cost(level: float) -> float:
        made = replay_network(network, demand, echelon_target(law, level), laws, skip=skip)
        return float(made.mean_cost.sum())

    best = min(levels, key=cost)
    return best, echelon_target(law, best)


def joint_sum(law: QuantileFunction, correlation: float, rng: np.random.Generator, n_paths: int = 2000) -> Empirical:
    """(B,) the network's demand from its stores' laws (B, n), which share a shock (one Gaussian factor).

    Parameters
    ----------
    correlation : in [0, 1]: 0 for independent stores, 1 for stores that rise and fall together.

    Raises
    ------
    DataError : another correlation.
    """
    if not 0.0 <= correlation <= 1.0:
        raise DataError("a correlation from 0 to 1", f"{correlation:g}", table="network")
    b, n = law.shape
    common, own = rng.normal(size=(n_paths, 1)), rng.normal(size=(n_paths, n))
    shock = np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * own
    places = np.minimum((_ranks(shock) * _POINTS).astype(np.int64), _POINTS - 1)
    points = law.quantile((np.arange(_POINTS) + 0.5) / _POINTS)
    sums = np.stack([points[:, np.arange(n), path].sum(axis=1) for path in places], axis=1)
    return Empirical.of(sums.reshape(b, n_paths))


_POINTS = 200


def _ranks(values: Array) -> Array:
    """Shares in (0, 1) of each column's order: what a Gaussian cdf would give, exactly even."""
    order = values.argsort(axis=0).argsort(axis=0)
    return np.asarray((order + 0.5) / len(values))
