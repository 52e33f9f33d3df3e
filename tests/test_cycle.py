"""The cycle on a small shop, week by week: what goes on from what, what stops it, and that nothing can break it."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from commandline import CONFIG, files_in, shelfcast, write_config, write_shop
from shelfcast import planning
from shelfcast.catalogue import Catalogue
from shelfcast.config import read_config
from shelfcast.cycle import Turn, turn
from shelfcast.errors import ConfigError, DataError
from shelfcast.loading import Run, load_panel
from shelfcast.models.table import load, makers
from shelfcast.store import ForecastStore, RunKind

NOW = datetime(2026, 1, 1)
BEGIN = date(2024, 1, 1)
CYCLE = """
[calibration]
origins = 3
strength = 20

[cycle]
challengers = ["season-quantiles"]
tracked = 2

[overrides]
path = "changes.csv"
"""
CHANGES = "id,item,first,last,action,amount,expires,reason\n1,item-00,2024-03-20,2024-05-30,multiply,3,,shown on TV\n"


def until(folder: Path, n_days: int, table: pl.DataFrame) -> None:
    """The sales table as it was after so many days."""
    table.filter(pl.col("date") < BEGIN + timedelta(n_days)).write_parquet(folder / "sales.parquet")


def a_run(folder: Path) -> Run:
    settings, root = read_config(folder / "run.toml")
    return Run(settings, root, NOW)


def write(folder: Path, more: str = CYCLE, **changes: str) -> pl.DataFrame:
    """A shop of 110 days with everything in use; returns all of its sales."""
    table = write_shop(folder, n_periods=110)
    (folder / "changes.csv").write_text(CHANGES)
    write_config(folder, CONFIG + more, **changes)
    return table


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path


def read(run: Run, name: str, kind: RunKind = RunKind.CYCLE) -> pl.DataFrame:
    return run.store.scan(kind, name).collect()


WEEK_1, WEEK_2 = 90, 97


@pytest.fixture(scope="module")
def weeks(tmp_path_factory) -> tuple[Path, Turn, Turn]:
    """A shop after two weekly cycles, and what they said; and what it was between them, in `between`."""
    folder = tmp_path_factory.mktemp("weeks") / "shop"
    sales = write(folder)
    until(folder, WEEK_1, sales)
    first = turn(a_run(folder))
    until(folder, WEEK_2, sales)
    shutil.copytree(folder, folder.parent / "between")
    return folder, first, turn(a_run(folder))


@pytest.fixture
def between(weeks, tmp_path) -> Path:
    """A copy of the shop with the second week's sales, before its cycle."""
    return shutil.copytree(weeks[0].parent / "between", tmp_path / "shop")


def topics(made: Turn, topic: str) -> str:
    return "; ".join(text for name, text in made.news if name == topic)


def result(folder: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Every file that a cycle leaves, and the list of runs."""
    files = {name: content for name, content in files_in(folder / "out").items() if ".sqlite" not in name}
    kept = {name: content for name, content in files.items() if not name.endswith(("lock", ".lock"))}
    return kept, ForecastStore(folder / "out").runs().sort("id").to_dicts()


# ---- what a cycle makes


def test_first_week_fits_judges_and_publishes(weeks):
    folder, first, _ = weeks
    store = ForecastStore(folder / "out")
    assert set(first.runs) == {"backtest", "forecast", "orders", "cycle"}
    assert "fitted on what was known on 2024-03-07" in topics(first, "model")  # 2 weeks and 9 days before 2024-03-30
    origins = store.scan(first.runs["backtest"], "forecasts").select("origin", "model").unique().collect()
    assert sorted(origins["origin"].unique()) == [date(2024, 3, 7), date(2024, 3, 14), date(2024, 3, 21)]
    assert {"season-profile", "season-quantiles refused", "seasonal-naive"} == set(origins["model"])
    verdict = store.scan(first.runs["cycle"], "verdict").collect()
    assert set(verdict["segment_kind"]) == {"all", "velocity"}
    assert (folder / "out" / "report.html").exists()


def test_second_week_reads_what_is_new_and_scores_the_first(weeks):
    folder, _, second = weeks
    run = a_run(folder)
    assert topics(second, "data") == "7 new days to 2024-04-06; 0 series are new"
    watch = read(run, "watch").filter(pl.col("kind") == "all", pl.col("span") == 1)
    # five single days from one origin, six series that sell (item-99 was never sold, so it has no rows)
    panel, sold = load_panel(run), pl.read_parquet(folder / "sales.parquet")
    days = pl.col("date").is_between(date(2024, 3, 31), date(2024, 4, 4))
    in_stock = sold.filter(days, pl.col("in_stock") == 1)
    assert watch["n"].to_list() == [in_stock.height]
    assert watch["demand"].to_list() == [in_stock["demand"].sum()]
    assert panel.fingerprint() == load_panel(run).fingerprint()
    assert json.loads((folder / "out/cycle/state.json").read_text())["origin"] == panel.last


def test_kept_panel_is_that_of_reading_everything(weeks):
    from shelfcast.data.panel import Panel
    from shelfcast.loading import read_products

    folder, _, second = weeks
    kept = Panel.open(folder / "out/cycle" / second.key / "panel/panel")
    assert kept.fingerprint() == read_products(a_run(folder)).fingerprint()


def test_coverage_is_told_before_and_after(weeks):
    coverage = read(a_run(weeks[0]), "coverage")
    assert set(coverage["when"]) == {"before", "after"}
    counts = coverage.filter(pl.col("by") == "all").group_by("when").agg(pl.col("n").sum())
    assert counts["n"].n_unique() == 1  # the same outcomes


def test_overrides_are_applied_audited_and_scored(weeks):
    folder, _, _ = weeks
    run = a_run(folder)
    audit = read(run, "audit").row(0, named=True)
    assert (audit["status"], audit["reason"], audit["series"]) == ("applied", "shown on TV", 1)
    assert audit["units_after"] == pytest.approx(3 * audit["units_before"], rel=1e-5)
    law = read(run, "model_law", RunKind.FORECAST)
    said = read(run, "forecasts", RunKind.FORECAST).join(law, on=["item", "lead", "span"], suffix="_model")
    assert said.height == law.height > 0
    assert (said["q0.5"] - 3 * said["q0.5_model"]).abs().max() < 1e-4
    helped = read(run, "overrides_scores").row(0, named=True)
    assert helped["bias_changed"] > helped["bias_model"]
    assert helped["verdict"].startswith("hurt")


def test_report_tells_what_the_cycle_did(weeks):
    page = (weeks[0] / "out" / "report.html").read_text()
    told = json.loads(page.split('id="payload">')[1].split("</script>")[0])
    assert ["data", "7 new days to 2024-04-06; 0 series are new"] in told["cycle"]["news"]
    titles = [table["title"] for table in told["cycle"]["tables"]]
    assert titles[:3] == ["Calibration before and after the repair", "Calibration by segment", "Manual changes"]


def test_once_more_changes_nothing(weeks, between):
    first = turn(a_run(between))
    before = result(between)
    again = turn(a_run(between))
    assert (first.is_new, again.is_new, again.key) == (True, False, first.key)
    assert topics(again, "data") == "nothing is new since 2024-04-06"
    assert result(between) == before


def test_new_stock_gives_new_orders(weeks, tmp_path):
    folder = shutil.copytree(weeks[0], tmp_path / "shop")
    stock = pl.read_csv(folder / "stock.csv")
    stock.with_columns(on_hand=pl.lit(0.0)).write_csv(folder / "stock.csv")
    made = turn(a_run(folder))
    assert made.is_new
    assert "no model is due" in topics(made, "model")
    assert "backtest" not in made.runs
    assert read(a_run(folder), "orders", RunKind.ORDERS)["on_hand"].sum() == 0


def test_rehearsal_writes_nothing(weeks, between):
    before = files_in(between)
    said = shelfcast("run", between / "run.toml", "--dry-run")
    assert said.code == 0
    assert "7 new days to 2024-04-06" in said.out
    assert "would: refresh season-profile" in said.out
    assert files_in(between) == before


def test_command(weeks, between):
    said = shelfcast("run", between / "run.toml", "--json")
    assert said.code == 0
    assert json.loads(said.out)["generation"] == weeks[2].key


# ---- what stops it


def test_poisoned_data_stop_and_change_nothing(between):
    sales = pl.read_parquet(between / "sales.parquet")
    late = pl.col("date") > date(2024, 3, 30)
    sales.with_columns(demand=pl.when(late).then(pl.col("demand") * 100).otherwise("demand")).write_parquet(
        between / "sales.parquet"
    )
    before = files_in(between)
    with pytest.raises(DataError, match=r'units were sold where .* are usual[\s\S]*accept = \["volume"\]'):
        turn(a_run(between))
    after = {name: content for name, content in files_in(between).items() if not name.endswith("lock")}
    assert after == {name: content for name, content in before.items() if not name.endswith("lock")}
    accepted = (between / "run.toml").read_text().replace("[cycle]\n", '[cycle]\naccept = ["volume"]\n')
    (between / "run.toml").write_text(accepted)
    assert "are usual" in topics(turn(a_run(between)), "data")


def test_settings_that_cannot_go_with_a_cycle(folder):
    write(folder, CYCLE, **{"whole_units = true": "whole_units = true\norigin = 2024-03-01"})
    with pytest.raises(ConfigError, match=r"forecast\.origin"):
        planning.rehearse(a_run(folder))
    write(folder, "")
    refused = shelfcast("run", folder / "run.toml", "--dry-run")
    assert refused.code == 2
    assert "[cycle]" in refused.err


def test_ways_to_repair_that_there_are_not_are_told_before_anything_is_fitted(folder):
    write(folder, CYCLE.replace("strength = 20", 'strength = 20\nby = "velosity"'))
    with pytest.raises(ConfigError, match=r"velosity.*did you mean 'velocity'"):
        turn(a_run(folder))
    assert not list((folder / "out").rglob("models/*"))


# ---- who forecasts


def test_worse_model_is_refused_and_the_champion_goes_on(between):
    text = (between / "run.toml").read_text()
    (between / "run.toml").write_text(
        text.replace('model = "season-profile"', 'model = "recent-quantiles"\nsettings = { window = 2 }').replace(
            'challengers = ["season-quantiles"]', ""
        )
    )
    made = turn(a_run(between))
    assert "refused: season-profile of before goes on" in topics(made, "model")
    assert "Worse: " in topics(made, "model")
    assert set(read(a_run(between), "forecasts", RunKind.FORECAST)["model"]) == {"season-profile"}
    state = json.loads((between / "out/cycle/state.json").read_text())
    assert [one["promoted"] for one in state["history"]] == [False, False]


def test_network_is_refreshed_from_its_weights(folder):
    steps = 'model = "mq-cnn"\nsettings = { steps = 3, width = 8, hidden = 8, reach = 14 }'
    changes = {'model = "season-profile"': steps, 'totals = [[], ["department"]]\n': ""}
    sales = write(
        folder,
        "\n[calibration]\non = false\n\n[cycle]\nrefresh_settings = { steps = 1, learning_rate = 1e-9 }\n",
        **changes,
    )
    until(folder, WEEK_1, sales)
    turn(a_run(folder))
    until(folder, WEEK_2, sales)
    made = turn(a_run(folder))
    assert "mq-cnn, refreshed" in topics(made, "model")
    difference = json.loads((folder / "out/cycle/state.json").read_text())["history"][-1]["difference"]
    assert abs(difference) < 0.01  # one step of nearly nothing from the weights before: a fresh net would differ
    champion = json.loads((folder / "out/cycle/state.json").read_text())["champion"]
    model: Any = load(folder / "out/cycle/models" / champion["id"])
    assert model.compute.warm_start is None


# ---- killed anywhere


def turn_until(folder: str, step: int) -> None:
    """Die at the `step`-th time that something is moved to where it is looked for."""
    left = step

    def count(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if name == "os.rename":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    turn(a_run(Path(folder)))


def nursery() -> None:
    """Forks a cycle for each line, with what they import already there: no polars was used yet, so that is safe."""
    for name in ("holidays", "numba", "scipy.special", "shelfcast.report", "shelfcast.compiled"):
        importlib.import_module(name)
    makers()
    with tempfile.TemporaryDirectory() as warm_up:
        book = Catalogue(Path(warm_up) / "catalogue.sqlite")
        with book.transaction() as begun:
            book.read(begun)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            code = 1
            try:
                turn_until(*json.loads(line))
                code = 0
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


@pytest.fixture
def killed() -> Iterator[Any]:
    """Runs a cycle in a process of its own that dies at a step; the exit code, minus the signal that killed it."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, __file__]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:

        def ask(folder: Path, step: int) -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            print(json.dumps([str(folder), step]), file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield ask


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its cycles")
def test_killed_at_every_step_and_run_again(weeks, between, killed):
    published, seen, reached = read(a_run(between), "news"), set(), [stage(between)]
    moves, code = 2, -signal.SIGKILL
    while code == -signal.SIGKILL:  # each cycle gets one move further than the one before, and dies
        code = killed(between, moves)
        seen.add(read(a_run(between), "news").equals(published))  # what a reader sees: all of the old, or of the new
        reached.append(stage(between))
        moves = 2 if reached[-1] != reached[-2] else moves + 1
    (files, runs), (same_files, same_runs) = result(between), result(weeks[0])
    assert set(files) == set(same_files)
    assert [name for name in files if files[name] != same_files[name]] == []
    assert runs == same_runs
    assert len(set(reached)) > 10
    assert seen == {True, False}


def stage(folder: Path) -> tuple[int, ...]:
    """How far a cycle came: what is whole in its folder, and in the store."""
    files, runs = result(folder)
    return len([name for name in files if ".tmp" not in name]), len(runs), hash(files["cycle/state.json"])


if __name__ == "__main__":
    nursery()
