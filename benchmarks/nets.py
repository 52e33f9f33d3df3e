"""Networks on the M5 sample under protocol V9: one network for 2,405 products and the 154 series of levels 1 to 9.

    python benchmarks/nets.py [MODEL] [SETTING=VALUE ...] [--seeds N]

Frozen at d_1857, scored at nine origins d_1857 .. d_1913, 28 days, nine levels; one thread. L12 and A9 are the WSPL of
products and the mean WSPL of levels 1 to 9; "r" is after rounding to whole units; WQL, revision (of a quantile of the
same day from one origin to the next) and EV (excess volatility) are of products. CPU seconds: `fit`, `predict`.
`--from DAY` freezes at another day, to choose settings on earlier origins.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

import m5_data
from attention import scored
from shelfcast.evaluation import evaluate
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.table import forecaster

COLUMNS = ("L12", "r", "A9", "WQL", "revision", "EV", "fit s", "predict")


def figures(name: str, settings: dict[str, Any], seed: int, day: int) -> list[float]:
    """A row of the table."""
    origins = tuple(m5_data.period(day + 7 * week) for week in range(9))
    panel, n_products, weights = m5_data.everything()
    products, (totals, _) = m5_data.products(), m5_data.aggregates()
    model = forecaster(name, horizons=28, levels=M5_LEVELS, **settings)
    begin = time.process_time()
    model.fit(panel.as_of(origins[0]), seed=seed)
    middle = time.process_time()
    made = model.predict(panel, origins)
    end = time.process_time()
    single = replace(made.take(slice(0, n_products)), series=products.series.select(products.keys))
    high = replace(made.take(slice(n_products, None)), series=totals.series.select(totals.keys))
    scores = [
        evaluate(single, products, metrics=["wspl"]),
        evaluate(single.rounded(), products, metrics=["wspl"]),
        evaluate(high, totals, metrics=["wspl"], weights=weights),
    ]
    whole = scored(single, products)
    moved = (whole[0], whole[3], whole[5])
    return [*(float(score["value"][0]) for score in scores), *moved, middle - begin, end - middle]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mq-cnn")
    parser.add_argument("settings", nargs="*", default=[], help="as steps=4500; the defaults otherwise")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--from", dest="day", type=int, default=m5_data.ORIGIN_DAYS[0], help="day of the first origin")
    given = parser.parse_args()
    if not m5_data.FOLDER.is_dir():
        print("skipped: the M5 sample is not there; it is expected in ../shared/data/m5 beside the project")
        return 0
    torch.set_num_threads(1)
    settings = {key: json.loads(value) for key, value in (text.split("=", 1) for text in given.settings)}
    print(f"{given.model} {settings}\n{'seed':>6}" + "".join(f"{name:>9}" for name in COLUMNS))
    rows = []
    for seed in range(given.seeds):
        rows.append(figures(given.model, settings, seed, given.day))
        print(f"{seed:6}" + "".join(f"{value:9.4f}" for value in rows[-1]), flush=True)
    print(f"{'mean':>6}" + "".join(f"{value:9.4f}" for value in np.mean(rows, axis=0)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
