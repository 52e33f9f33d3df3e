"""Every model under one protocol, with its CPU seconds.

    python benchmarks/leaderboard.py [--only NAME ...] [--seeds N]

M5, protocol V9: 2,405 products (L12) and the 154 series of levels 1 to 9 (A9, mean of nine scores), 28 days ahead,
nine levels, WSPL; models frozen at d_1857 and scored at nine origins d_1857 .. d_1913. Calendar events, SNAP days and
prices are there for whoever uses them. "r" is after rounding to whole units. Coverage: P(y < q) .. P(y <= q) of
products, last seed.
"""

import argparse
import sys
import time
from typing import Any

import numpy as np

import m5_data
from shelfcast.data.panel import Panel
from shelfcast.evaluation import calibration, evaluate
from shelfcast.forecast import Forecast
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.table import forecaster

ORIGINS = tuple(m5_data.period(day) for day in m5_data.ORIGIN_DAYS)
POOLED = {"group": "department"}
WEEKLY = {"step": 7}  # past errors from the weekday of the origins: kind to models without a season
TWO_STAGE = {
    "two_stage": True,
    "n_rows": 300_000,
    "n_trees": 78,
    "min_leaf": 33,
    "n_kept": 16,
    "row_share": 0.33,
}
CHEAP = TWO_STAGE | {"n_rows": 235_000, "n_trees": 30, "min_leaf": 67, "n_kept": 32, "row_share": 0.67}
ENTRIES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("seasonal naive, Gaussian", "seasonal-naive", {"errors": "gaussian", "seasons": 280}, {}),
    ("season profile", "season-profile", {}, {}),
    *((name, name, WEEKLY, {}) for name in ("window-average", "ses", "damped", "holt-winters", "seasonal-es")),
    *((name, name, WEEKLY, {}) for name in ("croston", "sba", "tsb", "adida", "imapa")),
    ("patchwork, pooled errors only", "patchwork", {"own_share": 0.0}, POOLED),
    ("patchwork", "patchwork", {}, POOLED),
    ("pooled forest, past errors", "forest-point", WEEKLY, {}),
    ("sparse quantile random forest", "sqrf", {}, {}),
    ("sqrf, two stages", "sqrf", TWO_STAGE, {}),
    ("sqrf, two stages, cheaper", "sqrf", CHEAP, {}),
]


def forecast(panel: Panel, name: str, settings: dict[str, Any], seed: int) -> tuple[Forecast, float]:
    """A frozen model's forecasts from the nine origins, and its CPU seconds."""
    begin = time.process_time()
    model = forecaster(name, horizons=28, levels=M5_LEVELS, **settings).fit(panel.as_of(ORIGINS[0]), seed=seed)
    return model.predict(panel, ORIGINS), time.process_time() - begin


def wspl(made: Forecast, panel: Panel, weights: Any = None) -> float:
    """Mean over origins; over levels of aggregation too."""
    return float(evaluate(made, panel, metrics=["wspl"], weights=weights)["value"][0])


def coverage(made: Forecast, panel: Panel) -> str:
    """P(y < q) .. P(y <= q) at four levels."""
    table = calibration(made, panel).sort("level")
    rows = [int(np.argmin(np.abs(table["level"].to_numpy() - a))) for a in (0.165, 0.5, 0.835, 0.975)]
    return "  ".join(f"{table['below'][i]:.2f}-{table['at_most'][i]:.2f}" for i in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="names of models")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 .. N - 1; scores and seconds are their means")
    asked = parser.parse_args()
    only = asked.only
    if not m5_data.FOLDER.is_dir():
        print("skipped: the M5 sample is not there; it is expected in ../shared/data/m5 beside the project")
        return 0
    products = m5_data.with_events(m5_data.products())
    totals, weights = m5_data.aggregates()
    totals = m5_data.with_events(totals)
    print(f"{'model':32}{'L12':>8}{'r':>8}{'A9':>8}{'CPU s':>8}{'A9 CPU':>8}  covers at .165 .5 .835 .975")
    for label, name, settings, pooled in ENTRIES:
        if only and name not in only:
            continue
        rows = []
        for seed in range(asked.seeds):
            made, cpu = forecast(products, name, settings | pooled, seed)
            high, high_cpu = forecast(totals, name, settings, seed)
            rows.append(
                (wspl(made, products), wspl(made.rounded(), products), wspl(high, totals, weights), cpu, high_cpu)
            )
        low, whole, above, cpu, high_cpu = np.mean(rows, axis=0)
        print(
            f"{label:32}{low:8.4f}{whole:8.4f}{above:8.4f}{cpu:8.1f}{high_cpu:8.1f}  "
            f"{coverage(made.rounded(), products)}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
