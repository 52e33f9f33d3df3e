"""Boosted trees for a positive mean: the first stage of a two-stage forest.

Gradient boosting of the Poisson quasi-likelihood with a log link (Friedman 2001; the estimate is consistent for any
positive mean): a round grows a small tree on some rows and features by the drop of the likelihood's quadratic model,
`sum(y - mu)^2 / sum(mu)` (Chen and Guestrin 2016), and its leaves step by `rate x sum(y - mu) / sum(mu)`. Trees come
from the forest's own grower, on the same table of bins.

Training rows must not be scaled by a mean that has seen them. Folds are blocks of target dates, so that the held-out
mean meets dates it does not know, as a forecast does; folds of items would hold out more than a forecast misses.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfcast.models.binning import Table
from shelfcast.models.trees import Grown, grow_one, nodes_of, pack_weighted

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
ROUNDS, RATE, DEPTH, MIN_LEAF = 100, 0.09, 5, 100
ROW_SHARE, FEATURE_SHARE = 0.3, 0.25
UNIT = 4  # steps of a mean weight while trees grow
_CLIP = (0.0005, 0.9995)  # quantiles of the gradient beyond which it is cut
_STEP = 2.0  # longest step of a leaf before the rate
FLOOR = 0.05  # of a scale: no mean is smaller
N_FOLDS = 2


@dataclass(frozen=True)
class Boosted:
    """A sum of trees on the log scale.

    Parameters
    ----------
    feature, threshold, left : (M,) as in `Trees`. roots : (T,) first nodes. value : (M,) step of a leaf.
    base : (1,) log of the mean of training.
    """

    feature: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.int32]
    roots: Ints
    value: Floats
    base: Doubles

    @cached_property
    def _nodes(self) -> NDArray[np.void]:
        return nodes_of(self.feature, self.threshold, self.left)

    def log_mean(self, values: Floats) -> Doubles:
        """(J,) of rows of features (J, F)."""
        from shelfcast.models import tree_kernels

        out = np.full(len(values), self.base[0])
        tree_kernels.add_values(values, self._nodes, self.roots, self.value, out)
        return out

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, to be stored."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def boosted(table: Table, target: Doubles, pool: Ints, rng: np.random.Generator) -> tuple[Boosted, Doubles]:
    """A booster learned on the rows `pool` of a table, and its log means (J,) of all rows; target (J,) >= 0."""
    from shelfcast.models import tree_kernels

    starts, n_features = table.bins.starts, table.bins.n_features
    base = float(np.log(max(target[pool].mean(), 1e-9))) if len(pool) else 0.0
    log_mean, one = np.full(len(target), base), np.zeros(1, dtype=np.int64)
    n_seen = max(round(FEATURE_SHARE * n_features), 1)
    trees: list[tuple[Grown, Floats]] = []
    for _ in range(ROUNDS if len(pool) else 0):
        drawn = rng.random(len(pool)) < ROW_SHARE
        drawn[rng.integers(len(pool))] = True  # of few rows one at least
        rows, rest = pool[drawn].astype(np.int32), pool[~drawn]
        features = np.sort(rng.choice(n_features, n_seen, replace=False))
        mean = np.exp(log_mean[rows])
        gradient = np.clip(target[rows] - mean, *np.quantile(target[rows] - mean, _CLIP))
        grown = grow_one(table, pack_weighted(gradient, mean, UNIT), rows, features, MIN_LEAF, DEPTH, UNIT)
        value = _steps(grown, rows, gradient, mean)
        log_mean[grown.rows] += _reached(grown, value)
        tree_kernels.add_binned(
            table.cells, table.indptr, rest, starts, grown.feature, grown.split, grown.left, one, value, log_mean
        )  # fmt: skip
        trees.append((grown, value))
    made, split = _joined(trees, base)
    others = np.setdiff1d(np.arange(len(target)), pool, assume_unique=True)
    tree_kernels.add_binned(
        table.cells, table.indptr, others, starts, made.feature, split, made.left, made.roots, made.value, log_mean
    )  # fmt: skip
    return made, log_mean


def _steps(grown: Grown, rows: NDArray[np.int32], gradient: Doubles, mean: Doubles) -> Floats:
    """(M,) step of every node."""
    order = np.searchsorted(rows, grown.rows)
    up, weight = (np.concatenate(([0.0], np.cumsum(part[order]))) for part in (gradient, mean))
    first, last = grown.spans[:, 0], grown.spans[:, 1]
    step = (up[last] - up[first]) / np.maximum(weight[last] - weight[first], 1e-9)
    return np.asarray(RATE * np.clip(step, -_STEP, _STEP), dtype=np.float32)


def _reached(grown: Grown, value: Floats) -> Floats:
    """Value of the leaf of each row that a tree was grown on, in the order of its rows."""
    leaves = np.flatnonzero(grown.left < 0)
    leaves = leaves[np.argsort(grown.spans[leaves, 0], kind="stable")]
    return np.repeat(value[leaves], grown.spans[leaves, 1] - grown.spans[leaves, 0])


def _joined(trees: list[tuple[Grown, Floats]], base: float) -> tuple[Boosted, NDArray[np.int32]]:
    """All trees in one line of nodes, and their splits as bins (M,)."""
    shift = np.cumsum([0, *(len(value) for _, value in trees)]).astype(np.int64)
    none = np.zeros(0, dtype=np.int32)
    made = Boosted(
        np.concatenate([none, *(g.feature for g, _ in trees)]),
        np.concatenate([none.astype(np.float32), *(g.threshold for g, _ in trees)]),
        np.concatenate(
            [none, *(np.where(g.left >= 0, g.left + s, -1) for (g, _), s in zip(trees, shift, strict=False))]
        ).astype(np.int32),
        shift[:-1],
        np.concatenate([none.astype(np.float32), *(value for _, value in trees)]),
        np.array([base]),
    )
    return made, np.concatenate([none, *(g.split for g, _ in trees)])


@dataclass(frozen=True)
class Mean:
    """The mean of several boosters, on the log scale: the first stage of a forest."""

    members: tuple[Boosted, ...]

    def of(self, values: Floats) -> Doubles:
        """(J,) scales, at least FLOOR, of rows of features (J, F)."""
        total = np.mean([np.exp(member.log_mean(values)) for member in self.members], axis=0)
        return np.asarray(np.maximum(total, FLOOR))


def held_out_mean(
    table: Table, target: Doubles, date: Ints, block: int, rng: np.random.Generator
) -> tuple[Mean, Doubles]:  # fmt: skip
    """A mean of boosters, and for every row (J,) what boosters say that did not see its block of target dates (J,)."""
    fold = (date // block) % N_FOLDS
    out, members = np.ones(len(target)), []
    for k in range(N_FOLDS):
        member, log_mean = boosted(table, target, np.flatnonzero(fold != k), rng)
        out[fold == k] = np.exp(log_mean[fold == k])
        members.append(member)
    return Mean(tuple(members)), np.maximum(out, FLOOR)
