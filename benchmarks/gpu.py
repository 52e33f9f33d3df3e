"""MQ-CNN for a short time on a GPU, where there is one, and on the CPU: origins a second, memory, and equal forecasts.

    pip install --editable '.[nets]' && python benchmarks/gpu.py

Demand is drawn: 2,000 products, three years of days. A network trained on the GPU is saved, read back on the CPU, and
must say the same within 0.1 % of a quantile plus 0.001 units. Exit code 1 where it does not. "Alone" is without threads
that make batches ahead.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from shelfcast.data.panel import Calendar, FeatureNames, Panel
from shelfcast.horizons import per_period
from shelfcast.models.mq import MQCNN
from shelfcast.networks import training
from shelfcast.networks.settings import Compute
from shelfcast.periods import Frequency

N_SERIES, N_DAYS, STEPS, SERIES, ORIGINS = 2_000, 1_096, 150, 256, 16
DAY = Frequency.parse("day")
FIRST = int(DAY.to_period("2021-01-01"))


def drawn() -> Panel:
    """Poisson demand with a weekly season."""
    rng = np.random.default_rng(0)
    season = 1 + 0.4 * np.sin(2 * np.pi * np.arange(N_DAYS) / 7)
    demand = rng.poisson(rng.uniform(1, 20, (N_SERIES, 1)) * season).astype(np.float32).ravel()
    none = np.zeros((len(demand), 0), dtype=np.float32)
    return Panel(
        calendar=Calendar(DAY),
        series=pl.DataFrame({"item": [f"item-{i}" for i in range(N_SERIES)]}),
        start=np.full(N_SERIES, FIRST, dtype=np.int32),
        indptr=np.arange(N_SERIES + 1, dtype=np.int64) * N_DAYS,
        demand=demand,
        observed=np.ones(len(demand), dtype=bool),
        past=none,
        known=none,
        names=FeatureNames(),
        place=np.zeros(N_SERIES, dtype=np.int32),
        last=FIRST + N_DAYS - 1,
    )


def trained(panel: Panel, device: str, precision: str, steps: int) -> MQCNN:
    """A network after some steps; prints its rate, the first step's set-up included."""
    model = MQCNN.of(
        per_period(28), steps=steps, series=SERIES, origins=ORIGINS, device=device, precision=precision
    )  # fmt: skip
    begin = time.perf_counter()
    model.fit(panel)
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - begin
    rate = steps * SERIES * ORIGINS / seconds
    memory = f", {torch.cuda.max_memory_allocated() / 1e9:.1f} GB of the GPU" if device == "cuda" else ""
    print(
        f"{device:5} {precision:9} {steps} steps in {seconds:6.1f} s: {rate:10,.0f} origins a second{memory}",
        flush=True,
    )
    return model


def main() -> int:
    """Print rates and the largest difference."""
    panel = drawn()
    model = trained(panel, "cpu", "float32", 8)
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name())
        trained(panel, "cuda", "float32", 8)
        readers, training.READERS = training.READERS, 0
        print("alone:")
        trained(panel, "cuda", "float32", STEPS)
        training.READERS = readers
        print(f"{readers} threads:")
        trained(panel, "cuda", "bfloat16", STEPS)
        model = trained(panel, "cuda", "float32", STEPS)
    else:
        print("no GPU: the comparison below is of the CPU with itself")
    some = panel.take(slice(0, 200))
    begin = time.perf_counter()
    model.predict(panel, [panel.last])
    print(f"forecasts of {panel.n_series / (time.perf_counter() - begin):,.0f} series a second")
    said = model.predict(some, [panel.last]).values
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        again = MQCNN.load(Path(folder))
    again.compute = Compute(device="cpu")
    other = again.predict(some, [panel.last]).values
    gap = np.abs(other - said)
    allowed = 1e-3 * np.abs(said) + 1e-3
    print(f"read back on the CPU: largest difference {gap.max():.2g} units, {(gap / allowed).max():.3f} of the allowed")
    return int((gap > allowed).any())


if __name__ == "__main__":
    sys.exit(main())
