"""Bad and odd tables through the command line: one message, exit code 2, nothing half-written."""

import math
from pathlib import Path

import polars as pl
import pytest

from commandline import files_in, refused, rewrite, shelfcast, write_config, write_shop


@pytest.fixture
def folder(tmp_path) -> Path:
    """The small shop's tables, without a config."""
    write_shop(tmp_path)
    return tmp_path


def truncate(folder: Path) -> None:
    path = folder / "sales.parquet"
    path.write_bytes(path.read_bytes()[:-200])


FIRST = pl.int_range(pl.len()) == 4
BAD_SALES = {
    "no file": (lambda f: (f / "sales.parquet").unlink(), ["sales.parquet"]),
    "misspelt column": (
        lambda f: pl.read_parquet(f / "sales.parquet").rename({"demand": "demnad"}).write_parquet(f / "sales.parquet"),
        ["'demand'", "did you mean 'demnad'?", "there are: item, date"],
    ),
    "text in demand": (
        lambda f: rewrite(f, demand=pl.when(FIRST).then(pl.lit("many")).otherwise(pl.col("demand").cast(pl.String))),
        ["'demand'", "demand=many", "row 5", "To do"],
    ),
    "bad dates": (
        lambda f: rewrite(f, date=pl.when(FIRST).then(pl.lit("soon")).otherwise(pl.col("date").cast(pl.String))),
        ["'date'", "date=soon", "To do"],
    ),
    "duplicates": (
        lambda f: pl.concat([pl.read_parquet(f / "sales.parquet")] * 2).write_parquet(f / "sales.parquet"),
        ["one row for each key and date", "duplicates = 'sum'", "item-00"],
    ),
    "NaN demand": (
        lambda f: rewrite(f, demand=pl.when(FIRST).then(math.nan).otherwise(pl.col("demand").cast(pl.Float64))),
        ["'demand'", "NaN", "row 5"],
    ),
    "infinite demand": (
        lambda f: rewrite(f, demand=pl.when(FIRST).then(math.inf).otherwise(pl.col("demand").cast(pl.Float64))),
        ["'demand'", "infinite", "row 5"],
    ),
    "negative demand": (lambda f: rewrite(f, demand=pl.when(FIRST).then(-3).otherwise("demand")), ["negative", "clip"]),
    "future dates": (
        lambda f: rewrite(f, pl.col("date").dt.offset_by("80y")), ["'date'", "after today", "date=2104-"],
    ),
    "mixed frequency": (
        lambda f: rewrite(f, date=pl.when(FIRST).then(pl.col("date").cast(pl.Datetime).dt.offset_by("7h"))
                          .otherwise(pl.col("date").cast(pl.Datetime))),
        ["'date'", "day"],
    ),
    "header only": (
        lambda f: pl.read_parquet(f / "sales.parquet").head(0).write_parquet(f / "sales.parquet"), ["sales", "rows"],
    ),
    "empty file": (lambda f: (f / "sales.parquet").write_bytes(b""), ["sales.parquet"]),
    "truncated Parquet": (truncate, ["sales.parquet"]),
    "no Parquet": (lambda f: (f / "sales.parquet").write_text("item,date,demand\n"), ["sales.parquet"]),
    "items twice": (
        lambda f: pl.concat([pl.read_parquet(f / "items.parquet")] * 2).write_parquet(f / "items.parquet"),
        ["items", "one row for each key"],
    ),
    "no stock column": (lambda f: (f / "stock.csv").write_text("item,onhand\na,1\n"), ["'on_hand'", "onhand"]),
    "stock in words": (lambda f: (f / "stock.csv").write_text("item,on_hand\nitem-00,few\n"), ["on hand", "on_hand"]),
    "stock without rows": (lambda f: (f / "stock.csv").write_text("item,on_hand\n"), ["on hand", "rows"]),
    "no stock file": (lambda f: (f / "stock.csv").unlink(), ["stock.csv"]),
    "open orders without keys": (lambda f: (f / "open.csv").write_text("sku,quantity\na,1\n"), ["'item'", "sku"]),
    "open orders in words": (lambda f: (f / "open.csv").write_text("item,quantity\nitem-00,few\n"), ["quantity"]),
    "open orders below zero": (lambda f: (f / "open.csv").write_text("item,quantity\nitem-00,-1\n"), ["quantity"]),
    "lead time in words": (
        lambda f: pl.read_parquet(f / "items.parquet").with_columns(lead_time=pl.lit("soon"))
        .write_parquet(f / "items.parquet"),
        ["lead_time", "soon"],
    ),
    "lead time by halves": (
        lambda f: pl.read_parquet(f / "items.parquet").with_columns(lead_time=2.5).write_parquet(f / "items.parquet"),
        ["lead", "2.5"],
    ),
    "a total of a name that is taken": (
        lambda f: rewrite(f, item=pl.when(pl.col("item") == "item-00").then(pl.lit("total")).otherwise("item")),
        ["total"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SALES)
def test_bad_tables(folder, case):
    spoil, words = BAD_SALES[case]
    spoil(folder)
    config = write_config(folder)
    before = files_in(folder)
    refused(shelfcast("run", config), *words)
    after = files_in(folder)
    assert before.items() <= after.items()
    assert not [name for name in after.keys() - before.keys() if "orders" in name or "staging" in name]


def test_one_row(folder):
    pl.read_parquet(folder / "sales.parquet").head(1).write_parquet(folder / "sales.parquet")
    config = write_config(folder)
    before = files_in(folder)
    refused(shelfcast("run", config), "backtest", "1", "To do")
    assert files_in(folder) == before
    assert shelfcast("check", config).code == 0
    assert shelfcast("forecast", config).code == 0


def test_stock_must_be_whole_unless_declared(folder):
    config = write_config(folder, **{', missing = "zero"': ""})
    assert shelfcast("forecast", config).code == 0
    before = files_in(folder)
    refused(shelfcast("order", config), "a row for every series", "item-99", "To do")
    assert {n: c for n, c in files_in(folder).items() if "sqlite" not in n} == {
        n: c for n, c in before.items() if "sqlite" not in n
    }


def test_database_that_is_down(folder):
    query = 'url = "postgresql://reader:secret@127.0.0.1:1/sales"\nsql = "select 1"'
    outcome = shelfcast("check", write_config(folder, **{'path = "sales.parquet"': query}))
    refused(outcome, "database")
    assert "secret" not in outcome.err
    query = 'url = "sqlite:///none.db"\nsql = "select 1"'
    refused(shelfcast("check", write_config(folder, **{'path = "sales.parquet"': query})), "none.db")


def test_query_that_is_wrong(folder):
    query = 'url = "duckdb:"\nsql = "select item, dat from \'sales.parquet\'"'
    refused(shelfcast("check", write_config(folder, **{'path = "sales.parquet"': query})), "query", "dat")


# ---- odd tables that work


@pytest.mark.parametrize("demand", [pl.lit(0), pl.lit(7)], ids=["zeros", "constant"])
def test_constant_series(folder, demand):
    rewrite(folder, demand=demand)
    outcome = shelfcast("run", write_config(folder))
    assert (outcome.code, outcome.err) == (0, "")


def test_item_name_of_a_million_characters(folder):
    rewrite(folder, item=pl.when(pl.col("item") == "item-00").then(pl.lit("x" * 1_000_000)).otherwise("item"))
    config = write_config(folder)
    outcome = shelfcast("check", config)
    if outcome.code == 0:
        assert len(outcome.out) < 5000
        outcome = shelfcast("forecast", config)
    assert outcome.code in (0, 2)
    assert "Traceback" not in outcome.err
    assert len(outcome.err) < 3000
