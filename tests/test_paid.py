"""A price known only afterwards: it tells what units are worth and of the past, and no forecast reads it ahead."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest

import shop
from shelfcast.cells import dollar_sales
from shelfcast.data.aggregates import with_aggregates
from shelfcast.data.panel import Panel
from shelfcast.data.schema import Schema
from shelfcast.errors import ConfigError, DataError
from shelfcast.evaluation import evaluate
from shelfcast.models.table import forecaster

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


def test_it_is_held_to_what_a_price_can_be():
    frame = shop.draw(2, 40)[0].with_columns(price=pl.lit(-1.0))
    with pytest.raises(DataError, match="price"):
        Panel.from_frame(frame, PAID, today=TODAY)


def test_planned_and_paid_together_are_refused():
    with pytest.raises(ConfigError, match=r"two columns of prices: 'price' ahead, 'receipt' paid"):
        Schema(price="price", paid="receipt")


def test_a_saved_panel_keeps_the_role(tmp_path):
    panel = both()[1]
    panel.save(tmp_path / "panel")
    np.testing.assert_array_equal(Panel.open(tmp_path / "panel").prices, panel.prices)
