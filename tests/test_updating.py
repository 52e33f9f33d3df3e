"""Appending periods gives the panel that packing everything would give."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

import shop
from shelfcast.data.packing import pack
from shelfcast.data.panel import Panel
from shelfcast.data.schema import Absent, Duplicates, Negatives, PromotionKind, Schema
from shelfcast.data.tables import demand_table, known_table, static_table
from shelfcast.data.updating import can_update, update
from shelfcast.errors import DataError

TODAY = date(2026, 1, 1)
FIRST, N = 19_723, 100


def table(**given):
    frame, _ = shop.draw(8, N, seed=3, n_launches=3, **given)
    day = (pl.col("date") - pl.date(2024, 1, 1)).dt.total_days()
    frame = frame.filter(pl.col("demand") > 0)  # absent rows mean zero
    late = (pl.col("item") == "item-06") & (day < 95)  # first sold within the new periods
    ended = (pl.col("item") == "item-01") & (day > 60)
    return frame.filter(~late & ~ended).with_columns(day=day)


def both(frame, schema, cut, revised=0, items=None, known=None):
    """Packed whole, and packed to `cut` then updated with rows from `cut + 1 - revised` on."""

    def opened(part):
        sales = demand_table(part.drop("day"), schema, today=TODAY, optional=columns)
        ahead = None
        if known is not None:
            ahead = known_table(known, schema, frequency=sales.frequency, categories=sales.categories)
        return sales, ahead

    columns = {*(() if items is None else schema.static), *(() if known is None else ("price",))}
    statics = None if items is None else static_table(items, schema)
    sales, ahead = opened(frame)
    whole = pack(sales, items=statics, known=ahead)
    early, early_ahead = opened(frame.filter(pl.col("day") <= cut))
    before = pack(early, items=statics, known=early_ahead)
    return whole, update(before, sales, since=FIRST + cut + 1 - revised, items=statics, known=ahead)


def same(a: Panel, b: Panel) -> None:
    assert a.series.equals(b.series), (a.series, b.series)
    for name in ("start", "indptr", "demand", "observed", "place"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for name in ("past", "known"):
        assert np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True), name
    assert (a.last, a.names) == (b.last, b.names)
    assert a.fingerprint() == b.fingerprint()


@pytest.mark.parametrize("absent", list(Absent))
@pytest.mark.parametrize("first_sale", [False, True])
@pytest.mark.parametrize(("cut", "revised"), [(92, 0), (92, 7), (98, 1), (70, 30), (96, 97)])
def test_appending_is_packing(absent, first_sale, cut, revised):
    schema = replace(shop.SCHEMA, absent=absent, from_first_sale=first_sale)
    same(*both(table(), schema, cut, revised))


def test_a_paid_price_stays_as_last_known_from_the_old_rows_on():
    gaps = pl.when((pl.col("day") > 85) & (pl.col("day") < 97)).then(None).otherwise(pl.col("price"))
    same(*both(table().with_columns(price=gaps), replace(shop.SCHEMA, price=None, paid="price"), 92, 2))


def test_zeros_before_a_first_sale_go_when_there_is_one():
    frame = table()
    zeros = frame.filter(pl.col("item") == "item-00").with_columns(
        item=pl.lit("item-50"), demand=pl.when(pl.col("day") < 96).then(0).otherwise(pl.col("demand") + 1)
    )
    never = zeros.with_columns(item=pl.lit("item-51"), demand=pl.lit(0, dtype=pl.Int64))
    frame = pl.concat([frame, zeros, never], how="vertical_relaxed")
    schema = replace(shop.SCHEMA, from_first_sale=True)
    whole, updated = both(frame, schema, 92, 2)
    same(whole, updated)
    assert updated.start[updated.find("item-50")] >= FIRST + 96
    assert updated.start[updated.find("item-51")] < FIRST + 5


def test_planned_prices_ahead_and_an_items_table():
    frame = table().drop("department", "price")
    schema = replace(shop.SCHEMA, past=())
    names = [f"item-{i:02d}" for i in range(9)]  # item-08 never sold
    items = pl.DataFrame({"item": names, "department": ["food", "toys", "food"] * 3})
    days = pl.date_range(date(2024, 1, 1), date(2024, 5, 1), eager=True)
    price = [3.0 + (i % 5) * 0.25 for i in range(len(days))]
    known = pl.concat([pl.DataFrame({"item": name, "date": days, "price": price}) for name in names])
    for absent in Absent:
        same(*both(frame, replace(schema, absent=absent), 90, 3, items, known))


def test_repeated_rows_returns_and_a_new_category():
    frame = table().with_columns(mechanic=pl.when(pl.col("day") > 95).then(pl.lit("zip")).otherwise(pl.lit("bogo")))
    returned = frame.filter(pl.col("day") % 9 == 0).with_columns(demand=-pl.col("demand"))
    frame = pl.concat([frame, frame, returned])
    schema = Schema(
        duplicates=Duplicates.SUM, negatives=Negatives.NET, promotions={"mechanic": PromotionKind.CATEGORY},
        static=("department",), in_stock="in_stock",
    )  # fmt: skip
    same(*both(frame, schema, 92, 5))


def test_corrections_inside_the_window_are_taken_and_older_ones_not():
    frame = table()
    whole, _ = both(frame, shop.SCHEMA, 92)
    changed = frame.with_columns(demand=pl.when(pl.col("day").is_in([50, 90])).then(99).otherwise(pl.col("demand")))
    sales = demand_table(changed.drop("day"), shop.SCHEMA, today=TODAY)
    updated = update(whole, sales, since=FIRST + 88)
    at = updated.find("item-00")
    rows = slice(updated.indptr[at], updated.indptr[at + 1])
    values = dict(zip(range(N), updated.demand[rows].tolist(), strict=False))
    assert 99 in values.values()
    assert values[50] != 99


def test_two_rows_of_one_key_among_the_new_are_refused():
    frame = table()
    twice = pl.concat([frame, frame.filter(pl.col("day") == 97).head(1)])
    before = pack(demand_table(frame.filter(pl.col("day") <= 92).drop("day"), shop.SCHEMA, today=TODAY))
    with pytest.raises(DataError, match="two or more rows"):
        update(before, demand_table(twice.drop("day"), shop.SCHEMA, today=TODAY), since=FIRST + 93)


def test_tables_with_a_longest_gap_are_packed_whole():
    assert can_update(Schema())
    assert not can_update(Schema(longest_gap=3))
