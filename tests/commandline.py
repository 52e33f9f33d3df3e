"""The command line called in this process, and a small shop as files that it runs on."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import polars as pl

import shop
from shelfcast import cli

CONFIG = """\
folder = "out"
totals = [[], ["department"]]

[sales]
path = "sales.parquet"
price = "price"
in_stock = "in_stock"
past = ["views"]
frequency = "day"
absent = "zero"

[sales.promotions]
promo = "flag"

[items]
path = "items.parquet"

[calendar]
country = "US"

[forecast]
model = "season-profile"
periods = 5
spans = ["0+3", "2+7"]
levels = [0.1, 0.5, 0.9]
whole_units = true

[backtest]
models = ["seasonal-naive"]
origins = 2
step = 7

[orders]
policy = "quantile"
lead_time = 2
review_period = 3
pack_size = 6
cost_share = 0.6
on_hand = { path = "stock.csv", missing = "zero" }
on_order = { path = "open.csv" }

[report]
title = "A small shop"
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


def shelfcast(*arguments: object) -> Outcome:
    """Call the command's `main` with these arguments, as the installed script does."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    called = mock.patch.object(sys, "argv", ["shelfcast", *map(str, arguments)])
    with called, redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Outcome(code, out.getvalue(), err.getvalue())


def process(*arguments: object, folder: Path | None = None) -> Outcome:
    """The command in a process of its own, with nothing of this one's but the environment."""
    command = [sys.executable, "-m", "shelfcast.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300, env=dict(os.environ))
    return Outcome(done.returncode, done.stdout, done.stderr)


def write_shop(folder: Path, *, n_series: int = 6, n_periods: int = 90, **columns: pl.Expr) -> pl.DataFrame:
    """Sales, items (one product without sales), stock and open orders of a small shop; returns its sales."""
    folder.mkdir(parents=True, exist_ok=True)
    table, _ = shop.draw(n_series, n_periods)
    departments = table.select("item", "department").unique().sort("item")
    sales = table.drop("department").with_columns(**columns)
    sales.write_parquet(folder / "sales.parquet")
    fresh = pl.DataFrame({"item": ["item-99"], "department": ["toys"]})
    pl.concat([departments, fresh]).write_parquet(folder / "items.parquet")
    names = departments["item"].to_list()
    stock = pl.DataFrame({"item": names, "on_hand": [3.0 * i for i in range(len(names))]})
    stock.write_csv(folder / "stock.csv")
    pl.DataFrame({"item": names[:2], "quantity": [4.0, 5.0], "due": [0, 2]}).write_csv(folder / "open.csv")
    return sales


def write_config(folder: Path, text: str = CONFIG, **changes: str) -> Path:
    """The config with texts replaced (`old: new`, each of which must be there); returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.toml"
    path.write_text(edited(text, changes), encoding="utf-8")
    return path


def edited(text: str, changes: dict[str, str]) -> str:
    """The text with each key replaced by its value."""
    for old, new in changes.items():
        assert old in text, f"nothing to replace: {old}"
        text = text.replace(old, new)
    return text


def files_in(folder: Path) -> dict[str, bytes]:
    """Path -> content of every file below a folder; nothing where there is none."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(outcome: Outcome, *words: str) -> None:
    """Exit code 2, one message with these words and no traceback, nothing on stdout."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("Error: ")
    assert "Traceback" not in outcome.err
    assert len(outcome.err) < 2500
    missing = [word for word in words if word not in outcome.err]
    assert not missing, f"{missing} not in: {outcome.err}"


def rewrite(folder: Path, *columns: pl.Expr, **named: pl.Expr) -> None:
    """Change columns of the sales."""
    path = folder / "sales.parquet"
    pl.read_parquet(path).with_columns(*columns, **named).write_parquet(path)
