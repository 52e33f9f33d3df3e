"""Inputs to vectors: dilated causal convolution, LSTM, per-period MLP. All read (B, T, C) and see no later entry.

An encoder is given `reach + forks` periods and returns the vectors of the last `forks`, so that every origin of a
window is encoded in one pass (forking sequences) and every returned entry has seen at least `reach` periods.

The convolutions keep (batch, time, channel) and are one matrix product each on `[x_t; x_{t-d}]`: on CPUs that is
several times faster than a channels-first convolution, and what no later layer needs is never computed.

Sources: WaveNet (van den Oord et al., arXiv 1609.03499) for the dilations, Wen et al. (arXiv 1711.11053) for the forks.
"""

from torch import Tensor, cat, nn
from torch.nn import functional


class Convolution(nn.Module):
    """Residual causal convolutions of kernel 2 with dilations that double.

    Parameters
    ----------
    width : channels C.
    reach : periods before the first returned one; dilations 1, 2, 4 .. are used while their sum is at most this.
    forks : returned periods.
    """

    def __init__(self, width: int, reach: int, forks: int) -> None:
        super().__init__()
        self.forks = forks
        self.dilations: list[int] = []
        step = 1
        while sum(self.dilations) + step <= reach:
            self.dilations.append(step)
            step *= 2
        self.layers = nn.ModuleList(nn.Linear(2 * width, width) for _ in self.dilations)
        self.unused = reach - sum(self.dilations)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, self.unused :]
        for dilation, layer in zip(self.dilations, self.layers, strict=True):
            now = x[:, dilation:]
            x = now + functional.relu(layer(cat((now, x[:, :-dilation]), dim=-1)))
        return x


class Recurrent(nn.Module):
    """One LSTM layer that starts `reach` periods before the first returned one."""

    def __init__(self, width: int, reach: int, forks: int) -> None:
        super().__init__()
        self.reach = reach
        self.cells = nn.LSTM(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        said: Tensor = self.cells(x)[0]
        return x[:, self.reach :] + said[:, self.reach :]


class Pointwise(nn.Module):
    """Two dense layers on each period by itself: all memory is in the hand-made features."""

    def __init__(self, width: int, reach: int, forks: int) -> None:
        super().__init__()
        self.reach = reach
        self.first = nn.Linear(width, 2 * width)
        self.second = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, self.reach :]
        added: Tensor = self.second(functional.relu(self.first(functional.relu(x))))
        return x + added


ENCODERS = {"cnn": Convolution, "lstm": Recurrent, "mlp": Pointwise}
