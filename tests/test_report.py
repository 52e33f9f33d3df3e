"""The one-page report: what it carries, what it refuses to run, and what a real browser makes of it."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shelfcast.data.aggregates import with_aggregates
from shelfcast.data.panel import Calendar, FeatureNames, Panel
from shelfcast.data.schema import Schema
from shelfcast.errors import StoreError
from shelfcast.evaluation import calibration, evaluate
from shelfcast.forecast import Forecast
from shelfcast.horizons import Horizon
from shelfcast.periods import Frequency
from shelfcast.report import Attention, Kind, ReportInputs, render, worth_a_look, write_report
from shelfcast.report.accuracy import reading
from shelfcast.report.aligned import align, tiling, truth
from shelfcast.report.exceptions import exceptions
from shelfcast.report.look import past_scores
from shelfcast.report.numbers import folded, short, spoken
from shelfcast.report.payload import payload
from shelfcast.report.risks import risks

DAY = Frequency.parse("day")
LEVELS = (0.1, 0.5, 0.9)
NASTY = "</script><script>window.hacked=1</script><img src=x onerror=alert(1)>&\u2028"


def panel_of(rows: list[list[float]], last: int = 20_000, frequency: Frequency = DAY, **columns: list[Any]) -> Panel:
    """Series that all end at `last`; NaN is unobserved."""
    flat = np.array([v for row in rows for v in row], dtype=np.float32)
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    series = pl.DataFrame({"item": [f"p{i}" for i in range(len(rows))]} | columns)
    return Panel(
        calendar=Calendar(frequency),
        series=series,
        start=(last - lengths + 1).astype(np.int32),
        indptr=np.concatenate(([0], np.cumsum(lengths))),
        demand=np.nan_to_num(flat),
        observed=~np.isnan(flat),
        past=np.zeros((len(flat), 0), dtype=np.float32),
        known=np.zeros((len(flat), 0), dtype=np.float32),
        names=FeatureNames(),
        place=np.zeros(len(rows), dtype=np.int32),
        last=last,
    )


def forecast_of(panel: Panel, origins: list[int], horizons: list[Horizon], middle: list[float]) -> pl.DataFrame:
    """Quantiles (m / 2, m, 2 m) with mean m per period, the same for every origin."""
    shape = (panel.n_series, len(origins), len(horizons))
    spans = np.array([h.span for h in horizons])
    mean = np.broadcast_to(np.array(middle)[:, None, None] * spans, shape).astype(np.float32)
    values = mean[..., None] * np.array([0.5, 1.0, 2.0], dtype=np.float32)
    keys = panel.series.select(panel.keys)
    return Forecast(keys, tuple(origins), panel.frequency, tuple(horizons), LEVELS, values, mean, "m").table()


HORIZONS = [Horizon(0), Horizon(1), Horizon(0, 2)]


@pytest.fixture
def inputs() -> ReportInputs:
    """Two products: p0 sells 10 a day for 30 days, p1 sells 4 then jumps to 40 in the last two days."""
    panel = panel_of([[10.0] * 30, [4.0] * 28 + [40.0, 40.0]], department=["A", "B"])
    past = [panel.last - 4, panel.last - 2]
    scores = [
        ("m", None, None, None, "wql", 0.30),
        ("seasonal-naive", None, None, None, "wql", 0.40),
        ("m", None, None, None, "bias", -0.05),
        *[(m, lead, 1, None, "wql", w) for m, w in (("m", 0.3), ("seasonal-naive", 0.4)) for lead in (0, 1)],
        ("m", None, None, 0.5, "wql", 0.99),
    ]
    names = ("model", "lead", "span", "level", "metric", "value")
    orders = panel.series.select("item").with_columns(
        quantity=pl.Series([0.0, 12.0]), arrival=1, cost=pl.Series([0.0, 30.0]), protects=pl.lit("0+2"),
        critical_ratio=0.9, target=pl.Series([40.0, 16.0]), position=pl.Series([50.0, 4.0]),
        why=pl.Series(["Enough.", "Packs of 12."]),
    )  # fmt: skip
    return ReportInputs(
        title="Monday",
        panel=panel,
        created=datetime(2026, 11, 23, 6, 30),
        attribution=("Data under CC BY 4.0, https://example.org/data",),
        run_ids=("run-1",),
        facts={"seed": 0},
        model="m",
        forecast=forecast_of(panel, [panel.last], HORIZONS, [10, 4]),
        backtest={"m": forecast_of(panel, past, HORIZONS, [10, 4])},
        scores=pl.DataFrame(scores, schema=names, orient="row"),
        segments=pl.DataFrame(
            {
                "segment_kind": ["velocity"] * 4,
                "segment": ["fast", "fast", "slow", "slow"],
                "model": ["m", "seasonal-naive"] * 2,
                "metric": ["wql"] * 4,
                "value": [0.2, 0.4, 0.5, 0.4],
                "weight": [3.0, 3.0, 1.0, 1.0],
            }
        ),
        calibration=pl.DataFrame(
            {"model": ["m"] * 3, "level": LEVELS, "below": [0.05, 0.3, 0.7], "at_most": [0.2, 0.6, 0.8], "n": [9] * 3}
        ),
        orders=orders,
        currency="£",
    )


def carried(page: str) -> dict[str, Any]:
    """The record inside a page."""
    found = re.search(r'<script type="application/json" id="payload">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def test_products_are_listed_by_size_with_their_headline_forecast(inputs: ReportInputs) -> None:
    made = payload(inputs)
    products = made["products"]
    assert products["item"] == ["p0", "p1"]  # 300 sold against 192
    assert products["recent"] == [280, 26 * 4 + 80]
    assert made["view"]["headline"] == "next 2 days"  # what the orders protect
    assert products["mean"] == [20, 8]
    assert products["middle"] == [20, 8]
    assert products["upper"] == [40, 16]
    assert products["static"] == [{"name": "department", "values": ["A", "B"]}]
    assert products["fan"][1] == [2, 4, 8]  # one number a level, since each is the same on both days
    assert products["span"][1] == [[4, 8, 16]]  # horizons by levels
    assert products["history"][0] == [10] * 30
    assert made["dates"][made["view"]["last"]] == "2024-10-04"  # day 20,000 after 1970-01-01
    assert len(made["dates"]) == 32


def test_tiles_say_what_the_tables_hold(inputs: ReportInputs) -> None:
    tiles = {tile["label"]: tile for tile in payload(inputs)["tiles"]}
    assert tiles["Products"]["value"] == "2"
    assert tiles["Expected, next 2 days"]["value"] == "28"  # 2 x (10 + 4)
    assert tiles["Expected, next 2 days"]["note"].startswith("−72%")  # 28 against 100
    assert tiles["Error against seasonal-naive"]["value"] == "−25%"  # .30 / .40
    assert tiles["To order now"]["value"] == "£30"
    assert tiles["To order now"]["note"] == "1 product, 12 units"


def test_scores_are_picked_over_all_and_by_lead(inputs: ReportInputs) -> None:
    (accuracy,) = payload(inputs)["accuracy"]["by_span"]
    assert accuracy["label"] == "each day"
    best = {"name": "m", "wql": 0.3, "relative": 0.75, "wape": None, "bias": -0.05, "sfpc": None, "excess": None}
    assert accuracy["models"][0] == best  # the row of one level is not taken for the whole
    assert [m["name"] for m in accuracy["models"]] == ["m", "seasonal-naive"]
    assert accuracy["lead"][0] == {"name": "m", "lead": [0, 1], "wql": [0.3, 0.3]}
    fast, slow = accuracy["segments"]["velocity"]
    assert fast == {"segment": "fast", "weight": 3.0, "wql": {"m": 0.2, "seasonal-naive": 0.4}}
    assert slow["weight"] == 1.0


def test_calibration_comes_from_scores_too(inputs: ReportInputs) -> None:
    table = [("m", None, None, 0.9, metric, v) for metric, v in (("coverage_below", 0.7), ("coverage_at_most", 0.8))]
    scores = pl.DataFrame(table, schema=["model", "lead", "span", "level", "metric", "value"], orient="row")
    (made,) = payload(replace(inputs, calibration=None, scores=scores))["calibration"]["by_span"]
    assert made["models"] == {"m": [[0.9, 0.7, 0.8]]}


def test_spans_are_told_apart(inputs: ReportInputs) -> None:
    rows = [
        ("m", lead, span, None, "wql", v)
        for lead, span, v in ((None, 1, 0.5), (0, 1, 0.4), (1, 1, 0.6), (None, 7, 0.2))
    ]
    scores = pl.DataFrame(rows, schema=["model", "lead", "span", "level", "metric", "value"], orient="row")
    segments = pl.DataFrame(
        {"segment_kind": "age", "segment": "new", "model": "m", "span": [1, 7], "metric": "wql", "value": [0.9, 0.8]}
    )
    table = pl.DataFrame({"model": "m", "span": [1, 7], "level": 0.9, "below": [0.9, 0.5], "at_most": [0.9, 0.5]})
    made = payload(replace(inputs, scores=scores, segments=segments, calibration=table))
    day, week = made["accuracy"]["by_span"]
    assert (day["label"], week["label"]) == ("each day", "sums of 7 days")
    assert (day["models"][0]["wql"], week["models"][0]["wql"]) == (0.5, 0.2)
    assert day["lead"][0]["wql"] == [0.4, 0.6]
    assert (day["segments"]["age"][0]["wql"], week["segments"]["age"][0]["wql"]) == ({"m": 0.9}, {"m": 0.8})
    assert [part["models"]["m"] for part in made["calibration"]["by_span"]] == [[[0.9, 0.9, 0.9]], [[0.9, 0.5, 0.5]]]


def test_evaluation_and_aggregates_feed_the_page(inputs: ReportInputs) -> None:
    panel = with_aggregates(inputs.panel, [()])
    table = forecast_of(panel, [panel.last - 4, panel.last - 2], HORIZONS, [10, 4, 14])
    made = Forecast.from_table(table, panel.frequency, "m")
    scores = pl.concat([evaluate(made, panel), evaluate(made, panel, by=("lead",))])
    calibrated = calibration(made, panel).select(pl.lit("m").alias("model"), pl.all())
    full = ReportInputs(
        "t", panel, model="m", forecast=table, backtest={"m": table}, scores=scores, calibration=calibrated
    )
    record = payload(full)
    assert [part["label"] for part in record["accuracy"]["by_span"]] == ["each day", "sums of 2 days"]
    assert record["calibration"]["shown"] == "m"
    assert record["products"]["item"] == ["p0", "p1"]
    assert {row["item"] for group in record["attention"] for row in group["rows"]} <= {"p0", "p1"}
    assert "series of its own" in record["total"]["caption"]
    assert [part["total"] for part in record["past"]] == [[14, 14], [14, 14]]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([[0.5, 0.4, 0.6], [0.9, 0.85, 0.89]], "Calibrated"),
        ([[0.5, 0.4, 0.6], [0.9, 0.7, 0.8]], "90% quantile is too low: demand stayed at or under it 80.0% of the time"),
        ([[0.1, 0.3, 0.5], [0.9, 0.7, 0.95]], "10% quantile is too high: demand stayed under it 30.0% of the time"),
        ([[0.1, 0.3, 0.5], [0.9, 0.7, 0.8]], "2 of 2 levels are off by more than two points"),
        ([[0.5, None, None]], "Too little demand"),
    ],
)
def test_calibration_is_read_in_one_sentence(points: list[list[float | None]], words: str) -> None:
    assert words in reading(points)


def test_truth_and_loss_follow_the_definition(inputs: ReportInputs) -> None:
    rows = align(inputs.panel, inputs.backtest["m"])
    demand, complete = truth(inputs.panel, rows)
    assert complete.all()
    found = dict(zip(zip(rows.place, rows.origin - inputs.panel.last, rows.horizon, strict=True), demand, strict=True))
    pair = rows.horizons.index(Horizon(0, 2))
    assert found[(1, -2, pair)] == 80
    assert found[(1, -4, pair)] == 8
    singles = rows.where(rows.horizon != pair)
    scored = past_scores(inputs.panel, singles)
    # p0: demand 10 against (5, 10, 20): pinball .1 x 5, 0, .1 x 10 -> mean .5, twice: 1; over demand 10.
    assert scored.wql[0] == pytest.approx(0.1)
    # p1: two days of 4 against (2, 4, 8): 2 x (.2 + .4) / 3 = .4; two of 40: 2 x (3.8 + 18 + 28.8) / 3 = 33.7333.
    assert scored.wql[1] == pytest.approx((2 * 0.4 + 2 * 33.733333) / 88)
    assert scored.inside.tolist() == [1.0, 0.5]


def test_the_biggest_miss_and_the_risk_are_found(inputs: ReportInputs) -> None:
    found = worth_a_look(inputs)
    assert [(a.kind, a.item) for a in found] == [(Kind.RISK, "p1"), (Kind.MISS, "p1")]
    assert found[0].sentence == (
        "4 in stock and on order against 4 expected in the 1 day before an order can arrive: 50% likely to run out."
    )
    assert "In the 2 days after 2 Oct 2024, 80 sold where 8 were expected" in found[1].sentence
    chances = risks(inputs)
    assert chances.waiting.tolist() == [False, True]
    assert chances.now.tolist() == pytest.approx([0.0, 0.9])  # 50 tops all quantiles, 4 is the 0.1 quantile of two days
    assert chances.chance[0] == 0.0


def test_a_risk_that_an_order_mends_is_not_raised(inputs: ReportInputs) -> None:
    orders = inputs.orders
    assert orders is not None
    enough = replace(inputs, orders=orders.with_columns(position=pl.Series([50.0, 9.0])))
    assert not [a for a in worth_a_look(enough) if a.kind is Kind.RISK]  # 9 covers day 1, 21 cover two days
    short_of = orders.with_columns(position=pl.Series([0.0, 9.0]))
    (risk,) = [a for a in worth_a_look(replace(inputs, orders=short_of.drop("arrival"))) if a.kind is Kind.RISK]
    assert risk.sentence == "0 in stock and on order against 20 expected in 2 days: over 90% likely to run out, " + (
        "and nothing is ordered."
    )


def test_new_and_ended_products_are_found() -> None:
    long = [3.0] * 200
    stopped = [2.0] * 100 + [0.0] * 100
    panel = panel_of([long, stopped, [5.0] * 10, [], [1.0] * 100 + [float("nan")] * 100])
    found = {a.item: a for a in worth_a_look(ReportInputs("t", panel))}
    assert set(found) == {"p1", "p2", "p3"}  # p4 was not observed, so nobody knows whether it ended
    assert found["p1"].kind is Kind.ENDED
    assert "100 days ago" in found["p1"].sentence
    assert found["p2"].kind is Kind.NEW
    assert "50 in 10 days" in found["p2"].sentence
    assert found["p3"].sentence == "Listed, but it has not sold yet."


def test_given_attention_is_kept(inputs: ReportInputs) -> None:
    made = payload(replace(inputs, attention=[Attention(Kind.NEW, "p1", None, "Look.", 1.0)]))
    new = next(group for group in made["attention"] if group["kind"] == "new")
    assert new == {"kind": "new", "n": 1, "rows": [{"row": 1, "item": "p1", "location": None, "text": "Look."}]}
    assert made["products"]["flags"] == {"1": ["new"]}


def test_the_total_adds_means_and_never_quantiles() -> None:
    rng = np.random.default_rng(0)
    panel = panel_of([list(rng.poisson(20, 80)), list(rng.poisson(5, 80))])
    horizons = [Horizon(0), Horizon(1)]
    past = [panel.last - k for k in range(30, 2, -1)]
    made = payload(
        ReportInputs(
            "t", panel, model="m", forecast=forecast_of(panel, [panel.last], horizons, [20, 5]),
            backtest={"m": forecast_of(panel, past, horizons, [20, 5])},
        )
    )["total"]  # fmt: skip
    assert made["mean"] == [25, 25]
    demand, _ = panel.window(panel.last - 29, panel.last)
    total = demand.sum(axis=0)
    ratios = np.concatenate([total[:28], total[1:29]]) / 25  # day 1 and day 2 after each of 28 origins
    expected = 25 * np.quantile(ratios, LEVELS)
    assert [row[0] for row in made["q"]] == pytest.approx(expected, abs=0.1)
    assert "28 backtest origins" in made["caption"]
    few = payload(ReportInputs("t", panel, model="m", forecast=forecast_of(panel, [panel.last], horizons, [20, 5])))
    assert few["total"]["q"] is None
    assert "too few backtests" in few["total"]["caption"]


def test_a_total_series_speaks_for_itself() -> None:
    panel = panel_of([[1.0] * 40, [2.0] * 40, [3.0] * 40], level=["product", "product", "total"])
    table = forecast_of(panel, [panel.last], [Horizon(0), Horizon(1)], [1, 2, 3])
    made = payload(ReportInputs("t", panel, forecast=table))
    assert made["products"]["item"] == ["p1", "p0"]  # the total is no product
    assert made["total"]["q"] == [[1.5, 1.5], [3, 3], [6, 6]]
    assert made["total"]["history"] == [3] * 40
    assert "series of its own" in made["total"]["caption"]


def test_only_the_largest_products_get_charts(inputs: ReportInputs) -> None:
    made = payload(replace(inputs, max_products=1))
    assert made["header"]["n_charts"] == 1
    assert len(made["products"]["item"]) == 2
    assert len(made["products"]["history"]) == len(made["products"]["fan"]) == 1
    assert made["tiles"][0]["note"] == "charts for the 1 largest"


def test_unobserved_periods_are_gaps_not_zeros() -> None:
    made = payload(ReportInputs("t", panel_of([[1.0, float("nan"), 3.0]])))
    assert made["products"]["history"] == [[1, None, 3]]
    assert made["total"]["history"] == [1, None, 3]


def test_tiles_of_horizons_do_not_overlap() -> None:
    assert tiling((Horizon(0), Horizon(1), Horizon(0, 7))) == (Horizon(0), Horizon(1))
    assert tiling((Horizon(0, 7), Horizon(0, 14), Horizon(7, 7))) == (Horizon(0, 7), Horizon(7, 7))
    assert tiling((Horizon(3, 4),)) == (Horizon(3, 4),)


def test_numbers_are_short() -> None:
    assert short([1234.5, 12.34, 0.123], 2) == [1234, 12, 0.12]
    assert folded([[[0, 0, 0], [1, 2, 1], [None, None, None]], [[], [3]]]) == [[0, [1, 2, 1], None], [[], 3]]
    assert short([1.0, 1234.56, 12.345, 0.1234, np.nan, np.inf, 99.96]) == [1, 1235, 12.3, 0.12, None, None, 100]
    assert [spoken(v) for v in (1234.5, 3.0, 3.44, 0.051)] == ["1,234", "3", "3.4", "0.051"]


def test_the_page_is_one_file_that_loads_nothing(inputs: ReportInputs) -> None:
    page = render(inputs)
    loads = Loads()
    loads.feed(page)
    assert loads.found == []
    assert "default-src 'none'" in page
    outside = re.sub(r'<div class="attribution">.*?</div>', "", page, flags=re.DOTALL)
    urls = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<]*", outside))
    assert urls == {"http://www.w3.org/2000/svg"}  # the name of the SVG namespace, which nothing fetches


class Loads(HTMLParser):
    """Collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster", "action") or (
                name == "href" and not str(value).startswith("#")
            ):
                self.found.append(f"{tag} {name}={value}")


def test_names_cannot_become_markup(inputs: ReportInputs) -> None:
    series = inputs.panel.series.with_columns(item=pl.Series([NASTY, "p1"]), department=pl.Series([NASTY, "B"]))
    page = render(ReportInputs(NASTY, replace(inputs.panel, series=series), attribution=(NASTY,), run_ids=(NASTY,)))
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    assert "\u2028" not in carried_text(page)
    assert carried(page)["products"]["item"][0] == NASTY
    assert carried(page)["title"] == NASTY


def carried_text(page: str) -> str:
    return page.partition('id="payload">')[2].partition("</script>")[0]


def test_the_same_inputs_give_the_same_bytes(inputs: ReportInputs, tmp_path: Path) -> None:
    first = write_report(inputs, tmp_path / "deep" / "report.html")
    again = write_report(inputs, tmp_path / "again.html")
    assert first.read_bytes() == again.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.html", "deep"]  # no temporary file stays


def test_an_unwritable_folder_is_a_clear_error(inputs: ReportInputs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write the report"):
        write_report(inputs, tmp_path / "file" / "report.html")


def test_one_part_at_a_time_can_be_missing(inputs: ReportInputs) -> None:
    parts = {"forecast": None, "backtest": {}, "scores": None, "segments": None, "calibration": None, "orders": None}
    for name, nothing in parts.items():
        assert "Monday" in render(replace(inputs, **{name: nothing}))
    alone = replace(inputs, **parts)
    made = payload(alone)
    assert made["orders"] is None
    assert made["calibration"] is None
    assert "No forecast was given" in made["header"]["summary"]
    empty = {name: inputs_table.clear() for name, inputs_table in tables(inputs).items()}
    assert payload(replace(inputs, **empty, backtest={"m": []}))["accuracy"]["by_span"] == []


def tables(inputs: ReportInputs) -> dict[str, pl.DataFrame]:
    names = ("forecast", "scores", "segments", "calibration", "orders")
    return {name: getattr(inputs, name) for name in names}


def test_a_panel_without_series_or_rows_gives_a_page() -> None:
    assert "0 products" in render(ReportInputs("t", panel_of([])))
    assert carried(render(ReportInputs("t", panel_of([[]]))))["products"]["item"] == ["p0"]


@pytest.mark.parametrize("unit", ["hour", "week", "month"])
def test_other_frequencies_and_locations(unit: str) -> None:
    frequency = Frequency.parse(unit)
    panel = panel_of([[2.0] * 60, [3.0] * 60], last=600, frequency=frequency, location=["north", "south"])
    panel = replace(panel, series=panel.series.with_columns(item=pl.lit("a")))
    horizons = [Horizon(0, 4), Horizon(4, 4)]
    past = [panel.last - 8 * k for k in (3, 2, 1)]
    table, backtest = (forecast_of(panel, o, horizons, [2, 3]) for o in ([panel.last], past))
    made = payload(ReportInputs("t", panel, model="m", forecast=table, backtest={"m": [backtest]}))
    assert made["view"]["tiles"] == [[0, 4], [4, 4]]
    assert made["products"]["location"] == ["south", "north"]
    assert made["products"]["fan"][0] == [6, 12, 24]
    assert made["total"]["mean"] == [20, 20]
    assert [p["origin"] - made["view"]["last"] for p in made["past"]] == [-8, -16]
    assert f"over 8 {unit}s" in made["header"]["summary"]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """<script>{
  const out = {}, rows = (id) => [...document.querySelectorAll("#" + id + " tbody tr")].map((r) => r.innerText);
  out.rows = rows("products").length; out.orders = rows("orders");
  const svg = document.querySelector("#total .chart svg");
  svg.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
  out.tip = document.querySelector("#total .tip").innerText;
  const box = document.querySelector("#products input"); box.value = "P1"; box.dispatchEvent(new Event("input"));
  out.found = rows("products").length; out.count = document.querySelector("#products [role=status]").innerText;
  box.value = "zzz"; box.dispatchEvent(new Event("input")); out.none = rows("products")[0];
  box.value = ""; box.dispatchEvent(new Event("input"));
  const sort = document.querySelector("#products th button"); sort.click(); sort.click();
  out.first = rows("products")[0]; out.sorted = sort.parentNode.getAttribute("aria-sort");
  out.panel = document.querySelector("#panel").innerText; out.open = document.querySelector("#panel").open;
  out.fans = document.querySelectorAll("#panel svg path.b0[d^=M], #panel svg path.pb[d^=M]").length;
  out.bars = document.querySelectorAll("#calibration rect").length;
  out.fits = [...document.querySelectorAll("body, main, section")].every((e) => e.scrollWidth <= innerWidth);
  out.width = innerWidth; out.hacked = window.hacked || 0; out.errors = document.documentElement.dataset.errors || "";
  const pre = document.createElement("pre"); pre.id = "probe"; pre.textContent = JSON.stringify(out);
  document.body.append(pre);
}</script></body>"""


def in_browser(page: str, folder: Path, fragment: str = "", width: int = 1200) -> dict[str, Any]:
    """What the probe saw of a page in a real browser; the browser may reach nothing."""
    file = folder / "probe.html"
    file.write_text(page.replace("</body>", PROBE), encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--dump-dom", file.as_uri() + fragment,
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    text = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&")
    return dict(json.loads(text))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the page with")
def test_a_real_browser_draws_it(inputs: ReportInputs, tmp_path: Path) -> None:
    seen = in_browser(render(inputs), tmp_path, "#product=p1")
    assert seen["errors"] == ""
    assert seen["rows"] == 2
    assert len(seen["orders"]) == 1
    assert "Packs of 12." in seen["orders"][0]
    assert seen["tip"].startswith("4 Oct 2024")
    assert "50 sold" in seen["tip"]
    assert (seen["found"], seen["count"], seen["none"].strip()) == (1, "1 of 2 products", "Nothing matches.")
    assert seen["sorted"] == "descending"
    assert seen["first"].startswith("p1")
    assert seen["open"]
    assert "stock-out risk" in seen["panel"]
    assert "Packs of 12." in seen["panel"]
    assert seen["fans"] == 3  # the forecast's band and two backtests
    assert seen["bars"] == 3


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the page with")
def test_a_real_browser_runs_no_name_and_fits_a_narrow_window(inputs: ReportInputs, tmp_path: Path) -> None:
    series = inputs.panel.series.with_columns(item=pl.Series([NASTY + "W" * 200, "p1"]))
    alone = ReportInputs(NASTY, replace(inputs.panel, series=series), attribution=(NASTY,), orders=None)
    seen = in_browser(render(alone), tmp_path, width=500)
    assert (seen["hacked"], seen["errors"], seen["fits"]) == (0, "", True)
    assert seen["rows"] == 2


def test_money_at_risk_ranks_products_by_units_times_price_and_adds_reasons():
    frame = pl.DataFrame({"item": ["a", "b", "c"], "date": ["2024-01-01"] * 3, "demand": [1.0] * 3})
    frame = frame.with_columns(pl.col("date").str.to_date(), price=pl.Series([2.0, 10.0, 1.0]))
    panel = Panel.from_frame(frame, Schema(price="price", frequency="day"))
    found = [
        Attention(Kind.RISK, "a", None, "Short.", 30.0), Attention(Kind.MISS, "b", None, "Missed.", 5.0),
        Attention(Kind.MISS, "a", None, "Missed.", 1.0), Attention(Kind.NEW, "c", None, "New.", 900.0),
    ]  # fmt: skip
    ranked = exceptions(ReportInputs("t", panel, currency="$"), found)
    assert [(one.item, one.score) for one in ranked] == [("a", 62.0), ("b", 50.0)]
    assert ranked[0].sentence == "$62 at risk. Short. Missed."
    assert exceptions(ReportInputs("t", panel_of([[1.0]])), found[:1]) == []
