"""The embedded sample: a UK web shop's daily sales, ready to run.

Online Retail II (Chen, D., 2012, UCI Machine Learning Repository, https://doi.org/10.24432/C5CG6D), CC BY 4.0, reduced
to 3,009 items by `scripts/make_sample.py`. The stock table is made up, since the shop published none.
"""

from importlib.resources import files
from pathlib import Path

import polars as pl

from shelfcast.errors import StoreError

ATTRIBUTION = (
    "Sales: Online Retail II, Chen, D. (2012), UCI Machine Learning Repository, doi.org/10.24432/C5CG6D, "
    "licence CC BY 4.0; cleaned and summed by item and day. Stock, costs and lead times are made up."
)
TABLES = ("sales", "items", "stock")


def sample(table: str = "sales") -> pl.DataFrame:
    """A table of the sample: `sales` (item, date, units, price), `items` (item, name, theme) or `stock` (made up).

    Examples
    --------
    >>> sample("items").columns
    ['item', 'name', 'theme']
    """
    with (files("shelfcast.data") / "sample" / f"{table}.parquet").open("rb") as file:
        return pl.read_parquet(file)


def write_demo(folder: Path) -> Path:
    """Copy the sample's tables and its config into a folder; returns the config's path."""
    source = files("shelfcast.data") / "sample"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*(f"{table}.parquet" for table in TABLES), "demo.toml", "ATTRIBUTION.md"):
            (folder / name).write_bytes((source / name).read_bytes())
    except OSError as error:
        raise StoreError(f"cannot write the demo to {folder}: {error}. Choose another --folder.") from error
    return folder / "demo.toml"
