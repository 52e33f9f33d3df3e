"""A replay of a small made-up shop: tables, the base, what is known when, censored periods, and the command."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from commandline import shelfcast
from shelfcast.config import SimulateConfig
from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError
from shelfcast.inventory.budget import Scarce
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.learned import Evidence
from shelfcast.models.table import forecaster
from shelfcast.replays import Cell, groups, nearest_observed, stretch
from shelfcast.report.savings import savings
from shelfcast.simulating import equal_fill, plan, simulate
from shop import SCHEMA, draw

SMALL = {"periods": 28, "tuning_periods": 28, "critical_ratios": (0.8, 0.95), "packs": (6,), "lead_times": (2,)}
TERMS = (Supply(1, 7), Economics(0.1, 0.9, 2.0, 1.0))
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.9, 0.975)


@pytest.fixture(scope="module")
def panel():
    frame, _ = draw(12, 140, seed=3, stock_outs=0.08)
    return Panel.from_frame(frame, SCHEMA)


def replayed(panel, names=("recent-quantiles",), **settings):
    made = plan(panel, SimulateConfig(**{**SMALL, **settings}), *TERMS)
    return simulate(made, lambda name, horizons: forecaster(name, horizons=horizons, levels=LEVELS), names)


@pytest.fixture(scope="module")
def tables(panel):
    return replayed(panel, ("seasonal-naive", "season-profile")).tables()


def test_every_rule_of_every_model_has_a_row_and_the_oracle_is_cheapest(tables):
    table = tables["savings"]
    rules = table.filter(pl.col("policy") != "oracle")
    assert rules.group_by("model").len()["len"].to_list() == [10, 10]
    oracle = table.filter(pl.col("policy") == "oracle")["cost"][0]
    assert (rules["cost"] > oracle).all()
    assert rules["regret_captured"][0] == 0.0
    assert rules["regret_captured"].max() < 1.0
    assert rules["fill_rate"].is_between(0.3, 1.0).all()


def test_the_ladder_agrees_with_the_costs(tables):
    cost = {(r["model"], r["policy"]): r["cost"] for r in tables["savings"].iter_rows(named=True)}
    for row in tables["ladder"].iter_rows(named=True):
        own, other = cost[row["model"], row["policy"]], cost[row["against_model"], row["against_policy"]]
        assert row["relative"] == pytest.approx(own / other - 1)
        assert row["saved"] == pytest.approx(other - own)
        assert row["low"] <= row["relative"] + 1e-9
        assert row["high"] >= row["relative"] - 1e-9
    kinds = tables["ladder"].group_by("kind").len().sort("kind")
    assert dict(kinds.iter_rows()) == {"base": 20, "forecast": 10, "rung before": 18}


def test_what_is_printed_is_rounded_once(tables):
    """A share cut to four digits first, -0.117472 to -0.1175, is printed as 11.8 %."""
    against = {
        (r["model"], r["policy"]): r["relative"] for r in tables["ladder"].filter(kind="base").iter_rows(named=True)
    }
    rows = savings(tables, "£")["rows"]
    assert len(rows) == 20
    for row in rows:
        assert row["versus"]["base"][0] == pytest.approx(against[row["model"], row["policy"]], abs=1e-6)


def test_other_terms_and_errors_are_set_against_the_base_under_the_same(tables):
    grid = tables["grid"]
    assert set(grid["varies"]) == {"critical_ratio", "lead_time", "pack_size", "random lead"}
    first = grid.filter(pl.col("model") == "seasonal-naive", pl.col("policy") == "cover")
    assert (first["against_base"] == 0).all()
    high = grid.filter(pl.col("critical_ratio") == 0.95, pl.col("policy") == "projected")["fill_rate"]
    low = grid.filter(pl.col("critical_ratio") == 0.8, pl.col("policy") == "projected")["fill_rate"]
    assert (high > low).all()
    errors = tables["sensitivity"]["error"].unique().sort().to_list()
    assert errors == ["costs 20 % too high", "costs 20 % too low", "orders a period late"]
    assert equal_fill(grid, tables["savings"]).height == 18


def test_settings_come_from_the_tuning_period_alone(panel, tables):
    """Rewriting the test period changes costs, and no setting."""
    demand = np.array(panel.demand)
    demand[panel.row_periods() > panel.last - 28] *= 3
    other = replayed(replace(panel, demand=demand), ("seasonal-naive", "season-profile")).tables()
    assert other["settings"].equals(tables["settings"])
    assert other["savings"]["cost"][0] != tables["savings"]["cost"][0]


def test_censored_periods_are_left_out_or_counted_as_declared(panel):
    supply, economics = (x.for_items(panel.n_series) for x in TERMS)
    arguments = (panel, panel.last - 27, 28, supply, economics)
    start = np.ones(panel.n_series)
    excluded = stretch(*arguments, imputed=False, start=start)
    imputed = stretch(*arguments, imputed=True, start=start)
    assert not excluded.counted.all()
    assert imputed.counted.all()
    assert np.array_equal(excluded.demand, imputed.demand)


def test_unobserved_demand_is_the_nearest_before_else_after():
    demand = np.array([[0.0, 4.0, 0.0, 7.0], [0.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0]])
    seen = np.array([[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=bool)
    assert nearest_observed(demand, seen).tolist() == [[4, 4, 4, 7], [5, 5, 5, 5], [0, 0, 0, 0]]


def test_nothing_counts_before_the_first_order_can_arrive(panel):
    supply, economics = (x.for_items(panel.n_series) for x in (Supply(3, 7), TERMS[1]))
    past = stretch(panel, panel.last - 27, 28, supply, economics, imputed=True, start=np.ones(panel.n_series))
    for cell, free in ((Cell(), 3), (Cell(lead_time=5), 5), (Cell(late=1), 4)):
        (part,) = groups(past, None, cell)
        assert part.trial.counted[:, :free].sum() == 0
        assert part.trial.counted[:, free:].all()
    assert part.trial.lead_time == 3


def test_too_short_panels_and_unknown_policies_are_refused(panel):
    with pytest.raises(
        ConfigError, match=r"simulate: 28 periods of tuning and 200 of test need 230; the panel has 140"
    ):
        plan(panel, SimulateConfig(periods=200, tuning_periods=28), *TERMS)
    with pytest.raises(ConfigError, match="did you mean 'projected'"):
        plan(panel, SimulateConfig(policies=("projcted",)), *TERMS)


def test_edges_have_a_row_and_no_number_that_is_none(panel):
    """A product never in stock, lead time zero, packs beyond all demand, a budget of zero."""
    observed = np.array(panel.observed)
    observed[panel.row_series() == 0] = False
    demand = np.where(observed, panel.demand, 0.0).astype(panel.demand.dtype)
    lost = replace(panel, demand=demand, observed=observed)
    edges = {"lead_times": (0,), "packs": (1e5,), "critical_ratios": (), "random_lead": False}
    made = replayed(lost, policies=("cover", "projected"), **edges).tables()
    assert np.isfinite(made["savings"].drop("regret_captured").select(pl.col(pl.Float64)).to_numpy()).all()
    assert np.isfinite(made["grid"].select("cost", "against_base", "low", "high").to_numpy()).all()
    assert set(made["grid"]["varies"]) == {"lead_time", "pack_size"}
    alone = {"critical_ratios": (), "packs": (), "lead_times": (), "random_lead": False, "policies": ("cover",)}
    broke = plan(lost, SimulateConfig(**{**SMALL, **alone}), *TERMS, scarce=Scarce(budget=0.0))
    bought = simulate(broke, lambda name, horizons: forecaster(name, horizons=horizons), ["recent-quantiles"])
    rules = bought.tables()["savings"].filter(pl.col("policy") != "oracle")
    assert (rules["orders"] == 0).all()


def test_a_base_that_never_has_stock_gives_no_stock_at_equal_fill():
    grid = pl.DataFrame({"varies": ["critical_ratio"], "model": ["m"], "policy": ["cover"]}).with_columns(
        fill_rate=0.0, mean_stock=0.0
    )
    savings_table = pl.DataFrame({"policy": ["cover"], "fill_rate": [0.0], "mean_stock": [0.0]})
    assert equal_fill(grid, savings_table)["against_base"].to_list() == [None]


def test_a_product_that_was_never_in_stock_counts_only_where_imputed_and_orders_nothing_by_itself(panel):
    observed = np.array(panel.observed)
    observed[panel.row_series() == 0] = False
    lost = replace(panel, demand=np.where(observed, panel.demand, 0.0).astype(panel.demand.dtype), observed=observed)
    supply, economics = (x.for_items(panel.n_series) for x in TERMS)
    where = (lost, lost.last - 27, 28, supply, economics)
    assert not stretch(*where, imputed=False, start=np.ones(12)).counted[0].any()
    assert stretch(*where, imputed=True, start=np.ones(12)).demand[0].sum() == 0.0


def test_the_command_stores_tables_and_the_report_shows_them(tmp_path):
    frame, _ = draw(6, 140, seed=4)
    frame.write_parquet(tmp_path / "sales.parquet")
    (tmp_path / "shop.toml").write_text(
        """
[sales]
path = "sales.parquet"
in_stock = "in_stock"
[forecast]
model = "season-profile"
[orders]
review_period = 7
holding_cost = 0.1
stockout_cost = 0.9
[simulate]
periods = 28
critical_ratios = [0.9]
packs = []
policies = ["cover", "projected"]
"""
    )
    result = shelfcast("simulate", tmp_path / "shop.toml", "--json")
    assert result.code == 0, result.err
    made = json.loads(result.out)
    assert {row["policy"] for row in made["savings"]} == {
        "oracle",
        "cover",
        "cover, tuned",
        "projected",
        "projected, tuned",
    }
    assert shelfcast("report", tmp_path / "shop.toml").code == 0
    page = (tmp_path / "shelfcast-out" / "report.html").read_text()
    assert "The cheapest is" in page or "No rule was cheaper" in page


ALONE = {"critical_ratios": (), "packs": (), "lead_times": (), "random_lead": False}
LEARNED = {"policies": ("cover", "projected", "learned"), **ALONE}


@pytest.fixture(scope="module")
def learned(panel):
    return replayed(panel, **LEARNED, settings={"learned": {"steps": 4, "seeds": 2, "items": 12, "hidden": 8}})


def test_a_learned_rule_is_judged_against_the_cheapest_tuned_one(learned):
    tables = learned.tables()
    cost = dict(tables["savings"].select("policy", "cost").iter_rows())
    (verdict,) = tables["acceptance"].iter_rows(named=True)
    assert verdict["against"] == min(("cover, tuned", "projected, tuned"), key=lambda name: cost[name])
    assert verdict["relative"] == pytest.approx(cost["learned"] / cost[verdict["against"]] - 1)
    assert verdict["is_accepted"] == (verdict["high"] < 0)
    assert verdict["seed_low"] <= verdict["seed_high"]
    assert learned.learned["recent-quantiles"].evidence.against == verdict["against"]
    assert "learned" in tables["sensitivity"]["policy"]


def test_the_page_says_of_a_learned_rule_whether_it_was_accepted(learned):
    tables = learned.tables()
    (text,) = savings(tables, "$")["acceptance"]
    assert ("is accepted" in text) == tables["acceptance"]["is_accepted"][0]
    moved = tables["acceptance"].with_columns(low=pl.lit(-0.1), high=pl.lit(-0.02), is_accepted=pl.lit(True))
    (text,) = savings(tables | {"acceptance": moved}, "$")["acceptance"]
    assert "is accepted" in text
    assert "-10.0% to -2.0%" in text


def test_settings_that_a_learned_rule_does_not_have_are_refused(panel):
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        plan(panel, SimulateConfig(policies=("learned",), settings={"learned": {"step": 3}}), *TERMS)


SHOP = """
[sales]
path = "sales.parquet"
in_stock = "in_stock"
[forecast]
model = "season-profile"
[orders]
review_period = 7
policy = "learned"
holding_cost = 0.1
stockout_cost = 0.9
[simulate]
periods = 28
critical_ratios = []
packs = []
random_lead = false
policies = ["projected", "learned"]
settings = { learned = { steps = 2, seeds = 1, items = 6, hidden = 4 } }
"""


def test_orders_follow_a_learned_rule_only_once_it_was_accepted(tmp_path, monkeypatch):
    frame, _ = draw(6, 140, seed=4)
    frame.write_parquet(tmp_path / "sales.parquet")
    (tmp_path / "shop.toml").write_text(SHOP)
    before = shelfcast("forecast", tmp_path / "shop.toml")
    assert before.code == 0, before.err
    none_yet = shelfcast("order", tmp_path / "shop.toml")
    assert "needs a simulation first" in none_yet.err
    assert shelfcast("simulate", tmp_path / "shop.toml").code == 0
    refused = shelfcast("order", tmp_path / "shop.toml")
    assert "the learned rule was not accepted" in refused.err
    monkeypatch.setattr(Evidence, "is_accepted", True)
    accepted = shelfcast("order", tmp_path / "shop.toml")
    assert accepted.code == 0, accepted.err
