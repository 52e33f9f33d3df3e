"""A peer of the networks: neuralforecast, fitted on the same quantile loss, beside ours. In an environment of its own:

    python -m venv peers && peers/bin/pip install --constraint constraints.txt torch==2.13.0
    peers/bin/pip install --editable '.[nets,bench]' && peers/bin/python benchmarks/net_peers.py [MODEL] [--steps N]

Protocol V9, level 12 alone (2,405 products): frozen at d_1857, nine origins, 28 days, nine levels; one thread, CPU
seconds. The peer is given its `standard` window scaler, 16 weeks of history, and what is known ahead in three columns:
the day's SNAP, whether there is an event, and the price over the product's mean; all else are its defaults. WSPL, the
same in whole units, WQL. `net_costs.py` takes the cost of its training steps from here.
"""

import argparse
import importlib.util
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch

from shelfcast.data.panel import Panel
from shelfcast.evaluation import evaluate
from shelfcast.forecast import Forecast
from shelfcast.horizons import per_period
from shelfcast.models.base import M5_LEVELS

HORIZONS, HISTORY = 28, 112
KNOWN = ["snap", "event", "price"]
ABSENT = "neuralforecast is not installed here; see benchmarks/net_peers.py"


def installed() -> bool:
    """Whether the peer is there."""
    return importlib.util.find_spec("neuralforecast") is not None


def peer(name: str, steps: int, known: Sequence[str] = (), seed: int = 1) -> Any:
    """A model of neuralforecast on the loss of nine quantiles, not fitted."""
    from neuralforecast import NeuralForecast, models
    from neuralforecast.losses.pytorch import MQLoss

    for label in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(label).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    model = getattr(models, name)(
        h=HORIZONS, input_size=HISTORY, loss=MQLoss(quantiles=list(M5_LEVELS)), max_steps=steps, random_seed=seed,
        futr_exog_list=list(known) or None, scaler_type="standard", start_padding_enabled=True,
        enable_model_summary=False, **quiet,
    )  # fmt: skip
    return NeuralForecast(models=[model], freq="1d")


def table(panel: Panel, first: int, last: int) -> pl.DataFrame:
    """Demand in neuralforecast's long form over the periods `first` to `last`, and the known columns there are."""
    series, periods = panel.row_series(), panel.row_periods()
    kept = (periods >= first) & (periods <= last)
    series, periods = series[kept], periods[kept]
    made = {"unique_id": series, "ds": panel.frequency.to_date(periods), "y": panel.demand[kept]}
    if panel.calendar.names:
        day = panel.calendar.at(panel.place[series], periods)
        snap = panel.calendar.names.index("snap")
        made |= {"snap": day[:, snap], "event": np.delete(day, snap, axis=1).max(axis=1)}
    if panel.names.price is not None:
        price = np.nan_to_num(panel.known[kept, panel.names.known.index(panel.names.price)])
        n = np.maximum(np.bincount(series, weights=price > 0, minlength=panel.n_series), 1)
        mean = np.maximum(np.bincount(series, weights=price, minlength=panel.n_series) / n, 1e-6)
        made["price"] = np.where(price > 0, price / mean[series], 1.0).astype(np.float32)
    return pl.DataFrame(made)


def step_cost(name: str, panel: Panel, steps: tuple[int, int] = (4, 24)) -> tuple[float, int]:
    """CPU seconds of a training step with default settings, and the windows it decodes: two runs' difference."""
    frame, spent = table(panel, panel.first, panel.last), []
    for n in steps:
        made = peer(name, n)
        begin = time.process_time()
        made.fit(frame)
        spent.append(time.process_time() - begin)
    return (spent[1] - spent[0]) / (steps[1] - steps[0]), made.models[0].windows_batch_size


def predicted(made: Any, panel: Panel, origins: Sequence[int]) -> Forecast:
    """Forecasts of the products from each origin, quantiles in order and at least zero."""
    values = np.zeros((panel.n_series, len(origins), HORIZONS, len(M5_LEVELS)), dtype=np.float32)
    for o, origin in enumerate(origins):
        past = table(panel, origin - 2 * HISTORY, origin)
        ahead = table(panel, origin + 1, origin + HORIZONS).drop("y")
        said = made.predict(df=past, futr_df=ahead).sort("unique_id", "ds").drop("unique_id", "ds").to_numpy()
        values[:, o] = np.sort(said.reshape(panel.n_series, HORIZONS, -1), axis=-1).clip(min=0)
    series = panel.series.select(panel.keys)
    return Forecast(series, tuple(origins), panel.frequency, per_period(HORIZONS), M5_LEVELS, values, None, "peer")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="NHITS")
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    import m5_data

    if not installed() or not m5_data.FOLDER.is_dir():
        print(f"skipped: {'the M5 sample is not there' if installed() else ABSENT}")
        return 0
    torch.set_num_threads(1)
    panel = m5_data.with_events(m5_data.products())
    origins = [m5_data.period(day) for day in m5_data.ORIGIN_DAYS]
    frame = table(panel, panel.first, origins[0])
    made = peer(given.model, given.steps, KNOWN, given.seed)
    begin = time.process_time()
    made.fit(frame)
    middle = time.process_time()
    said = predicted(made, panel, origins)
    end = time.process_time()
    scores = [evaluate(f, panel, metrics=["wspl"])["value"][0] for f in (said, said.rounded())]
    wql = evaluate(said, panel, metrics=["wql"])["value"][0]
    print(
        f"neuralforecast {given.model}, {given.steps:,} steps, {sum(p.numel() for p in made.models[0].parameters()):,} "
        f"parameters: L12 {scores[0]:.4f}, r {scores[1]:.4f}, WQL {wql:.4f}; fit {middle - begin:.0f} s, predict "
        f"{end - middle:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
