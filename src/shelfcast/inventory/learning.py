"""Training of learned rules: direct back-propagation of what they cost, through the simulator in torch.

Each step replays some items of a trial with its own laws, which must come from models that saw nothing after each
origin, and follows the gradient of their cost per item, weighed by the root of what the item's demand is worth, so that
neither the largest nor the many small items rule alone. Some items are held out: every few steps the exact simulator
with whole orders replays them, and the cheapest weights so far are kept, the start included, which is the projected
rule itself. Orders are continuous in training; rounding up adds half a pack on average, and that is added. Packs above
one unit are rounded, with the gradient straight through.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shelfcast.errors import ConfigError
from shelfcast.inventory import projection
from shelfcast.inventory.economics import Array, Ints
from shelfcast.inventory.learned import N_INPUTS, Learned, Weights, emitted, held, known, scale_of
from shelfcast.inventory.policies import ProjectedStockout
from shelfcast.inventory.stock import Stock
from shelfcast.inventory.trials import Laws, Trial, run_rule, view_at
from shelfcast.inventory.twin import jittered, rollout

N_POINTS = 48  # values that stand for a law in training
_TINY = 1e-5  # chances below are left out in training, which shortens the tables


@dataclass(frozen=True)
class Schooling:
    """How networks are trained.

    Parameters
    ----------
    seeds : one network each.
    steps : of the optimiser.
    items : replayed in a step.
    most_items : of a trial that are used at all, drawn at random; bounds memory.
    hidden : units in each of the two layers.
    rate : of Adam, falling to zero along a cosine.
    held_out : share of items that only choose among weights.
    check : steps between two checks on them.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps: int = 60
    items: int = 256
    most_items: int = 1500
    hidden: int = 64
    rate: float = 3e-3
    held_out: float = 0.3
    check: int = 10


@dataclass(frozen=True)
class Lesson:
    """A trial and the laws that its rule may see."""

    trial: Trial
    laws: Laws


def train(
    lessons: Sequence[Lesson], schooling: Schooling = Schooling(), m: float | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Learned:  # fmt: skip
    """A rule learned on trials.

    Parameters
    ----------
    m : of the projected rule that it starts from.
    report : called with steps done and to do.

    Raises
    ------
    ConfigError : there is nothing to learn from.
    """
    if not lessons or not sum(len(lesson.trial.demand) for lesson in lessons):
        raise ConfigError("simulate.policies", "'learned' has no items to learn from", "leave it out")
    rng = np.random.default_rng(0)
    prepared = [_Prepared.of(lesson, m, schooling, rng) for lesson in lessons]
    nets = []
    for place, seed in enumerate(schooling.seeds):
        before, total = place * schooling.steps, len(schooling.seeds) * schooling.steps
        pupil = _Pupil(lessons, prepared, schooling, m, seed)
        nets.append(pupil.run(lambda done, before=before, total=total: report(before + done, total)))  # type: ignore[misc]
    return Learned(tuple(nets), m, _uses_calendar(lessons))


@dataclass(frozen=True)
class _Prepared:
    """What a lesson's rule sees and orders do not change, by review (V), for the items in use.

    Parameters
    ----------
    rows : (B,) items in use.
    seen : (V, B, F); log_allowed, scale : (V, B); values, weights : V of (B, K, Q), as `projection.atoms`.
    """

    rows: Ints
    seen: Tensor
    log_allowed: Tensor
    scale: Tensor
    values: list[Array]
    weights: list[Array]

    @classmethod
    def of(cls, lesson: Lesson, m: float | None, schooling: Schooling, rng: np.random.Generator) -> "_Prepared":
        trial, base = lesson.trial, ProjectedStockout(m)
        n, n_periods = trial.demand.shape
        rows = np.sort(rng.permutation(n)[: schooling.most_items])
        parts: dict[str, list[Any]] = {name: [] for name in ("seen", "log_allowed", "scale", "values", "weights")}
        for t in range(0, n_periods, trial.review_period):
            view = view_at(trial, t, trial.stock, lesson.laws, with_path=True)
            scale = scale_of(view)
            values, weights = projection.atoms(view.path, N_POINTS)
            parts["seen"].append(known(view, scale, trial.calendar is not None)[rows])
            parts["log_allowed"].append(np.log(np.maximum(base.allowed(view), 1e-9))[rows])
            parts["scale"].append(scale[rows])
            parts["values"].append(values[rows])
            parts["weights"].append(_trimmed(weights[rows]))
        tables = {name: torch.tensor(np.stack(parts[name])) for name in ("seen", "log_allowed", "scale")}
        return cls(rows, **tables, values=parts["values"], weights=parts["weights"])


def _uses_calendar(lessons: Sequence[Lesson]) -> bool:
    return all(lesson.trial.calendar is not None for lesson in lessons)


def _trimmed(weights: Array) -> Array:
    kept = np.where(weights < _TINY, 0.0, weights)
    return np.ascontiguousarray(kept / kept.sum(axis=-1, keepdims=True))


class _Pupil:
    """One network."""

    def __init__(
        self, lessons: Sequence[Lesson], prepared: Sequence[_Prepared], schooling: Schooling, m: float | None, seed: int
    ) -> None:
        self.lessons, self.prepared, self.schooling, self.m = lessons, prepared, schooling, m
        self.rng = np.random.default_rng([seed, 1])
        self.held_out = [self.rng.random(len(part.rows)) < schooling.held_out for part in prepared]
        self.net = _start((N_INPUTS, schooling.hidden, schooling.hidden, 2), seed)
        self.optimiser = torch.optim.Adam(self.net, lr=schooling.rate)
        sizes = np.array([max(int((~out).sum()), 0) for out in self.held_out], dtype=np.float64)
        self.chances = sizes / max(sizes.sum(), 1.0)

    def run(self, report: Callable[[int], None]) -> Weights:
        """The weights that cost least on the items held out."""
        best, kept = self.checked(), self.weights()
        for step in range(self.schooling.steps):
            self.advance(step)
            if (step + 1) % self.schooling.check == 0:
                cost = self.checked()
                best, kept = (cost, self.weights()) if cost < best else (best, kept)
            report(step + 1)
        return kept

    def weights(self) -> Weights:
        """A copy in numpy."""
        return tuple(part.detach().numpy().copy() for part in self.net)

    def advance(self, step: int) -> None:
        """One step on some items of one lesson."""
        place = int(self.rng.choice(len(self.lessons), p=self.chances))
        free = np.flatnonzero(~self.held_out[place])
        chosen = np.sort(self.rng.permutation(free)[: self.schooling.items])
        rate = self.schooling.rate * 0.5 * (1 + np.cos(np.pi * step / self.schooling.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        self.loss(place, chosen).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net, 1.0)
        self.optimiser.step()

    def loss(self, place: int, chosen: Ints) -> Tensor:
        """Mean weighed cost per item and counted period of items among those in use."""
        trial, part = self.lessons[place].trial, self.prepared[place]
        rows = part.rows[chosen]
        n = len(trial.demand)
        money, supply = trial.economics.for_items(n).take(rows), trial.supply.for_items(n).take(rows)
        stock = Stock(trial.stock.on_hand[rows] * self.rng.uniform(0.5, 1.2, len(rows)), trial.stock.pipeline[rows])
        counted = torch.tensor(trial.counted[rows].astype(np.float64))
        made = rollout(
            self.rule(part, chosen, trial, supply.pack_size), torch.tensor(jittered(trial.demand[rows], self.rng)),
            stock, money, supply, counted=counted, is_whole=bool((supply.pack_size > 1).any()),
        )  # fmt: skip
        worth = torch.tensor(np.sqrt(money.holding_cost * (money.holding_cost + money.stockout_cost)))
        weight = 1.0 / torch.sqrt(worth * part.scale[:, chosen].mean(dim=0))
        return (made.cost / counted.sum(dim=1).clip(1.0) / worth.mean() * weight / weight.mean()).mean()

    def rule(self, part: _Prepared, chosen: Ints, trial: Trial, packs: Array) -> Callable[..., Tensor]:
        """The network's decision on tensors: the same as `Learned`, but for rounding."""
        review, lead = trial.review_period, trial.lead_time
        half = torch.tensor(np.where(packs > 1, 0.0, packs / 2))

        def decide(t: int, on_hand: Tensor, due: Sequence[Tensor]) -> Tensor:
            if t % review:
                return torch.zeros_like(on_hand)
            v = t // review
            scale = part.scale[v, chosen]
            seen = torch.cat((part.seen[v, chosen], torch.stack(held(on_hand, list(due), scale), dim=1)), dim=1)
            shift, cap = emitted(tuple(self.net), seen)
            level = (part.log_allowed[v, chosen] + shift).clip(max=0.0)
            stages = [on_hand + due[0], *due[1:lead]] if lead else []
            stages.append(sum(due[lead:], on_hand * 0.0 if lead else on_hand))
            atoms = (part.values[v][chosen], part.weights[v][chosen])
            order: Tensor = _Wanted.apply(level, torch.stack(stages, dim=1), *atoms)  # type: ignore[no-untyped-call]
            order = torch.minimum(order, cap * scale)
            return order + torch.minimum(order, half)

        return decide

    def checked(self) -> float:
        """Cost of the items held out, whole orders, in the exact simulator."""
        rule, total = Learned((self.weights(),), self.m, _uses_calendar(self.lessons)), 0.0
        for lesson, part, out in zip(self.lessons, self.prepared, self.held_out, strict=True):
            outcome = run_rule(lesson.trial, rule, lesson.laws, lesson.trial.demand.shape[1])
            total += float(outcome.cost[part.rows[out]].sum())
        return total


class _Wanted(torch.autograd.Function):
    """The projected rule's order as a function of the allowed chance and of stock by period of arrival."""

    @staticmethod
    def forward(ctx: Any, log_allowed: Tensor, stages: Tensor, values: Array, weights: Array) -> Tensor:
        """(B,) units, from (B,) and (B, K)."""
        arrays = (np.ascontiguousarray(x.detach().numpy(), dtype=np.float64) for x in (stages, log_allowed.exp()))
        pipeline, allowed = arrays
        order, slopes = projection.sloped(np.zeros(len(pipeline)), pipeline, values, weights, allowed)
        ctx.save_for_backward(torch.from_numpy(slopes).to(stages.dtype))
        return torch.from_numpy(order).to(stages.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """Slopes times what comes."""
        (slopes,) = ctx.saved_tensors
        (grad,) = grads
        return grad * slopes[:, -1], grad[:, None] * slopes[:, :-1], None, None


def _start(widths: Sequence[int], seed: int) -> list[Tensor]:
    """Weights of a network that emits zeros."""
    generator = torch.Generator().manual_seed(seed)
    net = []
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        scale = (2.0 / inputs) ** 0.5 if place < len(widths) - 2 else 0.0
        drawn = torch.randn((inputs, outputs), generator=generator, dtype=torch.float64) * scale
        net += [drawn.requires_grad_(), torch.zeros(outputs, dtype=torch.float64, requires_grad=True)]
    return net
