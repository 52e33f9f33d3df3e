"""From settings and a panel to a fitted network, and from a folder back to one; what models import when they fit."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, DataError, StoreError
from shelfcast.horizons import Horizon, same_window
from shelfcast.networks.attention import reach_of
from shelfcast.networks.batches import Layout
from shelfcast.networks.checkpoints import arrays_of, digest, load_weights, put_weights, save_weights
from shelfcast.networks.columns import Columns
from shelfcast.networks.handmade import HandMade
from shelfcast.networks.heads import Grid, Head, NegativeBinomial, Point
from shelfcast.networks.network import Network
from shelfcast.networks.rhythms import rhythm_of
from shelfcast.networks.settings import Compute, NetworkConfig, TrainConfig, TransformerConfig
from shelfcast.networks.splines import Spline
from shelfcast.networks.training import Report, Trainer, device_of
from shelfcast.networks.transformer import TransformerNetwork
from shelfcast.periods import Frequency

_SHIFTS = "shifts"
_LEAST_STEP = 1e-3
_MOST_ERROR = 10.0  # scales of a series: one spike is not the error of all others


@dataclass(frozen=True)
class Fitted:
    """A network that can forecast.

    Parameters
    ----------
    config, layout, frequency : what it is.
    network, head : its parts.
    shifts : (K, Q) added to scaled quantiles where the head is a point; else None.
    scores : step, loss and validation score of the run that made it.
    """

    config: NetworkConfig
    layout: Layout
    frequency: Frequency
    network: Network
    head: Head
    shifts: NDArray[np.float64] | None
    scores: tuple[tuple[int, float, float], ...] = ()

    @property
    def n_parameters(self) -> int:
        """Numbers that are learned."""
        return sum(p.numel() for p in self.network.parameters())


def head_of(config: NetworkConfig, levels: Sequence[float]) -> Head:
    """The head a network is given."""
    made: dict[str, Any] = {
        "grid": Grid,
        "spline": lambda a: Spline(a, config.pieces),
        "negative-binomial": NegativeBinomial,
        "zero-inflated": lambda a: NegativeBinomial(a, zeros=True),
        "point": Point,
        "point-squared": lambda a: Point(a, squared=True),
    }
    head: Head = made[config.head](levels)
    return head


def layout_of(
    config: NetworkConfig, columns: Columns, frequency: Frequency, horizons: tuple[Horizon, ...],
    made: HandMade | None = None,
) -> Layout:  # fmt: skip
    """Sizes of a network's batches."""
    rhythm = rhythm_of(frequency)
    reach = rhythm.reach if config.reach is None else config.reach
    layout = Layout(
        columns, rhythm, horizons, 0 if config.encoder == "mlp" else reach, config.forks or rhythm.forks,
        config.left_out, config.sold, made,
    )  # fmt: skip
    return attending(config, layout) if isinstance(config, TransformerConfig) else layout


def attending(config: TransformerConfig, layout: Layout) -> Layout:
    """The layout with room for what is attended to."""
    around = reach_of(config.position_layers) if config.position else 0
    if around > layout.reach:
        raise ConfigError("model.position_layers", f"expected to see at most {layout.reach} periods; got {around}")
    step = config.feedback_step or layout.rhythm.season
    lags = tuple(step * (n + 1) for n in range(config.feedback))
    reached = tuple(lag for lag in lags if same_window(layout.horizons, lag)[1].any())
    keys = 0 if config.align == "none" else config.keys or layout.rhythm.keys
    return replace(layout, keys=keys, around=around, lags=reached)


def build(config: NetworkConfig, layout: Layout, frequency: Frequency, head: Head, seed: int) -> Network:
    """A network with weights drawn from a seed; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        n_dates = layout.columns.calendar_width(frequency)
        if isinstance(config, TransformerConfig):
            return TransformerNetwork(layout, config, n_dates, head.width)
        return Network(layout, config, n_dates, head.width)


def prepare(
    panel: Panel, horizons: tuple[Horizon, ...], levels: tuple[float, ...], config: NetworkConfig, train: TrainConfig,
    compute: Compute, seed: int,
) -> Trainer:  # fmt: skip
    """A trainer at its first step: from pooled laws, or from the weights of an earlier model."""
    if config.sold is not None and config.sold not in panel.names.past:
        raise ConfigError("model.sold", f"expected a past column; got '{config.sold}'", f"there are {panel.names.past}")
    earlier = None if compute.warm_start is None else load(Path(compute.warm_start), horizons, levels, config)
    for name in config.static or ():
        panel.column(name)
    columns = Columns.learn(panel, config.static) if earlier is None else earlier.layout.columns
    made = HandMade.learn(panel, horizons) if config.features and earlier is None else None
    layout = layout_of(config, columns, panel.frequency, horizons, made) if earlier is None else earlier.layout
    head = head_of(config, levels)
    if earlier is not None:
        check_columns(earlier, panel)
    network = build(config, layout, panel.frequency, head, seed) if earlier is None else earlier.network
    trainer = Trainer(panel, layout, network, head, train, compute, seed)
    if earlier is None:
        trainer.start_at_pooled_laws()
    return trainer


def fit(trainer: Trainer, config: NetworkConfig, *, report: Report | None = None, settings: str = "") -> Fitted:
    """Run a trainer to its end; `settings` is the text that, with the panel, tells runs apart."""
    folder = None if trainer.compute.checkpoint is None else Path(trainer.compute.checkpoint)
    fingerprint = ""
    if folder is not None:
        fingerprint = digest(f"{settings} {trainer.seed} {trainer.panel.fingerprint()}".encode())
    trainer.run(folder=folder, fingerprint=fingerprint, report=report)
    trainer.network.eval()
    shifts = past_errors(trainer) if isinstance(trainer.head, Point) else None
    return Fitted(
        config, trainer.layout, trainer.panel.frequency, trainer.network, trainer.head, shifts, tuple(trainer.scores)
    )


def past_errors(trainer: Trainer, n_batches: int = 8) -> NDArray[np.float64]:
    """(K, Q) quantiles of the scaled errors of a point network in training windows, non-decreasing."""
    levels, n_horizons = trainer.head.levels, len(trainer.layout.horizons)
    found: list[list[NDArray[Any]]] = [[] for _ in range(n_horizons)]
    for number in range(n_batches if len(trainer.chances) else 0):
        batch, _ = trainer.batch((1 << 41) + number, shared=True)
        assert batch.labels is not None
        assert batch.weight is not None
        with torch.no_grad():
            error = batch.labels - trainer.forward(batch)[..., 0].cpu().numpy()
        error = error.clip(-_MOST_ERROR, _MOST_ERROR)
        for k in range(n_horizons):
            found[k].append(error[..., k][batch.weight[..., k] > 0])
    made = [np.concatenate(part) if part else np.zeros(0) for part in found]
    everything = np.concatenate(made)
    everything = everything if len(everything) else np.linspace(-0.5, 0.5, 101)
    shifts = np.stack([np.quantile(e if len(e) >= 50 else everything, levels) for e in made])
    return np.maximum.accumulate(shifts + _LEAST_STEP * np.arange(len(levels)), axis=1)


def check_horizons(fitted: Fitted, wanted: tuple[Horizon, ...]) -> None:
    """ConfigError where a network was not trained for the horizons asked of it."""
    trained = fitted.layout.horizons
    if wanted != trained:
        advice = "ask for those, or fit it again for the others"
        raise ConfigError(
            "forecast.horizons",
            f"expected the horizons the network was trained for, {_named(trained)}; got {_named(wanted)}",
            advice,
        )


def _named(horizons: tuple[Horizon, ...]) -> str:
    return ", ".join(f"{h.lead}+{h.span}" for h in horizons)


def check_columns(fitted: Fitted, panel: Panel) -> None:
    """DataError where a panel has not the columns that a network reads."""
    columns = fitted.layout.columns
    if panel.frequency.unit is not fitted.frequency.unit:
        raise DataError(f"a panel of {fitted.frequency} periods", f"{panel.frequency} periods", table="panel")
    for kind, wanted, there in (
        ("known", [c[0] for c in columns.known], list(panel.names.known)),
        ("past", [c[0] for c in columns.past], list(panel.names.past)),
        ("calendar", [c[0] for c in columns.calendar], list(panel.calendar.names)),
    ):
        if wanted != there:
            advice = "give the columns the model was fitted with, in that order, or fit it again"
            raise DataError(f"{kind} columns {wanted}", f"{there}", advice, table="panel")
    for name in (*(c[0] for c in columns.static), *(c[0] for c in columns.numbers)):
        panel.column(name)


# ---- on disk


def save(fitted: Fitted, folder: Path) -> dict[str, Any]:
    """Write the weights to a folder; returns what a model's JSON must hold. Raises OSError."""
    arrays = arrays_of(fitted.network)
    if fitted.shifts is not None:
        arrays[_SHIFTS] = fitted.shifts
    made = fitted.layout.made
    return {
        "frequency": str(fitted.frequency),
        "made": None if made is None else made.save(folder),
        "columns": fitted.layout.columns.to_json(),
        "weights": save_weights(folder, arrays),
        "scores": list(fitted.scores),
    }


def load(folder: Path, horizons: tuple[Horizon, ...], levels: tuple[float, ...], config: NetworkConfig) -> Fitted:
    """Inverse of `save`, for a network of the given settings; StoreError where the folder holds another."""
    try:
        stored = json.loads((folder / "model.json").read_text())["network"]
        frequency = Frequency.parse(stored["frequency"])
        columns = Columns.from_json(stored["columns"])
        arrays = load_weights(folder, stored["weights"])
        scores = tuple((int(a), float(b), float(c)) for a, b, c in stored["scores"])
        made = HandMade.load(folder, horizons, stored["made"]) if config.features else None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, BadZipFile, ConfigError) as error:
        raise StoreError(
            f"expected a network of this version in {folder}; got: {error}. Run `shelfcast fit` again."
        ) from error
    layout, head = layout_of(config, columns, frequency, horizons, made), head_of(config, levels)
    network = build(config, layout, frequency, head, 0)
    shifts = arrays.pop(_SHIFTS, None)
    put_weights(network, arrays, folder)
    return Fitted(config, layout, frequency, network.eval(), head, shifts, scores)


def on_device(fitted: Fitted, compute: Compute) -> Fitted:
    """The same network on the device that is asked for."""
    where = device_of(compute)
    return replace(fitted, network=fitted.network.to(where), head=fitted.head.to(where))
