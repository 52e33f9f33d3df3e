"""Training rows of pooled models: which (series, origin, horizon) are learned from.

Rows are drawn, not weighted: series by their money a period in the year before, leads evenly, and a share of rows from
the first periods of launched series, so that new products are known too. By money of the same periods, what happened to
sell much would be drawn for that, and forecasts would be too high. Rows whose targets were not observed whole are left
out.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shelfcast.data import feature_kernels
from shelfcast.data.feature_rows import FeatureRows
from shelfcast.data.features import WINDOWS, Features
from shelfcast.data.groups import launched, settled
from shelfcast.data.panel import Panel, ragged_tails
from shelfcast.models.binning import Bins, Table

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
_EVEN, _LAUNCH = 0.15, 0.1  # share drawn evenly; share of launches
_YEARS = 4  # of history that rows are drawn from
_BLOCK = 20_000  # rows whose features are held as numbers at once
_SHARD = 5_000_000  # rows of a panel whose running sums are held at once
_SAMPLE = 50_000  # rows that the edges of bins are learned from


@dataclass(frozen=True)
class Rows:
    """Training rows, ordered by series: places in the panel, origins, leads, and spans (J,)."""

    series: Ints
    origin: Ints
    lead: Ints
    span: Ints

    def __len__(self) -> int:
        return len(self.series)

    def at(self, places: NDArray[np.generic] | slice) -> "Rows":
        """Some of the rows."""
        return Rows(self.series[places], self.origin[places], self.lead[places], self.span[places])


def draw_rows(panel: Panel, leads: Ints, span: int, n_rows: int, rng: np.random.Generator) -> Rows:
    """At most `n_rows` rows for horizons of one span, from origins whose target ends by the panel's last period."""
    available = int((panel.lengths > 0).sum()) and int(panel.observed.sum()) * len(leads)
    n_rows = min(n_rows, available)
    if n_rows == 0:
        none = np.zeros(0, dtype=np.int64)
        return Rows(none, none, none, none)
    n_launch = round(_LAUNCH * n_rows)
    parts = [
        _from_history(panel, leads, span, n_rows - n_launch, rng),
        _from_launches(panel, leads, span, n_launch, rng),
    ]
    series, origin, lead = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    rows = Rows(series, origin, lead, np.full(len(series), span, dtype=np.int64))
    return rows.at(np.argsort(rows.series, kind="stable"))


def _from_history(
    panel: Panel, leads: Ints, span: int, n: int, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:  # fmt: skip
    """Origins by the series begun, a quarter of a year at a time; series by their worth in the year before the quarter.

    No row is drawn from before the data have settled, and none for what it turned out to sell.
    """
    reach, quarter = round(panel.frequency.year), max(round(panel.frequency.year / 4), 1)
    oldest = max(panel.last - _YEARS * reach, settled(panel, _window(panel)))
    begins = np.arange(oldest, panel.last, quarter)
    there = panel.lengths > 0
    begun = np.searchsorted(np.sort(panel.start[there]), begins + quarter)
    if not begun.sum():
        none = np.zeros(0, dtype=np.int64)
        return none, none, none
    at, lead = rng.choice(len(begins), n, p=begun / begun.sum()), rng.choice(leads, n)
    origin = begins[at] + rng.integers(0, quarter, n)
    series = np.zeros(n, dtype=np.int64)
    for b, chance in enumerate(_chances(panel, begins, quarter, there)):
        mine = np.flatnonzero(at == b)
        series[mine] = rng.choice(panel.n_series, len(mine), p=chance)
    kept = (origin >= panel.start[series]) & (origin <= panel.last - lead - span)
    return series[kept], origin[kept], lead[kept]


def _chances(panel: Panel, begins: Ints, quarter: int, there: NDArray[np.bool_]) -> Iterator[Doubles]:
    """(N,) chance of each series in every quarter, by its worth a period in the part of the year before that it lived.

    A series younger than a month counts as a month old.
    """
    prices = np.full(len(panel.demand), np.nan, dtype=np.float32) if panel.prices is None else panel.prices
    prices = np.ascontiguousarray(prices)

    def worth(begin: int) -> Doubles:
        out = np.zeros(panel.n_series)
        feature_kernels.worth(
            panel.demand, panel.observed, prices, panel.start, panel.indptr, begin, begin + quarter - 1, out
        )
        return out

    year = deque((worth(int(begins[0]) - k * quarter) for k in range(4, 0, -1)), maxlen=4)
    for begin in begins.tolist():
        alive = there & (panel.start < begin + quarter)
        rate = np.where(alive, sum(year) / (begin - panel.start).clip(quarter / 3, 4 * quarter), 0.0)
        even = alive / max(alive.sum(), 1)
        chance = (1 - _EVEN) * rate / rate.sum() + _EVEN * even if rate.sum() > 0 else even
        yield chance / chance.sum() if alive.any() else there / there.sum()
        year.append(worth(begin))


def watched(panel: Panel) -> NDArray[np.bool_]:
    """(N,) whether the launch of a series was watched."""
    return launched(panel, _window(panel))


def _window(panel: Panel) -> int:
    """Periods after which the data have settled."""
    return WINDOWS[panel.frequency.unit][1]


def _from_launches(
    panel: Panel, leads: Ints, span: int, n: int, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:  # fmt: skip
    """Half just before the first period of a launched series, half in the periods after it."""
    places = np.flatnonzero(watched(panel))
    if not len(places):
        none = np.zeros(0, dtype=np.int64)
        return none, none, none
    series, lead = rng.choice(places, n), rng.choice(leads, n)
    young = round(panel.frequency.year / 6)
    age = np.where(rng.random(n) < 0.5, 0, rng.integers(0, young + 1, n))
    origin = panel.start[series].astype(np.int64) - 1 + age
    kept = origin + lead + span <= panel.last
    return series[kept], origin[kept], lead[kept]


def draw_openings(panel: Panel, leads: Ints, span: int, n_rows: int, rng: np.random.Generator) -> Rows:
    """At most `n_rows` rows, each from just before the first period of a series whose launch was watched."""
    begun = panel.start + int(leads.min()) + span - 1 <= panel.last
    places = np.flatnonzero(watched(panel) & begun)
    every = len(places) * len(leads)
    at, k = np.divmod(np.sort(rng.choice(every, min(n_rows, every), replace=False, shuffle=False)), len(leads))
    series, lead = places[at], leads[k]
    origin = panel.start[series].astype(np.int64) - 1
    rows = Rows(series, origin, lead, np.full(len(series), span, dtype=np.int64))
    return rows.at(origin + lead + span <= panel.last)


def openings(panel: Panel, rows: Rows) -> tuple[Ints, Panel, Rows]:
    """The series that rows are of (places), their first periods as a panel, and the rows with places in that."""
    series, places = np.unique(rows.series, return_inverse=True)
    n_periods = int((rows.lead + rows.span).max(initial=0))
    return series, _first_periods(panel.take(series), n_periods), replace(rows, series=places)


def _first_periods(panel: Panel, n_periods: int) -> Panel:
    """Every series without what lies after its first periods."""
    kept = np.ones(len(panel.demand), dtype=bool)
    kept[ragged_tails(panel.indptr, np.full(panel.n_series, n_periods))] = False
    rows = {name: getattr(panel, name)[kept] for name in ("demand", "observed", "past", "known")}
    indptr = np.concatenate(([0], np.cumsum(np.minimum(panel.lengths, n_periods))))
    return replace(panel, indptr=indptr, **rows)


def shards_of(panel: Panel, rows: Rows) -> Iterator[tuple[Panel, Rows]]:
    """Pieces of a panel with their rows, so that running sums of few series are held at once."""
    begin = 0
    for piece in panel.shards(_SHARD):
        low, high = np.searchsorted(rows.series, [begin, begin + piece.n_series])
        mine = rows.at(slice(int(low), int(high)))
        yield piece, replace(mine, series=mine.series - begin)
        begin += piece.n_series


@dataclass(frozen=True)
class Training:
    """What trees are grown on.

    Parameters
    ----------
    rows : J rows. table : their features as bins. target : (J,) units. size : (J,) units that count as one.
    """

    rows: Rows
    table: Table
    target: Doubles
    size: Doubles


def training_table(panel: Panel, features: Features, rows: Rows, rng: np.random.Generator) -> Training:
    """Features of rows as bins, block by block; rows without a whole target are dropped."""
    rows, target = _observed(panel, features, rows)
    sample = rows.at(np.sort(rng.choice(len(rows), min(_SAMPLE, len(rows)), replace=False)))
    values = [block for block, _ in _blocks(panel, features, sample)]
    bins = Bins.learn(np.concatenate(values) if values else np.zeros((0, len(features.names)), dtype=np.float32))
    parts, sizes = [], [np.zeros(0)]
    for block, size in _blocks(panel, features, rows):
        parts.append(bins.cells(block))
        sizes.append(size)
    return Training(rows, Table.joined(bins, parts), target, np.concatenate(sizes))


def _observed(panel: Panel, features: Features, rows: Rows) -> tuple[Rows, Doubles]:
    """The rows whose targets were observed whole, and those."""
    found = [
        FeatureRows(features, piece).targets(mine.series, mine.origin, mine.lead, mine.span)
        for piece, mine in shards_of(panel, rows)
        if len(mine)
    ]
    target = np.concatenate([np.zeros(0), *found])
    kept = np.isfinite(target)
    return rows.at(kept), target[kept]


def _blocks(
    panel: Panel, features: Features, rows: Rows
) -> Iterator[tuple[NDArray[np.float32], Doubles]]:  # fmt: skip
    """Features and sizes of blocks of rows."""
    for piece, mine in shards_of(panel, rows):
        if not len(mine):
            continue
        table = FeatureRows(features, piece)
        for begin in range(0, len(mine), _BLOCK):
            part = mine.at(slice(begin, begin + _BLOCK))
            values, scale, weight = table.rows(part.series, part.origin, part.lead, part.span)
            yield values, scale * weight
