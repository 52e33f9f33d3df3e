"""Why a forecast is what it is: the features a model learned from, and the past cases that a forecast leans on."""

from typing import Any

import numpy as np
import polars as pl

from shelfcast.horizons import Horizon
from shelfcast.report.aligned import places_of
from shelfcast.report.inputs import ReportInputs
from shelfcast.report.look import span_text
from shelfcast.report.products import Listing

_SHOWN = 20  # features


def importance(inputs: ReportInputs) -> list[list[Any]] | None:
    """Names and shares of the features that brought most, and of all others together."""
    table = inputs.importance
    if table is None or table.is_empty() or not table["share"].sum() > 0:
        return None
    top = table.sort("share", descending=True, maintain_order=True).head(_SHOWN)
    rows = [[name, round(share, 4)] for name, share in top.select("feature", "share").rows() if share > 0]
    others = table.height - len(rows)
    return rows + ([[f"{others} others", round(1 - sum(row[1] for row in rows), 4)]] if others else [])


def cases(inputs: ReportInputs, listed: Listing) -> dict[str, Any] | None:
    """By row of the page and horizon: products, their weight, and first period, weight and units of their cases.

    Only products with charts are kept.
    """
    table, panel = inputs.cases, inputs.panel
    if table is None or table.is_empty():
        return None
    place = places_of(panel, table)
    row = np.where(place >= 0, listed.index(panel.n_series)[np.maximum(place, 0)], -1)
    table = table.with_columns(_row=pl.Series(row)).filter(pl.col("_row").is_between(0, listed.charts - 1))
    theirs = [name for name in table.columns if name.startswith("case_")]
    horizons = list(dict.fromkeys(table.select("lead", "span").rows()))
    rows: dict[str, list[list[Any]]] = {}
    for (number, lead, span), part in table.group_by("_row", "lead", "span", maintain_order=True):
        found = rows.setdefault(str(number), [[] for _ in horizons])[horizons.index((lead, span))]
        for names, own in part.group_by(theirs, maintain_order=True):
            dated = zip(own["first"].cast(pl.String), own["weight"].round(4), own["units"].round(1), strict=True)
            found.append([" · ".join(map(str, names)), round(own["series_weight"][0], 4), [list(one) for one in dated]])
    unit = panel.frequency.unit.value
    return {"horizons": [span_text(Horizon(*pair), unit) for pair in horizons], "rows": rows} if rows else None
