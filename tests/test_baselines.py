"""Each window forecaster against loops over one series, by hand where that is short, and its launch profile."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from oracles import windows as slow
from shelfcast.errors import ConfigError, DataError
from shelfcast.horizons import Horizon
from shelfcast.models import baselines, local
from shelfcast.models.history import History, Samples, merge
from shelfcast.models.launches import MIN_LAUNCHES, LaunchProfile
from shelfcast.models.table import forecaster
from shelfcast.periods import Frequency
from shop import DAY, WEEKDAYS, panel_of

LEVELS = (0.1, 0.5, 0.9)
HORIZONS = (Horizon(0), Horizon(3), Horizon(13), Horizon(0, 7), Horizon(2, 10), Horizon(6, 3))
N, T = 12, 240


@pytest.fixture(scope="module")
def holed():
    """Twelve series with a weekly season and a fifth of the days unobserved."""
    rng = np.random.default_rng(4)
    rates = rng.uniform(0.5, 30, N)[:, None] * WEEKDAYS[DAY.season_position(np.arange(T))]
    return panel_of(rng.poisson(rates), observed=rng.random((N, T)) > 0.2)


def said(name, panel, horizons=HORIZONS, levels=LEVELS, origin=None, **settings):
    model = forecaster(name, horizons=horizons, levels=levels, **settings).fit(panel)
    forecast = model.predict(panel, [panel.last if origin is None else origin])
    return forecast.values[:, 0].astype(float), forecast.mean[:, 0].astype(float)


def each(panel):
    """Demand and observed of each series, float64."""
    demand, seen = panel.window(panel.first, panel.last)
    return enumerate(zip(demand.astype(float), seen, strict=True))


# --- against loops ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [5, 28, 56, 500])
def test_recent_quantiles(holed, window):
    values, _ = said("recent-quantiles", holed, window=window)
    for i, (demand, seen) in each(holed):
        for k, horizon in enumerate(HORIZONS):
            expected, count = slow.recent(demand, seen, horizon, LEVELS, window=window)
            if count >= 4:
                assert values[i, k] == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("seasons", [6, 13, 26, 60])
def test_season_quantiles(holed, seasons):
    values, _ = said("season-quantiles", holed, seasons=seasons)
    checked = 0
    for i, (demand, seen) in each(holed):
        for k, horizon in enumerate(HORIZONS):
            expected, count = slow.same_season(demand, seen, horizon, LEVELS, seasons=seasons, season=7)
            if count >= 4:
                checked += 1
                assert values[i, k] == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert checked > 50


@pytest.mark.parametrize(("frequency", "season", "near"), [("week", 52, 2), ("month", 12, 1)])
def test_neighbouring_weeks_and_months_count_too(frequency, season, near):
    rng = np.random.default_rng(6)
    rows = rng.poisson(8, (4, 4 * season))
    panel = panel_of(rows, observed=rng.random(rows.shape) > 0.1, frequency=Frequency.parse(frequency))
    horizons = (Horizon(0), Horizon(5), Horizon(0, 4), Horizon(season, 1))
    for settings, width in ({}, near), ({"neighbours": 0, "seasons": 4, "min_history": 1}, 0), ({"neighbours": 3}, 3):
        values, _ = said("season-quantiles", panel, horizons, **settings)
        for i, (demand, seen) in each(panel):
            for k, horizon in enumerate(horizons):
                expected, count = slow.same_season(
                    demand, seen, horizon, LEVELS, seasons=settings.get("seasons", 3), season=season, near=width
                )
                assert count >= settings.get("min_history", 4)
                assert values[i, k] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_season_quantiles_with_too_few_seasons_fall_back_to_the_latest_sums():
    demand = np.random.default_rng(0).poisson(9, (2, 24))
    panel = panel_of(demand)
    values, _ = said("season-quantiles", panel, horizons=[(0, 1)], min_history=4)
    latest, _ = said("recent-quantiles", panel, horizons=[(0, 1)])
    assert values == pytest.approx(latest)
    values, _ = said("season-quantiles", panel, horizons=[(0, 1)], min_history=3)
    assert values[:, 0] == pytest.approx(np.quantile(demand[:, [17, 10, 3]], LEVELS, axis=1).T)


@pytest.mark.parametrize("seasons", [8, 26])
def test_seasonal_naive(holed, seasons):
    values, mean = said("seasonal-naive", holed, seasons=seasons)
    for i, (demand, seen) in each(holed):
        for k, horizon in enumerate(HORIZONS):
            expected, point, count = slow.seasonal_naive(demand, seen, horizon, LEVELS, seasons=seasons, season=7)
            assert count >= 4
            assert values[i, k] == pytest.approx(expected, rel=1e-5, abs=1e-5)
            assert mean[i, k] == pytest.approx(point, rel=1e-5)


def test_seasonal_naive_with_gaussian_errors_by_hand():
    """Root mean square of one-week differences, times the square root of the week; centre: last week's weekday."""
    demand = np.random.default_rng(1).poisson(25, (1, 100)).astype(float)
    values, _ = said("seasonal-naive", panel_of(demand), horizons=14, errors="gaussian", seasons=50)
    differences = demand[0, 7:] - demand[0, :-7]
    sd = math.sqrt((differences**2).mean())
    for k in range(14):
        centre = demand[0, 93 + k % 7]
        week = k // 7 + 1
        expected = [centre + sd * math.sqrt(week) * NormalDist().inv_cdf(level) for level in LEVELS]
        assert values[0, k] == pytest.approx(np.maximum(expected, 0), rel=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"factor_window": 26, "level_window": 28, "error_window": 60},
        {"window": 28, "factor_window": 10, "factor_variance": 0.5, "level_window": 14, "error_window": 90},
    ],
)
def test_season_profile(holed, settings):
    values, _ = said("season-profile", holed, **settings)
    window, n_factor = settings.get("window", 56), 7 * settings["factor_window"]
    places = DAY.season_position(np.arange(T + 30))
    for i, (demand, seen) in each(holed):
        variance = settings.get("factor_variance", 0.05)
        factors = slow.season_factors(demand, seen, places, window=n_factor, season=7, variance=variance)
        for k, horizon in enumerate(HORIZONS):
            if horizon.span == 1:
                levels, count = slow.recent(demand, seen, horizon, LEVELS, window=window, weight=factors[places])
            else:
                sums = {"level_window": settings["level_window"], "error_window": settings["error_window"]}
                levels, count = slow.sum_by_errors(demand, seen, horizon, LEVELS, weight=factors[places], **sums)
            ahead = sum(factors[places[T + horizon.lead + j]] for j in range(horizon.span))
            assert count >= 4
            assert values[i, k] == pytest.approx(levels * ahead, rel=2e-5, abs=1e-5)


def test_a_known_season_is_found():
    rng = np.random.default_rng(9)
    panel = panel_of(rng.poisson(200 * WEEKDAYS[DAY.season_position(np.arange(364))], (5, 364)))
    values, mean = said("season-profile", panel, horizons=7)
    expected = WEEKDAYS[DAY.season_position(364 + np.arange(7))]
    assert mean.mean(axis=0) / 200 == pytest.approx(expected, rel=0.03)
    assert values[..., 1].mean(axis=0) / 200 == pytest.approx(expected, rel=0.03)


def test_coverage_of_few_samples_is_the_closed_form():
    """n values interpolated at place (n - 1) a hold a new one with probability ((n - 1) a + 1) / (n + 1)."""
    rng = np.random.default_rng(0)
    demand = rng.gamma(4.0, 5.0, (4_000, 26 * 7 + 1))
    panel = panel_of(demand)
    values, _ = said("season-quantiles", panel, horizons=[(0, 1)], origin=26 * 7 - 1)
    covered = (demand[:, -1:] <= values[:, 0]).mean(axis=0)
    assert covered == pytest.approx([(25 * level + 1) / 27 for level in LEVELS], abs=0.02)


@pytest.mark.parametrize("name", sorted(baselines.MODELS))
def test_a_constant_series_is_forecast_by_its_constant(name):
    panel = panel_of(np.full((2, 250), 4.0))
    values, _ = said(name, panel)
    spans = np.array([h.span for h in HORIZONS])
    np.testing.assert_allclose(values, np.broadcast_to(4.0 * spans[:, None], values.shape), rtol=1e-4)


# --- history ---------------------------------------------------------------------------------------------------------


def test_sums_of_half_observed_windows_are_scaled_up():
    history = History(0, np.array([[1.0, 0.0, 3.0, 0.0, 0.0]]), np.array([[True, False, True, False, False]]))
    found = history.sums(np.array([0, 1, 2, 3, 4, -1]), 2)
    assert found.values[0].tolist() == [2.0, 6.0, 6.0, 0.0, 0.0, 0.0]
    assert found.valid[0].tolist() == [True, True, True, False, False, False]
    assert found.count.tolist() == [3]
    assert found.mean().tolist() == pytest.approx([14 / 3])


def test_merging_prefers_where_there_are_enough():
    one = Samples(np.array([[1.0, 2.0], [3.0, 0.0]]), np.array([[True, True], [True, False]]))
    other = Samples(np.array([[7.0, 8.0, 9.0]] * 2), np.ones((2, 3), dtype=bool))
    made = merge(one, other, 2)
    assert made.values.tolist() == [[1.0, 2.0, 0.0], [7.0, 8.0, 9.0]]
    assert made.valid.tolist() == [[True, True, False], [True, True, True]]


# --- launches --------------------------------------------------------------------------------------------------------


def launching(n_launches, *, length=60, rates=(4.0, 40.0), seed=0):
    """Two old series, then launches of two groups, one after the other; the last series has no rows."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n_launches) % 2
    starts = rng.integers(15, 40, n_launches)  # not in the first quarter: the data have only begun
    rows = [rng.poisson(rates[g], length - s) for g, s in zip(groups, starts, strict=True)]
    names = ["ab"[g] for g in groups]
    return panel_of(
        [np.full(length, 999.0), np.full(length, 999.0), *rows, [], []],
        starts=[0, 0, *starts, 0, 0],
        last=length - 1,
        static={"group": ["a", "b", *names, "b", "unheard of"]},
    )


def test_a_new_product_gets_the_launches_of_its_group():
    panel = launching(2 * MIN_LAUNCHES)
    values, mean = said("recent-quantiles", panel, horizons=[(0, 1), (2, 5)], launch_group="group")
    demand, _ = panel.window(0, 59)
    starts = panel.start[2:-2]
    for k, horizon in enumerate([Horizon(0, 1), Horizon(2, 5)]):
        first = [
            demand[2 + i, s + horizon.lead : s + horizon.end].sum()
            for i, s in enumerate(starts)
            if s + horizon.end <= 60
        ]
        group_b = first[1::2]
        assert values[-2, k] == pytest.approx(np.quantile(group_b, LEVELS), rel=1e-5)
        assert mean[-2, k] == pytest.approx(np.mean(group_b), rel=1e-5)
        assert values[-1, k] == pytest.approx(np.quantile(first, LEVELS), rel=1e-5)  # a group never seen: everyone


def test_a_group_with_few_launches_gets_everyones():
    panel = launching(MIN_LAUNCHES)
    grouped, _ = said("recent-quantiles", panel, launch_group="group")
    pooled, _ = said("recent-quantiles", panel)
    assert grouped == pytest.approx(pooled)


def test_a_launch_with_days_out_of_stock_is_left_out():
    panel = panel_of(
        [np.ones(30), [5.0, 6.0], [0.0, 90.0], []], starts=[0, 28, 28, 0], last=29,
        observed=[np.ones(30), [1, 1], [0, 1], []],
    )  # fmt: skip
    values, _ = said("recent-quantiles", panel, horizons=[(0, 1), (0, 2), (1, 1)])
    assert values[-1, :2].tolist() == [[5.0] * 3, [11.0] * 3]
    assert values[-1, 2] == pytest.approx(np.quantile([6.0, 90.0], LEVELS))


def test_without_any_launch_the_latest_demand_stands_in():
    panel = panel_of([[1, 2, 3, 7], [5, 5, 5, 9], []], last=3)
    values, mean = said("recent-quantiles", panel, horizons=[(0, 1), (0, 2)])
    assert values[-1, 0] == pytest.approx(np.quantile([7, 9], LEVELS))
    assert mean[-1].tolist() == [8.0, (10 + 14) / 2]


def test_a_launch_profile_comes_back(tmp_path):
    panel = launching(2 * MIN_LAUNCHES)
    learned = LaunchProfile.learn(panel, HORIZONS, LEVELS, "group")
    learned.save(tmp_path)
    again = LaunchProfile.load(tmp_path)
    assert (again.group, again.groups) == ("group", ("", "a", "b", "unheard of"))
    assert (again.values == learned.values).all()
    assert (again.mean == learned.mean).all()
    assert again.of(panel).tolist() == learned.of(panel).tolist()


def test_a_launch_group_that_is_no_column():
    with pytest.raises(DataError, match="did you mean 'group'"):
        said("recent-quantiles", launching(4), launch_group="gruop")


def test_few_observations_are_the_launch_profile_and_enough_are_their_own():
    rows = [np.full(30, 8.0), np.full(3, 100.0), np.full(4, 100.0)]
    panel = panel_of(rows, starts=[0, 27, 26])
    values, _ = said("recent-quantiles", panel, horizons=[(0, 1)])
    assert (values[0], values[2]) == (pytest.approx(8.0), pytest.approx(100.0))
    assert values[1, 0] == pytest.approx(100.0)  # both launches began with 100
    strict, _ = said("recent-quantiles", panel, horizons=[(0, 1)], min_history=31)
    assert strict[0, 0] == pytest.approx(100.0)


# --- settings and shards ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("recent-quantiles", {"window": 0}),
        ("recent-quantiles", {"window": -3}),
        ("recent-quantiles", {"window": "28"}),
        ("recent-quantiles", {"window": 2.5}),
        ("recent-quantiles", {"min_history": 0}),
        ("recent-quantiles", {"launch_group": 3}),
        ("season-quantiles", {"seasons": 0}),
        ("season-quantiles", {"neighbours": -1}),
        ("season-profile", {"factor_window": 0}),
        ("season-profile", {"factor_variance": 0.0}),
        ("season-profile", {"factor_variance": "much"}),
        ("season-profile", {"factor_variance": float("nan")}),
        ("season-profile", {"min_history": True}),
        ("seasonal-naive", {"errors": "gausian"}),
        ("seasonal-naive", {"errors": None}),
        ("seasonal-naive", {"seasons": 0}),
    ],
)
def test_settings_are_checked_when_made(name, settings):
    with pytest.raises(ConfigError) as error:
        forecaster(name, horizons=1, **settings)
    assert error.value.key == f"model.{next(iter(settings))}"


@pytest.mark.parametrize("name", sorted(baselines.MODELS))
def test_small_shards_say_the_same(name, holed, monkeypatch):
    whole, mean = said(name, holed)
    monkeypatch.setattr(local, "_SHARD_CELLS", 3 * 1000)
    pieces, piece_mean = said(name, holed)
    assert pieces == pytest.approx(whole, rel=1e-6)
    assert piece_mean == pytest.approx(mean, rel=1e-6)
