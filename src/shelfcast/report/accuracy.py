"""Tables of scores as the page shows them: by model, by segment, by lead, and calibration with a sentence on it."""

from typing import Any

import numpy as np
import polars as pl

from shelfcast.report.inputs import ReportInputs
from shelfcast.report.numbers import clean

_ALIASES = {
    "wql": ("wql", "weighted_quantile_loss", "mean_wql"),
    "wape": ("wape",),
    "bias": ("bias", "relative_bias"),
    "below": ("coverage_below", "below"),
    "at_most": ("coverage_at_most", "at_most", "coverage"),
}
_AXES = ("lead", "span", "level")
_TOLERANCE = 0.02


def metric(scores: pl.DataFrame | None, name: str, *, filled: tuple[str, ...] = ()) -> pl.DataFrame:
    """Rows of one metric; the axes in `filled` must have a value, the others must be null (over all).

    Where no such row was kept but finer ones were not asked for, the result is empty: averages are not made here.
    """
    empty = pl.DataFrame(schema={"model": pl.String, "metric": pl.String, "value": pl.Float64})
    if scores is None or not {"model", "metric", "value"} <= set(scores.columns):
        return empty
    rows = scores.filter(pl.col("metric").is_in(_ALIASES[name]))
    for axis in _AXES:
        if axis in rows.columns:
            rows = rows.filter(pl.col(axis).is_not_null() if axis in filled else pl.col(axis).is_null())
        elif axis in filled:
            return empty
    return rows.filter(pl.col("value").is_finite())


def _by_model(rows: pl.DataFrame) -> dict[str, float]:
    """First value of each model."""
    return {str(m): float(v) for m, v in rows.select("model", "value").reverse().iter_rows()}


def models(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Overall scores of each model, best first, and the error relative to the baseline's."""
    wql, wape, bias = (_by_model(metric(inputs.scores, name)) for name in ("wql", "wape", "bias"))
    base = wql.get(inputs.baseline)
    listed = [
        {
            "name": name,
            "wql": clean(value, 4),
            "relative": clean(value / base, 4) if base else None,
            "wape": clean(wape.get(name), 4),
            "bias": clean(bias.get(name), 4),
        }
        for name, value in wql.items()
    ]
    return sorted(listed, key=lambda row: (row["wql"], row["name"]))


def segments(inputs: ReportInputs) -> dict[str, Any]:
    """Error of each model by segment: kind -> rows of segment, share of the weight, and WQL by model."""
    rows = metric(inputs.segments, "wql")
    if rows.is_empty() or not {"segment_kind", "segment"} <= set(rows.columns):
        return {}
    rows = rows.with_columns(pl.col("segment_kind", "segment", "model").cast(pl.String).fill_null("(none)"))
    weight = pl.col("weight") if "weight" in rows.columns else pl.lit(None, dtype=pl.Float64)
    rows = rows.with_columns(weight=weight)
    found: dict[str, Any] = {}
    for (kind,), group in rows.group_by("segment_kind", maintain_order=True):
        cells = [
            {
                "segment": str(segment),
                "weight": clean(cell["weight"].cast(pl.Float64).max(), 6),
                "wql": {model: clean(value, 4) for model, value in sorted(_by_model(cell).items())},
            }
            for (segment,), cell in group.group_by("segment", maintain_order=True)
        ]
        found[str(kind)] = cells[:40]
    return found


def by_lead(inputs: ReportInputs) -> list[dict[str, Any]]:
    """WQL of each model by lead, over horizons of one period."""
    rows = metric(inputs.scores, "wql", filled=("lead", "span"))
    if rows.is_empty():
        rows = metric(inputs.scores, "wql", filled=("lead",))
    elif (rows["span"] == 1).any():
        rows = rows.filter(pl.col("span") == 1)
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
    """Observed shares below and at most each quantile, by model, with one sentence on the chosen one."""
    table = inputs.calibration if inputs.calibration is not None else _from_scores(inputs.scores)
    if table is None or table.is_empty():
        return None
    table = table.with_columns(pl.col("model").cast(pl.String)).drop_nulls("level").sort("model", "level")
    found = {
        str(name): [
            [clean(level, 4), clean(below, 4), clean(most, 4)]
            for level, below, most in part.select("level", "below", "at_most").iter_rows()
        ]
        for (name,), part in table.group_by("model", maintain_order=True)
    }
    shown = inputs.chosen if inputs.chosen in found else next(iter(found))
    return {"models": found, "shown": shown, "reading": {name: reading(points) for name, points in found.items()}}


def _from_scores(scores: pl.DataFrame | None) -> pl.DataFrame | None:
    """The calibration table out of coverage scores by level."""
    below, most = (metric(scores, name, filled=("level",)) for name in ("below", "at_most"))
    if most.is_empty():
        return None
    columns = ["model", "level", "value"]
    merged = most.select(columns).join(
        below.select(columns) if below.height else most.select(columns), on=["model", "level"], suffix="_below"
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
