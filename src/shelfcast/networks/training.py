"""The training loop of every network: batches, step, average, validate, stop early, checkpoint, resume.

One plain loop. A step draws its own batch (`sampling`), so step 1,000 is the same whether the run was stopped before it
or not; a checkpoint holds weights, their average, the optimiser's moments and the counters, and nothing else is needed.

The optimiser is AdamW with a linear warm-up and a cosine to zero, clipping of the whole gradient, and an exponential
average of the weights, which is what forecasts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shelfcast.data.panel import Panel
from shelfcast.networks.batches import Batch, Layout, Source, make_batch
from shelfcast.networks.checkpoints import arrays_of, put_weights, read_state, write_state
from shelfcast.networks.consistency import revisions
from shelfcast.networks.heads import Head, NegativeBinomial
from shelfcast.networks.network import Network, Tensors
from shelfcast.networks.reading import ReadAhead
from shelfcast.networks.sampling import Draw, Facts, draw
from shelfcast.networks.settings import Compute, TrainConfig

Array = NDArray[np.float64]
READERS = 4  # threads that make batches ahead for a GPU


def device_of(compute: Compute) -> torch.device:
    """The device a record asks for."""
    return torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if compute.device == "auto" else compute.device
    )


def peers() -> tuple[int, int]:
    """Rank and number of processes of the group that torch.distributed was given; (0, 1) without one."""
    group = torch.distributed
    return (group.get_rank(), group.get_world_size()) if group.is_available() and group.is_initialized() else (0, 1)


@dataclass(frozen=True)
class Progress:
    """Where training is.

    Parameters
    ----------
    step, steps : done, and to do.
    loss : mean weighted loss of the steps since the last report.
    validation : score of the latest validation, None before the first.
    """

    step: int
    steps: int
    loss: float
    validation: float | None


Report = Callable[[Progress], None]


def to_tensors(batch: Batch, table: Tensor) -> Tensors:
    """A batch on the device of the calendar table."""
    made: dict[str, Any] = {
        name: None
        if (part := getattr(batch, name)) is None
        else torch.from_numpy(np.ascontiguousarray(part)).to(table.device)
        for name in Tensors._fields
        if name != "table"
    }
    return Tensors(table=table, **made)


class Trainer:
    """A network, its head and all that training keeps.

    Parameters
    ----------
    panel : what is learned from; nothing after `panel.last` is a target.
    layout, head, network : what is fitted.
    config, compute : how.
    seed : of every draw.
    """

    def __init__(
        self, panel: Panel, layout: Layout, network: Network, head: Head, config: TrainConfig, compute: Compute,
        seed: int,
    ) -> None:  # fmt: skip
        self.panel, self.layout, self.network, self.head = panel, layout, network, head
        self.config, self.compute, self.seed = config, compute, seed
        self.source = Source(panel, layout, panel.first - 1, panel.last)
        season = max(layout.rhythm.season, 1)
        self.validation = [panel.last - layout.n_leads - season * n for n in range(config.validation_origins)]
        self.until = min(self.validation, default=panel.last)
        self.facts = Facts.of(panel, layout.forks, self.until)
        self.chances = self.facts.chances(config.draw_power, config.level_power)
        self.where = device_of(compute)
        self.readers = READERS if self.where.type == "cuda" else 0
        self.network.to(self.where)
        self.head.to(self.where)
        self.table = torch.from_numpy(self.source.table).to(self.where)
        self.average = [p.detach().clone() for p in network.parameters()]
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay,
            fused=True,
        )  # fmt: skip
        self.step, self.best, self.waited = 0, math.inf, 0
        self.best_weights = [p.clone() for p in self.average]
        self.scores: list[tuple[int, float, float]] = []
        self.losses: list[float] = []

    # ---- one step

    def batch(self, step: int, *, shared: bool = False) -> tuple[Batch, Draw]:
        """The batch of a step, categories hidden at random; `shared` is the same in every process of a group."""
        config = self.config
        rank, world = (0, 1) if shared else peers()
        rng = np.random.default_rng([self.seed, step * world + rank])
        drawn = draw(
            self.facts, self.chances, rng, config.series, config.origins, self.layout.forks, self.layout.lags
        )  # fmt: skip
        made = make_batch(self.source, drawn.series, drawn.last_fork, drawn.origins)
        hidden = rng.random(made.codes.shape) < config.embedding_dropout
        return replace(made, codes=np.where(hidden, 0, made.codes)), drawn

    def weights(self, batch: Batch, drawn: Draw) -> Tensor:
        """(B, O, K) weight of each label."""
        assert batch.weight is not None
        pull = self.facts.share[drawn.series].clip(1e-2, 1e4) ** self.config.weight_power
        made = batch.weight * pull[:, None, None]
        if not isinstance(self.head, NegativeBinomial):
            made = made * (batch.scale / self.facts.step[drawn.series][:, None]).clip(0.02, 50.0)[..., None]
        return torch.from_numpy(made.astype(np.float32)).to(self.where)

    def loss(
        self, batch: Batch, drawn: Draw, keep: Tensor | None = None, consistency: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Sum of weighted losses, revisions at a price among them, and number of labels that count (for a mean)."""
        assert batch.labels is not None
        raw = self.forward(batch, keep)
        weight = self.weights(batch, drawn)
        bound = None if batch.bound is None else torch.from_numpy(batch.bound).to(self.where)
        labels = torch.from_numpy(batch.labels).to(self.where)
        scale = torch.from_numpy(batch.scale).to(self.where)
        units = scale[..., None] * self.network.spans
        loss = self.head.loss(raw, labels, weight, bound, units)
        if consistency and not isinstance(self.head, NegativeBinomial):
            said = self.head.quantiles(raw, self.head.levels, units)
            moved = revisions(said, scale, weight, drawn.origins, self.layout.horizons)
            loss = loss + consistency * moved
        return loss, (weight > 0).sum()

    def forward(self, batch: Batch, keep: Tensor | None = None) -> Tensor:
        """Raw outputs (B, O, K, W), float32."""
        given = to_tensors(batch, self.table)
        with torch.autocast(self.where.type, torch.bfloat16, enabled=self.compute.precision == "bfloat16"):
            raw: Tensor = self.network(given, keep)
        return raw.float()

    def _kept(self, step: int, n_origins: int) -> Tensor | None:
        """Dropout mask of a step, drawn from its own generator."""
        rate = self.config.dropout
        if rate <= 0:
            return None
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        shape = (self.config.series, n_origins, 1, self.network.embed.out_features)
        return ((torch.rand(shape, generator=generator) >= rate) / (1 - rate)).to(self.where)

    def rate(self, step: int) -> float:
        """Learning rate: up to the peak within the warm-up, then along a cosine to zero."""
        done = (step + 1) / max(self.config.steps, 1)
        if done < self.config.warm_up:
            return self.config.learning_rate * done / self.config.warm_up
        share = (done - self.config.warm_up) / max(1 - self.config.warm_up, 1e-9)
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))

    def advance(self, read: tuple[Batch, Draw] | None = None) -> float:
        """One step, with its batch where that was read ahead; returns its mean loss."""
        batch, drawn = self.batch(self.step) if read is None else read
        kept = self._kept(self.step, len(drawn.origins))
        loss, count = self.loss(batch, drawn, kept, self.config.consistency)
        mean = loss / count.clamp(min=1)
        self.optimiser.zero_grad(set_to_none=True)
        mean.backward()  # type: ignore[no-untyped-call]
        self._share_gradients()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.step)
        self.optimiser.step()
        decay = min(self.config.average, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.network.parameters()], 1 - decay)
        self.step += 1
        return float(mean.detach())

    def _share_gradients(self) -> None:
        """Mean of the gradients over the processes of the group, if there is one."""
        _, world = peers()
        if world == 1:
            return
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= world

    # ---- the whole run

    def run(self, *, folder: Path | None = None, fingerprint: str = "", report: Report | None = None) -> None:
        """Train to the end, from a checkpoint in `folder` where one of this run is there; leaves the averaged weights.

        Raises StoreError where the folder cannot be written.
        """
        if not len(self.chances):
            return
        if folder is not None:
            self._resume(folder, fingerprint)
        config = self.config
        every = max(1, config.steps // 50)
        with ReadAhead(self.batch, self.step, config.steps, self.readers) as ahead:
            while self.step < config.steps and self.waited < config.patience:
                self.losses.append(self.advance(ahead.take()))
                last = self.step == config.steps
                if self.validation and (self.step % config.validate_every == 0 or last):
                    self._validate()
                if report is not None and (self.step % every == 0 or last):
                    report(Progress(self.step, config.steps, float(np.mean(self.losses[-every:])), self._latest()))
                if folder is not None and peers()[0] == 0 and (self.step % config.checkpoint_every == 0 or last):
                    write_state(folder, self.arrays(), self._counters() | {"fingerprint": fingerprint})
        self._finish()

    def _latest(self) -> float | None:
        return self.scores[-1][2] if self.scores else None

    def _validate(self) -> None:
        """Score the averaged weights at the held-out origins; remember the best."""
        score = self.score()
        self.scores.append((self.step, float(np.mean(self.losses[-self.config.validate_every :])), score))
        if score < self.best:
            self.best, self.waited = score, 0
            self.best_weights = [p.clone() for p in self.average]
        else:
            self.waited += 1

    def score(self) -> float:
        """Mean weighted loss of the averaged weights at the validation origins, over at most 2,000 series."""
        chosen = np.nonzero(self.facts.last >= self.facts.first)[0]
        chosen = chosen[:: max(1, -(-len(chosen) // 2_000))]
        forks = max(self.validation) - min(self.validation) + 1
        origins = np.array(sorted(self.validation)) - min(self.validation)
        total, count = 0.0, 0
        with swapped(self.network, self.average), torch.no_grad():
            for begin in range(0, len(chosen), 256):
                series = chosen[begin : begin + 256].astype(np.int64)
                last = np.full(len(series), max(self.validation))
                batch = make_batch(self.source, series, last, origins, forks=forks)
                loss, n = self.loss(batch, Draw(series, last, origins))
                total, count = total + float(loss), count + int(n)
        return total / max(count, 1)

    def _finish(self) -> None:
        """Leave the best or the last averaged weights in the network."""
        chosen = self.best_weights if self.validation and self.best < math.inf else self.average
        with torch.no_grad():
            for parameter, value in zip(self.network.parameters(), chosen, strict=True):
                parameter.copy_(value)

    # ---- checkpoints

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights, their average, the best ones and the optimiser's moments, by name."""
        made: dict[str, NDArray[Any]] = {f"network/{name}": value for name, value in arrays_of(self.network).items()}
        for name, tensors in (("average", self.average), ("best", self.best_weights)):
            made |= {f"{name}/{place}": tensor.detach().cpu().numpy() for place, tensor in enumerate(tensors)}
        for place, parameter in enumerate(self.network.parameters()):
            state = self.optimiser.state.get(parameter, {})
            made |= {f"optimiser/{place}/{name}": np.asarray(value.cpu()) for name, value in state.items()}
        return made | {"losses": np.asarray(self.losses)}

    def _counters(self) -> dict[str, Any]:
        return {"step": self.step, "best": self.best, "waited": self.waited, "scores": self.scores}

    def _resume(self, folder: Path, fingerprint: str) -> None:
        """Go on from the checkpoint of the same run, if there is one; one of another run will be written over."""
        found = read_state(folder)
        if found is None or found[1]["fingerprint"] != fingerprint:
            return
        arrays, counters = found
        own = {name.removeprefix("network/"): value for name, value in arrays.items() if name.startswith("network/")}
        put_weights(self.network, own, folder)
        for place, parameter in enumerate(self.network.parameters()):
            prefix = f"optimiser/{place}/"
            moments = {n.removeprefix(prefix): torch.from_numpy(v) for n, v in arrays.items() if n.startswith(prefix)}
            self.optimiser.state[parameter] = {
                name: value if name == "step" else value.to(parameter.device) for name, value in moments.items()
            }
        for name, target in (("average", self.average), ("best", self.best_weights)):
            for place, tensor in enumerate(target):
                tensor.copy_(torch.from_numpy(arrays[f"{name}/{place}"]))
        self.step, self.best, self.waited = counters["step"], counters["best"], counters["waited"]
        self.scores = [(int(a), float(b), float(c)) for a, b, c in counters["scores"]]
        self.losses = arrays["losses"].tolist()

    # ---- start

    def start_at_pooled_laws(self, n_batches: int = 8) -> None:
        """Set the network's base to the law of pooled labels of each horizon, scaled."""
        samples = self.pooled(n_batches)
        everything = np.concatenate(samples)
        if len(everything) < 8:
            everything = -np.log1p(-(np.arange(200) + 0.5) / 200)  # exponential law of mean 1
        made = [self.head.start(np.clip(s if len(s) >= 50 else everything, 0, 50)) for s in samples]
        with torch.no_grad():
            self.network.base.copy_(torch.as_tensor(np.stack(made)))

    def pooled(self, n_batches: int) -> list[Array]:
        """Scaled labels of each horizon, K arrays, of some batches of the run's own."""
        n_horizons = len(self.layout.horizons)
        if not len(self.chances):
            return [np.zeros(0)] * n_horizons
        found: list[list[Any]] = [[] for _ in range(n_horizons)]
        for number in range(n_batches):
            batch, _ = self.batch((1 << 40) + number, shared=True)
            assert batch.labels is not None
            assert batch.weight is not None
            for k in range(n_horizons):
                found[k].append(batch.labels[..., k][batch.weight[..., k] > 0])
        return [np.concatenate(part).astype(np.float64) for part in found]


class swapped:
    """Other weights in a network for a while."""

    def __init__(self, network: Network, weights: Sequence[Tensor]) -> None:
        self.network, self.weights = network, weights

    def __enter__(self) -> None:
        self.own = [p.detach().clone() for p in self.network.parameters()]
        self._put(self.weights)

    def __exit__(self, *_: object) -> None:
        self._put(self.own)

    def _put(self, weights: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.network.parameters(), weights, strict=True):
                parameter.copy_(value)
