"""First configs drafted by looking at tables: roles, kinds, and that what is drafted can be read and checked."""

import json
import tomllib
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from commandline import shelfcast
from shelfcast.config import RunConfig, check_config, read_config
from shelfcast.drafting import draft, guess_roles
from shelfcast.errors import DataError
from shelfcast.horizons import Horizon

DAYS = [date(2024, 1, 1) + timedelta(days=i) for i in range(40)]
WEEKS = [date(2023, 1, 4) + timedelta(weeks=i) for i in range(40)]
MONTHS = [date(2021 + i // 12, i % 12 + 1, 1) for i in range(40)]
HOURS = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(40)]


def table(stamps=DAYS, date_name="date", **columns) -> pl.DataFrame:
    """Two series over the given dates; columns are values for every row, or a list of two, one a series."""
    n = len(stamps)
    wide = {name: [v for v in value for _ in range(n)] if isinstance(value, list) else [value] * 2 * n
            for name, value in columns.items()}  # fmt: skip
    return pl.DataFrame({date_name: stamps * 2, **wide})


def drafted(frame: pl.DataFrame, folder: Path, name: str = "sales.parquet") -> RunConfig:
    """The config that `init` writes for a table, after reading it back, and `check` has run on it."""
    folder.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(folder / name) if name.endswith("parquet") else frame.write_csv(folder / name)
    assert shelfcast("init", folder / name, "--output", folder / "run.toml").code == 0
    config, root = read_config(folder / "run.toml")
    assert root == folder.resolve()
    outcome = shelfcast("check", folder / "run.toml", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["n_series"] == 2
    return config


def test_m5_in_long_form(tmp_path):
    frame = table(
        id=["a_CA_1_validation", "b_CA_1_validation"], item_id=["a", "b"], dept_id="FOODS_1", store_id="CA_1", d="d_1",
        sell_price=1.5, sales=[3, 4], snap=0,
    )  # fmt: skip
    sales = drafted(frame, tmp_path).sales
    assert (sales.item, sales.location, sales.date, sales.demand) == ("item_id", "store_id", "date", "sales")
    assert (sales.price, sales.frequency) == ("sell_price", "day")
    assert "# columns not used yet: id, dept_id, d, snap" in (tmp_path / "run.toml").read_text()


@pytest.mark.parametrize("name", ["train.parquet", "train.csv"])
def test_nixtla(tmp_path, name):
    sales = drafted(table(date_name="ds", unique_id=["a", "b"], y=[1.0, 2.5]), tmp_path, name).sales
    assert (sales.item, sales.date, sales.demand, sales.location, sales.price) == ("unique_id", "ds", "y", None, None)
    assert sales.path == name


def test_breakfast_at_the_frat(tmp_path):
    frame = table(
        WEEKS, "WEEK_END_DATE", STORE_ID=367, UPC=[1111009477, 1111009497], UNITS=[13, 20], VISITS=13, PRICE=1.39,
        BASE_PRICE=1.57, FEATURE=0, DISPLAY=[0, 1], TPR_ONLY=1,
    )  # fmt: skip
    config = drafted(frame, tmp_path)
    sales = config.sales
    assert (sales.item, sales.location, sales.date, sales.demand) == ("UPC", "STORE_ID", "WEEK_END_DATE", "UNITS")
    assert {name: kind.value for name, kind in sales.promotions.items()} == {
        "FEATURE": "flag", "DISPLAY": "flag", "TPR_ONLY": "flag",
    }  # fmt: skip
    assert (sales.price, sales.frequency) == ("PRICE", "week-ending-wed")  # the name says that weeks end then
    assert config.forecast.periods == 8


@pytest.mark.parametrize(
    ("stamps", "frequency", "periods", "span"),
    [(HOURS, "hour", 24, 24), (DAYS, "day", 28, 7), (WEEKS, "week-wed", 8, 2), (MONTHS, "month", 6, 3)],
    ids=["hour", "day", "week", "month"],
)
def test_horizons_fit_the_frequency(tmp_path, stamps, frequency, periods, span):
    config = drafted(table(stamps, item=["a", "b"], demand=1), tmp_path)
    assert config.sales.frequency == frequency
    assert config.forecast.periods == periods
    assert config.forecast.spans[0] == Horizon(0, span)


def test_stock_flags_and_kinds_of_promotion(tmp_path):
    frame = table(item=["a", "b"], qty=2, in_stock=1, promo=True, discount=0.25, campaign=["none", "easter"], deal=7.5)
    sales = drafted(frame, tmp_path).sales
    assert (sales.in_stock, sales.demand) == ("in_stock", "qty")
    kinds = {name: kind.value for name, kind in sales.promotions.items()}
    assert kinds == {"promo": "flag", "discount": "depth", "campaign": "category"}


def test_negative_demand_is_clipped_in_the_draft(tmp_path):
    assert drafted(table(item=["a", "b"], units=[-1, 2]), tmp_path).sales.negatives.value == "clip"


def test_semicolons_and_leading_zeros(tmp_path):
    table(item=["007", "008"], units=3).write_csv(tmp_path / "sales.csv", separator=";")
    assert shelfcast("init", tmp_path / "sales.csv", "--output", tmp_path / "run.toml").code == 0
    assert shelfcast("check", tmp_path / "run.toml").code == 0


def test_decimal_comma(tmp_path):
    """Read into roles by name; `check` then says what is wrong with the numbers, and where."""
    lines = [f"{day:%d.%m.%Y};0{a};A;{a * i},5;1,99" for a in (1, 2) for i, day in enumerate(DAYS)]
    (tmp_path / "sales.csv").write_text("\n".join(["Datum;Artikel;Filiale;Menge;Preis", *lines]))
    assert shelfcast("init", tmp_path / "sales.csv", "--output", tmp_path / "run.toml").code == 0
    sales = read_config(tmp_path / "run.toml")[0].sales
    roles = (sales.date, sales.item, sales.location, sales.demand, sales.price)
    assert roles == ("Datum", "Artikel", "Filiale", "Menge", "Preis")
    outcome = shelfcast("check", tmp_path / "run.toml")
    assert outcome.code == 2
    assert "'Menge'" in outcome.err
    assert "Menge=0,5" in outcome.err
    assert "To do" in outcome.err


def test_dates_found_by_what_they_look_like(tmp_path):
    frame = table(date_name="when", thing=["a", "b"], how_many=[1, 2])
    for name in ("sales.parquet", "sales.csv"):
        sales = drafted(frame, tmp_path / name, name).sales
        assert (sales.date, sales.item, sales.demand) == ("when", "thing", "how_many")


def test_what_is_not_found_is_left_to_the_user(tmp_path):
    """A draft of a table without dates can be read, and `check` lists the columns."""
    pl.DataFrame({"a": ["x", "y"], "b": [1.5, 2.5]}).write_parquet(tmp_path / "t.parquet")
    (tmp_path / "run.toml").write_text(draft(str(tmp_path / "t.parquet"), tmp_path))
    config, _ = read_config(tmp_path / "run.toml")
    assert (config.sales.item, config.sales.date, config.sales.demand) == ("a", "CHANGE-ME", "b")
    outcome = shelfcast("check", tmp_path / "run.toml")
    assert outcome.code == 2
    assert "there are: a, b" in outcome.err


def test_one_column_has_one_role():
    frame = table(item=["a", "b"], sales=1, units=2, price=3.0, sell_price=4.0)
    roles = guess_roles(frame)
    assert roles == {"date": "date", "item": "item", "demand": "units", "price": "price"}
    assert len(set(roles.values())) == len(roles)


def test_names_that_toml_must_quote(tmp_path):
    odd = {'promo"x\\': 1, "new\nline": 2, "tab\tpromo": 0, "naïve promo = 1": 0, "promo.x": 1, "\x7fdeal": 1}
    frame = table(item=["a", "b"], units=1, **odd)
    frame.write_parquet(tmp_path / 'odd "name".parquet')
    text = draft(str(tmp_path / 'odd "name".parquet'), tmp_path)
    config = check_config(tomllib.loads(text))
    assert set(config.sales.promotions) == set(odd) - {"new\nline"}
    assert config.sales.path == 'odd "name".parquet'


def test_paths_are_relative_to_the_config(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "configs").mkdir()
    table(item=["a", "b"], units=1).write_parquet(tmp_path / "data" / "part-1.parquet")
    config = check_config(tomllib.loads(draft(str(tmp_path / "data" / "*.parquet"), tmp_path / "configs")))
    assert config.sales.path == "../data/*.parquet"


def test_every_option_in_the_draft_is_one(tmp_path):
    """What stands in comments is right too: uncommented, the config is read."""
    table(item=["a", "b"], units=1).write_parquet(tmp_path / "sales.parquet")
    lines = []
    for line in draft(str(tmp_path / "sales.parquet"), tmp_path).splitlines():
        bare = line.removeprefix("# ")
        is_setting = " = " in bare.split("#")[0] or bare.startswith("[")
        is_other_source = bare.startswith(("url", "sql")) or " = ..." in bare
        lines.append(bare if line.startswith("# ") and is_setting and not is_other_source else line)
    settings = tomllib.loads("\n".join(lines))
    assert {"items", "known", "calendar", "orders"} <= set(settings)
    assert {"policy", "budget", "on_hand", "on_order", "cost_share"} <= set(settings["orders"])
    assert check_config(settings).orders.lead_time == 2


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"none\.parquet"):
        draft(str(tmp_path / "none.parquet"), tmp_path)
    (tmp_path / "header.csv").write_text("item,date,demand\n")
    with pytest.raises(DataError, match="rows"):
        draft(str(tmp_path / "header.csv"), tmp_path)
