"""Sold-out periods as lower bounds on demand."""

import numpy as np
import pytest

from shelfcast.data.censoring import at_least


@pytest.fixture
def truth():
    return np.random.default_rng(0).poisson(8.0, (300, 60)).astype(float)


def test_what_was_not_sold_out_is_kept_and_a_bound_is_never_undercut(truth):
    shelf = np.full(truth.shape, 9.0)
    sales, sold_out = np.minimum(truth, shelf), truth >= shelf
    made = at_least(sales, np.ones(truth.shape, bool), sold_out)
    np.testing.assert_array_equal(made[~sold_out], sales[~sold_out])
    assert (made >= sales).all()
    late = slice(30, None)
    assert abs(made[:, late].mean() - truth[:, late].mean()) < 0.3 * abs(sales[:, late].mean() - truth[:, late].mean())


def test_no_later_period_is_used(truth):
    sold_out = truth >= 9
    sales = np.minimum(truth, 9.0)
    seen = np.ones(truth.shape, bool)
    whole = at_least(sales, seen, sold_out)
    np.testing.assert_array_equal(at_least(sales[:, :40], seen[:, :40], sold_out[:, :40]), whole[:, :40])
