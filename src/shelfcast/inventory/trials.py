"""A stretch of history on which rules are tried: the same demand, start and lead times for all of them.

Demand does not depend on orders, so any rule can be replayed on it; a rule sees at each review what could be known
then, and nothing else. What happened is kept by item and block of periods, so that differences between two rules can
be given intervals. Items differ in everything but lead time and review period; split a panel into such groups first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shelfcast.errors import ConfigError
from shelfcast.horizons import Horizon
from shelfcast.inventory.blocks import N_FLOWS, whole_packs
from shelfcast.inventory.budget import NO_LIMIT, Group, Scarce
from shelfcast.inventory.economics import Array, Economics, Supply
from shelfcast.inventory.policies import Policy, Target, View, mixed, needs_path, path_horizons
from shelfcast.inventory.simulator import replay_steps, reviews, steps
from shelfcast.inventory.stock import Ledger, Replay, Stock, Unmet
from shelfcast.laws import QuantileFunction


class Laws(Protocol):
    """Laws of demand of B items as they could be known before period `t` of the stretch."""

    def __call__(self, t: int, horizon: Horizon) -> QuantileFunction:
        """(B,) demand over `horizon`, whose first period is `t`, units."""
        ...


@dataclass(frozen=True)
class Trial:
    """B items over T periods.

    Parameters
    ----------
    demand : (B, T) units; where not counted it still moves stock.
    counted : (B, T) bool: periods that enter the results.
    stock : at the start of the first period.
    economics : what is charged.
    supply : one lead time and one review period for all items; the rest may differ.
    believed : what rules are told instead of `economics`, to see what wrong costs do.
    planned : lead time that rules are told instead of the true one.
    first : number of the first period.
    calendar : (T, C) what is known of each period, as `View.calendar`.
    scarce : what the orders of a review may take together.
    """

    demand: Array
    counted: NDArray[np.bool_]
    stock: Stock
    economics: Economics
    supply: Supply
    believed: Economics | None = None
    planned: int | None = None
    first: int = 0
    calendar: Array | None = None
    scarce: Scarce = NO_LIMIT

    def __post_init__(self) -> None:
        for name in ("lead_time", "review_period"):
            values = np.unique(getattr(self.supply, name))
            if len(values) != 1:
                raise ConfigError(
                    "supply", f"expected one {name.replace('_', ' ')} for all items; got {values.tolist()}"
                )

    @property
    def review_period(self) -> int:
        """Periods between two orders."""
        return int(np.max(self.supply.review_period))

    @property
    def lead_time(self) -> int:
        """The lead time that rules plan with."""
        return int(np.max(self.supply.lead_time)) if self.planned is None else self.planned


@dataclass(frozen=True)
class Outcome:
    """What a rule did on a trial: flows by item and block of periods, each (B, K), over counted periods.

    Parameters
    ----------
    ordered, received, sales, short, end_stock, waste : units; end stock in unit-periods.
    short_periods, periods : periods short, and periods counted.
    orders : orders placed; ordered_squares : sum of squared orders.
    cost, holding, stockout, cash : money; cost is holding plus stock-out, ordering and spoilage.
    """

    ordered: Array
    received: Array
    sales: Array
    short: Array
    end_stock: Array
    waste: Array
    short_periods: Array
    periods: Array
    orders: Array
    ordered_squares: Array
    cost: Array
    holding: Array
    stockout: Array
    cash: Array

    @classmethod
    def concat(cls, parts: Sequence["Outcome"]) -> "Outcome":
        """Items of several trials, one after another."""
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def take(self, items: NDArray[np.generic]) -> "Outcome":
        """Some items."""
        return Outcome(**{f.name: getattr(self, f.name)[items] for f in fields(self)})

    def total(self, name: str) -> float:
        """Sum of a flow over items and blocks."""
        return float(getattr(self, name).sum())


def run_rule(trial: Trial, rule: Policy, laws: Laws, n_periods: int) -> Outcome:
    """Replay a rule; blocks of `n_periods` periods, the last one shorter where they do not divide the stretch."""
    return Outlook(trial, laws).run(rule, n_periods)


def run_decision(trial: Trial, decide: Callable[[int, Stock], Array], n_periods: int) -> Outcome:
    """As `run_rule`, for any decision, which is asked in every period as `steps` does."""
    n, length = trial.demand.shape
    block = np.arange(length) // n_periods
    flows = {f.name: np.zeros((n, int(block[-1]) + 1)) for f in fields(Outcome)}
    for t, _, ledger in steps(decide, trial.demand, trial.stock, trial.economics, trial.supply):
        seen = trial.counted[:, t]
        for name, values in _flows(ledger).items():
            flows[name][:, block[t]] += np.where(seen, values, 0.0)
    return Outcome(**flows)


@dataclass
class Outlook:
    """A trial, and what can be known at each of its reviews, worked out once however many rules are tried.

    Parameters
    ----------
    trial, laws : what happens, and what is forecast.
    """

    trial: Trial
    laws: Laws
    _views: dict[tuple[int, bool], View] = field(default_factory=dict, repr=False)

    def at(self, t: int, stock: Stock, *, with_path: bool) -> View:
        """As `view_at`."""
        if (t, with_path) not in self._views:
            self._views[t, with_path] = view_at(self.trial, t, stock, self.laws, with_path=with_path)
        return replace(self._views[t, with_path], stock=stock)

    def run(self, rule: Policy, n_periods: int) -> Outcome:
        """Replay a rule; blocks of `n_periods` periods."""
        trial, length = self.trial, self.trial.demand.shape[1]
        n, starts = len(trial.demand), np.arange(0, length, n_periods)
        units, squares = np.zeros((len(starts), N_FLOWS, n)), np.zeros((len(starts), n))
        told = (trial.demand, trial.stock, trial.economics, trial.supply, trial.counted)
        for periods, made in reviews(self.decision(rule), *told, block=n_periods):
            units[periods.start // n_periods] += made
            squares[periods.start // n_periods] += made[0] ** 2  # an order is placed in the first period alone
        money = trial.economics.for_items(n)
        found = [_flows(replace(Ledger.of(part[:-1], money), cash=part[-1])) for part in units]
        flows = {name: np.stack([part[name] for part in found], axis=1) for name in found[0]}
        flows["ordered_squares"] = squares.T.copy()
        flows["periods"] = np.add.reduceat(trial.counted, starts, axis=1, dtype=np.float64)
        return Outcome(**flows)

    def decision(self, rule: Policy) -> Callable[[int, Stock], Array]:
        """What is asked in every period: nothing between reviews, else the rule on what is known."""
        trial, review, is_projecting = self.trial, self.trial.review_period, needs_path(rule)
        terms = trial.supply.for_items(len(trial.demand))

        def decide(t: int, stock: Stock) -> Array:
            if t % review:
                return np.zeros(1)
            view = self.at(t, stock, with_path=is_projecting)
            wanted = rule.order(view)
            if not trial.scarce.binds:
                return wanted
            packs, group = (
                whole_packs(wanted, terms.pack_size, terms.minimum_order),
                Group(np.arange(len(wanted)), view.law),
            )
            return trial.scarce.keep(packs, stock.position, [group], view.economics.over(review), terms)

        return decide


def _flows(ledger: Ledger) -> dict[str, Array]:
    """Columns of an outcome from one period."""
    same = ("ordered", "received", "sales", "short", "end_stock", "waste", "short_periods", "orders", "holding")
    found = {name: getattr(ledger, name) for name in (*same, "stockout", "cash")}
    return found | {
        "cost": ledger.mismatch,
        "periods": np.ones_like(ledger.sales),
        "ordered_squares": ledger.ordered**2,
    }


def decision(trial: Trial, rule: Policy, laws: Laws) -> Callable[[int, Stock], Array]:
    """What `steps` asks in every period, as `Outlook.decision`."""
    return Outlook(trial, laws).decision(rule)


def view_at(trial: Trial, t: int, stock: Stock, laws: Laws, *, with_path: bool) -> View:
    """What a buyer knows when ordering in period `t` of a trial."""
    lead, review = trial.lead_time, trial.review_period
    chances = trial.supply.chances
    horizon = Horizon(0, lead + review)
    law = laws(t, horizon) if chances is None else mixed(lambda h: laws(t, h), chances, review)
    path = tuple(laws(t, h) for h in path_horizons(lead, review)) if with_path else ()
    money = (trial.believed or trial.economics).for_items(len(trial.demand))
    calendar = () if trial.calendar is None else tuple(trial.calendar[t].tolist())
    return View(
        trial.first + t - 1, stock, horizon, law, money, review, path=path, chances=chances,
        pack_size=trial.supply.pack_size, calendar=calendar,
    )  # fmt: skip


@dataclass(frozen=True)
class Segmented:
    """Another rule for each segment of items.

    Parameters
    ----------
    rules : one a segment.
    which : (B,) segment of each item.
    """

    rules: tuple[Policy, ...]
    which: NDArray[np.int64]

    @property
    def is_projecting(self) -> bool:
        """Whether one of them needs the path."""
        return any(needs_path(rule) for rule in self.rules)

    def target(self, view: View) -> Target:
        distinct = list(dict.fromkeys(self.rules))
        made = {rule: rule.target(view) for rule in distinct}
        every = [made[rule] for rule in self.rules]
        columns = {f.name: np.stack([getattr(aim, f.name) for aim in every]) for f in fields(Target)}
        rows = np.arange(len(self.which))
        return Target(**{name: values[self.which, rows] for name, values in columns.items()})

    def order(self, view: View) -> Array:
        return self.target(view).order(view.stock.position)


@dataclass(frozen=True)
class Oracle:
    """Perfect knowledge of demand: what no rule can beat by much, for reference only.

    Orders what the window served will sell beyond the stock that will be left; the last pack only where holding what
    it leaves costs less than the sales it saves. Exact for packs of one and fixed lead times; greedy with larger packs.

    Parameters
    ----------
    demand : (B, T) units, from period `first` on.
    supply, economics, first : as in the trial.
    """

    demand: Array
    supply: Supply
    economics: Economics
    first: int = 0

    def target(self, view: View) -> Target:
        t, lead, review = view.origin + 1 - self.first, view.lead_time, view.review_period
        n, length = self.demand.shape
        ahead = np.zeros((n, max(t + lead + review, length) - t))
        ahead[:, : length - t] = self.demand[:, t:]
        shelf = np.array(view.stock.on_hand)
        for k in range(lead + 1):
            shelf += view.stock.pipeline[:, k] if k < view.stock.pipeline.shape[1] else 0.0
            shelf = np.maximum(shelf - ahead[:, k], 0.0) if k < lead else shelf
        window = ahead[:, lead : lead + review].sum(axis=1)
        needed = np.maximum(window - shelf, 0.0)
        return Target.of(view.stock.position + self._packs(needed, ahead[:, lead + review :]))

    def _packs(self, needed: Array, later: Array) -> Array:
        """(B,) units: whole packs, rounded down where the last pack costs more to hold than it saves."""
        terms, money = self.supply.for_items(len(needed)), self.economics.for_items(len(needed))
        full = whole_packs(needed, terms.pack_size, terms.minimum_order)
        size = np.maximum(terms.pack_size, 1e-9)
        fewer = np.where(terms.pack_size > 0, np.floor(needed / size + 1e-9) * size, needed)
        fewer = np.where(fewer >= terms.minimum_order, fewer, 0.0)
        used = np.cumsum(later, axis=1)
        held = (full - needed) + np.maximum((full - needed)[:, None] - used, 0.0).sum(axis=1)
        return np.where(money.stockout_cost * (needed - fewer) < money.holding_cost * held, fewer, full)

    def order(self, view: View) -> Array:
        return self.target(view).order(view.stock.position)


def replay_policy(
    rule: Policy,
    laws: Callable[[int], QuantileFunction],
    demand: ArrayLike,
    stock: Stock,
    economics: Economics,
    supply: Supply,
    *,
    unmet: Unmet = Unmet.LOST,
    observed: ArrayLike | None = None,
) -> Replay:
    """Replay any rule that looks at one sum, one period at a time, all items together.

    Parameters
    ----------
    laws : gives, for period `t`, the law (B,) of demand over periods `t .. t + L + R - 1`, made from periods before
        `t` only.
    supply : one lead time and one review period for all items; the rest may differ.
    demand, stock, economics, unmet, observed : as in `simulator.replay`.

    Raises
    ------
    ConfigError : lead times or review periods differ; replay such groups apart.
    """
    wanted = np.asarray(demand, dtype=np.float64)
    trial = Trial(wanted, np.ones(wanted.shape, dtype=bool), stock, economics, supply)
    decide = decision(trial, rule, lambda t, horizon: laws(t))
    return replay_steps(decide, demand, stock, economics, supply, unmet=unmet, observed=observed)


def with_ratio(economics: Economics, critical_ratio: float, review_period: ArrayLike) -> Economics:
    """The same, but the stock-out cost that gives every item a critical ratio."""
    odds = critical_ratio / (1.0 - critical_ratio)
    return replace(economics, stockout_cost=economics.over(review_period).holding_cost * odds)
