"""What `simulate`, `order` and `latent` print: tables that a planner reads first, all of them from what was stored."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from shelfcast.report.savings import savings
from shelfcast.terminal import print_rows

Versus = Sequence[float | None] | None


def print_savings(tables: Mapping[str, pl.DataFrame], currency: str) -> None:
    """The ladder of every forecaster, what changes under other terms and errors, and the sentences of the report."""
    found = savings(tables, currency)
    if found is None:
        return
    print(f"{found['scope']}.\n")
    _print_ladder(found, currency)
    _print_worlds(found)
    for sentence in (found["reading"], *found["acceptance"]):
        print(sentence)
    print()


def _print_ladder(found: Mapping[str, Any], currency: str) -> None:
    """A row for every rule of every forecaster: what it costs, then how it serves."""
    money = f", in {currency}" if currency else ""
    rows = found["rows"]
    _print_rules(f"Cost of the test period{money}", rows, [_money(row, found["base"]) for row in rows])
    print(
        "against the base: relative cost with a 95 % interval over items and blocks of periods; rung before: against "
        "the line above;\nforecast: against the same rule with the first forecaster\n"
    )
    _print_rules("Service and stock", rows, [_service(row, any(r["waste"] for r in rows)) for row in rows])
    print("stock at equal fill: stock for the base's fill rate, against the base's\n")


def _print_rules(title: str, rows: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, str]]) -> None:
    """Cells of every rule behind its name, the forecaster named once."""
    columns = {"forecaster": "left", "rule": "left"} | dict.fromkeys(cells[0] if cells else (), "right")
    before = [None, *(row["model"] for row in rows)]
    names = [
        ["" if row["model"] == model else row["model"], row["policy"]] for row, model in zip(rows, before, strict=False)
    ]
    print_rows(title, columns, [[*name, *line.values()] for name, line in zip(names, cells, strict=True)])


def _money(row: Mapping[str, Any], base: Sequence[str]) -> dict[str, str]:
    is_base, versus = [row["model"], row["policy"]] == base, row["versus"]
    return {
        "cost": _units(row["cost"]), "against the base": "the base" if is_base else with_interval(versus["base"]),
        "items better": "" if is_base or versus["base"] is None else _share(versus["base"][4], 0),
        "rung before": change(versus["rung before"]), "forecast": change(versus["forecast"]),
        "cash": _units(row["cash"]), "of oracle": _share(row["captured"], 0),
    }  # fmt: skip


def _service(row: Mapping[str, Any], has_waste: bool) -> dict[str, str]:
    return {
        "fill": _share(row["fill_rate"]), "in stock": _share(row["in_stock_rate"]),
        "turns": "" if row["turns"] is None else f"{row['turns']:.1f}",
        "orders vary": "" if row["order_variability"] is None else f"{row['order_variability']:.2f}",
        **({"waste": _units(row["waste"])} if has_waste else {}),
        "stock at equal fill": "" if row["equal_fill"] is None else change([row["equal_fill"]]),
    }  # fmt: skip


def _print_worlds(found: Mapping[str, Any]) -> None:
    """Other terms and errors, one a line, for the cheapest rule of each forecaster that has been through them all."""
    worlds = [(row["error"], row) for row in found["sensitivity"]] + [(row["cell"], row) for row in found["grid"]]
    if not worlds:
        return
    names = list(dict.fromkeys(name for name, _ in worlds))
    of = {(name, row["model"], row["policy"]): row["versus"] for name, row in worlds}
    whos = [who for who in (_cheapest(found, model, names, of) for model in found["models"]) if who]
    columns = {"terms": "left"} | {f"{policy} with {model}": "right" for model, policy in whos}
    rows = [[name, *(with_interval(of[name, *who]) for who in whos)] for name in names]
    print_rows("The cheapest rules under other terms, or wrong ones, against the base there", columns, rows)
    print()


def _cheapest(
    found: Mapping[str, Any], model: str, names: Sequence[str], of: Mapping[tuple[str, str, str], Versus]
) -> tuple[str, str] | None:
    rows = [
        row for row in found["rows"] if row["model"] == model and all((n, model, row["policy"]) in of for n in names)
    ]
    return (model, min(rows, key=lambda row: row["cost"])["policy"]) if rows else None


def buy_list(table: pl.DataFrame, n: int = 10) -> tuple[dict[str, str], list[list[str]]]:
    """Columns and rows of the orders that earn most per unit of money; the keys are the columns before `quantity`."""
    keys = table.columns[: table.columns.index("quantity")]
    first = table.filter(pl.col("rank").is_not_null()).sort("rank").head(n)
    columns = {"rank": "right"} | dict.fromkeys(keys, "left")
    columns |= {"units": "right", "on the shelf": "left", "cost": "right", "saves": "right", "why": "left"}
    rows = [
        [
            str(row["rank"]), *(str(row[key]) for key in keys), _units(row["quantity"]), str(row["arrival_date"] or ""),
            _units(row["cost"]), _units(row["gain"]), row["why"],
        ]
        for row in first.iter_rows(named=True)
    ]  # fmt: skip
    return columns, rows


def why_nothing(table: pl.DataFrame) -> str:
    """Of orders that are all zero, what decided them and for how many products, the most frequent first."""
    counts = table.group_by("limit").len().sort("len", "limit", descending=[True, False])
    return ", ".join(f"{limit} ({n:,})" for limit, n in counts.iter_rows()) or "there are no products"


def latent_board(table: pl.DataFrame) -> pl.DataFrame:
    """A row for periods of which nothing is known, and for those that sold out: how many, sold and expected units."""
    sums = pl.len().alias("periods"), pl.col("item").n_unique().alias("items"), pl.col("sold", "mean").sum()
    return table.group_by("known").agg(*sums).sort("known").rename({"mean": "expected"})


def print_latent(board: pl.DataFrame) -> None:
    """The rows of `latent_board`, or a sentence where there are none."""
    if board.is_empty():
        print("Sales tell the demand of every period: none began empty, sold out, or is missing.")
        return
    said = {"nothing": "began empty, or missing", "at_least": "sold out"}
    columns = {"periods that": "left", "periods": "right", "items": "right", "sold": "right", "expected": "right"}
    rows = [
        [said[known], f"{periods:,}", f"{items:,}", _units(sold) if known == "at_least" else "", _units(expected)]
        for known, periods, items, sold, expected in board.iter_rows()
    ]
    print_rows("Units in past periods that sales do not tell", columns, rows)


def with_interval(versus: Versus) -> str:
    """`-14.9 % (-23.7..-7.5)`; nothing where there is nothing to compare."""
    if versus is None or versus[0] is None:
        return ""
    low, high = versus[1], versus[2]
    return change(versus) + ("" if low is None or high is None else f" ({100 * low:+.1f}..{100 * high:+.1f})")


def change(versus: Versus) -> str:
    """`-14.9 %`."""
    return "" if versus is None or versus[0] is None else f"{100 * versus[0]:+.1f} %"


def _share(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{100 * value:.{digits}f} %"


def _units(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
