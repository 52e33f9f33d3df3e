"""The projected stock-out against enumeration by hand and against the exact optima of lost sales."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles.lost_sales import average_cost
from shelfcast.horizons import Horizon
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.policies import ProjectedStockout, View
from shelfcast.inventory.projection import atoms, wanted
from shelfcast.inventory.stock import Rule, Stock
from shelfcast.inventory.tuning import cheapest_rule
from shelfcast.laws import Counts, Grid

GOLDEN = json.loads((Path(__file__).parent / "golden" / "inventory.json").read_text())
POISSON = Counts.poisson(np.array([5.0])).table[0][:26]
POISSON = POISSON / POISSON.sum()


def stockout_chance(on_hand, pipeline, laws, order):
    """Every path of demand, one by one: the chance that the last window exceeds what is there."""
    chance = 0.0
    for path in product(*(range(len(law)) for law in laws)):
        stock = on_hand
        for k, d in enumerate(path):
            stock += pipeline[k] if k < len(pipeline) else 0
            stock += order if k == len(laws) - 1 else 0
            short = d > stock
            stock = max(stock - d, 0)
        chance += np.prod([law[d] for law, d in zip(laws, path, strict=True)]) * short
    return chance


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), lead=st.integers(0, 3))
def test_the_order_is_the_least_whole_quantity_that_keeps_to_the_chance(seed, lead):
    rng = np.random.default_rng(seed)
    laws = [rng.dirichlet(np.ones(5)) for _ in range(lead + 1)]
    on_hand, pipeline = int(rng.integers(0, 6)), rng.integers(0, 3, lead + 1)
    allowed = rng.uniform(0.02, 0.9)
    values, weights = atoms([Counts(law[None]) for law in laws])
    order = wanted(np.array([float(on_hand)]), pipeline[None].astype(float), values, weights, np.array([allowed]))[0]
    whole = int(np.ceil(order - 1e-9))
    assert stockout_chance(on_hand, pipeline, laws, whole) <= allowed + 1e-9
    if whole > 0:
        assert stockout_chance(on_hand, pipeline, laws, whole - 1) > allowed - 1e-9


def test_large_items_share_cells_and_stay_close_to_plain_sampling():
    grid = Grid(np.array([0.05, 0.25, 0.5, 0.75, 0.95]), np.array([[200.0, 400.0, 600.0, 800.0, 1200.0]]))
    first, second = (grid.sample(400_000, np.random.default_rng(i))[0] for i in (1, 2))
    shelf = np.maximum(700.0 - first, 0.0) + 500.0
    for allowed in (0.02, 0.1, 0.3):
        order = wanted(np.array([700.0]), np.array([[0.0, 500.0]]), *atoms([grid] * 2), np.array([allowed]))[0]
        assert order == pytest.approx(np.quantile(second - shelf, 1 - allowed), abs=8.0)


def test_stock_beyond_all_demand_orders_nothing_and_a_backlog_is_paid_first():
    values, weights = atoms([Counts(POISSON[None])] * 3)
    nothing = wanted(np.array([1e9]), np.zeros((1, 3)), values, weights, np.array([0.1]))
    assert nothing.tolist() == [0.0]
    owed = wanted(np.array([-4.0]), np.array([[4.0, 0.0, 0.0]]), values, weights, np.array([0.1]))
    empty = wanted(np.array([0.0]), np.array([[0.0, 0.0, 0.0]]), values, weights, np.array([0.1]))
    assert owed == pytest.approx(empty)


def test_without_lead_time_it_is_the_newsvendor():
    law = Counts.poisson(np.array([6.0]))
    view = View(0, Stock.of([0.0], 0), Horizon(0, 1), law, Economics(1.0, 4.0), path=(law,))
    order = np.ceil(ProjectedStockout().order(view))
    assert order.tolist() == [GOLDEN["newsvendor poisson base stock"]["value"]]


def projected(stockout, lead, m=None):
    """`ProjectedStockout` as a table of orders by state."""
    law = Counts(POISSON[None])

    def orders(states):
        n = len(states)
        pipeline = np.concatenate((np.zeros((n, 1)), states[:, 1:], np.zeros((n, 1))), axis=1)
        stock = Stock(states[:, 0].astype(float), pipeline)
        many = Counts(np.broadcast_to(law.table, (n, len(POISSON))))
        view = View(0, stock, Horizon(0, lead + 1), many, Economics(1.0, stockout), path=(many,) * (lead + 1))
        return np.ceil(ProjectedStockout(m).order(view) - 1e-9)

    return orders


INSTANCES = [(p, lead) for lead in (1, 2, 3, 4) for p in (4, 9, 19, 39)]


@pytest.mark.parametrize("leads", [(1, 2, 3), pytest.param((4,), marks=pytest.mark.heavy)])
def test_the_default_rule_is_near_the_optimum_on_every_instance(leads):
    gaps = []
    for stockout, lead in (i for i in INSTANCES if i[1] in leads):
        best, _ = average_cost(POISSON, stockout, lead)
        known = GOLDEN[f"lost sales optimum p={stockout} L={lead}"]
        assert best == pytest.approx(known["value"], abs=known["tolerance"])
        cost, _ = average_cost(POISSON, stockout, lead, orders=projected(stockout, lead))
        gaps.append(cost / best - 1)
    assert min(gaps) >= -1e-6
    assert np.mean(gaps) < 0.001  # measured 0.0002 over all 16
    assert max(gaps) < 0.005


def test_capped_base_stock_tuned_by_simulation_is_within_one_percent_of_the_optimum():
    rng, gaps = np.random.default_rng(0), []
    demand = rng.poisson(5.0, (400, 320)).astype(float)
    for stockout, lead in (i for i in INSTANCES if i[1] <= 3):
        around = int(GOLDEN["backlog poisson base stock"]["value"] * (lead + 1) / 5)
        rules = [Rule.capped(float(s), float(r)) for s in range(around - 7, around + 6) for r in range(5, 11)]
        stock = Stock.of(np.full(400, 10.0), lead)
        best = cheapest_rule(rules, demand, stock, Economics(1.0, stockout), Supply(lead), skip=20)

        def up_to(states, best=best):
            return np.minimum(best.cap, np.maximum(best.target - states.sum(axis=1), 0))

        cost, _ = average_cost(POISSON, stockout, lead, orders=up_to)
        gaps.append(cost / GOLDEN[f"lost sales optimum p={stockout} L={lead}"]["value"] - 1)
    assert np.mean(gaps) < 0.01  # measured 0.0064 over these twelve
    assert min(gaps) > -1e-4


@pytest.mark.parametrize(("stockout", "lead"), [i for i in INSTANCES if i[1] <= 3])
def test_best_base_stock_and_capped_exactly(stockout, lead):
    def up_to(level, cap):
        return lambda states: np.minimum(cap, np.maximum(level - states.sum(axis=1), 0))

    around = int(GOLDEN["backlog poisson base stock"]["value"] * (lead + 1) / 5)
    levels = range(around - 7, around + 6)
    best = min(average_cost(POISSON, stockout, lead, orders=up_to(s, 99), most_order=20)[0] for s in levels)
    assert best == pytest.approx(GOLDEN[f"lost sales base stock p={stockout} L={lead}"]["value"], abs=2e-4)
    pairs = [(s, r) for s in levels for r in range(5, 11)]
    capped = min(average_cost(POISSON, stockout, lead, orders=up_to(s, r))[0] for s, r in pairs)
    assert capped == pytest.approx(GOLDEN[f"lost sales capped p={stockout} L={lead}"]["value"], abs=2e-4)
