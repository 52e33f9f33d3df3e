"""Packing 60 million rows in random order into a panel, against sorting them, in one run.

    python benchmarks/pack.py [--rows 60002320]

Each contender runs in a process of its own on the same Parquet file (item, store, date, units; every series complete,
row order random); CPU seconds and peak memory are of that process, start-up included. The floor is reading the four
columns.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

N_STORES, N_DAYS = 10, 1968
FIRST = np.datetime64("2011-01-29")


def generate(path: Path, n_rows: int) -> None:
    """Write the table: items x 10 stores x 1,968 days in random order, row groups of a million."""
    import pyarrow.parquet as pq

    n_items = -(-n_rows // (N_STORES * N_DAYS))
    rng = np.random.default_rng(0)
    order = rng.permutation(n_items * N_STORES * N_DAYS)[:n_rows]
    items = pl.Series([f"FOODS_{i % 3}_{i:05d}" for i in range(n_items)])
    stores = pl.Series([f"CA_{i}" for i in range(N_STORES)])
    writer = None
    for begin in range(0, n_rows, 1_000_000):
        cell = order[begin : begin + 1_000_000]
        series, day = np.divmod(cell, N_DAYS)
        table = pl.DataFrame(
            {
                "item": items[pl.Series(series // N_STORES)],
                "store": stores[pl.Series(series % N_STORES)],
                "date": pl.Series((FIRST + day).astype("datetime64[D]")),
                "units": rng.poisson(1.3, len(cell)).astype(np.float32),
            }
        ).to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def run_pack(path: Path) -> str:
    """Ours: two passes and a scatter."""
    from shelfcast.data.packing import pack
    from shelfcast.data.schema import Schema
    from shelfcast.data.tables import demand_table

    schema = Schema(item="item", location="store", date="date", demand="units")
    panel = pack(demand_table(str(path), schema, today=date(2030, 1, 1)))
    return f"{panel.n_series:,} series, {len(panel.demand):,} rows, {panel.demand.sum(dtype=np.float64):,.0f} units"


def run_polars(path: Path) -> str:
    """Peer: one polars sort of the keys and the date."""
    return f"{pl.read_parquet(path).sort('item', 'store', 'date')['units'].sum():,.0f} units"


def run_duckdb(path: Path) -> str:
    """Peer: one DuckDB sort, result as Arrow."""
    import duckdb

    duckdb.sql("SET enable_progress_bar = false")
    query = f"SELECT item, store, date, units FROM read_parquet('{path}') ORDER BY item, store, date"
    return f"{duckdb.sql(query).to_arrow_table().num_rows:,} rows"


def run_floor(path: Path) -> str:
    """Floor: read the four columns once, batch by batch, strings as dictionary codes."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, read_dictionary=["item", "store"])
    return f"{sum(batch.num_rows for batch in file.iter_batches(1_000_000)):,} rows"


CONTENDERS = {"pack": run_pack, "floor": run_floor, "polars": run_polars, "duckdb": run_duckdb}


def measure(name: str, path: Path) -> tuple[float, float, float, str]:
    """CPU seconds, wall seconds, peak GB and what came out, of one contender in its own process."""
    begin = time.perf_counter()
    code = (
        "import sys, resource; sys.path.insert(0, sys.argv[3]); import pack; from pathlib import Path;"
        "print(pack.CONTENDERS[sys.argv[1]](Path(sys.argv[2]))); u = resource.getrusage(resource.RUSAGE_SELF);"
        "print(u.ru_utime + u.ru_stime, u.ru_maxrss)"
    )
    command = [sys.executable, "-c", code, name, str(path), str(Path(__file__).parent)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    cpu, peak = (float(x) for x in out[-1].split())
    return cpu, time.perf_counter() - begin, peak / (1 << 20), out[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=30_490 * N_DAYS)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.parquet"
        generate(path, rows)
        print(f"{rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB of Parquet, random order")
        print(f"{'':8}{'CPU s':>8}{'wall s':>8}{'peak GB':>9}{'ratio':>7}  result")
        base = None
        for name in CONTENDERS:
            cpu, wall, peak, result = measure(name, path)
            base = base or cpu
            print(f"{name:8}{cpu:8.1f}{wall:8.1f}{peak:9.2f}{cpu / base:7.2f}  {result}", flush=True)


if __name__ == "__main__":
    main()
