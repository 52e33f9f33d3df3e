"""The scores there are, and how each is added up over the slices of one origin.

Definitions, over the cells of a slice (a level's loss where `level` is asked for, else the mean over levels):

    pinball          mean pinball loss, units
    wql              2 sum(pinball) / sum(|y|)
    scaled_pinball   per series: mean pinball / one-step scale; plain mean over series; mean over origins
    wspl             the same, weighted over series (M5's WSPL); where the panel holds aggregates, the mean over them
    crps             mean CRPS of the grid, units
    coverage_below, coverage_at_most   shares of y < q and y <= q, always by level
    bias, wape       sum(f - y) / sum(|y|) and sum(|f - y|) / sum(|y|)
    rmsse, wrmsse    per series: root of mean squared error / squared one-step scale; then as scaled_pinball and wspl
    crossing         share of forecasts whose quantiles fall as the level rises

and the scores of revisions (`volatility`), where windows were forecast from more than one origin: revision, sfpc,
volatility, excess_volatility, belief_movement, belief_reduction, order_flips.

f is the mean forecast, or the median where there is none. `weight` is what the value is a mean over: units of demand
for wql, bias and wape; pairs of series and origin for the scaled scores; cells for the others.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shelfcast import scoring, volatility
from shelfcast.cells import Cells, Said
from shelfcast.data.aggregates import AGGREGATE
from shelfcast.segments import Slices

Array = NDArray[np.float64]


class Metric(StrEnum):
    """Scores that `evaluate` knows; lower is better but for coverage (near its level) and bias (near 0)."""

    PINBALL = "pinball"
    WQL = "wql"
    SCALED_PINBALL = "scaled_pinball"
    WSPL = "wspl"
    CRPS = "crps"
    COVERAGE_BELOW = "coverage_below"
    COVERAGE_AT_MOST = "coverage_at_most"
    BIAS = "bias"
    WAPE = "wape"
    RMSSE = "rmsse"
    WRMSSE = "wrmsse"
    CROSSING = "crossing"
    REVISION = "revision"
    SFPC = "sfpc"
    VOLATILITY = "volatility"
    EXCESS_VOLATILITY = "excess_volatility"
    BELIEF_MOVEMENT = "belief_movement"
    BELIEF_REDUCTION = "belief_reduction"
    ORDER_FLIPS = "order_flips"


LOSSES = {Metric.PINBALL, Metric.WQL, Metric.SCALED_PINBALL, Metric.WSPL}
OF_REVISIONS = {
    Metric.REVISION, Metric.SFPC, Metric.VOLATILITY, Metric.EXCESS_VOLATILITY, Metric.BELIEF_MOVEMENT,
    Metric.BELIEF_REDUCTION, Metric.ORDER_FLIPS,
}  # fmt: skip
BY_LEVEL = LOSSES | {Metric.REVISION, Metric.VOLATILITY, Metric.EXCESS_VOLATILITY}
COVERAGE = {Metric.COVERAGE_BELOW, Metric.COVERAGE_AT_MOST}
WEIGHTED = {Metric.WSPL, Metric.WRMSSE}


@dataclass(frozen=True)
class Term:
    """One metric over slices: value = numerator / denominator.

    numerator : (P, G, H, Q or 1). denominator, weight, left_out : (P, G, H). n_cells : the same, scored or not.
    """

    numerator: Array
    denominator: Array
    weight: Array
    left_out: Array
    n_cells: Array = field(default_factory=lambda: np.zeros(()))

    def __add__(self, other: "Term") -> "Term":
        return Term(
            self.numerator + other.numerator, self.denominator + other.denominator,
            self.weight + other.weight, self.left_out + other.left_out, self.n_cells + other.n_cells,
        )  # fmt: skip


def terms_of(cells: Cells, slices: Slices, chosen: Collection[Metric], by_level: bool) -> dict[Metric, Term]:
    """Every metric of one origin over slices."""
    n = slices.by_series(cells.scored, cells.flagged)
    missing = slices.by_series(~cells.scored, cells.flagged)
    made: dict[Metric, Term] = {}
    if LOSSES & set(chosen):
        made |= _loss_terms(cells, slices, chosen, n, missing, by_level)
    if COVERAGE & set(chosen):
        made |= _coverage_terms(cells, slices, n, missing)
    made |= _point_terms(cells, slices, chosen, n, missing)
    n_cells = slices.groups.sum(n + missing)
    made = {metric: replace(term, n_cells=n_cells) for metric, term in made.items()}
    if OF_REVISIONS & set(chosen):
        made |= _revision_terms(cells, slices, chosen, by_level)
    return {metric: made[metric] for metric in chosen}


def _loss_terms(
    cells: Cells, slices: Slices, chosen: Collection[Metric], n: Array, missing: Array, by_level: bool
) -> dict[Metric, Term]:
    """The four scores made of pinball losses."""
    total = slices.groups.sum
    losses = (slices.by_series(cells.loss(q), cells.flagged) for q in range(len(cells.levels)))
    scale = cells.scale[:, None] if {Metric.SCALED_PINBALL, Metric.WSPL} & set(chosen) else np.ones((len(n[0]), 1))
    valid = np.asarray((n > 0) & (scale > 0))
    even_shares = valid.astype(np.float64)
    shares = shares_of(cells, slices, valid) if Metric.WSPL in chosen else even_shares
    plain, even, weighted = [], [], []
    for loss in losses:
        spl = np.where(valid, scoring.scaled(scoring.ratio(loss, n), scale), 0.0)
        plain.append(total(loss))
        even.append(total(spl))
        weighted.append(total(spl * shares))
    sums = [np.stack(parts, axis=-1) for parts in (plain, even, weighted)]
    sums = sums if by_level else [part.mean(axis=-1, keepdims=True) for part in sums]
    count, left, units = total(n), total(missing), total(slices.by_series(np.abs(cells.demand), cells.flagged))
    pairs, lost = total(even_shares), total(np.where(valid, missing, missing + n))
    even_term = Term(sums[1], pairs, pairs, lost)
    return {
        Metric.PINBALL: Term(sums[0], count, count, left),
        Metric.WQL: Term(2 * sums[0], units, units, left),
        Metric.SCALED_PINBALL: _origin_mean(even_term),
        Metric.WSPL: _origin_mean(Term(sums[2], total(shares), pairs, lost)),
    }


def _coverage_terms(cells: Cells, slices: Slices, n: Array, missing: Array) -> dict[Metric, Term]:
    total = slices.groups.sum
    below, at_most = [], []
    for q in range(len(cells.levels)):
        quantile = cells.values[..., q]
        below.append(total(slices.by_series(cells.scored & (cells.demand < quantile), cells.flagged)))
        at_most.append(total(slices.by_series(cells.scored & (cells.demand <= quantile), cells.flagged)))
    count, left = total(n), total(missing)
    return {
        Metric.COVERAGE_BELOW: Term(np.stack(below, axis=-1), count, count, left),
        Metric.COVERAGE_AT_MOST: Term(np.stack(at_most, axis=-1), count, count, left),
    }


def _point_terms(
    cells: Cells, slices: Slices, chosen: Collection[Metric], n: Array, missing: Array
) -> dict[Metric, Term]:
    """Scores without a level: of the point forecast and of the whole law."""

    def summed(values: NDArray[np.generic]) -> Array:
        return slices.groups.sum(slices.by_series(values, cells.flagged))[..., None]

    error = np.where(cells.scored, cells.point - cells.demand, 0.0)
    count, left = slices.groups.sum(n), slices.groups.sum(missing)
    units = summed(np.abs(cells.demand))[..., 0]
    made = {
        Metric.BIAS: Term(summed(error), units, units, left),
        Metric.WAPE: Term(summed(np.abs(error)), units, units, left),
    }
    if Metric.CRPS in chosen:
        crps = np.where(cells.scored, scoring.crps(cells.demand, cells.values, cells.levels), 0.0)
        made[Metric.CRPS] = Term(summed(crps), count, count, left)
    if Metric.CROSSING in chosen:
        made[Metric.CROSSING] = Term(
            summed(scoring.crosses(cells.values)), count + left, count + left, np.zeros_like(left)
        )  # fmt: skip
    if {Metric.RMSSE, Metric.WRMSSE} & set(chosen):
        squares = scoring.ratio(slices.by_series(error**2, cells.flagged), n)
        made |= _rmsse_terms(cells, slices, squares, n, missing, weighted=Metric.WRMSSE in chosen)
    return made


def _rmsse_terms(
    cells: Cells, slices: Slices, squares: Array, n: Array, missing: Array, *, weighted: bool
) -> dict[Metric, Term]:
    """RMSSE plain and weighted, from the mean squared error (P, N, H) of each series."""
    total = slices.groups.sum
    scale = cells.squared_scale[:, None]
    valid = np.asarray((n > 0) & (scale > 0))
    rmsse = np.where(valid, np.sqrt(scoring.scaled(squares, scale)), 0.0)
    even = valid.astype(np.float64)
    shares = shares_of(cells, slices, valid) if weighted else even
    pairs, lost = total(even), total(np.where(valid, missing, missing + n))
    return {
        Metric.RMSSE: _origin_mean(Term(total(rmsse)[..., None], pairs, pairs, lost)),
        Metric.WRMSSE: _origin_mean(Term(total(rmsse * shares)[..., None], total(shares), pairs, lost)),
    }


def _revision_terms(cells: Cells, slices: Slices, chosen: Collection[Metric], by_level: bool) -> dict[Metric, Term]:
    """Scores of what an origin changed of what the origins before had said; nothing where there were none."""

    def mean_term(values: Array, there: NDArray[np.bool_]) -> Term:
        count = slices.sum(np.broadcast_to(there, cells.scored.shape), cells.flagged)
        total = slices.sum(np.where(there, values, 0.0), cells.flagged)
        return Term(total[..., None], count, count, np.zeros_like(count), count)

    nothing = Said(np.zeros(cells.scored.shape[1], dtype=bool), cells.values, cells.point)
    old, older = (cells.before[n] if len(cells.before) > n else nothing for n in (0, 1))
    made = {Metric.SFPC: mean_term(scoring.symmetric_change(old.point, cells.point), old.there)}
    twice = old.there & older.there
    if {Metric.BELIEF_MOVEMENT, Metric.BELIEF_REDUCTION} & set(chosen):
        moved, fell = volatility.beliefs(cells, old, older)
        made |= {Metric.BELIEF_MOVEMENT: mean_term(moved, twice), Metric.BELIEF_REDUCTION: mean_term(fell, twice)}
    if Metric.ORDER_FLIPS in chosen:
        made[Metric.ORDER_FLIPS] = mean_term(volatility.flips(cells, old, older), twice)
    return made | _law_terms(cells, old, slices, by_level)


def _law_terms(cells: Cells, old: Said, slices: Slices, by_level: bool) -> dict[Metric, Term]:
    """Revision, volatility and excess volatility: sums over the levels of observed windows, over their demand."""
    counted = cells.scored & old.there
    claims = volatility.claimed(cells, old)
    moved, claim, excess = list[Array](), list[Array](), list[Array]()
    for q in range(len(cells.levels)):
        size = np.abs(cells.values[..., q] - old.values[..., q])
        gained = scoring.pinball(cells.demand, old.values[..., q], cells.levels[q]) - cells.loss(q)
        for sums, value in ((moved, size), (claim, 2 * claims[..., q]), (excess, 2 * (claims[..., q] - gained))):
            sums.append(slices.sum(np.where(counted, value, 0.0), cells.flagged))
    there = slices.sum(np.broadcast_to(old.there, counted.shape), cells.flagged)
    units = slices.sum(np.where(counted, np.abs(cells.demand), 0.0), cells.flagged)
    left = there - slices.sum(counted, cells.flagged)
    made = {}
    for metric, sums in ((Metric.REVISION, moved), (Metric.VOLATILITY, claim), (Metric.EXCESS_VOLATILITY, excess)):
        stacked = np.stack(sums, axis=-1)
        stacked = stacked if by_level else stacked.mean(axis=-1, keepdims=True)
        made[metric] = Term(stacked, units, units, left, there)
    return made


def shares_of(cells: Cells, slices: Slices, valid: NDArray[np.bool_]) -> Array:
    """(P, N, H) weights that sum to 1 over the scored series of each slice and aggregate."""
    series = cells.panel.series
    finer = slices.groups.split(series[AGGREGATE]) if AGGREGATE in series.columns else slices.groups
    weight = np.where(valid, cells.weight[:, None], 0.0)
    return np.nan_to_num(scoring.ratio(weight, finer.sum(weight)[:, finer.place]))


def _origin_mean(term: Term) -> Term:
    """A term that averages over origins as wholes: each origin with anything to score counts once."""
    value = np.nan_to_num(scoring.ratio(term.numerator, term.denominator[..., None]))
    return Term(value, (term.denominator > 0).astype(np.float64), term.weight, term.left_out)


def total_of(terms: Sequence[Term]) -> Term:
    total = terms[0]
    for term in terms[1:]:
        total += term
    return total
