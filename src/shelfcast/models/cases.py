"""What a forest's forecast leans on: the past cases that weigh most in it.

A quantile of the forest is one of a weighted sample of past demand (Meinshausen 2006): a row that a reached leaf keeps
weighs one over the rows kept there, times one over the trees of its forest and over the forests. Leads that ended on
the same periods are one case.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shelfcast.data.features import Features
from shelfcast.data.panel import Panel
from shelfcast.models.stratum import Forest, Stratum, shares

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
DATES = 3  # cases of one series that are kept
_BLOCK = 256  # forecasts whose samples are sorted together


@dataclass(frozen=True)
class Cases:
    """The R heaviest cases of some forecasts, by forecast, falling weight of their series and falling weight.

    Parameters
    ----------
    series : (R,) place of the forecast series among those asked for. lead, span : (R,) its horizon.
    place : (R,) series of the case, a place in the panel of training. first : (R,) first period of the case.
    weight, total : (R,) share of the forecast that is this case, and that are all cases of its series.
    units : (R,) its demand, at this forecast's size; as it was, where trees of launches answer.
    """

    series: Ints
    lead: Ints
    span: Ints
    place: Ints
    first: Ints
    weight: Doubles
    total: Doubles
    units: Doubles


def heaviest(
    features: Features, strata: dict[int, Stratum], panel: Panel, origin: int, series: Ints, leads_of: dict[int, Ints],
    most: int,
) -> Cases:  # fmt: skip
    """Cases of at most `most` series for each series (n,), span and lead at an origin; none where nothing ever sold."""
    from shelfcast.data.feature_rows import FeatureRows

    piece = panel.take(series)
    table = FeatureRows(features, piece)
    every = np.arange(piece.n_series)
    parts: list[tuple[NDArray[np.generic], ...]] = []
    n_before = 0  # forecasts of spans before
    for span, leads in leads_of.items():
        sold = every[~table.never_sold(every, np.full(len(every), origin))]
        if span not in strata or not len(sold):
            continue
        values, scale, weight = table.grid(sold, np.full(len(sold), origin), leads, np.full(len(leads), span))
        size, new = scale * weight, np.repeat(table.start[sold] > origin, len(leads))
        for begin in range(0, len(values), _BLOCK):
            for is_new in (False, True):
                rows = begin + np.flatnonzero(new[begin : begin + _BLOCK] == is_new)
                if not len(rows):
                    continue
                row, *found = _of_rows(*strata[span].asked(values[rows], size[rows], is_new), most)
                row = rows[row]
                horizon = leads[row % len(leads)], np.full(len(row), span)
                parts.append((n_before + row, sold[row // len(leads)], *horizon, *found))
        n_before += len(values)
    if not parts:
        none, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
        return Cases(none, none, none, none, none, nothing, nothing, nothing)
    forecast, *columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(forecast, kind="stable")
    return Cases(*(column[order] for column in columns))


def _samples(
    forest: Forest, share: float, features: NDArray[np.float32], size: NDArray[np.float32]
) -> tuple[Ints, Doubles, Ints, Ints, Doubles]:  # fmt: skip
    """Row, weight, series, first period and units of everything kept in the leaves that rows (J, F) reach.

    Weights of a row sum to `share`, what the forest counts for.
    """
    leaves, reached = forest.leaves, forest.trees.leaves(features)
    count = leaves.count[reached]
    weight = float(share) / np.maximum(count * (count > 0).sum(axis=1, keepdims=True), 1)
    flat = count.ravel().astype(np.int64)
    ends = np.cumsum(flat)
    sample = np.repeat(leaves.first[reached].ravel() - (ends - flat), flat) + np.arange(int(ends[-1]))
    row = np.repeat(np.repeat(np.arange(len(features)), reached.shape[1]), flat)
    first = (leaves.origin[sample] + leaves.lead[sample] + 1).astype(np.int64)
    units = leaves.value_of[leaves.codes[sample]].astype(np.float64) * size[row]
    return row, np.repeat(weight.ravel(), flat), leaves.series[sample].astype(np.int64), first, units


def _of_rows(
    forests: tuple[Forest, ...], features: NDArray[np.float32], sizes: list[NDArray[np.float32]], most: int
) -> tuple[Ints, Ints, Ints, Doubles, Doubles, Doubles]:  # fmt: skip
    """Row, series, first period, weight, its series' weight and units of rows' (J, F) heaviest cases."""
    asked = zip(forests, shares(forests), sizes, strict=True)
    kept_by = [_samples(forest, share, features, size) for forest, share, size in asked]
    row, weight, series, target, units = (np.concatenate(columns) for columns in zip(*kept_by, strict=True))
    low, high = (int(target.min()), int(target.max())) if len(target) else (0, 0)
    width = high - low + 1
    n_series = int(series.max(initial=0)) + 1
    key = (row * n_series + series) * width + target - low
    cases, which = np.unique(key, return_inverse=True)
    share = np.bincount(which, weight, len(cases)).astype(np.float64)
    summed = np.bincount(which, weight * units, len(cases))
    group, member = np.unique(cases // width, return_inverse=True)  # one series in one row's forecast
    total = np.bincount(member, share, len(group)).astype(np.float64)
    row = group // n_series
    rank = _rank(row, total)
    kept = (rank[member] < most) & (_rank(member, share) < DATES)
    order = np.flatnonzero(kept)
    order = order[np.lexsort((-share[order], rank[member[order]], row[member[order]]))]
    member, first = member[order], (cases[order] % width + low).astype(np.int64)
    place = (group[member] % n_series).astype(np.int64)
    return row[member].astype(np.int64), place, first, share[order], total[member], summed[order] / share[order]


def _rank(group: NDArray[np.int64], value: Doubles) -> Ints:
    """(J,) place of each value among those of its group, the greatest first; groups (J,) ascend."""
    order = np.lexsort((-value, group))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(group, group[order])
    return rank
