"""Lost sales with one item and whole orders, exactly: every state of stock and open orders, by dynamic programming.

State when ordering: stock after what was due has come, then the orders of the last L - 1 periods, oldest first.
Average cost per period: 1 per unit left, `p` per unit lost. An order of period t is there at the start of t + L.
Written with numba because the states are many, yet each function is one obvious loop.
"""

from itertools import product

import numpy as np
from numba import njit


def states(lead, most_stock, most_order):
    """(S, L) all states, the last coordinate fastest."""
    ranges = [range(most_stock + 1), *[range(most_order + 1)] * (lead - 1)]
    return np.array(list(product(*ranges)), dtype=np.int64)


@njit
def _sweep(value, all_states, law, stockout, most_stock, most_order, orders, has_orders):
    n, lead = all_states.shape
    stride = (most_order + 1) ** (lead - 1)
    out, best_order = np.empty(n), np.zeros(n, dtype=np.int64)
    for s in range(n):
        stock = all_states[s, 0]
        cost = 0.0
        for d in range(len(law)):
            cost += law[d] * (max(stock - d, 0) + stockout * max(d - stock, 0))
        best = 1e300
        first, last = 0, most_order
        if has_orders:
            first, last = orders[s], orders[s]
        for q in range(first, last + 1):
            comes = all_states[s, 1] if lead > 1 else q
            rest = 0
            for j in range(2, lead):
                rest = rest * (most_order + 1) + all_states[s, j]
            if lead > 1:
                rest = rest * (most_order + 1) + q
            future, left_over = 0.0, 1.0
            for d in range(min(stock, len(law) - 1) + 1):
                if d == stock:
                    chance = left_over
                else:
                    chance = law[d]
                left_over -= chance
                arrives = min(stock - d + comes, most_stock)
                future += chance * value[arrives * stride + rest]
            if left_over > 0 and stock > len(law) - 1:
                future += left_over * value[min(stock - len(law) + 1 + comes, most_stock) * stride + rest]
            if cost + future < best:
                best = cost + future
                best_order[s] = q
        out[s] = best
    return out, best_order


def average_cost(law, stockout, lead, *, orders=None, most_stock=None, most_order=None, tolerance=1e-6):
    """Average cost per period of the best policy, or of `orders(states)`, by relative value iteration.

    Returns the cost and the order in every state.
    """
    mean = float(law @ np.arange(len(law)))
    most_order = most_order or int(2 * mean + 2)
    most_stock = most_stock or int((lead + 1) * mean + 6 * np.sqrt((lead + 1) * mean) + 4)
    every = states(lead, most_stock, most_order)
    chosen = np.zeros(len(every), dtype=np.int64)
    if orders is not None:
        chosen = np.minimum(np.asarray(np.rint(orders(every)), dtype=np.int64), most_order)
    value, low, high = np.zeros(len(every)), -np.inf, np.inf
    best = chosen
    for _ in range(3000):
        new, best = _sweep(value, every, law, stockout, most_stock, most_order, chosen, orders is not None)
        change = new - value
        low, high = change.min(), change.max()
        if high - low < tolerance:
            break
        value = new - new[0]
    assert high - low < 1e-3, f"bounds {low} and {high} do not meet"
    return (low + high) / 2, best
