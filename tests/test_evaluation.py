"""Scores by slice against hand values, SQL, slow loops and known laws."""

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles import slow_scores
from shelfcast.cells import dollar_sales, promoted, series_scale
from shelfcast.data.panel import Calendar, FeatureNames, Panel
from shelfcast.errors import ConfigError, DataError
from shelfcast.evaluation import calibration, compare, evaluate, wspl_by_series
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon, per_period
from shelfcast.laws import Counts
from shelfcast.metrics import Metric
from shelfcast.models.base import M5_LEVELS
from shelfcast.models.table import forecaster
from shelfcast.periods import Frequency
from shelfcast.segments import Groups, segments

DAY = Frequency.parse("day")
LEVELS = (0.1, 0.5, 0.9)
MIXED = (*per_period(3), Horizon(0, 3), Horizon(1, 2))
GOLDEN = json.loads((Path(__file__).parent / "golden" / "scores.json").read_text())


def make_panel(
    demand: Sequence[Sequence[float | None]],
    start: Sequence[int] | None = None,
    price: Sequence[Sequence[float]] | None = None,
    promotion: Sequence[Sequence[float]] | None = None,
    **static: Sequence[str],
) -> Panel:
    """A daily panel from rows of demand by series; None is not observed."""
    flat = [value for row in demand for value in row]
    columns = {"price": price, "promo": promotion}
    given_columns = {name: rows for name, rows in columns.items() if rows is not None}
    known = [[value for row in rows for value in row] for rows in given_columns.values()]
    start = start or [0] * len(demand)
    lengths = np.array([len(row) for row in demand])
    return Panel(
        calendar=Calendar(DAY),
        series=pl.DataFrame({"item": [f"item {i}" for i in range(len(demand))], **static}),
        start=np.array(start, dtype=np.int32),
        indptr=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        demand=np.array([value or 0.0 for value in flat], dtype=np.float32),
        observed=np.array([value is not None for value in flat], dtype=bool),
        past=np.zeros((len(flat), 0), dtype=np.float32),
        known=np.array(known, dtype=np.float32).reshape(len(known), len(flat)).T,
        names=FeatureNames(
            known=tuple(given_columns),
            price="price" if price is not None else None,
            promotions=("promo",) if promotion is not None else (),
        ),
        place=np.zeros(len(demand), dtype=np.int32),
        last=int((np.array(start) + lengths).max()) - 1,
    )


def make_forecast(panel: Panel, origins: Sequence[int], horizons: Sequence[Horizon], values: object) -> Forecast:
    array = np.asarray(values, dtype=np.float32)
    shape = (panel.n_series, len(origins), len(horizons), array.shape[-1])
    levels = LEVELS if array.shape[-1] == 3 else (0.5,)
    full = np.broadcast_to(array, shape).copy()
    return Forecast(panel.series.select("item"), tuple(origins), DAY, tuple(horizons), levels, full, model="made")


def random_panel(seed: int, n: int = 12, n_periods: int = 30) -> Panel:
    """Ragged counts with gaps; the last three series: never sold, constant, and without rows."""
    rng = np.random.default_rng(seed)
    rows: list[list[float | None]] = []
    for _ in range(n - 3):
        counts = rng.poisson(rng.uniform(0.3, 6), n_periods - int(rng.integers(0, 15)))
        rows.append([None if rng.random() < 0.12 else float(c) for c in counts])
    rows += [[0.0] * n_periods, [2.0] * n_periods, []]
    starts = [n_periods - len(row) for row in rows]
    price = [list(rng.uniform(1, 5, len(row))) for row in rows]
    promotion = [list((rng.random(len(row)) < 0.3) * 1.0) for row in rows]
    return make_panel(rows, starts, price, promotion, store=[f"s{i % 3}" for i in range(n)])


def random_forecast(panel: Panel, seed: int, origins: Sequence[int] = (20, 24, 28)) -> Forecast:
    """Integer quantiles, so that ties with demand occur; the last origin's targets partly lie beyond the data."""
    rng = np.random.default_rng(seed)
    shape = (panel.n_series, len(origins), len(MIXED), len(LEVELS))
    return make_forecast(panel, origins, MIXED, np.sort(rng.poisson(3.0, shape), axis=-1))


def value(table: pl.DataFrame, metric: str, **where: object) -> float:
    rows = table.filter(pl.col("metric") == metric, *(pl.col(name) == wanted for name, wanted in where.items()))
    assert rows.height == 1, rows
    return float(rows["value"][0])


def test_the_makers_hold_what_they_are_told() -> None:
    panel = make_panel([[1, None, 3], [4]], [0, 2])
    assert slow_scores.value_at(panel, 0, 1) is None
    assert [slow_scores.value_at(panel, i, 2) for i in (0, 1)] == [3.0, 4.0]
    assert slow_scores.truth(panel, 0, 1, 0, 2) is None
    assert random_panel(0).lengths[-1] == 0


def test_scores_by_hand() -> None:
    """Demand 2, 4, 3 | 5, 0: scale (2 + 1) / 2, median 3 on both days."""
    panel = make_panel([[2, 4, 3, 5, 0]])
    table = evaluate(make_forecast(panel, [2], per_period(2), [3.0]), panel)
    expected = {
        "pinball": (1.0 + 1.5) / 2,
        "wql": 5 / 5,
        "scaled_pinball": 1.25 / 1.5,
        "crps": 5 / 2,
        "coverage_below": 0.5,
        "coverage_at_most": 0.5,
        "bias": 1 / 5,
        "wape": 5 / 5,
        "rmsse": np.sqrt(((4 + 9) / 2) / ((4 + 1) / 2)),
        "crossing": 0.0,
    }
    assert {row["metric"]: row["value"] for row in table.iter_rows(named=True)} == pytest.approx(expected)
    weights = dict(table.select("metric", "weight").iter_rows())
    assert (weights["wql"], weights["pinball"], weights["scaled_pinball"]) == (5.0, 2.0, 1.0)
    assert table["left_out"].sum() == 0
    assert table["lead"].null_count() == table.height
    assert set(table["span"]) == {1}


def test_mean_forecast_is_the_point_where_there_is_one() -> None:
    panel = make_panel([[2, 4, 3, 5, 0]])
    forecast = replace(make_forecast(panel, [2], per_period(2), [3.0]), mean=np.array([[[5.0, 1.0]]], dtype=np.float32))
    table = evaluate(forecast, panel, metrics=["bias", "wape"])
    assert (value(table, "bias"), value(table, "wape")) == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("by", [["span", "level"], ["store", "span", "level"], ["store", "lead", "span", "level"]])
def test_sums_agree_with_sql(seed: int, by: list[str]) -> None:
    panel = random_panel(seed)
    forecast = random_forecast(panel, seed)
    expected = slow_scores.sql_scores(slow_scores.long_table(forecast, panel), by)
    table = evaluate(forecast, panel, [name for name in by if name != "span"])
    for metric in ("wql", "pinball", "coverage_below", "coverage_at_most"):
        made = table.filter(pl.col("metric") == metric).sort(by)
        assert made.select(by).rows() == expected.select(by).rows()
        np.testing.assert_allclose(
            made["value"].cast(pl.Float64).to_numpy(), expected[metric].cast(pl.Float64).to_numpy(), rtol=1e-9
        )
        np.testing.assert_array_equal(made["left_out"].to_numpy(), expected["left_out"].to_numpy())


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_scaled_scores_agree_with_loops(seed: int) -> None:
    panel = random_panel(seed)
    forecast = random_forecast(panel, seed)
    weights = np.random.default_rng(seed).uniform(0, 3, panel.n_series)
    table = evaluate(forecast, panel, metrics=["scaled_pinball", "wspl"], weights=weights)
    for span in (1, 2, 3):
        plain = slow_scores.scaled_pinball(forecast, panel, span)
        weighted = slow_scores.scaled_pinball(forecast, panel, span, weights)
        assert value(table, "scaled_pinball", span=span) == pytest.approx(plain, rel=1e-9)
        assert value(table, "wspl", span=span) == pytest.approx(weighted, rel=1e-9)


def test_scale_of_every_series_agrees_with_loops() -> None:
    panel = random_panel(6)
    made = series_scale(panel, 24)
    slow = [slow_scores.scale(panel, i, 24) for i in range(panel.n_series)]
    np.testing.assert_allclose(np.where(made > 0, made, np.nan), np.array(slow, dtype=float))


def test_a_slice_without_demand_keeps_its_row() -> None:
    panel = make_panel([[1, 2, 3, 4], [1, 0, 0, 0]], store=["a", "b"])
    table = evaluate(make_forecast(panel, [2], per_period(1), [2.0]), panel, ["store"], metrics=["wql", "pinball"])
    wql = table.filter(pl.col("metric") == "wql")
    assert wql.select("store", "value", "weight").rows() == [("a", 0.5, 4.0), ("b", None, 0.0)]


def test_series_without_a_scale_are_said_to_be_left_out() -> None:
    panel = make_panel([[1, 2, 3, 4], [2, 2, 2, 2], [0, 0, 0, 5]])
    forecast = make_forecast(panel, [2], per_period(1), [2.0])
    table = evaluate(forecast, panel, metrics=["wql", "scaled_pinball"])
    assert table["left_out"].to_list() == [0, 2]
    assert value(table, "scaled_pinball") == pytest.approx(0.5 * 2 / 1.0)


@pytest.mark.parametrize("seed", [7, 8])
def test_only_observed_demand_is_scored(seed: int) -> None:
    panel = random_panel(seed)
    garbage = np.where(panel.observed, panel.demand, np.float32(1e6))
    forecast, by = random_forecast(panel, seed), ["store", "lead", "level", "velocity", "demand_class", "age"]
    expected = evaluate(forecast, panel, by)
    assert evaluate(forecast, replace(panel, demand=garbage), by).equals(expected)
    assert expected["left_out"].sum() > 0


def test_every_cell_is_scored_or_left_out() -> None:
    panel = random_panel(9)
    forecast = random_forecast(panel, 9)
    table = evaluate(forecast, panel, ["store"], metrics=["pinball"])
    totals = table.group_by("span").agg(pl.col("weight").sum() + pl.col("left_out").sum()).sort("span")
    assert totals["weight"].to_list() == [12 * 3 * 3, 12 * 3, 12 * 3]


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([0.25, 2.0, 8.0]), st.integers(0, 50))
def test_scores_change_with_the_unit_as_they_should(c: float, seed: int) -> None:
    panel = random_panel(seed, n=6)
    forecast = random_forecast(panel, seed)
    bigger = replace(panel, demand=panel.demand * np.float32(c))
    one = evaluate(forecast, panel)
    other = evaluate(replace(forecast, values=forecast.values * np.float32(c)), bigger)
    in_units = one["metric"].is_in(["pinball", "crps"]).to_numpy()
    expected = one["value"].to_numpy() * np.where(in_units, c, 1.0)
    np.testing.assert_allclose(other["value"].to_numpy(), expected, rtol=1e-9, atol=1e-12)


def test_slices_put_together_give_the_whole() -> None:
    panel = random_panel(10)
    forecast = random_forecast(panel, 10)
    whole = evaluate(forecast, panel, metrics=["pinball", "crps", "wape"])
    parts = evaluate(forecast, panel, ["store", "promoted", "origin"], metrics=["pinball", "crps", "wape"])
    again = (
        parts.drop_nulls("value")
        .group_by("metric", "span")
        .agg((pl.col("value") * pl.col("weight")).sum() / pl.col("weight").sum())
    )
    for metric, span, score in again.iter_rows():
        assert value(whole, metric, span=span) == pytest.approx(score)
    assert parts["origin"].unique().sort().to_list() == [panel.date(o).item() for o in (20, 24, 28)]


def test_the_order_of_series_in_the_panel_does_not_matter() -> None:
    panel = random_panel(11)
    forecast = random_forecast(panel, 11)
    shuffled = panel.take(np.random.default_rng(0).permutation(panel.n_series))
    made = evaluate(forecast, shuffled, ["store", "lead"])
    assert made.equals(evaluate(forecast, panel, ["store", "lead"]))


def guide_panel() -> tuple[Panel, Forecast]:
    """Two products and their total: steps of 1, dollar sales of 10, 12 and 22 in 28 days, then a day with demand 5."""
    history = [float(i % 2) for i in range(40)]
    dollars = np.array([10.0, 12.0, 22.0])
    price = [[d / 14] * 41 for d in dollars]
    panel = make_panel([[*history, 5.0]] * 3, price=price, aggregate=["item", "item", "total"])
    values = np.zeros((3, 1, 1, 1))
    values[:, 0, 0, 0] = 5.0 - 2 * np.array([0.8, 0.7, 0.77])
    mean = (5.0 + np.array([0.8, 0.7, 0.77])).reshape(3, 1, 1)
    return panel, replace(make_forecast(panel, [39], per_period(1), values), mean=mean.astype(np.float32))


def test_the_m5_guides_example() -> None:
    panel, forecast = guide_panel()
    golden = GOLDEN["WRMSSE of two products and their total"]
    np.testing.assert_allclose(dollar_sales(panel, 39), [10, 12, 22], rtol=1e-6)
    rmsse = evaluate(forecast, panel, ["item"], metrics=["rmsse"])["value"].to_list()
    assert rmsse == pytest.approx([0.8, 0.7, 0.77], rel=1e-6)
    table = evaluate(forecast, panel, metrics=["wspl", "wrmsse"])
    assert value(table, "wrmsse") == pytest.approx(golden["value"], abs=golden["tolerance"])
    assert value(table, "wspl") == pytest.approx(golden["value"], abs=golden["tolerance"])
    exact = (0.8 * 10 / 22 + 0.7 * 12 / 22 + 0.77) / 2
    assert value(table, "wspl") == pytest.approx(exact, rel=1e-6)
    uneven = evaluate(forecast, panel, metrics=["wspl"], weights=[1, 1, 10])
    assert value(uneven, "wspl") == pytest.approx((0.75 + 0.77) / 2, rel=1e-6), "each aggregate counts once"
    by_aggregate = evaluate(forecast, panel, ["aggregate"], metrics=["wspl"])
    assert by_aggregate["value"].to_list() == pytest.approx([0.8 * 10 / 22 + 0.7 * 12 / 22, 0.77], rel=1e-6)


def test_wspl_by_series_adds_up() -> None:
    panel = random_panel(12)
    forecast = random_forecast(panel, 12)
    pieces = wspl_by_series(forecast, panel)
    assert pieces.height == panel.n_series * 3 * 3
    sums = pieces.group_by("span", "origin").agg((pl.col("weight") * pl.col("spl")).sum())
    scored = pieces.filter(pl.col("spl").is_not_null()).select("span", "origin").unique()
    sums = sums.join(scored, on=["span", "origin"], how="semi")
    table = evaluate(forecast, panel, metrics=["wspl"])
    for span, score in sums.group_by("span").agg(pl.col("weight").mean()).iter_rows():
        assert value(table, "wspl", span=span) == pytest.approx(score)
    np.testing.assert_allclose(
        pieces.filter(pl.col("span") == 1, pl.col("origin") == pl.col("origin").min())["scale"].fill_null(0),
        np.nan_to_num(series_scale(panel, 20)),
    )


def test_coverage_of_the_true_law_has_its_level_between_the_two_shares() -> None:
    rng = np.random.default_rng(13)
    mean = rng.uniform(0.5, 8, 400)
    demand = rng.poisson(mean[:, None], (400, 40)).astype(float)
    panel = make_panel(demand.tolist())
    law = Counts.poisson(mean).quantile(LEVELS)[:, None, None]
    forecast = make_forecast(panel, [9], per_period(28), law)
    table = calibration(forecast, panel)
    assert table.columns == ["span", "level", "below", "at_most", "n"]
    assert set(table["n"]) == {400 * 28}
    assert (table["below"] < table["level"] + 0.01).all()
    assert (table["at_most"] > table["level"] - 0.01).all()
    assert (table["at_most"] - table["below"] > 0.05).all(), "counts have ties"


def test_promoted_windows_are_those_with_a_promotion_planned() -> None:
    panel = make_panel([[1, 1, 1, 4, 1]], promotion=[[1, 1, 0, 1, 0]])
    horizons = (*per_period(2), Horizon(0, 2))
    np.testing.assert_array_equal(promoted(panel, 2, horizons), [[True, False, True]])
    forecast = make_forecast(panel, [2], horizons, [1.0])
    table = evaluate(forecast, panel, ["promoted"], metrics=["wape"])
    assert value(table, "wape", span=1, promoted=True) == pytest.approx(3 / 4)
    assert value(table, "wape", span=1, promoted=False) == 0.0
    assert table.filter(pl.col("span") == 2)["promoted"].to_list() == [True]


def test_segments_by_hand() -> None:
    n = 400
    steady, rare = [10.0] * n, [float(3 * (t % 5 == 0)) for t in range(n)]
    lumpy = [float((t % 5 == 0) * (1 if t % 2 else 40)) for t in range(n)]
    late, never = [0.0] * (n - 60) + [2.0, 1.0] * 30, [0.0] * n
    first_year = [0.0] * 100 + [1.0] * 300
    table = segments(make_panel([steady, rare, lumpy, late, never, first_year]), n - 1)
    assert table["age"].to_list() == ["established", "established", "established", "new", "unsold", "young"]
    assert table["velocity"].to_list() == ["fast", "slow", "fast", "medium", "none", "medium"]
    assert table["demand_class"].to_list()[:4] == ["smooth", "intermittent", "lumpy", "smooth"]


def test_segments_do_not_look_ahead() -> None:
    panel = random_panel(14)
    later = panel.row_periods() > 20
    other = replace(panel, demand=np.where(later, np.float32(77), panel.demand), observed=panel.observed | later)
    assert segments(panel, 20).equals(segments(other, 20))


def test_given_segments_take_the_place_of_derived_ones() -> None:
    panel = random_panel(15)
    forecast = random_forecast(panel, 15)
    labels = pl.DataFrame({"planner": ["ann", "bob"] * 6, "age": ["any"] * 12})
    table = evaluate(forecast, panel, ["planner", "age"], metrics=["pinball"], segments=labels)
    assert set(table["planner"]) == {"ann", "bob"}
    assert set(table["age"]) == {"any"}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=12))
def test_groups_sum_like_a_loop(labels: list[str | None]) -> None:
    groups = Groups.of(pl.DataFrame({"label": pl.Series(labels, dtype=pl.String)}), len(labels))
    cells = np.arange(2.0 * len(labels)).reshape(1, len(labels), 2)
    made = groups.sum(cells)[0]
    for place, label in enumerate(groups.table["label"]):
        np.testing.assert_array_equal(made[place], cells[0, [own == label for own in labels]].sum(axis=0))


def test_comparing_a_forecast_with_itself_gives_exactly_zero() -> None:
    panel = random_panel(16)
    forecast = random_forecast(panel, 16)
    for metric in ("wql", "scaled_pinball"):
        table = compare(forecast, forecast, panel, metric=metric, n=50)
        assert table["span"].to_list() == [1, 2, 3]
        assert table.select("difference", "low", "high").rows() == [(0.0, 0.0, 0.0)] * 3


def test_comparing_tells_a_clearly_better_forecast() -> None:
    rng = np.random.default_rng(17)
    demand = rng.poisson(5.0, (200, 60)).astype(float)
    panel = make_panel(demand.tolist(), store=["a", "b"] * 100)
    law = Counts.poisson([5.0]).quantile(LEVELS)
    good = replace(make_forecast(panel, [40], per_period(7), law), model="good")
    bad = replace(make_forecast(panel, [40], per_period(7), law + 3), model="bad")
    table = compare(good, bad, panel, ["store"], n=300)
    assert table["store"].to_list() == ["a", "b"]
    assert (table["high"] < 0).all()
    assert (table["low"] < table["difference"]).all()
    scores = [evaluate(f, panel, ["store"], metrics=["wql"])["value"].to_numpy() for f in (good, bad)]
    np.testing.assert_allclose(table["difference"], scores[0] / scores[1] - 1, rtol=1e-9)
    assert table.row(0, named=True)["n_series"] == 100


def test_nothing_to_score_gives_rows_that_say_so() -> None:
    panel = random_panel(20)
    beyond = random_forecast(panel, 20, origins=(29,))
    table = evaluate(beyond, panel, ["store", "age"], metrics=["wql", "wspl", "rmsse", "coverage_below"])
    assert table["value"].null_count() == table.height > 0
    pinball = evaluate(beyond, panel, metrics=["pinball"])
    assert pinball["left_out"].to_list() == [12 * 3, 12, 12]
    assert compare(beyond, beyond, panel, ["age", "promoted"]).height == 0
    none = np.array([], dtype=np.int64)
    assert evaluate(beyond.take(none), panel.take(none)).height == 0


def test_comparing_needs_the_same_axes() -> None:
    panel = random_panel(18)
    forecast = random_forecast(panel, 18)
    with pytest.raises(DataError, match="same origins"):
        compare(forecast, forecast.at([20, 24]), panel)
    with pytest.raises(DataError, match="same series"):
        compare(forecast, forecast.take(np.arange(12)[::-1].copy()), panel)
    with pytest.raises(ConfigError, match="wql or scaled_pinball"):
        compare(forecast, forecast, panel, metric="crps")


def test_what_cannot_be_scored_is_named() -> None:
    panel = random_panel(19)
    forecast = random_forecast(panel, 19)
    with pytest.raises(ConfigError, match="did you mean 'store'"):
        evaluate(forecast, panel, ["stor"])
    with pytest.raises(ConfigError, match="did you mean 'wspl'"):
        evaluate(forecast, panel, metrics=["wslp"])
    with pytest.raises(ConfigError, match="12 series"):
        evaluate(forecast, panel, metrics=["wspl"], weights=[1.0, 2.0])
    with pytest.raises(DataError, match="2 that are not"):
        evaluate(forecast, panel.take(np.arange(10)))
    priceless = replace(panel, names=FeatureNames(known=panel.names.known))
    assert Metric.WSPL not in evaluate(forecast, priceless)["metric"].to_list()
    with pytest.raises(ConfigError, match="weights of the series or a panel with a price"):
        evaluate(forecast, priceless, metrics=["wspl"])


def _m5_data() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "m5_data.py"
    spec = importlib.util.spec_from_file_location("m5_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["m5_data"] = module
    spec.loader.exec_module(module)
    if not module.FOLDER.is_dir():
        pytest.skip("the M5 sample is not there; it is expected in ../shared/data/m5 beside the project")
    return module


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("key", "name", "settings_"),
    [
        ("M5 weekday quantiles, 13 weeks, L12", "season-quantiles", {"seasons": 13}),
        ("M5 weekday quantiles, 26 weeks, L12", "season-quantiles", {"seasons": 26}),
        ("M5 seasonal naive, Gaussian, L12", "seasonal-naive", {"errors": "gaussian", "seasons": 280}),
        ("M5 seasonal naive, Gaussian, A9", "seasonal-naive", {"errors": "gaussian", "seasons": 280}),
    ],
)
def test_published_m5_scores_are_reproduced(key: str, name: str, settings_: dict[str, object]) -> None:
    m5 = _m5_data()
    panel, weights = m5.aggregates() if key.endswith("A9") else (m5.products(), None)
    origins = [m5.period(day) for day in m5.ORIGIN_DAYS]
    model = forecaster(name, horizons=28, levels=M5_LEVELS, **settings_).fit(panel.as_of(origins[0]))
    table = evaluate(model.predict(panel, origins), panel, metrics=["wspl"], weights=weights)
    assert value(table, "wspl") == pytest.approx(GOLDEN[key]["value"], abs=GOLDEN[key]["tolerance"])
