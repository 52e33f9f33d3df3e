"""Writers that are killed, and writers at the same time: what a reader may never see.

Run as a script, this file is the nursery: it imports everything once and then forks a writer for each line that it
reads, since a fresh interpreter for each kill would take a second. It uses no polars itself, so forking is safe.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from shelfcast.catalogue import Catalogue
from shelfcast.store import ForecastStore, RunInfo, RunKind

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its writers")

NOW = datetime(2026, 11, 23, 6, 0)
ORIGINS = [date(2024, 1, day) for day in (1, 2)]
ROWS = 500


def publish(folder: str, number: int, name: str) -> None:
    """A run in which every row of every file says `number`: a mix of two runs cannot hide."""
    frame = pl.DataFrame({"item": [f"item {row}" for row in range(ROWS)], "number": [number] * ROWS})
    with ForecastStore(folder).begin(RunKind.FORECAST, config="", fingerprint=name, now=NOW) as run:
        for origin in ORIGINS:
            run.write("forecasts", frame, origin=origin)
        run.write("scores", frame)
        run.text("report.html", str(number))


def publish_for_ever(folder: str, number: int, told: str) -> None:
    """Every third run has the same id, so both a new run and a run made again are interrupted."""
    while True:
        publish(folder, number, f"input {number % 3}")
        Path(told, str(number)).touch()
        number += 1


def publish_until(folder: str, number: int, step: int) -> None:
    """Die at the `step`-th time that a file below the folder is opened, moved, made or removed."""
    left = step

    def count(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        is_file = name in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "sqlite3.connect")
        if is_file and str(arguments[0]).startswith(folder):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    publish(folder, number, f"input {number % 2}")


def publish_many(folder: str, writer: int, count: int) -> None:
    for number in range(count):
        publish(folder, 100 * writer + number, f"writer {writer}, input {number}")
        publish(folder, 0, "the same input")


ACTIONS: dict[str, Callable[..., None]] = {
    "for ever": publish_for_ever,
    "until": publish_until,
    "many": publish_many,
}


def nursery() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
            continue
        child = os.fork()
        if child:
            print(child, flush=True)
            continue
        code = 1
        try:
            ACTIONS[request["action"]](*request["arguments"])
            code = 0
        finally:
            os._exit(code)


class Nursery:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def start(self, action: str, *arguments: object) -> int:
        return self._ask({"action": action, "arguments": arguments})

    def wait(self, child: int) -> int:
        """The exit code of a writer; minus the signal that killed it."""
        return self._ask({"wait": child})

    def _ask(self, request: dict[str, object]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def writers() -> Iterator[Nursery]:
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Nursery(process)


def number_of(store: ForecastStore, run: str) -> int:
    """The number that the whole of `run` agrees on, after comparing every file with its checksum."""
    store.verify(run)
    forecasts, scores = store.scan(run, "forecasts").collect(), store.scan(run, "scores").collect()
    assert (forecasts.height, scores.height) == (len(ORIGINS) * ROWS, ROWS)
    assert forecasts["origin"].unique().sort().to_list() == ORIGINS
    numbers = {*forecasts["number"].unique(), *scores["number"].unique(), int(store.text(run, "report.html"))}
    assert len(numbers) == 1
    return int(numbers.pop())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the writer did not start"
        time.sleep(0.002)


def test_kill_at_random_moments(writers: Nursery, tmp_path: Path) -> None:
    store, told = ForecastStore(tmp_path / "results"), tmp_path / "told"
    told.mkdir()
    moments = random.Random(20261123)
    number = 0
    for _ in range(16):
        first = told / str(number)
        child = writers.start("for ever", str(store.folder), number, str(told))
        wait_for(first.exists)
        time.sleep(moments.uniform(0, 0.04))
        os.kill(child, signal.SIGKILL)
        assert writers.wait(child) == -signal.SIGKILL
        last_told = max(int(path.name) for path in told.iterdir())
        number = number_of(store, "forecast")
        assert number in (last_told, last_told + 1)  # killed after the commit, before it could tell
        assert all(number_of(store, run) <= number for run in store.runs()["id"])
        number += 1
    store.sweep()
    assert list((store.folder / "staging").iterdir()) == []
    assert len(list((store.folder / "runs").glob("*/*"))) == store.runs().height == 3


def test_kill_at_every_step(writers: Nursery, tmp_path: Path) -> None:
    store, step, seen = ForecastStore(tmp_path), 0, set()
    publish(str(tmp_path), 0, "input 0")
    publish(str(tmp_path), 1, "input 1")
    before, code = 1, -signal.SIGKILL
    while code == -signal.SIGKILL:
        step += 1
        code = writers.wait(writers.start("until", str(tmp_path), before + 1, step))
        after = number_of(store, "forecast")
        assert after in (before, before + 1)
        assert {number_of(store, run) for run in store.runs()["id"]} <= {after, after - 1}
        seen.add((code, after - before))
        before = after
        store.sweep()
        assert list((tmp_path / "staging").iterdir()) == []
        assert len(list((tmp_path / "runs").glob("*/*"))) == store.runs().height
    assert code == 0
    assert step > 20
    assert seen >= {(-signal.SIGKILL, 0), (-signal.SIGKILL, 1), (0, 1)}


def test_two_writers(writers: Nursery, tmp_path: Path) -> None:
    store, count = ForecastStore(tmp_path / "made by both"), 6
    children = [writers.start("many", str(store.folder), writer, count) for writer in (1, 2)]
    while not store.runs().height:
        time.sleep(0.001)
    for _ in range(5):
        number_of(store, store.current("forecast").id)  # a reader meanwhile
    assert [writers.wait(child) for child in children] == [0, 0]
    runs = store.runs()
    names = {f"writer {writer}, input {number}" for writer in (1, 2) for number in range(count)}
    assert set(runs["data_fingerprint"]) == names | {"the same input"}
    assert runs.height == 2 * count + 1
    assert runs["current"].sum() == 1
    for run, name in zip(runs["id"], runs["data_fingerprint"], strict=True):
        number = number_of(store, run)
        assert name == (f"writer {number // 100}, input {number % 100}" if number else "the same input")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as warm_up:  # compiles the SQL once instead of in each writer
        book = Catalogue(Path(warm_up) / "catalogue.sqlite")
        with book.transaction() as begun:
            nobody = RunInfo.of(RunKind.FORECAST, config="", fingerprint="", code_version="", now=NOW)
            book.publish(begun, nobody, "", "")
            book.read(begun)
    nursery()
