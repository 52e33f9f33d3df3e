"""Smoothing and window averages against loops over one series, hand values and statsforecast, and their laws."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat import has_extra, histories, library, one_by_one, rows, series_of
from oracles import textbook as slow
from shelfcast.errors import ConfigError
from shelfcast.models import smoothing
from shelfcast.models.points import Series
from shelfcast.models.smoothing import (
    SES,
    DampedSES,
    Form,
    HoltWinters,
    SeasonalES,
    SeasonalNaivePoint,
    SeasonalWindowAverage,
    WindowAverage,
)
from shelfcast.models.textbook import POINT_MODELS

NEEDS_EXTRA = ("ets", "theta", "arima")
CHEAP = [maker() for name, maker in POINT_MODELS.items() if name not in NEEDS_EXTRA]
CHEAP += [SES(0.1), SeasonalES(0.1), HoltWinters(Form.MULTIPLICATIVE)]
every_cheap = pytest.mark.parametrize("model", CHEAP, ids=str)


@pytest.fixture(scope="module")
def holed():
    """Twelve intermittent series with a fifth of the days unobserved."""
    return series_of(*histories(1, gaps=0.2))


class TestAgainstLoops:
    def test_ses(self, holed):
        expected = [[slow.ses(slow.seen_only(d, s), 0.2)] * 3 for d, s in rows(holed)]
        np.testing.assert_allclose(SES(0.2).path(holed, 3), expected, rtol=1e-12)

    def test_best_ses_is_near_the_best_of_801(self):
        series = series_of(*histories(2, chance=1.0))
        for i, (demand, _) in enumerate(rows(series)):
            expected = slow.ses(list(demand), slow.best_alpha(list(demand), 0.01, 0.99))
            assert SES().path(series, 1)[i, 0] == pytest.approx(expected, rel=2e-3)

    def test_best_alpha_is_a_minimum(self):
        from shelfcast.models import kernels

        for values in histories(3, chance=0.7):
            for season in (1, 7):
                alpha = kernels.best_alpha(values, season, False, 0.01, 0.99)
                lowest = kernels.squares(values, season, alpha)
                for other in (alpha - 1e-3, alpha + 1e-3):
                    if 0.01 < other < 0.99:
                        assert lowest <= kernels.squares(values, season, other)
                assert kernels.best_alpha(values, season, True, 0.01, 0.99) == pytest.approx(alpha, abs=1e-6)

    def test_squares(self):
        from shelfcast.models import kernels

        for values in histories(4, n_series=5):
            each = [slow.ses_squares(values[place::7], 0.3) for place in range(7)]
            assert kernels.squares(values, 1, 0.3) == pytest.approx(slow.ses_squares(values, 0.3))
            assert kernels.squares(values, 7, 0.3) == pytest.approx(sum(each))
            assert kernels.gappy_squares(values, 7, 0.3) == pytest.approx(sum(each))

    def test_seasonal_es(self, holed):
        places = np.array([slow.seasonal_es(d, s, 7, 0.2) for d, s in rows(holed)])
        np.testing.assert_allclose(SeasonalES(0.2).path(holed, 10), places[:, np.arange(10) % 7], rtol=1e-12)

    def test_window_average(self, holed):
        expected = [np.mean(slow.seen_only(d, s)[-20:]) for d, s in rows(holed)]
        np.testing.assert_allclose(WindowAverage(20).path(holed, 1)[:, 0], expected, rtol=1e-12)

    @pytest.mark.parametrize("seasons", [1, 4, 50])
    def test_seasonal_window_average(self, holed, seasons):
        places = [slow.seasonal_window(d, s, 7, seasons) for d, s in rows(holed)]
        np.testing.assert_allclose(SeasonalWindowAverage(seasons).path(holed, 7), places, rtol=1e-12)
        if seasons == 1:
            np.testing.assert_allclose(SeasonalNaivePoint().path(holed, 7), places)

    @pytest.mark.parametrize("product", [False, True])
    @pytest.mark.parametrize("season", [1, 7, 40])
    def test_one_set_of_holt_winters(self, holed, product, season):
        from shelfcast.models import trends

        chosen = (0.15, 0.02, 0.1, 0.9)
        one, same = np.array(chosen)[:, None], np.ones((4, 1))
        path = trends.trend_paths(holed.demand, holed.observed, holed.indptr, season, product, one, same, 50)
        expected = [slow.holt_winters(d, s, season, chosen, product=product, n_periods=50)[1] for d, s in rows(holed)]
        np.testing.assert_allclose(path, expected, rtol=1e-7, atol=1e-9)

    @pytest.mark.parametrize("model", [DampedSES(), HoltWinters(), HoltWinters(Form.MULTIPLICATIVE)], ids=str)
    def test_search_takes_the_least_of_both_passes(self, model):
        series = series_of(*histories(5, n_series=4, chance=0.9, longest=60))
        grid, multiples = smoothing._DAMPED if isinstance(model, DampedSES) else smoothing._SEASONED
        season, product = (1, False) if isinstance(model, DampedSES) else (7, model.form is Form.MULTIPLICATIVE)
        for i, (demand, seen) in enumerate(rows(series)):

            def fit(chosen, demand=demand, seen=seen):
                return slow.holt_winters(demand, seen, season, chosen, product=product, n_periods=9)

            best = min(grid.T, key=lambda chosen: fit(chosen)[0])
            finest = min(np.minimum(best * multiples.T, 1.0), key=lambda chosen: fit(chosen)[0])
            np.testing.assert_allclose(model.path(series, 9)[i], fit(finest)[1], rtol=1e-7, atol=1e-9)


class TestByHand:
    def test_ses_skips_what_was_not_observed(self):
        assert SES(0.5).path(series_of([4, None, None, 8]), 1)[0, 0] == 6.0
        assert SES(0.5).path(series_of([None, 4, 8, None]), 1)[0, 0] == 6.0

    def test_season_is_counted_back_from_the_origin(self):
        series = series_of([9, 1, 2, 3, 1, 2, 3], season=3)
        assert SeasonalES(0.3).path(series, 4).tolist() == [[1, 2, 3, 1]]
        assert SeasonalNaivePoint().path(series, 4).tolist() == [[1, 2, 3, 1]]

    def test_unobserved_days_keep_their_place(self):
        series = series_of([1, 2, 3, 1, None, 3], season=3)
        assert SeasonalES(0.3).path(series, 3).tolist() == [[1, 2, 3]]
        assert SeasonalWindowAverage(2).path(series, 3).tolist() == [[1, 2, 3]]

    def test_shorter_than_a_season(self):
        series = series_of([2, 4], season=7)
        assert SeasonalES().path(series, 7).tolist() == [[3.0] * 7]
        assert SeasonalWindowAverage(2).path(series, 7).tolist() == [[3.0] * 5 + [2.0, 4.0]]

    def test_holt_winters_finds_a_season(self):
        week = np.array([4.0, 8, 6, 10, 12, 20, 10])
        for form in Form:
            path = HoltWinters(form).path(series_of(np.tile(week, 20)), 14)
            np.testing.assert_allclose(path[0], np.tile(week, 2), rtol=1e-9)

    def test_damped_follows_a_trend_and_flattens(self):
        path = DampedSES().path(series_of(np.arange(100) * 2.0), 60)[0]
        steps = np.diff(path)
        assert path[0] == pytest.approx(200, rel=0.06)
        assert (steps > 0).all()
        assert (np.diff(steps) < 0).all()

    def test_a_negative_factor_never_shows(self):
        """A weekday that stops selling drives its factor down to the floor, and its forecast to at least zero."""
        week = np.tile([5.0] * 7, 10)
        stopped = np.tile([5.0] * 6 + [0.0], 30)
        for form in Form:
            path = HoltWinters(form).path(series_of(np.concatenate((week, stopped))), 7)[0]
            assert path.min() >= 0
            assert path[6] < 1.5 < path[0]


def test_made_series():
    series = series_of([1, None], [], [0, 2, np.nan], season=5)
    assert series.demand.tolist() == [1, 0, 0, 2, 0]
    assert series.observed.tolist() == [True, False, True, True, False]
    assert series.indptr.tolist() == [0, 2, 2, 5]
    assert [len(values) for values in histories(0, 4)] == [len(values) for values in histories(0, 4, chance=1.0)]
    assert np.isnan(np.concatenate(histories(0, gaps=0.2))).mean() == pytest.approx(0.2, abs=0.05)


class TestLaws:
    @every_cheap
    def test_all_at_once_equals_one_by_one(self, model, holed):
        np.testing.assert_array_equal(model.path(holed, 20), one_by_one(model, holed, 20))

    @every_cheap
    @given(st.integers(0, 10_000), st.sampled_from([0.125, 8.0, 1024.0]), st.sampled_from([0.0, 0.5, 0.95]))
    def test_scale_and_finiteness(self, model, seed, factor, gaps):
        series = series_of(*histories(seed, 3, chance=0.3, gaps=gaps, shortest=1, longest=60))
        path = model.path(series, 9)
        larger = Series(series.demand * factor, series.observed, series.indptr, series.origin, series.season)
        assert np.isfinite(path).all()
        assert (path >= 0).all()
        np.testing.assert_allclose(model.path(larger, 9), path * factor, rtol=1e-9)

    @every_cheap
    def test_bad_series(self, model):
        series = series_of([], [0.0] * 50, [None] * 50, [3.0], [None, 0.0, None], [0.0] * 40 + [5.0], [7.0] * 50)
        path = model.path(series, 8)
        assert (path[[0, 1, 2, 4]] == 0).all()
        if "Croston" not in str(model) and "SBA" not in str(model):
            np.testing.assert_allclose(path[[3, 6]], [[3.0] * 8, [7.0] * 8], rtol=1e-9)
        assert np.isfinite(path).all()
        assert (path >= 0).all()

    @every_cheap
    @pytest.mark.parametrize("size", [1e-300, 1e38, 1e200, 1e300])
    def test_huge_and_tiny_values(self, model, size):
        rng = np.random.default_rng(0)
        path = model.path(series_of(rng.poisson(1.0, 60) * size, np.append(np.ones(60), size)), 9)
        assert np.isfinite(path).all()
        assert (path >= 0).all()

    @every_cheap
    def test_unobserved_is_not_zero(self, model):
        """Days masked at the place of what would have been zeros leave a constant product constant."""
        values = [6.0 if day % 3 else None for day in range(120)]
        np.testing.assert_allclose(model.path(series_of(values), 9), 6.0 * _bias(model), rtol=1e-9)

    @every_cheap
    def test_values_out_of_sight_change_nothing(self, model, holed):
        hidden = np.where(holed.observed, holed.demand, 1e9)
        other = Series(hidden, holed.observed, holed.indptr, holed.origin, holed.season)
        np.testing.assert_array_equal(model.path(other, 9), model.path(holed, 9))

    @every_cheap
    def test_input_is_untouched(self, model, holed):
        before = holed.demand.copy()
        model.path(holed, 3)
        np.testing.assert_array_equal(holed.demand, before)

    @every_cheap
    def test_no_series_at_all(self, model):
        assert model.path(series_of(), 5).shape == (0, 5)


def _bias(model):
    return 1 - model.alpha / 2 if type(model).__name__ == "SBA" else 1.0


@has_extra
@pytest.mark.parametrize("chance", [0.2, 0.6, 1.0])
@pytest.mark.parametrize(
    ("model", "theirs"),
    [
        (SES(0.1), ("SimpleExponentialSmoothing", {"alpha": 0.1})),
        (SES(), ("SimpleExponentialSmoothingOptimized", {})),
        (SeasonalES(0.2), ("SeasonalExponentialSmoothing", {"alpha": 0.2, "season_length": 7})),
        (WindowAverage(28), ("WindowAverage", {"window_size": 28})),
        (SeasonalWindowAverage(4), ("SeasonalWindowAverage", {"season_length": 7, "window_size": 4})),
        (SeasonalNaivePoint(), ("SeasonalNaive", {"season_length": 7})),
    ],
    ids=str,
)
def test_equal_to_statsforecast(model, theirs, chance):
    name, settings = theirs
    path = library(name, **settings)
    values = histories(6, 15, chance=chance)
    np.testing.assert_allclose(model.path(series_of(*values), 9), [path(v, 9) for v in values], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SES(0.0),
        lambda: SES(1.5),
        lambda: SES("fast"),
        lambda: SES(float("nan")),
        lambda: SeasonalES(True),
        lambda: WindowAverage(0),
        lambda: SeasonalWindowAverage(2.5),
        lambda: HoltWinters("additive"),
    ],
)
def test_wrong_settings(make):
    with pytest.raises(ConfigError, match=r"model\.(alpha|window|seasons|form): expected"):
        make()


def test_table_names_its_models():
    assert {name: maker().name for name, maker in POINT_MODELS.items()} == {name: name for name in POINT_MODELS}


def test_table_imports_no_compiler():
    code = "import sys, shelfcast.models.textbook; print([m for m in ('numba', 'statsforecast') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
