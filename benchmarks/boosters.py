"""The forest beside a gradient booster for each quantile, on the same features and rows drawn alike.

    python benchmarks/boosters.py [--only v9 f16] [--rows N] [--trees N] [--leaves N] [--seeds N] [--path FOLDER]

LightGBM is no dependency; `--path` is where it is installed. Its boosters learn the root of demand over scale, as the
forest's trees do; quantiles are sorted. V9: M5, level 12 and the same rounded. F16: Breakfast at the Frat, WQL of all
and of promoted weeks. CPU seconds of fit and forecasts together, one thread; means of seeds.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

import m5_data
from leaderboard import ORIGINS, TWO_STAGE, wspl
from shelfcast.data.feature_rows import FeatureRows
from shelfcast.data.features import Features
from shelfcast.data.panel import Panel
from shelfcast.evaluation import evaluate
from shelfcast.forecast import Forecast
from shelfcast.horizons import per_period
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.drawing import draw_rows
from shelfcast.models.table import forecaster
from weekly_data import FRAT, LEVELS, f16

Made = Callable[[int], tuple[Forecast, float]]
Features32 = NDArray[np.float32]


def boosted(
    panel: Panel, frozen: int, origins: list[int], n_horizons: int, levels: tuple[float, ...], asked: Any, seed: int
) -> tuple[Forecast, float]:
    """Forecasts of one LightGBM a level, and their CPU seconds."""
    import lightgbm

    begin = time.process_time()
    past, rng, leads = panel.as_of(frozen), np.random.default_rng(seed), np.arange(n_horizons)
    features = Features.learn(past)
    rows = draw_rows(past, leads, 1, asked.rows, rng)
    table = FeatureRows(features, past)
    target = table.targets(rows.series, rows.origin, rows.lead, rows.span)
    rows, target = rows.at(np.isfinite(target)), target[np.isfinite(target)]
    values, scale, weight = table.rows(rows.series, rows.origin, rows.lead, rows.span)
    settings = {
        "objective": "quantile", "num_leaves": asked.leaves, "learning_rate": asked.rate, "min_data_in_leaf": 100,
        "feature_fraction": 0.5, "max_bin": 63, "num_threads": 1, "verbosity": -1, "seed": seed,
    }  # fmt: skip
    data = lightgbm.Dataset(values, np.sqrt(target / (scale * weight)), free_raw_data=False, params=settings)
    models = [lightgbm.train(settings | {"alpha": level}, data, asked.trees) for level in levels]
    table = FeatureRows(features, panel)
    said = np.empty((panel.n_series, len(origins), n_horizons, len(levels)), dtype=np.float32)
    for o, origin in enumerate(origins):
        for first in range(0, panel.n_series, 500):
            series = np.arange(first, min(first + 500, panel.n_series))
            ahead, scale, weight = table.grid(series, np.full(len(series), origin), leads, np.ones(n_horizons, int))
            roots = np.column_stack([model.predict(ahead) for model in models])
            units = np.sort(np.maximum(roots, 0.0), axis=1) ** 2 * (scale * weight)[:, None]
            said[series, o] = units.reshape(len(series), n_horizons, -1)
    made = Forecast(
        panel.series.select(panel.keys), tuple(origins), panel.frequency, per_period(n_horizons), levels, said, None,
        "a LightGBM a level",
    )  # fmt: skip
    return made, time.process_time() - begin


def own(
    panel: Panel, frozen: int, origins: list[int], n_horizons: int, levels: tuple[float, ...], settings: Any, seed: int
) -> tuple[Forecast, float]:
    """The same of `sqrf`."""
    begin = time.process_time()
    model = forecaster("sqrf", horizons=n_horizons, levels=levels, **settings).fit(panel.as_of(frozen), seed=seed)
    return model.predict(panel, origins), time.process_time() - begin


def v9(asked: Any) -> None:
    """Print scores under protocol V9."""
    panel = m5_data.with_events(m5_data.products())
    given = panel, ORIGINS[0], list(ORIGINS), 28, M5_LEVELS
    print(f"{'V9':28}{'L12':>8}{'r':>8}{'CPU s':>8}", flush=True)
    compare(given, asked, lambda made: (wspl(made, panel), wspl(made.rounded(), panel)))


def weekly(asked: Any) -> None:
    """Print scores under protocol F16."""
    panel, frozen, origins = f16()

    def scores(made: Forecast) -> tuple[float, float]:
        by = evaluate(made, panel, by=("promoted",), metrics=["wql"]).with_columns(pl.col("promoted").cast(pl.String))
        promoted = by.filter(pl.col("promoted") == "true")["value"][0]
        return float(evaluate(made, panel, metrics=["wql"])["value"][0]), float(promoted)

    print(f"{'F16':28}{'WQL':>8}{'promo':>8}{'CPU s':>8}", flush=True)
    compare((panel, frozen, origins, 8, LEVELS), asked, scores)


def compare(given: Any, asked: Any, scores: Callable[[Forecast], tuple[float, float]]) -> None:
    """Print both scores of all contenders, and CPU seconds."""
    entries: dict[str, Callable[[int], tuple[Forecast, float]]] = {}
    if not asked.peer_only:
        entries["sqrf"] = lambda seed: own(*given, {}, seed)
        entries["sqrf, two stages"] = lambda seed: own(*given, TWO_STAGE, seed)
    entries["a LightGBM a level"] = lambda seed: boosted(*given, asked, seed)
    for label, make in entries.items():
        rows = []
        for seed in range(asked.seeds):
            made, seconds = make(seed)
            rows.append((*scores(made), seconds))
        one, other, seconds = np.mean(rows, axis=0)
        print(f"{label:28}{one:8.4f}{other:8.4f}{seconds:8.1f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=["v9", "f16"], default=["v9", "f16"])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--trees", type=int, default=60)
    parser.add_argument("--leaves", type=int, default=31)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--peer-only", action="store_true", help="to choose its settings")
    parser.add_argument("--path", action="append", default=[], help="folder with lightgbm, appended to sys.path")
    asked = parser.parse_args()
    sys.path.extend(asked.path)
    for name, folder, run in (("v9", m5_data.FOLDER, v9), ("f16", FRAT, weekly)):
        if name in asked.only and folder.is_dir():
            run(asked)
        elif name in asked.only:
            print(f"{name}: skipped; its data are expected in ../shared/data beside the project")
    return 0


if __name__ == "__main__":
    sys.exit(main())
