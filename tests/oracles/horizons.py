"""Span sums the slow way: a loop, and a window function of DuckDB."""

import duckdb
import numpy as np
import pyarrow as pa


def loop_sums(demand, observed, horizons):
    """Sums (T, K) and completeness of one series, period by period."""
    n = len(demand)
    sums, complete = np.zeros((n, len(horizons))), np.zeros((n, len(horizons)), dtype=bool)
    for t in range(n):
        for k, horizon in enumerate(horizons):
            targets = range(t + horizon.lead + 1, t + horizon.lead + horizon.span + 1)
            if all(p < n and observed[p] for p in targets):
                complete[t, k] = True
                sums[t, k] = sum(demand[p] for p in targets)
    return sums, complete


def duckdb_sums(demand, observed, horizons):
    """The same by `sum(..) over (rows between .. following and .. following)`; demand (N, T)."""
    n, t = demand.shape
    keys, periods = np.repeat(np.arange(n), t), np.tile(np.arange(t), n)
    columns = {"k": keys, "t": periods, "y": demand.ravel(), "seen": observed.ravel().astype(np.int64)}
    rows = pa.table(columns)
    frames = [
        f"(partition by k order by t rows between {h.lead + 1} following and {h.end} following)" for h in horizons
    ]
    picked = ", ".join(
        f"sum(y * seen) over {frame} as s{i}, sum(seen) over {frame} as n{i}" for i, frame in enumerate(frames)
    )
    with duckdb.connect() as connection:
        connection.register("series", rows)
        found = connection.sql(f"select {picked} from series order by k, t").fetchnumpy()
    spans = np.array([h.span for h in horizons])
    counts = np.stack([np.ma.filled(found[f"n{i}"], 0) for i in range(len(horizons))], axis=-1).reshape(n, t, -1)
    sums = np.stack([np.ma.filled(found[f"s{i}"], 0.0) for i in range(len(horizons))], axis=-1).reshape(n, t, -1)
    complete = counts == spans
    return np.where(complete, sums, 0.0), complete
