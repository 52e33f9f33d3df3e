"""Products that deserve a look: biggest misses, stock-out risk, new and ended ones; each with a plain sentence."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.horizons import Horizon
from shelfcast.periods import Unit
from shelfcast.report.aligned import Aligned, align, tiling, truth
from shelfcast.report.exceptions import exceptions
from shelfcast.report.inputs import Attention, Kind, ReportInputs
from shelfcast.report.numbers import plural, spoken
from shelfcast.report.risks import risks
from shelfcast.report.total import series_levels
from shelfcast.scoring import pinball

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
RECENT = {Unit.HOUR: 168, Unit.DAY: 56, Unit.WEEK: 13, Unit.MONTH: 3}
_LONGEST = 2000
_TYPICAL = 1.5


@dataclass(frozen=True)
class Sales:
    """When each of N series sold, seen over about a year (or less, for hours).

    Parameters
    ----------
    first, last : (N,) period of the first and last demand above zero in the window; -1 where there is none.
    recent, before : (N,) mean demand per observed period, within `RECENT` periods of the end and before them.
    seen : (N,) observed periods within `RECENT` of the end.
    """

    first: Ints
    last: Ints
    recent: Array
    before: Array
    seen: Ints


def sales(panel: Panel) -> Sales:
    """When each series sold."""
    n_recent = RECENT[panel.frequency.unit]
    n_window = max(int(min(1.1 * panel.frequency.year, _LONGEST)), 2 * n_recent)
    begin = panel.last - n_window + 1
    demand, observed = panel.window(begin, panel.last)
    sold = demand > 0
    some = sold.any(axis=1)
    first = np.where(some, begin + sold.argmax(axis=1), -1)
    final = np.where(some, panel.last - sold[:, ::-1].argmax(axis=1), -1)
    late, early = slice(-n_recent, None), slice(None, -n_recent)
    return Sales(
        first, final, _rate(demand[:, late], observed[:, late]), _rate(demand[:, early], observed[:, early]),
        observed[:, late].sum(axis=1),
    )  # fmt: skip


def _rate(demand: NDArray[np.float32], observed: NDArray[np.bool_]) -> Array:
    """(N,) demand per observed period; 0 where nothing was observed."""
    count = observed.sum(axis=1)
    return np.asarray(demand.sum(axis=1, dtype=np.float64) / np.maximum(count, 1))


@dataclass(frozen=True)
class PastScores:
    """How a backtest went for each of N series; NaN where nothing was scored.

    Parameters
    ----------
    wql : (N,) 2 x mean pinball over levels, summed, over demand.
    inside : (N,) share of demand between the outermost levels, both ends included.
    loss, demand : (N,) summed loss and demand, units.
    """

    wql: Array
    inside: Array
    loss: Array
    demand: Array


def past_scores(panel: Panel, rows: Aligned) -> PastScores:
    """Scores of each series over the complete rows of a backtest; one origin at a time, to bound memory."""
    count, total, lost, within = np.zeros((4, panel.n_series))
    for origin in rows.origins:
        part = rows.where(rows.origin == origin)
        demand, complete = truth(panel, part)
        demand, part = demand[complete], part.where(complete)
        inside = (demand >= part.values[:, 0]) & (demand <= part.values[:, -1])
        np.add.at(count, part.place, 1)
        np.add.at(total, part.place, demand)
        np.add.at(lost, part.place, 2 * pinball(demand[:, None], part.values, part.levels).mean(axis=1))
        np.add.at(within, part.place, inside)
    with np.errstate(invalid="ignore", divide="ignore"):
        wql = np.where((count > 0) & (total > 0), lost / total, np.nan)
        share = np.where(count > 0, within / count, np.nan)
    return PastScores(wql, share, lost, total)


def worth_a_look(inputs: ReportInputs) -> list[Attention]:
    """Products that deserve a look, the most serious first within each kind.

    Misses need a backtest, risks need orders with a position and a forecast of the horizon they protect; new and ended
    products come from history alone.
    """
    panel = inputs.panel.take(series_levels(inputs.panel)[0])
    inputs = replace(inputs, panel=panel)
    seen = sales(panel)
    found = [*_misses(inputs), *_risks(inputs), *_new(panel, seen), *_ended(panel, seen)]
    found += exceptions(inputs, found)
    order = list(Kind)
    return sorted(found, key=lambda a: (order.index(a.kind), -a.score, a.item, a.location or ""))


def _attention(panel: Panel, kind: Kind, places: Ints, sentences: list[str], scores: Array) -> list[Attention]:
    """Records of the series at `places`."""
    keys = panel.series.select(pl.col(panel.keys).cast(pl.String))[places]
    items = keys["item"].to_list()
    locations: list[Any] = keys["location"].to_list() if "location" in keys.columns else [None] * len(items)
    rows = zip(items, locations, sentences, scores.tolist(), strict=True)
    return [Attention(kind, item, location, sentence, score) for item, location, sentence, score in rows]


def _top(score: Array, keep: NDArray[np.bool_], most: int = 25) -> Ints:
    """Places of the highest scores among those kept."""
    places = np.flatnonzero(keep)
    return places[np.argsort(-score[places], kind="stable")[:most]]


def _misses(inputs: ReportInputs) -> list[Attention]:
    """Series whose loss exceeds by most what the typical series of their size has."""
    table, panel = inputs.past_forecast(inputs.chosen), inputs.panel
    if table is None:
        return []
    rows = align(panel, table)
    singles = np.isin(rows.horizon, [rows.horizons.index(h) for h in tiling(rows.horizons)])
    rows = rows.where(singles)
    scored = past_scores(panel, rows)
    known = np.isfinite(scored.wql)
    if not known.any():
        return []
    typical = float(np.median(scored.wql[known]))
    excess = np.where(known, scored.loss - typical * scored.demand, 0.0)
    chosen = _top(excess, known & (scored.wql > _TYPICAL * typical) & (excess > 0))
    worst, said, came = _worst_origin(panel, rows, chosen)
    unit = panel.frequency.unit.value
    spell = max(h.end for h in tiling(rows.horizons))
    sentences = [
        f"In the {plural(spell, unit)} after {day(panel, int(o))}, {spoken(t)} sold where {spoken(m)} "
        f"{'was' if m == 1 else 'were'} expected; its error is {w / typical:.1f} times the typical one."
        for o, m, t, w in zip(worst, said, came, scored.wql[chosen], strict=True)
    ]
    return _attention(panel, Kind.MISS, chosen, sentences, excess[chosen])


def _worst_origin(panel: Panel, rows: Aligned, places: Ints) -> tuple[Ints, Array, Array]:
    """For each place: the origin whose summed mean was furthest from what came, that mean, and that demand."""
    rows = rows.where(np.isin(rows.place, places))
    demand, complete = truth(panel, rows)
    origins = np.array(rows.origins)
    slot = np.searchsorted(places, rows.place, sorter=np.argsort(places))
    slot = np.argsort(places)[slot]
    shape = (len(places), len(origins))
    said, came = np.zeros(shape), np.zeros(shape)
    at = (slot[complete], np.searchsorted(origins, rows.origin[complete]))
    np.add.at(said, at, rows.mean[complete])
    np.add.at(came, at, demand[complete])
    worst = np.abs(said - came).argmax(axis=1) if len(origins) else np.zeros(len(places), dtype=np.int64)
    each = np.arange(len(places))
    return origins[worst], said[each, worst], came[each, worst]


def _risks(inputs: ReportInputs) -> list[Attention]:
    """Series likely to run out before an order can arrive, or after it; the most units short first."""
    table = risks(inputs)
    chosen = _top(table.short, table.chance >= table.accepted, len(table.place))
    return _attention(inputs.panel, Kind.RISK, table.place[chosen], table.sentences(chosen), table.short[chosen])


def _new(panel: Panel, seen: Sales) -> list[Attention]:
    """Series that began to sell recently, or are listed and have not sold yet."""
    n_recent, unit = RECENT[panel.frequency.unit], panel.frequency.unit.value
    if panel.last - panel.first < 2 * n_recent:
        return []
    begun = panel.lengths > 0
    recent = (seen.first > panel.last - n_recent) & (panel.start > panel.last - n_recent * 2) & begun
    unsold = ~begun | ((seen.first < 0) & (panel.start > panel.last - n_recent))
    chosen = _top(seen.recent * seen.seen + recent, recent | unsold, panel.n_series)
    sentences = [
        f"First sold on {day(panel, first)}: {spoken(rate * n)} in {plural(panel.last - first + 1, unit)}. "
        "The forecast rests on little history."
        if first >= 0
        else "Listed, but it has not sold yet."
        for first, rate, n in zip(seen.first[chosen].tolist(), seen.recent[chosen], seen.seen[chosen], strict=True)
    ]
    return _attention(panel, Kind.NEW, chosen, sentences, (seen.recent * seen.seen)[chosen])


def _ended(panel: Panel, seen: Sales) -> list[Attention]:
    """Series that sold within the year but not recently, though they were observed."""
    n_recent, unit = RECENT[panel.frequency.unit], panel.frequency.unit.value
    quiet = (seen.last >= 0) & (seen.last <= panel.last - n_recent) & (seen.seen >= n_recent / 2)
    chosen = _top(seen.before, quiet, panel.n_series)
    sentences = [
        f"Last sold on {day(panel, final)}, {plural(panel.last - final, unit)} ago; before that "
        f"{spoken(rate)} a{'n' if unit == 'hour' else ''} {unit} over the year. Still in the range?"
        for final, rate in zip(seen.last[chosen].tolist(), seen.before[chosen], strict=True)
    ]
    return _attention(panel, Kind.ENDED, chosen, sentences, seen.before[chosen])


def day(panel: Panel, period: int) -> str:
    """Label of a period in a sentence: `9 Dec 2011`, `9 Dec 2011 14:00`, `Dec 2011`."""
    moment = panel.date(period).astype("datetime64[s]").item()
    unit = panel.frequency.unit
    if unit is Unit.MONTH:
        return f"{moment:%b %Y}"
    text = f"{moment.day} {moment:%b %Y}"
    return f"{text} {moment:%H:%M}" if unit is Unit.HOUR else text


def span_text(horizon: Horizon, unit: str) -> str:
    """A horizon in words: `next 14 days`, `days 8 to 14`, `day 3`."""
    if horizon.lead == 0:
        return f"next {unit}" if horizon.span == 1 else f"next {horizon.span} {unit}s"
    return f"{unit} {horizon.end}" if horizon.span == 1 else f"{unit}s {horizon.lead + 1} to {horizon.end}"
