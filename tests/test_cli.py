"""Exit codes and messages of the command line: 0 done, 2 the user's input or machine, 1 a fault of ours."""

import builtins
import datetime as dt
import errno
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import polars as pl
import pytest

import shelfcast as package
from commandline import CONFIG, Outcome, files_in, process, refused, rewrite, shelfcast, write_config, write_shop
from shelfcast import pipelines
from shelfcast.errors import StoreError
from shelfcast.terminal import progress_bar

HEAVY = ("polars", "numpy", "duckdb", "numba", "sqlalchemy", "pydantic", "pyarrow", "narwhals", "holidays", "pandas")


@pytest.fixture
def folder(tmp_path) -> Path:
    """The small shop's tables, without a config."""
    write_shop(tmp_path)
    return tmp_path


# ---- nothing to do, and done


def test_help_names_every_command():
    outcome = shelfcast("--help")
    assert outcome.code == 0
    for name in ("demo", "init", "check", "fit", "backtest", "forecast", "order", "report", "run", "models"):
        assert f" {name} " in outcome.out
        assert shelfcast(name, "--help").code == 0


def test_version():
    assert shelfcast("--version") == Outcome(0, f"shelfcast {package.__version__}\n", "")


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ()], ids=str)
def test_help_and_version_load_nothing_heavy(arguments):
    """What is measured is what is imported, not a clock: any of these costs more than all of the command line."""
    script = (
        "import sys; from shelfcast.cli import main\n"
        f"sys.argv = ['shelfcast', *{list(arguments)!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1:] == ["LOADED []"], done.stdout + done.stderr


def test_import_of_the_package_loads_nothing_heavy():
    script = f"import sys, shelfcast; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_public_names_resolve():
    assert dir(package) == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


# ---- the command itself


def test_unknown_command_and_option():
    for arguments in (("forcast",), ("run",), ("check", "run.toml", "--jsn")):
        outcome = shelfcast(*arguments)
        assert outcome.code == 2
        assert "Usage" in outcome.err
        assert "Traceback" not in outcome.err


# ---- the config


def test_no_config(tmp_path):
    refused(shelfcast("run", tmp_path / "none.toml"), "none.toml", "shelfcast init")
    assert files_in(tmp_path) == {}


def test_a_folder_as_config(tmp_path):
    refused(shelfcast("run", tmp_path), "a readable config file")


def test_config_that_is_no_text(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe\x00")
    refused(shelfcast("run", tmp_path / "run.toml"), "a readable config file")


def test_config_that_is_not_toml(folder):
    refused(
        shelfcast("run", write_config(folder, **{'path = "sales.parquet"': "path = sales.parquet"})), "TOML", "line"
    )


BAD_SETTINGS = {
    "unknown key": ({"origins = 2": "orgins = 2"}, ["backtest.orgins", "did you mean 'origins'?"]),
    "unknown section": ({"[backtest]": "[backtests]"}, ["backtests", "did you mean 'backtest'?"]),
    "unknown top key": ({'folder = "out"': 'foldr = "out"'}, ["foldr", "did you mean 'folder'?"]),
    "unknown key of a stock table": ({"missing =": "mising ="}, ["orders.on_hand.mising", "did you mean 'missing'?"]),
    "unknown promotion": ({'promo = "flag"': 'promo = "flog"'}, ["sales.promotions.promo", "flag", "flog"]),
    "text for a number": ({"periods = 5": 'periods = "five"'}, ["forecast.periods", "five"]),
    "number for a text": ({'path = "sales.parquet"': "path = 3"}, ["sales.path", "3"]),
    "fraction for a count": ({"origins = 2": "origins = 2.5"}, ["backtest.origins", "2.5"]),
    "negative periods": ({"periods = 5": "periods = -1"}, ["forecast.periods", "-1"]),
    "no origins": ({"origins = 2": "origins = 0"}, ["backtest.origins", "0"]),
    "level in percent": ({"0.9]": "90]"}, ["level", "90"]),
    "levels out of order": ({"[0.1, 0.5": "[0.5, 0.1"}, ["level"]),
    "no levels": ({"[0.1, 0.5, 0.9]": "[]"}, ["level"]),
    "horizon of three": ({'["0+3"': "[[0, 3, 1]"}, ["spans", "3"]),
    "horizon of text": ({'"0+3"': '"week"'}, ["spans", "week"]),
    "horizon of one number": ({'"0+3"': "3"}, ["spans", "3"]),
    "horizon of fractions": ({'"0+3"': "[0, 1.5]"}, ["spans", "1.5"]),
    "horizon without span": ({'"0+3"': '"3+0"'}, ["span"]),
    "horizon before the origin": ({'"0+3"': "[-1, 3]"}, ["lead"]),
    "one number for spans": ({'["0+3", "2+7"]': "7"}, ["spans", "7"]),
    "unknown model": ({"season-profile": "season-profle"}, ["season-profle", "did you mean 'season-profile'?"]),
    "unknown model to compare": ({'["seasonal-naive"]': '["seasonal"]'}, ["'seasonal'", "seasonal-naive"]),
    "unknown model setting": ({"periods = 5": "periods = 5\nsettings = { windw = 3 }"}, ["windw", "window"]),
    "unknown policy": ({'policy = "quantile"': 'policy = "quantil"'}, ["quantil", "did you mean 'quantile'?"]),
    "unknown policy setting": ({"lead_time = 2": "settings = { a = 1 }"}, ["policy.a", "no such setting"]),
    "negative budget": ({"lead_time = 2": "budget = -1"}, ["orders.budget", "-1"]),
    "NaN budget": ({"lead_time = 2": "budget = nan"}, ["orders.budget", "nan"]),
    "infinite price": ({"lead_time = 2": "price = inf"}, ["orders.price", "inf"]),
    "no cost": ({"cost_share = 0.6\n": ""}, ["orders", "cost_share"]),
    "origin before the sales": ({"periods = 5": "periods = 5\norigin = 2020-01-01"}, ["forecast.origin", "2024-01-01"]),
    "origin after the sales": ({"periods = 5": "periods = 5\norigin = 2025-01-01"}, ["forecast.origin", "2024-03-30"]),
    "origin that is no date": ({"periods = 5": 'periods = 5\norigin = "soon"'}, ["forecast.origin", "soon"]),
    "history too short": ({"origins = 2": "origins = 40"}, ["backtest", "origins", "periods of history", "To do"]),
    "unknown total": ({'["department"]': '["departmnt"]'}, ["'departmnt'", "did you mean 'department'?"]),
    "unknown segment": ({"step = 7": 'step = 7\nsegments = ["colour"]'}, ["'colour'", "department"]),
    "unknown baseline": ({"step = 7": 'step = 7\nbaseline = "naive"'}, ["'naive'", "seasonal-naive"]),
    "unknown country": ({'"US"': '"Narnia"'}, ["Narnia"]),
    "unknown frequency": ({'"day"': '"fortnight"'}, ["fortnight", "week"]),
    "path and url": ({'path = "sales.parquet"': 'path = "a"\nurl = "duckdb:"'}, ["sales", "path", "url"]),
    "url without sql": ({'path = "items.parquet"': 'url = "duckdb:"'}, ["items", "sql"]),
    "calendar url without sql": ({'country = "US"': 'url = "duckdb:"'}, ["calendar", "sql"]),
    "calendar path and url": ({'country = "US"': 'path = "a"\nurl = "duckdb:"\nsql = "x"'}, ["calendar", "path"]),
    "sql without url": ({'path = "items.parquet"': 'sql = "select 1"'}, ["items", "url"]),
    "one column, two roles": ({'price = "price"': 'price = "date"'}, ["date", "two roles"]),
    "folder is a file": ({'folder = "out"': 'folder = "sales.parquet"'}, ["sales.parquet"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_settings(folder, case):
    changes, words = BAD_SETTINGS[case]
    config = write_config(folder, **changes)
    before = files_in(folder)
    refused(shelfcast("run", config), *words)
    assert files_in(folder) == before


@pytest.mark.parametrize("case", ["unknown policy", "unknown policy setting", "unknown model to compare", "no cost"])
def test_settings_are_wrong_before_the_work(folder, case, monkeypatch):
    """What can be known from the config and the panel is said before a backtest of minutes, not after it."""
    monkeypatch.setattr(pipelines, "roll", None)
    changes, words = BAD_SETTINGS[case]
    refused(shelfcast("run", write_config(folder, **changes)), *words)


def test_order_without_section(folder):
    text = CONFIG[: CONFIG.index("[orders]")]
    refused(shelfcast("order", write_config(folder, text)), "orders", "no [orders] section")


def test_order_before_forecast(folder):
    refused(shelfcast("order", write_config(folder)), "forecast", "shelfcast forecast")
    assert "out" not in {path.name for path in folder.iterdir()}


def test_forecast_with_a_model_that_is_not_there(folder):
    refused(shelfcast("forecast", write_config(folder), "--model", folder / "none"), "saved model", "shelfcast fit")
    (folder / "model").mkdir()
    (folder / "model" / "model.json").write_text('{"name": "oracle"}')
    refused(shelfcast("forecast", write_config(folder), "--model", folder / "model"), "oracle", "season-profile")


# ---- the machine


def test_unwritable_folder(folder):
    """A folder below a file: refused for root too, which may write anywhere else."""
    config = write_config(folder, **{'folder = "out"': 'folder = "stock.csv/out"'})
    before = files_in(folder)
    for command in ("run", "fit", "forecast", "backtest", "report"):
        refused(shelfcast(command, config), "stock.csv")
        assert files_in(folder) == before
    refused(shelfcast("demo", "--folder", folder / "stock.csv" / "demo"), "stock.csv", "--folder")
    refused(shelfcast("init", folder / "sales.parquet", "--output", folder / "stock.csv" / "a.toml"), "stock.csv")


def test_unwritable_folder_is_said_before_the_work(folder, monkeypatch):
    monkeypatch.setattr(pipelines, "roll", None)
    refused(shelfcast("run", write_config(folder, **{'folder = "out"': 'folder = "stock.csv/out"'})), "stock.csv")


@pytest.fixture
def full_disk(monkeypatch):
    """Every file opened for writing, by Python or by polars, finds the disk full."""
    really = builtins.open, Path.open, io.open

    def refuse(path: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def opened(path, mode="r", *rest, **named):
        if set(mode) & set("wax+") and "out" in str(path):
            refuse(path)
        return really[0](path, mode, *rest, **named)

    monkeypatch.setattr(builtins, "open", opened)
    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(pl.DataFrame, "write_parquet", lambda self, path, **named: refuse(path))


@pytest.mark.parametrize("command", ["fit", "backtest", "forecast", "report", "run"])
def test_full_disk(folder, full_disk, command):
    config = write_config(folder)
    before = files_in(folder)
    refused(shelfcast(command, config), "out")
    left = files_in(folder).keys() - before.keys()
    assert not [name for name in left if "sqlite" not in name], left


def test_full_disk_keeps_the_run_before(folder, request):
    config = write_config(folder)
    assert shelfcast("run", config).code == 0
    before = {n: c for n, c in files_in(folder).items() if "sqlite" not in n}
    rewrite(folder, pl.col("demand") + 1)
    sales = (folder / "sales.parquet").read_bytes()
    request.getfixturevalue("full_disk")
    refused(shelfcast("run", config), "full disk", "To do")
    after = {n: c for n, c in files_in(folder).items() if "sqlite" not in n}
    assert after == {**before, "sales.parquet": sales}


@pytest.mark.parametrize("command", ["fit", "forecast", "backtest", "report", "run"])
@pytest.mark.parametrize("limit", [1, 3000, 30_000], ids=lambda limit: f"{limit}-bytes")
def test_files_that_cannot_grow(folder, command, limit):
    """The system itself refuses, at different moments; nothing of the new run is left, all of the old one is."""
    resource = pytest.importorskip("resource")
    config = write_config(folder)
    for step in ("fit", "run"):
        assert shelfcast(step, config).code == 0
    rewrite(folder, pl.col("demand") * 3 + 1)
    before = {n: c for n, c in files_in(folder).items() if "sqlite" not in n}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        outcome = shelfcast(command, config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    if outcome.code == 0:
        assert command == "fit"  # a model is small
        assert limit > 1
        return
    refused(outcome, "out")
    after = {n: c for n, c in files_in(folder).items() if "sqlite" not in n}
    if command != "run":
        assert after == before
    assert before.items() <= after.items()
    assert not [name for name in after if "staging" in name or ".tmp" in name]


# ---- our faults


def test_fault_of_ours(folder, monkeypatch):
    def broken(*given: object) -> None:
        raise ZeroDivisionError("injected")

    monkeypatch.setattr(pipelines, "buy", broken)
    config = write_config(folder)
    outcome = shelfcast("run", config)
    assert outcome.code == 1
    assert "ZeroDivisionError: injected" in outcome.err
    assert "Please report it" in outcome.err
    assert f"shelfcast {package.__version__}" in outcome.err
    assert not [name for name in files_in(folder / "out") if "staging" in name or "orders" in name]


def test_errors_of_the_store_are_the_users(monkeypatch):
    def broken() -> None:
        raise StoreError("expected this; got that.")

    monkeypatch.setattr(pipelines, "model_table", broken)
    assert shelfcast("models") == Outcome(2, "", "Error: expected this; got that.\n")


# ---- init


def test_init_drafts_a_config_that_check_takes(folder):
    outcome = shelfcast("init", folder / "sales.parquet", "--output", folder / "drafted.toml")
    assert (outcome.code, outcome.err) == (0, "")
    assert "shelfcast check" in outcome.out
    outcome = shelfcast("check", folder / "drafted.toml", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["n_series"] == 6


def test_init_overwrites_only_by_force(folder):
    target = folder / "drafted.toml"
    target.write_text("mine")
    refused(shelfcast("init", folder / "sales.parquet", "--output", target), "drafted.toml", "--force")
    assert target.read_text() == "mine"
    assert shelfcast("init", folder / "sales.parquet", "--output", target, "--force").code == 0
    assert "[sales]" in target.read_text()


def test_init_of_what_is_no_table(tmp_path):
    refused(shelfcast("init", tmp_path / "none.csv", "--output", tmp_path / "a.toml"), "none.csv")
    assert files_in(tmp_path) == {}


# ---- text


def test_tables_of_text():
    outcome = shelfcast("models")
    assert (outcome.code, outcome.err) == (0, "")
    assert "season-profile" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 160


def test_progress_only_on_a_terminal(folder, capsys):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    config = write_config(folder)
    assert shelfcast("forecast", config).err == ""
    shown = Terminal()
    with redirect_stderr(shown), progress_bar() as (progress, say):
        progress("forecasting", 1, 2)
        say("a line before training")
    assert "forecasting" in shown.getvalue()
    assert "a line before training" in shown.getvalue()


def test_a_process_ends_with_the_code(tmp_path):
    outcome = process("check", "none.toml", folder=tmp_path)
    refused(outcome, "none.toml")


def test_dates_of_today_are_allowed(folder):
    """The clock is read once, at the door."""
    shift = (dt.date.today() - dt.date(2024, 3, 30)).days
    rewrite(folder, pl.col("date").dt.offset_by(f"{shift}d"))
    assert shelfcast("check", write_config(folder)).code == 0
    rewrite(folder, pl.col("date").dt.offset_by("2d"))
    refused(shelfcast("check", write_config(folder)), "after today")
