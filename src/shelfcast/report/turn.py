"""What the cycle has to say: what happened, what alarms, the repair, the planner's changes, who was judged worse."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from shelfcast.report.numbers import clean

_MOST_ALARMS = 20


def turn(tables: Mapping[str, pl.DataFrame]) -> dict[str, Any] | None:
    """The record of the section, from the tables of a cycle's run; None without them."""
    if "news" not in tables:
        return None
    alarms = tables.get("alarms", pl.DataFrame(schema={"sentence": pl.String}))
    covered = tables.get("coverage")
    made = [_coverage(covered), _of_segments(covered), _overrides(tables), _worse(tables.get("verdict"))]
    return {
        "news": [[topic, sentence] for topic, sentence in tables["news"].iter_rows()],
        "alarms": [text[:1].upper() + text[1:] + "." for text in alarms["sentence"].to_list()[:_MOST_ALARMS]],
        "n_alarms": alarms.height,
        "tables": [one for one in made if one is not None],
    }


def _table(title: str, note: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    return {"title": title, "note": note, "columns": columns, "rows": rows}


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _coverage(table: pl.DataFrame | None) -> dict[str, Any] | None:
    """Coverage of single periods (or the shortest span) before and after the repair."""
    if table is None or table.is_empty():
        return None
    rows = table.filter(pl.col("by") == "all", pl.col("span") == pl.col("span").min()).sort("level")
    before, after = (rows.filter(pl.col("when") == when) for when in ("before", "after"))
    shown = [
        [f"{100 * level:.4g}%", *(_percent(x) for x in (*b, *a))]
        for level, b, a in zip(
            before["level"].to_list(),
            before.select("below", "at_most").iter_rows(),
            after.select("below", "at_most").iter_rows(),
            strict=True,
        )
    ]
    worst = [frame["gap"].abs().max() for frame in (before, after)]
    note = (
        f"How often past demand stayed under, and at most, each quantile. The worst level was off by "
        f"{_percent(clean(worst[0], 4))} before and {_percent(clean(worst[1], 4))} after. Each past forecast was "
        "repaired with what was known when it was made."
    )
    columns = ["level", "under, before", "at most, before", "under, after", "at most, after"]
    return _table("Calibration before and after the repair", note, columns, shown)


def _of_segments(table: pl.DataFrame | None) -> dict[str, Any] | None:
    """By how much the worst level of each segment was off, before and after, by span."""
    if table is None or table.is_empty():
        return None
    key = ["by", "segment", "span", "when"]
    worst = table.group_by(key, maintain_order=True).agg(pl.col("gap").get(pl.col("gap").abs().arg_max()))
    found = {tuple(at): gap for *at, gap in worst.select(*key, "gap").iter_rows()}
    spans = sorted({span for _, _, span, _ in found})
    rows = [
        ["all products" if by == "all" else f"{by} {segment}"]
        + [" → ".join(_points(found.get((by, segment, span, when))) for when in ("before", "after")) for span in spans]
        for by, segment in dict.fromkeys((by, segment) for by, segment, _, _ in found)
    ]
    note = (
        "Points by which the level furthest off lies outside what was seen, before and after the repair, by periods "
        "summed; below zero the quantile was too low."
    )
    return _table("Calibration by segment", note, ["products", *(f"span {span}" for span in spans)], rows)


def _points(gap: float | None) -> str:
    return "–" if gap is None else f"{100 * gap:+.1f}" if abs(gap) >= 0.0005 else "0"


def _overrides(tables: Mapping[str, pl.DataFrame]) -> dict[str, Any] | None:
    """What became of each manual change, and whether earlier ones helped."""
    audit, scores = tables.get("audit"), tables.get("overrides_scores")
    if audit is None or audit.is_empty():
        return None
    helped = {} if scores is None else dict(scores.select("id", "verdict").iter_rows())
    rows = [
        [
            row["id"], row["products"], f"{row['first']} to {row['last']}", f"{row['action']} {row['amount']:g}",
            row["status"], f"{row['units_before']:,.0f} → {row['units_after']:,.0f}",
            row["reason"] or "", helped.get(row["id"], "not known yet"),
        ]
        for row in audit.iter_rows(named=True)
    ]  # fmt: skip
    note = "Applied after the model. Whether a change helped is told by the periods that are known by now."
    columns = ["id", "for", "periods", "change", "status", "units", "reason", "did it help?"]
    return _table("Manual changes", note, columns, rows)


def _worse(table: pl.DataFrame | None) -> dict[str, Any] | None:
    """Where challengers were worse."""
    if table is None:
        return None
    rows = [
        [
            row["challenger"], "promoted" if row["promoted"] else "refused",
            "overall" if row["segment_kind"] == "all" else f"{row['segment_kind']} {row['segment']}",
            str(row["span"]), f"{row['difference']:+.1%}",
            "–" if row["low"] is None else f"{row['low']:+.1%} to {row['high']:+.1%}",
        ]
        for row in table.filter("worse").iter_rows(named=True)
    ]  # fmt: skip
    if not rows:
        return None
    columns = ["challenger", "", "where", "span", "error", "95 % interval"]
    return _table("Where challengers were worse", "Relative to the champion of before.", columns, rows)
