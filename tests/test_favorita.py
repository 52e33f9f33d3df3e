"""The example of Favorita, on a small generated folder of the layout; the file itself is not here."""

import math
import tomllib
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from shelfcast.config import check_config
from shelfcast.loading import Run, load_panel
from shelfcast.pipelines import backtest

EXAMPLE = Path(__file__).parents[1] / "examples" / "favorita.toml"
DAYS = [date(2016, 1, 1) + timedelta(days=n) for n in range(-400, 170)]  # begins and ends outside the recipe's window


def layout(folder: Path) -> None:
    """Three items in two stores: train, items, stores and holidays as the competition names and writes them."""
    rng = np.random.default_rng(0)
    keys = [(store, item) for store in (1, 44) for item in (103665, 105574, 2113914)]
    rows = [(day, *key, float(rng.poisson(6))) for day in DAYS for key in keys]
    train = pl.DataFrame(rows, schema=["date", "store_nbr", "item_nbr", "unit_sales"], orient="row")
    train = train.with_row_index("id").with_columns(
        onpromotion=pl.when(pl.col("id") % 9 == 0).then(pl.lit("True")).when(pl.col("id") % 7 > 0).then(pl.lit("False"))
    )
    returned = (pl.col("date") == date(2016, 3, 1)) & (pl.col("item_nbr") == 103665)
    train = train.with_columns(unit_sales=pl.when(returned).then(-2.0).otherwise("unit_sales"))
    train.filter(pl.col("unit_sales") != 0).write_csv(folder / "train.csv")
    items = {"item_nbr": [103665, 105574, 2113914], "family": ["BREAD/BAKERY", "GROCERY I", "CLEANING"]}
    pl.DataFrame({**items, "class": [2712, 1045, 3040], "perishable": [1, 0, 0]}).write_csv(folder / "items.csv")
    stores = {"store_nbr": [1, 44], "city": ["Quito"] * 2, "state": ["Pichincha"] * 2}
    pl.DataFrame({**stores, "type": ["D", "A"], "cluster": [13, 5]}).write_csv(folder / "stores.csv")
    days = {"date": ["2015-12-25", "2016-05-24", "2016-05-27"], "type": ["Holiday", "Holiday", "Transfer"]}
    days |= {"locale": ["National"] * 3, "locale_name": ["Ecuador"] * 3, "transferred": ["False", "True", "False"]}
    pl.DataFrame({**days, "description": ["Navidad", "Batalla de Pichincha", "Traslado Batalla"]}).write_csv(
        folder / "holidays_events.csv"
    )


def test_the_recipe_reads_forecasts_and_scores_a_folder_of_the_competition(tmp_path):
    layout(tmp_path)
    settings = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    small = {"steps": 4, "series": 4, "origins": 4, "width": 8, "hidden": 8, "forks": 16}
    settings["forecast"]["settings"] |= small
    settings["backtest"] = {"models": ["season-profile"], "origins": 1, "segments": ["family"]}
    run = Run(check_config({**settings, "folder": str(tmp_path / "run")}), tmp_path, datetime(2026, 1, 1))
    panel = load_panel(run)
    assert panel.n_series == 6
    assert str(panel.frequency.to_date(panel.first)) >= "2015-01-01"
    assert str(panel.frequency.to_date(panel.last)) == "2016-05-31"
    assert panel.names.promotions == ("onpromotion",)
    train = pl.read_csv(tmp_path / "train.csv", try_parse_dates=True)
    sold = train.filter(pl.col("date") == date(2016, 5, 31), store_nbr=44, item_nbr=105574)["unit_sales"]
    place = panel.series.with_row_index().filter(item="105574", location="44")["index"][0]
    last, _ = panel.window(panel.last, panel.last)
    assert last[place, 0] == np.float32(math.log1p(sold[0] if len(sold) else 0))
    back = int(panel.frequency.to_period("2016-03-01"))
    returned = panel.series["item"].to_numpy() == "103665"
    demand, there = panel.window(back, back)
    assert not demand[returned].any()
    assert there[returned].all()
    result, _ = backtest(run, panel)
    losses = result.scores.filter(metric="wql")["value"]
    assert losses.is_finite().all()
    assert len(losses) >= 2
