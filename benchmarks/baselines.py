"""Forecasting 30,490 series x 28 days x 9 levels with each window forecaster, against the floor of reading the panel.

    python benchmarks/baselines.py [--series 30490]

Demand is negative binomial, 1,941 days a series. CPU seconds are of one forecast of all series from
one origin, after `fit`; the floor copies the panel's demand once.
"""

import argparse
import resource
import time

import numpy as np
import polars as pl

from shelfcast.data.panel import Calendar, FeatureNames, Panel
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.baselines import MODELS
from shelfcast.models.table import forecaster
from shelfcast.periods import Frequency

N_DAYS = 1941


def panel(n_series: int) -> Panel:
    """Complete daily series."""
    rng = np.random.default_rng(0)
    rows = n_series * N_DAYS
    demand = np.empty(rows, dtype=np.float32)
    for begin in range(0, rows, 10_000_000):
        size = min(10_000_000, rows - begin)
        demand[begin : begin + size] = rng.poisson(rng.gamma(0.8, 1.6, size))
    return Panel(
        calendar=Calendar(Frequency.parse("day")),
        series=pl.DataFrame({"item": pl.Series(range(n_series)).cast(pl.String)}),
        start=np.full(n_series, 15_000, dtype=np.int32),
        indptr=np.arange(n_series + 1, dtype=np.int64) * N_DAYS,
        demand=demand,
        observed=np.ones(rows, dtype=bool),
        past=np.zeros((rows, 0), dtype=np.float32),
        known=np.zeros((rows, 0), dtype=np.float32),
        names=FeatureNames(),
        place=np.zeros(n_series, dtype=np.int32),
        last=15_000 + N_DAYS - 1,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=30_490)
    n_series = parser.parse_args().series
    made = panel(n_series)
    begin = time.process_time()
    np.array(made.demand)
    floor = time.process_time() - begin
    print(f"{n_series:,} series x 28 days x {len(M5_LEVELS)} levels; floor (one copy of demand) {floor:.2f} CPU s")
    print(f"{'model':20}{'CPU s':>8}{'series/CPU s':>14}")
    for name in MODELS:
        model = forecaster(name, horizons=28, levels=M5_LEVELS).fit(made)
        begin = time.process_time()
        model.predict(made, [made.last])
        cpu = time.process_time() - begin
        print(f"{name:20}{cpu:8.1f}{n_series / cpu:14,.0f}", flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20):.1f} GB, the panel included")


if __name__ == "__main__":
    main()
