"""The closed loop: a forecaster that sees only what its own orders let it sell.

In an open replay forecasts are made from recorded history, whatever the rule ordered. In a shop they are made from the
rule's own sales, where a sold-out period hides demand: a rule that orders little sees little, and orders less. Here the
replay goes period by period, writes its own sales into the panel, and forecasts again at every review.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.censoring import at_least, with_history
from shelfcast.data.panel import Panel
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon
from shelfcast.inventory.economics import Array
from shelfcast.inventory.orders import GridLaws
from shelfcast.inventory.policies import Policy
from shelfcast.inventory.stock import Stock
from shelfcast.inventory.trials import Outcome, Trial, decision, run_decision
from shelfcast.laws import QuantileFunction

Mask = NDArray[np.bool_]
Predict = Callable[[Panel, int], Forecast]
_CONTEXT = 26  # periods of recorded history before the first that completion may look at


class SoldOut(Enum):
    """What the forecaster is told of periods that ended with an empty shelf."""

    TRUTH = "truth"  # the demand there was: the open loop
    AS_SOLD = "as sold"
    DROPPED = "dropped"
    AT_LEAST = "at least"


@dataclass
class _OwnSales:
    """What the replay has sold so far: sales, whether the shelf ended empty, whether it began empty; (N, T)."""

    sales: Array
    ended_empty: Mask
    began_empty: Mask


def closed_loop(
    panel: Panel, predict: Predict, rule: Policy, trial: Trial, first: int, told: SoldOut, *, n_block: int = 4
) -> Outcome:
    """Replay a rule whose forecasts are made from its own sales.

    Parameters
    ----------
    panel : recorded history up to the period before `first`, and rows for the periods replayed.
    predict : a forecast of the panel's series from an origin; it sees nothing after it.
    trial : all series of the panel, its first period being `first`; lead times of at least a period.
    told : what becomes of sold-out periods; in periods that began empty nothing is observed, but for the truth.
    n_block : periods a block of the outcome.
    """
    loop = _Loop(panel, predict, trial, first, told)
    order = decision(trial, rule, loop)

    def decide(t: int, stock: Stock) -> Array:
        wanted = order(t, stock)
        loop.sold(t, stock.on_hand + stock.pipeline[:, 0])
        return wanted

    return run_decision(trial, decide, n_block)


class _Loop:
    """Laws from own sales, which it is told period by period."""

    def __init__(self, panel: Panel, predict: Predict, trial: Trial, first: int, told: SoldOut) -> None:
        self._panel, self._predict, self._trial, self._first, self._told = panel, predict, trial, first, told
        shape = trial.demand.shape
        self.own = _OwnSales(np.zeros(shape), np.zeros(shape, bool), np.zeros(shape, bool))
        low = max(first - _CONTEXT, panel.first)
        self._past = panel.window(low, first - 1)
        self._laws: tuple[int, GridLaws] | None = None

    def sold(self, t: int, held: Array) -> None:
        """Write down period `t`, which began with `held` (N,) units on the shelf."""
        self.own.sales[:, t] = np.minimum(held, self._trial.demand[:, t])
        self.own.ended_empty[:, t] = held <= self._trial.demand[:, t]
        self.own.began_empty[:, t] = held <= 0

    def __call__(self, t: int, horizon: Horizon) -> QuantileFunction:
        if self._laws is None or self._laws[0] != t:
            made = self._predict(self._seen(t), self._first + t - 1)
            self._laws = t, GridLaws.of(made)
        return self._laws[1].law(horizon, np.arange(len(self._trial.demand)))

    def _seen(self, t: int) -> Panel:
        """The panel as the shop knows it before period `t`."""
        if t == 0:
            return self._panel.as_of(self._first - 1)
        demand, observed = self._demand(t)
        return with_history(self._panel, self._first, demand, observed)

    def _demand(self, t: int) -> tuple[Array, Mask]:
        """Demand and observed (N, t) of the replayed periods."""
        sales, ended, began = self.own.sales[:, :t], self.own.ended_empty[:, :t], self.own.began_empty[:, :t]
        if self._told is SoldOut.TRUTH:
            return self._trial.demand[:, :t], np.ones(sales.shape, dtype=bool)
        if self._told is SoldOut.AS_SOLD:
            return sales, np.ones(sales.shape, dtype=bool)
        if self._told is SoldOut.DROPPED:
            return sales, ~ended
        before, seen = self._past
        whole = at_least(
            np.concatenate((before.astype(np.float64), sales), axis=1),
            np.concatenate((seen, ~began), axis=1),
            np.concatenate((np.zeros(seen.shape, bool), ended), axis=1),
        )
        return whole[:, before.shape[1] :], ~began
