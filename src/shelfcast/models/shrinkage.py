"""Empirical Bayes on a tree: coefficients of units (series) drawn around those of their parents (items, groups, all).

A unit's true coefficients are normal around its parent's with variances T on the diagonal; its data speak as evidence:
information A (the precision of its own estimate) and score A b. A coefficient that a unit's data do not identify brings
no information, so no unit needs an estimate of its own. Evidence is summed up the tree and the posteriors are passed
down, each unit's own evidence taken out of its parent's first, so nothing counts twice (Gaussian message passing on a
tree is exact; here cross-covariances of the prior are dropped, so that an unidentified coefficient is exactly the
parent's). T comes from the method of moments (DerSimonian and Laird 1986; iterated, Paule and Mandel 1982).

Axes: U units, V parents, J coefficients, F families, each with its own T.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

FEW = 8  # units under which a family takes the variance of all families
_ROUNDS = 5
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True)
class Evidence:
    """What data say of the coefficients of U units.

    Parameters
    ----------
    information : (U, J, J) inverse variance of the own estimate; zero rows and columns where not identified.
    score : (U, J) information times the own estimate.
    """

    information: Array
    score: Array

    def masked(self, known: Mask) -> "Evidence":
        """Without what is said of coefficients outside `known` (U, J), taken to be zero."""
        both = known[:, :, None] & known[:, None, :]
        return Evidence(np.where(both, self.information, 0.0), np.where(known, self.score, 0.0))

    def estimates(self, known: Mask) -> tuple[Array, Array]:
        """Own estimates (U, J) and their variances, of the coefficients in `known`; 0 and 1 elsewhere."""
        masked = self.masked(known)
        filled = masked.information + np.where(known, 0.0, 1.0)[:, :, None] * np.eye(known.shape[1])
        variance = _inverse(filled)
        return _times(variance, masked.score), np.diagonal(variance, axis1=1, axis2=2).copy()


@dataclass(frozen=True)
class Posterior:
    """Normal posterior of U units: mean (U, J) and covariance (U, J, J)."""

    mean: Array
    covariance: Array

    @property
    def deviation(self) -> Array:
        """(U, J) standard deviation."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))


def identified(gram: Array, least: Array) -> Mask:
    """(U, J) whether the data tell a coefficient.

    A coefficient counts where its column's sum of squares about the others (which it regresses on) reaches `least` (J,)
    and a thousandth of the plain one. The first column is judged against all others; each further one against the
    others that are not already given up: a price that always moves with a flag is given up, the flag is not.
    """
    n_columns = gram.shape[1]
    known = np.diagonal(gram, axis1=1, axis2=2) >= least
    for j in range(n_columns):
        use = known | (np.arange(n_columns) == j)
        both = use[:, :, None] & use[:, None, :]
        ridge = np.where(use, 1e-9 * (1 + np.diagonal(gram, axis1=1, axis2=2)), 1.0)
        inverse = np.linalg.inv(np.where(both, gram, 0.0) + ridge[:, :, None] * np.eye(n_columns))
        alone = 1.0 / inverse[:, j, j]
        known[:, j] &= (alone >= least[j]) & (alone >= 1e-3 * gram[:, j, j])
    return np.asarray(known)


def spread(estimate: Array, variance: Array, known: Mask, parent: Ints, family: Ints, *, unknown: float) -> Array:
    """(F, J) variance of true coefficients around their parent's, by the method of moments.

    With weights a = 1 / (variance + T) and m_p the weighted mean of parent p's units, T solves
    T = sum_p [sum a (b - m_p)^2 - (sum a v - sum a^2 v / sum a)] / sum_p [sum a - sum a^2 / sum a], by iteration.
    What is told is the mean of T given that it is positive, its estimate being normal with variance
    2 (units - parents) / scale^2: an estimate of 0 from few units would call them all alike. Parents with one unit tell
    nothing. A family with fewer than `FEW` units takes the variance of all.

    Parameters
    ----------
    estimate, variance : (U, J) own estimates and their sampling variances.
    known : (U, J) which of them are identified.
    unknown : T where all families together have fewer than two units beside the first of each parent.
    parent : (U,) parent of each unit. family : (V,) family of each parent.
    """
    columns = [
        _spread_column(estimate[:, j], variance[:, j], known[:, j], parent, family, unknown)
        for j in range(known.shape[1])
    ]
    return np.maximum(np.stack(columns, axis=1), _LEAST_VARIANCE)


def _spread_column(b: Array, v: Array, known: Mask, parent: Ints, family: Ints, unknown: float) -> Array:
    b, v, parent = b[known], v[known], parent[known]
    n_parents, n_families = len(family), int(family.max(initial=0)) + 1
    units = np.bincount(parent, minlength=n_parents)
    free = np.bincount(family, weights=np.maximum(units - 1, 0), minlength=n_families)
    found = np.zeros(n_families)
    for _ in range(_ROUNDS):
        a = 1.0 / (v + found[family[parent]] + 1e-9)
        total = np.bincount(parent, weights=a, minlength=n_parents)
        safe = np.where(total > 0, total, 1.0)
        mean = np.bincount(parent, weights=a * b, minlength=n_parents) / safe
        blurred = np.bincount(parent, weights=a * a * v, minlength=n_parents) / safe
        noise = np.bincount(parent, weights=a * v, minlength=n_parents) - blurred
        over = np.bincount(parent, weights=a * (b - mean[parent]) ** 2, minlength=n_parents) - noise
        scale = total - np.bincount(parent, weights=a * a, minlength=n_parents) / safe
        excess = np.bincount(family, weights=over, minlength=n_families)
        scales = np.bincount(family, weights=scale, minlength=n_families)
        every = max(excess.sum(), 0.0) / scales.sum() if free.sum() >= 2 else unknown
        own = np.maximum(excess, 0.0) / np.where(scales > 0, scales, 1.0)
        found = np.where(free + 1 >= FEW, own, every)
    if free.sum() < 2:
        return found
    whole = free + 1 >= FEW
    raw = np.where(whole, excess / np.where(scales > 0, scales, 1.0), excess.sum() / scales.sum())
    sure = np.where(
        whole, np.sqrt(2 * free) / np.where(scales > 0, scales, 1.0), np.sqrt(2 * free.sum()) / scales.sum()
    )
    return _positive_mean(raw, sure)


def _positive_mean(value: Array, deviation: Array) -> Array:
    """Mean of normals (F,) given that they are positive."""
    unit = NormalDist()
    z = np.maximum(value / deviation, -8.0)
    density, above = (np.array([f(at) for at in z]) for f in (unit.pdf, unit.cdf))
    return np.asarray(value + deviation * density / above)


def upward(
    evidence: Evidence, variance: Array, parent: Ints, n_parents: int, design: Array
) -> tuple[Evidence, Evidence]:
    """What units say of their parents' coefficients: each unit's message, and their sums by parent.

    A message is the evidence blurred by T: information (I + A T)^-1 A, score (I + A T)^-1 A b.

    Parameters
    ----------
    evidence : of U units. variance : (U, J) T of each.
    design : (V,) at least 1: how much the units of a parent repeat each other (errors that they share); divides.
    """
    blur = _inverse(np.eye(variance.shape[1]) + evidence.information * variance[:, None, :])
    weaker = 1.0 / design[parent]
    information = blur @ evidence.information * weaker[:, None, None]
    score = _times(blur, evidence.score) * weaker[:, None]
    total = np.zeros((n_parents, *information.shape[1:]))
    summed = np.zeros((n_parents, score.shape[1]))
    np.add.at(total, parent, information)
    np.add.at(summed, parent, score)
    return Evidence(total, summed), Evidence(information, score)


def downward(
    evidence: Evidence, known: Mask, message: Evidence, above: Posterior, parent: Ints, variance: Array
) -> Posterior:  # fmt: skip
    """Posterior of units from their own evidence (unmasked) and their parent's posterior without their message."""
    total = _inverse(above.covariance)
    rest = _inverse(_positive(total[parent] - message.information))
    mean = _times(rest, _times(total, above.mean)[parent] - message.score)
    return combine(evidence, known, mean, np.diagonal(rest, axis1=1, axis2=2) + variance)


def combine(evidence: Evidence, known: Mask, mean: Array, variance: Array) -> Posterior:
    """Posterior of own evidence and a prior with independent coefficients; those outside `known` stay the prior's."""
    both = known[:, :, None] & known[:, None, :]
    information = np.where(both, evidence.information, 0.0)
    prior = (1.0 / np.maximum(variance, 1e-10))[:, :, None] * np.eye(known.shape[1])
    covariance = _inverse(information + prior)
    surprise = np.where(known, evidence.score - _times(evidence.information, mean), 0.0)
    return Posterior(mean + _times(covariance, surprise), covariance)


def _positive(precision: Array) -> Array:
    """A precision kept positive where rounding took a little too much away."""
    ridge = 1e-9 * (1.0 + np.trace(precision, axis1=1, axis2=2))
    return np.asarray(precision + np.maximum(ridge, 1e-9)[:, None, None] * np.eye(precision.shape[1]))


def _times(matrix: Array, vector: Array) -> Array:
    """(U, J) product of each matrix with its vector."""
    return np.asarray((matrix @ vector[:, :, None])[:, :, 0])


def _inverse(matrix: Array) -> Array:
    """(U, J, J) inverses."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
