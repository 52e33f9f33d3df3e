"""The learned rule: at rest the projected one, alike on tensors and arrays, trained by true gradients, saved whole."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from shelfcast.errors import ConfigError, StoreError
from shelfcast.horizons import Horizon
from shelfcast.inventory import learning, projection
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.learned import N_INPUTS, Evidence, Learned, held, known, scale_of
from shelfcast.inventory.learning import Lesson, Schooling, train
from shelfcast.inventory.policies import ProjectedStockout, View
from shelfcast.inventory.stock import Stock
from shelfcast.inventory.trials import Trial, run_rule, view_at
from shelfcast.laws import Counts

BRIEF = Schooling(seeds=(0,), steps=70, items=100, hidden=16, check=10)


def lesson(n=200, n_periods=30, lead=2, stockout=9.0, review=1, pack=1.0, seed=0):
    """Poisson demand of 5, its law known."""
    rng = np.random.default_rng(seed)
    demand, counted = rng.poisson(5.0, (n, n_periods)).astype(float), np.ones((n, n_periods), bool)
    counted[:, : lead + 3] = False
    stock = Stock(rng.poisson(8.0, n).astype(float), np.full((n, lead), 5.0))
    trial = Trial(demand, counted, stock, Economics(1.0, stockout), Supply(lead, review, pack))
    return Lesson(trial, lambda t, h: Counts.poisson(np.full(n, 5.0 * h.span)))


def nets(rng, n=2, size=0.3):
    widths = (N_INPUTS, 8, 8, 2)
    return tuple(
        tuple(rng.normal(0, size, shape) for a, b in pairwise(widths) for shape in ((a, b), (b,))) for _ in range(n)
    )


def at_rest():
    return Learned((tuple(np.zeros(s) for s in ((N_INPUTS, 4), (4,), (4, 4), (4,), (4, 2), (2,))),))


@pytest.mark.parametrize(("lead", "review", "pack"), [(0, 1, 1.0), (2, 1, 1.0), (3, 2, 6.0)])
def test_networks_that_emit_zeros_leave_the_projected_rule(lead, review, pack):
    here = lesson(40, 20, lead, review=review, pack=pack)
    one, other = (run_rule(here.trial, rule, here.laws, 5) for rule in (at_rest(), ProjectedStockout()))
    assert np.array_equal(one.ordered, other.ordered)


def test_no_network_orders_for_a_shelf_that_holds_enough():
    here = lesson(10, 8)
    full = replace(here.trial, stock=Stock.of(np.full(10, 1e4), 2))
    for seed in range(5):
        rule = Learned(nets(np.random.default_rng(seed), size=3.0))
        assert run_rule(full, rule, here.laws, 8).total("ordered") == 0.0


@pytest.mark.parametrize(("lead", "review"), [(0, 1), (1, 1), (3, 2)])
def test_on_tensors_it_wants_what_it_wants_on_arrays(lead, review):
    rng, here = np.random.default_rng(1), lesson(30, 10, lead, review=review)
    net = nets(rng, 1)[0]
    pupil = learning._Pupil([here], [learning._Prepared.of(here, None, BRIEF, rng)], BRIEF, None, 0)
    pupil.net = [torch.tensor(w) for w in net]
    decide = pupil.rule(pupil.prepared[0], np.arange(30), here.trial, np.zeros(30))
    stock = Stock(rng.poisson(5.0, 30).astype(float), rng.poisson(5.0, (30, lead)).astype(float))
    view = view_at(here.trial, 2 * review, stock, here.laws, with_path=True)
    due = [torch.tensor(column) for column in np.pad(stock.pipeline, ((0, 0), (0, 1))).T]
    wanted = decide(2 * review, torch.tensor(stock.on_hand), due)
    assert wanted.numpy() == pytest.approx(Learned((net,)).order(view), abs=0.005)
    assert decide(2 * review + 1, torch.tensor(stock.on_hand), due).abs().sum() == 0 or review == 1


def test_slopes_of_the_projected_order_are_its_differences():
    law, rng = Counts.poisson(np.full(60, 5.0)), np.random.default_rng(2)
    values, weights = projection.atoms([law] * 3)
    pipeline, allowed = rng.uniform(0, 9, (60, 3)), rng.uniform(0.03, 0.4, 60)
    nothing = np.zeros(60)
    order, slopes = projection.sloped(nothing, pipeline, values, weights, allowed)
    assert order.tolist() == projection.wanted(nothing, pipeline, values, weights, allowed).tolist()
    for k in range(3):
        more = pipeline + np.eye(3)[k]
        change = projection.wanted(nothing, more, values, weights, allowed) - order
        assert slopes[:, k] == pytest.approx(change, abs=1e-9)
    up, down = (projection.wanted(nothing, pipeline, values, weights, allowed * f) for f in (1.25, 0.8))
    assert slopes[:, 3] == pytest.approx((up - down) / np.log(1.25 / 0.8))
    assert (slopes[:, 3] < 0).mean() > 0.5


def test_training_mends_a_bad_start_nearly_to_the_best_rule():
    """From a rule that allows five times the stock-outs of the newsvendor; the well set rule is near the optimum."""
    here, fresh = lesson(300, 30), lesson(800, 60, seed=9)
    cost = {}
    for name, rule in {
        "start": ProjectedStockout(5.0), "best": ProjectedStockout(), "learned": train([here], BRIEF, 5.0)
    }.items():  # fmt: skip
        cost[name] = run_rule(fresh.trial, rule, fresh.laws, 60).total("cost")
    assert cost["start"] > 1.5 * cost["best"]
    assert cost["learned"] < 1.02 * cost["best"]


def test_what_is_held_out_decides_and_the_start_is_a_candidate():
    here = lesson(60, 20)
    wild = replace(BRIEF, steps=10, rate=50.0, check=5)
    rule = train([here], wild)
    start, made = (run_rule(here.trial, r, here.laws, 20).total("cost") for r in (ProjectedStockout(), rule))
    assert made < 1.1 * start


def test_the_same_seed_gives_the_same_rule_and_another_another():
    here, brief = lesson(60, 15), replace(BRIEF, steps=4, check=2)
    one, same, other = (train([here], replace(brief, seeds=(s,)), 3.0) for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one.nets[0], same.nets[0], strict=True))
    assert not np.array_equal(one.nets[0][0], other.nets[0][0])


def test_a_rule_comes_back_from_its_file_number_for_number(tmp_path):
    rule = Learned(
        nets(np.random.default_rng(3)), 1.4, True, Evidence("capped, tuned", -0.02, -0.03, -0.01, (0.0, -0.01))
    )
    rule.save(tmp_path / "rule.json")
    back = Learned.load(tmp_path / "rule.json")
    assert (back.m, back.uses_calendar, back.evidence) == (rule.m, rule.uses_calendar, rule.evidence)
    pairs = zip(sum(back.nets, ()), sum(rule.nets, ()), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert back.evidence is not None
    assert back.evidence.is_accepted
    assert not replace(back.evidence, high=0.001).is_accepted


NO_RULES = [{"nets": [], "m": None, "evidence": None}, {"nets": [[[[1.0]], [1.0]]], "m": 1.0, "evidence": None}]


@pytest.mark.parametrize("text", ["", "{", "[]", *(json.dumps(r | {"uses_calendar": False}) for r in NO_RULES)])
def test_a_file_that_is_no_rule_is_refused(tmp_path, text):
    (tmp_path / "rule.json").write_text(text)
    with pytest.raises(StoreError, match="simulate"):
        Learned.load(tmp_path / "rule.json")
    with pytest.raises(StoreError):
        Learned.load(tmp_path / "none.json")


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ConfigError, match="no items to learn from"):
        train([], BRIEF)


def test_features_are_in_multiples_of_demand_and_the_calendar_is_hidden_unless_learned():
    def view(scale, calendar=()):
        law, day = (Counts.poisson(np.array([100.0 * scale * n])) for n in (3, 1))
        stock = Stock(np.array([200.0 * scale]), np.array([[100.0 * scale, 0.0]]))
        return View(0, stock, Horizon(0, 3), law, Economics(1.0, 9.0), path=(day,) * 3, calendar=calendar)

    small, large = (known(view(s), scale_of(view(s)), False)[0] for s in (1, 4))
    assert small[:7] == pytest.approx(large[:7], abs=0.1)
    columns = held(view(1).stock.on_hand, list(view(1).stock.pipeline.T), scale_of(view(1)))
    assert len(columns) + len(small) == N_INPUTS
    winter = view(1, (0.0, 1.0))
    assert np.array_equal(known(winter, scale_of(winter), False)[0], small)
    assert not np.array_equal(known(winter, scale_of(winter), True)[0], small)
