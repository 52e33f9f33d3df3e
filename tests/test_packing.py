"""Packing equals a slow dict of rows and SQL, whatever the order, the frame library and the declared meanings."""

from datetime import date

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles.panels import cells_of, day, dict_cells, duckdb_cells, same_cells
from shelfcast.data.panel import Panel
from shelfcast.data.schema import Absent, Duplicates, Negatives, PromotionKind, Schema
from shelfcast.errors import DataError
from shelfcast.periods import Frequency
from shop import SCHEMA, panel_of

TODAY = date(2026, 1, 1)
FIRST = 19_723  # Monday 2024-01-01
ITEMS = ["a", "b", "c"]


def frame_of(rows, **columns):
    """Rows (item, day number, demand, in stock) as a table."""
    made = {
        "item": [key for key, *_ in rows],
        "date": [day(when) for _, when, *_ in rows],
        "demand": [demand for *_, demand, _ in rows],
        "in_stock": [stock for *_, stock in rows],
    }
    return pl.DataFrame(made | columns, schema_overrides={"demand": pl.Float64, "in_stock": pl.Float64})


def pack(frame, **schema):
    schema = {"frequency": "day"} | schema
    items, known = schema.pop("items", None), schema.pop("known", None)
    return Panel.from_frame(frame, Schema(**schema), items=items, known=known, today=TODAY)


@st.composite
def tables(draw, unique=True, least=0):
    """Rows (item, day, demand, in stock), at least one with demand."""
    keys = st.tuples(st.sampled_from(ITEMS), st.integers(FIRST, FIRST + 14))
    cells = draw(st.lists(keys, min_size=1, max_size=25, unique=unique))
    demand = st.none() | st.integers(least, 9).map(float) | st.just(0.0)
    rows = [(*cell, draw(demand), draw(st.sampled_from([1.0, 1.0, 1.0, 0.4, 0.0]))) for cell in cells]
    return [(*rows[0][:2], float(draw(st.integers(1, 9))), rows[0][3]), *rows[1:]]


# --- against the dict of rows --------------------------------------------------------------------------------------


@given(
    tables(),
    st.sampled_from(Absent),
    st.none() | st.integers(0, 4),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_cells_equal_the_dict_in_any_row_order(rows, absent, longest_gap, from_first_sale, random):
    declared = {"absent": absent, "longest_gap": longest_gap, "from_first_sale": from_first_sale}
    panel = pack(frame_of(rows), in_stock="in_stock", **declared)
    slow, last = dict_cells(rows, Schema(in_stock="in_stock", **declared))
    assert same_cells(cells_of(panel), slow)
    assert panel.last == last
    shuffled = list(rows)
    random.shuffle(shuffled)
    again = pack(frame_of(shuffled), in_stock="in_stock", **declared)
    assert again.fingerprint() == panel.fingerprint()


@given(tables(unique=False, least=-5), st.sampled_from([Negatives.CLIP, Negatives.NET]), st.booleans())
def test_repeated_and_negative_rows_equal_the_dict(rows, negatives, from_first_sale):
    declared = {"negatives": negatives, "from_first_sale": from_first_sale}
    panel = pack(frame_of(rows), in_stock="in_stock", duplicates=Duplicates.SUM, **declared)
    slow, _ = dict_cells(rows, Schema(in_stock="in_stock", **declared))
    assert same_cells(cells_of(panel), slow)


@given(
    tables(),
    st.sampled_from(Absent),
    st.sampled_from([None, 0, 3]),
    st.lists(st.tuples(st.sampled_from([*ITEMS, "new", "stranger"]), st.integers(FIRST, FIRST + 30)), unique=True),
)
def test_columns_known_ahead_reach_past_the_last_sale_and_change_no_demand(rows, absent, longest_gap, plan):
    declared = {"absent": absent, "longest_gap": longest_gap}
    plan = plan or [("a", FIRST + 20)]
    known = pl.DataFrame({"item": [k for k, _ in plan], "date": [day(d) for _, d in plan], "price": [2.5] * len(plan)})
    items = pl.DataFrame({"item": [*ITEMS, "new"]})
    panel = pack(frame_of(rows), in_stock="in_stock", price="price", known=known, items=items, **declared)
    slow, _ = dict_cells(rows, Schema(in_stock="in_stock", **declared), known=plan, items=[*ITEMS, "new"])
    assert same_cells(cells_of(panel), slow)
    prices = panel.known[:, 0]
    planned = np.isin(panel.row_series(), [panel.find(k) for k, _ in plan if k != "stranger"])
    assert set(prices[~planned].tolist()) <= {2.5} or np.isnan(prices[~planned]).all()


def test_demand_equals_sql(shop):
    frame = shop[0].select("item", "date", pl.col("demand").cast(pl.Float64)).sample(fraction=0.7, seed=1)
    frame = frame.filter(pl.col("demand") > 0)
    panel = pack(frame)
    slow = duckdb_cells(frame)
    assert len(slow["units"]) == len(panel.demand)
    assert panel.series["item"][panel.row_series()].to_list() == list(slow["item"])
    assert (panel.frequency.to_date(panel.row_periods()) == slow["date"].astype("datetime64[D]")).all()
    assert (panel.demand == slow["units"]).all()
    assert panel.observed.all()


def test_sums_of_repeated_rows_equal_sql():
    rng = np.random.default_rng(0)
    n = 5_000
    frame = pl.DataFrame(
        {
            "item": rng.choice(["a", "b", "c"], n),
            "date": [day(FIRST + d) for d in rng.integers(0, 30, n)],
            "demand": rng.poisson(3, n).astype(float),
        }
    )
    panel = pack(frame, duplicates=Duplicates.SUM)
    assert (panel.demand == duckdb_cells(frame)["units"]).all()


def test_sums_of_fractions_do_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(1)
    n = 3_000
    frame = pl.DataFrame(
        {
            "item": rng.choice(["a", "b"], n),
            "date": [day(FIRST + d) for d in rng.integers(0, 9, n)],
            "demand": rng.gamma(1.0, 30.0, n),
        }
    )
    one = pack(frame, duplicates=Duplicates.SUM)
    for seed in range(5):
        other = pack(frame.sample(fraction=1.0, shuffle=True, seed=seed), duplicates=Duplicates.SUM)
        assert other.fingerprint() == one.fingerprint()
    assert one.demand.dtype == np.float32
    assert one.demand == pytest.approx(duckdb_cells(frame)["units"].astype(np.float32), rel=1e-7)


# --- by hand -------------------------------------------------------------------------------------------------------

GAPPED = [("a", FIRST, 2.0, 1.0), ("a", FIRST + 4, 3.0, 1.0), ("b", FIRST + 1, 0.0, 1.0), ("b", FIRST + 6, 5.0, 1.0)]


@pytest.mark.parametrize(
    ("declared", "demand", "seen"),
    [
        ({}, [[2, 0, 0, 0, 3, 0, 0], [0, 0, 0, 0, 0, 5]], ["1111111", "111111"]),
        ({"absent": Absent.UNOBSERVED}, [[2, 0, 0, 0, 3], [0, 0, 0, 0, 0, 5]], ["10001", "100001"]),
        ({"longest_gap": 3}, [[2, 0, 0, 0, 3, 0, 0], [0, 0, 0, 0, 0, 5]], ["1111111", "100001"]),
        ({"longest_gap": 1}, [[2, 0, 0, 0, 3, 0, 0], [0, 0, 0, 0, 0, 5]], ["1000100", "100001"]),
        ({"from_first_sale": True}, [[2, 0, 0, 0, 3, 0, 0], [5]], ["1111111", "1"]),
    ],
)
def test_declared_meanings_of_absent_rows(declared, demand, seen):
    panel = pack(frame_of(GAPPED), **declared)
    for i in range(2):
        rows = slice(panel.indptr[i], panel.indptr[i + 1])
        assert panel.demand[rows].tolist() == demand[i]
        assert "".join("01"[int(s)] for s in panel.observed[rows]) == seen[i]


def test_a_gap_is_not_longer_for_what_is_planned_behind_it():
    known = pl.DataFrame({"item": ["a"], "date": [day(FIRST + 40)], "price": [1.0]})
    with_plan = pack(frame_of(GAPPED), longest_gap=3, price="price", known=known)
    without = pack(frame_of(GAPPED), longest_gap=3)
    assert with_plan.window(FIRST, FIRST + 6)[1].tolist() == without.window(FIRST, FIRST + 6)[1].tolist()
    assert with_plan.lengths.tolist() == [41, 6]


def test_stock_flags_and_fractions():
    rows = [("a", FIRST + i, 4.0, stock) for i, stock in enumerate([1.0, 0.5, 0.49, 0.0])]
    panel = pack(frame_of(rows), in_stock="in_stock")
    assert panel.observed.tolist() == [True, True, False, False]
    assert panel.demand.tolist() == [4.0, 4.0, 0.0, 0.0]
    strict = pack(frame_of(rows), in_stock="in_stock", in_stock_from=1.0)
    assert strict.observed.tolist() == [True, False, False, False]


def test_two_rows_of_one_key_and_date_are_refused_with_samples():
    frame = frame_of([*GAPPED, ("b", FIRST + 6, 1.0, 1.0), ("b", FIRST + 6, 1.0, 1.0)])
    with pytest.raises(DataError, match="one row for each key and date; got 1 keys") as error:
        pack(frame)
    assert "2024-01-07" in str(error.value)
    assert "'rows': 3" in str(error.value)
    assert "duplicates = 'sum'" in str(error.value)


def test_netted_returns():
    rows = [("a", FIRST, 5.0, 1.0), ("a", FIRST, -2.0, 1.0), ("a", FIRST + 1, -3.0, 1.0), ("a", FIRST + 2, 4.0, 1.0)]
    net = pack(frame_of(rows), duplicates=Duplicates.SUM, negatives=Negatives.NET)
    clip = pack(frame_of(rows), duplicates=Duplicates.SUM, negatives=Negatives.CLIP)
    assert net.demand.tolist() == [3.0, 0.0, 4.0]
    assert clip.demand.tolist() == [5.0, 0.0, 4.0]
    with pytest.raises(DataError, match="demand of 0 or more"):
        pack(frame_of(rows), duplicates=Duplicates.SUM)


def test_a_product_only_in_the_items_table_is_a_series_without_rows():
    items = pl.DataFrame({"item": ["b", "a", "new"], "brand": ["x", "y", "z"], "size": ["1", "2", "3"]})
    panel = pack(frame_of(GAPPED), items=items)
    assert panel.series.rows() == [("a", "y", 2), ("b", "x", 1), ("new", "z", 3)]
    assert panel.lengths.tolist() == [7, 6, 0]


def test_a_plan_for_a_product_without_sales_gives_it_future_rows():
    items = pl.DataFrame({"item": ["a", "b", "new"]})
    known = pl.DataFrame({"item": ["new"] * 2, "date": [day(FIRST + 6), day(FIRST + 9)], "price": [3.0, 4.0]})
    panel = pack(frame_of(GAPPED), items=items, known=known, price="price")
    new = panel.take([2])
    assert (int(new.start[0]), new.lengths.tolist()) == (FIRST + 7, [3])
    np.testing.assert_array_equal(new.known[:, 0], [np.nan, np.nan, 4.0])  # unknown until it is known
    assert not new.observed.any()


def test_items_and_locations_are_keys_together():
    rng = np.random.default_rng(3)
    pairs = [("p", "north"), ("p", "south"), ("q", "south"), ("q", "east")]
    rows = [(pair, FIRST + d, float(rng.poisson(4)), 1.0) for pair in pairs for d in rng.choice(12, 8, replace=False)]
    frame = frame_of([(pair[0], *rest) for pair, *rest in rows], shop=[pair[1] for pair, *_ in rows])
    panel = pack(frame.sample(fraction=1.0, shuffle=True, seed=1), location="shop")
    slow, _ = dict_cells(rows, Schema())
    assert panel.keys == ["item", "location"]
    assert same_cells(cells_of(panel, panel.keys), slow)
    assert panel.find("q", "south") == 3
    items = pl.DataFrame({"item": ["p", "q", "r"], "brand": ["x", "y", "z"]})
    assert pack(frame, location="shop", items=items).series["brand"].to_list() == ["x", "x", "y", "y"]
    places = pl.DataFrame({"shop": ["north", "south", "east"], "size": [1, 2, 3]})
    assert pack(frame, location="shop", items=places).series["size"].to_list() == [1, 2, 3, 2]
    both = pl.DataFrame({"item": ["p", "r"], "shop": ["east", "north"], "brand": ["x", "y"]})
    assert pack(frame, location="shop", items=both).series.select("item", "location", "brand").rows() == [
        ("p", "east", "x"), ("p", "north", None), ("p", "south", None),
        ("q", "east", None), ("q", "south", None), ("r", "north", "y"),
    ]  # fmt: skip


def test_a_plan_by_location_holds_for_every_item_there():
    frame = pl.DataFrame(
        {"item": ["p", "q", "p"], "location": ["n", "n", "s"], "date": [day(FIRST)] * 3, "demand": [1.0, 2.0, 3.0]}
    )
    known = pl.DataFrame({"location": ["n"], "date": [day(FIRST + 1)], "promo": [1]})
    panel = pack(frame, location="location", promotions={"promo": PromotionKind.FLAG}, known=known)
    assert panel.lengths.tolist() == [2, 1, 2]
    assert panel.known[:, 0].tolist() == [0, 1, 0, 0, 1]


def test_a_static_column_that_changes_is_refused():
    frame = frame_of(GAPPED, brand=["x", "y", "z", "z"])
    with pytest.raises(DataError, match=r"one value a series; got 1 series where they change") as error:
        pack(frame, static=("brand",))
    assert "'a'" in str(error.value)
    assert pack(frame_of(GAPPED, brand=["x", "x", "z", "z"]), static=("brand",)).series["brand"].to_list() == ["x", "z"]


def test_a_static_column_has_one_home():
    items = pl.DataFrame({"item": ["a", "b"], "brand": ["x", "z"]})
    frame = frame_of(GAPPED, brand=["x", "x", "z", "z"])
    with pytest.raises(DataError, match="each static column in one table"):
        pack(frame, static=("brand",), items=items)


def test_only_empty_demand_is_refused():
    with pytest.raises(DataError, match="only empty cells"):
        pack(frame_of([("a", FIRST, None, 1.0)]))


def test_prices_stay_as_last_known_and_promotions_end():
    rows = [("a", FIRST + i, 1.0, 1.0) for i in range(5)]
    columns = {"price": [None, 2.0, None, 3.0, None], "promo": [None, 1, None, 0, 1], "views": [1, None, 3, 4, 5]}
    panel = pack(
        frame_of([*rows[:4], rows[4]], **columns),
        price="price", promotions={"promo": PromotionKind.FLAG}, past=("views",),
    )  # fmt: skip
    np.testing.assert_array_equal(panel.known[:, 0], [np.nan, 2.0, 2.0, 3.0, 3.0])
    assert panel.known[:, 1].tolist() == [0, 1, 0, 0, 1]
    assert np.array_equal(panel.past[:, 0], np.array([1, np.nan, 3, 4, 5]), equal_nan=True)
    assert (panel.names.price, panel.names.promotions) == ("price", ("promo",))


def test_a_plan_counts_where_it_has_a_value():
    rows = [("a", FIRST + i, 1.0, 1.0) for i in range(3)]
    known = pl.DataFrame(
        {"item": ["a"] * 3, "date": [day(FIRST + d) for d in (1, 2, 3)], "price": [None, 8.0, 9.0]},
        schema_overrides={"price": pl.Float64},
    )
    panel = pack(frame_of(rows, price=[1.0, 2.0, 3.0]), price="price", known=known)
    assert panel.known[:, 0].tolist() == [1.0, 2.0, 8.0, 9.0]


def test_prices_never_leak_from_one_series_to_the_next():
    rng = np.random.default_rng(0)
    rows = [(f"i{i}", FIRST + d, 1.0, 1.0) for i in range(30) for d in range(20)]
    price = [float(i) if rng.random() < 0.2 else None for i in range(30) for _ in range(20)]
    panel = pack(frame_of(rows, price=price), price="price")
    own = np.array([int(name[1:]) for name in panel.series["item"]])[panel.row_series()]
    found = panel.known[:, 0]
    assert ((found == own) | np.isnan(found)).all()
    assert np.isnan(found).mean() < 0.3


def test_past_columns_after_the_last_sale_are_not_known():
    rows = [("a", FIRST, 1.0, 1.0), ("a", FIRST + 1, 2.0, 1.0), ("a", FIRST + 2, None, 1.0)]
    panel = pack(frame_of(rows, views=[10, 11, 12]), past=("views",))
    assert panel.last == FIRST + 1
    assert panel.past[:2, 0].tolist() == [10, 11]
    assert np.isnan(panel.past[2, 0])


# --- any frame -----------------------------------------------------------------------------------------------------


def test_every_frame_library_gives_one_panel(shop, shop_panel):
    frame = shop[0]
    pandas = pd.DataFrame({c: frame[c].to_numpy() for c in frame.columns})
    for same in (pandas, frame.to_arrow(), frame.lazy(), frame.with_columns(pl.col("item").cast(pl.Categorical))):
        assert Panel.from_frame(same, SCHEMA, today=TODAY).fingerprint() == shop_panel.fingerprint(), type(same)


def test_a_file_gives_the_same_panel(shop, shop_panel, tmp_path):
    shop[0].write_parquet(tmp_path / "sales.parquet", row_group_size=97)
    shop[0].write_csv(tmp_path / "sales.csv")
    for name in ("sales.parquet", "sales.csv"):
        panel = Panel.from_frame(str(tmp_path / name), SCHEMA, today=TODAY)
        assert panel.fingerprint() == shop_panel.fingerprint(), name


def test_unique_id_ds_y_is_one_line():
    when = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-02"])
    frame = pd.DataFrame({"unique_id": ["x", "x", "z"], "ds": when, "y": [1.0, 2.0, 3.0]})
    schema = Schema(item="unique_id", date="ds", demand="y", frequency="day")
    panel = Panel.from_frame(frame, schema, today=TODAY)
    expected = panel_of([[1, 2], [3]], starts=[FIRST, FIRST + 1])
    assert cells_of(panel) == {"x": {FIRST: (1.0, True), FIRST + 1: (2.0, True)}, "z": {FIRST + 1: (3.0, True)}}
    assert (panel.demand == expected.demand).all()


def test_a_shop_keeps_what_it_was_drawn_from(shop, shop_panel):
    frame, truth = shop
    demand, observed = shop_panel.window(FIRST, FIRST + 139)
    alive = np.arange(140) >= truth.starts[:, None]
    assert (observed == (alive & truth.in_stock)).all()
    assert demand[observed].sum() == frame["demand"].sum()
    known = shop_panel.known_window(FIRST, FIRST + 139)
    assert (known[alive][:, 1] == truth.promoted[alive]).all()
    assert np.isnan(known[~alive]).all()


@pytest.mark.parametrize("freq", ["hour", "week-wed", "month"])
def test_other_frequencies_pack_alike(freq):
    frequency = Frequency.parse(freq)
    periods = np.array([600, 601, 603])
    frame = pl.DataFrame({"item": ["a"] * 3, "date": frequency.to_date(periods), "demand": [1.0, 2.0, 3.0]})
    panel = pack(frame, frequency=freq)
    assert panel.demand.tolist() == [1, 2, 0, 3]
    assert (int(panel.start[0]), panel.last) == (600, 603)


def test_many_series_are_found_by_search_too(shop, monkeypatch):
    """Beyond the table of pairs, places come from a binary search; both must agree."""
    rows = frame_of(GAPPED[::-1], shop=["z", "n", "c", "m"])
    direct = pack(rows, location="shop")
    monkeypatch.setattr("shelfcast.data.packing._DIRECT_CELLS", 0)
    assert pack(rows, location="shop").fingerprint() == direct.fingerprint()


def test_filling_in_pieces_changes_nothing(shop, shop_panel, monkeypatch):
    monkeypatch.setattr("shelfcast.data.packing._FILL_ROWS", 50)
    assert Panel.from_frame(shop[0], SCHEMA, today=TODAY).fingerprint() == shop_panel.fingerprint()


def test_sql_agrees_on_observed_days(shop, shop_panel):
    with duckdb.connect() as connection:
        connection.register("frame", shop[0].to_arrow())
        counted = connection.sql("select sum(in_stock) from frame").fetchall()[0][0]
    assert shop_panel.observed.sum() == counted
