"""Everything the page shows, as one plain record of short lists: the only thing the drawing code reads."""

from typing import Any

import numpy as np
import polars as pl

from shelfcast.data.panel import Panel
from shelfcast.report import accuracy, evolution, products, reasons
from shelfcast.report.aligned import Aligned, align, places_of
from shelfcast.report.inputs import Attention, Kind, ReportInputs
from shelfcast.report.look import day, span_text, worth_a_look
from shelfcast.report.numbers import clean, plural, short, spoken
from shelfcast.report.risks import protected
from shelfcast.report.savings import savings
from shelfcast.report.total import total
from shelfcast.report.turn import turn

_MOST_ATTENTION = 25
_KIND_NOTES = {Kind.RISK: "at risk", Kind.MISS: "missed", Kind.NEW: "new", Kind.ENDED: "ended"}


def payload(inputs: ReportInputs) -> dict[str, Any]:
    """The record behind the page; the same inputs give the same record."""
    panel = inputs.panel
    now = _latest(panel, inputs.forecast)
    table = inputs.past_forecast(inputs.chosen)
    past = None if table is None else align(panel, table)
    seen = products.view(inputs, now, past)
    listed = products.listing(inputs)
    attention = list(inputs.attention) if inputs.attention is not None else worth_a_look(inputs)
    made: dict[str, Any] = {
        "title": inputs.title,
        "currency": inputs.currency,
        "header": _header(inputs, seen, listed),
        "dates": _dates(panel, seen),
        "view": _view(panel, seen),
        "accuracy": accuracy.accuracy(inputs),
        "calibration": accuracy.calibration(inputs),
        "products": products.columns(inputs, seen, listed, now, attention),
        "past": [] if past is None else products.past_fans(panel, seen, listed, past),
        "evolution": evolution.evolution(panel, seen, listed, past),
        "alignment": evolution.alignment(inputs, seen, listed),
        "cases": reasons.cases(inputs, listed),
        "importance": reasons.importance(inputs),
        "scores": products.past_columns(inputs, listed),
        "cycle": turn(inputs.cycle),
        "attention": _attention(inputs, listed, attention),
        "orders": _orders(inputs, listed),
        "savings": savings(inputs.savings, inputs.currency),
        "total": _total(panel, seen, listed, now, past),
    }
    return made | {"tiles": _tiles(inputs, made, now, seen, listed)}


def _latest(panel: Panel, table: pl.DataFrame | None) -> Aligned | None:
    """The rows of the latest origin."""
    if table is None or table.is_empty():
        return None
    rows = align(panel, table)
    return rows.where(rows.origin == rows.origins[-1]) if len(rows.place) else None


def _dates(panel: Panel, seen: products.View) -> list[str]:
    """Labels of all periods drawn, history and forecast, as ISO text."""
    final = max([seen.origin + h.end for h in seen.tiles] + [panel.last])
    labels = panel.frequency.to_date(np.arange(seen.first, final + 1))
    return [str(label) for label in labels]


def _view(panel: Panel, seen: products.View) -> dict[str, Any]:
    """Places and words of what is drawn."""
    unit = panel.frequency.unit.value
    return {
        "unit": unit,
        "last": panel.last - seen.first,
        "origin": seen.origin - seen.first,
        "tiles": [[h.lead, h.span] for h in seen.tiles],
        "spans": [span_text(h, unit) for h in seen.spans],
        "headline": span_text(seen.headline, unit) if seen.headline else "",
        "levels": list(seen.levels),
        "bands": [list(b) for b in seen.bands],
        "median": seen.median,
        "upper": seen.upper,
        "recent": plural(products.RECENT[panel.frequency.unit], unit),
    }


def _header(inputs: ReportInputs, seen: products.View, listed: products.Listing) -> dict[str, Any]:
    """Facts under the title and in the run's details."""
    panel, table = inputs.panel, inputs.forecast
    horizons = (
        []
        if table is None
        else [f"{a}+{b}" for a, b in table.select("lead", "span").unique().sort("lead", "span").rows()]
    )
    names = (
        sorted((float(c[1:]) for c in table.columns if c[:2] in ("q0", "q.")), key=float) if table is not None else []
    )
    rows = [
        ["Products", plural(len(listed.places), "series") if len(panel.keys) > 1 else f"{len(listed.places):,}"],
        ["Data", f"{day(panel, panel.first)} to {day(panel, panel.last)}, by {panel.frequency.unit.value}"],
        ["Forecast made after", day(panel, seen.origin) if table is not None else ""],
        ["Horizons (lead+span)", _listed(horizons)],
        ["Levels", _listed([f"{level:g}" for level in names])],
        ["Model", inputs.chosen],
        ["Run", ", ".join(inputs.run_ids)],
        ["Made", f"{inputs.created:%Y-%m-%d %H:%M}" if inputs.created else ""],
        *([str(name), str(value)] for name, value in inputs.facts.items()),
    ]
    return {
        "summary": _summary(inputs, seen, listed),
        "facts": [[name, value] for name, value in rows if value],
        "n_products": len(listed.places),
        "n_charts": listed.charts,
    }


def _listed(names: list[str], most: int = 12) -> str:
    """Names with commas; the middle of a long list is left out."""
    return (
        ", ".join(names) if len(names) <= most else f"{', '.join(names[:5])}, … {', '.join(names[-4:])} ({len(names)})"
    )


def _summary(inputs: ReportInputs, seen: products.View, listed: products.Listing) -> str:
    """One sentence on what the page is about."""
    panel, unit = inputs.panel, inputs.panel.frequency.unit.value
    n = len(listed.places)
    what = plural(n, "product") if len(panel.keys) == 1 else f"{plural(n, 'pair')} of product and place"
    if inputs.forecast is None or not seen.tiles:
        return f"{what}, history to {day(panel, panel.last)}. No forecast was given."
    reach = max(h.end for h in seen.tiles)
    begin, end = day(panel, seen.origin + 1), day(panel, seen.origin + reach)
    when = f"{begin} to {end}" if begin != end else begin
    by = f", by {inputs.chosen}" if inputs.chosen else ""
    return f"Demand of {what} over {plural(reach, unit)}, {when}{by}."


def _total(
    panel: Panel, seen: products.View, listed: products.Listing, now: Aligned | None, past: Aligned | None
) -> dict[str, Any]:
    """History of the sum of all products, and its forecast where there is one."""
    demand, observed = panel.window(seen.first, panel.last)
    history = np.where(observed[listed.places].any(axis=0), demand[listed.places].sum(axis=0, dtype=np.float64), np.nan)
    made: dict[str, Any] = {"history": short(history), "mean": None, "q": None, "caption": ""}
    if now is not None and seen.tiles:
        made |= total(panel, now, past, seen.tiles, np.array(seen.levels))
    return made


def _attention(inputs: ReportInputs, listed: products.Listing, found: list[Attention]) -> list[dict[str, Any]]:
    """The first few of each kind, with their row on the page, and how many there are."""
    rows = products.rows_of(inputs.panel, listed, found).tolist()
    groups = []
    for kind in Kind:
        of_kind = [(row, a) for row, a in zip(rows, found, strict=True) if a.kind is kind]
        shown = [
            {"row": row, "item": a.item, "location": a.location, "text": a.sentence}
            for row, a in of_kind[:_MOST_ATTENTION]
        ]
        groups.append({"kind": kind.value, "n": len(of_kind), "rows": shown})
    return groups


_ORDER_COLUMNS = ("quantity", "cost", "critical_ratio", "target", "position", "arrival")


def _orders(inputs: ReportInputs, listed: products.Listing) -> dict[str, Any] | None:
    """Columns of the orders and their sums; None where none were made."""
    table = inputs.orders
    if table is None or "quantity" not in table.columns:
        return None
    place = places_of(inputs.panel, table)
    row = np.where(place >= 0, listed.index(inputs.panel.n_series)[place], -1)
    keep = pl.Series(
        (row >= 0) & (table["quantity"].fill_null(0).to_numpy() > 0) | ((row >= 0) & (row < listed.charts))
    )
    kept = table.filter(keep)
    numbers = {c: short(kept[c].cast(pl.Float64)) for c in _ORDER_COLUMNS if c in kept.columns}
    texts: dict[str, Any] = {
        c: kept[c].cast(pl.String).to_list() for c in ("why", "limit", "arrival_date") if c in kept.columns
    }
    horizon = protected(kept)
    quantity = table["quantity"].cast(pl.Float64)
    return {
        "row": row[keep.to_numpy()].tolist(),
        **numbers,
        **texts,
        "horizon": None if horizon is None else horizon.to_list(),
        "n": table.height,
        "n_ordered": int((quantity > 0).sum()),
        "units": clean(quantity.sum(), 1),
        "money": clean(table["cost"].cast(pl.Float64).sum(), 2) if "cost" in table.columns else None,
    }


def _tiles(
    inputs: ReportInputs, made: dict[str, Any], now: Aligned | None, seen: products.View, listed: products.Listing
) -> list[dict[str, str]]:
    """The few numbers a reader wants first."""
    n = len(listed.places)
    notes = (
        f"charts for the {listed.charts:,} largest"
        if listed.charts < n
        else f"history to {day(inputs.panel, inputs.panel.last)}"
    )
    tiles = [
        {
            "label": "Products" if len(inputs.panel.keys) == 1 else "Products and places",
            "value": f"{n:,}",
            "note": notes,
        }
    ]
    if now is not None and seen.tiles:
        tiles.append(_expected(inputs.panel, made["total"], seen))
    scored = [m for part in made["accuracy"]["by_span"][:1] for m in part["models"]]
    ours = next((m for m in scored if m["name"] == inputs.chosen), None)
    if ours and ours["relative"] and inputs.chosen != inputs.baseline:
        change = ours["relative"] - 1
        tiles.append(
            {
                "label": f"Error against {inputs.baseline}",
                "value": f"{change:+.0%}".replace("-", "−"),
                "note": f"WQL {ours['wql']:.3g} in the backtest",
            }
        )
    elif ours:
        tiles.append(
            {"label": "Error (WQL)", "value": f"{ours['wql']:.3g}", "note": f"{inputs.chosen} in the backtest"}
        )
    if made["orders"] is not None:
        o = made["orders"]
        value = f"{inputs.currency}{o['money']:,.0f}" if o["money"] is not None else f"{o['units']:,.0f}"
        tiles.append(
            {
                "label": "To order now",
                "value": value,
                "note": f"{plural(o['n_ordered'], 'product')}, {plural(o['units'], 'unit')}",
            }
        )
    groups = [g for g in made["attention"] if g["n"] and Kind(g["kind"]) in _KIND_NOTES]  # money counts them again
    n_look = sum(group["n"] for group in groups)
    if n_look:
        kinds = [f"{g['n']:,} {_KIND_NOTES[Kind(g['kind'])]}" for g in groups]
        tiles.append({"label": "Worth a look", "value": f"{n_look:,}", "note": ", ".join(kinds)})
    return tiles


def _expected(panel: Panel, made: dict[str, Any], seen: products.View) -> dict[str, str]:
    """Sum of the mean forecast over the fan, against the same number of periods before."""
    unit = panel.frequency.unit.value
    reach = sum(h.span for h in seen.tiles)
    value = float(sum(v or 0 for v in made["mean"]))
    history = [v or 0 for v in made["history"][-reach:]]
    before = float(sum(history))
    note = ""
    if len(history) == reach and before > 0:
        change = value / before - 1
        note = f"{change:+.0%} on the last {plural(reach, unit)}".replace("-", "−")
    return {
        "label": f"Expected, {span_text(type(seen.tiles[0])(0, reach), unit)}",
        "value": spoken(value),
        "note": note,
    }
