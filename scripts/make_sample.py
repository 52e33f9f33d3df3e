"""Make the embedded sample from Online Retail II: a clean daily table of items, at most 2 MB.

    python scripts/make_sample.py PATH/TO/transactions.parquet

Source: Chen, D. (2012), Online Retail II, UCI Machine Learning Repository, https://doi.org/10.24432/C5CG6D, CC BY 4.0.
What is done to it: lines that a later cancellation takes back (same customer, item and quantity) are dropped with the
cancellation; other returns, lines without a price and codes that are not products (postage, fees, samples) are dropped;
the rest is summed by item and day, with the mean price paid. Items sold on fewer than `MIN_DAYS` days are left out. An
item's name is its commonest description, its theme the first of `THEMES` in that name. The shop published no stock:
`stock.parquet` is made up, between 2 and 16 days of the last four weeks' mean sales.
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl

MIN_DAYS = 40
THEMES = (
    "CHRISTMAS", "BAG", "BOX", "CAKE", "CANDLE", "CARD", "CLOCK", "CUP", "GLASS", "HEART", "JEWEL", "LIGHT", "MIRROR",
    "MUG", "NECKLACE", "PAPER", "PEN", "SIGN", "TIN", "TOWEL",
)  # fmt: skip
FOLDER = Path(__file__).parents[1] / "src" / "shelfcast" / "data" / "sample"


def clean_lines(transactions: pl.DataFrame) -> pl.DataFrame:
    """Product lines that were sold and not taken back."""
    product = pl.col("StockCode").str.contains(r"^\d{5}[A-Za-z]{0,2}$")
    lines = transactions.filter(product).with_columns(pl.col("StockCode").str.to_uppercase())
    match = ["Customer ID", "StockCode", "size"]
    lines = lines.with_columns(pl.col("Quantity").abs().alias("size")).sort("InvoiceDate", "Invoice")
    number = pl.int_range(pl.len()).over([*match, pl.col("Quantity") > 0])
    lines = lines.with_columns(number.alias("turn"))
    returned = lines.filter((pl.col("Quantity") < 0) & pl.col("Customer ID").is_not_null())
    sold = lines.filter((pl.col("Quantity") > 0) & (pl.col("Price") > 0))
    return sold.join(returned.select(*match, "turn"), on=[*match, "turn"], how="anti", nulls_equal=False)


def daily(lines: pl.DataFrame) -> pl.DataFrame:
    """Units and mean price by item and day, items with enough days only."""
    table = (
        lines.group_by(item=pl.col("StockCode"), date=pl.col("InvoiceDate").dt.date())
        .agg(
            units=pl.col("Quantity").sum(),
            price=((pl.col("Quantity") * pl.col("Price")).sum() / pl.col("Quantity").sum()).round(2),
        )
        .filter(pl.len().over("item") >= MIN_DAYS)
    )
    return table.cast({"units": pl.Int32, "price": pl.Float32}).sort("item", "date")


def item_table(lines: pl.DataFrame, sales: pl.DataFrame) -> pl.DataFrame:
    """Name and theme of every item in `sales`."""
    text = pl.col("Description").str.strip_chars().str.replace_all(r"\s+", " ")
    names = (
        lines.filter(pl.col("Description").is_not_null())
        .group_by(item=pl.col("StockCode"), name=text)
        .len()
        .sort(["item", "len", "name"], descending=[False, True, False])
        .unique("item", keep="first", maintain_order=True)
        .drop("len")
    )
    theme = pl.lit("other")
    for word in reversed(THEMES):
        theme = pl.when(pl.col("name").str.contains(rf"\b{word}")).then(pl.lit(word.lower())).otherwise(theme)
    return sales.select("item").unique().join(names, on="item", how="left").with_columns(theme=theme).sort("item")


def made_up_stock(sales: pl.DataFrame) -> pl.DataFrame:
    """On hand and on order of every item; made up, since the shop published none."""
    last = sales["date"].max()
    recent = sales.filter(pl.col("date") > last - pl.duration(days=28)).group_by("item").agg(pl.col("units").sum() / 28)
    stock = sales.select("item").unique().sort("item").join(recent, on="item", how="left").fill_null(0.0)
    days = np.random.default_rng(2011).integers(2, 17, stock.height)
    on_hand = pl.Series("on_hand", np.rint(stock["units"].to_numpy() * days).astype(np.int32))
    return stock.select("item").with_columns(on_hand)


def main(path: str) -> None:
    lines = clean_lines(pl.read_parquet(path))
    sales = daily(lines)
    FOLDER.mkdir(exist_ok=True)
    for name, table in (("sales", sales), ("items", item_table(lines, sales)), ("stock", made_up_stock(sales))):
        table.write_parquet(FOLDER / f"{name}.parquet", compression="zstd", compression_level=19)
        print(name, table.shape, (FOLDER / f"{name}.parquet").stat().st_size, "bytes")


if __name__ == "__main__":
    main(sys.argv[1])
