"""The MQ pair of decoders (Wen et al., arXiv 1711.11053).

    (c_1 .. c_K, c_a) = m_G(h_t, known future)        global: one context for every horizon, and an agnostic one
    raw_k = m_L(c_k, c_a, known future at k)          local: weights shared over the horizons

Changed against the paper: contexts are added to a linear map of the horizon's features, not joined to it, which is the
same function of one layer at a fraction of the cost; a learned vector for every horizon carries what does not depend on
the series; static embeddings enter both decoders, since the response to price and promotion differs by product.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Global(nn.Module):
    """Vector of an origin and what is known ahead of it -> contexts.

    Parameters
    ----------
    n_in : width of the vector of an origin.
    n_ahead : width of what is known of each horizon.
    n_horizons : K.
    width, hidden : width D of contexts, and of the hidden layer.
    specific : channels of each horizon's own context; 0 for the agnostic one and the learned horizon vectors alone.
    glimpse : numbers that the known future of each horizon is pressed into for the global view; 0 for none.
    """

    def __init__(
        self, n_in: int, n_ahead: int, n_horizons: int, width: int, hidden: int, *, specific: int, glimpse: int
    ) -> None:
        super().__init__()
        self.specific, self.n_horizons = specific, n_horizons
        self.glimpse = nn.Linear(n_ahead, glimpse, bias=False) if glimpse else None
        self.hidden = nn.Linear(n_in + glimpse * n_horizons, hidden)
        self.agnostic = nn.Linear(hidden, width)
        self.horizons = nn.Parameter(torch.randn(n_horizons, width) * 0.1)
        self.contexts = nn.Linear(hidden, n_horizons * specific) if specific else None
        self.widen = nn.Linear(specific, width, bias=False) if specific else None

    def forward(self, vector: Tensor, ahead: Tensor) -> Tensor:
        """Contexts (B, O, K, D), agnostic and specific summed; vectors (B, O, n_in), futures (B, O, K, n_ahead)."""
        if self.glimpse is not None:
            vector = torch.cat((vector, functional.relu(self.glimpse(ahead)).flatten(2)), dim=-1)
        hidden = functional.relu(self.hidden(vector))
        made: Tensor = self.agnostic(hidden)[:, :, None] + self.horizons
        if self.contexts is not None and self.widen is not None:
            own = self.contexts(hidden).unflatten(-1, (self.n_horizons, self.specific))
            made = made + self.widen(own)
        return made


class Local(nn.Module):
    """Context and what is known of one horizon -> raw outputs; weights shared over horizons."""

    def __init__(self, n_ahead: int, width: int, hidden: int, n_raw: int) -> None:
        super().__init__()
        self.ahead = nn.Linear(n_ahead, width, bias=False)
        self.hidden = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, n_raw)
        with torch.no_grad():
            self.out.weight.mul_(0.3)
            self.out.bias.zero_()

    def forward(self, context: Tensor, ahead: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, O, K, W) from contexts (B, O, K, D) and futures (B, O, K, n_ahead); `keep` multiplies the first layer."""
        first = functional.relu(self.ahead(ahead) + context)
        if keep is not None:
            first = first * keep
        made: Tensor = self.out(functional.relu(self.hidden(first)))
        return made
