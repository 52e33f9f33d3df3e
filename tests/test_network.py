"""A warehouse and its stores: known optima, a lower bound, placement against every other placement."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from oracles.clark_scarf import optimum
from shelfcast.errors import DataError
from shelfcast.inventory.economics import Economics, Supply
from shelfcast.inventory.network import Network, echelon_target, joint_sum, place, replay_network, tuned_target
from shelfcast.inventory.simulator import Rule, Stock, Unmet, replay
from shelfcast.laws import Counts, Normal

GOLDEN = json.loads((Path(__file__).parent / "golden" / "inventory.json").read_text())
LEVELS = tuple(np.arange(0.54, 0.99, 0.06))


def normal(b, leads, mean=5.0, sd=1.0):
    """Laws (B, n) of what a shipment protects."""
    periods = np.array(leads) + 1.0
    return Normal(np.tile(mean * periods, (b, 1)), np.tile(sd * np.sqrt(periods), (b, 1)))


def test_the_recursion_gives_the_book_s_example():
    levels, cost = optimum([3, 2, 2], [1, 1, 2], 37.12, 5.0, 1.0)
    known = GOLDEN["clark scarf cost"]
    assert cost == pytest.approx(known["value"], abs=known["tolerance"])
    assert levels == pytest.approx([6.484, 12.028, 22.720], abs=0.05)


@pytest.mark.parametrize(("lead", "store_lead"), [(2, 1), (1, 0)])
def test_one_store_is_a_serial_system_and_costs_what_clark_and_scarf_say(lead, store_lead):
    network = Network(lead, (store_lead,), holding_cost=2.0, store_holding=5.0, stockout=37.12, unmet=Unmet.BACKLOG)
    levels, cost = optimum([3.0, 2.0], [store_lead + 1, lead], 37.12, 5.0, 1.0)
    cost -= 2.0 * 5.0  # echelon stock is counted after the demand of its period, the book's before it
    rng = np.random.default_rng(0)
    demand = np.maximum(rng.normal(5.0, 1.0, (150, 1, 120)), 0.0)
    law = normal(150, (store_lead,))
    made = replay_network(network, demand, levels[1], lambda t: law, start=levels[0], skip=20)
    assert made.mean_cost.mean() == pytest.approx(cost, rel=0.01)
    total = Normal(np.full(150, 5.0 * network.protected), np.full(150, np.sqrt(network.protected)))
    _, target = tuned_target(network, demand[:, :, :80], total, lambda t: law, LEVELS, skip=20)
    tuned = replay_network(network, demand, target, lambda t: law, start=levels[0], skip=20)
    assert tuned.mean_cost.mean() == pytest.approx(cost, rel=0.02)
    assert tuned.mean_cost.mean() > 0.985 * cost


@pytest.mark.parametrize("unmet", Unmet)
@pytest.mark.parametrize(("lead", "store_lead"), [(0, 2), (2, 0), (0, 0)])
def test_one_store_with_one_lead_of_zero_is_a_single_store(unmet, lead, store_lead):
    rng = np.random.default_rng(1)
    demand = rng.poisson(5.0, (20, 1, 50)).astype(float)
    network = Network(lead, (store_lead,), holding_cost=1.0, store_holding=1.0, stockout=9.0, unmet=unmet)
    far = Normal(np.full((20, 1), 1e3), np.full((20, 1), 1.0))  # everything is shipped on
    made = replay_network(network, demand, 18.0, lambda t: far, start=6.0)
    total = lead + store_lead
    alone = replay(
        demand[:, 0], Rule.base_stock(18.0), Stock.of(np.full(20, 6.0), total), Economics(1.0, 9.0),
        Supply(total, 1, 0.0), unmet=unmet,
    )  # fmt: skip
    moving = made.holding - alone.ledger.holding  # the way to the store is charged, a supplier's is not
    assert made.sales == pytest.approx(alone.ledger.sales)
    assert made.stockout == pytest.approx(alone.ledger.stockout)
    assert (moving == pytest.approx(0.0)) == (store_lead == 0)


@pytest.mark.parametrize("unmet", Unmet)
def test_units_are_conserved(unmet):
    rng = np.random.default_rng(2)
    demand = rng.poisson(3.0, (15, 4, 40)).astype(float)
    network = Network(2, (0, 1, 2, 1), review_period=3, holding_cost=0.5, unmet=unmet, is_whole=True)
    law = Counts.poisson(np.tile(3.0 * np.array([1, 2, 3, 2]), (15, 1)))
    made = replay_network(network, demand, 70.0, lambda t: law, start=3.0)
    left = made.warehouse.position + made.stores.position.reshape(15, 4).sum(axis=1)
    assert 12.0 + made.bought == pytest.approx(
        (demand.sum(axis=(1, 2)) if unmet is Unmet.BACKLOG else made.sales) + left
    )
    assert (made.warehouse.on_hand >= -1e-9).all()
    assert np.array_equal(made.stores.pipeline, np.round(made.stores.pipeline))


def test_stores_that_share_a_warehouse_cost_more_than_one_store_with_all_demand_and_less_than_one_warehouse_each():
    n, store_lead, lead = 4, 1, 2
    network = Network(lead, (store_lead,) * n, holding_cost=1.0, store_holding=2.0, stockout=19.0, unmet=Unmet.BACKLOG)
    costs = [optimum([1.0, 1.0], [store_lead + 1, lead], 19.0, *law, step=0.05)[1] for law in ((20.0, 4.0), (5.0, 2.0))]
    pooled, apart = costs[0] - 20.0, n * (costs[1] - 5.0)
    rng = np.random.default_rng(3)
    demand = np.maximum(rng.normal(5.0, 2.0, (100, n, 80)), 0.0)
    law = normal(100, network.store_leads, sd=2.0)
    total = Normal(np.full(100, 5.0 * n * network.protected), np.full(100, 2.0 * np.sqrt(n * network.protected)))
    _, target = tuned_target(network, demand, total, lambda t: law, LEVELS, skip=20)
    cost = replay_network(network, demand, target, lambda t: law, start=10.0, skip=20).mean_cost.mean()
    assert 1.2 * pooled < cost < 0.95 * apart


def test_placing_is_at_least_as_good_as_every_other_way_to_ship_whole_units():
    rng = np.random.default_rng(4)
    network = Network(1, (0, 0, 0), holding_cost=0.2, store_holding=1.0, stockout=6.0, is_whole=True)
    for _ in range(25):
        means, position = rng.uniform(0.5, 6.0, 3), rng.integers(0, 6, 3).astype(float)
        there, law = float(rng.integers(0, 9)), Counts.poisson(means[None])
        units = np.arange(law.table.shape[-1])

        def cost(ships, there=there, law=law, position=position, units=units):
            stock = position + np.array(ships)
            left = (law.table[0] * np.maximum(stock[:, None] - units, 0)).sum()
            short = (law.table[0] * np.maximum(units - stock[:, None], 0)).sum()
            return left + 6.0 * short + 0.2 * (there - sum(ships))

        ours = place(network, np.array([there]), position[None], law)[0]
        assert ours.sum() <= there
        every = min(cost(s) for s in product(range(int(there) + 1), repeat=3) if sum(s) <= there)
        assert cost(ours) == pytest.approx(every, abs=1e-9)


def test_shocks_in_common_widen_the_sum_and_leave_its_mean():
    law = Counts.poisson(np.full((2, 6), 8.0))
    apart, together = (joint_sum(law, c, np.random.default_rng(5)) for c in (0.0, 0.9))
    assert apart.mean() == pytest.approx(48.0, rel=0.01)
    assert together.mean() == pytest.approx(48.0, rel=0.01)
    assert apart.quantile([0.95])[:, 0] == pytest.approx(48 + 1.645 * np.sqrt(48), rel=0.03)
    assert (echelon_target(together, 0.95) > echelon_target(apart, 0.95) + 5).all()
    with pytest.raises(DataError, match="from 0 to 1"):
        joint_sum(law, 1.5, np.random.default_rng(0))


def test_terms_and_demand_that_make_no_sense_are_refused():
    with pytest.raises(DataError, match="lead times"):
        Network(-1, (1,))
    with pytest.raises(DataError, match="no less than at the warehouse"):
        Network(1, (1,), holding_cost=2.0, store_holding=1.0)
    with pytest.raises(DataError, match=r"\(networks, 2, periods\)"):
        replay_network(Network(1, (1, 1)), np.ones((3, 1, 4)), 5.0, lambda t: normal(3, (1, 1)))
    with pytest.raises(DataError, match="least -1"):
        replay_network(Network(1, (1,)), -np.ones((3, 1, 4)), 5.0, lambda t: normal(3, (1,)))
