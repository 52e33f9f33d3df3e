"""Formulas against hand values, closed forms, integrals and properties."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shelfcast import scoring
from shelfcast.laws import Empirical, Grid, Normal

GOLDEN = json.loads((Path(__file__).parent / "golden" / "scores.json").read_text())
LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
units = st.floats(0, 1000, allow_nan=False)
levels = st.floats(0.01, 0.99)


def test_pinball_by_hand() -> None:
    demand, quantile = np.array([10.0, 10.0, 10.0]), np.array([12.0, 8.0, 10.0])
    np.testing.assert_allclose(scoring.pinball(demand, quantile, 0.9), [0.2, 1.8, 0.0])
    assert scoring.pinball(10.0, 12.0, 0.5) == 1.0, "no factor 2: half the absolute error"


@given(units, units, levels)
def test_pinball_is_never_negative(demand: float, quantile: float, level: float) -> None:
    assert scoring.pinball(demand, quantile, level) >= 0


@given(units, units, levels, st.floats(0.1, 100))
def test_pinball_scales_with_the_unit(demand: float, quantile: float, level: float, c: float) -> None:
    scaled = scoring.pinball(c * demand, c * quantile, level)
    assert scaled == pytest.approx(c * scoring.pinball(demand, quantile, level), rel=1e-9, abs=1e-9)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), levels, units)
def test_pinball_is_least_at_the_quantile(sample: list[int], level: float, other: float) -> None:
    demand = np.sort(np.array(sample, dtype=float))
    quantile = demand[min(int(np.ceil(level * len(demand))) - 1, len(demand) - 1)]
    best = scoring.pinball(demand, quantile, level).mean()
    assert best <= scoring.pinball(demand, other, level).mean() + 1e-9


def test_weighted_quantile_loss_by_hand() -> None:
    demand, quantile = np.array([[1.0, 3.0], [0.0, 4.0]]), np.array([[2.0, 2.0], [1.0, 4.0]])
    loss = scoring.pinball(demand, quantile, 0.5)
    assert scoring.weighted_quantile_loss(loss, demand) == pytest.approx(3 / 8), "sum |y - q| / sum y"
    np.testing.assert_allclose(scoring.weighted_quantile_loss(loss, demand, axis=1), [2 / 4, 1 / 4])
    where = np.array([[True, False], [True, True]])
    assert scoring.weighted_quantile_loss(loss, demand, where=where) == pytest.approx(2 / 5)
    np.testing.assert_allclose(scoring.weighted_quantile_loss([1.5], [8.0], axis=()), [3 / 8])
    assert np.isnan(scoring.weighted_quantile_loss([1.0], [0.0])), "no demand, no share of it"


def test_one_step_scale_by_hand() -> None:
    demand = np.array([0, 0, 2, 5, 1, 4, 4, 4, 0, 7, 9.0])
    observed = np.ones(11, dtype=bool)
    observed[9] = False
    indptr, counts = np.array([0, 5, 5, 8, 11]), np.array([[3, 4, 5], [0, 0, 0], [1, 3, 99], [0, 2, 3]])
    expected = [[np.nan, 3.0, 3.5], [np.nan] * 3, [np.nan, 0.0, 0.0], [np.nan] * 3]
    np.testing.assert_allclose(scoring.one_step_scale(demand, observed, indptr, counts), expected)
    squared = scoring.one_step_scale(demand, observed, indptr, counts, power=2)
    assert squared[0, 2] == pytest.approx((9 + 16) / 2)


def test_one_step_scale_leaves_out_pairs_not_observed() -> None:
    demand, observed = np.array([3.0, 0.0, 8.0, 10.0]), np.array([True, False, True, True])
    scale = scoring.one_step_scale(demand, observed, np.array([0, 4]), np.array([[4]]))
    assert scale[0, 0] == 2.0, "only 8 -> 10"


def test_scaled_loss_has_no_value_without_a_scale() -> None:
    np.testing.assert_allclose(scoring.scaled([3.0, 3.0, 3.0], [2.0, 0.0, np.nan]), [1.5, np.nan, np.nan])


def _integral(demand: float, quantiles: np.ndarray) -> float:
    """Twice the integral of the pinball loss by the midpoint rule."""
    a = (np.arange(200_000) + 0.5) / 200_000
    return float(2 * scoring.pinball(demand, Grid(LEVELS, quantiles).quantile(a), a).mean())


@pytest.mark.parametrize("demand", [0.0, 1.0, 2.0, 2.7, 4.0, 6.5, 9.0, 40.0])
@pytest.mark.parametrize("quantiles", [[0.0, 2.0, 4.0, 6.0, 9.0], [0.0, 0.0, 0.0, 1.0, 4.0], [3.0] * 5])
def test_crps_is_the_integral_of_pinball_losses(demand: float, quantiles: list[float]) -> None:
    made = scoring.crps(demand, np.array(quantiles), LEVELS)
    assert float(made) == pytest.approx(_integral(demand, np.array(quantiles)), abs=2e-4)


def test_crps_of_a_point_is_the_absolute_error() -> None:
    np.testing.assert_allclose(scoring.crps([3.0, 8.0], [[5.0], [5.0]], [0.5]), [2.0, 3.0])


def test_crps_on_a_fine_grid_is_that_of_the_law() -> None:
    """Normal(mu, sd): sd (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)), Gneiting and Raftery (2007)."""
    law, y = Normal(np.array(100.0), np.array(10.0)), 112.0
    grid = (np.arange(2000) + 0.5) / 2000
    z = (y - 100) / 10
    phi, cdf = np.exp(-z * z / 2) / np.sqrt(2 * np.pi), float(law.cdf(y))
    exact = 10 * (z * (2 * cdf - 1) + 2 * phi - 1 / np.sqrt(np.pi))
    assert float(scoring.crps(y, law.quantile(grid), grid)) == pytest.approx(exact, abs=5e-3)


@given(st.lists(units, min_size=5, max_size=5), units, st.floats(0.1, 50))
def test_crps_is_not_negative_and_scales(values: list[float], demand: float, c: float) -> None:
    quantiles = np.sort(np.array(values))
    made = float(scoring.crps(demand, quantiles, LEVELS))
    assert made >= -1e-9
    assert float(scoring.crps(c * demand, c * quantiles, LEVELS)) == pytest.approx(c * made, rel=1e-6, abs=1e-6)


def test_coverage_of_counts_brackets_the_level() -> None:
    demand = np.array([0, 0, 1, 2, 5.0])
    below, at_most = scoring.coverage(demand, np.array([0, 0, 1, 1, 9.0]))
    assert (float(below), float(at_most)) == (1 / 5, 4 / 5)
    below, at_most = scoring.coverage(demand, 1.0, where=np.array([True, True, True, False, False]))
    assert (float(below), float(at_most)) == (2 / 3, 1.0)


def test_coverage_of_a_known_law_is_its_level() -> None:
    rng = np.random.default_rng(5)
    demand = rng.normal(100, 10, 20_000)
    quantiles = Normal(np.array(100.0), np.array(10.0)).quantile(LEVELS)
    below, at_most = scoring.coverage(demand[:, None], quantiles, axis=0)
    np.testing.assert_allclose(below, LEVELS, atol=0.012)
    np.testing.assert_array_equal(below, at_most)


def test_bias_and_wape_by_hand() -> None:
    demand, point, where = np.array([4.0, 6.0, 99.0]), np.array([5.0, 3.0, 0.0]), np.array([True, True, False])
    assert scoring.bias(demand, point, where=where) == pytest.approx(-0.2)
    assert scoring.wape(demand, point, where=where) == pytest.approx(0.4)


def test_crossing_rows_are_found() -> None:
    np.testing.assert_array_equal(scoring.crosses([[1, 1, 2], [1, 3, 2], [0, 0, 0]]), [False, True, False])


def test_revision_by_hand() -> None:
    assert scoring.symmetric_change([1.0, 0.0, 2.0], [3.0, 0.0, 2.0]) == pytest.approx([100.0, 0.0, 0.0])


def test_bootstrap_of_equal_losses_is_exactly_zero() -> None:
    rng = np.random.default_rng(0)
    loss = rng.random(400)
    made = scoring.paired_bootstrap(loss, loss, 1.0, np.arange(400) // 4, 200, rng)
    assert made == (0.0, 0.0, 0.0)


def test_bootstrap_sees_a_clear_difference_and_not_noise() -> None:
    rng = np.random.default_rng(1)
    b = rng.gamma(2.0, 1.0, 500)
    better = scoring.paired_bootstrap(b * rng.uniform(0.7, 1.1, 500), b, 1.0, np.arange(500), 500, rng)
    assert better.low < better.difference < better.high < 0
    same = scoring.paired_bootstrap(b * rng.uniform(0.8, 1.2, 500), b, 1.0, np.arange(500), 500, rng)
    assert same.low < 0 < same.high


def test_bootstrap_keeps_a_series_together() -> None:
    """Ten copies of each loss tell nothing new, so the interval must not shrink."""
    rng = np.random.default_rng(2)
    a, b = rng.random(50), rng.random(50)
    once = scoring.paired_bootstrap(a, b, 1.0, np.arange(50), 4000, np.random.default_rng(3))
    copied = scoring.paired_bootstrap(
        np.repeat(a, 10), np.repeat(b, 10), 1.0, np.repeat(np.arange(50), 10), 4000, np.random.default_rng(3)
    )
    np.testing.assert_allclose(once, copied)
    width = 1.96 * np.std(a - a.sum() / b.sum() * b) / np.sqrt(50) / b.mean()
    assert (once.high - once.low) / 2 == pytest.approx(width, rel=0.15), "the ratio's large-sample interval"


def test_bootstrap_of_one_series_claims_nothing() -> None:
    made = scoring.paired_bootstrap([1.0, 2.0], [2.0, 4.0], 1.0, [7, 7], 50, np.random.default_rng(0))
    assert made.difference == -0.5
    assert np.isnan([made.low, made.high]).all()


def test_bootstrap_weights_leave_cells_out() -> None:
    rng = np.random.default_rng(4)
    weight = np.array([1.0, 1.0, 0.0, 2.0])
    made = scoring.paired_bootstrap([1, 2, 50, 1.0], [2, 2, 1, 2.0], weight, np.arange(4), 50, rng)
    assert made.difference == pytest.approx((1 + 2 + 2) / (2 + 2 + 4) - 1)


def test_guide_example_in_fractions() -> None:
    golden = GOLDEN["WRMSSE of two products and their total"]
    rmsse, dollars = np.array([0.8, 0.7, 0.77]), np.array([10.0, 12.0, 22.0])
    score = np.mean([rmsse[:2] @ dollars[:2] / dollars[:2].sum(), rmsse[2]])
    assert score == pytest.approx(golden["value"], abs=golden["tolerance"])


def test_empirical_quantiles_minimise_their_own_loss() -> None:
    sample = np.random.default_rng(6).poisson(3.0, 200).astype(float)
    quantile = Empirical.of(sample[None]).quantile([0.9])[0, 0]
    best = scoring.pinball(sample, quantile, 0.9).mean()
    assert all(best <= scoring.pinball(sample, quantile + step, 0.9).mean() + 1e-12 for step in (-2, -1, 1, 2))
