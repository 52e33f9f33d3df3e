"""MQTransformer on one screen: the MQ network, its contexts enriched by alignment and feedback.

    r          positions of periods, shared by the encoder's and the decoder's side
    context    global decoder of (h_t, r_t), as in the MQ network: horizon-specific and agnostic
    + align    past periods that resemble what lies ahead of (t, k)
    + feedback earlier forecasts of the same window, and the demand since
    raw        local decoder of the context, r_{t+k} and the known future

Each part can be left out (`TransformerConfig`).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from shelfcast.horizons import Horizon
from shelfcast.networks.attention import Alignment, Feedback, Position, reach_of
from shelfcast.networks.batches import ON_SALE, SEEN, Layout
from shelfcast.networks.decoders import Global, Local
from shelfcast.networks.network import Network, Tensors
from shelfcast.networks.settings import TransformerConfig


class TransformerNetwork(Network):
    """Inputs of B series -> raw outputs (B, O, K, W) of every horizon at every origin."""

    windows: Tensor

    def __init__(self, layout: Layout, shape: TransformerConfig, n_dates: int, n_raw: int) -> None:
        super().__init__(layout, shape, n_dates, n_raw)
        width, n_place = shape.width, shape.position
        n_vector = width + layout.n_state + shape.embedding + n_place
        n_ahead = layout.n_ahead + shape.dates + n_place + layout.n_targets
        self.horizons, self.lags = layout.horizons, layout.lags
        self.reach_position = reach_of(shape.position_layers) if n_place else 0
        self.places = Position(shape.dates + layout.n_indicators, n_place, shape.position_layers) if n_place else None
        # keys have no state, so an encoder of single periods reads inputs alone too
        self.inputs = nn.Linear(layout.n_inputs + shape.dates, width)
        self.globally = Global(
            n_vector, n_ahead, len(layout.horizons), width, shape.hidden, specific=shape.specific, glimpse=shape.glimpse
        )
        self.locally = Local(n_ahead, width, width, n_raw)
        self.alignment = (
            Alignment(
                width, n_place, n_ahead, layout.n_inputs + shape.dates, shape.heads, layout.keys,
                by_dates=shape.align == "dates",
            )
            if layout.keys else None
        )  # fmt: skip
        self.feedback = Feedback(width, n_vector, shape.heads, len(self.lags)) if self.lags else None
        windows = torch.tensor([[h.lead, h.span] for h in layout.horizons])
        self.register_buffer("windows", windows, persistent=False)

    def forward(self, given: Tensors, keep: Tensor | None = None) -> Tensor:
        context, ahead, _ = self.contexts(given)
        raw: Tensor = self.locally(context, ahead, keep)
        return raw + self.base

    def contexts(self, given: Tensors) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Contexts (B, O, K, D), what is known ahead (B, O, K, F), and what the alignment was given."""
        who = self.statics(given)
        dates = functional.embedding(given.calendar, self.dates(given.table))
        n_read = given.inputs.shape[1]
        read = torch.cat((given.inputs, dates[:, :n_read]), dim=-1)
        encoded = self.encoder(self.inputs(read) + self.embed(who)[:, None])
        position = self._positions(given, dates)
        place = given.origins - self.reach
        at = torch.cat((encoded[:, place], position[:, place]), dim=-1)
        vector = torch.cat((at, given.state, who[:, None].expand(-1, place.shape[0], -1)), dim=-1)
        later = torch.cat((dates[:, self.reach : self.reach + position.shape[1]], position), dim=-1)
        ahead = torch.cat((given.ahead, self._dates_ahead(later, place)), dim=-1)
        ahead = torch.cat((self._horizons(ahead), given.targets), dim=-1)
        context = self.globally(vector, ahead) + self.embed_local(who)[:, None, None]
        parts: tuple[Tensor, ...] = ()
        if self.alignment is not None:
            there = given.inputs[:, self.reach :, SEEN if self.alignment.by_dates else ON_SALE] > 0
            parts = (encoded, position, read[:, self.reach :], at, ahead, place, self.windows, there)
            context = context + self.alignment(*parts)
        if self.feedback is not None:
            context = context + self.feedback(context, vector, *self._since(given, place))
        return context, ahead, parts

    def _positions(self, given: Tensors, dates: Tensor) -> Tensor:
        """(B, S + H, P) positions of the periods from the first key to the last lead; P is 0 without them."""
        n_periods = given.inputs.shape[1] - self.reach + self.n_leads
        if self.places is None:
            return dates.new_zeros(dates.shape[0], n_periods, 0)
        r = self.reach_position
        around = dates if given.indicators is None else torch.cat((dates, given.indicators), dim=-1)
        around = around[:, self.reach - r : self.reach + n_periods + r]
        made: Tensor = self.places(around)
        return made

    def _since(self, given: Tensors, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `Feedback` reads of earlier origins: what came since (B, O, J, 3), and which forecast to look up."""
        there, earlier = self._earlier(place)
        total = given.inputs[:, self.reach :, :2].cumsum(dim=1)
        gap = torch.tensor(self.lags, device=place.device)
        before = (place[:, None] - gap).clamp(min=0)
        came = total[:, place][:, :, None] - total[:, before]
        seen = came[..., 1]
        since = torch.stack(
            (
                came[..., 0] / seen.clamp(min=1),
                seen / gap,
                3 * (given.state[:, :, None, 0] - given.state[:, earlier][..., 0]),
            ),
            dim=-1,
        )
        cell, window = self._cells(place.device)
        n_horizons = len(self.horizons)
        return since, earlier[:, :, None] * n_horizons + cell, there[:, :, None] & window

    def _earlier(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """(O, J) whether the origin of each lag is among the given ones, and where (0 if not)."""
        wanted = place[:, None] - torch.tensor(self.lags, device=place.device)
        same = wanted[:, :, None] == place
        return same.any(dim=-1), same.to(torch.int64).argmax(dim=-1)

    def _cells(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(J, K) horizon that covered the same window from the origin of each lag, and whether there is one."""
        places = {horizon: k for k, horizon in enumerate(self.horizons)}
        found = [[places.get(Horizon(h.lead + lag, h.span), -1) for h in self.horizons] for lag in self.lags]
        cell = torch.tensor(found, device=device)
        return cell.clamp(min=0), cell >= 0
