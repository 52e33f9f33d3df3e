"""The store of results: what is written is read back, the same run is the same bytes, and every refusal is clear."""

import contextlib
import errno
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy.exc import OperationalError

import shelfcast.catalogue as catalogue
from shelfcast.errors import StoreError
from shelfcast.runs import stamp, writing
from shelfcast.store import ForecastStore, RunKind, RunState

NOW = datetime(2026, 11, 23, 6, 0)
ORIGINS = [date(2024, 1, 1), date(2024, 1, 8)]
CONFIG = '[model]\nname = "seasonal-naive"  # bâlé\r\n'


def forecasts(origin: date, n_items: int = 4) -> pl.DataFrame:
    items = [f"item {number}" for number in range(n_items)]
    return pl.DataFrame({"origin": [origin] * n_items, "item": items, "lead": range(n_items), "value": 1.5})


def publish(
    store: ForecastStore, kind: RunKind = RunKind.FORECAST, fingerprint: str = "a1", now: datetime = NOW
) -> str:
    with store.begin(kind, config=CONFIG, fingerprint=fingerprint, now=now) as run:
        for origin in ORIGINS:
            run.write("forecasts", forecasts(origin), origin=origin)
        run.write("scores", pl.DataFrame({"item": ["item 1"], "metric": ["wql"], "value": [0.25]}))
        run.text("report.html", "<p>\r\n")
    return run.info.id


def tree(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def store(tmp_path: Path) -> ForecastStore:
    return ForecastStore(tmp_path / "results")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_half(self: pl.DataFrame, path: Path, **_: object) -> None:
        path.write_bytes(b"PAR1 half of a file")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pl.DataFrame, "write_parquet", write_half)


# -- written is read --------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(store: ForecastStore) -> None:
    run = publish(store)
    expected = pl.concat([forecasts(origin) for origin in ORIGINS])
    for name in (run, "forecast", RunKind.FORECAST, store.current("forecast")):
        assert_frame_equal(store.scan(name, "forecasts").collect(), expected)
    assert store.text(run, "report.html") == "<p>\r\n"
    assert store.text(run, "config.toml") == CONFIG
    store.verify(run)
    parts = [("forecasts", "2024-01-01", 4), ("forecasts", "2024-01-08", 4), ("scores", None, 1)]
    assert store.tables(run).drop("size").rows() == parts


def test_items_and_origin(store: ForecastStore) -> None:
    publish(store)
    found = store.scan("forecast", "forecasts", items=["item 3", "none"], origin=ORIGINS[1])
    assert found.collect().rows() == [(ORIGINS[1], "item 3", 3, 1.5)]
    assert "2024-01-01" not in found.explain()
    assert "SELECTION" in found.explain()  # the filter reaches the Parquet reader
    assert store.scan("forecast", "forecasts", items=[]).collect().height == 0


def test_items_that_are_numbers_and_origin_inside_one_file(store: ForecastStore) -> None:
    frame = pl.DataFrame({"origin": ORIGINS, "item": [7, 8]})
    with store.begin(RunKind.ORDERS, config="", fingerprint="", now=NOW) as run:
        run.write("orders", frame)
    assert store.scan(run.info, "orders", items=["8"]).collect().rows() == [(ORIGINS[1], 8)]
    assert store.scan(run.info, "orders", origin=ORIGINS[0]).collect().rows() == [(ORIGINS[0], 7)]
    assert store.scan(run.info, "orders", origin=date(2020, 1, 1)).collect().is_empty()


def test_origin_is_added_where_there_is_none(store: ForecastStore) -> None:
    hour = datetime(2024, 1, 1, 6)
    with store.begin(RunKind.ORDERS, config="", fingerprint="", now=NOW) as run:
        run.write("orders", pl.DataFrame({"item": ["a"]}), origin=ORIGINS[0])
        run.write("hourly", pl.DataFrame({"item": ["a"]}), origin=hour)
    assert store.scan("orders", "orders").collect().rows() == [(ORIGINS[0], "a")]
    assert store.scan("orders", "hourly", origin=hour).collect().rows() == [(hour, "a")]
    assert (stamp(hour), stamp(datetime(2024, 1, 1))) == ("2024-01-01T0600", "2024-01-01")


def test_any_tool_reads_the_files(tmp_path: Path) -> None:
    store = ForecastStore(tmp_path / "it's [a] year=2024 *")  # quotes, glob and hive signs in the path
    publish(store)
    expected = store.scan("forecast", "forecasts").collect()
    assert expected.columns == ["origin", "item", "lead", "value"]
    answer = store.sql(
        "select origin, sum(forecasts.value) as units from forecasts join scores using (item) group by origin"
    )
    assert sorted(answer.rows()) == [(ORIGINS[0], 1.5), (ORIGINS[1], 1.5)]
    plain = shutil.copytree(store.path("forecast", "forecasts"), tmp_path / "plain" / "forecasts")
    pattern = f"{plain}/**/*.parquet"
    assert_frame_equal(pl.read_parquet(pattern), expected)
    assert_frame_equal(duckdb.sql(f"from read_parquet('{pattern}') order by origin, item").pl(), expected)


def test_sql_takes_each_table_from_the_latest_current_run(store: ForecastStore) -> None:
    publish(store, RunKind.BACKTEST)
    with store.begin(RunKind.FORECAST, config="", fingerprint="", now=NOW) as run:
        run.write("forecasts", pl.DataFrame({"item": ["new"]}))
    assert store.sql("from forecasts").rows() == [("new",)]
    assert store.sql("select value from scores").item() == 0.25
    views = pl.DataFrame({"a": [1]})
    with pytest.raises(StoreError, match="views does not exist"):  # a Python variable is no table
        store.sql("from views")
    del views


def test_runs_and_current(store: ForecastStore) -> None:
    assert store.runs().is_empty()
    assert not store.folder.exists()  # looking makes nothing
    first = publish(store, fingerprint="monday")
    second = publish(store, fingerprint="tuesday", now=datetime(2026, 11, 24, 8, tzinfo=timezone(timedelta(hours=2))))
    other = publish(store, RunKind.BACKTEST)
    runs = store.runs()
    assert runs["id"].to_list() == [other, second, first]
    assert runs["current"].to_list() == [True, True, False]
    assert runs["created"].to_list() == [NOW, datetime(2026, 11, 24, 6), NOW]  # UTC
    assert runs["config_hash"].unique().to_list() == [hashlib.sha256(CONFIG.encode()).hexdigest()[:12]]
    assert store.current("forecast").id == second
    assert store.current("forecast").state is RunState.PUBLISHED
    publish(store, fingerprint="monday", now=NOW.replace(tzinfo=UTC))
    assert store.current("forecast").id == first  # made again: current again
    assert store.runs().height == 3


# -- the same run, the same bytes -------------------------------------------------------------------------------------


def test_same_run_same_bytes(tmp_path: Path) -> None:
    one, other = ForecastStore(tmp_path / "one"), ForecastStore(tmp_path / "other")
    runs = [publish(one), publish(other, now=NOW + timedelta(days=1))]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 12
    files = tree(one.folder / "runs")
    assert files == tree(other.folder / "runs")
    assert len(files) == 6
    publish(one)
    assert tree(one.folder / "runs") == files  # nothing moved
    assert publish(ForecastStore(tmp_path / "one", code_version="9"), fingerprint="a1") != runs[0]


def test_bytes_do_not_depend_on_the_history_of_the_frame(store: ForecastStore) -> None:
    plain = pl.DataFrame({"item": ["b", "a"] * 50, "value": range(100)})
    pl.Series(["z", "a"], dtype=pl.Categorical)  # takes the first codes
    pieces = pl.concat([plain[:33], plain[33:]], rechunk=False).with_columns(pl.col("value").set_sorted())
    with store.begin(RunKind.FORECAST, config="", fingerprint="", now=NOW) as run:
        run.write("plain", plain)
        run.write("pieces", pieces)
        run.write("categories", pieces.with_columns(pl.col("item").cast(pl.Categorical)))
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in store.path("forecast").rglob("*.parquet")}) == 1


def test_made_again_with_other_bytes_replaces_the_run(store: ForecastStore) -> None:
    def write(value: float) -> None:
        with store.begin(RunKind.FORECAST, config="", fingerprint="", now=NOW) as run:
            run.write("forecasts", pl.DataFrame({"value": [value]}))

    write(1.0)
    reader, first = store.scan("forecast", "forecasts"), store.path("forecast")
    write(2.0)
    assert reader.collect().item() == 1.0  # who began before can finish
    assert store.scan("forecast", "forecasts").collect().item() == 2.0
    write(3.0)
    assert not first.exists()
    assert store.runs().height == 1
    assert [path.name for path in store.sweep()] == ["2"]
    assert store.scan("forecast", "forecasts").collect().item() == 3.0


def test_made_again_mends_a_damaged_run(store: ForecastStore) -> None:
    publish(store)
    damaged = store.path("forecast", "scores") / "all.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match="another content"):
        store.verify("forecast")
    publish(store)
    store.verify("forecast")


# -- nothing half-written ---------------------------------------------------------------------------------------------


def interrupt(store: ForecastStore, interruption: type[BaseException]) -> None:
    with store.begin(RunKind.FORECAST, config="other", fingerprint="", now=NOW) as run:
        run.write("forecasts", forecasts(ORIGINS[0]))
        raise interruption


def test_failure_in_the_block_leaves_nothing(store: ForecastStore) -> None:
    run = publish(store)
    before = tree(store.folder / "runs")
    for interruption in (ValueError, KeyboardInterrupt):
        with pytest.raises(interruption):
            interrupt(store, interruption)
    assert tree(store.folder / "runs") == before
    assert list((store.folder / "staging").iterdir()) == []
    assert store.runs()["id"].to_list() == [run]


@pytest.mark.usefixtures("full_disk")
def test_full_disk(store: ForecastStore) -> None:
    frame = pl.DataFrame({"value": [0.0] * 250_000})
    message = r"up to 2\.0 MB of room .* a full disk \([\d,.]+ MB free\)"
    with (
        pytest.raises(StoreError, match=message),
        store.begin(RunKind.FORECAST, config="", fingerprint="", now=NOW) as run,
    ):
        run.write("forecasts", frame)
    assert store.runs().is_empty()
    assert list(store.folder.rglob("*.parquet")) == []


@pytest.mark.usefixtures("full_disk")
def test_swallowed_failure_is_not_published(store: ForecastStore) -> None:
    with (
        pytest.raises(StoreError, match="every write of the run to succeed"),
        store.begin(RunKind.FORECAST, config="", fingerprint="", now=NOW) as run,
        contextlib.suppress(StoreError),
    ):
        run.write("forecasts", pl.DataFrame({"value": [1.0]}))
    assert store.runs().is_empty()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_as_polars_reports_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="a full disk"), writing(tmp_path, needed=10):
        forecasts(ORIGINS[0]).write_parquet("/dev/full")


def test_full_disk_while_publishing(store: ForecastStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = publish(store)

    def refuse(*_: object) -> None:
        raise OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(catalogue.Catalogue, "publish", refuse)
    with pytest.raises(StoreError, match="a full disk"):
        publish(store, fingerprint="other")
    assert store.runs()["id"].to_list() == [run]
    assert len(list((store.folder / "runs").glob("*/*"))) == 1
    assert list((store.folder / "staging").iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"can be written at .*file; got Not a directory"):
        publish(ForecastStore(tmp_path / "file"))

    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match="got Permission denied"):
        publish(ForecastStore(tmp_path / "refused"))


def test_sweep_leaves_the_living_and_strangers_alone(store: ForecastStore) -> None:
    stranger = store.folder / "runs" / "tensorboard" / "1"
    assert store.sweep() == []
    publish(store)
    with store.begin(RunKind.FORECAST, config="", fingerprint="", now=NOW) as run:
        run.write("forecasts", forecasts(ORIGINS[0]))
        dead = store.folder / "staging" / ("0" * 32)
        orphan = store.folder / "runs" / ("0" * 12) / "1"
        for folder in (dead, orphan, stranger):
            folder.mkdir(parents=True)
        assert store.sweep() == [dead, orphan]
    assert store.scan(run.info, "forecasts").collect().height == 4
    assert store.runs().height == 2
    assert stranger.exists()


def test_two_stores_in_one_process_write_at_the_same_time(store: ForecastStore) -> None:
    other = ForecastStore(store.folder)
    with store.begin(RunKind.FORECAST, config="", fingerprint="1", now=NOW) as run:
        run.write("forecasts", forecasts(ORIGINS[0]))
        publish(other)
    assert store.current("forecast").id == run.info.id
    assert store.runs().height == 2


# -- refusals ---------------------------------------------------------------------------------------------------------

READS: dict[str, tuple[Callable[[ForecastStore], Any], str]] = {
    "kind without a run": (lambda store: store.current("orders"), r"got none\.\n.*run `shelfcast order` first"),
    "misspelt kind": (lambda store: store.scan("forecst", "forecasts"), r"got 'forecst'.\n.*did you mean 'forecast'"),
    "unknown id": (lambda store: store.verify("0123"), "got '0123'"),
    "unknown table": (lambda store: store.scan("forecast", "forecats"), "did you mean 'forecasts'"),
    "unknown text": (lambda store: store.text("forecast", "report"), "did you mean 'report.html'"),
    "no origin": (lambda store: store.scan("forecast", "forecasts", origin=NOW), "there are: 2024-01-01, 2024-01-08"),
    "no such column": (lambda store: store.scan("forecast", "scores", origin=NOW), "a column 'origin' in 'scores'"),
    "wrong SQL": (lambda store: store.sql("from orders"), "there are: forecasts, scores"),
}


@pytest.mark.parametrize("name", READS)
def test_reads_that_are_refused(store: ForecastStore, name: str) -> None:
    publish(store)
    read, message = READS[name]
    with pytest.raises(StoreError, match=message):
        read(store)


def test_unknown_id_names_the_nearest(store: ForecastStore) -> None:
    run = publish(store)
    with pytest.raises(StoreError, match=f"did you mean '{run}'"):
        store.path(run[:-1] + "x")


ONE = pl.DataFrame({"origin": ORIGINS[:1], "item": ["a"]})
WRITES: dict[str, tuple[str, pl.DataFrame, date | None, str]] = {
    "twice": ("orders", ONE, ORIGINS[0], "a second time"),
    "another origin": ("orders", ONE, ORIGINS[1], r"origin 2024-01-08 only; got 2024-01-01"),
    "another column": ("orders", ONE.with_columns(x=1), None, "got x: Int32"),
    "a column less": ("orders", ONE.drop("item"), None, "got columns origin"),
    "outside the folder": ("../orders", ONE, None, "a table name"),
    "long name": ("o" * 1_000_000, ONE, None, r"a table name .{20,200}\n"),
}


@pytest.mark.parametrize("name", WRITES)
def test_writes_that_are_refused(store: ForecastStore, name: str) -> None:
    table, frame, origin, message = WRITES[name]
    with store.begin(RunKind.ORDERS, config="", fingerprint="", now=NOW) as run:
        run.write("orders", ONE, origin=ORIGINS[0])
        with pytest.raises(StoreError, match=message):
            run.write(table, frame, origin=origin)


@pytest.mark.parametrize("name", ["run.json", "config.toml", "../x", "a/b", "", ".hidden"])
def test_text_names_that_are_refused(store: ForecastStore, name: str) -> None:
    with (
        store.begin(RunKind.ORDERS, config="", fingerprint="", now=NOW) as run,
        pytest.raises(StoreError, match="file name"),
    ):
        run.text(name, "")


def test_truncated_parquet(store: ForecastStore) -> None:
    publish(store)
    path = store.path("forecast", "forecasts") / "2024-01-08.parquet"
    size = path.stat().st_size
    os.truncate(path, 100)
    for read in (lambda: store.scan("forecast", "forecasts"), lambda: store.sql("from forecasts")):
        with pytest.raises(StoreError, match=rf"100 bytes instead of {size:,}: the file was cut") as caught:
            read()
        assert str(path) in str(caught.value)
        assert "To do: run the command" in str(caught.value)
    assert store.scan("forecast", "forecasts", origin=ORIGINS[0]).collect().height == 4  # the rest is well
    path.unlink()
    with pytest.raises(StoreError, match="No such file"):
        store.scan("forecast", "forecasts")


@pytest.mark.parametrize("content", ['{"parts": []}', None])
def test_changed_manifest(store: ForecastStore, content: str | None) -> None:
    publish(store)
    path = store.path("forecast") / "run.json"
    path.unlink()
    if content:
        path.write_text(content)
    with pytest.raises(StoreError, match=r"run\.json as it was published"):
        store.scan("forecast", "forecasts")


@pytest.mark.parametrize("content", [b"garbage" * 1000, None])
def test_damaged_catalogue(store: ForecastStore, content: bytes | None) -> None:
    publish(store)
    path = store.folder / "catalogue.sqlite"
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    for use in (store.runs, lambda: publish(store), store.sweep):
        with pytest.raises(StoreError, match=r"catalogue\.sqlite; got a damaged file \(.*\n.*move it away"):
            use()
    assert len(list((store.folder / "runs").glob("*/*"))) == 1  # and nothing was swept


def test_catalogue_of_a_later_version(store: ForecastStore) -> None:
    publish(store)
    with sqlite3.connect(store.folder / "catalogue.sqlite") as connection:
        connection.execute("update about set schema_version = 2")
    connection.close()
    for use in (store.runs, lambda: publish(store)):
        with pytest.raises(StoreError, match=r"version 1 or older .* got 2\.\n.*update shelfcast"):
            use()


def test_catalogue_that_is_busy(store: ForecastStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "BUSY_SECONDS", 0.05)
    run = publish(store)
    connection = sqlite3.connect(store.folder / "catalogue.sqlite", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    assert store.current("forecast").id == run  # readers do not wait
    with pytest.raises(StoreError, match=r"database is locked by another process"):
        publish(store)
    connection.close()
    publish(store)


def test_import_is_light() -> None:
    code = "import sys, shelfcast.store; print({'sqlalchemy', 'duckdb', 'pyarrow', 'pandas'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"


@pytest.mark.parametrize("kind", list(RunKind))
def test_every_kind_says_what_to_run_where_there_is_none(tmp_path, kind):
    with pytest.raises(StoreError, match="shelfcast "):
        ForecastStore(tmp_path / "none").current(kind)
