"""Forests of regression trees whose leaves remember which training rows fell into them.

A tree sees the rows of some items and some of the features; it is grown on squared error of its target. A leaf keeps a
bounded random sample of its rows (Meinshausen 2006 keeps them all), so that any distribution can be read from it later.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.models.binning import Table

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
_MAX_DEPTH = 30
MOST_ROWS = 1 << 23  # of training: a tree's sum of weights, about `unit` for each row it sees, fits `COUNT_BITS`
_NODE = np.dtype([("threshold", np.float32), ("feature", np.int32), ("left", np.int32), ("missing_left", np.int32)])
_QUANTA = (1 << 14) - 1  # steps of a target while trees grow


@dataclass(frozen=True)
class Growth:
    """How trees grow.

    Parameters
    ----------
    n_trees : how many. min_leaf : rows of the smallest leaf. n_kept : rows a leaf remembers, at most.
    item_share, feature_share : of items and of features that one tree sees. row_share : of the rows of its items.
    """

    n_trees: int = 50
    min_leaf: int = 40
    n_kept: int = 24
    item_share: float = 0.8
    feature_share: float = 0.5
    row_share: float = 1.0


@dataclass(frozen=True)
class Trees:
    """Nodes of all trees in one line, and the samples of their leaves.

    Parameters
    ----------
    feature : (M,) feature that splits, `-2 - feature` where missing values go left, -1 at a leaf.
    threshold : (M,) values up to it go left. left : (M,) left child, the right one follows; -1 at a leaf.
    gain : (M,) drop of squared error. roots : (T,) first node of each tree.
    first, count : (M,) the rows a leaf remembers are `kept[first : first + count]`.
    kept : (S,) training rows.
    """

    feature: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.int32]
    gain: Floats
    roots: Ints
    first: Ints
    count: NDArray[np.int32]
    kept: NDArray[np.int32]

    @property
    def n_trees(self) -> int:
        """T."""
        return len(self.roots)

    @cached_property
    def nodes(self) -> NDArray[np.void]:
        """(M,) what a walk reads of each node, side by side in memory."""
        return nodes_of(self.feature, self.threshold, self.left)

    def leaves(self, values: Floats) -> NDArray[np.int32]:
        """(J, T) leaf of every row of features (J, F) in every tree."""
        from shelfcast.models import tree_kernels

        out = np.empty((self.n_trees, len(values)), dtype=np.int32)
        for t, root in enumerate(self.roots):
            tree_kernels.walk(values, self.nodes, int(root), out[t])
        return np.ascontiguousarray(out.T)

    def importance(self, n_features: int) -> NDArray[np.float64]:
        """(F,) share of the gain that each feature brought; zeros where nothing was split."""
        splits = self.left >= 0
        feature = np.where(self.feature < -1, -2 - self.feature, self.feature)[splits]
        total = np.bincount(feature, self.gain[splits], n_features).astype(np.float64)
        return total / total.sum() if total.sum() > 0 else total

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, to be stored."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def nodes_of(feature: NDArray[np.int32], threshold: Floats, left: NDArray[np.int32]) -> NDArray[np.void]:
    """(M,) nodes as `tree_kernels.walk` reads them."""
    out = np.zeros(len(left), dtype=_NODE)
    out["threshold"], out["left"], out["missing_left"] = threshold, left, feature < -1
    out["feature"] = np.where(feature < -1, -2 - feature, feature)
    return out


def grow_trees(table: Table, target: NDArray[np.float64], item: Ints, growth: Growth, seed: int) -> Trees:
    """Grow trees on rows of a table; `item` (J,) says which rows are bagged together."""
    packed, rng = pack(target), np.random.default_rng([seed, 1])
    parts = [
        _bagged(table, packed, _rows(chosen[item], growth.row_share, rng), features, growth)
        for chosen, features in bags(item, table.bins.n_features, growth, seed)
    ]
    shift_nodes = np.cumsum([0, *(len(part["feature"]) for part in parts)])
    shift_kept = np.cumsum([0, *(len(part["kept"]) for part in parts)])
    for part, nodes, kept in zip(parts, shift_nodes, shift_kept, strict=False):
        part["left"] = np.where(part["left"] >= 0, part["left"] + nodes, -1).astype(np.int32)
        part["first"] = part["first"] + kept
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Trees(roots=shift_nodes[:-1].astype(np.int64), **joined)


def _rows(seen: NDArray[np.bool_], share: float, rng: np.random.Generator) -> NDArray[np.int32]:
    """A share of the rows that are `seen` (J,), in order; all of them where it would be none."""
    places = np.flatnonzero(seen).astype(np.int32)
    drawn = places if share >= 1 else places[rng.random(len(places)) < share]
    return drawn if len(drawn) else places


def pack(target: NDArray[np.float64]) -> Ints:
    """Targets in steps between their least and nearly their greatest, each with a count of one; see `tree_kernels`."""
    from shelfcast.models.tree_kernels import COUNT_BITS

    low, high = (float(target.min()), float(np.quantile(target, 0.9998))) if len(target) else (0.0, 1.0)
    high = high if high > low else max(float(target.max(initial=low)), low + 1e-9)
    steps = np.rint(np.clip((target - low) / (high - low), 0.0, 1.0) * _QUANTA).astype(np.int64)
    return (steps << COUNT_BITS) | 1


def pack_weighted(target: NDArray[np.float64], weight: NDArray[np.float64], unit: int) -> Ints:
    """Signed targets in steps, each with a weight in steps of which the mean weight has `unit` (1 .. 64 x unit)."""
    from shelfcast.models.tree_kernels import COUNT_BITS

    high, mean = max(float(np.abs(target).max(initial=0.0)), 1e-9), max(float(weight.mean()), 1e-9)
    steps = np.rint(target / high * (_QUANTA // 2)).astype(np.int64)
    return (steps << COUNT_BITS) + np.clip(np.rint(weight / mean * unit), 1, 64 * unit).astype(np.int64)


def bags(
    item: Ints, n_features: int, growth: Growth, seed: int
) -> Iterator[tuple[NDArray[np.bool_], Ints]]:  # fmt: skip
    """Items and features that each tree sees: (I,) whether, and places in order."""
    rng, n_items = np.random.default_rng(seed), int(item.max(initial=-1)) + 1
    n_chosen = max(round(growth.item_share * n_items), 1)
    n_seen = max(round(growth.feature_share * n_features), 1)
    for _ in range(growth.n_trees):
        chosen = np.zeros(n_items, dtype=bool)
        chosen[rng.choice(n_items, n_chosen, replace=False)] = True
        yield chosen, np.sort(rng.choice(n_features, n_seen, replace=False))


@dataclass(frozen=True)
class Grown:
    """One tree as it was grown, nodes counted from 0.

    Parameters
    ----------
    feature, threshold, left, gain : (M,) as in `Trees`.
    split : (M,) last bin to the left among all bins, -1 at a leaf.
    spans : (M, 2) rows of a node are `rows[spans[m, 0] : spans[m, 1]]`. rows : the tree's rows, node by node.
    """

    feature: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.int32]
    gain: Floats
    split: NDArray[np.int32]
    spans: NDArray[np.int32]
    rows: NDArray[np.int32]


def grow_one(
    table: Table,
    packed: Ints,
    rows: NDArray[np.int32],
    features: Ints,
    min_leaf: int,
    max_depth: int = _MAX_DEPTH,
    unit: int = 1,
) -> Grown:
    """One tree on some rows of a table, with packed targets (len(rows),), and some of its features.

    `min_leaf` counts rows; where targets are packed with weights, `unit` is the weight that counts as one row.
    """
    from shelfcast.models import tree_kernels

    starts = table.bins.starts
    own_starts = np.concatenate(([0], np.cumsum(starts[features + 1] - starts[features])))
    place = np.full(table.bins.n_bins, -1, dtype=np.int32)
    bin_of = np.concatenate([np.arange(starts[f], starts[f + 1]) for f in features]).astype(np.int64)
    place[bin_of] = np.arange(len(bin_of))
    indptr = np.zeros(len(rows) + 1, dtype=np.int64)
    word = tree_kernels.WORD // table.cells.itemsize
    most = int((table.indptr[rows + 1] - table.indptr[rows]).sum()) + word * len(rows)
    cells = np.empty(most, dtype=table.cells.dtype)  # pages that are never written cost nothing
    cells = cells[: tree_kernels.bag(table.cells, table.indptr, rows, place, len(bin_of), cells, indptr)]
    ids = np.arange(len(rows), dtype=np.int32)
    size = 4 * (len(rows) // min_leaf) + 8
    feature, split, left = (np.full(size, -1, dtype=np.int32) for _ in range(3))
    gain, spans = np.zeros(size, dtype=np.float32), np.zeros((size, 2), dtype=np.int32)
    n = tree_kernels.grow(
        cells, indptr, packed.copy(), ids, own_starts, min_leaf, max_depth, feature, split, left, gain, spans, unit
    )  # fmt: skip
    feature, left = feature[:n], left[:n]
    inner = left >= 0
    named = np.where(feature < -1, -2 - features[np.maximum(-2 - feature, 0)], features[np.maximum(feature, 0)])
    split = np.where(inner, bin_of[split[:n]], -1).astype(np.int32)
    threshold = np.where(inner, table.bins.thresholds()[split], np.float32(0))
    return Grown(
        np.where(inner, named, -1).astype(np.int32), threshold, left, gain[:n], split, spans[:n], rows[ids]
    )  # fmt: skip


def _bagged(
    table: Table, packed: Ints, rows: NDArray[np.int32], features: Ints, growth: Growth
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """One tree and the samples of its leaves as arrays, counted from 0."""
    grown = grow_one(table, packed[rows], rows, features, growth.min_leaf)
    first, count, places = _samples(grown.spans, grown.left >= 0, growth.n_kept)
    return {
        "feature": grown.feature, "threshold": grown.threshold, "left": grown.left, "gain": grown.gain,
        "first": first, "count": count, "kept": grown.rows[places],
    }  # fmt: skip


def _samples(
    spans: NDArray[np.int32], inner: NDArray[np.bool_], n_kept: int
) -> tuple[Ints, NDArray[np.int32], Ints]:  # fmt: skip
    """Where the sample of each leaf begins, how many it keeps, and their places in the order, evenly spread."""
    length = np.where(inner, 0, spans[:, 1] - spans[:, 0]).astype(np.int64)
    count = np.minimum(length, n_kept)
    ends = np.cumsum(count)
    first = ends - count
    leaf = np.repeat(np.arange(len(count)), count)
    rank = np.arange(len(leaf)) - first[leaf]
    places = spans[leaf, 0] + (rank * length[leaf]) // np.maximum(count[leaf], 1)
    return first, count.astype(np.int32), places
