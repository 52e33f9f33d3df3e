"""Replay of items in blocks: plain functions on arrays, written so that numba turns them into vector instructions.

`simulator.replay` compiles `loop`; the order of events is told there. A block of items goes through one period after
another, each event a short loop over the block that writes one or a few rows: twice as fast as one item after another,
whose periods wait for each other. Axes: `m` items of a block, `W` slots of open orders, periods first.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.inventory.economics import Array, Ints

BLOCK = 96  # items; a block stays in the first two caches; with a power of two its rows share lines of the first
N_FLOWS = 9  # ordered, received, sales, short, end stock, periods short, waste, orders, cash: rows of `units`
# rows of `numbers`
PACK, MINIMUM, CAP, REVIEW, PRICE, COST, STORAGE, DISCOUNT, REORDER, LIFE, ORDER_COST = range(11)


def whole_packs(wanted: Any, pack_size: Any, minimum_order: Any) -> Any:
    """Units to order when `wanted` are wanted: at least the minimum, in whole packs, rounded up.

    Numbers or arrays that broadcast. The one definition, compiled into the loop too, so it has no `np.where`, which
    makes an array of every number there.

    Examples
    --------
    >>> whole_packs(np.array([0.0, 1.0, 7.0, 12.5]), 6.0, 10.0).tolist()
    [0.0, 12.0, 12.0, 18.0]
    """
    asked = (wanted > 1e-9) * np.maximum(wanted, minimum_order)
    is_packed = 1.0 * (pack_size > 0.0)
    size = pack_size + (1.0 - is_packed)
    return is_packed * size * np.ceil(asked / size - 1e-9) + (1.0 - is_packed) * asked


def loop(
    demand: Array,
    target: Array,
    counted: NDArray[np.bool_],
    lead: Ints,
    numbers: Array,
    is_lost: bool,
    on_hand: Array,
    due: Array,
    recent: Array,
    units: Array,
) -> None:
    """All B items, block by block; changes `on_hand` (B,), `due` (W, B), `recent` and `units` (9, B) in place.

    Parameters
    ----------
    demand : (B, T) units.
    target, counted : (B, T), or (B, 1) for one value in all periods.
    lead : (B, T) periods, or (B, 1).
    numbers : (11, B), rows as named above.
    due : open orders as a ring: at period `t` row `t % W` arrives, so an order goes `lead` rows further round.
    recent : (A, B) receipts as a ring, row `t % A` for period `t`; A the longest shelf life, 0 where all goods keep.
    """
    for first in range(0, len(demand), BLOCK):
        items = slice(first, min(first + BLOCK, len(demand)))
        held, slots = on_hand[items].copy(), due[:, items].copy()  # copies, since rows must be contiguous
        flows, fresh = np.zeros((N_FLOWS, len(held))), recent[:, items].copy()
        rows = (turned(demand[items]), turned(target[items]), turned(counted[items]), turned(lead[items]))
        block(*rows, numbers[:, items].copy(), is_lost, held, slots, fresh, flows)
        on_hand[items], due[:, items], recent[:, items], units[:, items] = held, slots, fresh, flows


def turned(values: Any) -> Array:
    """(m, T) as (T, m) numbers, contiguous by period."""
    out = np.empty((values.shape[1], values.shape[0]))
    for j in range(values.shape[0]):
        for t in range(values.shape[1]):
            out[t, j] = values[j, t]
    return out


def block(
    demand: Array,
    target: Array,
    counted: Array,
    lead: Array,
    numbers: Array,
    is_lost: bool,
    on_hand: Array,
    due: Array,
    recent: Array,
    units: Array,
) -> None:
    """One block through all periods; periods first, otherwise as `loop`."""
    n_periods, m = demand.shape
    target_step, counted_step = int(len(target) > 1), int(len(counted) > 1)
    flow, on_order, wait, weight = np.zeros((N_FLOWS, m)), np.zeros(m), np.zeros(m), np.ones(m)
    for slot in range(len(due)):
        add(on_order, due[slot])
    is_even, head, lead_step = len(lead) == 1 and (lead == lead[0, 0]).all(), 0, int(len(lead) > 1)
    waits = numbers[REVIEW].max() > 1.0
    kept, is_all = still_fresh(recent, numbers[LIFE]), len(counted) == 1 and counted.min() == 1.0
    for t in range(n_periods):
        want(flow[0], target[t * target_step], on_hand, on_order, wait, numbers)
        if waits:
            count_down(wait, numbers[REVIEW])
        if is_even:
            add(due[(head + int(lead[0, 0])) % len(due)], flow[0])
        else:
            place(due, head, lead[t * lead_step], flow[0])
        flow[1][:] = due[head]
        due[head][:] = 0.0
        head = (head + 1) % len(due)
        meet(flow, on_hand, on_order, demand[t], is_lost)
        if len(recent) > 0:
            spoil(flow, on_hand, kept, recent, numbers[LIFE], t)
        settle(flow, numbers, weight)
        count(units, counted[t * counted_step], flow, is_all)


def want(order: Array, target: Array, on_hand: Array, on_order: Array, wait: Array, numbers: Array) -> None:
    """Orders of items whose review is due."""
    cap, pack, minimum, reorder = numbers[CAP], numbers[PACK], numbers[MINIMUM], numbers[REORDER]
    for j in range(len(order)):
        position = on_hand[j] + on_order[j]
        wanted = min(cap[j], target[j] - position) if wait[j] == 0.0 and position <= reorder[j] else 0.0
        order[j] = whole_packs(wanted, pack[j], minimum[j])


def count_down(wait: Array, review: Array) -> None:
    """Periods until the next review, seen from the next period."""
    for j in range(len(wait)):
        wait[j] = (review[j] if wait[j] == 0.0 else wait[j]) - 1.0


def place(due: Array, head: int, lead: Array, order: Array) -> None:
    """Orders into the ring, where lead times differ."""
    for j in range(len(order)):
        due[(head + int(lead[j])) % len(due), j] += order[j]


def meet(flow: Array, on_hand: Array, on_order: Array, demand: Array, is_lost: bool) -> None:
    """Receive, sell, and keep what is left; two loops, since one would write too many rows to be vectorised."""
    order, arrived, sales, short, shelf = flow[0], flow[1], flow[2], flow[3], flow[4]
    for j in range(len(demand)):
        end = on_hand[j] + arrived[j] - demand[j]
        shelf[j] = max(end, 0.0)
        short[j] = max(-end, 0.0)
        sales[j] = max(on_hand[j], 0.0) + arrived[j] - max(end, 0.0)
        on_hand[j] = max(end, 0.0) if is_lost else end
    for j in range(len(demand)):
        on_order[j] += order[j] - arrived[j]


def still_fresh(recent: Array, life: Array) -> Array:
    """(m,) units received in the last `life - 1` periods before the first."""
    kept = np.zeros(len(life))
    for j in range(len(life)):
        for back in range(1, int(life[j])):
            kept[j] += recent[-back % len(recent), j]
    return kept


def spoil(flow: Array, on_hand: Array, kept: Array, recent: Array, life: Array, t: int) -> None:
    """Throw away what has reached its shelf life: with the oldest sold first, all beyond the last receipts."""
    recent[t % len(recent)][:] = flow[1]
    for j in range(len(on_hand)):
        age = int(life[j])
        if age > 0:
            kept[j] += flow[1, j] - recent[(t - age + 1) % len(recent), j]
            waste = max(flow[4, j] - kept[j], 0.0)
            flow[6, j] = waste
            flow[4, j] -= waste
            on_hand[j] -= waste


def settle(flow: Array, numbers: Array, weight: Array) -> None:
    """Discounted cash of the period, whether it was short, and whether an order was placed."""
    arrived, sales, short, shelf, is_short, cash = flow[1], flow[2], flow[3], flow[4], flow[5], flow[8]
    ordered, has_order, order_cost = flow[0], flow[7], numbers[ORDER_COST]
    price, cost, storage, discount = numbers[PRICE], numbers[COST], numbers[STORAGE], numbers[DISCOUNT]
    for j in range(len(cash)):
        has_order[j] = 1.0 if ordered[j] > 0.0 else 0.0
    for j in range(len(cash)):
        cash[j] = price[j] * sales[j] - cost[j] * arrived[j] - storage[j] * shelf[j] - order_cost[j] * has_order[j]
    for j in range(len(cash)):
        cash[j] *= weight[j]
        weight[j] *= discount[j]
        is_short[j] = 1.0 if short[j] > 0.0 else 0.0


def count(units: Array, counted: Array, flow: Array, is_all: bool) -> None:
    """Add the period's flows where they count; on whole tables, since taking rows apart costs more than the sums."""
    if is_all:
        add(units.reshape(-1), flow.reshape(-1))
        return
    for column in range(N_FLOWS):
        for j in range(len(counted)):
            units[column, j] += counted[j] * flow[column, j]


def add(total: Array, amount: Array) -> None:
    """`total += amount`."""
    for j in range(len(total)):
        total[j] += amount[j]


PARTS = (whole_packs, turned, add, count, want, count_down, place, meet, still_fresh, spoil, settle, block)
