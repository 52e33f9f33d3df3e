"""A first config, drafted by looking at a table: roles guessed from names and types, every option as a comment."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from shelfcast.config import toml_text
from shelfcast.data.dates import read_dates
from shelfcast.data.tables import Table, infer_types, open_table
from shelfcast.errors import DataError
from shelfcast.periods import Frequency, Unit

_NAMES: Mapping[str, Sequence[str]] = {
    "date": (
        "date", "ds", "day", "week_end_date", "week", "month", "timestamp", "datetime", "time", "period", "datum",
        "tag", "fecha",
    ),
    "item": (
        "item", "item_id", "unique_id", "sku", "product", "product_id", "article", "upc", "upc_id", "stockcode",
        "series_id", "id", "artikel", "produkt", "producto", "produit",
    ),
    "location": (
        "location", "store", "store_id", "location_id", "shop", "site", "warehouse", "branch", "filiale", "tienda",
        "magasin",
    ),
    "demand": (
        "demand", "y", "units", "sales", "quantity", "qty", "unit_sales", "volume", "sold", "target", "menge", "absatz",
        "cantidad",
    ),
    "in_stock": ("in_stock", "instock", "is_in_stock", "available", "availability", "stock_flag"),
    "price": ("price", "sell_price", "unit_price", "selling_price", "retail_price", "preis", "precio", "prix"),
}  # fmt: skip
_PROMOTIONS = ("promo", "feature", "display", "tpr", "discount", "deal", "campaign")
_UNKNOWN = "CHANGE-ME"
_DATE = r"^(\d{4}-\d\d?-\d\d?|\d\d?[./]\d\d?[./]\d{4})"
_AHEAD: Mapping[Unit, tuple[int, str]] = {
    Unit.HOUR: (24, '["0+24", "0+48"]'),
    Unit.DAY: (28, '["0+7", "0+14"]'),
    Unit.WEEK: (8, '["0+2", "0+4"]'),
    Unit.MONTH: (6, '["0+3"]'),
}  # periods and spans to begin with


def draft(table: str, folder: Path) -> str:
    """A commented config for a table, its path written relative to `folder`.

    Raises DataError where the table cannot be read.
    """
    opened = open_table(table, "sales")
    first = next(opened.batches(), None)
    if first is None:
        raise opened.no_rows()
    frame = infer_types(first.head(10_000))
    roles = guess_roles(frame)
    path = table if "://" in table else Path(os.path.relpath(table, folder)).as_posix()
    return _render(path, opened, frame, roles)


def guess_roles(frame: pl.DataFrame) -> dict[str, str]:
    """Role -> column, from names first and types where no name fits; roles without a column are left out."""
    lower = {name.strip().lower().replace(" ", "_"): name for name in frame.columns}
    roles: dict[str, str] = {}
    for role, names in _NAMES.items():
        found = next((lower[name] for name in names if name in lower and lower[name] not in roles.values()), None)
        if found is not None:
            roles[role] = found

    def left(fits: Callable[[pl.Series], bool]) -> list[str]:
        return [name for name in frame.columns if name not in roles.values() and fits(frame[name])]

    if "date" not in roles and (dated := left(_is_dated)):
        roles["date"] = dated[0]
    if "item" not in roles and (texts := left(lambda column: column.dtype in (pl.String, pl.Categorical))):
        roles["item"] = max(texts, key=lambda name: frame[name].n_unique())
    if "demand" not in roles and (numbers := left(lambda column: column.dtype.is_numeric())):
        roles["demand"] = numbers[-1]
    return roles


def _is_dated(column: pl.Series) -> bool:
    """Dates, or text that looks like them in every row."""
    if column.dtype not in (pl.String, pl.Categorical):
        return column.dtype.is_temporal()
    return bool(column.cast(pl.String).str.contains(_DATE).all()) and column.null_count() < len(column)


def _frequency(table: Table, roles: Mapping[str, str]) -> Frequency | None:
    """The frequency of the table's dates; None where they cannot be read, which `check` will say better."""
    if "date" not in roles:
        return None
    keys = [roles[name] for name in ("item", "location") if name in roles]
    try:
        found = read_dates(table, roles["date"], keys, None).frequency
    except DataError:
        return None
    return replace(found, is_ending=found.unit is Unit.WEEK and "end" in roles["date"].lower())


def _promotions(frame: pl.DataFrame, roles: Mapping[str, str]) -> dict[str, str]:
    """Columns that sound like promotions -> kind."""
    kinds = {}
    for name in frame.columns:
        if name in roles.values() or not any(word in name.lower() for word in _PROMOTIONS):
            continue
        column = frame[name]
        if not column.dtype.is_numeric() and column.dtype != pl.Boolean:
            kinds[name] = "category"
        elif column.cast(pl.Float64).is_in([0.0, 1.0]).all():
            kinds[name] = "flag"
        elif column.cast(pl.Float64).is_between(0, 1).all():
            kinds[name] = "depth"
    return kinds


def _line(role: str, value: str | None, comment: str, required: bool = False) -> str:
    text = (
        f"{role} = {toml_text(value)}"
        if value
        else f"{role} = {toml_text(_UNKNOWN)}"
        if required
        else f"# {role} = ..."
    )
    return f"{text:<33} # {comment}"


def _render(path: str, table: Table, frame: pl.DataFrame, roles: Mapping[str, str]) -> str:
    promotions = _promotions(frame, roles)
    rest = [name for name in table.columns if name not in (*roles.values(), *promotions)]
    promoted = "\n".join(f"{toml_text(name)} = {toml_text(kind)}" for name, kind in promotions.items())
    negative = "demand" in roles and frame[roles["demand"]].dtype.is_numeric() and (frame[roles["demand"]] < 0).any()
    frequency = _frequency(table, roles)
    periods, spans = _AHEAD[frequency.unit if frequency else Unit.DAY]
    return f"""\
# A run of shelfcast. Written by looking at {Path(path).name}: read it, correct it, then
#   shelfcast check THIS_FILE
#   shelfcast run THIS_FILE
# Relative paths start at the folder of this file.

folder = "shelfcast-out"          # where results go
# totals = [[], ["category"]]     # further series: everything, and each category

[sales]
path = {toml_text(path)}
# url = "duckdb:"                 # or a query: duckdb: over files, or any database URL
# sql = "SELECT ... FROM 'sales/*.parquet'"
{_line("item", roles.get("item"), "what is sold", True)}
{_line("location", roles.get("location"), "where, if there is more than one place")}
{_line("date", roles.get("date"), "label of the period", True)}
{_line("demand", roles.get("demand"), "units", True)}
{_line("in_stock", roles.get("in_stock"), "flag or fraction; under 0.5 the period is not counted as demand")}
{_line("price", roles.get("price"), "planned ahead; `paid = ...` where it is known only afterwards")}
# past = []                       # known up to the origin only, as page views
# known = []                      # further columns known ahead
# static = []                     # columns of a product or place in this table
{_line("frequency", str(frequency) if frequency else None, "hour, day, week-mon (first day), week-ending-sun, month")}
absent = "zero"                   # a missing row: "zero" sales, or "unobserved"
# longest_gap = 4                 # with "zero": longer gaps are unobserved
negatives = {'"clip" ' if negative else '"refuse"'}              # negative demand: refuse, clip to zero, or net
duplicates = "refuse"             # two rows of one key and date: refuse or sum
# from_first_sale = true          # a series begins at its first sale
# columns not used yet: {" ".join(", ".join(rest).split()) or "none"}

{"" if promotions else "# "}[sales.promotions]                # flag, depth (0..1) or category
{promoted or '# promo = "flag"'}

# [items]                         # static columns by item, location or both; new products too
# path = "items.parquet"

# [known]                         # planned prices and promotions, past the last sale
# path = "plan.parquet"

# [calendar]
# country = "US"                  # public holidays

[forecast]
model = "season-profile"          # `shelfcast models` lists them
{f"periods = {periods}":<33} # the next periods one by one
{f"spans = {spans}":<33} # and sums: lead+span
levels = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99]
whole_units = true                # round quantiles to whole units

[backtest]
models = ["seasonal-naive", "recent-quantiles", "season-quantiles", "season-profile"]
origins = 6
# step = 7                        # periods between origins
# refit_every = 1                 # origins between fits; once without it
# segments = ["velocity", "demand_class", "age", "life", "stock", "season"]

# [orders]                        # uncomment to get orders
# policy = "projected"            # cover, safety-stock, quantile, capped, reorder-point, projected
# lead_time = 2                   # periods; columns of the items table override these numbers
# review_period = 1
# pack_size = 1
# minimum_order = 0
# budget = 10000.0
# cost_share = 0.6                # cost as a share of the price; or cost, or holding_cost and stockout_cost
# storage_share = 0.01            # of the cost, per unit and period
# on_hand = {{ path = "stock.parquet", missing = "zero" }}   # keys and on_hand
# on_order = {{ path = "open_orders.parquet" }}              # keys, quantity, due

[report]
title = "Forecasts and orders"
"""
