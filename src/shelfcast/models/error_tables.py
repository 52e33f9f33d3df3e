"""Past errors of point forecasts as tables of quantiles: what the Distribution Engine draws its laws from.

Errors of past rolling origins are standardised, pooled by demand class, horizon and level band (how large the forecast
was), and their quantiles put back around today's forecast:

    e = (y - f) / (f + c)^p,    q = f + (f + c)^p Q(e),    clipped at zero,

with `c` a tenth of a unit per period. `p` is 0 (additive), 1 (multiplicative) or 1/2 (root: counts scatter with the
root of their mean), chosen on the newest origins. A cell (class, band, horizon) with n errors is shrunk to the band of
all classes by n / (n + k). Errors of a span are those of its summed forecast, never sums of quantiles. A span without
any past error (a history shorter than the horizon) gets `f + (f + c)^(1/2) z` with standard normal `z`: the scatter of
counts, whatever the form.
"""

from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from shelfcast.horizons import Horizon
from shelfcast.scoring import pinball

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

SHIFT = 0.1  # units per period added to a forecast before powers and logarithms
BAND_ERRORS = 20.0  # errors at which a band counts as much as its span
_LEAD_GROUPS = 4  # errors of neighbouring leads are pooled


class Form(Enum):
    """How errors scale with the forecast: the power p."""

    ADDITIVE = 0.0
    ROOT = 0.5
    MULTIPLICATIVE = 1.0


@dataclass(frozen=True)
class Shape:
    """What errors are pooled by.

    Parameters
    ----------
    horizons : K horizons.
    n_classes : demand classes C.
    n_bands : level bands B, of equally many past forecasts each.
    shrink : errors k at which a cell counts as much as its band.
    apart : classes unlike all others, whose cells count as much from `BAND_ERRORS` errors on.
    """

    horizons: tuple[Horizon, ...]
    n_classes: int
    n_bands: int = 24
    shrink: float = 2000.0
    apart: tuple[int, ...] = ()

    @property
    def spans(self) -> list[int]:
        """The distinct spans, each with bands of its own."""
        return sorted({h.span for h in self.horizons})

    def lead_groups(self) -> Ints:
        """(K,) group of each horizon: its span, and about the quarter of that span's leads."""
        group = np.zeros(len(self.horizons), dtype=np.int64)
        for s, span in enumerate(self.spans):
            width = -(-(max(h.lead for h in self.horizons if h.span == span) + 1) // _LEAD_GROUPS)
            for k, h in enumerate(self.horizons):
                if h.span == span:
                    group[k] = s * _LEAD_GROUPS + h.lead // width
        return group

    @property
    def n_groups(self) -> int:
        """Lead groups G, empty ones included."""
        return len(self.spans) * _LEAD_GROUPS


@dataclass(frozen=True)
class PastErrors:
    """Forecasts of past origins and what came.

    Parameters
    ----------
    mean : (N, O, K) point forecasts, units.
    demand, complete : (N, O, K) what came, and whether all its periods were observed.
    classes : (N, O) class of each series as of each origin, 0 .. C - 1.
    """

    mean: Array
    demand: Array
    complete: NDArray[np.bool_]
    classes: Ints

    def origins(self, chosen: slice) -> "PastErrors":
        """Only some of the origins."""
        return PastErrors(
            self.mean[:, chosen], self.demand[:, chosen], self.complete[:, chosen], self.classes[:, chosen]
        )


@dataclass(frozen=True)
class ErrorTables:
    """Quantiles of standardised errors.

    Parameters
    ----------
    shape : what they are pooled by.
    form : the power p.
    levels : Q levels.
    edges : (S, B - 1) log of forecast per period at which bands change, for every span.
    quantiles : (C, G, B, Q) quantiles of e.
    n_errors : (S,) past errors of every span; where there are none, `quantiles` are normal, for the root form.
    """

    shape: Shape
    form: Form
    levels: tuple[float, ...]
    edges: Array
    quantiles: Array
    n_errors: Ints

    @classmethod
    def learn(cls, past: PastErrors, shape: Shape, levels: tuple[float, ...], form: Form) -> "ErrorTables":
        """Pool past errors."""
        spans = np.array([h.span for h in shape.horizons], dtype=np.float64)
        edges = _edges(past, shape)
        error = (past.demand - past.mean) / (past.mean + SHIFT * spans) ** form.value
        group, band = shape.lead_groups(), _bands(past.mean, shape, edges)
        cell = group * shape.n_bands + band
        n_cells = shape.n_groups * shape.n_bands
        ok = past.complete
        everyone = np.broadcast_to(np.searchsorted(shape.spans, spans), error.shape)
        by_span, n_errors = grouped_quantiles(error[ok], everyone[ok], len(shape.spans), levels)
        by_span[n_errors == 0] = [NormalDist().inv_cdf(level) for level in levels]
        by_band, n_band = grouped_quantiles(error[ok], cell[ok], n_cells, levels)
        fallback = np.repeat(by_span, _LEAD_GROUPS * shape.n_bands, axis=0)
        by_band = _shrunk(by_band, n_band, fallback, BAND_ERRORS)
        both = past.classes[:, :, None] * n_cells + cell
        by_class, n_class = grouped_quantiles(error[ok], both[ok], shape.n_classes * n_cells, levels)
        k = np.where(np.isin(np.arange(shape.n_classes), shape.apart), BAND_ERRORS, shape.shrink)
        table = _shrunk(by_class, n_class, np.tile(by_band, (shape.n_classes, 1)), np.repeat(k, n_cells))
        full = (shape.n_classes, shape.n_groups, shape.n_bands, len(levels))
        return cls(shape, form, levels, edges, table.reshape(full), n_errors)

    def apply(self, mean: Array, classes: Ints) -> Array:
        """(N, K, Q) quantiles around point forecasts (N, K) of series in classes (N,); units, >= 0, never crossing."""
        spans = np.array([h.span for h in self.shape.horizons], dtype=np.float64)
        band = _bands(mean, self.shape, self.edges)
        errors = self.quantiles[classes[:, None], self.shape.lead_groups(), band]
        has_errors = self.n_errors[np.searchsorted(self.shape.spans, spans)] > 0
        scale = (mean + SHIFT * spans) ** np.where(has_errors, self.form.value, Form.ROOT.value)
        return np.maximum.accumulate(np.maximum(mean[..., None] + scale[..., None] * errors, 0.0), axis=-1)


def chosen_form(past: PastErrors, shape: Shape, levels: tuple[float, ...]) -> Form:
    """The form whose quantiles, learned from older origins, lose least at the newest quarter of them.

    Loss is the sum of pinball over all series, as in weighted quantile loss. With fewer than four origins: root.
    """
    n_origins = past.mean.shape[1]
    if n_origins < 4 or not past.complete.any():
        return Form.ROOT
    cut = n_origins - n_origins // 4
    older, newest = past.origins(slice(0, cut)), past.origins(slice(cut, None))
    loss = {}
    for form in Form:
        tables = ErrorTables.learn(older, shape, levels, form)
        total = 0.0
        for o in range(newest.mean.shape[1]):
            quantiles = tables.apply(newest.mean[:, o], newest.classes[:, o])
            lost = pinball(newest.demand[:, o, :, None], quantiles, np.asarray(levels)).sum(axis=-1)
            total += float(np.where(newest.complete[:, o], lost, 0.0).sum())
        loss[form] = total
    return min(loss, key=lambda form: loss[form])


def grouped_quantiles(values: Array, groups: Ints, n_groups: int, levels: tuple[float, ...]) -> tuple[Array, Ints]:
    """Quantiles (n_groups, Q) of the values (M,) of each group, linear between order statistics, and their counts.

    Zeros where a group has no value.
    """
    small = np.uint16 if n_groups <= np.iinfo(np.uint16).max else np.int64  # sorted by counting
    ordered = np.append(values[np.argsort(groups.astype(small), kind="stable")], 0.0)
    count = np.bincount(groups, minlength=n_groups)
    begin = np.cumsum(count) - count
    for first, size in zip(begin[count > 1], count[count > 1], strict=True):
        ordered[first : first + size].sort()
    top = np.maximum(count - 1, 0)[:, None]
    place = top * np.asarray(levels)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, top)
    low, high = (ordered[np.minimum(begin[:, None] + at, len(values))] for at in (below, above))
    found = low + (place - below) * (high - low)
    return np.where(count[:, None] > 0, found, 0.0), count


def _shrunk(own: Array, count: Ints, prior: Array, k: float | Array) -> Array:
    """`own` with weight n / (n + k), `prior` with the rest."""
    weight = (count / (count + k))[:, None]
    return np.asarray(weight * own + (1.0 - weight) * prior)


def _edges(past: PastErrors, shape: Shape) -> Array:
    """(S, B - 1) band edges of log forecast per period, by quantiles of past forecasts."""
    inner = np.linspace(0, 1, shape.n_bands + 1)[1:-1]
    edges = np.zeros((len(shape.spans), shape.n_bands - 1))
    for s, span in enumerate(shape.spans):
        mine = np.array([h.span == span for h in shape.horizons])
        size = past.mean[..., mine][past.complete[..., mine]]
        if len(size):
            edges[s] = np.quantile(np.log(size / span + SHIFT), inner)
    return edges


def _bands(mean: Array, shape: Shape, edges: Array) -> Ints:
    """(..., K) band of each forecast."""
    band = np.zeros(mean.shape, dtype=np.int64)
    for s, span in enumerate(shape.spans):
        mine = np.array([h.span == span for h in shape.horizons])
        band[..., mine] = np.searchsorted(edges[s], np.log(mean[..., mine] / span + SHIFT))
    return band
