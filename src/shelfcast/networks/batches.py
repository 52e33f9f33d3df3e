"""Forking-sequence batches: panel -> plain arrays, gathered by index arithmetic.

A batch holds B series over `reach + forks` periods that the encoder reads, of which the last `forks` are possible
origins, then the longest horizon's periods ahead. O of the origins are decoded. For every origin and lead it holds what
is known of the target period; horizons over several periods take means over their leads (`averaging`).

Everything of one origin depends on the panel up to it, on its known columns and on the calendar, and on nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.horizons import Horizon
from shelfcast.networks.columns import Columns
from shelfcast.networks.handmade import HandMade
from shelfcast.networks.rhythms import Rhythm
from shelfcast.networks.windows import (
    N_STATE,
    Floats,
    Ints,
    Level,
    Window,
    columns_at,
    gather,
    level_of,
    seasonal_mean,
    trailing_mean,
)

SEEN, ON_SALE = 1, 2  # places among the encoder's inputs
_ENCODER_OWN = 5  # demand over scale, observed, on sale, next season's lag, next year's lag


@dataclass(frozen=True)
class Batch:
    """Inputs and labels of B series at O origins.

    Parameters
    ----------
    codes, numbers : (B, S) and (B, Sn) static columns.
    inputs : (B, T, Fx) what the encoder reads, T = reach + forks.
    calendar : (B, T + H) row of each period in the calendar table, places one after the other.
    origins : (O,) places of the decoded origins among the T.
    state : (B, O, Fs) state features at the origins.
    ahead : (B, O, H, Fh) what is known at each origin of each lead.
    targets : (B, O, K, Ft) hand-made features of each horizon; Ft is 0 without them.
    scale : (B, O) units a period, > 0.
    silent : (B, O) whether nothing was sold for long, though observed: such a series is forecast as zeros.
    indicators : (B, T + H + around, Fi) what is planned for each period, for positions; None where they are not used.
    labels : (B, O, K) demand of each horizon over scale and span; lower bounds where `bound`.
    weight : (B, O, K) 0 where there is no label.
    bound : (B, O, K) whether the label is only a lower bound; None where none is.
    """

    codes: Ints
    numbers: Floats
    inputs: Floats
    calendar: Ints
    origins: Ints
    state: Floats
    ahead: Floats
    targets: Floats
    scale: Floats
    silent: NDArray[np.bool_]
    indicators: Floats | None = None
    labels: Floats | None = None
    weight: Floats | None = None
    bound: NDArray[np.bool_] | None = None


def averaging(horizons: Sequence[Horizon]) -> tuple[Floats | None, Ints]:
    """How leads 0 .. H - 1 make horizons: (H, K) means over each span, or None and the leads of single periods (K,)."""
    n_leads = max(h.end for h in horizons)
    leads = np.array([h.lead for h in horizons])
    if all(h.span == 1 for h in horizons):
        return None, leads
    made = np.zeros((n_leads, len(horizons)), dtype=np.float32)
    for k, h in enumerate(horizons):
        made[h.lead : h.end, k] = 1 / h.span
    return made, leads


@dataclass(frozen=True)
class Layout:
    """What batches of one network look like: columns, rhythm, horizons, sizes.

    Parameters
    ----------
    columns : what is read of a panel.
    rhythm : windows of the frequency.
    horizons : K horizons.
    reach, forks : periods the encoder looks back on, and possible origins of a window.
    left_out : parts of the inputs that are not given, among `settings.PARTS` (for comparisons).
    sold : past column with what was sold in periods that were not observed or ended sold out: a lower bound on demand.
    made : hand-made features to read beside, if any.
    keys : periods before the first possible origin whose vectors are wanted too, for attention.
    around : periods beyond the last lead whose plans are read, for positions.
    lags : distances of the earlier origins whose forecasts are looked up, periods.
    """

    columns: Columns
    rhythm: Rhythm
    horizons: tuple[Horizon, ...]
    reach: int
    forks: int
    left_out: tuple[str, ...] = ()
    sold: str | None = None
    made: HandMade | None = None
    keys: int = 0
    around: int = 0
    lags: tuple[int, ...] = ()
    n_leads: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_leads", max(h.end for h in self.horizons))

    def uses(self, part: str) -> bool:
        """Whether a part of the inputs is given."""
        return part not in self.left_out

    @property
    def n_inputs(self) -> int:
        """Width Fx of the encoder's inputs."""
        return _ENCODER_OWN + N_STATE + len(self.columns.known) + self._n_levels * 2 + len(self.columns.past)

    @property
    def n_ahead(self) -> int:
        """Width Fh of what is known of each lead."""
        return len(self.rhythm.counts) + 3 + len(self.columns.known) + 3 * self._n_levels

    @property
    def n_state(self) -> int:
        """Width Fs of the state features."""
        return N_STATE + (0 if self.made is None else self.made.n_state)

    @property
    def n_targets(self) -> int:
        """Width Ft of the hand-made features of a horizon."""
        return 0 if self.made is None else self.made.n_ahead

    @property
    def n_indicators(self) -> int:
        """Width Fi of what is planned for a period."""
        return len(self.columns.known) + self._n_levels

    @property
    def _n_levels(self) -> int:
        return sum(self.columns.levels)


class Source:
    """A panel as batches read it: its static columns as codes, and its calendar as one table, flattened over places.

    Parameters
    ----------
    panel, layout : what is read, and how.
    first, last : periods of origins that batches may have.
    """

    def __init__(self, panel: Panel, layout: Layout, first: int, last: int) -> None:
        before = layout.rhythm.history + layout.reach + layout.keys + layout.forks
        self.panel, self.layout = panel, layout
        self.first = first - before
        self.length = last + layout.forks + layout.n_leads + layout.around - self.first + 1
        made = layout.columns.calendar_table(panel, self.first, self.first + self.length - 1)
        self.table = made.reshape(-1, made.shape[-1]) * np.float32(layout.uses("calendar"))
        self.codes = layout.columns.codes(panel) * int(layout.uses("static"))
        self.numbers = layout.columns.static_numbers(panel) * np.float32(layout.uses("static"))
        self.date_rows = None if layout.made is None else layout.made.dates(panel)

    def dates(self, place: NDArray[Any], first: Ints, n_periods: int) -> Ints:
        """(B, n_periods) rows of the table for the periods from `first` (B,) at places (B,)."""
        when = np.clip(first[:, None] + np.arange(n_periods) - self.first, 0, self.length - 1)
        return np.asarray(place[:, None].astype(np.int64) * self.length + when)

    def hand_made(self, series: Ints, periods: Ints, scale: NDArray[Any]) -> tuple[Floats, Floats]:
        """(B, O, .) and (B, O, K, Ft) hand-made features of series (B,) at origins (B, O); of no width without them."""
        if self.layout.made is None or self.date_rows is None:
            shape = (*periods.shape, len(self.layout.horizons), 0)
            return np.zeros((*periods.shape, 0), dtype=np.float32), np.zeros(shape, dtype=np.float32)
        return self.layout.made.read(self.panel.take(series), self.date_rows, periods, scale)


def make_batch(
    source: Source, series: Ints, last_fork: Ints, origins: Ints, *, forks: int | None = None, with_labels: bool = True
) -> Batch:
    """Batch of series (B,) whose latest possible origin is period `last_fork` (B,).

    Parameters
    ----------
    origins : (O,) places among the possible origins, 0 the earliest.
    forks : possible origins of the windows; the layout's by default.
    """
    panel, layout = source.panel, source.layout
    rhythm, n_leads, n_before = layout.rhythm, layout.n_leads, layout.rhythm.history
    n_forks = layout.forks if forks is None else forks
    n_lead_in = layout.reach + layout.keys
    n_read = n_lead_in + n_forks
    first = last_fork - (n_before + n_read) + 1
    window = gather(panel, series, first, n_before + n_read + n_leads + layout.around)
    known, logs = layout.columns.known_values(columns_at(panel.known, window))
    raw_past = columns_at(panel.past, window)
    promoted = None
    if any(layout.columns.flags):
        promoted = np.asarray((known[..., list(layout.columns.flags)] > 0).any(axis=-1))
    level = level_of(window, promoted, rhythm, layout.columns.launch, layout.columns.offset)
    if not layout.uses("known"):
        known, logs = np.zeros_like(known), np.zeros_like(logs)
    regular = _regular_price(logs, rhythm.price)
    at = n_before + n_lead_in + origins
    periods = last_fork[:, None] - n_forks + 1 + origins
    lately, targets = source.hand_made(series, periods, level.scale[:, at])
    inputs = _encoder_inputs(window, level, layout, known, logs, regular, raw_past)
    made: dict[str, Any] = {
        "codes": source.codes[series],
        "numbers": source.numbers[series],
        "inputs": inputs[:, n_before : n_before + n_read],
        "calendar": source.dates(panel.place[series], first + n_before, n_read + n_leads + layout.around),
        "origins": n_lead_in + origins,
        "state": np.concatenate([level.state[:, at] * np.float32(layout.uses("state")), lately], axis=-1),
        "ahead": _ahead(window, level, layout, known, logs, regular, at),
        "targets": targets,
        "scale": level.scale[:, at].astype(np.float32),
        "silent": level.silent[:, at],
    }
    if layout.around:
        planned = (known, np.nan_to_num(8 * (logs - regular)).clip(-6, 6))
        made["indicators"] = np.concatenate(planned, axis=-1).astype(np.float32)[:, n_before:]
    if with_labels:
        made |= _labels(window, level, layout, raw_past, at, periods, panel)
    return Batch(**made)


def _shape(ratio: NDArray[Any]) -> NDArray[Any]:
    """Demand over scale as a network reads it: `2 (log(1 + r) - log 2)`, 0 at the scale."""
    return np.asarray(np.minimum(2 * (np.log1p(np.maximum(ratio, 0)) - 0.69), 12.0))


def _regular_price(logs: Floats, n_periods: int) -> NDArray[np.float64]:
    """(B, T, L) trailing mean of the logs that are there; NaN before the first."""
    made = np.full(logs.shape, np.nan)
    for j in range(logs.shape[-1]):
        there = np.isfinite(logs[..., j])
        mean, count = trailing_mean(np.where(there, logs[..., j], 0.0).astype(np.float64), there * 1.0, n_periods)
        made[..., j] = np.where(count > 0.5, mean, np.nan)
    return made


def _encoder_inputs(
    window: Window, level: Level, layout: Layout, known: Floats, logs: Floats, regular: NDArray[np.float64],
    raw_past: Floats,
) -> Floats:  # fmt: skip
    """(B, T, Fx) all that is known of each period at its end."""
    ratio = window.demand / level.scale
    own = [_shape(ratio) * window.seen, window.seen, (window.age > 0) * 1.0]
    for lag in (layout.rhythm.season - 1, layout.rhythm.year - 1):
        lagged = np.zeros_like(ratio)
        seen = np.zeros_like(ratio)
        cut = slice(None) if lag == 0 else slice(None, -lag)
        lagged[:, lag:], seen[:, lag:] = window.demand[:, cut], window.seen[:, cut]
        own.append(_shape(lagged / level.scale) * seen * np.float32(layout.uses("lags")))
    state = level.state * np.float32(layout.uses("state"))
    past = layout.columns.past_values(raw_past) * np.float32(layout.uses("past"))
    relative = np.nan_to_num(8 * (logs - regular)).clip(-6, 6)
    change = np.zeros_like(relative)
    change[:, 1:] = np.nan_to_num(8 * np.diff(logs, axis=1)).clip(-6, 6)
    parts = [np.stack(own, axis=-1), state, known, relative, change, past]
    return np.concatenate([np.asarray(p, dtype=np.float32) for p in parts], axis=-1)


def _ahead(
    window: Window, level: Level, layout: Layout, known: Floats, logs: Floats, regular: NDArray[np.float64], at: Ints
) -> Floats:
    """(B, O, H, Fh) what is known at each origin of each period ahead."""
    rhythm, leads = layout.rhythm, np.arange(layout.n_leads)
    target = at[:, None] + 1 + leads
    scale = level.scale[:, at][:, :, None]
    uses_lags = np.float32(layout.uses("lags"))
    parts: list[NDArray[Any]] = []
    same = at[:, None] + 1 + leads - rhythm.season * (leads // rhythm.season + 1)
    for n in rhythm.counts:
        mean, count = seasonal_mean(window.demand, window.seen, rhythm.season, n)
        parts.append((_shape(mean[:, same] / scale) * (count[:, same] > 0.5) * uses_lags)[..., None])
    back = target - rhythm.year * (leads // rhythm.year + 1)
    seen = window.seen[:, back]
    around, count = trailing_mean(window.demand, window.seen, max(rhythm.season, 3))
    middle = np.minimum(back + max(rhythm.season, 3) // 2, at[:, None])
    there = count[:, middle] > 0.5
    then = level.scale[:, at - rhythm.year][:, :, None]
    offset = layout.columns.offset
    parts += [
        (_shape(window.demand[:, back] / scale) * seen * uses_lags)[..., None],
        (seen * uses_lags)[..., None],
        (np.log((around[:, middle] + offset) / then).clip(-3, 3) * there * uses_lags)[..., None],
        known[:, target],
    ]
    if logs.shape[-1]:
        ahead = logs[:, target]
        now = logs[:, at][:, :, None]
        usual = regular[:, at][:, :, None]
        price = ahead[..., _level_place(layout)][..., None] if layout.columns.price >= 0 else ahead
        parts += [8 * (ahead - now), 8 * (ahead - usual), 8 * (price - ahead)]
    return np.concatenate([np.nan_to_num(p).clip(-8, 8).astype(np.float32) for p in parts], axis=-1)


def _level_place(layout: Layout) -> int:
    """Place of the price among the levels; the first where the price is none."""
    place = layout.columns.price
    return sum(layout.columns.levels[:place]) if layout.columns.levels[place] else 0


def _past(panel: Panel, name: str, raw_past: Floats, target: Ints) -> Floats:
    """Values (B, O, L) of a past column at the target periods; 0 where there are none."""
    return np.asarray(np.nan_to_num(raw_past[..., panel.names.past.index(name)])[:, target])


def _labels(
    window: Window, level: Level, layout: Layout, raw_past: Floats, at: Ints, periods: Ints, panel: Panel
) -> dict[str, Any]:
    """Labels over scale and span, their weight, and which are lower bounds.

    A window of which at least half was observed counts, raised to its length; one where units sold in the other
    periods are known is a lower bound, and one with less no label. With `sold`, periods that the panel says ended sold
    out are such others, too: what was sold then, not the completed demand, is the bound. Before its first row a series
    has no origin, but for the longest horizon's periods before the launch of one that the panel saw begin.
    """
    target = at[:, None] + 1 + np.arange(layout.n_leads)
    units, seen = window.demand[:, target], window.seen[:, target]
    sold = np.zeros_like(units)
    if layout.sold is not None:
        if panel.names.sold_out is not None:
            kept = _past(panel, panel.names.sold_out, raw_past, target) <= 0
            units, seen = units * kept, seen * kept
        sold = _past(panel, layout.sold, raw_past, target) * (1 - seen)
    means, leads = averaging(layout.horizons)
    if means is None:
        total, share, floor = units[..., leads], seen[..., leads], sold[..., leads]
    else:
        total, share, floor = units @ means, seen @ means, sold @ means
    bound = (floor > 0) & (share < 0.999)
    value = np.where(bound, total + floor, total / np.maximum(share, 1e-6))
    weight = (share > 0.499) | bound
    weight &= (periods >= panel.first - 1)[..., None] & (periods < panel.last)[..., None]
    scale = level.scale[:, at][..., None]
    return {
        "labels": np.where(weight, value / scale, 0.0).astype(np.float32),
        "weight": weight.astype(np.float32),
        "bound": bound if layout.sold is not None else None,
    }
