"""Spline quantile function: piecewise linear between learned knots, exponential tails; CRPS in closed form.

Knots sit at levels `l = a_0 < a_1 < .. < a_n = r` whose widths are softmaxes, with values that rise by non-negative
steps; below `l` the quantile is `A ln(a) + b`, above `r` it is `-A' ln(1 - a) + b'`, continuous at the knots. So any
level may be asked after training, and no two quantiles cross.

    CRPS(q, z) = integral over (0, 1) of 2 (1{z <= q(a)} - a) (q(a) - z) da

Source: Park et al., arXiv 2111.06581, which this follows but for the tails' continuity, which is by construction here.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shelfcast.networks.heads import Head, running_maximum, unsoftplus

_EDGE = 0.02  # levels outside (_EDGE, 1 - _EDGE) belong to the tails
_THINNEST = 0.1  # least width of a piece, over that of equal ones


class Spline(Head):
    """Spline quantile function trained on its CRPS.

    Parameters
    ----------
    n_pieces : linear pieces between the tails.
    """

    def __init__(self, levels: Sequence[float], n_pieces: int = 10) -> None:
        super().__init__(levels)
        self.n_pieces = n_pieces
        self.width = 1 + 2 * n_pieces + 2

    def start(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        knots = np.quantile(samples, np.linspace(_EDGE, 1 - _EDGE, self.n_pieces + 1))
        steps = unsoftplus(np.maximum(np.diff(knots), 1e-3))
        tails = unsoftplus(np.array([0.01, max(float(np.quantile(samples, 0.995) - knots[-1]), 0.05) / 2]))
        return np.concatenate((knots[:1], steps, np.zeros(self.n_pieces), tails))

    def knots(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Levels and values of the knots (*b, n + 1) both, and slopes of the left and right tail (*b)."""
        n = self.n_pieces
        widths = functional.softmax(raw[..., n + 1 : 2 * n + 1], dim=-1) * (1 - _THINNEST) + _THINNEST / n
        inner = _EDGE + (1 - 2 * _EDGE) * widths.cumsum(dim=-1)
        levels = torch.cat((torch.full_like(inner[..., :1], _EDGE), inner), dim=-1)
        first = raw[..., :1]
        values = torch.cat((first, first + functional.softplus(raw[..., 1 : n + 1]).cumsum(dim=-1)), dim=-1)
        tails = functional.softplus(raw[..., 2 * n + 1 :])
        return levels, values, tails[..., 0], tails[..., 1]

    def quantiles(self, raw: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        at, values, left, right = self.knots(raw)
        made = []
        for level in levels:
            if level < _EDGE:
                made.append(values[..., 0] + left * float(np.log(level / _EDGE)))
            elif level > 1 - _EDGE:
                made.append(values[..., -1] - right * float(np.log((1 - level) / _EDGE)))
            else:
                share = ((level - at[..., :-1]) / (at[..., 1:] - at[..., :-1])).clamp(0, 1)
                made.append(values[..., 0] + (share * (values[..., 1:] - values[..., :-1])).sum(dim=-1))
        return running_maximum(torch.stack(made, dim=-1))

    def loss(self, raw: Tensor, labels: Tensor, weight: Tensor, bound: Tensor | None, scale: Tensor) -> Tensor:
        score = self.crps(raw, labels)
        if bound is not None:  # a lower bound: charged as if demand were the median where that is higher
            middle = self.quantiles(raw, (0.5,), scale)[..., 0].detach()
            score = torch.where(bound & (middle > labels), torch.zeros_like(score), score)
        return (weight * score).sum()

    def crps(self, raw: Tensor, label: Tensor) -> Tensor:
        """(*b) CRPS in closed form, piece by piece."""
        at, values, left, right = self.knots(raw)
        z = label[..., None]
        low, high = at[..., :-1], at[..., 1:]
        slope = (values[..., 1:] - values[..., :-1]) / (high - low)
        cross = torch.minimum(torch.maximum(low + (z - values[..., :-1]) / slope.clamp(min=1e-9), low), high)
        c = values[..., :-1] - slope * low - z
        pieces = -c * (high**2 - low**2) - 2 / 3 * slope * (high**3 - low**3)
        pieces = pieces + 2 * c * (high - cross) + slope * (high**2 - cross**2)
        below = _tail(left, values[..., 0] - left * float(np.log(_EDGE)), label)
        above = _tail(right, -values[..., -1] - right * float(np.log(_EDGE)), -label)
        return pieces.sum(dim=-1) + below + above


def _tail(slope: Tensor, base: Tensor, z: Tensor) -> Tensor:
    """Integral over (0, l] for `q(a) = slope ln(a) + base`; the right tail is the left one mirrored.

    With `at = min(l, exp((z - base) / slope))`:
    `(z - base) l^2 - slope l^2 ln l + slope l^2 / 2 + 2 (base - z)(l - at) + 2 slope (l ln l - l - at ln at + at)`.
    """
    edge, log_edge = _EDGE, float(np.log(_EDGE))
    slope = slope.clamp(min=1e-6)
    log_at = ((z - base) / slope).clamp(max=log_edge)
    at = log_at.exp()
    gap = base - z
    whole = -gap * edge**2 - slope * edge**2 * (log_edge - 0.5)
    return whole + 2 * gap * (edge - at) + 2 * slope * (edge * log_edge - edge - at * log_at.clamp(min=-80) + at)
