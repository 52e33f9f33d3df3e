"""Forecasts of a fitted network, in pieces of series: one encoder pass for the origins of a block, constant memory.

Origins of one block of `forks` periods share a pass. A convolution's vector depends on `reach` periods and no more, so
its pass begins there; a recurrent one begins `reach` periods before its block, whatever origins are asked for, so that
no origin changes what is said at another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.networks.batches import Batch, Layout, Source, make_batch
from shelfcast.networks.heads import Head
from shelfcast.networks.network import Network
from shelfcast.networks.training import to_tensors

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
_CELLS = 200_000  # series x periods read at once


@dataclass(frozen=True)
class Said:
    """Quantiles (n, O, K, Q) and means (n, O, K) in units of the series from place `begin` on."""

    begin: int
    values: Floats
    mean: Floats


def predict(
    network: Network, head: Head, layout: Layout, panel: Panel, origins: Sequence[int], levels: Sequence[float], *,
    shifts: NDArray[np.float64] | None = None, whole_blocks: bool = False,
) -> Iterator[Said]:  # fmt: skip
    """Forecast every series at every origin, piece by piece.

    Parameters
    ----------
    shifts : (K, Q) added to the scaled quantiles, for heads whose law has no width of its own.
    whole_blocks : whether a pass begins at its block's first period, as recurrent encoders need.
    """
    device = next(network.parameters()).device
    source = Source(panel, layout, min(origins) - layout.forks - max(layout.lags, default=0), max(origins))
    table = torch.from_numpy(source.table).to(device)
    extra = None if shifts is None else torch.as_tensor(shifts, dtype=torch.float32, device=device)
    for series in pieces(source):
        values = np.zeros((len(series), len(origins), len(layout.horizons), len(levels)), dtype=np.float32)
        mean = np.zeros(values.shape[:-1], dtype=np.float32)
        for places, asked, batch in batches(source, series, origins, whole_blocks=whole_blocks):
            with torch.no_grad():
                raw = network(to_tensors(batch, table)).float()[:, asked]
                scale = torch.from_numpy(batch.scale[:, asked]).to(device)[..., None] * network.spans
                scaled = head.quantiles(raw, levels, scale)
                scaled = scaled if extra is None else scaled + extra
                units = (scaled.clamp(min=0) * scale[..., None]).cummax(dim=-1).values
                centre = head.mean(raw, scale) if extra is None else scaled.clamp(min=0).mean(dim=-1)
                sold = torch.from_numpy(~batch.silent[:, asked]).to(device)[..., None]
                values[:, places] = (units * sold[..., None]).cpu().numpy()
                mean[:, places] = (centre * scale * sold).cpu().numpy()
        yield Said(int(series[0]), values, mean)


def pieces(source: Source) -> Iterator[Ints]:
    """Places of the series that are read at once, one piece after the other."""
    layout, n = source.layout, source.panel.n_series
    size = layout.rhythm.history + layout.reach + layout.forks
    n_series = max(1, _CELLS // (size + layout.n_leads * 8))
    for begin in range(0, n, n_series):
        yield np.arange(begin, min(begin + n_series, n))


def batches(
    source: Source, series: Ints, origins: Sequence[int], *, whole_blocks: bool
) -> Iterator[tuple[list[int], Ints, Batch]]:  # fmt: skip
    """Batches of series (B,) for forecasts, each with the places of the origins asked for, overall and in the batch."""
    forks, lags = source.layout.forks, source.layout.lags
    for places, low, high in _blocks(origins, forks):
        low = (low // forks) * forks if whole_blocks else low
        low -= max(lags, default=0)
        at, asked = _with_earlier(np.array([origins[p] for p in places]) - low, lags)
        last = np.full(len(series), high)
        yield places, asked, make_batch(source, series, last, at, forks=high - low + 1, with_labels=False)


def _blocks(origins: Sequence[int], forks: int) -> list[tuple[list[int], int, int]]:
    """Places of the origins of each block of `forks` periods, and the first and last of them."""
    found: dict[int, list[int]] = {}
    for place, origin in enumerate(origins):
        found.setdefault(origin // forks, []).append(place)
    return [(p, min(origins[i] for i in p), max(origins[i] for i in p)) for p in found.values()]


def _with_earlier(at: NDArray[np.int64], lags: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the asked origins and of the earlier ones that they look up, and where among them the asked stand."""
    if not lags:
        return at, np.arange(len(at))
    everything = np.unique(np.concatenate([at, *(at - lag for lag in lags)]))
    return everything, np.searchsorted(everything, at)
