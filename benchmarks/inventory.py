"""Speed of exact replay, in product-weeks per CPU-second, against the same arithmetic in numpy period by period.

    python benchmarks/inventory.py [n_items]

The peer is the least that a numpy loop over periods can do (one lead time, packs of one, lost sales, two sums); the
compiled replay keeps the whole ledger, discounts cash, and takes any terms of supply item by item.
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from shelfcast.inventory.economics import Array, Economics, Supply
from shelfcast.inventory.policies import QuantileOfSum
from shelfcast.inventory.simulator import Rule, Stock, replay
from shelfcast.inventory.trials import replay_policy
from shelfcast.laws import Grid

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


def main(n_items: int = 30_000) -> None:
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
    print(f"{n_items:,} items x {N_PERIODS} weeks, lead time {LEAD}; first call ready in {ready:.1f} s")
    floor = 0.0
    for name, run in runs.items():
        spent = cpu_seconds(run, 1 if "policy" in name else 5)
        floor = floor or spent
        rate = demand.size / spent / 1e6
        print(f"{name:36s} {spent * 1e3:8.1f} CPU-ms {rate:8.1f} M product-weeks/CPU-s {floor / spent:6.1f} x")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
