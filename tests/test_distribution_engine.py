"""The Distribution Engine: laws by hand, past origins, spans from sums, and what it does without a past."""

from statistics import NormalDist

import numpy as np
import pytest

from shelfcast.errors import ConfigError, StoreError
from shelfcast.horizons import Horizon, per_period
from shelfcast.models.distribution_engine import ERROR_CLASSES, MODELS, DistributionEngine
from shelfcast.models.error_tables import Form
from shelfcast.models.points import Series, span_means
from shelfcast.models.table import forecaster, load
from shelfcast.models.textbook import POINT_MODELS
from shelfcast.periods import Frequency
from shop import panel_of

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
Z = np.array([NormalDist().inv_cdf(a) for a in LEVELS])


def engine(horizons=per_period(2), **settings):
    return DistributionEngine(horizons, LEVELS, **settings)


def poisson(n=30, t=120, mean=20, seed=0):
    return np.random.default_rng(seed).poisson(mean, (n, t)).astype(float)


def test_unknown_point_models_and_forms_name_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'croston'") as error:
        engine(model="crostn")
    assert error.value.key == "model.model"
    with pytest.raises(ConfigError, match="did you mean 'additive'"):
        engine(form="aditive")
    with pytest.raises(ConfigError, match="n_origins"):
        engine(n_origins=0)


def test_every_point_model_has_its_forecaster():
    assert set(MODELS) == set(POINT_MODELS)
    assert all(MODELS[name].name == name for name in MODELS)
    assert MODELS["tsb"](per_period(1)).model == "tsb"


def test_the_mean_is_the_point_forecast():
    panel = panel_of(poisson())
    horizons = (*per_period(3), Horizon(0, 7))
    forecast = engine(horizons, model="sba").fit(panel).predict(panel, [119])
    path = POINT_MODELS["sba"]().path(Series.of(panel, 119), 7)
    np.testing.assert_allclose(forecast.mean[:, 0], span_means(path, horizons), rtol=1e-6)
    np.testing.assert_allclose(forecast.mean[:, 0, 3], path.sum(axis=1), rtol=1e-6)


def test_past_errors_are_those_of_the_model_from_each_origin():
    """Eight origins six days apart, the newest one whole horizon before the end, meet every weekday."""
    panel = panel_of(poisson())
    model = engine((Horizon(0), Horizon(1, 4)), n_origins=8)
    past = model._past(panel)
    origins = [119 - 5 - 6 * i for i in range(8)][::-1]
    assert {origin % 7 for origin in origins} == set(range(7))
    assert past.mean.shape == (30, 8, 2)
    for o, origin in enumerate(origins):
        path = POINT_MODELS["ses"]().path(Series.of(panel, origin), 5)
        np.testing.assert_allclose(past.mean[:, o], np.stack([path[:, 0], path[:, 1:].sum(axis=1)], axis=1))
        rows = panel.demand.reshape(30, 120)
        np.testing.assert_allclose(past.demand[:, o, 0], rows[:, origin + 1])
        np.testing.assert_allclose(past.demand[:, o, 1], rows[:, origin + 2 : origin + 6].sum(axis=1))
    assert past.complete.all()


@pytest.mark.parametrize(("frequency", "step"), [("hour", 23), ("day", 6), ("week", 1), ("month", 1)])
def test_origins_meet_every_place_of_a_short_season(frequency, step):
    panel = panel_of(poisson(n=2, t=100), frequency=Frequency.parse(frequency))
    past = engine(per_period(1), n_origins=4)._past(panel)
    rows = panel.demand.reshape(2, 100)
    np.testing.assert_allclose(past.demand[:, :, 0], rows[:, [99 - 3 * step, 99 - 2 * step, 99 - step, 99]])


def test_series_that_had_not_begun_give_no_errors():
    panel = panel_of([poisson()[0], poisson()[1][:20]], starts=[0, 100])
    past = engine(per_period(1), n_origins=10)._past(panel)
    assert past.complete[0].all()
    begun = [origin >= 100 for origin in range(118 - 54, 119, 6)]
    np.testing.assert_array_equal(past.complete[1, :, 0], begun)


@pytest.mark.parametrize("length", [1, 2, 5, 6])
def test_without_past_origins_the_law_is_normal_around_the_forecast(length):
    """q = f + sqrt(f + 0.1 span) z, at least 0."""
    panel = panel_of(poisson(n=6, t=length))
    forecast = engine((Horizon(0), Horizon(0, 7)), min_history=1).fit(panel).predict(panel, [length - 1])
    f = forecast.mean[:, 0].astype(float)
    hand = np.maximum(f[..., None] + np.sqrt(f + np.array([0.1, 0.7]))[..., None] * Z, 0)
    np.testing.assert_allclose(forecast.values[:, 0], hand, rtol=1e-5)
    assert (f > 0).all()


def test_a_series_never_sold_is_forecast_to_sell_nothing_in_any_company():
    panel = panel_of([*np.zeros((2, 120)), *poisson(5, mean=0.3)])
    forecast = engine().fit(panel).predict(panel, [119])
    assert not forecast.values[:2].any()
    assert not forecast.mean[:2].any()
    assert forecast.values[2:].max() > 0


def test_errors_of_sums_know_that_days_move_together():
    """Weeks share a factor: the spread of a week is close to seven times that of a day, far from sqrt(7)."""
    rng = np.random.default_rng(1)
    factor = np.repeat(rng.normal(0, 0.3, (200, 30)), 7, axis=1)
    panel = panel_of(np.maximum(100 * (1 + factor), 0))
    model = engine((Horizon(0), Horizon(0, 7)), model="window-average", step=7).fit(panel)
    values = model.predict(panel, [panel.last]).values.mean(axis=(0, 1))
    spread = values[:, 4] - values[:, 0]
    assert spread[1] / spread[0] == pytest.approx(7, rel=0.1)


def test_constant_demand_has_no_spread():
    panel = panel_of(np.full((3, 100), 4.0))
    np.testing.assert_allclose(engine().fit(panel).predict(panel, [99]).values, 4.0, rtol=1e-5)


def test_a_form_can_be_asked_for_and_is_kept(tmp_path):
    panel = panel_of(poisson())
    model = engine(form="multiplicative").fit(panel)
    assert model.tables_.form is Form.MULTIPLICATIVE
    model.save(tmp_path)
    again = load(tmp_path) if model.name in MODELS else DistributionEngine.load(tmp_path)
    assert again.tables_.form is Form.MULTIPLICATIVE
    for array in ("edges", "quantiles", "n_errors"):
        np.testing.assert_array_equal(getattr(again.tables_, array), getattr(model.tables_, array))
    assert again.tables_.quantiles.shape[0] == len(ERROR_CLASSES)
    (tmp_path / "errors.npz").write_bytes(b"PK")
    with pytest.raises(StoreError, match=r"errors\.npz"):
        DistributionEngine.load(tmp_path)


def test_a_window_forgets_what_lies_before_it():
    rows = poisson(4)
    other = rows.copy()
    other[:, :60] = 500
    one, same = (
        engine(window=40, model="window-average")._path(panel_of(r), 119, 3) for r in (rows, other)
    )  # fmt: skip
    np.testing.assert_array_equal(one, same)


def test_errors_of_ended_products_stand_apart():
    """Slow sellers and products that ended have forecasts near zero alike, but only the first still sell."""
    rng = np.random.default_rng(3)
    slow = np.where(rng.random((80, 420)) < 0.05, rng.integers(3, 9, (80, 420)), 0).astype(float)
    ended = np.where(rng.random((80, 420)) < 0.2, rng.integers(3, 9, (80, 420)), 0).astype(float)
    ended[:, 60:] = 0.0
    panel = panel_of(np.concatenate([slow, ended]))
    model = forecaster("window-average", horizons=[Horizon(0, 14)], levels=[0.5, 0.95, 0.99])
    values = model.fit(panel).predict(panel, [panel.last]).values[:, 0, 0]
    assert np.median(values[:80, 1]) > 2.0
    assert (values[80:, 1] < 0.2).all()
