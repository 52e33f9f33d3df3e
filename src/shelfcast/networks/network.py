"""The network of the whole family on one screen: inputs -> encoder -> global and local decoder -> raw outputs.

What differs between MQ-CNN, MQ-RNN, MQ-FNN and the recurrent trials is the encoder and the head, and nothing else.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from shelfcast.networks.batches import Layout, averaging
from shelfcast.networks.decoders import Global, Local
from shelfcast.networks.encoders import ENCODERS
from shelfcast.networks.settings import NetworkConfig


class Tensors(NamedTuple):
    """Inputs of a network; axes as in `Batch`. `table` is the calendar table (P x T, Fc)."""

    codes: Tensor
    numbers: Tensor
    inputs: Tensor
    table: Tensor
    calendar: Tensor
    origins: Tensor
    state: Tensor
    ahead: Tensor
    targets: Tensor
    indicators: Tensor | None = None


class Network(nn.Module):
    """Inputs of B series -> raw outputs (B, O, K, W) of every horizon at every origin."""

    leads: Tensor
    means: Tensor | None
    base: Tensor
    spans: Tensor

    def __init__(self, layout: Layout, shape: NetworkConfig, n_dates: int, n_raw: int) -> None:
        super().__init__()
        self.shape = shape
        width, columns = shape.width, layout.columns
        means, leads = averaging(layout.horizons)
        n_ahead = layout.n_ahead + shape.dates + layout.n_targets
        self.reach, self.n_leads = layout.reach, layout.n_leads
        self.in_order = means is None and leads.tolist() == list(range(layout.n_leads))
        self.static = nn.ModuleList(nn.Embedding(len(found) + 1, shape.embedding) for _, found in columns.static)
        self.numbers = nn.Linear(max(len(columns.numbers), 1), shape.embedding)
        self.dates = nn.Linear(n_dates, shape.dates)
        self.pointwise = shape.encoder == "mlp"
        self.inputs = nn.Linear(layout.n_inputs + shape.dates + layout.n_state * self.pointwise, width)
        self.embed = nn.Linear(shape.embedding, width, bias=False)
        self.encoder = ENCODERS[shape.encoder](width, layout.reach, layout.forks)
        n_vector = width + layout.n_state + shape.embedding
        self.globally = Global(
            n_vector, n_ahead, len(layout.horizons), width, shape.hidden, specific=shape.specific, glimpse=shape.glimpse
        )
        self.embed_local = nn.Linear(shape.embedding, width, bias=False)
        self.locally = Local(n_ahead, width, width, n_raw)
        self.register_buffer("leads", torch.as_tensor(leads), persistent=False)
        self.register_buffer("means", None if means is None else torch.as_tensor(means), persistent=False)
        self.register_buffer("spans", torch.tensor([float(h.span) for h in layout.horizons]), persistent=False)
        self.register_buffer("base", torch.zeros(len(layout.horizons), n_raw))
        for embedding in self.static:
            nn.init.normal_(embedding.weight, std=0.3)  # type: ignore[arg-type]

    def forward(self, given: Tensors, keep: Tensor | None = None) -> Tensor:
        who = self.statics(given)
        dates = functional.embedding(given.calendar, self.dates(given.table))
        at = self._encoded(given, dates, who)
        vector = torch.cat((at, given.state, who[:, None].expand(-1, at.shape[1], -1)), dim=-1)
        ahead = torch.cat((given.ahead, self._dates_ahead(dates, given.origins)), dim=-1)
        ahead = torch.cat((self._horizons(ahead), given.targets), dim=-1)
        context = self.globally(vector, ahead) + self.embed_local(who)[:, None, None]
        raw: Tensor = self.locally(context, ahead, keep)
        return raw + self.base

    def _encoded(self, given: Tensors, dates: Tensor, who: Tensor) -> Tensor:
        """(B, O, D) vectors of the decoded origins; an encoder of single periods is given no other, and their state."""
        if self.pointwise:
            parts = (given.inputs[:, given.origins], dates[:, given.origins], given.state)
            alone: Tensor = self.encoder(self.inputs(torch.cat(parts, dim=-1)) + self.embed(who)[:, None])
            return alone
        read = torch.cat((given.inputs, dates[:, : given.inputs.shape[1]]), dim=-1)
        encoded: Tensor = self.encoder(self.inputs(read) + self.embed(who)[:, None])
        return encoded[:, given.origins - self.reach]

    def statics(self, given: Tensors) -> Tensor:
        """(B, E) vector of what is known of each series for ever."""
        numbers = given.numbers if given.numbers.shape[1] else given.numbers.new_zeros(given.numbers.shape[0], 1)
        made: Tensor = self.numbers(numbers)
        for place, embedding in enumerate(self.static):
            made = made + embedding(given.codes[:, place])
        return made

    def _dates_ahead(self, dates: Tensor, origins: Tensor) -> Tensor:
        """(B, O, H, D) dates of every lead from every origin, of dates (B, T + H, D)."""
        place = origins[:, None] + 1 + torch.arange(self.n_leads, device=origins.device)
        return dates[:, place]

    def _horizons(self, ahead: Tensor) -> Tensor:
        """(B, O, K, F) of each horizon, the mean over its leads, of (B, O, H, F)."""
        if self.means is not None:
            return torch.einsum("bohf,hk->bokf", ahead, self.means)
        if self.in_order:
            return ahead
        return ahead[:, :, self.leads]
