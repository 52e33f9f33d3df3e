"""Horizons count from the origin; their sums agree with a loop and with SQL."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles.horizons import duckdb_sums, loop_sums
from shelfcast.errors import ConfigError
from shelfcast.horizons import Horizon, as_horizons, as_levels, horizon_sums, per_period, same_window, window_sums

HORIZONS = st.lists(st.builds(Horizon, st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=4, unique=True)


@st.composite
def series(draw, max_size=25):
    n = draw(st.integers(0, max_size))
    demand = draw(st.lists(st.floats(0, 1e4, width=32), min_size=n, max_size=n))
    observed = draw(st.lists(st.booleans() | st.just(True), min_size=n, max_size=n))
    return np.array(demand, dtype=np.float64), np.array(observed, dtype=bool)


def test_an_order_protects_until_the_next_one_arrives():
    """Ordered on Monday evening (period 0), two days on the way, reviewed every three: next arrival after period 5."""
    lead_time, review = 2, 3
    demand = np.array([1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0])
    sums, complete = horizon_sums(demand, demand > 0, [Horizon(0, lead_time + review), Horizon(lead_time, review)])
    assert complete[0].all()
    assert sums[0].tolist() == [111_110.0, 111_000.0]


@given(series(), HORIZONS)
def test_sums_equal_a_loop(pair, horizons):
    sums, complete = horizon_sums(*pair, horizons)
    slow, whole = loop_sums(*pair, horizons)
    assert complete.tolist() == whole.tolist()
    np.testing.assert_allclose(sums, slow, rtol=1e-9, atol=1e-7)
    assert (sums >= 0).all()


def test_sums_equal_window_functions():
    rng = np.random.default_rng(0)
    demand, observed = rng.poisson(3, (7, 60)).astype(float), rng.random((7, 60)) > 0.05
    horizons = [Horizon(0, 1), Horizon(6, 1), Horizon(0, 7), Horizon(3, 14), Horizon(50, 20)]
    sums, complete = horizon_sums(demand, observed, horizons)
    sql, whole = duckdb_sums(demand, observed, horizons)
    assert (complete == whole).all()
    assert (sums == sql).all()
    assert complete[..., :4].any(axis=(0, 1)).all()
    assert not complete[..., 4].any()


def test_what_was_not_observed_may_hold_anything():
    seen = np.array([True, False, True, True])
    sums, complete = horizon_sums([1.0, np.nan, 2.0, 3.0], seen, [Horizon(0, 2)])
    assert complete[:, 0].tolist() == [False, True, False, False]
    assert sums[:, 0].tolist() == [0.0, 5.0, 0.0, 0.0]


@given(st.integers(0, 500), st.integers(1, 500))
def test_text_round_trip(lead, span):
    horizon = Horizon(lead, span)
    assert Horizon.parse(str(horizon)) == horizon
    assert horizon.end == lead + span


def test_short_forms():
    assert Horizon.parse("3") == Horizon(3, 1)
    assert per_period(3) == (Horizon(0), Horizon(1), Horizon(2)) == as_horizons(3)
    assert as_horizons([(0, 7), Horizon(2)]) == (Horizon(0, 7), Horizon(2, 1))
    assert as_horizons([[0, 7]]) == (Horizon(0, 7),)
    assert sorted([Horizon(1), Horizon(0, 9), Horizon(0, 2)]) == [Horizon(0, 2), Horizon(0, 9), Horizon(1)]


@pytest.mark.parametrize("text", ["", "a", "1+b", "1+2+3", "-1", "0+0", "1.5", "7+", "+7"])
def test_text_that_is_no_horizon(text):
    with pytest.raises(ConfigError, match="horizon"):
        Horizon.parse(text)


@pytest.mark.parametrize("pair", [(-1, 1), (0, 0), (1.5, 1), (0, 2.0)])
def test_no_horizon_is_made_of_these(pair):
    with pytest.raises(ConfigError, match="expected whole numbers"):
        Horizon(*pair)


@pytest.mark.parametrize("horizons", [0, -3, [], [(0, 1), (0, 1)], [(0, 1, 2)], ["0+7x"], [3], [None]])
def test_no_horizons(horizons):
    with pytest.raises(ConfigError, match="horizon"):
        as_horizons(horizons)


def test_levels_are_increasing_and_inside():
    assert as_levels([0.1, 0.5]) == (0.1, 0.5)
    for wrong in ([], [0.5, 0.5], [0.9, 0.1], [0.0], [1.0], [90], [float("nan")]):
        with pytest.raises(ConfigError, match="levels"):
            as_levels(wrong)


def test_window_sums_are_those_of_the_first_origin():
    rng = np.random.default_rng(3)
    demand, seen = rng.poisson(2.0, (7, 12)).astype(float), rng.random((7, 12)) < 0.9
    horizons = [Horizon(0, 1), Horizon(3, 4), Horizon(10, 1), Horizon(11, 1), Horizon(0, 30)]
    sums, complete = horizon_sums(demand, seen, horizons)
    made = window_sums(demand, seen, horizons)
    assert made[0] == pytest.approx(sums[:, 0])
    assert np.array_equal(made[1], complete[:, 0])
    assert complete[:, 0].any()


def test_the_same_window_is_found_among_earlier_horizons():
    horizons = (Horizon(0), Horizon(1), Horizon(2), Horizon(0, 2), Horizon(2, 2))
    place, there = same_window(horizons, 2)
    assert there.tolist() == [True, False, False, True, False]
    assert place[there].tolist() == [2, 4]
    assert not same_window(horizons, 5)[1].any()
