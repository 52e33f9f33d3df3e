"""The door of the data layer: every source gives the same canonical batches; roles, dates and frequencies by hand."""

import datetime as dt
import gc
import sqlite3

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shelfcast.data import dates, files, sources
from shelfcast.data.schema import Negatives, PromotionKind, Schema
from shelfcast.data.tables import Query, demand_table, infer_types, known_table, open_table, static_table
from shelfcast.errors import DataError
from shelfcast.periods import Frequency

TODAY = dt.date(2024, 6, 30)
FIRST = 19723  # 2024-01-01
SCHEMA = Schema(location="store", price="price", frequency="day")


def table(n_items: int = 3, n_days: int = 4) -> pl.DataFrame:
    """Items `007`, `008`, ... in two stores; demand counts the rows, one of them null."""
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(n_days)]
    rows = [(f"{7 + i:03d}", store, day) for i in range(n_items) for store in ("x", "y") for day in days]
    frame = pl.DataFrame(rows, schema=["item", "store", "date"], orient="row")
    demand = pl.Series([None, *map(float, range(1, len(rows)))], dtype=pl.Float64)
    return frame.with_columns(demand=demand, price=pl.Series(np.arange(len(rows)) / 4))


def canonical(source, schema=SCHEMA, **settings) -> pl.DataFrame:
    """All batches as one frame, keys as text."""
    opened = demand_table(source, schema, today=TODAY, **settings)
    return pl.concat(opened.batches()).with_columns(pl.col(pl.Categorical).cast(pl.String))


def expected() -> pl.DataFrame:
    frame = table()
    period = [FIRST + (day - dt.date(2024, 1, 1)).days for day in frame["date"]]
    return pl.DataFrame(
        {
            "item": frame["item"],
            "location": frame["store"],
            "period": pl.Series(period, dtype=pl.Int32),
            "demand": frame["demand"],
            "price": frame["price"].cast(pl.Float32),
        }
    )


# ---- sources


def as_csv(tmp_path, separator=",", name="s.csv"):
    table().write_csv(tmp_path / name, separator=separator)
    return tmp_path / name


def as_parquet(tmp_path):
    table().write_parquet(tmp_path / "s.parquet")
    return str(tmp_path / "s.parquet")


def as_folder(tmp_path):
    (tmp_path / "parts").mkdir()
    table()[:10].write_parquet(tmp_path / "parts" / "1.parquet")
    table()[10:].write_parquet(tmp_path / "parts" / "2.parquet")
    return tmp_path / "parts"


def as_glob(tmp_path):
    table()[:10].write_csv(tmp_path / "1.csv")
    table()[10:].write_csv(tmp_path / "2.csv")
    return str(tmp_path / "*.csv")


def as_bom(tmp_path):
    (tmp_path / "s.csv").write_bytes(b"\xef\xbb\xbf" + table().write_csv().encode())
    return tmp_path / "s.csv"


def as_gzip(tmp_path):
    import gzip

    (tmp_path / "s.csv.gz").write_bytes(gzip.compress(table().write_csv().encode()))
    return tmp_path / "s.csv.gz"


def as_sqlite(tmp_path):
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.execute("create table sales (item text, store text, date text, demand real, price real)")
    rows = table().with_columns(pl.col("date").cast(pl.String)).rows()
    connection.executemany("insert into sales values (?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return Query(f"sqlite:///{tmp_path / 'shop.db'}", "select * from sales")


def as_duckdb(tmp_path):
    table().write_parquet(tmp_path / "s.parquet")
    return Query("duckdb:", "select * from 's.parquet' order by item, store, date; ")


def as_duckdb_file(tmp_path):
    import duckdb

    table().write_parquet(tmp_path / "s.parquet")
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
        connection.execute(f"create table sales as select * from '{tmp_path / 's.parquet'}'")
    return Query("duckdb:///shop.duckdb", "select * from sales -- all of it")


SOURCES = {
    "polars": lambda _: table(),
    "lazy": lambda _: table().lazy(),
    "pandas": lambda _: table().to_pandas(),
    "arrow": lambda _: table().to_arrow(),
    "categorical": lambda _: table().with_columns(pl.col("item", "store").cast(pl.Categorical)),
    "csv": as_csv,
    "semicolon": lambda path: as_csv(path, ";"),
    "tab": lambda path: as_csv(path, "\t", "s.tsv"),
    "bom": as_bom,
    "gzip": as_gzip,
    "parquet": as_parquet,
    "folder": as_folder,
    "glob": as_glob,
    "sqlite": as_sqlite,
    "duckdb": as_duckdb,
    "duckdb file": as_duckdb_file,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same(kind, tmp_path):
    source = SOURCES[kind](tmp_path)
    assert canonical(source, root=tmp_path).equals(expected())


@pytest.mark.parametrize("kind", ["polars", "pandas", "parquet", "csv", "lazy"])
def test_batches_are_bounded_and_add_up(kind, tmp_path, monkeypatch):
    for module in (files, sources):
        monkeypatch.setattr(module, "BATCH", 5)
    monkeypatch.setattr(files, "_CSV_BLOCK", 200)
    opened = demand_table(SOURCES[kind](tmp_path), SCHEMA, today=TODAY)
    parts = list(opened.batches())
    assert len(parts) > 2
    again = list(opened.batches())
    assert pl.concat(parts).equals(pl.concat(again))
    assert pl.concat(parts).with_columns(pl.col(pl.Categorical).cast(pl.String)).equals(expected())


def test_one_text_has_one_code_over_all_batches(tmp_path):
    # polars forgets the codes of text that nothing holds any more; the table must hold them
    items = [["b", "a"], ["c", "b"], ["a", "d"]]
    for i, names in enumerate(items):
        days = [dt.date(2024, 1, 1)] * 2
        pl.DataFrame({"item": names, "date": days, "demand": [1, 2]}).write_parquet(tmp_path / f"{i}.parquet")
    opened = demand_table(tmp_path, Schema(frequency="day"), today=TODAY)
    codes: dict[str, set[int]] = {}
    for _ in range(2):
        for batch in opened.batches():
            keys = batch["item"]
            for name, code in zip(keys.cast(pl.String).to_list(), keys.to_physical().to_list(), strict=True):
                codes.setdefault(name, set()).add(code)
            del keys, batch
            gc.collect()
    assert sorted(codes) == ["a", "b", "c", "d"]
    assert all(len(seen) == 1 for seen in codes.values())
    assert len(set.union(*codes.values())) == 4


def test_a_query_runs_once_and_its_file_goes_with_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = as_sqlite(tmp_path)
    opened = demand_table(source, SCHEMA, today=TODAY)
    (tmp_path / "shop.db").unlink()
    assert sum(batch.height for batch in opened.batches()) == table().height
    assert len(list(tmp_path.iterdir())) == 1
    del opened
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_duckdb_reshapes_wide_files(tmp_path):
    pl.DataFrame({"item": ["a", "b"], "2024-01-01": [1, 2], "2024-01-02": [3, 4]}).write_csv(tmp_path / "wide.csv")
    sql = "unpivot (from 'wide.csv') on columns(* exclude (item)) into name date value demand"
    found = canonical(Query("duckdb:", sql), Schema(frequency="day"), root=tmp_path).sort("item", "period")
    assert found.rows() == [("a", FIRST, 1), ("a", FIRST + 1, 3), ("b", FIRST, 2), ("b", FIRST + 1, 4)]


def test_columns_in_canonical_order_and_only_those_asked_for():
    opened = demand_table(table(), SCHEMA, today=TODAY)
    assert opened.columns == ("item", "location", "period", "demand", "price")
    batch = next(opened.batches(["demand", "item"], checked=False))
    assert batch.columns == ["item", "demand"]


def test_trusted_batches_equal_checked_ones():
    opened = demand_table(table(), SCHEMA, today=TODAY)
    assert next(opened.batches(checked=False)).equals(next(opened.batches()))


def test_other_columns_are_checked_in_a_trusted_reading_too():
    opened = demand_table(table().with_columns(price=float("nan")), SCHEMA, today=TODAY)
    with pytest.raises(DataError, match="'price'"):
        list(opened.batches(checked=False))


def test_whole_numbers_as_keys_become_text():
    frame = table().with_columns(item=pl.Series([11] * 24), store=pl.Series([2] * 24))
    found = canonical(frame)
    assert set(found["item"]) == {"11"}
    assert set(found["location"]) == {"2"}


def test_the_one_line_schema():
    frame = pd.DataFrame({"unique_id": ["a", "a"], "ds": pd.to_datetime(["2024-01-01", "2024-01-02"]), "y": [1, 2]})
    opened = demand_table(frame, Schema(item="unique_id", date="ds", demand="y"), today=TODAY)
    assert str(opened.frequency) == "day"
    assert next(opened.batches()).rows() == [("a", FIRST, 1.0), ("a", FIRST + 1, 2.0)]


def test_the_input_is_untouched():
    frame = table()
    before = frame.clone()
    canonical(frame, Schema(location="store", price="price", negatives=Negatives.CLIP))
    assert frame.equals(before)


# ---- roles


def roles(**columns) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(n)]
    return pl.DataFrame({"item": ["a"] * n, "date": days, "demand": [1.0] * n, **columns}, strict=False)


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ([True, False, None], [1, 0, 0]),
        ([1, 0, None], [1, 0, 0]),
        ([1.0, 0.0, None], [1, 0, 0]),
        (["Y", "n", None], [1, 0, 0]),
        (["True", "FALSE", " yes "], [1, 0, 1]),
        (["1", "0", ""], [1, 0, 0]),
    ],
)
def test_flags(values, flags):
    schema = Schema(frequency="day", promotions={"promo": PromotionKind.FLAG})
    found = canonical(roles(promo=values), schema)["promo"]
    assert found.dtype == pl.Float32
    assert found.to_list() == flags


def test_depths_and_numbers_and_past():
    schema = Schema(
        frequency="day", promotions={"off": PromotionKind.DEPTH}, known=("temp",), past=("views",), static=("family",)
    )
    frame = roles(off=["0.3", None, "1"], temp=[-5, None, 20], views=[1.0, float("nan"), None], family=["f"] * 3)
    found = canonical(frame, schema)
    assert found.columns == ["item", "period", "demand", "off", "temp", "views", "family"]
    assert found["off"].to_list() == [pytest.approx(0.3), 0, 1]
    assert found["temp"].to_list() == [-5, None, 20]
    assert found["views"].to_list() == [1, None, None]
    assert found["family"].to_list() == ["f"] * 3


def test_stock_as_flag_or_fraction():
    schema = Schema(frequency="day", in_stock="stock")
    assert canonical(roles(stock=["Y", "N", None]), schema)["in_stock"].to_list() == [1, 0, 1]
    assert canonical(roles(stock=[0.25, None, 1.0]), schema)["in_stock"].to_list() == [0.25, 1, 1]
    assert canonical(roles(stock=["0.25", "yes", "0"]), schema)["in_stock"].to_list() == [0.25, 1, 0]


def test_categories_have_codes_in_the_order_of_names():
    schema = Schema(frequency="day", promotions={"promo": PromotionKind.CATEGORY})
    frame = roles(promo=["TPR", None, "Display", "none", "TPR", ""])
    opened = demand_table(frame, schema, today=TODAY)
    assert opened.categories == {"promo": ("none", "Display", "TPR")}
    assert next(opened.batches())["promo"].to_list() == [2, 0, 1, 0, 2, 0]


def test_planned_categories_keep_the_codes_of_the_past():
    schema = Schema(frequency="day", promotions={"promo": PromotionKind.CATEGORY})
    sales = demand_table(roles(promo=["TPR", "Display"]), schema, today=TODAY)
    plan = pl.DataFrame({"item": ["a", "a"], "date": ["2024-08-01", "2024-08-02"], "promo": ["Banner", "TPR"]})
    known = known_table(plan, schema, frequency=sales.frequency, categories=sales.categories)
    assert known.categories == {"promo": ("none", "Display", "TPR", "Banner")}
    batch = next(known.batches())
    assert batch.columns == ["item", "period", "promo"]
    assert batch["promo"].to_list() == [3, 2]


def test_known_columns_by_location_only():
    plan = pl.DataFrame({"store": ["x"], "date": [dt.date(2030, 1, 1)], "price": [2.5], "remark": ["-"]})
    known = known_table(plan, SCHEMA, frequency=Frequency.parse("day"))
    batch = next(known.batches())
    assert batch.columns == ["location", "period", "price"]
    assert batch["price"].to_list() == [2.5]


def test_columns_that_another_table_has():
    opened = demand_table(table().drop("price"), SCHEMA, today=TODAY, optional=["price"])
    assert opened.columns == ("item", "location", "period", "demand")
    assert demand_table(table(), SCHEMA, today=TODAY, optional=["price"]).columns[-1] == "price"


def test_rows_after_today_may_plan():
    late = TODAY + dt.timedelta(days=10)
    frame = pl.DataFrame({"item": ["a", "a"], "date": [TODAY, late], "demand": [1, None], "price": [1.0, 2.0]})
    found = canonical(frame, Schema(frequency="day", price="price"))
    assert found["demand"].to_list() == [1, None]


def test_the_week_of_today_is_not_the_future():
    monday = dt.date(2024, 6, 24)
    frame = pl.DataFrame({"item": ["a"], "date": [monday], "demand": [1]})
    assert canonical(frame, Schema(frequency="week")).height == 1


# ---- dates


FORMS = ["%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%b-%Y", "%Y-%m-%dT%H:%M:%S"]


@pytest.mark.parametrize("form", FORMS)
def test_one_clear_format(form):
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(40)]
    texts = [day.strftime(form) for day in days]
    frame = pl.DataFrame({"item": ["a"] * 40, "date": texts, "demand": [1] * 40})
    opened = demand_table(frame, Schema(), today=TODAY)
    assert str(opened.frequency) == "day"
    assert next(opened.batches())["period"].to_list() == list(range(FIRST, FIRST + 40))


def test_whole_numbers_as_dates():
    frame = pl.DataFrame({"item": ["a"] * 2, "date": [20240101, 20240229], "demand": [1] * 2})
    assert canonical(frame, Schema(frequency="day"))["period"].to_list() == [FIRST, FIRST + 59]


def test_time_zones_keep_their_wall_clock():
    begin = dt.datetime(2024, 3, 30, 21)
    utc = pl.datetime_range(begin, begin + dt.timedelta(hours=4), "1h", time_zone="UTC", eager=True)
    zoned = utc.dt.convert_time_zone("Europe/Berlin")
    frame = pl.DataFrame({"item": ["a"] * 5, "date": zoned, "demand": [1] * 5})
    opened = demand_table(frame, Schema(), today=TODAY)
    assert str(opened.frequency) == "hour"
    hours = [int(hour) % 24 for hour in next(opened.batches())["period"]]
    assert hours == [22, 23, 0, 1, 3]  # the clock leaps over 2 that night


FREQUENCIES = ["hour", "day", "week", "week-sun", "week-wed", "month"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(FREQUENCIES),
    numbers=st.lists(st.integers(100, 600), min_size=1, max_size=30, unique=True),
    form=st.sampled_from(["date", "us", "ns", "ms", "text", "categorical"]),
    declared=st.booleans(),
)
def test_labels_of_any_frequency_come_back_as_their_periods(name, numbers, form, declared):
    frequency = Frequency.parse(name)
    if not declared:
        numbers = [*range(700, 720), *numbers]
    labels = pl.Series("date", frequency.to_date(numbers).astype("datetime64[us]"))
    if form == "date":
        column = labels.cast(pl.Date) if name != "hour" else labels
    elif form in ("text", "categorical"):
        text = labels.dt.strftime("%Y-%m-%d %H:%M:%S")
        column = text if form == "text" else text.cast(pl.Categorical)
    else:
        column = labels.dt.cast_time_unit(form)
    frame = pl.DataFrame([pl.Series("item", ["a"] * len(numbers)), column, pl.Series("demand", [1] * len(numbers))])
    opened = demand_table(frame, Schema(frequency=name if declared else None), today=dt.date(2100, 1, 1))
    assert opened.frequency == frequency
    assert pl.concat(opened.batches())["period"].to_list() == numbers


def test_the_steps_are_looked_at_in_whole_series(monkeypatch):
    monkeypatch.setattr(dates, "_SAMPLED", 50)
    weeks = [dt.date(2023, 1, 2) + dt.timedelta(weeks=i) for i in range(40)]
    rows = [(f"i{k}", week + dt.timedelta(days=k % 2)) for week in weeks for k in range(20)]
    frame = pl.DataFrame(rows, schema=["item", "date"], orient="row").with_columns(demand=1.0)
    with pytest.raises(DataError, match="mixed frequency: most steps are of one week"):
        demand_table(frame, Schema(), today=TODAY)
    sparse = frame.filter(pl.col("item") == "i0").with_columns(
        pl.col("date") + pl.duration(days=pl.int_range(pl.len()))
    )
    assert str(demand_table(sparse, Schema(), today=TODAY).frequency) == "day"


def test_declared_days_may_lie_weeks_apart():
    weeks = [dt.date(2023, 1, 2) + dt.timedelta(days=7 * i + (i == 5)) for i in range(20)]
    frame = pl.DataFrame({"item": ["a"] * 20, "date": weeks, "demand": [1] * 20})
    assert canonical(frame, Schema(frequency="day")).height == 20


# ---- static tables


def test_items_by_item_location_or_both(tmp_path):
    (tmp_path / "items.csv").write_text("item,family,weight,code,size\n007,dairy,1.5,01,3\n008,meat,,02,4\n")
    items = static_table("items.csv", SCHEMA, root=tmp_path)
    assert items.columns == ["item", "family", "weight", "code", "size"]
    assert items.dtypes == [pl.Categorical, pl.String, pl.Float64, pl.String, pl.Int64]
    assert items["item"].cast(pl.String).to_list() == ["007", "008"]
    places = static_table(pd.DataFrame({"store": [1, 2], "city": ["Bonn", "Ulm"]}), SCHEMA, name="locations")
    assert places.columns == ["location", "city"]
    both = pl.DataFrame({"store": ["x", "y"], "item": ["a", "a"], "shelf": [1, 2], "other": [0, 0]})
    assert static_table(both, SCHEMA, columns=["shelf"]).columns == ["item", "location", "shelf"]


def test_static_columns_of_the_sales_table_keep_their_type():
    schema = Schema(frequency="day", static=("family", "size"))
    opened = demand_table(roles(family=["f", "f"], size=[2, 2]), schema, today=TODAY)
    assert opened.static_dtypes == {"family": pl.String(), "size": pl.Int64()}


def test_text_of_numbers_becomes_numbers():
    frame = pl.DataFrame({"a": ["1", "2"], "b": ["1.5", None], "c": ["01", "2"], "d": ["x", "1"], "e": [None, None]})
    assert infer_types(frame).dtypes[:4] == [pl.Int64, pl.Float64, pl.String, pl.String]


def test_tables_open_under_their_names():
    opened = open_table(pa.table({"a": [1, 2]}), "prices")
    assert (opened.name, opened.columns) == ("prices", ("a",))
    assert next(opened.batches())["a"].to_list() == [1, 2]
    with pytest.raises(DataError, match=r"prices: expected a column 'b'"):
        opened.batches(["b"])
