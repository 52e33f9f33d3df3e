"""Settings by brute force: every candidate is replayed on a tuning period, the cheapest is taken.

A segment of items gets a setting of its own only where that saves beyond doubt on the tuning period, since settings
chosen for few items are chosen on noise. The test period is never seen here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from shelfcast.inventory.economics import Array, Economics, Ints, Supply
from shelfcast.inventory.policies import (
    CappedBaseStock,
    Cover,
    Policy,
    ProjectedStockout,
    QuantileOfSum,
    ReorderPoint,
    SafetyStock,
)
from shelfcast.inventory.savings import difference
from shelfcast.inventory.simulator import replay
from shelfcast.inventory.stock import Rule, Stock, Unmet
from shelfcast.inventory.trials import Outcome

_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99)
_CAPPED = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def candidates(name: str, protected: int, review: int) -> list[Policy]:
    """Settings worth trying for a rule, for orders that protect `protected` periods; empty for a rule without any.

    Raises nothing: a name without candidates is a rule that is not tuned.
    """
    made: dict[str, Callable[[], list[Policy]]] = {
        "cover": lambda: [
            Cover(round(k * protected, 3)) for k in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.33, 1.6, 2.0, 2.5, 3.0)
        ],
        "safety-stock": lambda: [SafetyStock(z) for z in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.645, 2.0, 2.5, 3.0)],
        "quantile": lambda: [QuantileOfSum(level) for level in _LEVELS],
        "capped": lambda: [CappedBaseStock(cap, level) for cap, level in product((0.8, 1.0, 1.5, 3.0), _CAPPED)],
        "reorder-point": lambda: [ReorderPoint(a, b * review) for a, b in product(_LEVELS[4::2], (1.0, 2.0, 4.0, 8.0))],
        "projected": lambda: [ProjectedStockout(m) for m in (0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.1, 2.5)],
    }
    return made[name]() if name in made else []


@dataclass(frozen=True)
class Tuned:
    """The setting for all items and those of segments that differ.

    Parameters
    ----------
    rules : one a segment.
    overall : the one for all.
    """

    rules: tuple[Policy, ...]
    overall: Policy


def tune(rules: Sequence[Policy], run: Callable[[Policy], Outcome], which: Ints) -> Tuned:
    """The cheapest rule on a tuning period, for all and by segment.

    Parameters
    ----------
    rules : candidates, at least one.
    run : replays a rule on the tuning period.
    which : (B,) segment of each item.
    """
    costs = [run(rule).cost for rule in rules]
    best = int(np.argmin([cost.sum() for cost in costs]))
    chosen = []
    for segment in range(int(which.max(initial=0)) + 1):
        items = which == segment
        own = int(np.argmin([cost[items].sum() for cost in costs]))
        surely = own != best and difference(costs[own][items], costs[best][items], n=200).is_saving
        chosen.append(rules[own if surely else best])
    return Tuned(tuple(chosen), rules[best])


def cheapest_rule(
    rules: Sequence[Rule], demand: Array, stock: Stock, economics: Economics, supply: Supply, *, skip: int = 0,
    unmet: Unmet = Unmet.LOST,
) -> Rule:  # fmt: skip
    """Of rules in units, the one that costs least on past demand (B, T), each by compiled replay.

    Parameters
    ----------
    rules : candidates, at least one, as every pair of target and cap of a lattice.
    skip : first periods that are not counted.
    """
    counted = np.broadcast_to(np.arange(demand.shape[1]) >= skip, demand.shape)

    def cost(rule: Rule) -> float:
        made = replay(demand, rule, stock, economics, supply, unmet=unmet, observed=counted)
        return float(made.ledger.mismatch.sum())

    return min(rules, key=cost)
