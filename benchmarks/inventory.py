"""Speed of exact replay, in product-weeks per CPU-second, and how near rules come to known optima.

    python benchmarks/inventory.py                 # speed: compiled replay, numpy, torch with gradients, stockpyl
    python benchmarks/inventory.py --table         # lost sales with Poisson demand: gap of each rule to the optimum
    python benchmarks/inventory.py --table --law geometric     # the same for another law of demand

Speed: the floor is the least that a numpy loop over periods can do (one lead time, packs of one, lost sales, two sums);
the compiled replay keeps the whole ledger, discounts cash, and takes any terms of supply item by item. stockpyl is a
peer where it is installed; its simulator follows any network, product by product.

Table: costs are exact, from the stationary law of a rule's orders by state (the oracle of the tests); only what is
tuned or learned is simulated. `capped` is tuned by compiled replay, `learned` trained from the projected rule, whole
orders, one network an instance.
"""

import argparse
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracles.lost_sales import average_cost
from shelfcast.horizons import Horizon
from shelfcast.inventory.economics import Array, Economics, Supply
from shelfcast.inventory.learning import Lesson, Schooling, train
from shelfcast.inventory.policies import Policy, ProjectedStockout, QuantileOfSum, View, path_horizons
from shelfcast.inventory.simulator import Rule, Stock, replay
from shelfcast.inventory.trials import Trial, replay_policy, run_rule
from shelfcast.inventory.tuning import cheapest_rule
from shelfcast.inventory.twin import rollout
from shelfcast.laws import Counts, Grid

N_PERIODS, LEAD, TARGET, STOCKOUT = 104, 4, 30.0, 9.0


def numpy_loop(by_period: Array) -> Array:
    """(B,) mismatch cost of a base-stock rule; `by_period` (T, B) units, so that every row is contiguous."""
    n_periods, n = by_period.shape
    on_hand, due = np.full(n, 10.0), np.zeros((LEAD, n))
    left, short = np.zeros(n), np.zeros(n)
    for t in range(n_periods):
        slot = t % LEAD
        order = np.maximum(TARGET - on_hand - due.sum(axis=0), 0.0)
        on_hand += due[slot]
        due[slot] = order
        on_hand -= by_period[t]
        short -= np.minimum(on_hand, 0.0)
        on_hand = np.maximum(on_hand, 0.0)
        left += on_hand
    return left + STOCKOUT * short


def cpu_seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """Least CPU time of `repeats` runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def torch_rollout(demand: Array, economics: Economics, stock: Stock, supply: Supply) -> Callable[[], object]:
    """Forward and backward of a 64 x 64 network that sees stock and pipeline, float32."""
    torch.set_num_threads(1)
    widths = (LEAD + 2, 64, 64, 2)
    drawn = torch.Generator().manual_seed(0)
    net = [torch.randn((a, b), generator=drawn) / a**0.5 for a, b in pairwise(widths)]
    net = [part.requires_grad_() for part in net]
    wanted = torch.tensor(demand, dtype=torch.float32)

    def decide(t: int, on_hand: torch.Tensor, due: list[torch.Tensor]) -> torch.Tensor:
        x = torch.stack([on_hand, *due], dim=1) / 10.0
        for part in net[:-1]:
            x = (x @ part).clip(0.0)
        out = x @ net[-1]
        return torch.minimum((TARGET + out[:, 0] - on_hand - sum(due)).clip(0.0), 7.0 + out[:, 1].clip(0.0))

    def run() -> object:
        for first in range(0, len(wanted), 2000):
            items = np.arange(first, min(first + 2000, len(wanted)))
            rollout(decide, wanted[items], stock.take(items), economics, supply).cost.mean().backward()
        return net

    return run


def stockpyl_rate() -> float | None:
    """Million product-weeks per CPU-second of stockpyl's simulator; None where it is not installed."""
    try:
        from stockpyl.sim import simulation
        from stockpyl.supply_chain_network import single_stage_system
    except ImportError:
        return None
    system = single_stage_system(
        holding_cost=1, stockout_cost=STOCKOUT, shipment_lead_time=LEAD, demand_type="P", mean=5, policy_type="BS",
        base_stock_level=TARGET,
    )  # fmt: skip
    n_periods = 2000
    spent = cpu_seconds(lambda: simulation(system, n_periods, rand_seed=0, progress_bar=False), 2)
    return n_periods / spent / 1e6


def speed(n_items: int) -> None:
    """Print one line per way of replaying."""
    rng = np.random.default_rng(0)
    demand = rng.poisson(5.0, (n_items, N_PERIODS)).astype(float)
    by_period = np.ascontiguousarray(demand.T)
    economics, stock = Economics(1.0, STOCKOUT, 10.0, 1.0, 0.5, 0.998), Stock.of(np.full(n_items, 10.0), LEAD)
    one, mixed = (
        Supply(LEAD),
        Supply(rng.integers(1, 7, n_items), rng.integers(1, 3, n_items), rng.choice([1.0, 6.0, 12.0], n_items)),
    )
    levels = np.full((n_items, N_PERIODS), TARGET)
    grid = Grid(np.array([0.1, 0.5, 0.9]), np.tile([18.0, 25.0, 32.0], (n_items, 1)))
    start = time.perf_counter()
    first = replay(demand[:1], Rule.base_stock(TARGET), stock.take(np.arange(1)), economics, one)
    ready = time.perf_counter() - start
    whole = replay(demand, Rule.base_stock(TARGET), stock, economics, one)
    assert np.allclose(whole.ledger.mismatch, numpy_loop(by_period)), "the two must agree"
    assert first.periods[0] == N_PERIODS
    runs: dict[str, Callable[[], object]] = {
        "numpy, period by period (floor)": lambda: numpy_loop(by_period),
        "replay: one level per item": lambda: replay(demand, Rule.base_stock(TARGET), stock, economics, one),
        "replay: capped": lambda: replay(demand, Rule.capped(TARGET, 7.0), stock, economics, one),
        "replay: mixed terms of supply": lambda: replay(demand, Rule.base_stock(TARGET), stock, economics, mixed),
        "replay: a level per period": lambda: replay(demand, Rule.base_stock(levels), stock, economics, one),
        "replay_policy: any rule, in numpy": lambda: replay_policy(
            QuantileOfSum(), lambda t: grid, demand, stock, economics, one
        ),
    }
    few = slice(0, 4000)
    trial = Trial(demand, np.ones(demand.shape, bool), stock, economics, one)
    small = Trial(demand[few], trial.counted[few], stock.take(np.arange(n_items)[few]), economics, one)
    runs["run_rule: quantile, compiled between"] = lambda: run_rule(trial, QuantileOfSum(), lambda t, h: grid, 4)
    levels_of = np.array([0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99])

    def path(t: int, h: Horizon) -> Grid:
        return Grid(
            levels_of, np.tile(Counts.poisson(np.array([5.0 * h.span])).quantile(levels_of), (len(small.demand), 1))
        )

    runs["run_rule: projected, few items"] = lambda: run_rule(small, ProjectedStockout(), path, 4)
    print(f"{n_items:,} items x {N_PERIODS} weeks, lead time {LEAD}; first call ready in {ready:.1f} s")
    floor = 0.0
    runs["torch: 64 x 64 network with gradient"] = torch_rollout(demand[few], economics, stock, one)
    for name, run in runs.items():
        spent = cpu_seconds(run, 1 if "policy" in name else 2 if "torch" in name or "rule" in name else 5)
        rate = (demand[few].size if "torch" in name or "few" in name else demand.size) / spent / 1e6
        floor = floor or rate
        print(f"{name:38s} {rate:8.2f} M product-weeks/CPU-s {rate / floor:8.2f} x")
    peer = stockpyl_rate()
    print(
        f"{'stockpyl: simulation':38s} " + ("not installed" if peer is None else f"{peer:8.4f} M product-weeks/CPU-s")
    )


# ---- the table


def law_of(name: str) -> Array:
    """Chances of 0, 1, .. units with mean 5."""
    if name == "geometric":
        table = (1 / 6) * (5 / 6) ** np.arange(61)
    else:
        table = Counts.poisson(np.array([5.0])).table[0][:26]
    return table / table.sum()


def summed(table: Array, n: int) -> Array:
    """Chances of the sum of `n` independent periods."""
    total = np.ones(1)
    for _ in range(n):
        total = np.convolve(total, table)
    return total


def laws_of(table: Array, n: int) -> Callable[[int, Horizon], Counts]:
    """What rules are told: the true law of every sum, for `n` items."""
    return lambda t, horizon: Counts(np.broadcast_to(made := summed(table, horizon.span), (n, len(made))))


def by_state(rule: Policy, table: Array, stockout: float, lead: int) -> Callable[[Array], Array]:
    """Whole orders of a rule in every state of the oracle."""

    def orders(states: Array) -> Array:
        found = []
        for part in np.array_split(states, max(len(states) // 5000, 1)):
            n = len(part)
            pipeline = np.concatenate((np.zeros((n, 1)), part[:, 1:], np.zeros((n, 1))), axis=1)
            law = laws_of(table, n)
            path = tuple(law(0, h) for h in path_horizons(lead, 1))
            stock, money = Stock(part[:, 0].astype(float), pipeline), Economics(1.0, stockout)
            view = View(0, stock, Horizon(0, lead + 1), law(0, Horizon(0, lead + 1)), money, path=path)
            found.append(np.ceil(rule.order(view) - 1e-9))
        return np.concatenate(found)

    return orders


def past(table: Array, stockout: float, lead: int, n: int, n_periods: int) -> Trial:
    """Demand to tune and learn on."""
    rng = np.random.default_rng(1)
    demand = rng.choice(len(table), (n, n_periods), p=table).astype(float)
    counted = np.broadcast_to(np.arange(n_periods) >= lead + 5, demand.shape)
    stock = Stock(rng.poisson(8.0, n).astype(float), np.full((n, lead), 5.0))
    return Trial(demand, counted, stock, Economics(1.0, stockout), Supply(lead))


def capped_orders(trial: Trial, table: Array, stockout: float, lead: int) -> Callable[[Array], Array]:
    """Of the best pair by compiled replay."""
    total = np.cumsum(summed(table, lead + 1))
    top = int(np.searchsorted(total, stockout / (1 + stockout))) + 2
    rules = [Rule.capped(float(s), float(r)) for s in range(max(top - 5 * lead - 6, 1), top) for r in range(4, 16)]
    best = cheapest_rule(rules, trial.demand, trial.stock, trial.economics, trial.supply, skip=lead + 5)
    return lambda states: np.minimum(best.cap, np.maximum(best.target - states.sum(axis=1), 0))


def table_of_gaps(name: str, leads: tuple[int, ...]) -> None:
    """Gap to the optimum of three rules on each instance, and the CPU seconds of learning."""
    torch.set_num_threads(1)
    table, gaps = law_of(name), []
    order = None if name == "poisson" else 18
    print(f"{name} demand of mean 5, holding 1; gap to the exact optimum in percent")
    print("  L    p   optimum  projected    capped   learned  CPU-s of learning")
    for lead in leads:
        for stockout in (4.0, 9.0, 19.0, 39.0):
            trial = past(table, stockout, lead, 1000, 60)
            start = time.process_time()
            rule = train([Lesson(trial, laws_of(table, 1000))], Schooling(seeds=(0,)))
            spent = time.process_time() - start
            best, _ = average_cost(table, stockout, lead, most_order=order)
            tuned = capped_orders(past(table, stockout, lead, 500, 400), table, stockout, lead)
            every = [by_state(ProjectedStockout(), table, stockout, lead), tuned, by_state(rule, table, stockout, lead)]
            found = [
                100 * (average_cost(table, stockout, lead, orders=o, most_order=order)[0] / best - 1) for o in every
            ]
            gaps.append([*found, spent])
            print(f"{lead:3d} {stockout:4.0f} {best:9.4f} " + " ".join(f"{g:9.3f}" for g in gaps[-1]), flush=True)
    print("mean         " + "     " + " ".join(f"{g:9.3f}" for g in np.mean(gaps, axis=0)))
    print("largest      " + "     " + " ".join(f"{g:9.3f}" for g in np.max(gaps, axis=0)))


def main() -> None:
    """Speed, or the table."""
    parser = argparse.ArgumentParser(description="Speed of replays, and gaps of rules to known optima.")
    parser.add_argument("--items", type=int, default=30_000)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--law", choices=("poisson", "geometric"), default="poisson")
    parser.add_argument("--leads", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    if given.table:
        table_of_gaps(given.law, tuple(given.leads))
    else:
        speed(given.items)


if __name__ == "__main__":
    main()
