"""The table of products and what their charts are drawn from, as columns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.data.panel import Panel
from shelfcast.horizons import Horizon
from shelfcast.periods import Unit
from shelfcast.report.aligned import Aligned, Array, Ints, align, places_of, tiling
from shelfcast.report.inputs import Attention, ReportInputs
from shelfcast.report.look import past_scores
from shelfcast.report.numbers import folded, short
from shelfcast.report.risks import protected
from shelfcast.report.total import series_levels

HISTORY = {Unit.HOUR: 336, Unit.DAY: 120, Unit.WEEK: 104, Unit.MONTH: 48}
RECENT = {Unit.HOUR: 168, Unit.DAY: 28, Unit.WEEK: 4, Unit.MONTH: 3}
_NAMES = ("name", "description", "title", "product", "label")
_MOST_STATIC = 3
_MOST_SPANS = 4
_MOST_PAST = 2
_LONGEST_NAME = 120
_DRAWN = 2  # significant digits of what is drawn; half of the page is these numbers


@dataclass(frozen=True)
class View:
    """What is drawn: the window of history, the horizons and the levels.

    Parameters
    ----------
    first : first period of history drawn; history ends at `panel.last`.
    origin : period of the forecast's origin (`panel.last` without a forecast).
    tiles : horizons of the fan.
    spans : horizons of several periods, listed beside the chart.
    headline : horizon of the table's columns; None without a forecast.
    levels : levels drawn, increasing.
    bands : pairs of places in `levels`, widest first.
    median, upper : places in `levels` of the middle and of the level nearest 0.9.
    """

    first: int
    origin: int
    tiles: tuple[Horizon, ...]
    spans: tuple[Horizon, ...]
    headline: Horizon | None
    levels: tuple[float, ...]
    bands: tuple[tuple[int, int], ...]
    median: int
    upper: int


def view(inputs: ReportInputs, now: Aligned | None, past: Aligned | None) -> View:
    """Choose what is drawn."""
    panel = inputs.panel
    first = max(panel.last - HISTORY[panel.frequency.unit] + 1, panel.first)
    shown = now or past
    if shown is None or not shown.horizons:
        return View(first, panel.last, (), (), None, (), (), 0, 0)
    levels, bands = _levels(shown.levels.tolist())
    middle = int(np.abs(np.array(levels) - 0.5).argmin()) if levels else 0
    upper = int(np.abs(np.array(levels) - 0.9).argmin()) if levels else 0
    spans = tuple(h for h in shown.horizons if h.span > 1)[:_MOST_SPANS]
    headline = None if now is None else _headline(inputs.orders, now.horizons)
    if headline is not None and headline.span > 1 and headline not in spans:
        spans = (*spans[: _MOST_SPANS - 1], headline)
    origin = now.origins[-1] if now is not None else panel.last
    return View(first, origin, tiling(shown.horizons), spans, headline, levels, bands, middle, upper)


def _levels(levels: list[float]) -> tuple[tuple[float, ...], tuple[tuple[int, int], ...]]:
    """At most two symmetric bands (widest nearest 0.05, inner nearest 0.25), the median, and the level nearest 0.9."""
    if not levels:
        return (), ()
    pairs = [(a, b) for a in levels for b in levels if a < 0.5 and abs(a + b - 1) < 1e-9]
    chosen: list[tuple[float, float]] = []
    for aim in (0.05, 0.25):
        left = [p for p in pairs if p not in chosen and (not chosen or p[0] > chosen[0][0])]
        chosen += [min(left, key=lambda p: abs(p[0] - aim))] if left else []
    if not chosen and len(levels) > 1:
        chosen = [(levels[0], levels[-1])]
    nearest = [min(levels, key=lambda x: abs(x - aim)) for aim in (0.5, 0.9)]
    shown = tuple(sorted({*nearest, *(x for pair in chosen for x in pair)}))
    return shown, tuple((shown.index(a), shown.index(b)) for a, b in chosen)


def _headline(orders: pl.DataFrame | None, horizons: tuple[Horizon, ...]) -> Horizon | None:
    """The horizon most orders protect; else the longest from the origin; else the first."""
    texts = None if orders is None else protected(orders)
    if texts is not None and len(texts.drop_nulls()):
        common = Horizon.parse(texts.drop_nulls().mode().sort()[0])
        if common in horizons:
            return common
    from_origin = [h for h in horizons if h.lead == 0]
    return max(from_origin, key=lambda h: h.span, default=min(horizons, default=None))


@dataclass(frozen=True)
class Listing:
    """The products of the page, largest first.

    Parameters
    ----------
    places : (P,) series of the panel.
    charts : how many of them, from the start, have charts.
    """

    places: Ints
    charts: int

    def index(self, n_series: int) -> Ints:
        """(N,) row on the page of each series; -1 where it has none."""
        found = np.full(n_series, -1)
        found[self.places] = np.arange(len(self.places))
        return found


def listing(inputs: ReportInputs) -> Listing:
    """Products by what they sold in the last periods, in money where prices are known."""
    panel = inputs.panel
    products, _ = series_levels(panel)
    demand, _ = panel.window(panel.last - HISTORY[panel.frequency.unit] + 1, panel.last)
    value = demand.sum(axis=1, dtype=np.float64)
    prices = panel.price_window(panel.last, panel.last)
    if prices is not None:
        value = value * np.where(np.isfinite(prices[:, 0]), prices[:, 0], 1.0)
    places = np.flatnonzero(products)
    places = places[np.argsort(-value[places], kind="stable")]
    return Listing(places, min(len(places), max(inputs.max_products, 0)))


def columns(
    inputs: ReportInputs, seen: View, listed: Listing, now: Aligned | None, attention: list[Attention]
) -> dict[str, Any]:
    """Columns of the products: names, sales, headline forecast, flags, and the arrays behind the charts."""
    panel, places = inputs.panel, listed.places
    demand, observed = panel.window(panel.last - RECENT[panel.frequency.unit] + 1, panel.last)
    sold = np.where(observed.any(axis=1), demand.sum(axis=1, dtype=np.float64), np.nan)
    found = {**_names(panel, places), "recent": short(sold[places]), "flags": _flags(inputs, listed, attention)}
    history, known = panel.window(seen.first, panel.last)
    at = places[: listed.charts]
    found["history"] = short(np.where(known[at], history[at], np.nan))
    if now is not None and seen.headline is not None:
        found |= _forecast(panel, seen, listed, now)
    return found


def _names(panel: Panel, places: Ints) -> dict[str, Any]:
    """Item, location, a readable name, and up to three further static columns."""
    text = panel.series.select(pl.all().cast(pl.String).str.slice(0, _LONGEST_NAME))[places]
    name = next((c for c in text.columns if c.lower() in _NAMES and c not in panel.keys), None)
    rest = [c for c in text.columns if c not in (*panel.keys, name, "level", "aggregate")]
    short_enough = [c for c in rest if (text[c].str.len_chars() <= 40).all()][:_MOST_STATIC]
    return {
        "item": text["item"].to_list(),
        "location": text["location"].to_list() if "location" in text.columns else None,
        "name": None if name is None else text[name].to_list(),
        "static": [{"name": c, "values": text[c].to_list()} for c in short_enough],
    }


def _flags(inputs: ReportInputs, listed: Listing, attention: list[Attention]) -> dict[str, list[str]]:
    """Row on the page (as text) -> kinds of attention it deserves."""
    rows = rows_of(inputs.panel, listed, attention)
    flags: dict[str, list[str]] = {}
    for row, one in zip(rows.tolist(), attention, strict=True):
        if row >= 0 and one.kind.value not in flags.setdefault(str(row), []):
            flags[str(row)].append(one.kind.value)
    return flags


def rows_of(panel: Panel, listed: Listing, attention: list[Attention]) -> Ints:
    """(A,) row on the page of each attention; -1 where its product is not listed."""
    keys: dict[str, list[str | None]] = {
        "item": [a.item for a in attention],
        "location": [a.location for a in attention],
    }
    table = pl.DataFrame({k: pl.Series(keys[k], dtype=pl.String) for k in panel.keys})
    place = places_of(panel, table)
    return np.where(place >= 0, listed.index(panel.n_series)[place], -1)


def _forecast(panel: Panel, seen: View, listed: Listing, now: Aligned) -> dict[str, Any]:
    """Headline columns of all products; fans and spans of those with charts."""
    values, mean = now.dense(panel.n_series)
    picks = [int(np.abs(now.levels - level).argmin()) for level in seen.levels]
    head = now.horizons.index(seen.headline) if seen.headline else 0
    at, places = listed.places[: listed.charts], listed.places
    tiles = [now.horizons.index(h) for h in seen.tiles]
    spans = [now.horizons.index(h) for h in seen.spans]
    found: dict[str, Any] = {
        "mean": short(mean[places, head]),
        "fan": folded(short(values[at][:, tiles][..., picks].transpose(0, 2, 1), _DRAWN)),
        "fan_mean": short(mean[at][:, tiles], _DRAWN),
        "span": short(values[at][:, spans][..., picks]),
        "span_mean": short(mean[at][:, spans]),
    }
    if picks:
        found["middle"] = short(values[places, head, picks[seen.median]])
        found["upper"] = short(values[places, head, picks[seen.upper]])
    return found


def past_origins(seen: View, past: Aligned, last: int) -> list[int]:
    """The latest origins whose fans lie in the drawn history, do not overlap and can be judged; newest first."""
    reach = max(h.end for h in seen.tiles)
    chosen: list[int] = []
    for origin in reversed(past.origins):
        free = not chosen or origin + reach <= chosen[-1]
        if len(chosen) < _MOST_PAST and free and seen.first <= origin and origin + reach <= last:
            chosen.append(origin)
    return chosen


def past_fans(panel: Panel, seen: View, listed: Listing, past: Aligned) -> list[dict[str, Any]]:
    """For each drawn backtest origin: its period, and the widest band and middle of every chart (P, 3, K).

    `total` is the mean of the total series where there is one, else the sum of the products' means.
    """
    if not set(seen.tiles) <= set(past.horizons) or not len(past.levels) or not seen.bands:
        return []
    _, place = series_levels(panel)
    wanted = [seen.levels[i] for i in (seen.bands[0][0], seen.median, seen.bands[0][1])]
    picks = [int(np.abs(past.levels - level).argmin()) for level in wanted]
    tiles = [past.horizons.index(h) for h in seen.tiles]
    at = listed.places[: listed.charts]
    found = []
    for origin in past_origins(seen, past, panel.last):
        values, mean = past.where(past.origin == origin).dense(panel.n_series)
        own = place is not None and bool(np.isfinite(mean[place, tiles]).all())
        total = mean[place, tiles] if own else np.nansum(mean[listed.places][:, tiles], axis=0)
        fans = folded(short(values[at][:, tiles][..., picks].transpose(0, 2, 1), _DRAWN))
        found.append({"origin": origin - seen.first, "fan": fans, "total": short(total)})
    return found


def past_columns(inputs: ReportInputs, listed: Listing) -> list[dict[str, Any]]:
    """Error and coverage of each charted product by model: what its panel says beside the chart."""
    found = []
    for model in sorted(inputs.backtest, key=lambda name: (name != inputs.chosen, name)):
        table = inputs.past_forecast(model)
        if table is None or model not in (inputs.chosen, inputs.baseline):
            continue
        rows = align(inputs.panel, table)
        if not len(rows.levels):
            continue
        rows = rows.where(np.isin(rows.horizon, [rows.horizons.index(h) for h in tiling(rows.horizons)]))
        scored = past_scores(inputs.panel, rows)
        at = listed.places[: listed.charts]
        outer = [float(rows.levels[0]), float(rows.levels[-1])]
        found.append(
            {"model": model, "wql": short(scored.wql[at]), "inside": _percent(scored.inside[at]), "outer": outer}
        )
    return found


def _percent(share: NDArray[np.float64]) -> Array | list[Any]:
    """Shares to three decimals, None where unknown."""
    return [None if np.isnan(s) else round(s, 3) for s in share.tolist()]
