"""A price known only afterwards: it tells what units are worth and of the past, and no forecast reads it ahead."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

import shop
from shelfcast.cells import dollar_sales
from shelfcast.data import inspection
from shelfcast.data.aggregates import with_aggregates
from shelfcast.data.panel import Panel
from shelfcast.data.schema import Duplicates, Schema
from shelfcast.data.tables import known_table
from shelfcast.drift import _weekly_price
from shelfcast.errors import ConfigError, DataError
from shelfcast.evaluation import evaluate
from shelfcast.models.drawing import draw_rows
from shelfcast.models.promotions import Design
from shelfcast.models.routing import _price
from shelfcast.models.table import forecaster
from shelfcast.networks.sampling import Facts
from shelfcast.purchasing import _latest_price
from shelfcast.report.exceptions import latest_price

TODAY = date(2026, 1, 1)
PAID = replace(shop.SCHEMA, price=None, paid="price")


def both(**given) -> tuple[Panel, Panel]:
    """One table with its price planned ahead, and paid."""
    frame, _ = shop.draw(6, 120, seed=5, **given)
    return tuple(Panel.from_frame(frame, schema, today=TODAY) for schema in (shop.SCHEMA, PAID))


def test_what_was_paid_is_a_past_column_filled_with_what_was_last_known():
    frame = pl.DataFrame({
        "item": ["a"] * 4 + ["b"] * 4, "date": [date(2024, 1, day) for day in (1, 2, 3, 4)] * 2,
        "demand": [1, 2, 0, 4, None, 2, 3, None], "price": [None, 2.0, None, 3.0, 5.0, None, None, 9.0],
    })  # fmt: skip
    panel = Panel.from_frame(frame, Schema(paid="price", frequency="day"), today=TODAY)
    assert (panel.names.price, panel.names.paid, panel.names.known, panel.names.past) == (None, "price", (), ("price",))
    np.testing.assert_array_equal(panel.past[:, 0], [np.nan, 2, 2, 3, 5, 5, 5, 9])
    shown = panel.as_of(panel.last - 1)
    np.testing.assert_array_equal(shown.price_window(panel.last - 1, panel.last), [[2, np.nan], [5, np.nan]])


def test_a_paid_price_of_a_day_that_no_origin_can_know_is_hidden():
    frame = pl.DataFrame({
        "item": ["a"] * 3, "date": [date(2024, 1, day) for day in (1, 2, 3)], "demand": [1, 2, None],
        "price": [1.0, 2.0, 3.0],
    })  # fmt: skip
    panel = Panel.from_frame(frame, Schema(paid="price", frequency="day"), today=TODAY)
    np.testing.assert_array_equal(panel.past[:, 0], [1, 2, np.nan])


def test_it_tells_what_units_are_worth():
    planned, paid = both()
    assert planned.prices is not None
    np.testing.assert_array_equal(planned.prices, paid.prices)
    np.testing.assert_array_equal(dollar_sales(planned, planned.last), dollar_sales(paid, paid.last))
    origins = [planned.last - 7]
    scores = [
        evaluate(forecaster("season-profile", horizons=7).fit(p.as_of(origins[0])).predict(p, origins), p, by=())
        for p in (planned, paid)
    ]
    value = [table.filter(pl.col("metric") == "wspl")["value"].item() for table in scores]
    assert value[0] == value[1] > 0


READERS = {
    "money of orders": _latest_price,
    "money at risk": latest_price,
    "alarms": lambda panel: _weekly_price(panel, panel.last - 27, 4, 7),
    "classes by value": lambda panel: _price(panel.as_of(panel.last)),
    "series of a training step": lambda panel: Facts.of(panel, 28, panel.last).share,
    "rows of a forest": lambda panel: draw_rows(panel, np.arange(7), 1, 500, np.random.default_rng(0)).series,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_whoever_asks_for_money_gets_what_a_planned_price_would_give(read):
    planned, paid = both()
    without = Panel.from_frame(shop.draw(6, 120, seed=5)[0], replace(PAID, paid=None), today=TODAY)
    found = read(paid)
    np.testing.assert_array_equal(read(planned), found)
    other = read(without)
    assert other is None or not np.array_equal(other, found)


def test_a_jump_of_what_is_paid_is_told_as_one_of_a_price():
    frame, _ = shop.draw(6, 120, seed=5)
    dear = frame.with_columns(
        price=pl.when(pl.col("date") > date(2024, 4, 22)).then(pl.col("price") * 100).otherwise("price")
    )
    new = Panel.from_frame(dear, PAID, today=TODAY)
    assert any(name == "price" for name, _ in inspection._prices(new.as_of(new.last - 7), new))


def test_totals_have_the_mean_price_of_their_members_as_a_planned_price_has():
    planned, paid = (with_aggregates(panel, [[], ["department"]]) for panel in both())
    np.testing.assert_array_equal(planned.prices, paid.prices)
    views, summed = (panel.past[:, panel.names.past.index("views")] for panel in (planned, paid))
    np.testing.assert_array_equal(views, summed)


def test_without_prices_there_are_none():
    panel = Panel.from_frame(shop.draw(2, 40)[0], Schema(), today=TODAY)
    assert panel.prices is None
    assert panel.price_window(panel.first, panel.last) is None


@pytest.mark.parametrize(
    ("model", "settings"), [("patchwork", {}), ("sqrf", {"n_trees": 4}), ("mq-cnn", {"steps": 2, "features": True})]
)
def test_no_forecast_reads_it_ahead(model, settings):
    panel = both()[1]
    origin = panel.last - 14
    later = panel.row_periods() > origin
    past = np.array(panel.past)
    past[later, panel.names.past.index("price")] *= 7
    fitted = forecaster(model, horizons=7, **settings).fit(panel.as_of(origin), seed=1)
    one, other = (fitted.predict(p, [origin]).values for p in (panel, replace(panel, past=past)))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("model", "settings"), [("sqrf", {"n_trees": 8}), ("mq-cnn", {"steps": 20})])
def test_learned_models_read_it_up_to_the_origin(model, settings):
    panel = both()[1]
    origin = panel.last - 14
    past = np.array(panel.past)
    past[panel.row_periods() > origin - 7, panel.names.past.index("price")] *= 7
    fitted = forecaster(model, horizons=7, **settings).fit(panel.as_of(origin), seed=1)
    one, other = (fitted.predict(p, [origin]).values for p in (panel, replace(panel, past=past)))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("order", [1, -1])
def test_rows_added_up_have_the_mean_price_of_their_units_in_any_order(order):
    """1 unit at 10 and 9 at 1 cost 19 / 10; a row without a price and one without units tell nothing."""
    rows = [(1, 10.0), (9, 1.0), (5, None), (0, 99.0)][::order]
    frame = pl.DataFrame(
        {"item": "a", "date": date(2024, 1, 1), "demand": [u for u, _ in rows], "price": [p for _, p in rows]}
    )
    after = frame.head(1).with_columns(date=pl.lit(date(2024, 1, 2)), demand=pl.lit(0, dtype=pl.Int64))
    schema = Schema(paid="price", frequency="day", duplicates=Duplicates.SUM)
    panel = Panel.from_frame(pl.concat([frame, after]), schema, today=TODAY)
    assert panel.demand.tolist() == [15, 0]
    np.testing.assert_allclose(panel.past[:, 0], [1.9, 1.9])


def test_money_over_no_units_is_unknown():
    frame = pl.DataFrame({
        "item": ["a"] * 3, "date": [date(2024, 1, day) for day in (1, 2, 3)], "demand": [1, 0, 2],
        "price": [4.0, float("nan"), 5.0],
    })  # fmt: skip
    panel = Panel.from_frame(frame, Schema(paid="price", frequency="day"), today=TODAY)
    assert panel.past[:, 0].tolist() == [4, 4, 5]


def test_a_table_of_plans_with_what_was_paid_is_refused():
    plans = pl.DataFrame({"item": ["a"], "date": [date(2024, 2, 1)], "price": [1.0], "promo": [1]})
    with pytest.raises(DataError, match="'price', which is declared as paid"):
        known_table(plans, PAID, frequency=shop.DAY)


def test_elasticities_ask_for_a_planned_price():
    panel = Panel.from_frame(shop.draw(2, 40)[0], Schema(paid="price"), today=TODAY)
    with pytest.raises(DataError, match="declared as paid: known only afterwards"):
        Design.of(panel)


def test_it_is_held_to_what_a_price_can_be():
    frame = shop.draw(2, 40)[0].with_columns(price=pl.lit(-1.0))
    with pytest.raises(DataError, match="price"):
        Panel.from_frame(frame, PAID, today=TODAY)


def test_planned_and_paid_together_are_refused():
    with pytest.raises(ConfigError, match=r"two columns of prices: 'price' ahead, 'receipt' paid"):
        Schema(price="price", paid="receipt")


def test_one_column_is_not_both_paid_and_sold_out():
    with pytest.raises(ConfigError, match="two roles"):
        Schema(paid="x", sold_out="x")


def test_a_saved_panel_keeps_the_role(tmp_path):
    panel = both()[1]
    panel.save(tmp_path / "panel")
    np.testing.assert_array_equal(Panel.open(tmp_path / "panel").prices, panel.prices)
