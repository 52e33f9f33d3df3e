"""Tables of scores as the page shows them: by model, by segment, by lead, and calibration with a sentence on it."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from shelfcast.report.inputs import ReportInputs
from shelfcast.report.numbers import clean

_ALIASES = {
    "wql": ("wql", "weighted_quantile_loss", "mean_wql"),
    "wape": ("wape",),
    "pinball": ("pinball",),
    "bias": ("bias", "relative_bias"),
    "below": ("coverage_below", "below"),
    "sfpc": ("sfpc",),
    "excess": ("excess_volatility",),
    "at_most": ("coverage_at_most", "at_most", "coverage"),
}
_AXES = ("lead", "level")
_TOLERANCE = 0.02
_MOST_SEGMENTS = 40


def metric(scores: pl.DataFrame | None, name: str, *, filled: tuple[str, ...] = ()) -> pl.DataFrame:
    """Rows of one metric; lead and level must have a value where `filled` names them, and be null (over all) elsewhere.

    Averages are not made here: where only finer rows were kept, the result is empty.
    """
    empty = pl.DataFrame(schema={"model": pl.String, "metric": pl.String, "value": pl.Float64})
    if scores is None or not {"model", "metric", "value"} <= set(scores.columns):
        return empty
    rows = scores.filter(pl.col("metric").cast(pl.String).is_in(_ALIASES[name]))
    for axis in _AXES:
        if axis in rows.columns:
            rows = rows.filter(pl.col(axis).is_not_null() if axis in filled else pl.col(axis).is_null())
        elif axis in filled:
            return empty
    return rows.filter(pl.col("value").is_finite())


def spans_of(table: pl.DataFrame | None) -> list[int]:
    """Spans that a table tells apart, smallest first; [0] where it does not."""
    if table is None or "span" not in table.columns:
        return [0]
    return sorted(int(span) for span in table["span"].drop_nulls().unique()) or [0]


def of_span(table: pl.DataFrame | None, span: int) -> pl.DataFrame | None:
    """Rows of one span, and after them those over all spans (null); every row where spans are not told apart."""
    if table is None or "span" not in table.columns or span == 0:
        return table
    rows = table.filter(pl.col("span").is_null() | (pl.col("span") == span))
    return rows.sort("span", nulls_last=True, maintain_order=True)


def span_label(span: int, unit: str) -> str:
    """What is scored, in words."""
    if span == 0:
        return "all horizons"
    return f"each {unit}" if span == 1 else f"sums of {span} {unit}s"


def accuracy(inputs: ReportInputs) -> dict[str, Any]:
    """Scores by model, by segment and by lead, for each span: spans are never averaged together."""
    unit = inputs.panel.frequency.unit.value
    spans = spans_of(inputs.scores)
    spans = spans if spans != [0] else spans_of(inputs.segments)
    by_span = []
    for span in spans:
        part = replace(inputs, scores=of_span(inputs.scores, span), segments=of_span(inputs.segments, span))
        found = {"models": models(part), "segments": segments(part), "lead": by_lead(part)}
        by_span += [{"label": span_label(span, unit), **found}] if any(found.values()) else []
    return {"by_span": by_span, "chosen": inputs.chosen, "baseline": inputs.baseline}


def _by_model(rows: pl.DataFrame) -> dict[str, float]:
    """First value of each model."""
    return {str(m): float(v) for m, v in rows.select("model", "value").reverse().iter_rows()}


def models(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Overall scores of each model, best first, and the error relative to the baseline's."""
    names = ("wql", "wape", "bias", "sfpc", "excess")
    wql, wape, bias, sfpc, excess = (_by_model(metric(inputs.scores, name)) for name in names)
    base = wql.get(inputs.baseline)
    listed = [
        {
            "name": name,
            "wql": clean(value, 4),
            "relative": clean(value / base, 4) if base else None,
            "wape": clean(wape.get(name), 4),
            "bias": clean(bias.get(name), 4),
            "sfpc": clean(sfpc.get(name), 1),
            "excess": clean(excess.get(name), 4),
        }
        for name, value in wql.items()
    ]
    return sorted(listed, key=lambda row: (row["wql"], row["name"]))


def segments(inputs: ReportInputs) -> dict[str, Any]:
    """Error of each model by segment: kind -> segment, weight, and WQL by model; the weightiest come first.

    Where nothing was sold there is no WQL: `units` by model is the pinball loss instead.
    """
    rows, losses = metric(inputs.segments, "wql"), metric(inputs.segments, "pinball")
    if rows.is_empty() or not {"segment_kind", "segment"} <= set(rows.columns):
        return {}
    rows = rows.with_columns(pl.col("segment_kind", "segment", "model").cast(pl.String).fill_null("(none)"))
    weight = pl.col("weight") if "weight" in rows.columns else pl.lit(None, dtype=pl.Float64)
    rows = rows.with_columns(weight=weight)
    found: dict[str, Any] = {}
    for (kind,), group in rows.group_by("segment_kind", maintain_order=True):
        cells: list[dict[str, Any]] = [
            {
                "segment": str(segment),
                "weight": clean(cell["weight"].cast(pl.Float64).max(), 6),
                "wql": {model: clean(value, 4) for model, value in sorted(_by_model(cell).items())},
            }
            for (segment,), cell in group.group_by("segment", maintain_order=True)
        ]
        cells += _unsold(losses, str(kind), {cell["segment"] for cell in cells})
        found[str(kind)] = sorted(cells, key=lambda cell: -(cell["weight"] or 0))[:_MOST_SEGMENTS]
    return found


def _unsold(losses: pl.DataFrame, kind: str, scored: set[str]) -> list[dict[str, Any]]:
    """Segments of a kind that have a pinball loss but sold nothing."""
    if losses.is_empty():
        return []
    rows = losses.filter(pl.col("segment_kind").cast(pl.String) == kind, pl.col("segment").is_not_null())
    rows = rows.filter(~pl.col("segment").cast(pl.String).is_in(sorted(scored)))
    parts = rows.group_by("segment", maintain_order=True)
    return [
        {"segment": str(name), "weight": 0.0, "wql": {}, "units": {m: clean(v, 4) for m, v in _by_model(part).items()}}
        for (name,), part in parts
    ]


def by_lead(inputs: ReportInputs) -> list[dict[str, Any]]:
    """WQL of each model by lead."""
    rows = metric(inputs.scores, "wql", filled=("lead",))
    if rows.is_empty():
        return []
    rows = rows.select(pl.col("model").cast(pl.String), pl.col("lead").cast(pl.Int64), "value").unique(
        ["model", "lead"], keep="first", maintain_order=True
    )
    lines = []
    for (name,), line in rows.sort("model", "lead").group_by("model", maintain_order=True):
        values = [clean(v, 4) for v in line["value"]]
        lines.append({"name": str(name), "lead": line["lead"].to_list(), "wql": values})
    return [line for line in lines if len(line["lead"]) > 1]


def calibration(inputs: ReportInputs) -> dict[str, Any] | None:
    """Observed shares below and at most each quantile, by span and model, with one sentence on each."""
    table = inputs.calibration if inputs.calibration is not None else _from_scores(inputs.scores)
    if table is None or table.is_empty():
        return None
    table = table.with_columns(pl.col("model").cast(pl.String)).drop_nulls("level").sort("model", "level")
    unit = inputs.panel.frequency.unit.value
    by_span = [{"label": span_label(s, unit), **_calibrated(of_span(table, s))} for s in spans_of(table)]
    names = list(by_span[0]["models"])
    return {"by_span": by_span, "shown": inputs.chosen if inputs.chosen in names else names[0]}


def _calibrated(table: pl.DataFrame | None) -> dict[str, Any]:
    """Points (level, below, at most) and their reading, by model."""
    assert table is not None
    found: dict[str, list[list[float | None]]] = {}
    for name, *point in table.select("model", "level", "below", "at_most").iter_rows():
        found.setdefault(name, []).append([clean(value, 4) for value in point])
    return {"models": found, "reading": {name: reading(points) for name, points in found.items()}}


def _from_scores(scores: pl.DataFrame | None) -> pl.DataFrame | None:
    """The calibration table out of coverage scores by level."""
    below, most = (metric(scores, name, filled=("level",)) for name in ("below", "at_most"))
    if most.is_empty():
        return None
    keys = [name for name in ("model", "span", "level") if name in most.columns]
    merged = most.select(*keys, "value").join(
        (below if below.height else most).select(*keys, "value"), on=keys, suffix="_below", nulls_equal=True
    )
    return merged.rename({"value": "at_most", "value_below": "below"})


def reading(points: list[list[float | None]]) -> str:
    """One sentence on whether demand kept to its quantiles.

    A quantile is right where its level lies between the share of demand below it and the share at most it (the two
    differ where demand comes in whole units), within two points.
    """
    known = np.array([p for p in points if None not in p], dtype=float)
    if not len(known):
        return "Too little demand was observed to judge calibration."
    level, below, most = known.T
    gap = np.where(most < level, most - level, np.where(below > level, below - level, 0.0))
    worst = int(np.abs(gap).argmax())
    if abs(gap[worst]) <= _TOLERANCE:
        return "Calibrated: at every level, demand stayed at or under its quantile about as often as it should."
    share, aim = (most if gap[worst] < 0 else below)[worst], level[worst]
    side = "too low" if gap[worst] < 0 else "too high"
    n_off = int((np.abs(gap) > _TOLERANCE).sum())
    rest = "the other levels are within two points" if n_off == 1 else f"{n_off} of {len(gap)} levels are off by more"
    rest = rest if n_off == 1 else f"{rest} than two points"
    kept = f"demand stayed {'at or ' if gap[worst] < 0 else ''}under it {share:.1%} of the time"
    return f"The {100 * aim:.4g}% quantile is {side}: {kept}, not {100 * aim:.4g}%; {rest}."
