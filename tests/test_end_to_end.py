"""Files to orders through the command line: what a run leaves behind, read back with polars and DuckDB."""

import json
from datetime import date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from commandline import Outcome, files_in, process, shelfcast, write_config, write_shop
from shelfcast.config import read_config
from shelfcast.data import samples
from shelfcast.data.aggregates import AGGREGATE, SINGLE
from shelfcast.pipelines import Run, load_panel

HORIZONS = {(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (0, 3), (2, 7), (0, 5)}  # periods, spans, and what orders protect
LEVELS = ["q0.1", "q0.5", "q0.9"]
ORIGIN = date(2024, 3, 30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the shop's tables and config, and what `run --json` made of them."""
    where = tmp_path_factory.mktemp("shop")
    write_shop(where)
    outcome = shelfcast("run", write_config(where), "--json")
    assert (outcome.code, outcome.err) == (0, "")
    (where / "said.json").write_text(outcome.out)
    return where


@pytest.fixture(scope="module")
def said(folder) -> dict:
    """The JSON object that the run printed."""
    return json.loads((folder / "said.json").read_text())


def parquet(path: str) -> pl.DataFrame:
    return pl.read_parquet(Path(path) / "*.parquet")


# ---- forecasts


def test_forecasts_have_every_product_and_total_at_every_horizon(said):
    table = parquet(said["forecasts"])
    items = [f"item-{i:02d}" for i in range(6)] + ["item-99"]
    totals = ["department=food", "department=toys", "total"]
    assert sorted(table["item"].unique()) == sorted([*items, *totals])
    assert table.select("item", "lead", "span").is_unique().all()
    for _, part in table.partition_by("item", as_dict=True).items():
        assert set(part.select("lead", "span").iter_rows()) == HORIZONS
    assert table["origin"].unique().to_list() == [ORIGIN]
    assert table["model"].unique().to_list() == ["season-profile"]


def test_dates_of_a_horizon_are_the_days_it_sums(said):
    table = parquet(said["forecasts"])
    first = [ORIGIN + timedelta(days=lead + 1) for lead in table["lead"]]
    last = [ORIGIN + timedelta(days=lead + span) for lead, span in table.select("lead", "span").iter_rows()]
    assert table["first_date"].to_list() == first
    assert table["last_date"].to_list() == last


def test_quantiles_do_not_cross_and_are_whole_units(said):
    values = parquet(said["forecasts"]).select(LEVELS).to_numpy()
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (np.diff(values, axis=1) >= 0).all()
    assert (values == np.rint(values)).all()


def test_duckdb_reads_what_polars_reads(said):
    for name in ("forecasts", "scores", "orders"):
        theirs = duckdb.sql(f"select * from read_parquet('{said[name]}/*.parquet')").pl()
        ours = parquet(said[name])
        assert theirs.equals(ours), name


def test_a_total_is_more_than_each_of_its_products(said):
    means = parquet(said["forecasts"]).filter(pl.col("lead") == 0, pl.col("span") == 3)
    mean = dict(means.select("item", "mean").iter_rows())
    products = sum(value for item, value in mean.items() if item.startswith("item-0"))
    assert mean["total"] == pytest.approx(products, rel=0.35)  # each is its own forecast, not a sum of the others
    assert mean["department=food"] + mean["department=toys"] == pytest.approx(mean["total"], rel=0.2)


def test_totals_are_marked_as_such(folder):
    settings, root = read_config(folder / "run.toml")
    panel = load_panel(Run(settings, root, datetime(2026, 1, 1)))
    assert panel.series[AGGREGATE].to_list() == [SINGLE] * 7 + ["total"] + ["department"] * 2


# ---- scores


def test_scores_agree_with_sql_over_the_stored_backtest(said, folder):
    """Weighted quantile loss of single periods, from nothing but stored forecasts and the sales file."""
    run = folder / "out" / "runs" / said["runs"]["backtest"] / "1" / "forecasts"
    answer = duckdb.sql(f"""
        with long as (
            unpivot (select item, model, first_date, "q0.1", "q0.5", "q0.9" from read_parquet('{run}/*.parquet')
                     where span = 1)
            on "q0.1", "q0.5", "q0.9" into name name value value
        ),
        joined as (
            select model, cast(name[2:] as double) as level, value, demand
            from long join read_parquet('{folder / "sales.parquet"}') as sales
            on long.item = sales.item and long.first_date = sales.date where in_stock = 1
        )
        select model, 2 * sum(greatest(level * (demand - value), (level - 1) * (demand - value))) / 3
               / (sum(demand) / 3) as wql
        from joined group by model
    """).fetchall()
    expected = dict(answer)
    board = {row["model"]: row["wql"] for row in said["leaderboard"]}
    assert board == pytest.approx(expected, rel=1e-5)
    scores = parquet(said["scores"]).filter(pl.col("metric") == "wql", pl.col("lead").is_null())
    assert set(scores["model"]) == {"season-profile", "seasonal-naive"}


# ---- orders


def test_orders_are_for_products_only(said):
    orders = parquet(said["orders"])
    assert orders["item"].to_list() == [*(f"item-{i:02d}" for i in range(6)), "item-99"]
    assert orders["protects"].unique().to_list() == ["0+5"]
    assert orders["arrival_date"].unique().to_list() == [ORIGIN + timedelta(days=3)]


def test_arithmetic_of_orders(said, folder):
    """Whole packs that lift the position from stock and open orders to the target, at 0.6 of the latest price."""
    orders = parquet(said["orders"])
    on_hand = dict(pl.read_csv(folder / "stock.csv").iter_rows())
    price = dict(
        pl.read_parquet(folder / "sales.parquet").filter(pl.col("date") == ORIGIN)["item", "price"].iter_rows()
    )
    price["item-99"] = float(np.median([np.float32(value) for value in price.values()]))
    on_order = {"item-00": 4.0, "item-01": 5.0}
    for row in orders.iter_rows(named=True):
        item = row["item"]
        assert row["on_hand"] == on_hand.get(item, 0.0)
        assert row["on_order"] == on_order.get(item, 0.0)
        assert row["position"] == row["on_hand"] + row["on_order"]
        wanted = max(row["target"] - row["position"], 0.0)
        assert row["quantity"] == 6 * np.ceil(wanted / 6)
        assert row["cost"] == pytest.approx(row["quantity"] * 0.6 * price[item], rel=1e-5)
        unit = 0.6 * price[item]
        assert row["critical_ratio"] == pytest.approx(
            0.4 * price[item] / (0.4 * price[item] + 3 * 0.01 * unit), rel=1e-5
        )
        assert row["why"].startswith("Expect ")


def test_targets_lie_on_the_stored_quantiles(said):
    """A critical ratio of 0.985 is above the top level: the target is that level's quantile, and the reason says so."""
    forecasts = parquet(said["forecasts"]).filter(pl.col("lead") == 0, pl.col("span") == 5)
    top = dict(forecasts.select("item", "q0.9").iter_rows())
    for item, target, why in parquet(said["orders"]).select("item", "target", "why").iter_rows():
        assert target == pytest.approx(top[item], abs=1e-6)
        assert "stops at level 0.9" in why


def test_csv_of_orders_equals_parquet(said):
    orders = parquet(said["orders"])
    read = pl.read_csv(said["orders_csv"], try_parse_dates=True)
    assert read.columns == [name for name in orders.columns if name != "origin"]
    for name in read.columns:
        assert read[name].to_list() == pytest.approx(orders[name].to_list()), name


# ---- report


class Loads(HTMLParser):
    """Everything in a page that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        names = {"src", "srcset", "data", "poster", "action"} | ({"href"} if tag in ("link", "use", "image") else set())
        self.found += [f"{tag} {name}={value}" for name, value in attrs if name in names]


def test_report_loads_nothing_and_names_the_products(said):
    page = Path(said["report"]).read_text(encoding="utf-8")
    loads = Loads()
    loads.feed(page)
    assert loads.found == []
    assert "@import" not in page
    assert "url(http" not in page.replace("'", "").replace('"', "")
    assert "A small shop" in page
    assert "item-05" in page


# ---- the same again


def test_the_same_run_twice(folder, said):
    before = files_in(folder / "out" / "runs")
    again = shelfcast("run", folder / "run.toml", "--json")
    assert json.loads(again.out) == said
    assert files_in(folder / "out" / "runs") == before


def test_steps_make_the_same_as_the_cycle(folder, said, tmp_path):
    write_shop(tmp_path)
    config = write_config(tmp_path)
    for name in ("backtest", "forecast", "order"):
        outcome = shelfcast(name, config, "--json")
        assert (outcome.code, outcome.err) == (0, "")
        assert json.loads(outcome.out)["run"] if name != "order" else json.loads(outcome.out)["orders"]
    assert files_in(tmp_path / "out" / "runs") == files_in(folder / "out" / "runs")


def test_a_saved_model_forecasts_as_a_fresh_one(tmp_path):
    write_shop(tmp_path)
    config = write_config(tmp_path)
    fresh = json.loads(shelfcast("forecast", config, "--json").out)
    before = files_in(Path(fresh["forecasts"]))
    model = json.loads(shelfcast("fit", config, "--json").out)["model"]
    loaded = json.loads(shelfcast("forecast", config, "--model", model, "--json").out)
    assert loaded == fresh
    assert files_in(Path(loaded["forecasts"])) == before != {}


def test_a_report_from_what_there_is(tmp_path):
    """Before anything is stored, the page shows the history."""
    write_shop(tmp_path)
    outcome = shelfcast("report", write_config(tmp_path), "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert "item-05" in Path(json.loads(outcome.out)["report"]).read_text(encoding="utf-8")


def test_other_sales_are_another_run(tmp_path, said):
    write_shop(tmp_path, demand=pl.col("demand") + 1)
    outcome = json.loads(shelfcast("forecast", write_config(tmp_path), "--json").out)
    assert outcome["run"] != said["runs"]["forecast"]


# ---- machine-readable answers


def strict(outcome: Outcome) -> object:
    """JSON as other languages read it: no NaN, no infinity."""
    assert (outcome.code, outcome.err) == (0, "")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(outcome.out, parse_constant=refuse)


@pytest.mark.parametrize("command", ["check", "fit", "backtest", "forecast", "order", "report", "run"])
@pytest.mark.parametrize("demand", [pl.col("demand"), pl.lit(0), pl.lit(3)], ids=["sales", "zeros", "constant"])
def test_json_of_every_command(tmp_path, command, demand):
    write_shop(tmp_path, demand=demand)
    config = write_config(tmp_path)
    if command == "order":
        strict(shelfcast("forecast", config, "--json"))
    assert isinstance(strict(shelfcast(command, config, "--json")), dict)


def test_json_of_models():
    table = strict(shelfcast("models", "--json"))
    assert {row["name"] for row in table} >= {"seasonal-naive", "season-profile"}
    assert all(row["summary"] for row in table)


# ---- other shapes of tables


def test_locations_csv_and_a_past_origin(tmp_path):
    """Semicolons, item numbers with leading zeros, two places, month-long promotions ahead in a table of their own."""
    days = [date(2024, 1, 1) + timedelta(days=i) for i in range(60)]
    rows = [(f"00{i}", place, day, (i + day.weekday()) % 5) for i in range(1, 4) for place in "AB" for day in days]
    sales = pl.DataFrame(rows, schema=["sku", "shop", "day", "units"], orient="row")
    sales.write_csv(tmp_path / "sales.csv", separator=";")
    stock = sales.select("sku", "shop").unique(maintain_order=True).with_columns(on_hand=pl.lit(7))
    stock.write_csv(tmp_path / "stock.csv")
    (tmp_path / "open.csv").write_text("sku,shop,quantity\n")
    config = tmp_path / "run.toml"
    config.write_text("""
        totals = [["location"]]
        [sales]
        path = "sales.csv"
        item = "sku"
        location = "shop"
        date = "day"
        demand = "units"
        [forecast]
        periods = 2
        levels = [0.25, 0.75]
        origin = 2024-02-20
        [orders]
        policy = "cover"
        settings = { periods = 4 }
        holding_cost = 0.1
        stockout_cost = 1.0
        on_hand = { path = "stock.csv" }
        on_order = { path = "open.csv" }
        """)
    strict(shelfcast("forecast", config, "--json"))
    said = strict(shelfcast("order", config, "--json"))
    orders = parquet(said["orders"])
    assert orders.select("item", "location").rows() == sorted((f"00{i}", place) for i in range(1, 4) for place in "AB")
    assert orders["on_hand"].unique().to_list() == [7.0]
    assert orders["arrival_date"].unique().to_list() == [date(2024, 2, 22)]


@pytest.mark.parametrize(
    ("frequency", "every"), [("hour", "1h"), ("week-wed", "1w"), ("week-ending-wed", "1w"), ("month", "1mo")]
)
def test_frequencies(tmp_path, frequency, every):
    first = datetime(2022, 1, 5) if "week" in frequency else datetime(2022, 1, 1)
    stamps = pl.datetime_range(first, datetime(2024, 6, 1), interval=every, eager=True)[:100]
    stamps = stamps if frequency == "hour" else stamps.cast(pl.Date)
    table = pl.DataFrame({"item": ["a"] * len(stamps), "date": stamps, "demand": [i % 4 for i in range(len(stamps))]})
    pl.concat([table, table.with_columns(item=pl.lit("b"))]).write_parquet(tmp_path / "sales.parquet")
    config = tmp_path / "run.toml"
    config.write_text(f"""
        [sales]
        path = "sales.parquet"
        frequency = "{frequency}"
        [forecast]
        periods = 2
        spans = ["0+2"]
        levels = [0.1, 0.9]
        [backtest]
        models = ["seasonal-naive"]
        origins = 2
        step = 1
        segments = []
        [orders]
        holding_cost = 0.1
        stockout_cost = 1.0
        """)
    said = strict(shelfcast("run", config, "--json"))
    forecasts, orders = parquet(said["forecasts"]), parquet(said["orders"])
    assert forecasts["origin"].unique().to_list() == [stamps[-1]]
    following = pl.Series([stamps[-1]]).dt.offset_by(every)[0]
    assert forecasts.filter(pl.col("lead") == 0)["first_date"].unique().to_list() == [following]
    assert orders["quantity"].min() > 0


# ---- the embedded sample


def reduced(monkeypatch, tmp_path: Path, n_items: int) -> Path:
    """The sample's folder cut to its first items; `write_demo` copies from there."""
    source = tmp_path / "package"
    (source / "sample").mkdir(parents=True)
    there = samples.files("shelfcast.data") / "sample"
    items = samples.sample("items").head(n_items)
    for name in samples.TABLES:
        samples.sample(name).join(items.select("item"), on="item").write_parquet(source / "sample" / f"{name}.parquet")
    for name in ("demo.toml", "ATTRIBUTION.md"):
        (source / "sample" / name).write_bytes((there / name).read_bytes())
    monkeypatch.setattr(samples, "files", lambda package: source)
    return tmp_path / "demo"


def test_demo_of_a_few_products(monkeypatch, tmp_path):
    target = reduced(monkeypatch, tmp_path, 20)
    outcome = shelfcast("demo", "--folder", target)
    assert (outcome.code, outcome.err) == (0, "")
    assert "season-profile" in outcome.out
    lines = [line.split(maxsplit=1) for line in outcome.out.splitlines() if str(target) in line]
    said = {" ".join(line.split()[:-1]): line.split()[-1] for line in outcome.out.splitlines() if str(target) in line}
    assert len(lines) == 5
    assert set(said) == {"forecasts", "scores", "orders", "orders csv", "report"}
    assert parquet(said["orders"]).height == 20
    forecasts = parquet(said["forecasts"])
    spans = forecasts.filter(pl.col("span") > 1).select("lead", "span").unique()
    assert sorted(spans.rows()) == [(0, 7), (0, 14), (0, 28)]
    assert forecasts.filter(pl.col("span") == 1)["lead"].unique().sort().to_list() == list(range(28))
    assert "Online Retail II" in Path(said["report"]).read_text(encoding="utf-8")


def test_in_a_process_of_its_own(tmp_path):
    """The whole cycle from another folder, with paths relative to the config; nothing on stderr."""
    write_shop(tmp_path / "shop")
    write_config(tmp_path / "shop")
    outcome = process("run", "shop/run.toml", "--json", folder=tmp_path)
    said = strict(outcome)
    assert parquet(said["orders"]).height == 7
    assert (tmp_path / "shop" / "out" / "report.html").exists()


@pytest.mark.heavy
def test_the_whole_demo(tmp_path):
    outcome = process("demo", "--folder", tmp_path / "demo", "--json")
    said = strict(outcome)
    assert parquet(said["orders"]).height == 3009
    board = {row["model"]: row["wql"] for row in said["leaderboard"]}
    assert board["season-profile"] < board["seasonal-naive"]
    assert sum(len(content) for content in files_in(Path(samples.__file__).parent / "sample").values()) < 2_000_000
