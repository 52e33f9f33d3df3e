"""Bad input at the door: each case gives one clear DataError with what came, sample rows and advice."""

import datetime as dt
import math
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from shelfcast.data.schema import Negatives, PromotionKind, Schema
from shelfcast.data.tables import Query, demand_table, known_table, open_table, static_table
from shelfcast.errors import ConfigError, DataError, StoreError
from shelfcast.periods import Frequency

TODAY = dt.date(2024, 6, 30)
DAY = Schema(frequency="day")


def sales(**columns) -> pl.DataFrame:
    """Two items over five days in January 2024, with columns replaced."""
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(5)] * 2
    table = {"item": ["a"] * 5 + ["b"] * 5, "date": days, "demand": [float(i) for i in range(10)]}
    return pl.DataFrame(table | columns, strict=False)


def refusal(source, schema=DAY, **settings) -> str:
    """The message of the DataError that reading everything raises."""
    with pytest.raises(DataError) as caught:
        list(demand_table(source, schema, today=TODAY, **settings).batches())
    message = str(caught.value)
    assert len(message) < 2000
    assert "Traceback" not in message
    assert caught.value.__cause__ is None
    assert message.startswith("sales: expected ")
    return message


def assert_says(message: str, *words: str) -> None:
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


# ---- columns


def test_misspelt_column():
    message = refusal(sales().rename({"demand": "demnad"}))
    assert_says(message, "'demand'", "did you mean 'demnad'?", "there are: item, date, demnad", "To do")


def test_missing_column_of_many():
    wide = sales().with_columns([pl.lit(0).alias(f"column_{i}" * 20) for i in range(200)])
    assert_says(refusal(wide, Schema(demand="units")), "'units'", "there are: item, date", "To do")


def test_schema_with_a_name_of_our_own():
    with pytest.raises(ConfigError, match="'period'"):
        demand_table(sales(period=[1] * 10), Schema(known=("period",)), today=TODAY)


# ---- types


def test_text_in_demand():
    message = refusal(sales(demand=["1", "2", "3", "many", "5", "6", "seven", "8", "9", "1,000"]))
    assert_says(message, "'demand'", "row 4:", "demand=many", "row 7:", "row 10:", "3 rows", "To do")


def test_text_in_demand_of_a_csv(tmp_path):
    sales().with_columns(demand=pl.Series(["x"] + ["1"] * 9)).write_csv(tmp_path / "s.csv")
    assert_says(refusal(tmp_path / "s.csv"), "'demand'", "row 1: item=a", "demand=x", "text in 1 rows")


def test_dates_and_flags_in_demand():
    assert_says(refusal(sales(demand=[dt.date(2024, 1, 1)] * 10)), "'demand'", "type Date", "row 1", "To do")
    assert_says(refusal(sales(demand=[True] * 10)), "'demand'", "type Boolean", "To do")


def test_item_of_decimals():
    assert_says(refusal(sales(item=[1.5] * 10)), "'item'", "type Float64", "row 1: item=1.5", "To do")


def test_columns_of_mixed_types_from_pandas():
    mixed = sales().to_pandas().astype({"demand": object})
    mixed.loc[3, "demand"] = "many"
    assert_says(refusal(mixed), "mix", "To do")


def test_numbers_as_dates():
    assert_says(refusal(sales(date=[1.5] * 10)), "'date'", "Float64", "2024-01-31")
    assert_says(refusal(sales(date=list(range(10)))), "'date'", "distinct values that are no dates", "row 1: date=0")


def test_something_that_is_no_table():
    assert_says(refusal(42), "a data frame", "a int")


# ---- dates


def test_unparsable_dates():
    texts = ["2024-01-0" + str(i) for i in range(1, 6)]
    message = refusal(sales(date=[*texts, *texts[:3], "2024-02-30", "soon"]))
    assert_says(message, "'date'", "2 distinct values", "row 9: date=2024-02-30", "row 10: date=soon", "To do")


def test_mixed_dates():
    message = refusal(sales(date=["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "01.05.2024"] * 2))
    assert_says(message, "'date'", "mixed formats", "4 distinct dates as 2024-01-31, 1 not", "row 5: date=01.05.2024")


def test_day_or_month_first():
    message = refusal(sales(date=[f"0{i}/02/2024" for i in range(1, 6)] * 2))
    assert_says(message, "'date'", "day first and month first", "row 1: date=01/02/2024", "2024-01-31")


def test_null_dates_and_keys():
    days = [None, *sales()["date"].to_list()[1:]]
    assert_says(refusal(sales(date=days)), "'date'", "null dates in 1 rows", "row 1", "To do")
    assert_says(refusal(sales(item=[None] * 2 + ["a"] * 8)), "'item'", "null keys in 2 rows", "row 2", "To do")


def test_sales_beyond_today():
    late = [TODAY + dt.timedelta(days=1 + i) for i in range(10)]
    message = refusal(sales(date=late))
    assert_says(message, "'date'", "no demand after today's period (2024-06-30)", "10 rows", "row 1", "date=2024-07-01")


def test_times_of_day_with_days():
    times = [dt.datetime(2024, 1, 1, 9) + dt.timedelta(hours=7 * i) for i in range(10)]
    assert_says(refusal(sales(date=times)), "'date'", "frequency 'day'", "times of day", "row 1", "'hour'")


def test_minutes():
    times = [dt.datetime(2024, 1, 1, 9) + dt.timedelta(minutes=7 * i) for i in range(10)]
    assert_says(refusal(sales(date=times), Schema()), "'date'", "times within the hour", "09:07", "round")


def test_declared_week_with_another_weekday():
    mondays = [dt.date(2024, 1, 1) + dt.timedelta(weeks=i) for i in range(9)]
    message = refusal(sales(date=[*mondays, dt.date(2024, 3, 6)]), Schema(frequency="week"))
    assert_says(message, "'date'", "week-mon", "other weekdays in 1 rows", "row 10", "2024-03-06", "To do")


def test_declared_month_with_month_ends():
    ends = [dt.date(2024, 1, 31), dt.date(2024, 2, 29)] * 5
    message = refusal(sales(date=ends), Schema(frequency="month"))
    assert_says(message, "inside a month", "first day of each month")


def test_mixed_frequency():
    weeks = [dt.date(2023, 1, 2) + dt.timedelta(weeks=i) for i in range(30)]
    weeks[20] = weeks[20] + dt.timedelta(days=2)
    table = pl.DataFrame({"item": ["a"] * 30, "date": weeks, "demand": [1.0] * 30})
    message = refusal(table, Schema())
    assert_says(message, "'date'", "mixed frequency", "one week", "1 dates are off", "date=2023-05-24", "To do")


def test_some_series_weekly_among_daily_ones():
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(100)]
    rows = [("a", day) for day in days] + [("b", day) for day in days[::7]]
    table = pl.DataFrame(rows, schema=["item", "date"], orient="row").with_columns(demand=1.0)
    message = refusal(table, Schema())
    assert_says(message, "'date'", "mixed frequency: 1 series move by the week", "date=2024-01-08", "declare")
    assert demand_table(table, DAY, today=TODAY).frequency == Frequency.parse("day")


def test_cells_of_many_lines_stay_on_one():
    message = refusal(sales(item=["one\ntwo"] * 10, demand=[[1]] * 10))
    assert_says(message, "type List", "item=one two")
    assert message.count("\n") == 4


def test_monthly_ends_without_declared_frequency():
    ends = pd.date_range("2022-01-31", periods=24, freq="ME")
    table = pd.DataFrame({"item": "a", "date": ends, "demand": 1.0})
    assert_says(refusal(table, Schema()), "'date'", "month", "first day", "date=2022-01-31")


# ---- values


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_demand_that_is_not_finite(value):
    message = refusal(sales(demand=[1.0, value] * 5))
    assert_says(message, "'demand'", "NaN or infinite values in 5 rows", "row 2", "row 4", "row 6", "To do")


def test_nan_as_text(tmp_path):
    sales().with_columns(demand=pl.Series(["nan"] + ["1"] * 9)).write_csv(tmp_path / "s.csv")
    assert_says(refusal(tmp_path / "s.csv"), "'demand'", "NaN", "row 1")


def test_negative_demand():
    message = refusal(sales(demand=[-3.0] + [1.0] * 9))
    assert_says(message, "'demand'", "negative demand in 1 rows", "demand=-3.0", "'clip'", "'net'")


def test_negative_demand_is_allowed_where_declared():
    for negatives in (Negatives.CLIP, Negatives.NET):
        table = demand_table(sales(demand=[-3.0] + [1.0] * 9), Schema(negatives=negatives), today=TODAY)
        assert next(table.batches())["demand"][0] == (0.0 if negatives is Negatives.CLIP else -3.0)


def test_depth_in_percent():
    schema = Schema(frequency="day", promotions={"off": PromotionKind.DEPTH})
    message = refusal(sales(off=[0, 30] * 5), schema)
    assert_says(message, "'off'", "0 to 1", "off=30", "write 0.3 for 30 %")


def test_flags_that_are_none():
    schema = Schema(frequency="day", promotions={"promo": PromotionKind.FLAG})
    assert_says(refusal(sales(promo=["Y", "perhaps"] * 5), schema), "'promo'", "row 2", "promo=perhaps", "1 or 0")
    assert_says(refusal(sales(promo=[0, 2] * 5), schema), "'promo'", "row 2", "promo=2", "1 or 0")


def test_stock_beyond_one():
    message = refusal(sales(stock=[100] * 10), Schema(frequency="day", in_stock="stock"))
    assert_says(message, "'stock'", "0 to 1", "stock=100", "0.25 for a quarter")


def test_known_columns_that_are_not_finite():
    prices = [1.0, math.nan] * 5
    assert_says(refusal(sales(price=prices), Schema(frequency="day", price="price")), "'price'", "NaN", "row 2")
    assert_says(refusal(sales(temp=[math.inf] * 10), Schema(frequency="day", known=("temp",))), "'temp'", "infinite")
    assert_says(refusal(sales(price=[-1] * 10), Schema(frequency="day", price="price")), "'price'", "price=-1")


def test_a_category_for_every_row():
    table = pl.DataFrame({"item": "a", "date": dt.date(2024, 1, 1), "demand": 1.0, "c": [f"c{i}" for i in range(2000)]})
    schema = Schema(frequency="day", promotions={"c": PromotionKind.CATEGORY})
    assert_says(refusal(table, schema), "'c'", "more than 1,000", "c0", "To do")


def test_a_million_characters():
    long = "x" * 1_000_000
    assert_says(refusal(sales(demand=["1"] * 9 + [long])), "'demand'", "row 10", "xxx...")
    assert_says(refusal(sales(date=["2024-01-01"] * 9 + [long])), "'date'", "row 10")
    assert_says(refusal(sales(item=[long] * 10, demand=[-1.0] * 10)), "'demand'", "item=xxx")
    assert_says(refusal(sales().rename({"item": long})), "'item'", "xxx...")
    table = demand_table(sales(item=[long] * 10), DAY, today=TODAY)
    assert next(table.batches())["item"].cast(pl.String)[0] == long


def test_a_million_characters_in_a_csv(tmp_path):
    sales(demand=["1"] * 9 + ["y" * 1_000_000]).write_csv(tmp_path / "s.csv")
    assert_says(refusal(tmp_path / "s.csv"), "'demand'", "row 10", "yyy...")


# ---- too little


def test_header_only(tmp_path):
    for schema in (DAY, Schema()):
        assert_says(refusal(sales().head(0), schema), "a table with rows", "a header only", "To do")
        sales().head(0).write_csv(tmp_path / "s.csv")
        assert_says(refusal(tmp_path / "s.csv", schema), "a table with rows", "To do")
        sales().head(0).write_parquet(tmp_path / "s.parquet")
        assert_says(refusal(tmp_path / "s.parquet", schema), "a table with rows", "To do")


def test_one_row():
    assert_says(refusal(sales().head(1), Schema()), "fewer than two distinct dates", "declare the frequency")
    batch = next(demand_table(sales().head(1), DAY, today=TODAY).batches())
    assert batch.rows() == [("a", 19723, 0.0)]


@pytest.mark.parametrize("name", ["s.csv", "s.parquet"])
def test_empty_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert_says(refusal(tmp_path / name), "an empty file", name, "To do")


# ---- files


def test_blank_file(tmp_path):
    (tmp_path / "s.csv").write_text("\n\n")
    assert_says(refusal(tmp_path / "s.csv"), "a header", "s.csv")


def test_missing_file(tmp_path):
    (tmp_path / "sales.csv").write_text("item\n")
    message = refusal("slaes.csv", root=tmp_path)
    assert_says(message, "slaes.csv", "did you mean 'sales.csv'?", "To do")
    assert_says(refusal("nowhere/sales.csv", root=tmp_path), "no folder")


def test_glob_and_folder_without_files(tmp_path):
    assert_says(refusal("*.parquet", root=tmp_path), "*.parquet", "none", "To do")
    assert_says(refusal(tmp_path), "a folder without any")


def test_file_of_another_kind(tmp_path):
    (tmp_path / "sales.xlsx").write_bytes(b"PK")
    assert_says(refusal(tmp_path / "sales.xlsx"), "sales.xlsx", ".csv", "To do")


def test_truncated_parquet(tmp_path):
    path = tmp_path / "s.parquet"
    sales().write_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert_says(refusal(path), "a whole Parquet file", "s.parquet", "copy it again")


def test_parquet_damaged_in_the_middle(tmp_path):
    path = tmp_path / "s.parquet"
    sales().write_parquet(path)
    whole = bytearray(path.read_bytes())
    whole[4:60] = bytes(56)
    path.write_bytes(whole)
    assert_says(refusal(path), "a whole Parquet file", "s.parquet", "damaged")


def test_text_called_parquet(tmp_path):
    (tmp_path / "s.parquet").write_text("item,date,demand\na,2024-01-01,1\n")
    assert_says(refusal(tmp_path / "s.parquet"), "a whole Parquet file", "To do")


@pytest.mark.parametrize("line", ["a,2024-01-02", "a,2024-01-02,1,2"])
def test_ragged_lines(tmp_path, line):
    (tmp_path / "s.csv").write_text(f"item,date,demand\na,2024-01-01,1\n{line}\n")
    assert_says(refusal(tmp_path / "s.csv"), "as many cells", "Expected 3 columns", line, "To do")


def test_bytes_that_are_not_utf8(tmp_path):
    (tmp_path / "s.csv").write_bytes("item,date,demand\na,2024-01-01,1\ncafé,2024-01-02,1\n".encode("latin-1"))
    assert_says(refusal(tmp_path / "s.csv"), "UTF-8", "s.csv", "line 3", "To do")
    (tmp_path / "h.csv").write_bytes("item,café\na,1\n".encode("latin-1"))
    assert_says(refusal(tmp_path / "h.csv"), "UTF-8", "line 1")


def test_repeated_header(tmp_path):
    (tmp_path / "s.csv").write_text("item,date,item\na,2024-01-01,1\n")
    assert_says(refusal(tmp_path / "s.csv"), "'item' twice")


def test_files_with_other_columns(tmp_path):
    sales().write_csv(tmp_path / "1.csv")
    sales().drop("demand").write_csv(tmp_path / "2.csv")
    assert_says(refusal("*.csv", root=tmp_path), "2.csv", "'demand'")


# ---- databases


def test_database_that_is_down(monkeypatch):
    import sqlalchemy

    def down():
        raise ConnectionRefusedError("cannot reach reader:hunter2@db.example (token=s3cret)")

    real = sqlalchemy.create_engine
    monkeypatch.setattr(sqlalchemy, "create_engine", lambda url: real("sqlite://", creator=down))
    monkeypatch.setattr("shelfcast.data.queries._address", lambda url: "db.example")
    url = "sqlite://"
    message = refusal(Query(url, "select 1"))
    assert_says(message, "a database at db.example", "no connection", "check that the database is up")


def test_secrets_stay_out_of_messages():
    from sqlalchemy import make_url

    from shelfcast.data.queries import _address, _plain

    url = make_url("postgresql://reader:hunter2@db.example:5432/shop?token=s3cret")
    said = _plain(OSError("cannot reach reader:hunter2@db.example with s3cret"), url) + _address(url)
    assert "hunter2" not in said
    assert "s3cret" not in said
    assert "postgresql://db.example:5432/shop" in said


def test_database_that_refuses_connections():
    psycopg = pytest.importorskip("psycopg")
    assert psycopg
    message = refusal(Query("postgresql+psycopg://reader:hunter2@127.0.0.1:1/shop", "select 1"))
    assert_says(message, "127.0.0.1:1/shop", "check that the database is up")
    assert "hunter2" not in message


def test_database_urls_that_lead_nowhere(tmp_path):
    assert_says(refusal(Query("not a url", "select 1")), "a database URL")
    assert_says(refusal(Query("nosuchdatabase://u:hunter2@h/x", "select 1")), "database")
    assert "hunter2" not in refusal(Query("nosuchdatabase://u:hunter2@h/x", "select 1"))
    assert_says(refusal(Query("sqlite:///shop.db", "select 1"), root=tmp_path), "shop.db", "To do")
    assert not list(tmp_path.iterdir())


def test_sql_errors(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table sales (item, date, demand)")
    connection.close()
    assert_says(
        refusal(Query("sqlite:///shop.db", "select * from slaes"), root=tmp_path), "no such table: slaes", "To do"
    )
    assert_says(refusal(Query("sqlite:///shop.db", "selekt"), root=tmp_path), "syntax error")
    assert_says(refusal(Query("duckdb:", "select * from 'slaes.csv'"), root=tmp_path), "slaes.csv", "To do")
    assert_says(refusal(Query("sqlite:///shop.db", "select * from sales"), root=tmp_path), "a table with rows")
    (tmp_path / "text.db").write_text("no database" * 100)
    assert_says(refusal(Query("sqlite:///text.db", "select * from sales"), root=tmp_path), "not a database")


def test_text_in_demand_of_a_database(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table sales (item, date, demand)")
        rows = [("a", "2024-01-01", 1), ("a", "2024-01-02", 2.5), ("a", "2024-01-03", "many")]
        connection.executemany("insert into sales values (?, ?, ?)", rows)
    connection.close()
    query = Query("sqlite:///shop.db", "select * from sales")
    assert_says(refusal(query, root=tmp_path), "'demand'", "row 3", "demand=many")


def test_failed_queries_leave_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    refusal(Query("duckdb:", "select * from nothing"))
    assert not list(tmp_path.iterdir())


def test_no_room_for_the_rows_of_a_query(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table sales (item)")
    connection.close()
    query = Query("sqlite:///shop.db", "select 1 as item")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with monkeypatch.context() as patched:
        patched.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(StoreError, match=r"No space left on device.*TMPDIR"):
            open_table(query, "sales", tmp_path)
    assert not list((tmp_path / "temporary").iterdir())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(StoreError, match="TMPDIR"):
        open_table(query, "sales", tmp_path)


# ---- other tables


def test_items_with_repeated_or_null_keys():
    items = pl.DataFrame({"item": ["a", "b", "a"], "family": ["x", "y", "z"]})
    with pytest.raises(DataError) as caught:
        static_table(items, Schema())
    assert_says(str(caught.value), "items: ", "'item'", "repeated keys in 2 rows", "row 3: item=a", "To do")
    with pytest.raises(DataError, match="null keys"):
        static_table(pl.DataFrame({"item": ["a", None], "family": ["x", "y"]}), Schema())
    with pytest.raises(DataError, match=r"(?s)'item'.*there are: sku"):
        static_table(pl.DataFrame({"sku": ["a"], "family": ["x"]}), Schema())
    with pytest.raises(DataError, match="header only"):
        static_table(items.head(0), Schema())


def test_known_tables_without_what_they_are_for():
    schema = Schema(frequency="day", price="price")
    table = pl.DataFrame({"item": ["a"], "date": [dt.date(2024, 1, 1)], "prize": [1.0]})
    with pytest.raises(DataError) as caught:
        known_table(table, schema, frequency=Frequency.parse("day"))
    assert_says(str(caught.value), "known: ", "(price)", "prize")


def test_a_frame_with_numbers_as_column_names():
    frame = pd.DataFrame(np.zeros((3, 2)))
    with pytest.raises(DataError, match="text as column names"):
        open_table(frame, "sales")


def test_the_root_is_where_relative_paths_start(tmp_path: Path):
    sales().write_csv(tmp_path / "s.csv")
    assert len(list(demand_table("s.csv", DAY, today=TODAY, root=tmp_path).batches())) == 1


def test_numbers_too_large_to_add_up() -> None:
    rows = pl.DataFrame(
        {"item": ["a", "a"], "date": [dt.date(2024, 1, 1), dt.date(2024, 1, 2)], "demand": [1.0, 1e300]}
    )
    with pytest.raises(DataError, match="beyond 1e\\+30") as error:
        list(demand_table(rows, Schema(frequency="day"), today=dt.date(2024, 2, 1)).batches())
    assert "1e+300" in str(error.value)
