"""What an MQTransformer looked at: the weights of its alignment, for one origin."""

import numpy as np
import torch
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.networks.batches import Layout, Source, make_batch
from shelfcast.networks.training import to_tensors
from shelfcast.networks.transformer import TransformerNetwork

Ints = NDArray[np.int64]
_BLOCK = 256


def attended(
    network: TransformerNetwork, layout: Layout, panel: Panel, origin: int, series: Ints
) -> tuple[Ints, NDArray[np.float32]]:
    """Periods (S,) up to the origin, and weights (n, K, S + 1) of each of the series, means over heads.

    The last entry is what went to nothing; weights sum to 1 with it.
    """
    if network.alignment is None:
        raise ValueError("a network without alignment")
    source = Source(panel, layout, origin - layout.forks, origin)
    table = torch.from_numpy(source.table).to(next(network.parameters()).device)
    found = []
    for begin in range(0, len(series), _BLOCK):
        some = series[begin : begin + _BLOCK]
        at = np.zeros(1, dtype=np.int64)
        batch = make_batch(source, some, np.full(len(some), origin), at, forks=1, with_labels=False)
        with torch.no_grad():
            _, _, parts = network.contexts(to_tensors(batch, table))
            found.append(network.alignment.weights(*parts).mean(dim=1)[:, 0].cpu().numpy())
    weights = np.concatenate(found) if found else np.zeros((0, len(layout.horizons), layout.keys + 2), np.float32)
    return np.arange(origin - layout.keys, origin + 1), weights
