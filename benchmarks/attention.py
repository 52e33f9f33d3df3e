"""MQTransformer against MQ-CNN: accuracy, how much forecasts move from week to week, and what that costs.

    python benchmarks/attention.py f16|vn2|v9 MODEL [SETTING=VALUE ...] [--seeds N] [--combine N] [--from WEEK]

f16: Breakfast at the Frat, 3,909 store-products; frozen at week 120 (or `--from`), sixteen origins from 13 weeks later
on, 133 .. 148, horizons 1 to 8 weeks, nine levels; promoted: feature, display or price reduction in the target week.
vn2: 599 store-products, frozen at week 104 (or `--from`), sixteen origins from four weeks later on, horizons and levels
as f16, weeks in stock. v9: the M5 sample as in `nets.py`, origins d_1857 .. d_1913 a week apart; promoted: calendar
event on the target day. Scores are of single products, over observed cells; revisions compare successive origins. One
thread; CPU seconds of `fit` and of `predict`; "r" is WQL in whole units. "covers": share of
demand below and at most each quantile in whole units.
"""

import argparse
import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

import m5_data
import weekly_data
from shelfcast.data.panel import Panel
from shelfcast.evaluation import calibration, evaluate
from shelfcast.forecast import Forecast
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.table import forecaster

COLUMNS = ("WQL", "promoted", "P90 prom", "revision", "sfpc", "EV", "flips", "moved", "fell", "fit s", "pred s", "r")


def scored(made: Forecast, panel: Panel) -> list[float]:
    """WQL, of promoted cells, P90 of those, and the scores of revisions."""
    names = ["wql", "revision", "sfpc", "excess_volatility", "order_flips", "belief_movement", "belief_reduction"]
    whole = dict(evaluate(made, panel, metrics=names).select("metric", "value").iter_rows())
    promoted, high = float("nan"), float("nan")
    if panel.names.promotions:
        parts = evaluate(made, panel, by=("promoted",), metrics=["wql"]).filter(pl.col("promoted"))
        levels = evaluate(made, panel, by=("promoted", "level"), metrics=["wql"]).filter(pl.col("promoted"))
        promoted = float(parts["value"][0])
        high = float(levels.filter((pl.col("level") - 0.9).abs() < 1e-9)["value"][0])
    return [whole["wql"], promoted, high, *(whole[name] for name in names[1:])]


def figures(
    protocol: str, name: str, settings: dict[str, Any], seed: int, combine: int, day: int | None
) -> list[float]:
    """A row of the table."""
    if protocol != "v9":
        panel, frozen, origins = weekly_data.f16(day or 120) if protocol == "f16" else weekly_data.vn2(day or 104)
        model, single = forecaster(name, horizons=8, levels=weekly_data.LEVELS, **settings), panel
    else:
        panel, n_products, _ = m5_data.everything()
        origins = [m5_data.period(day) for day in m5_data.ORIGIN_DAYS]
        frozen, single = origins[0], panel.take(np.arange(n_products))
        model = forecaster(name, horizons=28, levels=M5_LEVELS, **settings)
    if combine > 1:
        model = forecaster(
            "combined",
            horizons=model.horizons,
            levels=model.levels,
            member=name,
            member_settings=settings,
            n_origins=combine,
        )
    begin = time.process_time()
    model.fit(panel.as_of(frozen), seed=seed)
    middle = time.process_time()
    made = model.predict(single, origins)
    end = time.process_time()
    whole = float(evaluate(made.rounded(), single, metrics=["wql"])["value"][0])
    covered = calibration(made.rounded(), single).sort("level").select("level", "below", "at_most").rows()
    print("covers", "  ".join(f"{level:g}: {below:.3f}-{at_most:.3f}" for level, below, at_most in covered))
    return [*scored(made, single), middle - begin, end - middle, whole]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocol", choices=("f16", "vn2", "v9"))
    parser.add_argument("model")
    parser.add_argument("settings", nargs="*", default=[], help="as steps=4500")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--combine", type=int, default=1, help="origins whose forecasts of a window are averaged")
    parser.add_argument("--from", dest="week", type=int, help="week at which models are frozen; of f16 and vn2")
    given = parser.parse_args()
    folders = {"f16": weekly_data.FRAT, "vn2": weekly_data.VN2, "v9": m5_data.FOLDER}
    if not folders[given.protocol].is_dir():
        print("skipped: the data are not there; they are expected in ../shared/data beside the project")
        return 0
    settings = {key: json.loads(value) for key, value in (text.split("=", 1) for text in given.settings)}
    print(f"{given.protocol} {given.model} {settings}\n{'seed':>6}" + "".join(f"{name:>9}" for name in COLUMNS))
    rows = []
    for seed in range(given.seeds):
        rows.append(figures(given.protocol, given.model, settings, seed, given.combine, given.week))
        print(f"{seed:6}" + "".join(f"{value:9.4f}" for value in rows[-1]), flush=True)
    print(f"{'mean':>6}" + "".join(f"{value:9.4f}" for value in np.mean(rows, axis=0)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
