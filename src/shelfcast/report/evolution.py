"""How the forecast of one window evolved, product by product; and which past periods a forecast was aligned with.

The window is that of the backtest which the most origins forecast, the latest of equals; observed ones go first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from shelfcast.data.panel import Panel
from shelfcast.horizons import Horizon
from shelfcast.report.aligned import Aligned, Ints, places_of
from shelfcast.report.inputs import ReportInputs
from shelfcast.report.numbers import folded, short
from shelfcast.report.products import Listing, View

_MOST_HORIZONS = 8
_DRAWN = 3  # significant digits


@dataclass(frozen=True)
class Window:
    """Periods `first` .. `first + span - 1`, and the origins (M,) that forecast them, oldest first."""

    first: int
    span: int
    origins: tuple[int, ...]


def watched(panel: Panel, past: Aligned) -> Window | None:
    """The window whose evolution is drawn; None where no window was forecast from two origins."""
    found: dict[tuple[int, int], list[int]] = {}
    for origin in past.origins:
        for horizon in past.horizons:
            found.setdefault((origin + horizon.lead + 1, horizon.span), []).append(origin)
    repeated = {window: origins for window, origins in found.items() if len(origins) > 1}
    if not repeated:
        return None

    def worth(window: tuple[int, int]) -> tuple[bool, int, int, int]:
        first, span = window
        return first + span - 1 <= panel.last, len(repeated[window]), first, -span

    first, span = max(repeated, key=worth)
    return Window(first, span, tuple(repeated[first, span]))


def evolution(panel: Panel, seen: View, listed: Listing, past: Aligned | None) -> dict[str, Any] | None:
    """Band and median (P, 3, M) of each chart from every origin, and what came (P); None where nothing is revised."""
    window = None if past is None or not seen.bands else watched(panel, past)
    if past is None or window is None:
        return None
    wanted = [seen.levels[i] for i in (seen.bands[0][0], seen.median, seen.bands[0][1])]
    picks = [int(np.abs(past.levels - level).argmin()) for level in wanted]
    at = listed.places[: listed.charts]
    lines = np.full((len(at), 3, len(window.origins)), np.nan)
    for m, origin in enumerate(window.origins):
        values, _ = past.where(past.origin == origin).dense(panel.n_series)
        place = past.horizons.index(Horizon(window.first - origin - 1, window.span))
        lines[:, :, m] = values[at, place][:, picks]
    demand, observed = panel.window(window.first, window.first + window.span - 1)
    came = np.where(observed.all(axis=1), demand.sum(axis=1, dtype=np.float64), np.nan)[at]
    last = window.first + window.span - 1
    return {
        "first": str(panel.date(window.first)),
        "last": str(panel.date(last)),
        "span": window.span,
        "origins": [str(panel.date(origin)) for origin in window.origins],
        "levels": wanted,
        "lines": folded(short(lines, _DRAWN)),
        "came": short(came, _DRAWN),
    }


def alignment(inputs: ReportInputs, seen: View, listed: Listing) -> dict[str, Any] | None:
    """Past periods a forecast was aligned with, by row of the page and horizon: places among the dates, and weights.

    None where the model has no attention. Only charted products and periods that are drawn are kept.
    """
    table, panel = inputs.alignment, inputs.panel
    if table is None or table.is_empty():
        return None
    table = table.filter(pl.col("span") == 1)
    place = places_of(panel, table)
    row = np.where(place >= 0, listed.index(panel.n_series)[np.maximum(place, 0)], -1)
    period = panel.frequency.to_period(table["period"].to_numpy()) - seen.first
    kept = table.with_columns(_row=pl.Series(row), _period=pl.Series(period)).filter(
        pl.Series((row >= 0) & (row < listed.charts) & (period >= 0))
    )
    leads = _spread(np.unique(kept["lead"].to_numpy()))
    rows: dict[str, list[list[list[Any]]]] = {}
    for (number, lead), part in kept.sort("_row", "lead", "_period").group_by("_row", "lead", maintain_order=True):
        if lead in leads:
            cells = rows.setdefault(str(number), [[] for _ in leads])
            weights = [round(w, 3) for w in part["weight"]]
            cells[leads.index(int(str(lead)))] = [part["_period"].to_list(), weights]
    return {"leads": leads, "rows": rows} if rows else None


def _spread(leads: Ints) -> list[int]:
    """At most a few leads, evenly, the first and last among them."""
    if len(leads) <= _MOST_HORIZONS:
        return [int(lead) for lead in leads]
    return [int(leads[i]) for i in np.unique(np.linspace(0, len(leads) - 1, _MOST_HORIZONS).round().astype(int))]
