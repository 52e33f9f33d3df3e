"""Scores of the story's stored forecasts, kept beside them; tables and plots are made of these alone.

Quantiles in whole units, as they are ordered by. A slice belongs to the first origin of the test window.
"""

import hashlib
import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.cells import each_origin
from shelfcast.conformal import by_segment, gaps, walked
from shelfcast.data.panel import Panel
from shelfcast.evaluation import calibration, evaluate
from shelfcast.forecast import Forecast
from shelfcast.models.routing import classify, default_rules, route
from shelfcast.segments import FLAGS, segments
from story import SETS, Entry, kept, panel_of, path_of

OVERALL = ("wql", "scaled_pinball", "bias", "revision", "excess_volatility")
OF_SLICES = ("wql", "pinball", "bias")
LABELS = ("velocity", "demand_class", "age", "life", "stock", "season", "routed")
REPAIR_BY = ("velocity", "demand_class")
N_LARGE = 200  # series of a slice whose coverage is held to three points
VERSION = hashlib.sha256(json.dumps([OVERALL, OF_SLICES, LABELS, 3]).encode()).hexdigest()[:8]


@cache
def labelled(name: str) -> Panel:
    """The panel with all labels of its series as static columns; `routed` is the patchwork's rule."""
    panel, origin = panel_of(name), SETS[name].test[0]
    rules = default_rules(panel.frequency.season)
    classes, _ = classify(panel, origin)
    rule = route(panel.series, classes, rules)
    named = [
        f"{'' if kind == '*' else kind}{'' if life == '*' else life}" or "all others"
        for kind, life in rules.select("demand_class", "life").iter_rows()
    ]
    said = [f"{label}: {model}" for label, model in zip(named, rules["model"], strict=True)]
    labels = segments(panel, origin).with_columns(routed=pl.Series([said[place] for place in rule]))
    return replace(panel, series=panel.series.drop(labels.columns, strict=False).hstack(labels))


def kinds_of(panel: Panel) -> list[str]:
    """Slices that tell something apart in this panel."""
    there = [name for name in LABELS if panel.series[name].n_unique() > 1]
    flags = [panel.names.promotions, panel.names.price]
    return [*there, *(flag for flag, has in zip(FLAGS, flags, strict=True) if has)]


def parts_of(panel: Panel) -> list[str]:
    """Ways to part its series whose coverage is told: routes are the patchwork's own."""
    return [kind for kind in kinds_of(panel) if kind in panel.series.columns and kind != "routed"]


def scores(name: str, entry: Entry, seed: int) -> dict[str, Any] | None:
    """All scores of a stored result; None where it is not there."""
    path = path_of(name, entry, seed)
    stored = path.with_suffix(f".{VERSION}.json")
    if stored.is_file():
        return json.loads(stored.read_text())
    found = kept(name, entry, seed)
    if found is None:
        return None
    made = _scored(name, *found)
    stored.write_text(json.dumps(made))
    return made


def _scored(name: str, whole: Forecast, fit: float, predict: float) -> dict[str, Any]:
    data, panel = SETS[name], labelled(name)
    forecast = whole.rounded()
    choose, test = forecast.at(data.choose), forecast.at(data.test)
    made: dict[str, Any] = {
        "fit": fit, "predict": predict,
        "choose": _values(choose, panel, OVERALL), "test": _values(test, panel, OVERALL),
        "slices": {kind: _slices(test, panel, kind) for kind in kinds_of(panel)},
        "losses": np.round(series_losses(test, panel), 4).tolist(), "coverage": _coverage(test, panel),
    }  # fmt: skip
    made["choose_slices"] = {"routed": _slices(choose, panel, "routed")}
    pairs = walked(whole, panel, by_segment(REPAIR_BY, segments))
    if pairs is not None:
        after = pairs[1].at(data.test).rounded()
        made["repaired"] = _coverage(after, panel) | {"wql": _values(after, panel, ("wql",))["wql"]}
    return made


def _values(made: Forecast, panel: Panel, names: tuple[str, ...]) -> dict[str, float]:
    return dict(evaluate(made, panel, metrics=names).select("metric", "value").iter_rows())


def _slices(made: Forecast, panel: Panel, kind: str) -> dict[str, dict[str, float | None]]:
    """Slice -> scores, units sold, cells, and series."""
    table = evaluate(made, panel, by=(kind,), metrics=OF_SLICES)
    found: dict[str, dict[str, float | None]] = {}
    for label, metric, value, weight in table.select(kind, "metric", "value", "weight").iter_rows():
        row = found.setdefault(str(label).lower(), {})
        row[metric] = value
        row["cells" if metric == "pinball" else "units"] = weight
    if kind in panel.series.columns:
        for label, n in panel.series[kind].cast(pl.String).value_counts().iter_rows():
            found.setdefault(str(label).lower(), {})["series"] = n
    return found


def series_losses(made: Forecast, panel: Panel) -> NDArray[np.float64]:
    """(N,) pinball loss of every series, summed over origins, horizons and levels."""
    parts = [
        sum(cells.loss(q).sum(axis=1) for q in range(len(made.levels))) for cells in each_origin(made, panel)
    ]  # fmt: skip
    return np.asarray(np.sum(parts, axis=0))


def _coverage(made: Forecast, panel: Panel) -> dict[str, Any]:
    """Levels with P(y < q), P(y <= q) and points off, and the widest gap of every slice of `N_LARGE` series or more."""
    table = gaps(calibration(made, panel)).sort("level")
    found: dict[str, Any] = {"levels": table.select("level", "below", "at_most", "gap").rows(), "slices": {}}
    for kind in parts_of(panel):
        sizes = dict(panel.series[kind].cast(pl.String).value_counts().iter_rows())
        for (label,), part in gaps(calibration(made, panel, (kind,))).group_by(kind):
            if sizes.get(str(label), 0) >= N_LARGE:
                found["slices"][f"{kind} {label}"] = part["gap"][int(part["gap"].abs().arg_max())]
    return found
