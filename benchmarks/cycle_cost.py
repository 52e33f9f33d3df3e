"""What one new day costs: the panel brought up to date, and all of it forecast by a trained network.

    python benchmarks/cycle_cost.py [--series 30490] [--days 400]

Made-up sales (Poisson, many zeros) in one Parquet file of one row a series and day; CPU seconds of one thread where
OMP_NUM_THREADS=1. The network is trained for a few steps only: what its weights are does not change its cost.
"""

import argparse
import json
import tempfile
import time
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from shelfcast.config import check_config
from shelfcast.loading import Run, completed, read_products
from shelfcast.models.table import forecaster

BEGIN = date(2024, 1, 1)


def write(path: Path, n_series: int, n_days: int) -> None:
    """A table of all series and days."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(0.5, 2.0, n_series)
    days = pl.date_range(BEGIN, BEGIN + timedelta(n_days - 1), eager=True)
    items = pl.Series([f"item-{i:05d}" for i in range(n_series)])
    pl.DataFrame(
        {
            "item": items[pl.Series(np.repeat(np.arange(n_series), n_days))],
            "date": days[pl.Series(np.tile(np.arange(n_days), n_series))],
            "demand": rng.poisson(np.repeat(rates, n_days)).astype(np.int32),
        }
    ).write_parquet(path)


def main() -> None:
    """Print CPU seconds of every part as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=30_490)
    parser.add_argument("--days", type=int, default=400)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sales.parquet"
        config = {"folder": "out", "sales": {"path": str(path), "frequency": "day"}, "forecast": {"model": "mq-cnn"}}
        run = Run(check_config(config), Path(folder), datetime(2026, 1, 1))
        write(path, asked.series, asked.days)
        seconds, clock = {}, time.process_time()

        def lap(name: str) -> None:
            nonlocal clock
            seconds[name] = round(time.process_time() - clock, 1)
            clock = time.process_time()

        whole = read_products(run)
        last = pl.scan_parquet(path).filter(pl.col("date") < BEGIN + timedelta(asked.days - 1)).collect()
        last.write_parquet(Path(folder) / "before.parquet")
        clock = time.process_time()
        before = read_products(
            Run(check_config(config | {"sales": {"path": str(Path(folder) / "before.parquet"), "frequency": "day"}}),
                Path(folder), run.now)
        )  # fmt: skip
        lap("reading everything")
        new = read_products(run, before, revised=7)
        panel = completed(run, new)
        lap("updating with one day")
        assert new.fingerprint() == whole.fingerprint()
        model = forecaster("mq-cnn", horizons=28, steps=5).fit(panel)
        clock = time.process_time()
        made = model.predict(panel, [panel.last])
        lap("forecasting")
        assert made.values.shape[0] == asked.series
    print(json.dumps({"series": asked.series, "days": asked.days, "cpu_seconds": seconds}, indent=1))


if __name__ == "__main__":
    main()
