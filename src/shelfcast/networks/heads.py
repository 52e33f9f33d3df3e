"""Raw outputs of a decoder -> a law of demand, and the loss that fits it. A network never knows its head.

Everything is in units over `scale`, which is that of a period times the span ("scaled"); the caller multiplies back.
`raw` is (*b, W), labels, weights, scales and laws (*b). Losses are sums over cells of `weight x loss`; a cell whose
label is only a lower bound (`bound`) is charged for quantiles below it alone: one-sided pinball. `start` gives the raw
outputs of a law fitted to pooled samples of one horizon; networks learn departures from it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shelfcast.laws import Counts

Array = NDArray[np.float64]
_LEAST = 1e-3  # smallest step between starting quantiles, over scale


def unsoftplus(value: Array) -> Array:
    """Inverse of `log(1 + exp(x))`."""
    return np.asarray(np.where(value > 20, value, np.log(np.expm1(np.maximum(value, 1e-6)))))


def running_maximum(values: Tensor) -> Tensor:
    """Values (*b, Q) raised to the largest of those before; of operations that other runtimes have, too."""
    made = [values[..., 0]]
    for place in range(1, values.shape[-1]):
        made.append(torch.maximum(made[-1], values[..., place]))
    return torch.stack(made, dim=-1)


class Head(nn.Module):
    """Base of the heads: raw outputs of width `width` -> law.

    Parameters
    ----------
    levels : (Q,) levels at which quantiles are wanted; a grid is trained at these.
    """

    width: int

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__()
        self.levels = tuple(levels)

    def start(self, samples: Array) -> Array:
        """(W,) raw outputs of a law of the samples (n,), scaled."""
        raise NotImplementedError

    def loss(self, raw: Tensor, labels: Tensor, weight: Tensor, bound: Tensor | None, scale: Tensor) -> Tensor:
        """Sum of weighted losses."""
        raise NotImplementedError

    def quantiles(self, raw: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        """(*b, Q) scaled quantiles, non-decreasing in level."""
        raise NotImplementedError

    def mean(self, raw: Tensor, scale: Tensor) -> Tensor:
        """(*b) scaled mean of the law, clipped at zero; by default of 99 quantiles."""
        grid = [float(a) for a in (np.arange(99) + 0.5) / 99]
        return self.quantiles(raw, grid, scale).clamp(min=0).mean(dim=-1)


class Grid(Head):
    """Quantiles at the trained levels: the middle one, and non-negative steps up and down from it. Never crosses.

    Levels that were not trained are linear between those that were, flat beyond the outermost.
    """

    grid: Tensor

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__(levels)
        self.width = len(self.levels)
        self.middle = int(np.argmin(np.abs(np.asarray(self.levels) - 0.5)))
        self.register_buffer("grid", torch.tensor(self.levels, dtype=torch.float32), persistent=False)

    def start(self, samples: Array) -> Array:
        found = np.quantile(samples, self.levels)
        made = unsoftplus(np.maximum(np.abs(np.diff(found)), _LEAST))
        return np.concatenate((made[: self.middle], found[self.middle : self.middle + 1], made[self.middle :]))

    def values(self, raw: Tensor) -> Tensor:
        """(*b, Q) quantiles at the trained levels."""
        m = self.middle
        centre = raw[..., m : m + 1]
        steps = functional.softplus(raw)
        up = centre + steps[..., m + 1 :].cumsum(dim=-1)
        down = centre - steps[..., :m].flip(-1).cumsum(dim=-1).flip(-1)
        return torch.cat((down, centre, up), dim=-1)

    def loss(self, raw: Tensor, labels: Tensor, weight: Tensor, bound: Tensor | None, scale: Tensor) -> Tensor:
        return pinball_sum(self.values(raw), labels, weight, bound, self.grid)

    def quantiles(self, raw: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        made = self.values(raw)
        if tuple(levels) == self.levels:
            return made
        place = np.interp(np.asarray(levels), self.levels, np.arange(len(self.levels)))
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, len(self.levels) - 1)
        share = torch.as_tensor(place - below, dtype=made.dtype, device=made.device)
        low = made[..., torch.as_tensor(below, device=made.device)]
        return low + share * (made[..., torch.as_tensor(above, device=made.device)] - low)


class _PinballSum(torch.autograd.Function):
    """`sum(weight x mean over levels of pinball)`, its gradient in closed form: one pass, nothing kept but a slope."""

    @staticmethod
    def forward(ctx, values, labels, weight, bound, levels):  # type: ignore[no-untyped-def]
        error = labels[..., None] - values
        slope = levels - (error < 0).to(values.dtype)
        if bound is not None:
            slope = torch.where(bound[..., None] & (error < 0), torch.zeros_like(slope), slope)
        share = weight[..., None] / levels.shape[0]
        slope *= share
        ctx.save_for_backward(slope)
        return (slope * error).sum()

    @staticmethod
    def backward(ctx, upstream):  # type: ignore[no-untyped-def]
        (slope,) = ctx.saved_tensors
        return -upstream * slope, None, None, None, None


def pinball_sum(values: Tensor, labels: Tensor, weight: Tensor, bound: Tensor | None, levels: Tensor) -> Tensor:
    """Sum over cells of `weight` times the mean over levels of the pinball loss; one-sided where `bound`.

    Parameters
    ----------
    values : (*b, Q) quantiles; labels, weight, bound : (*b); levels : (Q,).
    """
    made: Tensor = _PinballSum.apply(values, labels, weight, bound, levels)  # type: ignore[no-untyped-call]
    return made


class Point(Head):
    """One number, fitted by absolute or squared error. Its law has no width; a forecaster adds one from past errors."""

    width = 1

    def __init__(self, levels: Sequence[float], *, squared: bool = False) -> None:
        super().__init__(levels)
        self.squared = squared

    def start(self, samples: Array) -> Array:
        return np.array([samples.mean() if self.squared else np.median(samples)])

    def loss(self, raw: Tensor, labels: Tensor, weight: Tensor, bound: Tensor | None, scale: Tensor) -> Tensor:
        error = labels - raw[..., 0]
        if bound is not None:
            error = torch.where(bound, error.clamp(min=0), error)
        return (weight * (error * error if self.squared else error.abs())).sum()

    def quantiles(self, raw: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        return raw.expand(*raw.shape[:-1], len(levels))

    def mean(self, raw: Tensor, scale: Tensor) -> Tensor:
        return raw[..., 0].clamp(min=0)


class NegativeBinomial(Head):
    """Counts with variance `mean + dispersion x mean^2`, fitted by likelihood; with `zeros`, an excess of zeros.

    The likelihood is taken in whole units: label and mean times scale. A lower bound is charged for a mean below it.
    """

    def __init__(self, levels: Sequence[float], *, zeros: bool = False) -> None:
        super().__init__(levels)
        self.zeros = zeros
        self.width = 3 if zeros else 2

    def start(self, samples: Array) -> Array:
        mean = max(float(samples.mean()), 1e-2)
        spread = np.clip(float(samples.var()) / mean**2, 0.002, 4.0)
        return np.concatenate((unsoftplus(np.array([mean, spread])), [-3.0] * self.zeros))

    def parts(self, raw: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean in units, dispersion, and log-odds of an excess zero."""
        mean = (functional.softplus(raw[..., 0]) + 1e-4) * scale
        return mean, functional.softplus(raw[..., 1]) + 1e-3, raw[..., 2] if self.zeros else None

    def loss(self, raw: Tensor, labels: Tensor, weight: Tensor, bound: Tensor | None, scale: Tensor) -> Tensor:
        mean, dispersion, odds = self.parts(raw, scale)
        y = labels * scale
        size = 1 / dispersion
        log = torch.lgamma(y + size) - torch.lgamma(size) - torch.lgamma(y + 1)
        log = log - size * torch.log1p(dispersion * mean) - y * torch.log1p(size / mean)
        if odds is not None:
            kept = functional.logsigmoid(-odds) + log
            log = torch.where(y < 0.5, torch.logaddexp(functional.logsigmoid(odds), kept), kept)
        if bound is not None:
            log = torch.where(bound & (mean > y), torch.zeros_like(log), log)
        return -(weight * log).sum()

    def quantiles(self, raw: Tensor, levels: Sequence[float], scale: Tensor) -> Tensor:
        mean, dispersion, odds = self.parts(raw.double(), scale.double().expand(raw.shape[:-1]))
        shape = (*mean.shape, len(levels))
        wanted = np.broadcast_to(np.asarray(levels, dtype=np.float64), shape).reshape(-1, len(levels))
        if odds is not None:
            excess = torch.sigmoid(odds).cpu().numpy().reshape(-1, 1)
            wanted = np.clip((wanted - excess) / (1 - excess), 0.0, None)
        made = count_quantiles(mean.cpu().numpy().ravel(), dispersion.cpu().numpy().ravel(), wanted)
        units = torch.as_tensor(made.reshape(shape), device=raw.device)
        return (units / scale.double()[..., None]).to(raw.dtype)

    def mean(self, raw: Tensor, scale: Tensor) -> Tensor:
        mean, _, odds = self.parts(raw, scale)
        return mean / scale * (1 if odds is None else torch.sigmoid(-odds))


def count_quantiles(mean: Array, dispersion: Array, levels: Array) -> Array:
    """(n, Q) quantiles of negative binomial laws at levels (n, Q) of their own.

    By the table of probabilities where it is short; where the law reaches beyond some thousand units, by the gamma law
    of the same mean and variance, which then differs by less than a unit.
    """
    top = mean + 12 * np.sqrt(mean + dispersion * mean * mean) + 15
    small = top < 3_000
    made = np.empty(levels.shape)
    order = np.nonzero(small)[0][np.argsort(top[small])]
    begin = 0
    while begin < len(order):
        size = max(1, int(4_000_000 / top[order[min(begin + 4_000, len(order) - 1)]]))
        some = order[begin : begin + min(size, 4_000)]
        cumulative = np.cumsum(Counts.negative_binomial(mean[some], dispersion[some]).table, axis=-1)
        for q in range(levels.shape[1]):
            made[some, q] = (cumulative < levels[some, q : q + 1] - 1e-12).sum(axis=-1)
        begin += len(some)
    big = ~small
    if big.any():
        shape = 1 / (dispersion[big] + 1 / mean[big])
        made[big] = np.rint(_gamma_quantiles(shape[:, None], levels[big]) * (mean[big] / shape)[:, None])
    return made


def _gamma_quantiles(shape: Array, levels: Array) -> Array:
    """Quantiles of gamma laws of unit scale, by bisection of the regularised incomplete gamma function."""
    a = torch.as_tensor(np.broadcast_to(shape, levels.shape).copy())
    wanted = torch.as_tensor(levels)
    low, high = torch.zeros_like(a), a + 40 * torch.sqrt(a) + 40
    for _ in range(60):
        middle = (low + high) / 2
        below = torch.special.gammainc(a, middle) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return ((low + high) / 2).numpy()
