"""What networks cost on one CPU thread: training steps, predictions, memory.

    pip install --editable '.[nets]' && python benchmarks/net_costs.py [MODEL ...]

Demand is drawn: years of days with a weekly season, 28 horizons, nine levels, default settings. A step's floating-point
operations are those of its matrix products and attention as torch counts them (an LSTM's are not among them); the
machine's rate is that of a product of 2,048 x 2,048 matrices. Times are CPU seconds. Memory is what the resident set
grows by beyond the panel, each case in a process of its own. `--stream N ...` forecasts a memory-mapped panel of N
series into a memory-mapped array instead and prints the most that the process held: pages of its own, which cannot be
given back, and pages of files, which the system takes back when it needs them. `--peers` times training steps of
neuralforecast's models beside ours on the same demand, where it is installed (`net_peers.py` says how).
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch
from torch.utils.flop_counter import FlopCounterMode

import net_peers
from shelfcast.data.panel import Calendar, FeatureNames, Panel
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.mq import NetworkForecaster
from shelfcast.models.table import forecaster
from shelfcast.networks import fitting
from shelfcast.networks.preflight import expected_bytes
from shelfcast.networks.training import Trainer
from shelfcast.periods import Frequency

DAY = Frequency.parse("day")
FIRST = int(DAY.to_period("2021-01-01"))
N_DAYS, HORIZONS, COMPETITION = 730, 28, 30_490


def drawn(n_series: int) -> Panel:
    """Poisson demand of two years with a weekly season."""
    rng = np.random.default_rng(0)
    season = np.float32(1 + 0.4 * np.sin(2 * np.pi * np.arange(N_DAYS) / 7))
    demand = np.concatenate([rng.poisson(r * season).astype(np.float32) for r in rng.uniform(1, 20, n_series)])
    none = np.zeros((len(demand), 0), dtype=np.float32)
    return Panel(
        calendar=Calendar(DAY),
        series=pl.DataFrame({"item": [f"item-{i}" for i in range(n_series)]}),
        start=np.full(n_series, FIRST, dtype=np.int32),
        indptr=np.arange(n_series + 1, dtype=np.int64) * N_DAYS,
        demand=demand,
        observed=np.ones(len(demand), dtype=bool),
        past=none,
        known=none,
        names=FeatureNames(),
        place=np.zeros(n_series, dtype=np.int32),
        last=FIRST + N_DAYS - 1,
    )


def seconds(work: Callable[[], object], times: int) -> float:
    """CPU seconds of one call, the first not counted."""
    work()
    begin = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begin) / times


def machine_rate() -> float:
    """Operations a CPU second of a large matrix product."""
    a = torch.randn(2048, 2048)
    return 2 * 2048**3 / seconds(lambda: a @ a, 8)


def made(name: str, panel: Panel, **settings: Any) -> tuple[NetworkForecaster, Trainer]:
    """A model and its trainer at the first step."""
    model = forecaster(name, horizons=HORIZONS, levels=M5_LEVELS, **settings)
    assert isinstance(model, NetworkForecaster)
    parts = (model.network, model.training, model.compute)
    return model, fitting.prepare(panel, model.horizons, model.levels, *parts, 0)


def training(name: str, panel: Panel, rate: float, **settings: Any) -> None:
    """Print what a step costs."""
    _, trainer = made(name, panel, **settings)
    config = trainer.config
    cost = seconds(trainer.advance, 60)
    batch = seconds(lambda: trainer.batch(trainer.step), 60)
    with FlopCounterMode(display=False) as counter:
        trainer.advance()
    done, origins = counter.get_total_flops(), config.series * config.origins
    print(
        f"{name:14} {1e3 * cost:6.1f} ms a step, {1e3 * batch:.1f} of it the batch; {1e6 * cost / origins:6.1f} us an "
        f"origin; {1e6 * cost / (origins * HORIZONS):6.2f} s per million origin-horizon pairs; {done / 1e9:.2f} GFLOP, "
        f"{done / cost / rate:.2f} of the machine's rate ({done / (cost - batch) / rate:.2f} without the batch)",
        flush=True,
    )


def prediction(name: str, panel: Panel) -> None:
    """Print the rate of forecasts from one origin, and what those of the competition's series would take."""
    model = forecaster(name, horizons=HORIZONS, levels=M5_LEVELS, steps=2).fit(panel)
    cost = seconds(lambda: model.predict(panel, [panel.last]), 2) / panel.n_series
    print(
        f"{name:14} {1 / cost:6,.0f} series a CPU second; {COMPETITION:,} series x {HORIZONS} days, extrapolated: "
        f"{cost * COMPETITION:.0f} s; 1,000,000: {1e6 * cost / 60:.0f} min",
        flush=True,
    )


def memory(name: str, n_series: int, what: str) -> None:
    """Print what training or streamed prediction adds to the memory of the process with the panel."""
    torch.set_num_threads(1)
    few, panel = drawn(100), drawn(n_series)
    model = forecaster(name, horizons=HORIZONS, levels=M5_LEVELS, steps=2).fit(few)
    before, expected = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, ""
    if what == "training":
        _, trainer = made(name, panel)
        for _ in range(20):
            trainer.advance()
        whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        expected = f"; {whole:.0f} MB in all, {expected_bytes(trainer) / 1e6:.0f} MB said before"
    else:
        for _ in model.stream(panel, [panel.last]):
            pass
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    rows = f"{n_series:8,} series ({len(panel.demand):,} rows)"
    print(f"{name:14} {what:10} {rows}: {grown:6.0f} MB more{expected}", flush=True)


def mapped(n_series: int, folder: Path, size: int = 10_000) -> Panel:
    """The drawn panel of 10,000 series over and over, its rows in files, memory-mapped."""
    few = drawn(min(n_series, size))
    rows = {}
    for name in ("demand", "observed"):
        part = getattr(few, name)
        whole = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", part.dtype, (n_series * N_DAYS,))
        for begin in range(0, len(whole), len(part)):
            whole[begin : begin + len(part)] = part[: len(whole) - begin]
        whole.flush()
        del whole
        rows[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    return replace(
        few,
        series=pl.DataFrame({"item": pl.int_range(n_series, eager=True).cast(pl.String)}),
        start=np.full(n_series, FIRST, dtype=np.int32),
        indptr=np.arange(n_series + 1, dtype=np.int64) * N_DAYS,
        past=np.zeros((n_series * N_DAYS, 0), dtype=np.float32),
        known=np.zeros((n_series * N_DAYS, 0), dtype=np.float32),
        place=np.zeros(n_series, dtype=np.int32),
        **rows,
    )


def held() -> tuple[float, float]:
    """Megabytes of the process: its own pages, and pages of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, files = (float(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, files


def streaming(name: str, n_series: int) -> None:
    """Print what forecasts of a memory-mapped panel, written as they come, take."""
    torch.set_num_threads(1)
    model = forecaster(name, horizons=HORIZONS, levels=M5_LEVELS, steps=2).fit(drawn(100))
    most, done = [held()], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            most.append(held())

    with tempfile.TemporaryDirectory() as where:
        panel = mapped(n_series, Path(where))
        shape = (n_series, HORIZONS, len(M5_LEVELS))
        made = np.lib.format.open_memmap(Path(where) / "made.npy", "w+", np.float32, shape)
        watcher = threading.Thread(target=watch)
        watcher.start()
        begin, place = time.process_time(), 0
        for piece in model.stream(panel, [panel.last]):
            made[place : place + len(piece.values)] = piece.values[:, 0]
            place += len(piece.values)
        made.flush()
        cost = time.process_time() - begin
        done.set()
        watcher.join()
    own, files = np.max(most, axis=0)
    print(
        f"{name:14} streamed {n_series:9,} series: {n_series / cost:6,.0f} a CPU second, {cost:.0f} s; at most "
        f"{own:,.0f} MB of its own, {files:,.0f} MB of files",
        flush=True,
    )


def beside(names: list[str], panel: Panel) -> None:
    """Print what training steps of neuralforecast's models cost on the same demand."""
    if not net_peers.installed():
        print(f"peers skipped: {net_peers.ABSENT}")
        return
    for name in names:
        cost, windows = net_peers.step_cost(name, panel)
        print(
            f"neuralforecast {name}: {1e3 * cost:.0f} ms a step of {windows:,} windows; {1e6 * cost / windows:.0f} us "
            f"an origin; {1e6 * cost / (windows * HORIZONS):.2f} s per million origin-horizon pairs",
            flush=True,
        )


def apart(work: Callable[..., None], *given: Any) -> None:
    """Run in a process of its own."""
    worker = multiprocessing.get_context("spawn").Process(target=work, args=given)
    worker.start()
    worker.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["mq-cnn", "mqtransformer"])
    parser.add_argument("--stream", type=int, nargs="*", default=[], help="numbers of series to stream instead")
    parser.add_argument("--peers", nargs="*", default=["NHITS", "TCN"], help="models of neuralforecast to time beside")
    given = parser.parse_args()
    models = given.models
    if given.stream:
        for size in given.stream:
            apart(streaming, models[0], size)
        return 0
    torch.set_num_threads(1)
    rate, panel = machine_rate(), drawn(2_000)
    print(f"a product of large matrices: {rate / 1e9:.1f} GFLOP a CPU second")
    for name in models:
        training(name, panel, rate)
    beside(given.peers, panel)
    for name in models:
        prediction(name, panel)
    for name in models[1:]:
        apart(memory, name, 1_000, "training")
    for what, sizes in (("training", (1_000, 10_000, 100_000)), ("prediction", (1_000, 10_000))):
        for size in sizes:
            apart(memory, models[0], size, what)
    return 0


if __name__ == "__main__":
    sys.exit(main())
