"""A first config, drafted by looking at a table: roles guessed from names and types, every option as a comment."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from shelfcast.data.tables import Table, infer_types, open_table

_NAMES: Mapping[str, Sequence[str]] = {
    "date": ("date", "ds", "day", "week_end_date", "week", "month", "timestamp", "datetime", "time", "period"),
    "item": (
        "item", "item_id", "unique_id", "sku", "product", "product_id", "article", "upc", "upc_id", "stockcode",
        "series_id", "id",
    ),
    "location": ("location", "store", "store_id", "location_id", "shop", "site", "warehouse", "branch"),
    "demand": ("demand", "y", "units", "sales", "quantity", "qty", "unit_sales", "volume", "sold", "target"),
    "in_stock": ("in_stock", "instock", "is_in_stock", "available", "availability", "stock_flag"),
    "price": ("price", "sell_price", "unit_price", "selling_price", "retail_price"),
}  # fmt: skip
_PROMOTIONS = ("promo", "feature", "display", "tpr", "discount", "deal", "campaign")
_UNKNOWN = "CHANGE-ME"


def draft(table: str, folder: Path) -> str:
    """A commented config for a table, its path written relative to `folder`.

    Raises DataError where the table cannot be read.
    """
    opened = open_table(table, "sales")
    frame = infer_types(next(iter(opened.batches())).head(10_000))
    roles = guess_roles(frame)
    path = table if "://" in table else os.path.relpath(table, folder)
    return _render(path, opened, frame, roles)


def guess_roles(frame: pl.DataFrame) -> dict[str, str]:
    """Role -> column, from names first and types where no name fits; roles without a column are left out."""
    lower = {name.strip().lower().replace(" ", "_"): name for name in frame.columns}
    roles: dict[str, str] = {}
    for role, names in _NAMES.items():
        found = next((lower[name] for name in names if name in lower and lower[name] not in roles.values()), None)
        if found is not None:
            roles[role] = found
    left = [name for name in frame.columns if name not in roles.values()]
    if "date" not in roles:
        dated = [name for name in left if frame[name].dtype.is_temporal()]
        roles |= {"date": dated[0]} if dated else {}
    if "item" not in roles:
        texts = [name for name in left if frame[name].dtype in (pl.String, pl.Categorical)]
        roles |= {"item": max(texts, key=lambda name: frame[name].n_unique())} if texts else {}
    if "demand" not in roles:
        numbers = [name for name in left if frame[name].dtype.is_numeric() and name not in roles.values()]
        roles |= {"demand": numbers[-1]} if numbers else {}
    return roles


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


def _quote(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _line(role: str, roles: Mapping[str, str], comment: str, required: bool) -> str:
    if role in roles:
        return f"{role} = {_quote(roles[role])}".ljust(34) + f"# {comment}"
    return (f"{role} = {_quote(_UNKNOWN)}" if required else f"# {role} = ...").ljust(34) + f"# {comment}"


def _render(path: str, table: Table, frame: pl.DataFrame, roles: Mapping[str, str]) -> str:
    promotions = _promotions(frame, roles)
    rest = [name for name in table.columns if name not in (*roles.values(), *promotions)]
    promoted = "\n".join(f"{_quote(name)} = {_quote(kind)}" for name, kind in promotions.items())
    negative = "demand" in roles and frame[roles["demand"]].dtype.is_numeric() and (frame[roles["demand"]] < 0).any()
    return f"""\
# A run of shelfcast. Written by looking at {Path(path).name}: read it, correct it, then
#   shelfcast check THIS_FILE
#   shelfcast run THIS_FILE
# Relative paths start at the folder of this file.

folder = "shelfcast-out"          # where results go
# totals = [[], ["category"]]     # further series: everything, and each category

[sales]
path = {_quote(path)}
# url = "duckdb:"                 # or a query: duckdb: over files, or any database URL
# sql = "SELECT ... FROM 'sales/*.parquet'"
{_line("item", roles, "what is sold", True)}
{_line("location", roles, "where, if there is more than one place", False)}
{_line("date", roles, "label of the period", True)}
{_line("demand", roles, "units", True)}
{_line("in_stock", roles, "flag or fraction; under 0.5 the period is not counted as demand", False)}
{_line("price", roles, "known ahead where rows reach past the last sale", False)}
# past = []                       # known up to the origin only, as page views
# known = []                      # further columns known ahead
# static = []                     # columns of a product or place in this table
# frequency = "day"               # hour, day, week-mon .. week-sun, month; found out without it
absent = "zero"                   # a missing row: "zero" sales, or "unobserved"
# longest_gap = 4                 # with "zero": longer gaps are unobserved
negatives = {'"clip" ' if negative else '"refuse"'}              # negative demand: refuse, clip to zero, or net
duplicates = "refuse"             # two rows of one key and date: refuse or sum
# from_first_sale = true          # a series begins at its first sale
# columns not used yet: {", ".join(rest) or "none"}

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
periods = 28                      # the next periods one by one
spans = ["0+7", "0+14"]           # and sums: lead+span
levels = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]
whole_units = true                # round quantiles to whole units

[backtest]
models = ["seasonal-naive", "recent-quantiles", "season-quantiles", "season-profile"]
origins = 6
# step = 7                        # periods between origins
# refit_every = 1                 # origins between fits; once without it
# segments = ["velocity", "demand_class", "age"]

# [orders]                        # uncomment to get orders
# policy = "quantile"             # cover, safety-stock, quantile, capped
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
