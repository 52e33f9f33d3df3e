"""From an `[orders]` section to a table of orders: terms and money of each item, stock, and the policy.

Numbers come from the section; a column of the series of the same name (`lead_time`, `review_period`, `pack_size`,
`minimum_order`, `shelf_life`, `order_cost`, `price`, `cost`, `holding_cost`, `stockout_cost`) overrides them item by
item, and `volume` says what room a unit takes. Without a price, the latest price in the panel counts.
"""

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shelfcast.config import OrdersConfig, TableConfig
from shelfcast.data.panel import Panel
from shelfcast.data.schema import Schema
from shelfcast.data.tables import infer_types, open_table, static_table
from shelfcast.errors import ConfigError, DataError, shorten
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.orders import GridLaws, Inventory, Limits, Missing, horizons_needed, orders
from shelfcast.inventory.policies import Policy, needs_path, policy
from shelfcast.lessons import LEARNED
from shelfcast.replays import year_angles

Array = NDArray[np.float64]


def order_horizons(settings: OrdersConfig, schema: Schema, panel: Panel, root: Path) -> tuple[Horizon, ...]:
    """The horizons that orders look at, each once: `Horizon(0, lead_time + review_period)` of every item and lead time
    that may be, and for rules that project, each period until the arrival and the window that the order serves.

    Parameters
    ----------
    panel : the products, without aggregates.
    root : where relative paths start.
    """
    projects = settings.policy == LEARNED or needs_path(policy(settings.policy, settings.settings))
    return tuple(horizons_needed(_supply(settings, schema, panel, root).for_items(panel.n_series), projects))


@dataclass(frozen=True)
class Terms:
    """What orders for N products go by, besides a forecast: stock, money, rule and limits."""

    keys: pl.DataFrame
    inventory: Inventory
    economics: Economics
    rule: Policy
    limits: Limits

    @classmethod
    def of(
        cls, settings: OrdersConfig, schema: Schema, panel: Panel, root: Path, rule: Policy | None = None
    ) -> "Terms":
        """Read and check them, so that what is wrong is said before anything is computed.

        Parameters
        ----------
        schema : names of the key columns in the stock tables.
        panel : the products, without aggregates.
        root : where relative paths start.
        rule : instead of the one that the settings name; needed where that is learned and orders are made.
        """
        keys, supply = panel.series.select(panel.keys), _supply(settings, schema, panel, root)
        inventory = _inventory(settings, schema, keys, root)
        inventory.stock(keys, supply)
        name = "projected" if settings.policy == LEARNED else settings.policy
        rule = policy(name, settings.settings) if rule is None else rule
        volume = _numbers(panel.series, "volume", 1.0)
        limits = Limits(supply, settings.budget, settings.capacity, 1.0 if volume is None else volume)
        return cls(keys, inventory, _economics(settings, panel), rule, limits)


def buy(terms: Terms, made: Forecast) -> pl.DataFrame:
    """Orders for tomorrow from the latest origin of a forecast; what the columns mean is in `inventory.orders`.

    `made` has at least the products of the terms, and the horizons that `order_horizons` names.
    """
    keys = terms.keys
    series = made.series.with_row_index("_place")
    places = keys.join(series, on=keys.columns, how="left", maintain_order="left")["_place"]
    if places.null_count():
        missing = keys.filter(places.is_null()).rows()
        raise ConfigError("forecast", f"{len(missing)} products have no forecast, as {missing[0]}", "forecast again")
    mean = None if made.mean is None else made.mean[places, -1]
    laws = GridLaws(made.horizons, made.levels, made.values[places, -1], mean)
    longest = int(terms.limits.supply.for_items(keys.height).lead_time.max(initial=0))
    ahead = made.frequency.to_date(made.origins[-1] + 1 + np.arange(longest + 1))
    dates = [date.fromisoformat(str(label)[:10]) for label in ahead]
    origin = made.origins[-1]
    calendar = tuple(year_angles(made.frequency.year, origin + 1, 1)[0].tolist())
    return orders(
        keys, laws, terms.inventory, terms.economics, terms.rule, terms.limits, origin=origin, dates=dates,
        calendar=calendar,
    )  # fmt: skip


def _called(panel: Panel) -> tuple[str, ...]:
    """What messages call each series: its keys."""
    return tuple(panel.series.select(pl.concat_str(pl.col(panel.keys).cast(pl.String), separator=", ")).to_series())


def _supply(settings: OrdersConfig, schema: Schema, panel: Panel, root: Path) -> Supply:
    terms = {
        name: _numbers(panel.series, name, getattr(settings, name))
        for name in ("lead_time", "review_period", "pack_size", "minimum_order", "shelf_life")
    }
    supply = Supply(**terms, names=_called(panel))  # type: ignore[arg-type]
    if settings.lead_times is None:
        return supply
    past = _key_rows(settings.lead_times, schema, panel.series.select(panel.keys), root, ("lead_time",), "lead times")
    return replace(supply, chances=_chances(past, panel.series.select(panel.keys), supply))


def _chances(past: pl.DataFrame | None, keys: pl.DataFrame, supply: Supply) -> Array | None:
    """(N, M) chances of lead times of 0 .. M - 1 periods, from past deliveries, each series' own; a series without any
    gets those of all, as deviations from what was planned for them. None where nothing was ever delivered."""
    planned = supply.for_items(keys.height).lead_time
    found = None if past is None else keys.with_row_index("_row").join(past, on=keys.columns, how="inner")
    if found is None or not found.height:
        return None
    periods = found["lead_time"].cast(pl.Float64, strict=False)
    wrong = found.filter((periods.is_null() | (periods < 0) | (periods != periods.floor())).fill_null(True))
    if wrong.height:
        samples = wrong.drop("_row").head(3).rows()
        came = f"something else in {wrong.height} rows"
        raise DataError("whole periods of at least 0 in 'lead_time'", came, table="lead times", samples=samples)
    rows, took = found["_row"].to_numpy(), periods.cast(pl.Int64).to_numpy()
    late = took - planned[rows]
    width = int(max(took.max(), (planned + late.max()).max())) + 1
    counts = np.zeros((keys.height, width))
    np.add.at(counts, (rows, took), 1.0)
    for row in np.flatnonzero(counts.sum(axis=1) == 0):
        np.add.at(counts[row], np.maximum(planned[row] + late, 0), 1.0)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _numbers(series: pl.DataFrame, name: str, default: float | None) -> Array | float | None:
    """A column of the series, with `default` where it is empty; `default` where there is no such column."""
    if name not in series.columns:
        return default
    column = series[name]
    if not column.dtype.is_numeric() and column.dtype != pl.Boolean:
        column = column.cast(pl.String)
    numbers = column.cast(pl.Float64, strict=False)
    wrong = series.filter(numbers.is_null() & column.is_not_null())
    if wrong.height:
        samples = [shorten(row) for row in wrong.select("item", name).head(3).rows(named=True)]
        came = f"something else in {wrong.height} rows"
        raise DataError(f"numbers in column '{name}'", came, "correct them", table="items", samples=samples)
    return np.asarray((numbers if default is None else numbers.fill_null(default)).fill_null(np.nan).to_numpy())


def _economics(settings: OrdersConfig, panel: Panel) -> Economics:
    """Money of every item: holding and stock-out cost as given, or from price and cost."""
    n = panel.n_series
    names = _called(panel)
    holding = _numbers(panel.series, "holding_cost", settings.holding_cost)
    stockout = _numbers(panel.series, "stockout_cost", settings.stockout_cost)
    price = _numbers(panel.series, "price", settings.price)
    price = _latest_price(panel) if price is None else price
    share = None if settings.cost_share is None or price is None else settings.cost_share * np.asarray(price)
    cost = _numbers(panel.series, "cost", settings.cost)
    cost = share if cost is None else cost
    per_order = _numbers(panel.series, "order_cost", settings.order_cost)
    if holding is not None and stockout is not None:
        given = (holding, stockout, 0.0 if price is None else price, 0.0 if cost is None else cost)
        full = [np.broadcast_to(np.asarray(x, dtype=np.float64), (n,)) for x in given]
        return Economics(full[0], full[1], full[2], full[3], order_cost=np.asarray(per_order), names=names)
    if price is None or cost is None:
        raise ConfigError(
            "orders", "expected holding_cost and stockout_cost, or a price and a cost; got neither",
            "give cost or cost_share here (the price comes from the panel), or both costs of a mismatch",
        )  # fmt: skip
    made = Economics.of(price, cost, goodwill=settings.goodwill, storage=settings.storage_share * cost, names=names)
    return replace(made, order_cost=np.asarray(per_order))


def _latest_price(panel: Panel) -> Array | None:
    """(N,) the last price of each series up to the panel's last period; the median of all where a series has none."""
    price = panel.prices
    if price is None:
        return None
    rows = np.flatnonzero(~np.isnan(price) & (panel.row_periods() <= panel.last))
    if not len(rows):
        return None
    latest = np.full(panel.n_series, np.nan)
    latest[panel.row_series()[rows]] = price[rows]  # the last of a series' rows stays
    return np.where(np.isnan(latest), np.nanmedian(latest), latest)


def _inventory(settings: OrdersConfig, schema: Schema, keys: pl.DataFrame, root: Path) -> Inventory:
    """Stock tables under the panel's key names; without one, nothing is on hand."""
    text = pl.col(keys.columns).cast(pl.String)
    on_hand = keys.with_columns(pl.lit(0.0).alias("on_hand"))
    missing = Missing.ZERO
    if settings.on_hand is not None:
        on_hand = static_table(settings.on_hand.source, schema, columns=("on_hand",), name="on hand", root=root)
        on_hand, missing = on_hand.with_columns(text), Missing(settings.on_hand.missing)
    on_order = None if settings.on_order is None else _open_orders(settings.on_order, schema, keys, root)
    return Inventory(on_hand, on_order, missing)


def _open_orders(settings: TableConfig, schema: Schema, keys: pl.DataFrame, root: Path) -> pl.DataFrame | None:
    """What is on its way, under the panel's key names; None where the table has no rows."""
    return _key_rows(settings, schema, keys, root, ("quantity",), "on order", ("due",))


def _key_rows(
    settings: TableConfig, schema: Schema, keys: pl.DataFrame, root: Path, needed: tuple[str, ...], name: str,
    optional: tuple[str, ...] = (),
) -> pl.DataFrame | None:  # fmt: skip
    """Rows of a table by series, several a series, under the panel's key names; None where it has none."""
    table = open_table(settings.source, name, root)
    table.require([*schema.keys, *needed])
    columns = [*schema.keys, *needed, *(c for c in optional if c in table.columns)]
    rows = list(table.batches(columns))
    if not rows:
        return None
    frame = pl.concat(rows, how="vertical_relaxed")
    texts = frame.select(schema.keys).rename(dict(zip(schema.keys, keys.columns, strict=True))).cast(pl.String)
    return texts.hstack(infer_types(frame.drop(schema.keys)))
