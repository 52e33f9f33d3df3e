"""Least squares with series and group-period effects, its coefficients shrunk on a tree of series, items and groups.

z = series + group x period + x b + error. The effects are swept out (`two_way`); the coefficients start as everyone's
pooled ones, and after each fit of the tree the group-period effects are taken again, net of each series' own
coefficients, so that products which respond differently do not leak into them. Estimates are deviations from the pooled
coefficients until the end.

Errors that follow each other within a block of periods, or that the series of an item share, say less than as many
independent ones: standard errors are widened by how much their sums vary (Moulton 1986).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shelfcast.models.shrinkage import Evidence, Posterior, combine, downward, identified, spread, upward
from shelfcast.models.two_way import within

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Fitted = dict[str, tuple[Posterior, Mask, Ints]]

_LEAST_CELL = 8  # series of a group in a period, for an effect of its own
_PASSES = 3
_PRIOR_PERIODS = 10.0  # how many periods of the group's error variance join a series' own
_LEAST_VARIANCE = 1e-6
_WIDE = 4.0  # variance between items or groups where too few are there to tell
_VAGUE = 100.0  # prior variance of everyone's coefficients


@dataclass(frozen=True)
class Sample:
    """R observed rows, in order of series.

    Parameters
    ----------
    x : (R, J) regressors. z : (R,) response.
    series, period : (R,) of each row.
    """

    x: Array
    z: Array
    series: Ints
    period: Ints


@dataclass(frozen=True)
class Tree:
    """N series in items in groups.

    Parameters
    ----------
    item : (N,) item of each series. group : (number of items,) group of each.
    """

    item: Ints
    group: Ints
    n_groups: int

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.group)


def fit_tree(sample: Sample, tree: Tree, least: Array, block: int) -> Fitted:
    """Posterior coefficients, whether identified (U, J), and rows used (U,) of `all`, `group`, `item` and `series`.

    Errors within `block` periods of each other may be correlated.
    """
    n_series, family = len(tree.item), tree.group[tree.item] if len(tree.item) else tree.item
    cell = cells(sample, family)
    series = _Series.of(sample, n_series)
    pooled = pooled_coefficients(sample, cell, least)
    known = identified(series.gram, least)
    x = series.centred(sample.x)
    own = np.repeat(pooled[None], n_series, axis=0)
    fitted: Fitted = {}
    for _ in range(_PASSES):
        error = within(sample.z - _dot(sample.x, own[sample.series]), sample.series, cell)
        target = series.centred(error + _dot(sample.x, (own - pooled)[sample.series]))
        repeated = _Repetition.of(sample, x * error[:, None], tree, family, block)
        variance = _error_variance(error, series, known, family) * repeated.serial
        evidence = Evidence(series.gram / variance[:, None, None], series.sums(x * target[:, None]) / variance[:, None])
        fitted = _fit(evidence, known, tree, repeated.shared, series.count)
        own = fitted["series"][0].mean + pooled
    return {kind: (Posterior(p.mean + pooled, p.covariance), k, n) for kind, (p, k, n) in fitted.items()}


def pooled_coefficients(sample: Sample, cell: Ints, least: Array) -> Array:
    """(J,) one set of coefficients for all, exactly as with a dummy for every series and cell; 0 if not identified."""
    swept = within(np.column_stack((sample.x, sample.z)), sample.series, cell)
    x, z = swept[:, :-1], swept[:, -1]
    everyone = Evidence((x.T @ x)[None], (x.T @ z)[None])
    return np.asarray(everyone.estimates(identified(everyone.information, least))[0][0])


def cells(sample: Sample, family: Ints) -> Ints:
    """(R,) group-period of each row; all groups' period where the group has too few series in it; -1 if even those."""
    if not len(sample.z):
        return sample.series
    period = sample.period - sample.period.min()
    n_periods = int(period.max()) + 1
    cell = (family[sample.series] + 1) * n_periods + period
    few = np.bincount(cell)[cell] < _LEAST_CELL
    cell = np.where(few, period, cell)
    return np.where(np.bincount(cell)[cell] < _LEAST_CELL, -1, cell)


@dataclass(frozen=True)
class _Series:
    """Sums over the rows of each of N series.

    Parameters
    ----------
    of_row : (R,) series of each row, ascending. count : (N,) rows. gram : (N, J, J) of the centred regressors.
    """

    of_row: Ints
    count: Ints
    gram: Array

    @classmethod
    def of(cls, sample: Sample, n_series: int) -> "_Series":
        n_columns = sample.x.shape[1]
        empty = cls(sample.series, np.bincount(sample.series, minlength=n_series), np.zeros((n_series, 1, 1)))
        x = empty.centred(sample.x)
        columns = [empty.sums(x * x[:, [j]]) for j in range(n_columns)]
        return cls(empty.of_row, empty.count, np.stack(columns, axis=2))

    def sums(self, values: Array) -> Array:
        """(N, J) sums of columns (R, J)."""
        n_series = len(self.count)
        return np.stack([np.bincount(self.of_row, weights=v, minlength=n_series) for v in values.T], axis=1)

    def centred(self, values: Array) -> Array:
        """Values (R,) or (R, J) less their series' mean."""
        wide = values[:, None] if values.ndim == 1 else values
        means = self.sums(wide) / np.maximum(self.count, 1)[:, None]
        return np.asarray((wide - means[self.of_row]).reshape(values.shape))


def _error_variance(error: Array, series: _Series, known: Mask, family: Ints) -> Array:
    """(N,) error variance of each series, with `_PRIOR_PERIODS` periods of its group's added."""
    squares = series.sums((error**2)[:, None])[:, 0]
    free = np.maximum(series.count - 1 - known.sum(axis=1), 0)
    n_groups = int(family.max(initial=0)) + 1
    summed = np.bincount(family, weights=squares, minlength=n_groups)
    of_group = summed / np.maximum(np.bincount(family, weights=free, minlength=n_groups), 1)
    return np.asarray(
        np.maximum((squares + _PRIOR_PERIODS * of_group[family]) / (free + _PRIOR_PERIODS), _LEAST_VARIANCE)
    )


@dataclass(frozen=True)
class _Repetition:
    """How much errors repeat each other, from sums of scores (x times error) over blocks of periods.

    Parameters
    ----------
    serial : (N,) at least 1: variance of a series' sum over a block to what independent periods would have.
    shared : (number of items,) correlation of the block sums of an item's series, times the others beside each.
    """

    serial: Array
    shared: Array

    @classmethod
    def of(cls, sample: Sample, scores: Array, tree: Tree, family: Ints, block: int) -> "_Repetition":
        """Pooled over groups; `scores` (R, J), blocks of `block` periods."""
        if not len(sample.z):
            return cls(np.ones(len(tree.item)), np.zeros(tree.n_items))
        when = (sample.period - sample.period.min()) // block
        n_blocks = int(when.max()) + 1
        scale = scores / np.maximum(np.sqrt((scores**2).mean(axis=0)), 1e-12)
        of_series, of_item = (np.arange(n * n_blocks) // n_blocks for n in (len(tree.item), tree.n_items))
        place = tree.item[of_series] * n_blocks + np.arange(len(of_series)) % n_blocks
        filled = np.bincount(sample.series * n_blocks + when, minlength=len(of_series)) > 0
        size = np.bincount(place, weights=filled, minlength=len(of_item))
        single, blocks, together = (np.zeros(tree.n_groups) for _ in range(3))
        for column in scale.T:
            own = np.bincount(sample.series * n_blocks + when, weights=column, minlength=len(of_series))
            item = np.bincount(place, weights=own, minlength=len(of_item))
            single += np.bincount(family[sample.series], weights=column**2, minlength=tree.n_groups)
            blocks += np.bincount(family[of_series], weights=own**2, minlength=tree.n_groups)
            together += np.bincount(tree.group[of_item], weights=item**2, minlength=tree.n_groups)
        rows, crowd = (np.bincount(of_item, w, tree.n_items) for w in (size, size * (size - 1.0)))
        others, of_group = (np.bincount(tree.group, w, tree.n_groups) for w in (crowd, rows))
        serial = np.maximum(blocks / np.where(single > 0, single, 1.0), 1.0)
        excess = (together / np.where(blocks > 0, blocks, 1.0) - 1.0) * of_group / np.maximum(others, 1.0)
        shared = np.clip(excess, 0.0, 1.0)[tree.group] * crowd / np.maximum(rows, 1)
        return cls(serial[family], shared)


def _fit(evidence: Evidence, known: Mask, tree: Tree, shared: Array, n: Ints) -> Fitted:
    """Up the tree and down again; coefficients are deviations from the pooled ones."""
    n_columns, top = known.shape[1], np.zeros(tree.n_groups, dtype=np.int64)
    of_series, root = tree.item, np.zeros(1, dtype=np.int64)
    b, v = evidence.estimates(known)
    t_series = spread(b, v, known, of_series, tree.group, unknown=0.0)[tree.group][of_series]
    noise = np.where(known, v / (v + t_series), 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    share = np.bincount(of_series, noise, tree.n_items) / np.maximum(np.bincount(of_series, minlength=tree.n_items), 1)
    items, from_series = upward(evidence.masked(known), t_series, of_series, tree.n_items, 1.0 + shared * share)
    known_items = any_of(known, of_series, tree.n_items)
    each = np.arange(tree.n_groups)
    t_items = spread(*items.estimates(known_items), known_items, tree.group, each, unknown=_WIDE)[tree.group]
    groups, from_items = upward(items, t_items, tree.group, tree.n_groups, np.ones(tree.n_groups))
    known_groups = any_of(known_items, tree.group, tree.n_groups)
    t_groups = spread(*groups.estimates(known_groups), known_groups, top, root, unknown=_WIDE)[top]
    everyone, from_groups = upward(groups, t_groups, top, 1, np.ones(1))
    all_known = any_of(known_groups, top, 1)
    at_top = combine(everyone, all_known, np.zeros((1, n_columns)), np.full((1, n_columns), _VAGUE))
    at_groups = downward(groups, known_groups, from_groups, at_top, top, t_groups)
    at_items = downward(items, known_items, from_items, at_groups, tree.group, t_items)
    at_series = downward(evidence, known, from_series, at_items, of_series, t_series)
    of_items = np.bincount(of_series, n, tree.n_items).astype(np.int64)
    of_groups = np.bincount(tree.group, of_items, tree.n_groups).astype(np.int64)
    return {
        "all": (at_top, all_known, np.array([of_groups.sum()])),
        "group": (at_groups, known_groups, of_groups),
        "item": (at_items, known_items, of_items),
        "series": (at_series, known, n),
    }


def any_of(known: Mask, parent: Ints, n_parents: int) -> Mask:
    """(V, J) whether any unit of a parent is known."""
    return np.stack([np.bincount(parent, weights=k, minlength=n_parents) > 0 for k in known.T], axis=1)


def _dot(x: Array, coefficients: Array) -> Array:
    return np.asarray(np.einsum("rj,rj->r", x, coefficients))
