"""What a fit will take, said before it begins: parameters, steps, memory, time."""

import os
import time

import torch

from shelfcast.data.panel import Panel
from shelfcast.horizons import Horizon
from shelfcast.networks.fitting import prepare
from shelfcast.networks.settings import Compute, NetworkConfig, TrainConfig, TransformerConfig
from shelfcast.networks.training import Trainer

_KEPT = 14  # arrays of the size of a network's inputs and layers that one step holds, measured
_SCORES = 3  # arrays of the size of the scores that one step may hold
_KEPT_SAID = 4  # arrays of the size of what earlier origins said
_INTERPRETER = 0.45e9  # bytes of the interpreter with torch and numpy
_COMPILER = 0.08e9  # bytes of the compiler behind hand-made features, measured


def preflight(
    panel: Panel, horizons: tuple[Horizon, ...], levels: tuple[float, ...], config: NetworkConfig, train: TrainConfig,
    compute: Compute,
) -> str:  # fmt: skip
    """One line; the time is that of a few steps of a network of the same shape, times the steps.

    Where the expected memory is more than is free, the line says so.
    """
    trainer = prepare(panel, horizons, levels, config, train, compute, 0)
    n_parameters = sum(p.numel() for p in trainer.network.parameters())
    seconds = train.steps * _seconds_a_step(trainer) if len(trainer.chances) else 0.0
    needed, layout = expected_bytes(trainer), trainer.layout
    line = (
        f"{config.encoder} network, {n_parameters:,} parameters, {train.steps:,} steps of {train.series} series x "
        f"{min(train.origins, trainer.layout.forks)} origins on {trainer.where}; about {needed / 1e9:.1f} GB, "
        f"{_spoken(seconds)}"
    )
    if layout.keys or layout.lags:
        line += (
            f"; attention over {layout.keys} periods and {len(layout.lags)} earlier origins, "
            f"{attention_bytes(trainer) / 1e9:.2f} GB a step"
        )
    there = free_bytes(trainer.where)
    if there is not None and needed > there:
        line += f". WARNING: only {there / 1e9:.1f} GB are free; take fewer series or origins a step"
    return line


def expected_bytes(trainer: Trainer) -> float:
    """Bytes of a step and of what stays: the windows and their layers, the futures and theirs, the optimiser."""
    config, layout = trainer.config, trainer.layout
    width = trainer.network.embed.out_features
    read = layout.reach + layout.keys + layout.forks
    periods = layout.rhythm.history + read + layout.n_leads
    origins = min(config.origins, layout.forks)
    windows = periods * (8 * 24 + 4 * layout.n_inputs) + 4 * width * read * _KEPT
    futures = origins * layout.n_leads * 4 * (2 * layout.n_ahead + _KEPT * width)
    weights = 4 * 6 * sum(p.numel() for p in trainer.network.parameters())
    return (
        attention_bytes(trainer)
        + _INTERPRETER
        + (0.0 if layout.made is None else _COMPILER)
        + config.series * (windows + futures)
        + weights
        + trainer.source.table.nbytes * 2
    )


def attention_bytes(trainer: Trainer) -> float:
    """Bytes of the scores and masks of one step's attentions, and of what earlier origins said."""
    config, layout, shape = trainer.config, trainer.layout, trainer.network.shape
    if not isinstance(shape, TransformerConfig):
        return 0.0
    cells = config.series * min(config.origins, layout.forks) * len(layout.horizons)
    keys = layout.keys + layout.forks if layout.keys else 0
    return cells * (shape.heads * keys * 4 * _SCORES + len(layout.lags) * 2 * shape.width * 4 * _KEPT_SAID)


def free_bytes(where: torch.device) -> float | None:
    """Memory that is free on a device; None where it cannot be told."""
    if where.type == "cuda":
        return float(torch.cuda.mem_get_info(where)[0])
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return None


def _seconds_a_step(trainer: Trainer, n_steps: int = 3) -> float:
    """Of the trainer's own steps, the first not counted."""
    trainer.advance()
    begin = time.perf_counter()
    for _ in range(n_steps):
        trainer.advance()
    return (time.perf_counter() - begin) / n_steps


def _spoken(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"
