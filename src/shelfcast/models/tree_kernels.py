"""Compiled growth and walking of regression trees over sparse rows of bins.

A training row is a list of *cells*, one for each feature it has: global bin numbers, features in order, so that bins of
feature f are `starts[f] .. starts[f + 1] - 1`. An absent feature costs nothing; what is missing at a node is its total
less what is present, and goes to the side where it serves better. Targets come packed, `quantised << COUNT_BITS | 1`:
one addition keeps the sum and the count of a bin (gradient histograms as in Ke et al. 2017, LightGBM; the packing is
ours). A weight may stand in place of the count, with signed targets; `unit` of it is a row. Of two children only the
smaller is counted; the larger is the parent less it.

A split sends bins up to `threshold` of a feature to the left. The criterion is the drop of the squared error of the
quantised target: `S_l^2 / n_l + S_r^2 / n_r - S^2 / n`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.compiled import compiled

Ints = NDArray[np.int64]
COUNT_BITS = 24  # a tree sees at most 2^24 rows, or that sum of weights
_COUNT = (1 << COUNT_BITS) - 1
LEAF = -1
WORD = 8  # bytes that are moved at once
_CACHED = 1 << 17  # bytes of rows that a core's own cache holds beside the histograms


@compiled
def bag(cells: Any, indptr: Ints, rows: Any, place: Any, absent: int, out_cells: Any, out_indptr: Ints) -> int:
    """Copy the cells of some rows, keeping bins with a `place` >= 0 under that number; returns how many there are.

    Each row is filled up to whole words with bins from `absent` on, which no feature has; `out_cells` has room for as
    many words more as there are rows.
    """
    n_cells, last = 0, WORD // out_cells.itemsize - 1
    for i in range(len(rows)):
        out, n = out_cells[n_cells:], 0
        for cell in cells[indptr[rows[i]] : indptr[rows[i] + 1]]:
            at = place[cell]
            out[n] = at  # written over by the next where it is not kept: no branch to guess
            n += 1 if at >= 0 else 0
        for k in range(last):
            out[n + k] = absent + k
        n_cells += (n + last) & ~last
        out_indptr[i + 1] = n_cells
    return n_cells


@compiled
def add_rows(cells: Any, indptr: Ints, packed: Ints, rows: Any, begin: int, end: int, hist: Ints) -> None:
    """Add the packed targets of rows `begin:end` of the order to the bins of their cells."""
    hist[:] = 0
    for i in range(begin, end):
        row = rows[i]
        value = packed[row]
        for j in range(indptr[row], indptr[row + 1]):
            hist[cells[j]] += value


@compiled
def best_split(hist: Ints, starts: Ints, total: int, min_leaf: int) -> tuple[int, int, bool, float]:
    """Feature, last bin to the left, whether missing rows go left, and gain; feature -1 where nothing helps."""
    n, s = total & _COUNT, float(total >> COUNT_BITS)
    best_gain, best_feature, best_bin, best_left = 1e-7 * (s * s / n + 1.0), -1, 0, False
    base = s * s / n
    for f in range(len(starts) - 1):
        present = 0
        for b in range(starts[f], starts[f + 1]):
            present += hist[b]
        n_present = present & _COUNT
        if n_present == 0:
            continue
        missing = total - present
        n_missing, s_missing = missing & _COUNT, float(missing >> COUNT_BITS)
        running = 0
        for b in range(starts[f], starts[f + 1]):
            if hist[b] == 0:
                continue
            running += hist[b]
            n_left, s_left = running & _COUNT, float(running >> COUNT_BITS)
            n_right, s_right = n - n_left, s - s_left
            if n_left >= min_leaf and n_right >= min_leaf:
                gain = s_left * s_left / n_left + s_right * s_right / n_right - base
                if gain > best_gain:
                    best_gain, best_feature, best_bin, best_left = gain, f, b, False
            if n_missing > 0:
                n_left, s_left = n_left + n_missing, s_left + s_missing
                n_right, s_right = n - n_left, s - s_left
                if n_left >= min_leaf and n_right >= min_leaf:
                    gain = s_left * s_left / n_left + s_right * s_right / n_right - base
                    if gain > best_gain:
                        best_gain, best_feature, best_bin, best_left = gain, f, b, True
    if best_feature >= 0 and not best_left:
        present = 0
        for b in range(starts[best_feature], starts[best_feature + 1]):
            present += hist[b]
        if total == present:  # none was missing here: a row that lacks the feature goes with the many
            n_left = 0
            for b in range(starts[best_feature], best_bin + 1):
                n_left += hist[b] & _COUNT
            best_left = 2 * n_left >= n
    return best_feature, best_bin, best_left, best_gain


@compiled
def place_of(cells: Any, begin: int, end: int, low: int, hint: int) -> int:
    """First of the ascending cells `begin:end` that is not below `low`; the guess is `hint` cells from the first."""
    at = min(begin + hint, end)
    if at < end and cells[at] < low:
        left, right = at + 1, end
    elif at > begin and cells[at - 1] >= low:
        left, right = begin, at - 1
    else:
        return at
    while left < right:
        middle = (left + right) >> 1
        if cells[middle] < low:
            left = middle + 1
        else:
            right = middle
    return left


@compiled
def move_rows(
    cells: Any, words: Any, indptr: Ints, packed: Ints, ids: Any, first: int, last: int, low: int, high: int,
    split: int, missing_left: bool, hint: int, spare_words: Any, spare_length: Any, spare_packed: Ints, spare_ids: Any,
) -> tuple[int, int]:  # fmt: skip
    """Part rows `first:last` by moving them with their cells; returns where the right ones begin, and the left sum.

    `words` are the cells too, several at a time. Where a row has the feature is guessed from the row before, the first
    time from `hint`.
    """
    shift = 2 if cells.itemsize == 2 else 1
    middle, left_sum, n_right, aside = first, 0, 0, 0
    begin = indptr[first]
    at = begin >> shift
    for row in range(first, last):
        end = indptr[row + 1]
        here, length = begin >> shift, (end - begin) >> shift
        cell = place_of(cells, begin, end, low, hint)
        hint = cell - begin
        if cells[cell] <= split if cell < end and cells[cell] < high else missing_left:
            for j in range(length):
                words[at + j] = words[here + j]
            packed[middle], ids[middle] = packed[row], ids[row]
            left_sum += packed[middle]
            at += length
            middle += 1
            indptr[middle] = at << shift
        else:
            for j in range(length):
                spare_words[aside + j] = words[here + j]
            spare_length[n_right], spare_packed[n_right], spare_ids[n_right] = length, packed[row], ids[row]
            aside += length
            n_right += 1
        begin = end
    for j in range(aside):
        words[at + j] = spare_words[j]
    for i in range(n_right):
        packed[middle + i], ids[middle + i] = spare_packed[i], spare_ids[i]
        at += spare_length[i]
        indptr[middle + i + 1] = at << shift
    return middle, left_sum


@compiled
def part_order(
    cells: Any, indptr: Ints, packed: Ints, order: Any, first: int, last: int, low: int, high: int, split: int,
    missing_left: bool, hint: int, spare: Any,
) -> tuple[int, int]:  # fmt: skip
    """As `move_rows`, for rows that stay where they are: only their order `first:last` is parted."""
    middle, left_sum, n_right = first, 0, 0
    for i in range(first, last):
        row = order[i]
        begin, end = indptr[row], indptr[row + 1]
        cell = place_of(cells, begin, end, low, hint)
        hint = cell - begin
        if cells[cell] <= split if cell < end and cells[cell] < high else missing_left:
            order[middle] = row
            left_sum += packed[row]
            middle += 1
        else:
            spare[n_right] = row
            n_right += 1
    for i in range(n_right):
        order[middle + i] = spare[i]
    return middle, left_sum


@compiled
def grow(
    cells: Any, indptr: Ints, packed: Ints, ids: Any, starts: Ints, min_leaf: int, max_depth: int, nodes_feature: Any,
    nodes_bin: Any, nodes_left: Any, nodes_gain: Any, spans: Any, unit: int,
) -> int:  # fmt: skip
    """Grow one tree over all rows; returns the number of nodes filled.

    Rows are parted in place, so that each node's rows lie together: afterwards `ids` are in that order, and `spans`
    (nodes, 2) says where. While a node's rows do not fit the cache, they are moved with their cells and targets, so
    that memory is read from front to back; below, only their order is. A node's children are `left` and `left + 1`; a
    leaf has feature `LEAF`. Missing rows go left where the feature is stored as `-2 - feature`.
    """
    n_rows, n_bins = len(ids), starts[-1]
    spans[0, 0], spans[0, 1], n_nodes = 0, n_rows, 1
    nodes_feature[0] = LEAF
    if n_rows < 2 * min_leaf:
        return n_nodes
    large_node = max(_CACHED // max(cells.itemsize * len(cells) // n_rows + 8, 1), 2 * min_leaf)
    order, spare = np.arange(n_rows), np.empty(n_rows, dtype=np.int64)
    words = cells.view(np.uint64)
    spare_words, spare_packed = np.empty_like(words), np.empty_like(packed)
    spare_ids, spare_length = np.empty_like(ids), np.empty_like(ids)
    pool = np.zeros((40, n_bins + WORD // cells.itemsize - 1), dtype=np.int64)
    free = np.arange(40)[::-1].copy()
    n_free = 39
    stack_node, stack_slot, stack_depth = np.zeros(64, np.int64), np.zeros(64, np.int64), np.zeros(64, np.int64)
    stack_sum = np.zeros(64, np.int64)
    add_rows(cells, indptr, packed, order, 0, n_rows, pool[free[n_free]])
    stack_slot[0], stack_sum[0] = free[n_free], packed.sum()
    n_stack = 1
    while n_stack > 0:
        n_stack -= 1
        node, slot, depth = stack_node[n_stack], stack_slot[n_stack], stack_depth[n_stack]
        total = stack_sum[n_stack]
        first, last = spans[node, 0], spans[node, 1]
        hist = pool[slot]
        feature, split, missing_left, gain = best_split(hist, starts, total, min_leaf * unit)
        if feature < 0:
            free[n_free] = slot
            n_free += 1
            continue
        low, high = starts[feature], starts[feature + 1]
        if last - first > large_node:
            middle, left_sum = move_rows(
                cells, words, indptr, packed, ids, first, last, low, high, split, missing_left, feature, spare_words,
                spare_length, spare_packed, spare_ids,
            )  # fmt: skip
        else:
            middle, left_sum = part_order(
                cells, indptr, packed, order, first, last, low, high, split, missing_left, feature, spare
            )
        left, right = n_nodes, n_nodes + 1
        n_nodes += 2
        nodes_feature[node] = -2 - feature if missing_left else feature
        nodes_bin[node], nodes_left[node], nodes_gain[node] = split, left, gain
        spans[left, 0], spans[left, 1] = first, middle
        spans[right, 0], spans[right, 1] = middle, last
        nodes_feature[left] = nodes_feature[right] = LEAF
        small, large, small_sum = (left, right, left_sum)
        if middle - first > last - middle:
            small, large, small_sum = right, left, total - left_sum
        n_small, n_large = spans[small, 1] - spans[small, 0], spans[large, 1] - spans[large, 0]
        if n_large < 2 * min_leaf or depth + 1 >= max_depth:
            free[n_free] = slot
            n_free += 1
            continue
        n_free -= 1
        other = free[n_free]
        add_rows(cells, indptr, packed, order, spans[small, 0], spans[small, 1], pool[other])
        for b in range(n_bins):
            hist[b] -= pool[other, b]
        stack_node[n_stack], stack_slot[n_stack], stack_depth[n_stack] = large, slot, depth + 1
        stack_sum[n_stack] = total - small_sum
        n_stack += 1
        if n_small < 2 * min_leaf:
            free[n_free] = other
            n_free += 1
        else:
            stack_node[n_stack], stack_slot[n_stack], stack_depth[n_stack] = small, other, depth + 1
            stack_sum[n_stack] = small_sum
            n_stack += 1
    ids[:] = ids[order]
    return n_nodes


@compiled
def fill_cells(values: Any, edges: Any, starts: Ints, indptr: Ints, out: Any) -> None:
    """Write the bin number of every present value of rows (J, F) to `out`, row j from `indptr[j]`."""
    for j in range(values.shape[0]):
        at = indptr[j]
        for f in range(values.shape[1]):
            x = values[j, f]
            if not np.isnan(x):
                low, high = starts[f] - f, starts[f + 1] - f - 1
                first = low
                while low < high:
                    middle = (low + high) >> 1
                    if edges[middle] < x:
                        low = middle + 1
                    else:
                        high = middle
                out[at] = starts[f] + low - first
                at += 1


@compiled
def walk(values: Any, nodes: Any, root: int, out: Any) -> None:
    """Leaf (J,) that each row of values (J, F) reaches from a root; `nodes` as in `Trees.nodes`.

    The side is reckoned, not branched on, since which one it will be cannot be guessed; and eight rows go down
    together, so that one need not wait for what another reads.
    """
    n = values.shape[0]
    at = np.empty(8, dtype=np.int64)
    for begin in range(0, n, 8):
        size = min(8, n - begin)
        at[:] = root
        n_moving = size
        while n_moving > 0:
            n_moving = 0
            for k in range(size):
                left = nodes[at[k]].left
                if left >= 0:
                    x = values[begin + k, nodes[at[k]].feature]
                    stays = np.int64(x <= nodes[at[k]].threshold) | (np.int64(x != x) & nodes[at[k]].missing_left)
                    at[k] = left + 1 - stays
                    n_moving += 1
        for k in range(size):
            out[begin + k] = at[k]


@compiled
def add_binned(
    cells: Any, indptr: Ints, rows: Any, starts: Ints, feature: Any, split: Any, left: Any, roots: Ints, value: Any,
    out: Any,
) -> None:  # fmt: skip
    """Add to `out` (J,), at some rows of a table, the values of the leaves that they reach in all trees.

    The cells of a row are laid out by feature first, so that none is searched for.
    """
    n_features = len(starts) - 1
    feature_of = np.zeros(starts[-1], dtype=np.int32)
    for f in range(n_features):
        feature_of[starts[f] : starts[f + 1]] = f
    bin_of = np.empty(n_features, dtype=np.int32)
    for row in rows:
        bin_of[:] = -1
        for cell in cells[indptr[row] : indptr[row + 1]]:
            bin_of[feature_of[cell]] = cell
        total = out[row]
        for root in roots:
            node = root
            while left[node] >= 0:
                f = feature[node]
                missing_left = f < -1
                if missing_left:
                    f = -2 - f
                there = bin_of[f] <= split[node] if bin_of[f] >= 0 else missing_left
                node = left[node] + (0 if there else 1)
            total += value[node]
        out[row] = total


@compiled
def add_values(values: Any, nodes: Any, roots: Ints, value: Any, out: Any) -> None:
    """Add to `out` (J,) the values of the leaves that rows of features (J, F) reach in all trees; see `walk`."""
    reached = np.empty(len(values), dtype=np.int32)
    for root in roots:
        walk(values, nodes, root, reached)
        for j in range(len(values)):
            out[j] += value[reached[j]]


@compiled
def means(leaves: Any, count: Any, leaf_mean: Any, factor: Any, out: Any) -> None:
    """Means (J,) of merged leaves (J, T), times `factor` (J,); see `merge`."""
    for j in range(leaves.shape[0]):
        total, n_there = 0.0, 0
        for t in range(leaves.shape[1]):
            leaf = leaves[j, t]
            if leaf >= 0 and count[leaf] > 0:
                total += leaf_mean[leaf]
                n_there += 1
        out[j] = total / max(n_there, 1) * factor[j]


@compiled
def merge(leaves: Any, first: Ints, count: Any, codes: Any, levels: Any, factor: Any, value_of: Any, out: Any) -> None:
    """Quantiles of merged leaves, `out` (J, Q) at levels (J, Q) that ascend in each row, times `factor` (J,).

    `leaves` (J, T) are reservoirs: number l keeps `count[l]` codes from `first[l]`, together weighing 1 / T; -1 is a
    tree that is not asked. The quantile is the least value at which the distribution function reaches the level. Codes
    are counted coarse (64 at a time) and fine, so no row is sorted; `value_of` turns a code into a value. Rows that
    follow each other reach many of the same leaves: only those that differ are counted anew, in whole numbers, so that
    nothing is rounded.
    """
    n_rows, n_trees, n_coarse = leaves.shape[0], leaves.shape[1], ((len(value_of) - 1) >> 6) + 1
    coarse = np.zeros(n_coarse, dtype=np.int32)
    fine = np.zeros(n_coarse << 6, dtype=np.int32)
    weight = (1 << 30) // max(n_trees, 1) // np.arange(1, count.max() + 2)  # of a code in a leaf of 1, 2, .. codes
    total = 0
    for j in range(n_rows):
        for t in range(n_trees):
            if j > 0 and leaves[j, t] == leaves[j - 1, t]:
                continue
            for sign in range(1, -2 if j > 0 else 0, -2):  # what is reached now, then what was before
                leaf = leaves[j, t] if sign > 0 else leaves[j - 1, t]
                if leaf >= 0 and count[leaf] > 0:
                    each = np.int32(sign * weight[count[leaf] - 1])
                    total += int(count[leaf]) * int(each)
                    for code in codes[first[leaf] : first[leaf] + count[leaf]]:
                        fine[code] += each
                        coarse[code >> 6] += each
        block, at, below, passed = 0, 0, 0, 0
        for q in range(levels.shape[1]):
            wanted = (float(levels[j, q]) - 1e-5) * total
            while passed + coarse[block] < wanted and block < n_coarse - 1:
                passed += coarse[block]
                block += 1
                at, below = block << 6, passed
            while below + fine[at] < wanted and at < (block << 6) + 63:
                below += fine[at]
                at += 1
            out[j, q] = value_of[at] * factor[j]
