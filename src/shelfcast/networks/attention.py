"""The parts of MQTransformer: positions on the calendar, alignment with past periods, feedback from earlier forecasts.

    Position   what a period is: calendar and planned promotions of the period and of those around it
    Alignment  (t, k) looks up past periods that resemble what lies ahead; never one after t
    Feedback   (t, k) looks up what earlier origins said of the same window, and what demand came since

Axes as in `Batch`; S are the periods whose vectors the encoder returns, the last `forks` of them possible origins. A
query attends to a learned nothing besides its keys, so that a product without history has something to attend to.

Sources: Eisenach et al. (arXiv 2009.14799). Changed: alignment may go by dates (the key of a past date is what was
known before it and what was planned for it, the value what came).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Position(nn.Module):
    """Vectors of periods, from indicators known ahead, by convolutions that look both ways.

    Parameters
    ----------
    n_in, width : of the indicators and of the vectors.
    layers : convolutions of kernel 3 with dilations 1, 2, 4 ..; a vector sees `reach_of(layers)` periods each way.
    """

    def __init__(self, n_in: int, width: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_in, width)
        self.layers = nn.ModuleList(nn.Linear(3 * width, width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T - 2 reach, width) of indicators (B, T, n_in)."""
        x = self.first(x)
        for number, layer in enumerate(self.layers):
            d = 1 << number
            now = x[:, d:-d]
            x = now + functional.relu(layer(torch.cat((x[:, : -2 * d], now, x[:, 2 * d :]), dim=-1)))
        return x


def reach_of(layers: int) -> int:
    """Periods each way that a position of so many layers depends on."""
    return (1 << layers) - 1


class Alignment(nn.Module):
    """Attention of every origin and horizon to past periods.

    Parameters
    ----------
    width, n_position, n_ahead : of the encoder's vectors, of positions and of what is known of a horizon,
        its position included.
    n_inputs : of what the encoder reads of a period.
    heads : each of `width / heads` numbers.
    window : periods up to the origin that it may attend to.
    by_dates : keys of past dates; else, as in the paper, of past origins and of what lay ahead of them.
    """

    def __init__(
        self, width: int, n_position: int, n_ahead: int, n_inputs: int, heads: int, window: int, *, by_dates: bool
    ) -> None:
        super().__init__()
        self.heads, self.window, self.by_dates = heads, window, by_dates
        self.size = width // heads
        inner = self.size * heads
        self.query = nn.Linear(width + n_position, inner)
        self.query_ahead = nn.Linear(n_ahead, inner, bias=False)
        self.key = nn.Linear(width + n_position, inner)
        self.key_ahead = nn.Linear(n_position, inner, bias=False) if n_position else None
        self.nothing = nn.Parameter(torch.zeros(inner))
        self.value = nn.Linear((width + n_inputs) if by_dates else width, inner)
        self.out = nn.Linear(inner, width)
        nn.init.zeros_(self.out.weight)  # training begins at the MQ network
        nn.init.zeros_(self.out.bias)

    def forward(
        self, encoded: Tensor, position: Tensor, read: Tensor, at: Tensor, ahead: Tensor, place: Tensor,
        windows: Tensor, there: Tensor,
    ) -> Tensor:  # fmt: skip
        """(B, O, K, width) added to the contexts.

        Parameters
        ----------
        encoded, position : (B, S, width) and (B, S + H, n_position), of periods 0 .. of the keys.
        read : (B, S, n_inputs) what is known at the end of each period.
        at, ahead : (B, O, width + n_position), (B, O, K, n_ahead) of the queries.
        place : (O,) of the origins among S.
        windows : (K, 2) lead and span of each horizon.
        there : (B, S) periods worth attending to.
        """
        query, keys, values, mask, bias = self._parts(encoded, position, read, at, ahead, place, windows, there)
        mask = mask if bias is None else torch.where(mask, bias, -torch.inf)
        found = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        b, o, k = ahead.shape[:3]
        made: Tensor = self.out(found.transpose(1, 2).reshape(b, o, k, -1))
        return made

    def weights(self, *parts: Tensor) -> Tensor:
        """(B, heads, O, K, S + 1) what `forward` attends to, the last entry being nothing; sums to 1."""
        query, keys, _, mask, bias = self._parts(*parts)
        scores = query @ keys.transpose(-1, -2) / math.sqrt(self.size)
        scores = scores if bias is None else scores + bias
        b, o, k = parts[4].shape[:3]
        made = torch.where(mask, scores, -torch.inf).softmax(dim=-1)
        return made.reshape(b, self.heads, o, k, -1)

    def _parts(
        self, encoded: Tensor, position: Tensor, read: Tensor, at: Tensor, ahead: Tensor, place: Tensor,
        windows: Tensor, there: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:  # fmt: skip
        """Queries (B, heads, O K, size), keys and values (B, heads, S + 1, size), mask and bias (B, *, O K, S + 1)."""
        n, (_, o, k) = encoded.shape[1], ahead.shape[:3]
        query = self._split((self.query(at)[:, :, None] + self.query_ahead(ahead)).flatten(1, 2))
        own = self.key(torch.cat((encoded, position[:, :n]), dim=-1))
        if self.by_dates:
            keys = torch.cat((own[:, :1], own[:, :-1]), dim=1)
            keys = keys if self.key_ahead is None else keys + self.key_ahead(position[:, :n])
            there = torch.cat((torch.zeros_like(there[:, :1]), there[:, 1:]), dim=1)
            values = self.value(torch.cat((encoded, read), dim=-1))
        else:
            keys, values = own, self.value(encoded)
        nothing = self.nothing.expand(keys.shape[0], 1, -1)
        keys = self._split(torch.cat((keys, nothing), dim=1))
        values = self._split(torch.cat((values, torch.zeros_like(nothing)), dim=1))
        age = place[:, None] - torch.arange(n, device=place.device)
        near = (age >= 0) & (age < self.window)
        mask = functional.pad(near[None] & there[:, None], (0, 1), value=True)
        mask = mask[:, :, None].expand(-1, -1, k, -1).flatten(1, 2)[:, None]
        bias = None
        if not self.by_dates and self.key_ahead is not None:
            bias = self._ahead_bias(query, self._split(self.key_ahead(position)), windows, o, k, n)
        return query, keys, values, mask, bias

    def _ahead_bias(self, query: Tensor, dates: Tensor, windows: Tensor, o: int, k: int, n: int) -> Tensor:
        """(B, heads, O K, S + 1) scores of what lay ahead of each past origin, that of a horizon its periods' mean."""
        scores = query @ dates.transpose(-1, -2) / math.sqrt(self.size)
        total = functional.pad(scores.cumsum(dim=-1), (1, 0)).reshape(*scores.shape[:2], o, -1)
        begin = torch.arange(n, device=query.device) + 1 + windows[:, :1]
        row = torch.arange(k, device=query.device)[:, None] * (scores.shape[-1] + 1) + begin
        low, high = (total.index_select(-1, (row + extra).flatten()) for extra in (0, windows[:, 1:]))
        made = (high - low).reshape(*high.shape[:2], o, k, n) / windows[:, 1:]
        return functional.pad(made.flatten(2, 3), (0, 1))

    def _split(self, x: Tensor) -> Tensor:
        """(B, heads, n, size) of (B, n, heads x size)."""
        return x.reshape(*x.shape[:2], self.heads, self.size).transpose(1, 2)


class Feedback(nn.Module):
    """Attention of every origin and horizon to what earlier origins said of the same window.

    Parameters
    ----------
    width, n_query : of contexts and of what is known at an origin.
    heads : each of `width / heads` numbers.
    n_lags : earlier origins.
    """

    N_SINCE = 3  # demand and share of observed periods since, and the change of the scale

    def __init__(self, width: int, n_query: int, heads: int, n_lags: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        inner = self.size * heads
        self.query = nn.Linear(n_query, inner)
        self.query_context = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner, bias=False)
        self.since = nn.Linear(self.N_SINCE, 2 * inner)
        self.lags = nn.Parameter(torch.zeros(n_lags, inner))
        self.out = nn.Linear(inner, width)
        nn.init.zeros_(self.out.weight)  # training begins at the MQ network
        nn.init.zeros_(self.out.bias)

    def forward(self, context: Tensor, at: Tensor, since: Tensor, cell: Tensor, there: Tensor) -> Tensor:
        """(B, O, K, width) added to the contexts.

        Parameters
        ----------
        context, at : (B, O, K, width) and (B, O, n_query).
        since : (B, O, J, N_SINCE) what came between each earlier origin and this one.
        cell, there : (O, J, K) where among (O K) each earlier forecast of the window stands, and whether there is one.
        """
        b = context.shape[0]
        query = self._split(self.query(at)[:, :, None] + self.query_context(context)) / math.sqrt(self.size)
        both = self.key_value(context)
        said = both.flatten(1, 2).index_select(1, cell.flatten()).reshape(b, *cell.shape, -1)
        came = self.since(since) + torch.cat((self.lags, torch.zeros_like(self.lags)), dim=-1)
        (keys, values), (key_since, value_since) = self._halves(said), self._halves(came)
        own_key, own_value = self._halves(both)
        scores = (query[:, :, None] * keys).sum(dim=-1) + torch.einsum("bokhd,bojhd->bojkh", query, key_since)
        scores = torch.where(there[None, ..., None], scores, -torch.inf)
        own = (query * own_key).sum(dim=-1)[:, :, None]
        share = torch.cat((scores, own), dim=2).softmax(dim=2)
        found = (share[:, :, :-1, ..., None] * values).sum(dim=2) + share[:, :, -1, ..., None] * own_value
        found = found + torch.einsum("bojkh,bojhd->bokhd", share[:, :, :-1], value_since)
        made: Tensor = self.out(found.flatten(-2))
        return made

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (.., heads, size) of (.., 2 x heads x size)."""
        keys, values = x.chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, self.size)
