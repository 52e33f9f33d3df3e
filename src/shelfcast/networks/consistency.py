"""A price on revisions: what an origin says of a window, against what the origin before had said of it.

Decoded origins of a training window that lie close enough forecast some of the same windows. The mean absolute change
of their quantiles there, weighted as the labels are, is added to the loss, so that a forecast moves only where the
pinball loss pays for it. Both forecasts feel it: the newer one moves less, the older one says sooner what the newer
one knows.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from shelfcast.horizons import Horizon, same_window


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
        old, there = same_window(horizons, int(origins[o] - origins[o - 1]))
        if not there.any():
            continue
        share = (scale[:, o - 1] / scale[:, o])[:, None, None]
        moved = (quantiles[:, o, there] - quantiles[:, o - 1, old[there]] * share).abs().mean(dim=-1)
        total = total + (moved * weight[:, o, there]).sum()
    return total
