"""The quantile forest: against the quantile-forest package on the same rows, at two million rows, and predicting.

    python benchmarks/forest.py [--only peer large predict coverage] [--path FOLDER]

- peer: 50,000 training rows of the M5 sample (features of `sqrf`), 20 trees, half of the features, leaves of 40; other
  10,000 rows are forecast at nine levels. `--path` is where quantile-forest is installed (it is no dependency); it gets
  the same root-scaled target, all rows of a leaf, and absent values as -1000.
- large: drawn, 2 million rows x 100 sparse features in four product lines, 50 trees; each runs in a process of its own.
- predict: `sqrf` with its default settings on the M5 sample, features included, and its last step, the merge, alone.
- coverage: of `sqrf` frozen at d_1857 and rounded to whole units, nine origins: P(y < q) .. P(y <= q) by velocity, and
  how far the level lies outside.

CPU seconds of one thread, after the kernels were compiled once.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

import m5_data
from leaderboard import TWO_STAGE
from shelfcast.data.feature_rows import FeatureRows
from shelfcast.data.features import Features
from shelfcast.data.panel import Panel
from shelfcast.evaluation import calibration
from shelfcast.forecast import Forecast
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.binning import Bins, Table
from shelfcast.models.drawing import Rows, draw_rows
from shelfcast.models.leaves import Leaves
from shelfcast.models.table import forecaster
from shelfcast.models.trees import Growth, Trees, grow_trees

ORIGINS = tuple(m5_data.period(day) for day in m5_data.ORIGIN_DAYS)
PEER = Growth(n_trees=20, min_leaf=40, n_kept=24, item_share=0.8, feature_share=0.5)
TRAIN, TEST = 50_000, 10_000
COVERED = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
N_ROWS, N_FEATURES, N_LINES, N_COMMON = 2_000_000, 100, 4, 20
ABSENT = -1000.0

Floats = NDArray[np.float32]


def m5_rows(n: int) -> tuple[Floats, NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], Rows]:
    """Features (n, F), scaled targets, sizes, items and places of rows drawn as `sqrf` draws them."""
    panel = m5_data.with_events(m5_data.products()).as_of(ORIGINS[0])
    features = Features.learn(panel)
    rng = np.random.default_rng(0)
    rows = draw_rows(panel, np.arange(28), 1, n + n // 10, rng)
    table = FeatureRows(features, panel)
    target = table.targets(rows.series, rows.origin, rows.lead, rows.span)
    places = rng.permutation(np.flatnonzero(np.isfinite(target)))[:n]
    rows, target = rows.at(places), target[places]
    values, scale, weight = table.rows(rows.series, rows.origin, rows.lead, rows.span)
    size = scale * weight
    items = np.unique(panel.series["item"].to_numpy(), return_inverse=True)[1][rows.series]
    return values, target / size, size, items, rows


def pinball(said: NDArray[Any], scaled: NDArray[Any], size: NDArray[Any]) -> float:
    """Mean pinball loss in units over rows and levels."""
    error = (scaled[:, None] - said) * size[:, None]
    return float(np.maximum(np.array(M5_LEVELS) * error, (np.array(M5_LEVELS) - 1) * error).mean())


def asked(n_rows: int) -> NDArray[np.float32]:
    """(J, Q) the nine levels for every row."""
    return np.tile(np.asarray(M5_LEVELS, dtype=np.float32), (n_rows, 1))


def ours(
    values: Floats, scaled: Any, items: Any, rows: Rows, test: Floats
) -> tuple[NDArray[np.float32], float, float]:  # fmt: skip
    """Quantiles of test rows, and CPU seconds of training and prediction."""
    begin = time.process_time()
    bins = Bins.learn(values)
    trees = grow_trees(Table(bins, *bins.cells(values)), np.sqrt(scaled), items, PEER, 0)
    leaves = Leaves.of(trees, scaled, rows)
    trained = time.process_time()
    said = leaves.quantiles(trees.leaves(test), asked(len(test)), np.ones(len(test), dtype=np.float32))
    return said, trained - begin, time.process_time() - trained


def theirs(values: Floats, scaled: Any, test: Floats, most: int | None) -> tuple[NDArray[Any], float, float]:
    """The same of quantile-forest, which keeps at most `most` rows of a leaf."""
    from quantile_forest import RandomForestQuantileRegressor

    model = RandomForestQuantileRegressor(
        n_estimators=PEER.n_trees, min_samples_leaf=PEER.min_leaf, max_features=PEER.feature_share,
        max_samples_leaf=most, n_jobs=1, random_state=0,
    )  # fmt: skip
    begin = time.process_time()
    model.fit(np.nan_to_num(values, nan=ABSENT), np.sqrt(scaled))
    trained = time.process_time()
    said = model.predict(np.nan_to_num(test, nan=ABSENT), quantiles=list(M5_LEVELS)) ** 2
    return said, trained - begin, time.process_time() - trained


def peer() -> None:
    """Print pinball and CPU seconds of both."""
    if not m5_data.FOLDER.is_dir():
        print("peer: skipped; the M5 sample is expected in ../shared/data/m5 beside the project")
        return
    values, scaled, size, items, rows = m5_rows(TRAIN + TEST)
    train, test = slice(0, TRAIN), slice(TRAIN, TRAIN + TEST)
    given = values[train], scaled[train], items[train], rows.at(np.arange(TRAIN)), values[test]
    ours(*given)  # compiles
    said, fit, predict = ours(*given)
    loss = pinball(said, scaled[test], size[test])
    print(f"{'same rows and trees':34}{'pinball':>9}{'train s':>9}{'predict s':>10}{'train x':>9}{'predict x':>10}")
    print(f"{'ours, 24 rows of a leaf':34}{loss:9.4f}{fit:9.2f}{predict:10.3f}{1.0:9.1f}{1.0:10.1f}", flush=True)
    try:
        for label, most in (("quantile-forest, all of a leaf", None), ("quantile-forest, 1 of a leaf", 1)):
            said, their_fit, their_predict = theirs(values[train], scaled[train], values[test], most)
            loss = pinball(said, scaled[test], size[test])
            print(
                f"{label:34}{loss:9.4f}{their_fit:9.2f}{their_predict:10.3f}{their_fit / fit:9.1f}"
                f"{their_predict / predict:10.1f}", flush=True,
            )  # fmt: skip
    except ImportError:
        print("quantile-forest is not installed: no peer")


def drawn_table(rng: np.random.Generator, n: int) -> tuple[Table, NDArray[np.float64]]:
    """Rows of four product lines: 20 features of all lines, 20 of the row's own line, 60 absent."""
    own = (N_FEATURES - N_COMMON) // N_LINES
    bins, parts, targets = None, [], []
    for begin in range(0, n, 100_000):
        size = min(100_000, n - begin)
        values = np.full((size, N_FEATURES), np.nan, dtype=np.float32)
        values[:, :N_COMMON] = rng.standard_normal((size, N_COMMON))
        line = rng.integers(0, N_LINES, size)
        mine = rng.standard_normal((size, own)).astype(np.float32)
        np.put_along_axis(values, N_COMMON + own * line[:, None] + np.arange(own), mine, axis=1)
        mean = np.exp(0.3 * values[:, :8].sum(axis=1) + 0.3 * mine[:, :4].sum(axis=1))
        targets.append(np.sqrt(rng.poisson(mean).astype(np.float64)))
        bins = Bins.learn(values) if bins is None else bins
        parts.append(bins.cells(values))
    assert bins is not None
    return Table.joined(bins, parts), np.concatenate(targets)


def grown(table: Table, target: NDArray[np.float64], n_trees: int) -> Trees:
    """Trees with default sizes."""
    return grow_trees(table, target, np.arange(len(target)) // 20, Growth(n_trees=n_trees), 0)


def large() -> None:
    """Print CPU seconds and peak memory of a large forest."""
    rng = np.random.default_rng(0)
    grown(*drawn_table(rng, 5_000), 1)  # compiles
    table, target = drawn_table(rng, N_ROWS)
    before, begin = peak(), time.process_time()
    trees = grown(table, target, 50)
    print(
        f"{N_ROWS:,} rows x {N_FEATURES} features ({table.indptr[-1] / N_ROWS:.0f} present in a row), 50 trees, "
        f"{len(trees.left):,} nodes: {time.process_time() - begin:.0f} CPU s; table {table.nbytes / 1e6:.0f} MB, "
        f"peak of the process {peak():.2f} GB ({before:.2f} before training)",
        flush=True,
    )


def predict() -> None:
    """Print rows a CPU second of a whole prediction, and of the merge alone."""
    if not m5_data.FOLDER.is_dir():
        print("predict: skipped; the M5 sample is expected in ../shared/data/m5 beside the project")
        return
    panel = m5_data.with_events(m5_data.products())
    model: Any = forecaster("sqrf", horizons=28, levels=M5_LEVELS).fit(panel.as_of(ORIGINS[0]))
    model.predict(panel.take(slice(0, 5)), ORIGINS[:1])
    begin = time.process_time()
    model.predict(panel, ORIGINS)
    seconds, n = time.process_time() - begin, panel.n_series * len(ORIGINS) * 28
    print(f"prediction with features: {n:,} rows, {n / seconds:,.0f} a CPU second")
    forest = model.strata_[1].forests[0]
    rows = 50_000
    series, origin = np.arange(rows) % panel.n_series, np.full(rows, ORIGINS[3])
    values, scale, _ = FeatureRows(model.features_, panel).rows(
        series, origin, np.arange(rows) % 28, np.ones(rows, int)
    )
    begin = time.process_time()
    reached = forest.trees.leaves(values)
    walked = time.process_time()
    forest.leaves.quantiles(reached, asked(len(reached)), scale.astype(np.float32))
    merged = time.process_time()
    print(f"walk alone {rows / (walked - begin):,.0f}, merge alone {rows / (merged - walked):,.0f} rows a CPU second")


def coverage() -> None:
    """Print coverage of levels by velocity."""
    if not m5_data.FOLDER.is_dir():
        print("coverage: skipped; the M5 sample is expected in ../shared/data/m5 beside the project")
        return
    panel = m5_data.with_events(m5_data.products())
    for label, settings in (("sqrf", {}), ("sqrf, two stages", TWO_STAGE)):
        model: Any = forecaster("sqrf", horizons=28, levels=COVERED, **settings).fit(panel.as_of(ORIGINS[0]))
        made = model.predict(panel, ORIGINS).rounded()
        print(f"{label:18}" + "".join(f"{level:>14}" for level in COVERED))
        for name, table in (("all", calibration(made, panel)), *by_velocity(made, panel)):
            table = table.sort("level")
            cells = zip(table["below"], table["at_most"], strict=True)
            off = max(max(a - q, q - b, 0.0) for q, (a, b) in zip(COVERED, cells, strict=True))
            cells = zip(table["below"], table["at_most"], strict=True)
            shown = "".join(f"   {a:.3f}-{b:.3f}" for a, b in cells)
            print(f"{name:18}{shown}   outside by at most {off:.3f}", flush=True)


def by_velocity(made: Forecast, panel: Panel) -> list[tuple[str, pl.DataFrame]]:
    """Tables of coverage by name of the class."""
    table = calibration(made, panel, by=("velocity",)).with_columns(pl.col("velocity").cast(pl.String))
    return [(str(name), part) for (name,), part in table.partition_by("velocity", as_dict=True).items()]


def peak() -> float:
    """GB of this process at its peak."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


PARTS = {"peer": peer, "large": large, "predict": predict, "coverage": coverage}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--path", action="append", default=[], help="folder with quantile-forest, appended to sys.path")
    asked = parser.parse_args()
    sys.path.extend(asked.path)
    for name in asked.only:
        process = multiprocessing.get_context("fork").Process(target=PARTS[name])
        process.start()
        process.join()
        if process.exitcode:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
