"""The steps of a run as functions: what is read, what a forecast may see, what is stored, what is said meanwhile."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from commandline import CONFIG, edited, files_in, write_config, write_shop
from shelfcast import loading, pipelines
from shelfcast.config import check_config, read_config
from shelfcast.data.aggregates import AGGREGATE
from shelfcast.errors import ConfigError, DataError, StoreError
from shelfcast.models.table import load, makers
from shelfcast.pipelines import Run, backtest, cycle, fit, forecast, load_panel, model_table, order, products
from shelfcast.reporting import stored
from shelfcast.store import RunKind, RunWriter

NOW = datetime(2026, 1, 1)


def a_run(folder: Path, changes: dict[str, str] | None = None, **more) -> Run:
    """A run of the small shop's config with texts replaced."""
    settings, root = read_config(write_config(folder, edited(CONFIG, changes or {})))
    return Run(settings, root, NOW, **more)


@pytest.fixture
def folder(tmp_path) -> Path:
    write_shop(tmp_path)
    return tmp_path


# ---- reading


def test_panel_of_all_tables(folder):
    panel = load_panel(a_run(folder))
    assert panel.names.known == ("price", "promo")
    assert panel.names.past == ("views",)
    assert panel.series.columns == ["item", "department", AGGREGATE]
    assert products(panel).n_series == 7
    assert products(products(panel)).n_series == 7
    assert "holiday" in panel.calendar.names


def test_panel_without_totals(folder):
    panel = load_panel(a_run(folder, {'totals = [[], ["department"]]\n': ""}))
    assert AGGREGATE not in panel.series.columns
    assert products(panel) is panel


def test_calendar_reaches_as_far_as_the_horizons(folder):
    panel = load_panel(a_run(folder))
    ahead = panel.calendar.at(panel.place[:, None], np.arange(panel.last, panel.last + 10)[None, :])
    assert np.isfinite(ahead).all()  # periods 5, spans up to 2+7


def test_plans_in_a_table_of_their_own(folder):
    """Prices and promotions after the last sale, and the sales without those columns."""
    sales = pl.read_parquet(folder / "sales.parquet")
    plan = sales.select("item", "date", "price", "promo")
    ahead = plan.filter(pl.col("date") > date(2024, 3, 20)).with_columns(pl.col("date").dt.offset_by("10d"), price=7.0)
    pl.concat([plan, ahead.filter(pl.col("date") > date(2024, 3, 30))]).write_parquet(folder / "plan.parquet")
    sales.drop("price", "promo").write_parquet(folder / "sales.parquet")
    panel = products(load_panel(a_run(folder, {"[calendar]": '[known]\npath = "plan.parquet"\n\n[calendar]'})))
    assert str(panel.date(panel.last)) == "2024-03-30"
    assert (panel.known_window(panel.last + 1, panel.last + 10)[:6, :, 0] == 7.0).all()
    assert panel.observed[panel.row_periods() > panel.last].sum() == 0


def test_tables_elsewhere(tmp_path):
    write_shop(tmp_path / "tables")
    run = a_run(tmp_path / "configs", data=tmp_path / "tables")
    assert products(load_panel(run)).n_series == 7
    assert run.folder == tmp_path / "configs" / "out"
    cycle(run)
    assert (run.folder / "report.html").exists()
    with pytest.raises(DataError, match=r"sales\.parquet"):
        load_panel(replace(run, data=None))


def test_the_clock_is_an_argument(folder):
    with pytest.raises(DataError, match="after today's period"):
        load_panel(replace(a_run(folder), now=datetime(2024, 3, 29)))
    assert load_panel(replace(a_run(folder), now=datetime(2024, 3, 30))).n_series == 10


# ---- knowledge time


def test_forecast_from_an_origin_sees_nothing_after_it(folder):
    """Other sales, stock-outs and page views after the origin change nothing in the forecast."""
    changes = {"periods = 5": "periods = 5\norigin = 2024-03-01"}
    run = a_run(folder, changes)
    made, _ = forecast(run, load_panel(run))
    later = pl.col("date") > date(2024, 3, 1)
    rewrite = {name: pl.when(later).then(pl.col(name) * 50 + 9).otherwise(name) for name in ("demand", "views")}
    flags = pl.when(later).then(1 - pl.col("in_stock")).otherwise("in_stock")
    sales = pl.read_parquet(folder / "sales.parquet")
    sales.with_columns(in_stock=flags, **rewrite).write_parquet(folder / "sales.parquet")
    again, info = forecast(run, load_panel(run))
    np.testing.assert_array_equal(made.values, again.values)
    assert run.store.scan(info, "forecasts").collect()["origin"].unique().to_list() == [date(2024, 3, 1)]


def test_backtest_equals_forecasts_from_each_origin(folder):
    run = a_run(folder)
    panel = load_panel(run)
    result, _ = backtest(run, panel)
    tested = result.forecasts["season-profile"]
    assert len(tested.origins) == 2
    assert tested.origins[1] - tested.origins[0] == 7
    assert tested.origins[1] == panel.last - 9  # the farthest span ends at the last period
    for at in tested.origins:
        day = str(panel.date(at))
        single = a_run(folder, {"periods = 5": f"periods = 5\norigin = {day}"})
        made, _ = forecast(single, panel)
        np.testing.assert_array_equal(made.values, tested.at([at]).values)


def test_refits(folder, monkeypatch):
    """The config's cadence reaches the models: two origins, fitted at the first, or at both."""
    fits = []
    kind = makers()["season-profile"]
    really = kind.fit
    monkeypatch.setattr(kind, "fit", lambda self, panel, *, seed=0: fits.append(panel.last) or really(self, panel))
    run = a_run(folder)
    backtest(run, load_panel(run))
    assert len(fits) == 1
    run = a_run(folder, {"origins = 2": "origins = 2\nrefit_every = 1"})
    backtest(run, load_panel(run))
    assert len(fits) == 3
    assert fits[2] - fits[1] == 7


# ---- what a backtest finds


def test_tables_of_a_backtest(folder):
    run = a_run(folder, {"step = 7": 'step = 7\nsegments = ["velocity", "department"]'})
    result, info = backtest(run, load_panel(run))
    assert set(result.forecasts) == {"seasonal-naive", "season-profile"}
    for name in ("scores", "segments", "calibration", "comparison"):
        assert run.store.scan(info, name).collect().equals(getattr(result, name)), name
    kinds = set(result.segments["segment_kind"])
    assert kinds == {"velocity", "department", "promoted", "repriced", AGGREGATE}
    levels = result.segments.filter(pl.col("segment_kind") == AGGREGATE)["segment"].unique().to_list()
    assert sorted(levels) == ["department", "item", "total"]
    assert set(result.comparison["model_a"]) == {"season-profile"}
    assert set(result.calibration["level"]) == {0.1, 0.5, 0.9}


def test_scores_are_of_products_only(folder):
    """Totals are scored as a segment; the overall scores are the same without them."""
    run = a_run(folder)
    result, _ = backtest(run, load_panel(run))
    bare = a_run(folder, {'totals = [[], ["department"]]\n': ""})
    alone, _ = backtest(bare, load_panel(bare))
    assert result.scores.equals(alone.scores)
    assert result.comparison.equals(alone.comparison)


def test_baseline_is_always_compared(folder):
    run = a_run(folder, {'models = ["seasonal-naive"]': 'models = []\nbaseline = "recent-quantiles"'})
    result, _ = backtest(run, load_panel(run))
    assert set(result.forecasts) == {"recent-quantiles", "season-profile"}


def test_one_model_alone(folder):
    """Nothing to compare with: the whole cycle works, and its tables can be read."""
    run = a_run(folder, {'"season-profile"': '"seasonal-naive"', "step = 7": "step = 7\nsegments = []"})
    result = cycle(run)
    assert set(result.backtest.forecasts) == {"seasonal-naive"}
    assert stored(run.store, RunKind.BACKTEST, "comparison") is None
    assert run.store.sql("select count(distinct model) from scores").item() == 1
    assert run.store.sql("select count(*) from orders").item() == 7


def test_whole_units(folder):
    run = a_run(folder)
    made, _ = forecast(run, load_panel(run))
    assert (made.values == np.rint(made.values)).all()
    raw = a_run(folder, {"whole_units = true": "whole_units = false"})
    fine, _ = forecast(raw, load_panel(raw))
    assert (fine.values != np.rint(fine.values)).any()
    np.testing.assert_array_equal(np.rint(fine.values), made.values)


# ---- steps


def test_settings_reach_the_model(folder):
    run = a_run(folder, {"periods = 5": "periods = 5\nsettings = { window = 14 }"})
    saved = load(fit(run, load_panel(run)))
    assert saved.name == "season-profile"
    assert saved.window == 14
    assert [str(h) for h in saved.horizons] == ["0+1", "1+1", "2+1", "3+1", "4+1", "0+3", "2+7", "0+5"]
    other = a_run(folder, {"periods = 5": "periods = 5\nsettings = { window = 14 }", "[backtest]": "[backtest]\n"})
    backtest(other, load_panel(other))  # the settings are the chosen model's, not the baseline's


def test_orders_from_the_stored_forecast(folder):
    run = a_run(folder)
    panel = load_panel(run)
    made, _ = forecast(run, panel)
    stored_orders, _ = order(run, panel)
    direct, _ = order(run, panel, made)
    assert stored_orders.equals(direct)


def test_orders_need_a_forecast_from_today(folder):
    """A forecast from before the latest sales protects other days than an order placed now."""
    early = a_run(folder, {"periods = 5": "periods = 5\norigin = 2024-03-20"})
    forecast(early, load_panel(early))
    order(early, load_panel(early))
    run = a_run(folder)
    with pytest.raises(ConfigError, match="from 2024-03-20, the sales are at 2024-03-30"):
        order(run, load_panel(run))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("levels = [0.1, 0.5, 0.9]", "levels = [0.1, 0.9]", "levels"),
        ("periods = 5", "periods = 6", "horizons"),
        ("lead_time = 2", "lead_time = 9", "horizons"),
        ('"season-profile"', '"recent-quantiles"', "model"),
    ],
)
def test_a_saved_model_that_is_not_the_configs(folder, old, new, what):
    run = a_run(folder)
    saved = fit(run, load_panel(run))
    other = a_run(folder, {old: new})
    with pytest.raises(ConfigError, match=f"other {what} than the config"):
        forecast(other, load_panel(other), saved)


def test_a_damaged_store_is_not_an_empty_one(folder):
    run = a_run(folder)
    panel = load_panel(run)
    _, info = forecast(run, panel)
    part = next(run.store.path(info, "forecasts").iterdir())
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(StoreError, match="cut or changed"):
        pipelines.report(run, panel)


def test_cycle_without_orders(folder):
    text = CONFIG[: CONFIG.index("[orders]")]
    settings, root = read_config(write_config(folder, text))
    result = cycle(Run(settings, root, NOW))
    assert result.orders is None
    assert set(result.runs) == {"backtest", "forecast"}
    assert result.report.exists()


def test_a_report_alone_needs_no_run(folder):
    run = a_run(folder)
    assert stored(run.store, RunKind.FORECAST, "forecasts") is None
    assert pipelines.report(run, load_panel(run)).exists()


def test_origins_outside_the_sales(folder):
    run = a_run(folder, {"periods = 5": "periods = 5\norigin = 2023-12-31"})
    with pytest.raises(ConfigError, match="from 2024-01-01 to 2024-03-30") as caught:
        forecast(run, load_panel(run))
    assert caught.value.key == "forecast.origin"


def test_nothing_is_stored_by_a_step_that_fails(folder, monkeypatch):
    run = a_run(folder)
    panel = load_panel(run)

    def broken(*given, **named):
        raise StoreError("no")

    made, _ = forecast(run, panel)
    monkeypatch.setattr(RunWriter, "text", broken)
    with pytest.raises(StoreError, match="no"):
        order(run, panel, made)
    assert run.store.runs()["kind"].to_list() == ["forecast"]
    assert not [name for name in files_in(run.folder) if "orders" in name]


def test_progress(folder):
    said = []
    run = replace(a_run(folder), progress=lambda doing, done, total: said.append((doing, done, total)))
    cycle(run)
    assert {doing.split(":")[0] for doing, _, _ in said} == {
        "reading tables", "backtest", "scoring", "forecasting", "ordering", "report",
    }  # fmt: skip
    assert all(0 <= done <= total for _, done, total in said)
    tested = [done / total for doing, done, total in said if doing.startswith(("backtest", "scoring"))]
    assert tested == sorted(tested)
    assert tested[-1] == 1.0


def test_paths_to_rules_start_where_tables_do_for_members_too(tmp_path):
    chosen = """model = "blend"
settings = { members = ["ses", "patchwork"], member_settings = { patchwork = { rules = "rules.toml" } } }"""
    run = a_run(tmp_path, {'model = "season-profile"': chosen})
    made = pipelines.model_of(run, "blend", run.config.forecast.horizons(()))
    assert made.member_settings == {"patchwork": {"rules": str(tmp_path / "rules.toml")}}
    assert made.members == ("ses", "patchwork")


def test_table_of_models():
    table = model_table()
    assert table["name"].to_list() == list(makers())
    assert all(table["summary"].str.len_chars() > 20)
    for name, maker in makers().items():
        row = table.row(by_predicate=pl.col("name") == name, named=True)
        assert {column for column, value in row.items() if value is True} == {a.name.lower() for a in maker.abilities}


def test_long_gaps_and_weekly_steps(tmp_path):
    """With weeks the origins are one period apart unless told otherwise."""
    weeks = [date(2023, 1, 4) + timedelta(weeks=i) for i in range(60)]
    table = pl.DataFrame({"item": ["a"] * 60, "date": weeks, "demand": [i % 7 for i in range(60)]})
    table.write_parquet(tmp_path / "sales.parquet")
    settings = check_config(
        {
            "sales": {"path": "sales.parquet"},
            "forecast": {"periods": 2, "levels": [0.5]},
            "backtest": {"models": [], "origins": 3, "segments": []},
        }
    )  # fmt: skip
    run = Run(settings, tmp_path, NOW)
    result, _ = backtest(run, load_panel(run))
    origins = result.forecasts["season-profile"].origins
    assert np.diff(origins).tolist() == [1, 1]


def test_saved_models_replace_each_other_but_nothing_else(folder):
    run = a_run(folder)
    panel = load_panel(run)
    saved = fit(run, panel)
    before = files_in(saved)
    assert fit(run, panel) == saved
    assert files_in(saved) == before
    (saved / "model.json").rename(saved / "mine.json")
    with pytest.raises(StoreError, match="no model"):
        fit(run, panel)
    assert (saved / "mine.json").exists()


def test_products_without_a_place_are_counted(tmp_path):
    days = [date(2024, 1, d) for d in range(1, 20)]
    rows = pl.DataFrame({"item": ["a"] * 19, "location": ["x"] * 19, "date": days, "demand": [1.0] * 19})
    rows.write_parquet(tmp_path / "sales.parquet")
    pl.DataFrame({"item": ["a", "new"], "kind": ["k", "k"]}).write_csv(tmp_path / "items.csv")
    config = check_config({"sales": {"path": "sales.parquet", "location": "location"}, "items": {"path": "items.csv"}})
    _, found = loading.check(pipelines.Run(config, tmp_path, datetime(2024, 6, 1)))
    assert found.unplaced == 1
    assert "products without place" in str(found)


def test_a_cycle_that_fails_late_publishes_nothing(folder, monkeypatch):
    run = a_run(folder)

    def broken(*_):
        raise DataError("stock", "none")

    monkeypatch.setattr(pipelines, "buy", broken)
    with pytest.raises(DataError):
        cycle(run)
    assert run.store.runs().height == 0
    assert not list(run.folder.rglob("*.parquet"))
    monkeypatch.undo()
    cycle(run)
    assert set(run.store.runs()["kind"]) == {"backtest", "forecast", "orders"}
