"""The simulator in torch: the same period, so that a buying rule can be trained by the gradient of what it costs.

The order of events is told in `simulator` and its arithmetic is used here (`trade`, `Ledger.of`); tensors flow through
it instead of arrays. Demand does not depend on orders, so a whole history is one graph. Orders are continuous unless
`is_whole` asks for packs, whose gradient is then passed straight through.

A trap: whole demand against whole targets sits on the kinks of `max(x, 0)`, where the gradient is wrong (measured -0.17
for -0.076). Jitter demand, or start off the lattice (`jittered`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shelfcast.inventory.blocks import whole_packs
from shelfcast.inventory.economics import Array, Economics, Supply
from shelfcast.inventory.simulator import trade
from shelfcast.inventory.stock import Ledger, Stock, Unmet

Decide = Callable[[int, Tensor, Sequence[Tensor]], Tensor]
"""Units (B,) wanted in period `t`, from stock (B,) before receipt and open orders (B,) by period, the present first."""


@dataclass(frozen=True)
class Terms:
    """What does not depend on orders, as tensors.

    Parameters
    ----------
    price, cost, holding_cost, stockout_cost, order_cost, storage, discount, worth : (B,) money; `worth` of a unit that
        is left after the last period, as `Economics`.
    lead : (T, B) periods that an order placed then takes.
    planned, review, life : (B,) periods.
    supply : the packs, for whole orders.
    """

    price: Tensor
    cost: Tensor
    holding_cost: Tensor
    stockout_cost: Tensor
    order_cost: Tensor
    storage: Tensor
    discount: Tensor
    worth: Tensor
    lead: Tensor
    planned: Tensor
    review: Tensor
    life: Tensor
    supply: Supply

    @classmethod
    def of(cls, economics: Economics, supply: Supply, n: int, n_periods: int, dtype: torch.dtype) -> "Terms":
        """Of B = `n` items over `n_periods`."""
        money, terms = economics.for_items(n), supply.for_items(n)
        names = ("price", "cost", "holding_cost", "stockout_cost", "order_cost", "storage", "discount")
        amounts = {name: _tensor(getattr(money, name), dtype) for name in names}
        worth = _tensor(np.minimum(money.cost, money.salvage), dtype)
        lead = np.broadcast_to(terms.lead_time[:, None], (n, n_periods)) if terms.drawn is None else terms.drawn
        rows = (lead[:, :n_periods].T, terms.lead_time, terms.review_period, terms.shelf_life)
        return cls(**amounts, worth=worth, **dict(zip(_WHOLE, (_tensor(r, torch.int64) for r in rows), strict=True)),
                   supply=terms)  # fmt: skip

    @property
    def width(self) -> int:
        """Periods that an open order can still take."""
        return int(max(self.lead.max(), self.planned.max()))


_WHOLE = ("lead", "planned", "review", "life")


def _tensor(values: Any, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.array(values)).to(dtype)


@dataclass(frozen=True)
class Rollout:
    """What a rule did: the ledger in tensors, (B,) summed over counted periods, and the stock after the last."""

    ledger: Ledger
    on_hand: Tensor
    pipeline: tuple[Tensor, ...]

    @property
    def cost(self) -> Tensor:
        """(B,) money: mismatch cost."""
        money: Any = self.ledger
        total: Tensor = money.holding + money.stockout + money.ordering + money.spoilage
        return total


def rollout(
    decide: Decide,
    demand: Tensor,
    stock: Stock,
    economics: Economics,
    supply: Supply,
    *,
    counted: Tensor | None = None,
    unmet: Unmet = Unmet.LOST,
    is_whole: bool = False,
) -> Rollout:
    """T periods of B items; with `is_whole` exactly what `simulator.replay_steps` does.

    Parameters
    ----------
    demand : (B, T) units, of the type to compute in.
    counted : (B, T) weight of each period in the ledger; all count without it.
    is_whole : orders in whole packs, at least the minimum; the gradient ignores the rounding.
    """
    n, n_periods = demand.shape
    terms = Terms.of(economics, supply, n, n_periods, demand.dtype)
    on_hand = _tensor(stock.on_hand, demand.dtype)
    held = stock.pipeline.shape[1]
    zero = torch.zeros_like(on_hand)
    due = [_tensor(stock.pipeline[:, k], demand.dtype) if k < held else zero for k in range(max(held, terms.width) + 1)]
    fresh = [_tensor(column, demand.dtype) for column in stock.receipts(int(terms.life.max())).T]
    total: Any = None
    placed: list[Tensor] = []
    for t in range(n_periods):
        shown = due if terms.supply.drawn is None else _as_planned(due, placed, terms)
        asked = decide(t, on_hand, shown) * (t % terms.review == 0)
        order = _packed(asked, terms.supply) if is_whole else asked
        placed.append(order)
        due = [units + order * (terms.lead[t] == k) for k, units in enumerate(due)]
        received = due[0]
        shelf, short, sales = trade(on_hand, received, demand[:, t])
        waste, fresh = _spoiled(received, shelf, fresh, terms.life)
        shelf = shelf - waste
        on_hand = shelf if unmet is Unmet.LOST else shelf - short
        due = [*due[1:], zero]
        ledger = _ledger((order, received, sales, short, shelf, waste), terms, t)
        weight = 1.0 if counted is None else counted[:, t]
        flows = [getattr(ledger, f.name) * weight for f in fields(Ledger)]
        total = flows if total is None else [a + b for a, b in zip(total, flows, strict=True)]
    made = Ledger(*total)
    credit: Any = terms.discount**n_periods * terms.worth * on_hand.clip(0.0)
    return Rollout(replace(made, cash=made.cash + credit), on_hand, tuple(due[:-1]))


def _ledger(flows: tuple[Tensor, ...], terms: Terms, t: int) -> Ledger:
    """Of one period, cash discounted to the first."""
    order, received, sales, short, shelf, waste = flows
    marks = ((short > 0).to(short.dtype), waste, (order > 0).to(order.dtype))
    units: Any = (order, received, sales, short, shelf, *marks)
    money: Any = terms
    made = Ledger.of(units, money)
    return replace(made, cash=made.cash * money.discount**t)


def _packed(asked: Tensor, supply: Supply) -> Tensor:
    """Whole packs in value, `asked` in gradient."""
    whole = whole_packs(asked.detach().numpy().astype(np.float64), supply.pack_size, supply.minimum_order)
    return asked + (_tensor(whole, asked.dtype) - asked).detach()


def _spoiled(received: Tensor, shelf: Tensor, fresh: list[Tensor], life: Tensor) -> tuple[Tensor, list[Tensor]]:
    """(B,) units to throw away, and the receipts to remember, as in `simulator`."""
    if not fresh:
        return torch.zeros_like(shelf), fresh
    recent = [received, *fresh[:-1]]
    kept = sum((units * (k < life - 1) for k, units in enumerate(recent)), torch.zeros_like(shelf))
    return (shelf - kept).clip(0.0) * (life > 0), recent


def _as_planned(due: list[Tensor], placed: list[Tensor], terms: Terms) -> list[Tensor]:
    """Open orders at the periods they were planned for, at the earliest the next, as in `simulator`."""
    shown, t = list(due), len(placed)
    for back in range(1, min(t, len(due) - 1) + 1):
        comes = terms.lead[t - back] - back
        plan = (terms.planned - back).clip(1)
        moved = placed[t - back] * (comes > 0)
        shown = [units + moved * ((plan == k) * 1 - (comes == k) * 1) for k, units in enumerate(shown)]
    return shown


def jittered(demand: Array, rng: np.random.Generator) -> Array:
    """Whole demand (B, T) spread by half a unit either way where there is any: off the kinks, the mean kept."""
    return np.where(demand > 0, demand + rng.uniform(-0.5, 0.5, demand.shape), 0.0)
