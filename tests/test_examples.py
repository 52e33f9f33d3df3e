"""The examples, and slices of the real data they are for, where those lie beside the project."""

import tomllib
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from shelfcast.cli import leaderboard
from shelfcast.config import RunConfig, as_toml, check_config, read_config
from shelfcast.data.aggregates import AGGREGATE, SINGLE
from shelfcast.pipelines import Run, backtest, load_panel, products

DATA = Path(__file__).parents[2] / "shared" / "data"
EXAMPLES = Path(__file__).parents[1] / "examples"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="no real data beside the project (../shared/data)")
FOLDERS = {"m5": "m5", "frat": "breakfast_at_the_frat", "vn2": "vn2"}


def a_run(settings: dict, data: str, folder: Path) -> Run:
    """A run of these settings over a folder of real data, small enough for one origin."""
    small = {"backtest": {"models": ["seasonal-naive"], "origins": 1, "segments": []}, "folder": str(folder)}
    return Run(check_config({**settings, **small}), DATA / data, datetime(2026, 1, 1))


def scored(run: Run) -> dict[str, float]:
    """Model -> weighted quantile loss of single periods, backtested at one origin."""
    result, _ = backtest(run, load_panel(run))
    return dict(leaderboard(result.scores).select("model", "wql").iter_rows())


def assert_plausible(losses: dict[str, float]) -> None:
    """Both models were scored, and neither is as bad as forecasting nothing (a loss of about 1)."""
    assert set(losses) == {"season-profile", "seasonal-naive"}
    assert all(0.02 < loss < 1.0 for loss in losses.values()), losses


def example(name: str, where: str) -> dict:
    """The settings of an example, with its sales cut to the rows of a condition."""
    settings = tomllib.loads((EXAMPLES / f"{name}.toml").read_text(encoding="utf-8"))
    sales = settings["sales"]
    sql = sales.pop("sql", None) or f"select * from '{sales.pop('path')}'"
    settings["sales"] = {**sales, "url": "duckdb:", "sql": f"select * from ({sql.strip().rstrip(';')}) where {where}"}
    return settings


@pytest.mark.parametrize("name", FOLDERS)
def test_examples_parse_and_their_text_is_whole(name):
    config, root = read_config(EXAMPLES / f"{name}.toml")
    assert isinstance(config, RunConfig)
    assert root == EXAMPLES
    assert check_config(tomllib.loads(as_toml(config))) == config


@needs_data
@pytest.mark.parametrize(
    ("name", "n_products", "last"),
    [
        pytest.param("m5", 2405, "2016-05-22", marks=pytest.mark.heavy),
        ("frat", 3909, "2012-01-04"),
        ("vn2", 599, "2023-10-09"),
    ],
)
def test_data_of_examples_load(name, n_products, last):
    """Whole, as the example says, from another folder."""
    settings, root = read_config(EXAMPLES / f"{name}.toml")
    panel = load_panel(Run(settings, root, datetime(2026, 1, 1), data=DATA / FOLDERS[name]))
    assert products(panel).n_series == n_products
    assert str(panel.date(panel.last)) == last
    units = panel.series.select(AGGREGATE).with_columns(units=np.add.reduceat(panel.demand, panel.indptr[:-1]))
    by_level = dict(units.group_by(AGGREGATE).agg(pl.col("units").sum()).iter_rows())
    assert by_level["total"] == pytest.approx(by_level[SINGLE], rel=0.02)  # but for weeks that half had out of stock


@needs_data
def test_slice_of_m5(tmp_path):
    run = a_run(example("m5", "item_id like 'FOODS_3_09%'"), "m5", tmp_path)
    panel = products(load_panel(run))
    wide = pl.read_parquet(DATA / "m5" / "sales_daily_full_sample.parquet")
    wide = wide.filter(pl.col("item_id").str.starts_with("FOODS_3_09")).sort("item_id", "store_id")
    days = wide.select(pl.col("^d_.*$")).to_numpy()
    assert panel.n_series == wide.height > 5
    assert panel.demand.sum() == days.sum()
    assert panel.window(panel.last - 27, panel.last)[0].tolist() == days[:, -28:].tolist()
    assert str(panel.date(panel.last)) == "2016-05-22"
    assert panel.names.price == "sell_price"
    ahead = panel.known_window(panel.last + 28, panel.last + 28)[:, 0, 0]
    assert np.isfinite(ahead).mean() > 0.9  # prices reach past the last sale
    assert_plausible(scored(run))


@needs_data
def test_slice_of_breakfast_at_the_frat(tmp_path):
    run = a_run(example("frat", "store_id in (2277, 389)"), "breakfast_at_the_frat", tmp_path)
    panel = products(load_panel(run))
    raw = pl.read_parquet(DATA / "breakfast_at_the_frat" / "transactions.parquet")
    raw = raw.filter(pl.col("store_id").cast(pl.String).is_in(["2277", "389"]))
    assert str(panel.frequency) == "week-ending-wed"
    assert panel.demand.sum() == raw["units"].sum()
    assert panel.names.promotions == ("feature", "display", "tpr_only")
    feature = panel.known[:, panel.names.known.index("feature")]
    assert feature[panel.observed].sum() == raw["feature"].sum()
    assert (panel.column("category") != "").all()
    assert_plausible(scored(run))


@needs_data
def test_slice_of_vn2(tmp_path):
    run = a_run(example("vn2", "Store < 5"), "vn2", tmp_path)
    panel = products(load_panel(run))
    sales = pl.read_parquet(DATA / "vn2" / "sales_wide.parquet").filter(pl.col("Store") < 5)
    stock = pl.read_parquet(DATA / "vn2" / "in_stock_wide.parquet").filter(pl.col("Store") < 5)
    weeks = sales.columns[2:]
    flags = stock.sort("Store", "Product").select(weeks).to_numpy().astype(bool)
    units = sales.sort("Store", "Product").select(weeks).to_numpy()
    assert str(panel.frequency) == "week-mon"
    assert int(panel.observed.sum()) == int(flags.sum())
    assert panel.demand.sum() == units[flags].sum()
    assert not panel.observed.all()
    assert_plausible(scored(run))
