"""Terms, money and stock of orders, from a config's section and the columns of the items."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import shop
from shelfcast.config import OrdersConfig, check_config
from shelfcast.data.panel import FeatureNames, Panel
from shelfcast.data.schema import Schema
from shelfcast.errors import ConfigError, DataError
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon
from shelfcast.purchasing import Terms, buy, order_horizons

SCHEMA = Schema(item="sku", location="shop")
MONEY = {"holding_cost": 1.0, "stockout_cost": 9.0}


def a_panel(prices=None, **static) -> Panel:
    """Three products, with ten, four and no periods up to period 9, at places a, b, a; maybe with prices by row."""
    known = None if prices is None else np.asarray(prices, dtype=np.float32)[:, None]
    rows = [np.arange(10.0), np.ones(4), []]
    panel = shop.panel_of(rows, starts=[0, 2, 0], known=known, static={"location": ["a", "b", "a"], **static}, last=9)
    return panel if known is None else replace(panel, names=FeatureNames((), ("price",), "price"))


def settings(**values) -> OrdersConfig:
    found = check_config({"sales": {"path": "x"}, "orders": values}).orders
    assert found is not None
    return found


def terms(panel: Panel, root: Path | None = None, **values) -> Terms:
    return Terms.of(settings(**{**MONEY, "policy": "quantile", **values}), SCHEMA, panel, root or Path())


def a_forecast(panel: Panel, spans=(2,)) -> Forecast:
    """Quantiles 0, span, 10 x span at levels .1, .5, .9 for every series of the panel."""
    horizons = tuple(Horizon(0, span) for span in spans)
    values = np.array([[[[0.0, span, 10.0 * span] for span in spans]]] * panel.n_series, dtype=np.float32)
    return Forecast(panel.series.select(panel.keys), (9,), panel.frequency, horizons, (0.1, 0.5, 0.9), values)


# ---- terms of supply


def test_numbers_of_the_section_and_columns_that_override_them():
    panel = a_panel(lead_time=[5, None, 0], pack_size=["12", None, "1"])
    supply = terms(panel, lead_time=2, review_period=3, pack_size=6, minimum_order=1).limits.supply.for_items(3)
    assert supply.lead_time.tolist() == [5, 2, 0]
    assert supply.review_period.tolist() == [3, 3, 3]
    assert supply.pack_size.tolist() == [12.0, 6.0, 1.0]
    assert supply.minimum_order.tolist() == [1.0, 1.0, 1.0]


def test_protected_horizons_are_those_of_the_items():
    panel = a_panel(lead_time=[5, None, 0], review_period=[1, 1, 6])
    summed = settings(policy="quantile", lead_time=2)
    assert set(order_horizons(summed, SCHEMA, panel, Path())) == {Horizon(0, 3), Horizon(0, 6)}
    projected = order_horizons(settings(lead_time=2, review_period=2), SCHEMA, a_panel(), Path())
    assert projected == (Horizon(0, 4), Horizon(0, 1), Horizon(1, 1), Horizon(2, 2))


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("lead_time", ["soon", "2", None], ["'lead_time'", "soon", "items"]),
        ("lead_time", [1.5, 2.0, 2.0], ["item-00, a: lead_time 1.5"]),
        ("lead_time", [2, -1, 2], ["item-01, b: lead_time -1"]),
        ("review_period", [1, 1, 0], ["item-02, a: review_period 0"]),
        ("pack_size", [float("nan"), 1.0, 1.0], ["item-00, a: pack_size missing"]),
        ("cost", ["cheap"] * 3, ["'cost'", "cheap"]),
        ("cost", [-1.0, 1.0, 1.0], ["item-00, a: cost -1"]),
        ("cost", [1.0, float("nan"), 1.0], ["item-01, b: cost missing"]),
        ("holding_cost", [1.0, 1.0, 0.0], ["item-02, a: holding_cost 0"]),
        ("stockout_cost", [1.0, -4.0, 1.0], ["item-01, b: stockout_cost -4"]),
    ],
)
def test_columns_that_are_no_terms(column, values, words):
    with pytest.raises(DataError) as caught:
        terms(a_panel(**{column: values}))
    assert all(word in str(caught.value) for word in words), str(caught.value)


# ---- money


def test_costs_of_a_mismatch_as_given():
    money = terms(a_panel(stockout_cost=[4.0, None, 99.0])).economics.for_items(3)
    assert money.critical_ratio.tolist() == pytest.approx([0.8, 0.9, 0.99])
    assert money.cost.tolist() == [0.0, 0.0, 0.0]


def test_price_and_cost():
    """Margin 4, goodwill 1, storage a tenth of the cost 6: critical ratio 5 / 5.6."""
    given = settings(price=10, cost=6, goodwill=1, storage_share=0.1)
    money = Terms.of(given, SCHEMA, a_panel(), Path()).economics.for_items(3)
    assert money.stockout_cost.tolist() == pytest.approx([5.0] * 3)
    assert money.holding_cost.tolist() == pytest.approx([0.6] * 3)
    assert money.critical_ratio.tolist() == pytest.approx([5 / 5.6] * 3)


def test_latest_price_of_each_product():
    """The last price there is, though a series ended; the median where a product has none, nothing after the end."""
    price = np.r_[np.full(9, 2.0), np.nan, 8.0, 8.0, 6.0, np.nan]
    given = settings(cost_share=0.5, storage_share=0.1)
    money = Terms.of(given, SCHEMA, a_panel(price), Path()).economics.for_items(3)
    assert money.price.tolist() == [2.0, 6.0, 4.0]
    assert money.cost.tolist() == [1.0, 3.0, 2.0]
    seen = a_panel(np.r_[np.full(9, 2.0), 50.0, 8.0, 8.0, 6.0, 7.0]).as_of(4)
    assert Terms.of(given, SCHEMA, seen, Path()).economics.for_items(3).price.tolist() == [2.0, 6.0, 4.0]


def test_a_price_column_of_the_items_comes_before_the_panel():
    given = settings(cost_share=0.5)
    money = Terms.of(given, SCHEMA, a_panel(np.full(14, 2.0), price=[3.0, 4.0, 5.0]), Path()).economics.for_items(3)
    assert money.price.tolist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize("given", [{}, {"cost": 1}, {"price": 2}, {"cost_share": 0.5}, {"holding_cost": 1}], ids=str)
def test_money_that_is_missing(given):
    with pytest.raises(ConfigError, match="price and a cost"):
        Terms.of(settings(**given), SCHEMA, a_panel(), Path())


def test_prices_that_are_all_unknown():
    with pytest.raises(ConfigError, match="price and a cost"):
        Terms.of(settings(cost_share=0.5), SCHEMA, a_panel(np.full(14, np.nan)), Path())


# ---- stock


def test_stock_tables_have_the_names_of_the_sales(tmp_path):
    (tmp_path / "stock.csv").write_text("sku,shop,on_hand,note\nitem-00,a,3,x\nitem-01,b,-2,y\nother,a,9,z\n")
    (tmp_path / "open.csv").write_text(
        "note,shop,sku,due,quantity\n,a,item-00,0,5\n,a,item-00,1,2.5\n,a,item-02,7,1\n,b,item-00,0,99\n"
    )
    found = terms(
        a_panel(), tmp_path, on_hand={"path": "stock.csv", "missing": "zero"}, on_order={"path": "open.csv"}
    )  # fmt: skip
    stock, recorded = found.inventory.stock(found.keys, found.limits.supply)
    assert stock.on_hand.tolist() == [3.0, 0.0, 0.0]
    assert recorded.tolist() == [3.0, -2.0, 0.0]
    assert stock.pipeline.tolist() == [[5.0, 2.5], [0.0, 0.0], [0.0, 0.0]]  # the last comes too late to cover


def test_without_stock_tables_nothing_is_there():
    found = terms(a_panel())
    stock, _ = found.inventory.stock(found.keys, found.limits.supply)
    assert stock.position.tolist() == [0.0, 0.0, 0.0]


def test_no_open_orders(tmp_path):
    (tmp_path / "open.csv").write_text("sku,shop,quantity\n")
    assert terms(a_panel(), tmp_path, on_order={"path": "open.csv"}).inventory.on_order is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sku,quantity\nitem-00,1\n", ["'shop'", "sku, quantity"]),
        ("sku,shop,qty\nitem-00,a,1\n", ["'quantity'", "qty"]),
        ("sku,shop,quantity\nitem-00,a,few\n", ["quantity"]),
        ("sku,shop,quantity\nitem-00,a,-1\n", ["quantity", "at least 0"]),
        ("sku,shop,quantity,due\nitem-00,a,1,soon\n", ["due"]),
    ],
)
def test_open_orders_that_are_none(tmp_path, text, words):
    (tmp_path / "open.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        terms(a_panel(), tmp_path, on_order={"path": "open.csv"})
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "on order" in str(caught.value)


def test_stock_of_all_unless_declared(tmp_path):
    (tmp_path / "stock.csv").write_text("sku,shop,on_hand\nitem-00,a,3\n")
    with pytest.raises(DataError, match="none for 2 of 3"):
        terms(a_panel(), tmp_path, on_hand={"path": "stock.csv"})


# ---- orders


def test_orders_by_hand():
    """Level 0.9 of two periods is 20, and nothing is there: 20 units, or 24 in packs of 6."""
    panel = a_panel(pack_size=[6.0, 1.0, 1.0])
    table = buy(terms(panel), a_forecast(panel))
    assert table["quantity"].to_list() == [24.0, 20.0, 20.0]
    assert table["target"].to_list() == pytest.approx([20.0] * 3)
    assert table["arrival_date"].to_list() == [date(1970, 1, 12)] * 3  # lead time 1: the second period after the tenth
    assert table["protects"].unique().to_list() == ["0+2"]
    assert table.select("item", "location").rows() == [("item-00", "a"), ("item-01", "b"), ("item-02", "a")]


def test_each_item_by_its_own_horizon():
    panel = a_panel(lead_time=[1, 4, 1])
    table = buy(terms(panel), a_forecast(panel, spans=(2, 5)))
    assert table["quantity"].to_list() == [20.0, 50.0, 20.0]
    assert table["protects"].to_list() == ["0+2", "0+5", "0+2"]


def test_the_order_of_series_does_not_matter():
    panel = a_panel()
    made = a_forecast(panel)
    scaled = replace(made, values=made.values * np.array([1, 2, 3], dtype=np.float32)[:, None, None, None])
    table = buy(terms(panel), scaled.take(np.array([2, 0, 1])))
    assert table["quantity"].to_list() == [20.0, 40.0, 60.0]


def test_more_series_than_products():
    """Totals in the forecast are no products, and get no orders."""
    panel = a_panel()
    made = a_forecast(panel)
    total = pl.DataFrame({"item": ["total"], "location": ["*"]})
    more = replace(made, series=pl.concat([made.series, total]), values=np.concatenate([made.values, made.values[:1]]))
    assert buy(terms(panel), more)["item"].to_list() == ["item-00", "item-01", "item-02"]


def test_products_without_a_forecast():
    panel = a_panel()
    with pytest.raises(ConfigError, match=r"1 products have no forecast, as \('item-02', 'a'\)"):
        buy(terms(panel), a_forecast(panel).take(np.array([0, 1])))


def test_horizons_without_a_forecast():
    panel = a_panel()
    with pytest.raises(DataError, match=r"0\+6"):
        buy(terms(panel, lead_time=5), a_forecast(panel))


def test_budget():
    panel = a_panel(cost=[1.0, 1.0, 1.0])
    table = buy(terms(panel, budget=30), a_forecast(panel))
    assert table["cost"].sum() <= 30
    assert table["quantity"].sum() > 25
    assert "budget" in table["limit"].to_list()
    assert buy(terms(panel, budget=0), a_forecast(panel))["quantity"].sum() == 0


# ---- lead times that vary


def test_past_deliveries_become_chances_and_a_product_without_any_gets_everyones_deviations(tmp_path):
    (tmp_path / "past.csv").write_text("sku,shop,lead_time\nitem-00,a,2\nitem-00,a,4\nitem-01,b,1\nelsewhere,a,9\n")
    supply = terms(a_panel(), tmp_path, lead_time=2, lead_times={"path": "past.csv"}).limits.supply
    assert supply.chances[:, :5].tolist() == [
        [0.0, 0.0, 0.5, 0.0, 0.5],
        [0.0, 1.0, 0.0, 0.0, 0.0],
        pytest.approx([0.0, 1 / 3, 1 / 3, 0.0, 1 / 3]),
    ]
    chosen = settings(policy="quantile", lead_time=2, lead_times={"path": "past.csv"})
    assert set(order_horizons(chosen, SCHEMA, a_panel(), tmp_path)) == {Horizon(0, 2), Horizon(0, 3), Horizon(0, 5)}


def test_orders_cover_late_deliveries_in_proportion_to_their_chance(tmp_path):
    """Three of four come after a period, one after nine: 3/4 F(0+2) + 1/4 F(0+10) reaches one half at 5.04 units."""
    (tmp_path / "past.csv").write_text("sku,shop,lead_time\n" + "item-00,a,1\n" * 3 + "item-00,a,9\n")
    values = {"lead_time": 1, "settings": {"level": 0.5}}
    made = a_forecast(a_panel(), (2, 10))
    certain = buy(terms(a_panel(), **values), made)["target"][0]
    varied = buy(terms(a_panel(), tmp_path, lead_times={"path": "past.csv"}, **values), made)["target"][0]
    assert certain == pytest.approx(2.0)
    assert varied == pytest.approx(5.04, abs=0.1)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("item-00,a,soon\n", ["lead_time", "soon"]),
        ("item-00,a,-1\n", ["lead_time", "-1"]),
        ("item-00,a,1.5\n", ["lead_time", "1.5"]),
        ("item-00,a,\n", ["lead_time", "item-00"]),
    ],
)
def test_deliveries_that_make_no_sense_are_refused(tmp_path, rows, words):
    (tmp_path / "past.csv").write_text("sku,shop,lead_time\n" + rows)
    with pytest.raises(DataError) as caught:
        terms(a_panel(), tmp_path, lead_times={"path": "past.csv"})
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("rows", ["", "elsewhere,a,3\n"])
def test_without_any_delivery_lead_times_are_as_planned(tmp_path, rows):
    (tmp_path / "past.csv").write_text("sku,shop,lead_time\n" + rows)
    assert terms(a_panel(), tmp_path, lead_times={"path": "past.csv"}).limits.supply.chances is None


# ---- edges


def test_edges_order_what_the_documentation_says(tmp_path):
    """Lead time zero; stock beyond any demand; a pack larger than all demand; a budget of zero."""
    made = a_forecast(a_panel(), (1,))
    at_once = buy(terms(a_panel(), lead_time=0), made)
    assert (at_once["quantity"] > 0).all()
    assert at_once["arrival"].to_list() == [0, 0, 0]
    (tmp_path / "stock.csv").write_text("sku,shop,on_hand\nitem-00,a,1e12\nitem-01,b,0\nitem-02,a,0\n")
    full = buy(terms(a_panel(), tmp_path, lead_time=0, on_hand={"path": "stock.csv"}), made)
    assert full["quantity"].to_list()[0] == 0.0
    assert full["limit"].to_list()[0] == "enough stock"
    packed = buy(terms(a_panel(), lead_time=0, pack_size=10_000), made)
    assert packed["quantity"].to_list() == [10_000.0] * 3
    assert packed["why"].str.contains("That lasts about").all()
    broke = buy(terms(a_panel(), lead_time=0, budget=0, price=3.0, cost=1.0), made)
    assert broke["quantity"].sum() == 0.0
    assert set(broke["limit"]) == {"budget"}
