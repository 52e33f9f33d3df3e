"""Networks on the M5 sample under protocol V9: one network for 2,405 products and the 154 series of levels 1 to 9.

    python benchmarks/nets.py [MODEL] [SETTING=VALUE ...] [--seeds N] [--combine N] [--products]

Frozen at d_1857, scored at nine origins d_1857 .. d_1913, 28 days, nine levels; one thread. L12 and A9 are the WSPL of
products and the mean WSPL of levels 1 to 9; "r" is after rounding to whole units; WQL, revision (of a quantile of the
same day from one origin to the next) and EV (excess volatility) are of products. CPU seconds: `fit`, `predict`.
`--from DAY` freezes at another day, to choose settings on earlier origins. "covers" are P(y < q) .. P(y <= q) of
products at .165 .5 .835 .975 in whole units, of the last seed. `--combine N` also scores the mean of what the same
network said of a day at its latest N origins a week apart; `--products` leaves levels 1 to 9 out of training (and A9);
`--asked LEVEL ...` asks for other levels than those of training and prints what they and the totals' cover. With
`--repair N` a network frozen N weeks earlier forecasts those weeks, and what is asked for is shown after the conformal
repair, too, learned at each origin, by level of aggregation, from that one's weeks and its own whose outcomes were
known. Under the totals' stands the 95 % range of theirs when target weeks are drawn anew. At the end stand the cost of
a training step and its share of the machine's rate of matrix products, as `net_costs.py` takes them.
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
import net_costs
from attention import scored
from leaderboard import coverage
from shelfcast.conformal import by_segment, walked
from shelfcast.data.panel import Panel
from shelfcast.evaluation import calibration, evaluate
from shelfcast.forecast import Forecast, concat_origins
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.combined import Combined
from shelfcast.models.table import forecaster
from shelfcast.segments import segments

TOTALS = slice(-154, None)
COLUMNS = ("L12", "r", "A9", "WQL", "revision", "EV", "fit s", "predict")


def row(made: Forecast, fit: float, predict: float) -> list[float]:
    """A row of the table: scores of products, of totals where they were forecast, and seconds."""
    products, (totals, weights) = m5_data.products(), m5_data.aggregates()
    n_products = products.n_series
    single = replace(made.take(slice(0, n_products)), series=products.series.select(products.keys))
    scores = [
        evaluate(single, products, metrics=["wspl"])["value"][0],
        evaluate(single.rounded(), products, metrics=["wspl"])["value"][0],
        float("nan"),
    ]
    if made.series.height > n_products:
        high = replace(made.take(slice(n_products, None)), series=totals.series.select(totals.keys))
        scores[2] = evaluate(high, totals, metrics=["wspl"], weights=weights)["value"][0]
    whole = scored(single, products)
    return [*map(float, scores), whole[0], whole[3], whole[5], fit, predict]


def learned(given: argparse.Namespace) -> Panel:
    """The series that one network learns: products, and the totals unless they are left out."""
    panel, n_products, _ = m5_data.everything()
    return panel.take(np.arange(n_products)) if given.products else panel


def forecasts(given: argparse.Namespace, settings: dict[str, Any], seed: int) -> list[tuple[Forecast, float, float]]:
    """Forecasts of a network and CPU seconds of `fit` and `predict`; then, if asked for, of its combined origins."""
    origins = tuple(m5_data.period(given.day + 7 * week) for week in range(9))
    panel = learned(given)
    model = forecaster(given.model, horizons=28, levels=M5_LEVELS, **settings)
    begin = time.process_time()
    model.fit(panel.as_of(origins[0]), seed=seed)
    fit = time.process_time() - begin
    models = [model]
    if given.combine > 1:
        models.append(Combined(model.horizons, model.levels, given.model, settings, given.combine).around(model))
    made = []
    for each in models:
        begin = time.process_time()
        made.append((each.predict(panel, origins), fit, time.process_time() - begin))
    if given.asked:
        model.levels = tuple(given.asked)
        asked = model.predict(panel, origins)
        covered(asked)
        if given.repair:
            weeks = [origins[0] - 7 * (given.repair - week) for week in range(given.repair)]
            earlier = forecaster(given.model, horizons=28, levels=M5_LEVELS, **settings)
            earlier.fit(panel.as_of(weeks[0]), seed=seed).levels = tuple(given.asked)
            told = concat_origins([earlier.predict(panel, weeks), asked])
            pairs = walked(told, panel, by_segment("aggregate", segments))
            assert pairs is not None
            print("repaired")
            covered(pairs[1].at(origins))
    return made


def covered(made: Forecast) -> None:
    """Print P(y < q) .. P(y <= q) of products and of totals, in whole units, at every level."""
    products, (totals, _) = m5_data.products(), m5_data.aggregates()
    for label, truth, rows in (("products", products, slice(0, products.n_series)), ("totals", totals, TOTALS)):
        part = replace(made.take(rows), series=truth.series.select(truth.keys))
        table = calibration(part.rounded(), truth).sort("level").select("level", "below", "at_most").iter_rows()
        print(f"{label:9}" + "  ".join(f"{level}: {low:.3f}-{high:.3f}" for level, low, high in table), flush=True)
    print(f"{'':9}" + "  ".join(f"{level}: {low:.3f}-{high:.3f}" for level, low, high in of_weeks(part, truth)))


def of_weeks(made: Forecast, panel: Panel) -> list[tuple[float, float, float]]:
    """Every level with the 95 % range of its coverage when whole target weeks are drawn anew: of ties half counts.

    A week's days, and all series on them, are high or low together, so a coverage is of so many weeks, not cells.
    """
    said, rng = made.rounded().values, np.random.default_rng(0)
    demand = np.stack([panel.window(origin + 1, origin + said.shape[2])[0] for origin in made.origins], axis=1)
    hits = (demand[..., None] < said) / 2 + (demand[..., None] <= said) / 2
    week = np.arange(said.shape[1])[:, None] + np.arange(said.shape[2]) // 7  # origins are a week apart
    drawn = rng.multinomial(week.max() + 1, np.full(week.max() + 1, 1 / (week.max() + 1)), 2000)
    weights = drawn[:, week]  # (draws, O, H)
    each = np.einsum("dok,okq->dq", weights, hits.mean(axis=0)) / weights.sum(axis=(1, 2))[:, None]
    low, high = np.quantile(each, (0.025, 0.975), axis=0)
    return list(zip(made.levels, low, high, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="mq-cnn")
    parser.add_argument("settings", nargs="*", default=[], help="as steps=4500; the defaults otherwise")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--combine", type=int, default=1, help="origins a week apart that are averaged")
    parser.add_argument("--asked", type=float, nargs="*", default=[], help="levels that were not trained")
    parser.add_argument("--repair", type=int, default=0, help="weeks that a repair learns from")
    parser.add_argument("--products", action="store_true", help="leave levels 1 to 9 out")
    parser.add_argument("--from", dest="day", type=int, default=m5_data.ORIGIN_DAYS[0], help="day of the first origin")
    given = parser.parse_args()
    if given.repair and not given.asked:
        parser.error("--repair is shown for the levels of --asked: name some")
    if not m5_data.FOLDER.is_dir():
        print("skipped: the M5 sample is not there; it is expected in ../shared/data/m5 beside the project")
        return 0
    torch.set_num_threads(1)
    settings = {key: json.loads(value) for key, value in (text.split("=", 1) for text in given.settings)}
    print(f"{given.model} {settings}\n{'seed':>6}" + "".join(f"{name:>9}" for name in COLUMNS))
    rows: list[list[list[float]]] = []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        made = forecasts(given, settings, seed)
        rows.append([row(*part) for part in made])
        for figures in rows[-1]:
            print(f"{seed:6}" + "".join(f"{value:9.4f}" for value in figures), flush=True)
    for figures in np.mean(rows, axis=0):
        print(f"{'mean':>6}" + "".join(f"{value:9.4f}" for value in figures))
    products = m5_data.products()
    single = replace(made[0][0].take(slice(0, products.n_series)), series=products.series.select(products.keys))
    print(f"covers {coverage(single.rounded(), products)}")
    net_costs.training(given.model, learned(given), net_costs.machine_rate(), **settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
