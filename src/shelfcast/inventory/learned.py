"""A learned rule: the projected rule, with its one setting and a cap chosen anew at every order by small networks.

What a network emits is a factor on the stock-out chance that `ProjectedStockout` allows, and a cap on one order. With
both at rest it *is* the projected rule, and no network can order for a shelf that holds enough; so it starts strong and
stays safe far from what it has seen. It looks at quantiles of demand over the protected periods and over the window
that the order serves, stock, pipeline by period, costs, lead times, packs and the calendar, all in multiples of a
review's mean demand. Several networks, one a seed, are averaged. Trained in `learning`; here numpy is enough, so a
learned rule orders where there is no torch. On disk it is a JSON text.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shelfcast.errors import StoreError
from shelfcast.inventory import projection
from shelfcast.inventory.economics import Array
from shelfcast.inventory.policies import ProjectedStockout, Target, View

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)
N_SLOTS = 6  # periods of arrival that are told apart: the present with the shelf, four more, and the rest
N_INPUTS = 2 * len(LEVELS) + 7 + N_SLOTS + 1
MOST_SHIFT, USUAL_CAP, MOST_CAP = 1.5, 8.0, 20.0  # log of the factor; reviews of mean demand; factor on it either way
_LEAST_SCALE = 0.25  # units: what sells less is measured by this

Weights = tuple[Any, ...]
"""Matrices and offsets of a network by turns, arrays or tensors."""


@dataclass(frozen=True)
class Evidence:
    """How a learned rule did on a test period against the cheapest tuned rule there.

    Parameters
    ----------
    against : that rule.
    relative, low, high : difference of cost and its 95 % interval; below 0 is a saving.
    seeds : the difference of each network by itself.
    """

    against: str
    relative: float
    low: float
    high: float
    seeds: tuple[float, ...] = ()

    @property
    def is_accepted(self) -> bool:
        """Whether the interval excludes zero on the side of a saving."""
        return self.high < 0.0


@dataclass(frozen=True)
class Learned:
    """The projected rule moved by networks.

    Parameters
    ----------
    nets : weights of each, (F, H), (H,), (H, H), (H,), (H, 2), (2,).
    m : of the projected rule, as there.
    uses_calendar : whether the networks have learned from the calendar; else it is hidden from them.
    evidence : from a test period; None before one.
    """

    nets: tuple[Weights, ...]
    m: float | None = None
    uses_calendar: bool = False
    evidence: Evidence | None = None

    is_projecting = True

    def target(self, view: View) -> Target:
        scale = scale_of(view)
        seen = np.concatenate(
            (known(view, scale, self.uses_calendar), np.stack(held(*_stock(view), scale), axis=1)), axis=1
        )
        shift, cap = (np.mean([emitted(net, seen)[k] for net in self.nets], axis=0) for k in (0, 1))
        allowed = np.minimum(ProjectedStockout(self.m).allowed(view) * np.exp(shift), 1.0)
        wanted = projection.wanted(view.stock.on_hand, view.stock.pipeline, *view.atoms, np.ascontiguousarray(allowed))
        return Target.of(view.stock.position + wanted, cap * scale, 1.0 - allowed)

    def order(self, view: View) -> Array:
        return self.target(view).order(view.stock.position)

    def __hash__(self) -> int:
        return id(self)

    def text(self) -> str:
        """All of it as JSON; numbers come back exactly."""
        facts = {"m": self.m, "uses_calendar": self.uses_calendar}
        evidence = None if self.evidence is None else asdict(self.evidence)
        return json.dumps(facts | {"evidence": evidence, "nets": [[w.tolist() for w in net] for net in self.nets]})

    @classmethod
    def of_text(cls, text: str, where: str = "a learned rule") -> "Learned":
        """Inverse of `text`. Raises StoreError, naming `where` it came from, where it is no such text."""
        try:
            facts = json.loads(text)
            nets = tuple(tuple(np.array(w, dtype=np.float64) for w in net) for net in facts["nets"])
            given = facts["evidence"]
            evidence = None if given is None else Evidence(**(given | {"seeds": tuple(given["seeds"])}))
            made = cls(nets, facts["m"], bool(facts["uses_calendar"]), evidence)
            fits = bool(nets) and all(net[0].shape[0] == N_INPUTS and net[-1].shape == (2,) for net in nets)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise StoreError(f"expected a learned rule in {where}; got: {error}. {_AGAIN}") from error
        if not fits:
            raise StoreError(f"expected networks of {N_INPUTS} inputs in {where}; got others. {_AGAIN}")
        return made

    def save(self, path: Path) -> None:
        """Write `text` to a file, whole or not at all; its folder must be there. Raises OSError."""
        staging = path.with_name(f".{path.name}.tmp")
        staging.write_text(self.text(), encoding="utf-8")
        staging.rename(path)

    @classmethod
    def load(cls, path: Path) -> "Learned":
        """Inverse of `save`. Raises StoreError where there is no such file, or it holds no learned rule."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"expected a learned rule in {path}; got: {error}. {_AGAIN}") from error
        return cls.of_text(text, str(path))


_AGAIN = "Run `shelfcast simulate` with the policy 'learned' again."


def _stock(view: View) -> tuple[Array, list[Array]]:
    return view.stock.on_hand, list(view.stock.pipeline.T)


def scale_of(view: View) -> Array:
    """(B,) units by which everything is measured: mean demand of a review period."""
    return np.maximum(view.rate * view.review_period, _LEAST_SCALE)


def known(view: View, scale: Array, uses_calendar: bool) -> Array:
    """(B, F) what does not depend on orders: laws, costs, lead times, packs, calendar."""
    year = view.calendar if uses_calendar else (0.0, 0.0)
    n, money = len(scale), view.economics.over(view.review_period)
    sums = view.law.quantile(LEVELS) / (scale * view.horizon.span / view.review_period)[:, None]
    window = view.path[-1].quantile(LEVELS) / scale[:, None]
    odds = np.log(np.maximum(money.stockout_cost, 1e-9) / money.holding_cost)
    numbers = (
        odds / 3.0,
        np.log1p(view.lead_time / view.review_period),
        view.lead_sd / view.review_period,
        np.log1p(np.asarray(view.pack_size) / scale),
        np.log(scale) / 3.0,
        *year,
    )
    columns = np.stack([np.broadcast_to(np.asarray(x, dtype=np.float64), (n,)) for x in numbers], axis=1)
    seen: Array = squashed(np.concatenate((sums, window, columns), axis=1))
    return seen


def held(on_hand: Any, due: list[Any], scale: Any) -> list[Any]:
    """Columns (B,) of stock and open orders by period, arrays or tensors."""
    none = on_hand * 0.0
    slots = [due[k] if k < len(due) else none for k in range(N_SLOTS - 1)]
    rest = sum(due[N_SLOTS - 1 :], none)
    return [squashed(x / scale) for x in (on_hand + slots[0], *slots[1:], rest, on_hand + sum(due, none))]


def squashed(x: Any) -> Any:
    """Nearly `x` where it is small, at most 8 either way; arrays or tensors."""
    return x / (1.0 + abs(x) / 8.0)


def emitted(weights: Weights, seen: Any) -> tuple[Any, Any]:
    """Log of the factor on the allowed stock-out chance, and the cap in units of scale, each (B,).

    Parameters
    ----------
    seen : (B, F) `known`, then `held`; arrays or tensors.
    """
    x = seen
    for place in range(0, len(weights) - 2, 2):
        x = (x @ weights[place] + weights[place + 1]).clip(0.0)
    raw = x @ weights[-2] + weights[-1]
    soft = raw / (1.0 + abs(raw))
    return MOST_SHIFT * soft[:, 0], USUAL_CAP * MOST_CAP ** soft[:, 1]
