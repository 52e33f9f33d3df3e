"""The story's tables and plots: written between marks of `docs/leaderboard.md` and `coverage.md`, and to `docs/img`.

    python benchmarks/story_tables.py

Reads what `story.py` stored; what is not there is left out, and every table says how many seeds stand behind a row.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import plots
from shelfcast import scoring
from shelfcast.data.panel import Panel
from story import GENERATIONS, LEVELS, PEERS, SEEDS, SETS
from story_scores import N_LARGE, labelled, scores

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- story: begin -->", "<!-- story: end -->"
UNIFIED = ("mq-cnn", "mqtransformer")
SLICES = {
    "all": None, "no history": ("life", "unsold"), "first weeks": ("life", "new"), "short of stock": ("stock", "short"),
    "intermittent": ("demand_class", "intermittent"), "lumpy": ("demand_class", "lumpy"),
    "strongly seasonal": ("season", "strong"), "promoted": ("promoted", "true"), "repriced": ("repriced", "true"),
    "ended": ("life", "ended"),
}  # fmt: skip
Found = dict[str, list[dict[str, Any]]]


def found(name: str) -> Found:
    """Scores of every seed that is there, by model."""
    made: Found = {}
    for entry in (*GENERATIONS, *PEERS):
        seeds = [scores(name, entry, seed) for seed in range(SEEDS if entry.learned else 1)]
        there = [one for one in seeds if one is not None]
        if there:
            made[entry.name] = there
    return made


def mean(rows: list[dict[str, Any]], read: Callable[[dict[str, Any]], float | None]) -> float:
    """Mean over seeds of what `read` finds; NaN where it finds nothing."""
    values = [value for row in rows if (value := read(row)) is not None]
    return float(np.mean(values)) if values else float("nan")


def wide(row: dict[str, Any], part: str = "coverage") -> float:
    """Points by which the worst level is off."""
    return 100 * max(abs(gap) for *_, gap in row[part]["levels"])


def table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A table of Markdown."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def models(all_found: Found) -> Iterator[str]:
    """Every generation: error, its gain, coverage, volatility and cost."""
    head = ["model", "seeds", "WQL, to choose", "WQL, test", "against the row above", "bias", "coverage off, points",
            "revision", "excess volatility", "fit, CPU s", "predict, CPU s"]  # fmt: skip
    rows, before = [], None
    own = [mean(r, lambda s: s["test"]["wql"]) for m, r in all_found.items() if m not in {p.name for p in PEERS}]
    for model, seeds in all_found.items():
        is_peer = model in {p.name for p in PEERS}
        wql = mean(seeds, lambda s: s["test"]["wql"])
        gain = "peer" if is_peer else "" if before is None else f"{100 * (wql / before - 1):+.1f} %"
        shown = f"**{wql:.4f}**" if own and wql == min(own) else f"{wql:.4f}"
        rows.append(
            [f"`{model}`", str(len(seeds)), f"{mean(seeds, lambda s: s['choose']['wql']):.4f}", shown, gain,
             f"{100 * mean(seeds, lambda s: s['test']['bias']):+.1f} %", f"{mean(seeds, wide):.1f}",
             f"{mean(seeds, lambda s: s['test']['revision']):.4f}",
             f"{mean(seeds, lambda s: s['test']['excess_volatility']):+.4f}",
             f"{mean(seeds, lambda s: s['fit']):.0f}", f"{mean(seeds, lambda s: s['predict']):.0f}"]
        )  # fmt: skip
        before = before if is_peer else wql
    yield from table(head, rows)


def slices(name: str, all_found: Found) -> Iterator[str]:
    """WQL of every model in every hard slice, and what is said of products that have ended."""
    there = {
        label: where
        for label, where in SLICES.items()
        if where is None or where[1] in next(iter(all_found.values()))[0]["slices"].get(where[0], {})
    }

    def cell(row: dict[str, Any], where: tuple[str, str] | None, key: str) -> float | None:
        return row["test"].get(key) if where is None else row["slices"][where[0]][where[1]].get(key)

    first = next(iter(all_found.values()))[0]
    rows = []
    for model, seeds in all_found.items():
        values = [mean(seeds, lambda s, w=where: cell(s, w, "wql")) for where in there.values()]
        rows.append([f"`{model}`", *("–" if np.isnan(v) else f"{v:.3f}" for v in values)])
    for column in range(1, len(there) + 1):
        numbers = [float(row[column]) for row in rows if row[column] != "–"]
        for row in rows:
            if row[column] != "–" and float(row[column]) == min(numbers):
                row[column] = f"**{row[column]}**"
    n = [str(cell(first, w, "series") or "") if w else str(labelled(name).n_series) for w in there.values()]
    units = [f"{cell(first, w, 'units'):,.0f}" if w and cell(first, w, "units") else "" for w in there.values()]
    yield from table(["WQL", *there], [["series", *n], ["units", *units], *rows])


def ended(name: str, all_found: Found) -> str:
    """What is said of ended products, a sentence."""
    first = next(iter(all_found.values()))[0]["slices"]["life"].get("ended")
    if not first or not first["cells"]:
        return "No product had ended."
    sold = first["units"] / first["cells"]
    said = {
        model: mean(seeds, lambda s: s["slices"]["life"]["ended"]["bias"]) * sold + sold
        for model, seeds in all_found.items()
        if first["units"]
    }
    listed = ", ".join(f"`{model}` {value:.3f}" for model, value in said.items())
    return (
        f"Products that had sold nothing for a quarter of a year, units a period: sold {sold:.3f}; forecast (mean, or "
        f"median where there is none): {listed}."
    )


def classes(windows: list[tuple[Panel, Found]], ours: list[str]) -> Iterator[str]:
    """Models without routing against the patchwork in every routed class, with intervals over series.

    Losses of several windows, with their labels, are put together; a series is drawn with all its windows.
    """
    rng, rows = np.random.default_rng(0), []
    series = np.concatenate([np.arange(panel.n_series) for panel, _ in windows])
    losses = {
        m: np.concatenate([np.mean([s["losses"] for s in found[m]], axis=0) for _, found in windows])
        for m in (*ours, "patchwork")
    }
    every, theirs = np.sum(list(losses.values()), axis=0), losses["patchwork"]
    for kind in ("all", "routed", "demand_class"):
        labels = np.full(len(series), "all products")
        if kind != "all":
            labels = np.concatenate([panel.series[kind].to_numpy().astype(str) for panel, _ in windows])
        for label in np.unique(labels):
            members = np.flatnonzero((labels == label) & (every > 0))
            if not len(members):
                continue
            row = [kind, label, f"{len(np.unique(series[members])):,}"]
            for model in ours:
                found = scoring.paired_bootstrap(
                    losses[model][members], theirs[members], 1.0, series[members], 1000, rng
                )
                row += told(*found)
            rows.append(row)
    heads = [head for model in ours for head in (f"`{model}` against `patchwork`", "95 %", "")]
    yield from table(["by", "class", "series", *heads], rows)


def told(change: float, low: float, high: float) -> list[str]:
    """A difference of errors, its interval, and what it says."""
    said = "better" if high < 0 else "worse" if low > 0 else "not told apart"
    return [f"{100 * change:+.1f} %", "" if np.isnan(low) else f"{100 * low:+.1f} .. {100 * high:+.1f}", said]


def repaired(all_found: Found) -> Iterator[str]:
    """Coverage before and after the conformal repair."""
    rows = []
    for model, seeds in all_found.items():
        if "repaired" not in seeds[0]:
            continue
        worst = [max(seeds[0][p]["slices"].items(), key=lambda kv: abs(kv[1])) for p in ("coverage", "repaired")]
        n_off = [sum(abs(gap) > 0.03 for gap in seeds[0][p]["slices"].values()) for p in ("coverage", "repaired")]
        rows.append(
            [f"`{model}`", f"{mean(seeds, wide):.1f}", f"{mean(seeds, lambda s: wide(s, 'repaired')):.1f}",
             *(f"{100 * gap:+.1f} ({label})" for label, gap in worst),
             f"{n_off[0]}, {n_off[1]} of {len(seeds[0]['coverage']['slices'])}",
             f"{mean(seeds, lambda s: s['test']['wql']):.4f}", f"{mean(seeds, lambda s: s['repaired']['wql']):.4f}"]
        )  # fmt: skip
    head = ["model", "off before, points", "after", "worst slice before", "after", "slices off by more than 3",
            "WQL before", "after"]  # fmt: skip
    yield from table(head, rows)


def drawn(everything: dict[str, Found]) -> None:
    """Write the plots."""
    title = {name: SETS[name].title.split(",")[0].split(" (")[0] for name in everything}
    names = [e.name for e in (*GENERATIONS, *PEERS)]

    def rows(read: Callable[[Found, str], float]) -> dict[str, dict[str, float]]:
        made = {m: {title[n]: read(f, m) for n, f in everything.items() if m in f} for m in names}
        return {m: row for m, row in made.items() if row}

    def relative(part: Found, model: str) -> float:
        base = mean(part["seasonal-naive"], lambda s: s["test"]["wql"])
        return 100 * (mean(part[model], lambda s: s["test"]["wql"]) / base - 1)

    def seconds(part: Found, model: str) -> float:
        return mean(part[model], lambda s: float(np.log10(s["fit"] + s["predict"])))

    def revision(part: Found, model: str) -> float:
        return mean(part[model], lambda s: s["test"]["revision"])

    made = {
        "accuracy": plots.dots("Error against seasonal-naive, test window", rows(relative), "WQL, % change", marks=0.0),
        "volatility": plots.dots("How much forecasts move from origin to origin", rows(revision), "revision"),
        "cost": plots.dots("Cost of training and forecasting", rows(seconds), "CPU seconds, power of ten"),
    }
    for name, part in everything.items():
        lines = {
            model: [
                (level, 100 * mean(seeds, lambda s, q=q: s["coverage"]["levels"][q][3]))
                for q, level in enumerate(LEVELS)
            ]
            for model, seeds in part.items()
        }
        made[f"coverage-{name}"] = plots.curves(
            f"Coverage, {title[name]}", lines, "level", "points off; above 0: too high"
        )
    for name, text in made.items():
        (DOCS / "img" / f"story-{name}.svg").write_text(text)


def section(name: str, part: Found) -> Iterator[str]:
    """All that is said of one data set."""
    data, panel = SETS[name], labelled(name)
    yield from (f"### {data.title}", "")
    yield f"{panel.n_series:,} series, horizons 1 to {data.n_ahead}, fitted on what was known at"
    yield f"{panel.date(data.frozen)};"
    yield f"test origins {panel.date(data.test[0])} to {panel.date(data.test[-1])}."
    yield from (
        "",
        *models(part),
        "",
        "**Hard products**, test window:",
        "",
        *slices(name, part),
        "",
        ended(name, part),
    )
    known = [m for m in UNIFIED if m in part]
    unified = min(known, key=lambda m: mean(part[m], lambda s: s["choose"]["wql"])) if known else None
    if unified and "patchwork" in part:
        ours = [unified, *(m for m in ("blend",) if m in part)]
        both = " or ".join(f"`{m}`" for m in UNIFIED)
        rest = ", and the blend" if "blend" in ours else ""
        yield from ("", f"**Class by class**: {both}, whichever won on the window to choose{rest}:", "")
        yield from classes([(labelled(name), part)], ours)


def of_repair(name: str, part: Found) -> Iterator[str]:
    """Coverage of one data set before and after the repair."""
    yield from (f"### {SETS[name].title}", "", f"Slices of {N_LARGE} series or more.", "", *repaired(part), "")
    yield f"![Coverage](img/story-coverage-{name}.svg)"


def pages() -> dict[str, str]:
    """What stands between the marks of each page."""
    everything = {name: part for name, data in SETS.items() if data.folder is None or data.folder.is_dir()
                  if (part := found(name))}  # fmt: skip
    drawn(everything)
    lines: list[str] = []
    covered: list[str] = []
    for name, part in everything.items():
        lines += ["", *section(name, part)]
        covered += ["", *of_repair(name, part)]
    plotted = [f"![{name.title()}](img/story-{name}.svg)" for name in ("accuracy", "volatility", "cost")]
    return {"leaderboard.md": "\n".join(["", *plotted, *lines, ""]), "coverage.md": "\n".join([*covered, ""])}


def main() -> int:
    for page, made in pages().items():
        path = DOCS / page
        before, rest = path.read_text(encoding="utf-8").split(BEGIN)
        path.write_text(before + BEGIN + made + END + rest.split(END)[1], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
