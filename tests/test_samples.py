"""The embedded sample: what it holds, how large it is, and that it is written whole."""

from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest

from shelfcast.config import read_config
from shelfcast.data import samples
from shelfcast.data.samples import ATTRIBUTION, TABLES, sample, write_demo
from shelfcast.errors import StoreError


def test_tables_and_their_columns():
    assert sample().columns == ["item", "date", "units", "price"]
    assert sample("items").columns == ["item", "name", "theme"]
    assert sample("stock").columns == ["item", "on_hand"]


def test_sales_are_clean():
    sales = sample()
    assert sales.select("item", "date").is_unique().all()
    assert sales.null_count().sum_horizontal().item() == 0
    assert sales["units"].min() >= 1
    assert sales["price"].min() > 0
    assert (sales["date"].min().isoformat(), sales["date"].max().isoformat()) == ("2009-12-01", "2011-12-09")


def test_every_item_has_its_rows():
    items = sample("items")
    assert items["item"].is_unique().all()
    assert items.height == 3009
    assert set(sample()["item"]) == set(items["item"]) == set(sample("stock")["item"])
    assert items["theme"].null_count() == 0
    assert sample("stock")["on_hand"].min() >= 0


def test_size_and_attribution():
    """At most 2 MB in the package, and its licence asks for the name of its author."""
    folder = files("shelfcast.data") / "sample"
    assert sum(len(path.read_bytes()) for path in folder.iterdir()) < 2_000_000
    text = (folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for words in (text, ATTRIBUTION):
        assert "Online Retail II" in words
        assert "Chen" in words
        assert "CC BY 4.0" in words


def test_demo_is_written_whole(tmp_path):
    config = write_demo(tmp_path / "new" / "demo")
    assert config == tmp_path / "new" / "demo" / "demo.toml"
    names = {path.name for path in config.parent.iterdir()}
    assert names == {*(f"{table}.parquet" for table in TABLES), "demo.toml", "ATTRIBUTION.md"}
    assert pl.read_parquet(config.parent / "sales.parquet").equals(sample())
    settings, root = read_config(config)
    assert root == config.parent
    assert "Online Retail II" in " ".join(settings.report.attribution)
    assert settings.sales.schema_().columns == ("item", "date", "units", "price")


def test_demo_again_over_itself(tmp_path):
    write_demo(tmp_path)
    (tmp_path / "results").mkdir()
    write_demo(tmp_path)
    assert (tmp_path / "results").exists()


def test_demo_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("here first")
    with pytest.raises(StoreError, match="--folder"):
        write_demo(tmp_path / "file" / "demo")
    assert (tmp_path / "file").read_text() == "here first"


def test_every_table_is_named():
    there = {path.name for path in Path(samples.__file__).parent.joinpath("sample").glob("*.parquet")}
    assert there == {f"{table}.parquet" for table in TABLES}
