"""The savings page: rungs from the spreadsheet rule upwards, what a forecast and what a rule is worth, the frontier.

Numbers come from the tables that `shelfcast simulate` stores; nothing is replayed here.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from shelfcast.report.numbers import clean, spoken

_DIGITS = 6  # of shares, which are rounded once more where they are printed
_ORACLE = "oracle"
_NUMBERS = ("cost", "cash", "fill_rate", "in_stock_rate", "turns", "waste", "order_variability")


def savings(tables: Mapping[str, pl.DataFrame], currency: str) -> dict[str, Any] | None:
    """The record of the section; None where nothing was replayed."""
    table = tables.get("savings")
    if table is None or table.is_empty() or "ladder" not in tables:
        return None
    rules = table.filter(pl.col("policy") != _ORACLE)
    base = rules.row(0, named=True)
    rows = _rows(rules, tables["ladder"], tables.get("equal_fill"))
    return {
        "base": [base["model"], base["policy"]],
        "models": rules["model"].unique(maintain_order=True).to_list(),
        "policies": rules["policy"].unique(maintain_order=True).to_list(),
        "rows": rows,
        "oracle": clean(table.filter(pl.col("policy") == _ORACLE)["cost"].sum(), 2),
        "frontier": _frontier(tables.get("grid")),
        "sensitivity": _sensitivity(tables.get("sensitivity")),
        "grid": _grid(tables.get("grid")),
        "acceptance": _acceptance(tables.get("acceptance")),
        "reading": _reading(rows, base, currency),
        "scope": scope_sentence(tables["scope"].row(0, named=True)) if "scope" in tables else "",
    }


def scope_sentence(scope: Mapping[str, Any]) -> str:
    """What was replayed, when, and what became of periods whose demand is not known."""
    text = (
        f"{scope['series']:,} products, tested from {scope['tested_from']} to {scope['tested_to']}, tuned from "
        f"{scope['tuned_from']} to {scope['tuned_to']}, {scope['reviews']} reviews"
    )
    if not scope["unknown"]:
        return f"{text}; demand of every period tested is known"
    done = "are left out of the costs" if scope["censored"] == "excluded" else "count at the nearest demand observed"
    return f"{text}; {scope['unknown']:.1%} of the periods tested, not observed or sold out, {done}"


def _rows(rules: pl.DataFrame, ladder: pl.DataFrame, equal: pl.DataFrame | None) -> list[dict[str, Any]]:
    """One rule of one model each, with its differences to the base, the rung before and the first model, and the stock
    that it needs for the base's fill rate, against the base's stock."""
    equal = pl.DataFrame() if equal is None else equal
    same = {(r["model"], r["policy"]): r["against_base"] for r in equal.iter_rows(named=True)}
    found = {(r["model"], r["policy"], r["kind"]): r for r in ladder.iter_rows(named=True)}
    rows = []
    for row in rules.iter_rows(named=True):
        who = (row["model"], row["policy"])
        numbers = {name: clean(row[name], 4) for name in _NUMBERS}
        captured = clean(row.get("regret_captured"), _DIGITS)
        versus = {kind: _versus(found.get((*who, kind))) for kind in ("base", "rung before", "forecast")}
        numbers["equal_fill"] = clean(same.get(who), _DIGITS)
        rows.append({"model": who[0], "policy": who[1], "captured": captured} | numbers | {"versus": versus})
    return rows


def _acceptance(table: pl.DataFrame | None) -> list[str]:
    """A sentence for each learned rule, accepted or not."""
    return [] if table is None else [_verdict(row) for row in table.iter_rows(named=True)]


def _verdict(row: Mapping[str, Any]) -> str:
    side = "below" if row["relative"] < 0 else "above"
    seeds = f"{row['seeds']} networks one by one: {row['seed_low']:+.1%} to {row['seed_high']:+.1%}"
    interval = f"interval {row['low']:+.1%} to {row['high']:+.1%}"
    text = f"{abs(row['relative']):.1%} {side} {row['against']}, {interval} ({seeds})"
    if row["is_accepted"]:
        return f"The rule learned with {row['model']} is accepted: {text}."
    return f"The rule learned with {row['model']} is not accepted: {text}; its interval must lie below zero."


def _versus(row: Mapping[str, Any] | None) -> list[float | None] | None:
    """Relative cost, its interval, money saved and the share of items improved."""
    if row is None:
        return None
    return [clean(row[name], _DIGITS) for name in ("relative", "low", "high", "saved", "improved")]


def _frontier(grid: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Fill rate and mean stock of each rule over critical ratios."""
    if grid is None or grid.is_empty():
        return []
    lines = []
    points = grid.filter(pl.col("varies") == "critical_ratio")
    for (model, policy), part in points.group_by("model", "policy", maintain_order=True):
        part = part.sort("fill_rate")
        fill, stock = ([clean(v, 4) for v in part[name]] for name in ("fill_rate", "mean_stock"))
        lines.append({"model": str(model), "policy": str(policy), "fill": fill, "stock": stock})
    return [line for line in lines if len(line["fill"]) > 1]


def _sensitivity(table: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Saving against the base where something was told wrongly."""
    if table is None or table.is_empty():
        return []
    names = ("error", "model", "policy")
    numbers = ("against_base", "low", "high")
    return [
        {name: row[name] for name in names} | {"versus": [clean(row[name], 4) for name in numbers]}
        for row in table.iter_rows(named=True)
    ]


def _grid(table: pl.DataFrame | None) -> list[dict[str, Any]]:
    """Cost of each rule against the base of its cell, as ratios, lead times and packs vary."""
    if table is None or table.is_empty():
        return []
    rows = []
    for row in table.iter_rows(named=True):
        value = next(
            (row[name] for name in ("critical_ratio", "lead_time", "pack_size") if row[name] is not None), None
        )
        cell = row["varies"].replace("_", " ") + ("" if value is None else f" {value:g}")
        versus = [clean(row[name], 4) for name in ("against_base", "low", "high")]
        rows.append({"cell": cell, "model": row["model"], "policy": row["policy"], "versus": versus})
    return rows


def _reading(rows: list[dict[str, Any]], base: Mapping[str, Any], currency: str) -> str:
    """One sentence: the cheapest rule, what it saves, and whether that is beyond doubt."""
    best = min(rows, key=lambda row: row["cost"])
    who = f"{best['policy']} with {best['model']}"
    against = f"{base['policy']} with {base['model']}"
    versus = best["versus"]["base"]
    if versus is None or versus[0] is None or (best["model"], best["policy"]) == (base["model"], base["policy"]):
        return f"No rule was cheaper than {against}."
    low, high = versus[1], versus[2]
    money = f"{currency}{spoken(versus[3] or 0.0)}"
    text = f"The cheapest is {who}: {abs(versus[0]):.1%} below {against}, or {money} over the periods counted"
    if low is None or high is None:
        return f"{text}."
    kept = "the interval excludes zero" if high < 0 else "the interval holds zero, so the saving is not established"
    least, most = (round(-x, 3) + 0.0 for x in (high, low))  # no -0.0
    return f"{text}; between {least:.1%} and {most:.1%} in nineteen of twenty resamples: {kept}."
