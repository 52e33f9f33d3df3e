"""A price on revisions: what an origin says of a window, against what the origin before had said of it.

Decoded origins of a training window that lie close enough forecast some of the same windows. The mean absolute change
of their quantiles there, weighted as the labels are, is added to the loss, so that a forecast moves only where the
pinball loss pays for it. Both forecasts feel it: the newer one moves less, the older one says sooner what the newer
one knows.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from torch import Tensor

from shelfcast.horizons import Horizon


@cache
def same_windows(horizons: tuple[Horizon, ...], gap: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Places of the horizons whose window another one covers from `gap` periods before, and the places of those."""
    places = {horizon: place for place, horizon in enumerate(horizons)}
    pairs = [(k, places.get(Horizon(h.lead + gap, h.span), -1)) for k, h in enumerate(horizons)]
    found = [pair for pair in pairs if pair[1] >= 0]
    return tuple(new for new, _ in found), tuple(old for _, old in found)


def revisions(
    quantiles: Tensor, scale: Tensor, weight: Tensor, origins: np.ndarray, horizons: Sequence[Horizon]
) -> Tensor:
    """Sum over consecutive origins and their common windows of weight times the mean absolute change of quantiles.

    Parameters
    ----------
    quantiles : (B, O, K, Q) over `scale` (B, O), units. weight : (B, O, K) of the newer origin's label; 0 where there
        is none. origins : (O,) ascending periods, or places. horizons : K horizons.
    """
    total = quantiles.new_zeros(())
    for o in range(1, len(origins)):
        new, old = same_windows(tuple(horizons), int(origins[o] - origins[o - 1]))
        if not new:
            continue
        share = (scale[:, o - 1] / scale[:, o])[:, None, None]
        before = quantiles[:, o - 1, list(old)] * share
        moved = (quantiles[:, o, list(new)] - before).abs().mean(dim=-1)
        total = total + (moved * weight[:, o, list(new)]).sum()
    return total
