"""The automatic methods through statsforecast: equal to it on whole series, and what stands in where it cannot."""

import builtins

import numpy as np
import pytest

from flat import has_extra, histories, library, series_of
from shelfcast.errors import ConfigError
from shelfcast.models import classical
from shelfcast.models.classical import AutoARIMA, AutoETS, AutoTheta
from shelfcast.models.points import Series
from shelfcast.models.smoothing import SES

QUICK = [AutoETS(), AutoTheta()]
EVERY = [*QUICK, AutoARIMA()]
WEEK = np.array([4.0, 8, 6, 10, 12, 20, 10])


def seasonal(seed, n_days=84):
    """Demand with a weekly season and noise."""
    rng = np.random.default_rng(seed)
    return rng.poisson(10 * np.tile(WEEK, n_days // 7 + 1)[:n_days]).astype(float)


@pytest.fixture
def without_library(monkeypatch):
    """As on a machine that lacks statsforecast."""
    real = builtins.__import__

    def absent(name, *arguments, **more):
        if name.startswith("statsforecast"):
            raise ImportError("No module named 'statsforecast'")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", absent)


@pytest.fixture
def drawn_by(monkeypatch):
    """Put a function in the place of the library's method."""

    def put(function):
        monkeypatch.setattr(classical, "_drawer", lambda name, season: function)

    return put


@has_extra
class TestThroughTheLibrary:
    @pytest.mark.parametrize("model", EVERY, ids=str)
    def test_equal_to_the_library_on_scaled_values(self, model):
        settings = {"approximation": True} if isinstance(model, AutoARIMA) else {}
        values = seasonal(0)
        expected = library(model.method, season_length=7, **settings)(values / values.mean(), 14) * values.mean()
        np.testing.assert_allclose(model.path(series_of(values), 14)[0], expected, rtol=1e-6)

    @pytest.mark.parametrize("model", EVERY, ids=str)
    def test_finds_a_season(self, model):
        outcome = model.outcome(series_of(seasonal(1)), 7)
        assert not outcome.failed.any()
        assert np.abs(outcome.path[0] / (10 * WEEK) - 1).max() < 0.35
        assert np.argmax(outcome.path[0]) == 5

    @pytest.mark.parametrize("model", QUICK, ids=str)
    def test_scale_equivariant_and_the_same_one_by_one(self, model):
        values = [seasonal(2), seasonal(3, 70)]
        both = series_of(*values)
        larger = Series(both.demand * 1000, both.observed, both.indptr, both.origin, both.season)
        path = model.path(both, 9)
        np.testing.assert_allclose(model.path(larger, 9), path * 1000, rtol=1e-4)
        for i, own in enumerate(values):
            np.testing.assert_array_equal(model.path(series_of(own), 9)[0], path[i])

    @pytest.mark.parametrize("model", EVERY, ids=str)
    def test_bad_series(self, model):
        values = seasonal(4)
        gone = np.where(np.arange(len(values)) < 70, np.nan, values)
        series = series_of([], [0.0] * 60, [None] * 60, [3.0], [5.0] * 60, gone, values * 1e30, [0.0] * 59 + [4.0])
        outcome = model.outcome(series, 9)
        assert np.isfinite(outcome.path).all()
        assert (outcome.path >= 0).all()
        assert (outcome.path[:3] == 0).all()
        np.testing.assert_array_equal(outcome.path[3:5], [[3.0] * 9, [5.0] * 9])
        assert not outcome.failed[:5].any()

    @pytest.mark.parametrize("model", QUICK, ids=str)
    def test_intermittent_series_do_not_fail(self, model):
        outcome = model.outcome(series_of(*histories(0, 6, chance=0.2, longest=90)), 9)
        assert not outcome.failed.any()
        assert (outcome.path >= 0).all()

    def test_a_long_season_is_left_out_by_ets(self):
        outcome = AutoETS().outcome(series_of(seasonal(5, 120), season=52), 60)
        assert not outcome.failed.any()
        assert np.isfinite(outcome.path).all()

    def test_unobserved_days_are_no_zeros(self):
        values = seasonal(6, 140)
        holed = np.where(np.random.default_rng(0).random(140) < 0.1, np.nan, values)
        path = AutoTheta().path(series_of(holed), 7)[0]
        assert path.mean() == pytest.approx(100, rel=0.1)


class TestWhatTheMethodSees:
    def test_gaps_are_lines_and_history_is_cut(self, drawn_by):
        seen = []
        drawn_by(lambda values, n_periods: seen.append(values) or np.ones(n_periods))
        values = [None, 1.0, None, 3.0] + [2.0, 4.0] * 8 + [None]
        AutoETS().path(series_of(values), 2)
        expected = np.array([1.0, 2.0, 3.0] + [2.0, 4.0] * 8 + [4.0])
        np.testing.assert_allclose(seen[0], expected / expected.mean())
        AutoETS(history=13).path(series_of(values), 2)
        np.testing.assert_allclose(seen[1] * expected[-13:].mean(), expected[-13:])

    def test_paths_are_in_units_and_never_negative(self, drawn_by):
        drawn_by(lambda values, n_periods: np.array([-1.0, 2.0]))
        values = np.array([2.0, 4.0] * 10)
        assert AutoTheta().path(series_of(values), 2).tolist() == [[0.0, 6.0]]


class TestFallback:
    @pytest.mark.parametrize(
        "bad",
        [
            lambda values, n_periods: 1 / 0,
            lambda values, n_periods: np.full(n_periods, np.nan),
            lambda values, n_periods: np.full(n_periods, np.inf),
            lambda values, n_periods: np.full(n_periods, 1e6),
            lambda values, n_periods: np.ones(n_periods + 1),
        ],
    )
    def test_one_bad_series_is_counted_and_smoothed(self, drawn_by, bad):
        def method(values, n_periods):
            return bad(values, n_periods) if values[0] > 1 else np.ones(n_periods)

        drawn_by(method)
        up, down = np.linspace(1, 2, 20), np.linspace(2, 1, 20)
        outcome = AutoETS().outcome(series_of(up, down, up), 3)
        assert outcome.failed.tolist() == [False, True, False]
        np.testing.assert_array_equal(outcome.path[1], SES().path(series_of(down), 3)[0])
        np.testing.assert_allclose(outcome.path[[0, 2]], 1.5)

    def test_short_series_are_smoothed_and_not_counted(self, drawn_by):
        drawn_by(lambda values, n_periods: 1 / 0)
        series = series_of([1.0, 2.0, 3.0], [7.0] * 30)
        outcome = AutoARIMA().outcome(series, 2)
        assert not outcome.failed.any()
        np.testing.assert_array_equal(outcome.path, SES().path(series, 2))

    def test_interrupts_are_not_swallowed(self, drawn_by):
        def stop(values, n_periods):
            raise KeyboardInterrupt

        drawn_by(stop)
        with pytest.raises(KeyboardInterrupt):
            AutoETS().path(series_of(seasonal(7)), 2)


@pytest.mark.parametrize("model", EVERY, ids=str)
def test_missing_library_names_the_extra(model, without_library):
    with pytest.raises(ConfigError, match=r"shelfcast\[classical\]"):
        model.path(series_of([1.0, 2.0]), 2)


@pytest.mark.parametrize("history", [0, -3, 1.5, True])
def test_wrong_history(history):
    with pytest.raises(ConfigError, match=r"model\.history: expected a whole number"):
        AutoTheta(history=history)
