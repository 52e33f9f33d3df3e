"""Settings: read, refused with the nearest name, written and read again, and each of them used."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import shelfcast
from shelfcast.config import (
    BacktestConfig,
    CalendarConfig,
    CalibrationConfig,
    CycleConfig,
    ForecastConfig,
    OrdersConfig,
    ReportConfig,
    RunConfig,
    SalesConfig,
    SimulateConfig,
    StockConfig,
    TableConfig,
    as_toml,
    check_config,
    read_config,
)
from shelfcast.data.queries import Query
from shelfcast.data.schema import Absent, Negatives, PromotionKind, Schema
from shelfcast.errors import ConfigError, DataError
from shelfcast.horizons import Horizon, per_period

OWN = ("config.py", "drafting.py")
LEAST = {"sales": {"path": "sales.parquet"}}
SECTIONS = (
    RunConfig, SalesConfig, TableConfig, CalendarConfig, ForecastConfig, BacktestConfig, StockConfig, OrdersConfig,
    ReportConfig, SimulateConfig, CalibrationConfig, CycleConfig,
)  # fmt: skip


def refusal(**settings) -> ConfigError:
    """The error that these settings raise beside the least that a config needs."""
    with pytest.raises(ConfigError) as caught:
        check_config({**LEAST, **settings})
    assert len(str(caught.value)) < 1500
    return caught.value


# ---- round trip

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
NUMBERS = st.floats(0, 1e9, allow_nan=False)
LEVELS = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=5, unique=True).map(sorted)
SPANS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=4, unique=True)
VALUES = st.one_of(TEXTS, st.booleans(), st.integers(-9, 9), NUMBERS, st.lists(st.integers(0, 9), max_size=3))
CONFIGS = st.fixed_dictionaries(
    {
        "sales": st.fixed_dictionaries(
            {"path": TEXTS},
            optional={
                "item": TEXTS, "location": TEXTS, "past": st.lists(TEXTS, max_size=3), "from_first_sale": st.booleans(),
                "promotions": st.dictionaries(NAMES, st.sampled_from([kind.value for kind in PromotionKind])),
                "absent": st.sampled_from([kind.value for kind in Absent]), "longest_gap": st.integers(0, 99),
                "in_stock_from": st.floats(0, 1),
            },
        )
    },
    optional={
        "folder": TEXTS,
        "items": st.fixed_dictionaries({"path": TEXTS}),
        "known": st.fixed_dictionaries({"url": TEXTS, "sql": TEXTS}),
        "calendar": st.fixed_dictionaries({"country": TEXTS}),
        "totals": st.lists(st.lists(TEXTS, max_size=2), max_size=3),
        "forecast": st.fixed_dictionaries(
            {"periods": st.integers(1, 99)},
            optional={
                "levels": LEVELS, "spans": SPANS.map(lambda pairs: [list(pair) for pair in pairs]),
                "settings": st.dictionaries(NAMES, VALUES, max_size=3), "origin": st.dates(), "seed": st.integers(0, 9),
            },
        ),
        "orders": st.fixed_dictionaries(
            {}, optional={
                "budget": NUMBERS, "cost": NUMBERS, "settings": st.dictionaries(NAMES, NUMBERS, max_size=2),
                "on_hand": st.fixed_dictionaries({"path": TEXTS, "missing": st.sampled_from(["refuse", "zero"])}),
            },
        ),
        "report": st.fixed_dictionaries({"title": TEXTS, "attribution": st.lists(TEXTS, max_size=2)}),
    },
)  # fmt: skip


@given(CONFIGS)
def test_round_trip(settings):
    config = check_config(settings)
    text = as_toml(config)
    assert check_config(tomllib.loads(text)) == config
    assert as_toml(check_config(tomllib.loads(text))) == text


def test_round_trip_of_a_file(tmp_path):
    config = check_config({**LEAST, "orders": {"on_order": {"url": "duckdb:", "sql": "select \"a\"\nfrom 'b'"}}})
    (tmp_path / "run.toml").write_text(as_toml(config), encoding="utf-8")
    assert read_config(tmp_path / "run.toml") == (config, tmp_path.resolve())


def test_what_is_not_set_is_left_out():
    assert "budget" not in as_toml(check_config({**LEAST, "orders": {}}))
    assert "[orders]" not in as_toml(check_config(LEAST))


def test_a_mark_before_the_text(tmp_path):
    """Editors on Windows put one there."""
    (tmp_path / "run.toml").write_bytes(b'\xef\xbb\xbf[sales]\r\npath = "a.csv"\r\n')
    assert read_config(tmp_path / "run.toml")[0].sales.path == "a.csv"


# ---- refusals


@pytest.mark.parametrize(
    ("place", "near"),
    [
        (["foldr"], "folder"), (["sales", "demnd"], "demand"), (["items", "pth"], "path"), (["known", "sqll"], "sql"),
        (["calendar", "contry"], "country"), (["forecast", "periodes"], "periods"), (["backtest", "orgins"], "origins"),
        (["orders", "leadtime"], "lead_time"), (["orders", "on_hand", "misssing"], "missing"),
        (["orders", "on_order", "ur"], "url"), (["report", "titel"], "title"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, list) else value,
)  # fmt: skip
def test_unknown_keys_at_every_depth(place, near):
    tables = {name: {"path": "a"} for name in ("sales", "items", "known")}
    stock = {"on_hand": {"path": "a"}, "on_order": {"path": "a"}}
    settings: dict = {**tables, "calendar": {"country": "US"}, "orders": stock}
    section = settings
    for name in place[:-1]:
        section = section.setdefault(name, {})
    section[place[-1]] = 1
    error = refusal(**settings)
    assert error.key == ".".join(place)
    assert f"did you mean '{near}'?" in str(error)


def test_no_sales():
    with pytest.raises(ConfigError, match="sales: missing") as caught:
        check_config({})
    assert "To do: add it" in str(caught.value)


def test_long_values_are_cut():
    error = refusal(forecast={"periods": "x" * 100_000})
    assert error.key == "forecast.periods"
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"sales": {"path": "a", "in_stock_from": 2}}, "sales.in_stock_from"),
        ({"sales": {"path": "a", "absent": "gone"}}, "sales.absent"),
        ({"sales": {"path": "a", "longest_gap": -1}}, "sales.longest_gap"),
        ({"sales": {}}, "sales"),
        ({"sales": {"url": "duckdb:"}}, "sales"),
        ({"calendar": {}}, "calendar"),
        ({"calendar": {"columns": ["a"]}}, "calendar"),
        ({"forecast": {"periods": 0}}, "forecast"),
        ({"forecast": {"levels": [0.5, 0.5]}}, "forecast.levels"),
        ({"forecast": {"levels": [0, 0.5]}}, "forecast.levels"),
        ({"forecast": {"spans": ["1+0"]}}, "forecast.spans"),
        ({"backtest": {"step": 0}}, "backtest.step"),
        ({"backtest": {"refit_every": 0}}, "backtest.refit_every"),
        ({"orders": {"review_period": 0}}, "orders.review_period"),
        ({"orders": {"cost_share": 1.5}}, "orders.cost_share"),
        ({"orders": {"holding_cost": 0}}, "orders.holding_cost"),
        ({"orders": {"storage_share": 0}}, "orders.storage_share"),
        ({"orders": {"on_hand": {"path": "a", "missing": "one"}}}, "orders.on_hand.missing"),
        ({"orders": {"settings": {"a": "b"}}}, "orders.settings.a"),
        ({"report": {"max_products": 0}}, "report.max_products"),
        ({"totals": ["a"]}, "totals.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_values_out_of_range(settings, key):
    error = refusal(**settings)
    assert error.key == key
    assert str(error).startswith(f"{key}: ")


def test_files(tmp_path):
    with pytest.raises(DataError, match="shelfcast init"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = [1")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read_config(tmp_path / "bad.toml")


# ---- meaning


def test_defaults():
    config = check_config(LEAST)
    assert config.folder == "shelfcast-out"
    assert config.sales.schema_() == Schema()
    assert config.forecast.horizons() == per_period(28)
    assert config.orders is None
    assert config.backtest.baseline == "seasonal-naive"


def test_schema_has_all_that_the_section_has():
    sales = {
        "path": "a", "item": "i", "location": "l", "date": "d", "demand": "y", "in_stock": "s", "in_stock_from": 0.9,
        "price": "p", "promotions": {"f": "flag"}, "past": ["v"], "known": ["k"], "static": ["c"], "frequency": "day",
        "absent": "unobserved", "longest_gap": 3, "duplicates": "sum", "negatives": "net", "from_first_sale": True,
        "sold_out": "e",
    }  # fmt: skip
    config = check_config({"sales": sales})
    assert set(sales) | {"url", "sql", "paid"} == set(SalesConfig.model_fields)
    schema = config.sales.schema_()
    assert schema.columns == ("i", "l", "d", "y", "s", "p", "f", "k", "v", "e", "c")
    assert (schema.negatives, schema.absent) == (Negatives.NET, Absent.UNOBSERVED)
    assert (schema.in_stock_from, schema.longest_gap, schema.from_first_sale) == (0.9, 3, True)
    paid = check_config({"sales": {"path": "a", "paid": "p"}}).sales.schema_()
    assert (paid.price, paid.paid, paid.past) == (None, "p", ("p",))


def test_horizons_of_every_spelling():
    given = [Horizon(0, 7), Horizon(3, 1), Horizon(2, 5)]
    config = check_config({**LEAST, "forecast": {"periods": 2, "spans": ["0+7", "3", [2, 5]]}})
    assert list(config.forecast.spans) == given
    assert config.forecast.horizons([Horizon(0, 1), Horizon(0, 9)]) == (
        Horizon(0, 1), Horizon(1, 1), *given, Horizon(0, 9),
    )  # fmt: skip


def test_sources():
    assert check_config(LEAST).sales.source == "sales.parquet"
    query = {"url": "duckdb:", "sql": "select 1"}
    assert check_config({"sales": query}).sales.source == Query("duckdb:", "select 1")
    assert check_config({**LEAST, "calendar": {"country": "US"}}).calendar.source is None
    assert check_config({**LEAST, "calendar": query}).calendar.source == Query("duckdb:", "select 1")


def test_origin_is_a_date():
    config = check_config({**LEAST, "forecast": {"origin": date(2024, 2, 29)}})
    assert 'origin = "2024-02-29"' in as_toml(config)


# ---- nothing without a use


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_setting_has_a_use(section):
    """Each field is read elsewhere than where it is defined; those of `SalesConfig` go into the schema as a whole."""
    others = [path for path in Path(shelfcast.__file__).parent.rglob("*.py") if path.name not in OWN]
    source = "\n".join(path.read_text(encoding="utf-8") for path in others)
    fields = set(section.model_fields) - {"path", "url", "sql"}
    if section is SalesConfig:
        assert fields == set(Schema.__dataclass_fields__)
    unused = [name for name in sorted(fields) if not re.search(rf'(\.{name}\b|"{name}")', source)]
    assert unused == []


def test_every_section_is_tested():
    named = {
        model for model in vars(shelfcast.config).values() if isinstance(model, type) and issubclass(model, BaseModel)
    }
    assert {model.__name__ for model in named} - {"BaseModel", "_Section"} == {section.__name__ for section in SECTIONS}
