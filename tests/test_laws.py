"""Each law against closed forms, slow sums and numpy; quantile and cdf are inverse."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shelfcast.laws import Counts, Empirical, Grid, Normal, QuantileFunction, mixture

LEVELS = np.array([0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99])


def examples():
    rng = np.random.default_rng(0)
    return {
        "grid": Grid(LEVELS, np.sort(rng.gamma(2.0, 5.0, (3, 7)), axis=-1)),
        "empirical": Empirical.of(rng.gamma(2.0, 5.0, (3, 40)), rng.random((3, 40)) < 0.8),
        "normal": Normal(np.array([10.0, 1.0, 0.0]), np.array([2.0, 3.0, 1.0])),
        "poisson": Counts.poisson([0.2, 3.0, 40.0]),
        "negative-binomial": Counts.negative_binomial([0.2, 3.0, 40.0], [1.5, 0.5, 0.1]),
    }


@pytest.fixture(params=sorted(examples()))
def law(request):
    return examples()[request.param]


# --- every law -----------------------------------------------------------------------------------------------------


def test_shapes_and_protocol(law):
    assert isinstance(law, QuantileFunction)
    assert law.shape == (3,)
    assert law.quantile(LEVELS).shape == (3, 7)
    assert law.quantile(0.5).shape == (3, 1)
    assert law.cdf(1.0).shape == law.cdf([1.0, 2.0, 3.0]).shape == law.mean().shape == (3,)
    assert law.sample(5, np.random.default_rng(0)).shape == (3, 5)


def test_quantiles_are_non_negative_and_ordered(law):
    found = law.quantile(np.linspace(0.001, 0.999, 300))
    assert (found >= 0).all()
    assert (np.diff(found, axis=-1) >= 0).all()


def test_quantile_and_cdf_are_inverse(law):
    """The cdf at a quantile reaches its level; just below it, it does not exceed it (interpolated laws apart)."""
    levels = np.linspace(0.02, 0.98, 25)
    found = law.quantile(levels)
    for q, level in enumerate(levels):
        slack = 1 / 30 if isinstance(law, Empirical) else 1e-9
        assert (law.cdf(found[:, q] + 1e-9) >= level - slack).all()
        assert (law.cdf(found[:, q] - 1e-6)[found[:, q] > 0] <= level + slack + 1e-6).all()


def test_the_cdf_grows_from_zero_to_one(law):
    values = np.concatenate(([-1.0], np.linspace(0, 400, 200)))
    found = np.stack([law.cdf(v) for v in values])
    assert (found[0] == 0).all()
    assert found[-1] == pytest.approx(1.0)
    assert (np.diff(found, axis=0) >= -1e-12).all()


def test_samples_have_the_mean_and_the_cdf(law):
    draws = law.sample(20_000, np.random.default_rng(1))
    error = draws.std(axis=-1) / math.sqrt(draws.shape[-1])
    assert (np.abs(draws.mean(axis=-1) - law.mean()) < 5 * error).all()
    median = law.quantile(0.5)[:, 0]
    assert (draws <= median[:, None] + 1e-9).mean(axis=-1) == pytest.approx(law.cdf(median + 1e-9), abs=0.02)
    assert (draws >= 0).all()


def test_a_seed_gives_one_sample(law):
    one, same = (law.sample(8, np.random.default_rng(3)) for _ in range(2))
    assert (one == same).all()


# --- grid ----------------------------------------------------------------------------------------------------------


def test_grid_by_hand():
    law = Grid(np.array([0.1, 0.5, 0.9]), np.array([[0.0, 10.0, 30.0]]))
    assert law.quantile([0.05, 0.1, 0.3, 0.7, 0.9, 0.95])[0].tolist() == pytest.approx([0, 0, 5, 20, 30, 30])
    assert [float(law.cdf(v)[0]) for v in (-1, 0, 5, 10, 20, 29.9, 30, 99)] == pytest.approx(
        [0, 0.1, 0.3, 0.5, 0.7, 0.898, 1, 1]
    )
    assert law.mean()[0] == pytest.approx(0.1 * 0 + 0.4 * 5 + 0.4 * 20 + 0.1 * 30)
    assert Grid(law.levels, law.values + 2).mean()[0] == pytest.approx(law.mean()[0] + 2)


def test_grid_cdf_jumps_over_equal_quantiles():
    law = Grid(np.array([0.1, 0.5, 0.9]), np.array([[0.0, 0.0, 4.0]]))
    assert law.cdf(0.0)[0] == 0.5
    assert law.cdf(2.0)[0] == pytest.approx(0.7)


@given(hnp.arrays(np.float64, (2, 7), elements=st.floats(0, 1e6)))
def test_grid_gives_back_its_values(values):
    values = np.sort(values, axis=-1)
    assert Grid(LEVELS, values).quantile(LEVELS) == pytest.approx(values, rel=1e-12, abs=1e-9)


# --- empirical -----------------------------------------------------------------------------------------------------


@given(
    hnp.arrays(np.float64, (3, 9), elements=st.floats(0, 1e6)),
    hnp.arrays(bool, (3, 9)),
    st.lists(st.floats(0.001, 0.999), min_size=1, max_size=5),
)
def test_empirical_quantiles_are_numpys(values, valid, levels):
    valid[:, 0] = True
    law = Empirical.of(values, valid)
    for row in range(3):
        kept = values[row, valid[row]]
        assert law.quantile(levels)[row] == pytest.approx(np.quantile(kept, levels), rel=1e-9, abs=1e-9)
        assert law.mean()[row] == pytest.approx(kept.mean(), rel=1e-9, abs=1e-9)
        assert law.cdf(kept.max())[row] == 1.0
        assert law.cdf(kept[0])[row] == pytest.approx((kept <= kept[0]).mean())


def test_one_value_is_every_quantile():
    law = Empirical.of([[7.0, 99.0]], [[True, False]])
    assert law.quantile(LEVELS)[0].tolist() == [7.0] * 7
    assert law.sample(50, np.random.default_rng(0)).max() == 7.0
    assert law.cdf(np.inf)[0] == 1.0


# --- normal --------------------------------------------------------------------------------------------------------


def test_normal_quantiles_and_clipping():
    law = Normal(np.array([10.0, 0.0]), np.array([2.0, 1.0]))
    assert law.quantile([0.025, 0.5, 0.975])[0] == pytest.approx([10 - 3.919928, 10, 10 + 3.919928], abs=1e-5)
    assert law.quantile([0.1, 0.5, 0.975])[1] == pytest.approx([0, 0, 1.959964], abs=1e-5)
    assert law.cdf([10.0, 0.0]) == pytest.approx([0.5, 0.5])
    assert law.cdf([12.0, -0.1]) == pytest.approx([0.8413447, 0.0], abs=1e-6)


def test_normal_mean_after_clipping():
    """Closed form: a standard normal cut at zero has mean 1 / sqrt(2 pi); far above zero nothing is cut."""
    law = Normal(np.array([0.0, 50.0, -3.0]), np.array([1.0, 2.0, 1.0]))
    grid = np.linspace(-12, 70, 400_001)
    density = np.exp(-((grid[:, None] - law.centre) ** 2) / 2 / law.sd**2) / law.sd / math.sqrt(2 * math.pi)
    slow = (np.maximum(grid, 0)[:, None] * density).sum(axis=0) * (grid[1] - grid[0])
    assert law.mean() == pytest.approx(slow, abs=1e-6)
    assert law.mean()[:2] == pytest.approx([1 / math.sqrt(2 * math.pi), 50.0])


def test_a_normal_without_spread_is_a_point():
    law = Normal(np.array([5.0, 0.0]), np.array([0.0, 0.0]))
    assert law.quantile([0.01, 0.99]).tolist() == [[5.0, 5.0], [0.0, 0.0]]
    assert law.mean().tolist() == [5.0, 0.0]
    assert law.cdf([5.0, 0.0]).tolist() == [1.0, 1.0]
    assert law.cdf([4.999, -1.0]).tolist() == [0.0, 0.0]


# --- counts --------------------------------------------------------------------------------------------------------


def slow_poisson(mean, k):
    return math.exp(k * math.log(mean) - mean - math.lgamma(k + 1))


def slow_negative_binomial(mean, dispersion, k):
    size = 1 / dispersion
    p = size / (size + mean)
    log = math.lgamma(k + size) - math.lgamma(size) - math.lgamma(k + 1) + size * math.log(p) + k * math.log1p(-p)
    return math.exp(log)


@pytest.mark.parametrize("mean", [0.01, 0.7, 5.0, 300.0])
def test_poisson_probabilities(mean):
    law = Counts.poisson([mean])
    slow = [slow_poisson(mean, k) for k in range(law.table.shape[-1])]
    assert law.table[0] == pytest.approx(slow, rel=1e-9, abs=1e-12)
    assert law.mean()[0] == pytest.approx(mean, rel=1e-9)
    k = int(mean)
    assert law.cdf(k + 0.5)[0] == pytest.approx(sum(slow[: k + 1]), rel=1e-9)


@pytest.mark.parametrize(("mean", "dispersion"), [(0.3, 0.5), (4.0, 0.2), (4.0, 2.0), (60.0, 0.05)])
def test_negative_binomial_probabilities_and_moments(mean, dispersion):
    law = Counts.negative_binomial([mean], [dispersion])
    k = np.arange(law.table.shape[-1])
    slow = [slow_negative_binomial(mean, dispersion, int(i)) for i in k]
    assert law.table[0] == pytest.approx(slow, rel=1e-6, abs=1e-9)
    assert law.mean()[0] == pytest.approx(mean, rel=1e-4)
    variance = (law.table[0] * (k - mean) ** 2).sum()
    assert variance == pytest.approx(mean + dispersion * mean**2, rel=5e-3)


@given(st.floats(0.01, 50), st.floats(0.001, 0.999))
def test_a_count_quantile_is_the_smallest_that_reaches_its_level(mean, level):
    law = Counts.poisson([mean])
    found = int(law.quantile(level)[0, 0])
    slow = np.cumsum([slow_poisson(mean, k) for k in range(found + 1)])
    assert slow[found] >= level - 1e-9
    assert found == 0 or slow[found - 1] < level + 1e-9


def test_no_demand_is_a_law_too():
    for law in (Counts.poisson([0.0, 2.0]), Counts.negative_binomial([0.0, 2.0], 0.5)):
        assert law.quantile([0.1, 0.999])[0].tolist() == [0.0, 0.0]
        assert law.mean()[0] == 0.0
        assert law.mean()[1] == pytest.approx(2.0, rel=1e-4)
        assert law.cdf(0.0)[0] == 1.0


def test_a_mixture_by_hand_and_of_equal_laws():
    two = mixture([Counts(np.eye(9)[[2]]), Counts(np.eye(9)[[8]])], [[0.75, 0.25]], [0.1, 0.7, 0.8])
    assert two.values.tolist() == [[2.0, 2.0, 8.0]]
    law, levels = Normal(np.array([50.0]), np.array([8.0])), [0.05, 0.5, 0.9, 0.99]
    same = mixture([law, law], [[0.3, 0.7]], levels)
    assert same.values == pytest.approx(law.quantile(levels), abs=0.3)


def test_a_mixture_is_each_law_with_its_chance():
    laws = [Normal(np.array([20.0, 20.0]), np.array([4.0, 4.0])), Normal(np.array([40.0, 40.0]), np.array([6.0, 6.0]))]
    weights = np.array([[0.6, 0.4], [1.0, 0.0]])
    levels = np.array([0.1, 0.5, 0.9, 0.97])
    made = mixture(laws, weights, levels)
    for q, level in enumerate(levels):
        reached = sum(w * law.cdf(made.values[:, q]) for w, law in zip(weights.T, laws, strict=True))
        assert reached == pytest.approx([level, level], abs=0.012)
