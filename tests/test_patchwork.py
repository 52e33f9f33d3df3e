"""The patchwork: equal to its parts, moved by planned prices, in every frequency, with odd series and totals."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from promoted import draw, made
from shelfcast.data.aggregates import with_aggregates
from shelfcast.errors import ConfigError, DataError, ShelfcastError
from shelfcast.horizons import Horizon, per_period
from shelfcast.models.addons import adjusted_path
from shelfcast.models.points import span_means
from shelfcast.models.smoothing import SES
from shelfcast.models.table import forecaster, load
from shelfcast.periods import Frequency
from shop import panel_of

LEVELS = (0.05, 0.5, 0.95)
HORIZONS = (*per_period(2), Horizon(0, 4))
PLAIN = [{"model": "ses", "season": False, "price": False}]
ALL_IN = [{"model": "ses"}]


def patchwork(**settings):
    return forecaster("patchwork", horizons=HORIZONS, levels=LEVELS, **settings)


def sound(forecast):
    values, mean = forecast.values, forecast.mean
    return (
        np.isfinite(values).all() and (values >= 0).all() and (np.diff(values, axis=-1) >= 0).all()
        and np.isfinite(mean).all() and (mean >= 0).all()
    )  # fmt: skip


@pytest.fixture(scope="module")
def promoted():
    """A weekly panel whose prices are known, shown up to four weeks before its end; and where that is."""
    panel, _ = draw()
    return panel, panel.last - 4


def test_with_one_rule_and_no_own_share_it_is_that_model(promoted):
    panel, origin = promoted
    seen = panel.as_of(origin)
    one = patchwork(rules=PLAIN, own_share=0).fit(seen).predict(panel, [origin, origin - 3])
    ses = forecaster("ses", horizons=HORIZONS, levels=LEVELS).fit(seen).predict(panel, [origin, origin - 3])
    np.testing.assert_array_equal(one.values, ses.values)
    np.testing.assert_array_equal(one.mean, ses.mean)


def test_with_all_own_share_it_is_the_season_profile():
    panel = panel_of(np.random.default_rng(0).poisson(9, (8, 150)))
    one = patchwork(own_share=1).fit(panel).predict(panel, [149])
    own = forecaster("season-profile", horizons=HORIZONS, levels=LEVELS).fit(panel).predict(panel, [149])
    np.testing.assert_allclose(one.values, own.values, rtol=1e-6)


def test_half_of_each_is_the_mean_of_both():
    panel = panel_of(np.random.default_rng(0).poisson(9, (8, 150)))
    none, half, all_own = (
        patchwork(own_share=s).fit(panel).predict(panel, [149]).values for s in (0, 0.5, 1)
    )  # fmt: skip
    np.testing.assert_allclose(half, (none + all_own) / 2, rtol=1e-5)


def test_its_mean_is_the_adjusted_path_of_the_rule(promoted):
    panel, origin = promoted
    model = patchwork(rules=ALL_IN, own_share=0).fit(panel.as_of(origin))
    assert model.elasticity_ is not None
    path = adjusted_path(SES(), panel, origin, 4, model.seasonal_, model.elasticity_)
    forecast = model.predict(panel, [origin])
    np.testing.assert_allclose(forecast.mean[:, 0], span_means(path, HORIZONS), rtol=1e-5)


def test_each_series_goes_by_its_own_rule():
    rng = np.random.default_rng(1)
    panel = panel_of(rng.poisson(9, (6, 120)), static={"department": ["food", "toys"] * 3})
    rules = [
        {"department": "toys", "model": "croston", "season": False},
        {"department": "*", "model": "window-average", "season": False},
    ]
    forecast = patchwork(rules=rules, own_share=0).fit(panel).predict(panel, [119])
    for place, name in enumerate(("window-average", "croston")):
        alone = forecaster(name, horizons=HORIZONS, levels=LEVELS).fit(panel).predict(panel, [119])
        np.testing.assert_allclose(forecast.mean[place::2], alone.mean[place::2], rtol=1e-6)


def test_a_planned_price_cut_moves_only_its_period_and_series(promoted):
    """Elasticities of -1 and -2.5 at 30 % off: demand grows 1.4 to 2.4 times."""
    panel, origin = promoted
    model = patchwork(own_share=0).fit(panel.as_of(origin))
    periods, series = panel.row_periods(), panel.row_series()
    known = panel.known.copy()
    week = periods == origin + 2
    known[periods > origin, 0], known[periods > origin, 1] = known[periods > origin, 2], 0
    base = model.predict(replace(panel, known=known), [origin])
    known = known.copy()
    known[week & (series % 2 == 0), 0] *= 0.7
    cut = model.predict(replace(panel, known=known), [origin])
    ratio = cut.mean[:, 0] / base.mean[:, 0]
    np.testing.assert_allclose(ratio[:, 0], 1, rtol=1e-6)
    np.testing.assert_allclose(ratio[1::2], 1, rtol=1e-6)
    assert (ratio[::2, 1] > 1).all()
    assert 1.4 < np.median(ratio[::2, 1]) < 2.4
    assert (cut.values[::2, 0, 1] > base.values[::2, 0, 1]).all()


def test_what_is_planned_beyond_the_horizon_changes_nothing(promoted):
    panel, origin = promoted
    model = patchwork().fit(panel.as_of(origin))
    known = panel.known.copy()
    known[panel.row_periods() > origin + 4, :2] = 0.01
    one, other = (model.predict(p, [origin]).values for p in (panel, replace(panel, known=known)))
    np.testing.assert_array_equal(one, other)


def test_a_panel_without_prices_has_no_elasticities():
    panel = panel_of(np.random.default_rng(0).poisson(9, (8, 150)))
    model = patchwork().fit(panel)
    assert model.elasticity_ is None
    assert sound(model.predict(panel, [149]))


@pytest.mark.parametrize(("frequency", "n"), [("month", 60), ("week", 120), ("day", 200), ("hour", 24 * 15)])
def test_every_frequency_with_prices(frequency, n):
    rng = np.random.default_rng(0)
    frequency = Frequency.parse(frequency)
    price = np.where(rng.random((8, n)) < 0.2, 0.8, 1.0)
    known = np.stack((price, price < 1, np.ones((8, n))), axis=2)
    keys = pl.DataFrame({"item": [f"item-{i}" for i in range(8)]})
    panel = made(rng.poisson(10 * price**-2), known, keys, start=600, frequency=frequency)
    origin = panel.last - 4
    forecast = patchwork().fit(panel.as_of(origin)).predict(panel, [origin])
    assert sound(forecast)
    assert forecast.mean[:, 0, 0].mean() == pytest.approx(11, rel=0.25)


STRANGE = {
    "zeros": np.zeros(150),
    "one sale": np.eye(150)[149],
    "huge": np.full(150, 1e9),
    "spike": np.where(np.arange(150) == 140, 1e12, 1.0),
    "wild": np.random.default_rng(3).lognormal(0, 12, 150),
    "tiny": np.random.default_rng(3).poisson(3, 150) * 1e-9,
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_series_breaks_neither_itself_nor_the_others(kind):
    """Medians of the others stay where they are without it, up to the noise of other bands of few errors."""
    others = np.random.default_rng(0).poisson(9, (20, 150))
    alone, together = panel_of(others), panel_of([*others, STRANGE[kind]])
    one = patchwork().fit(alone).predict(alone, [149])
    two = patchwork().fit(together).predict(together, [149])
    assert sound(two)
    np.testing.assert_allclose((two.values[:20, ..., 1] / one.values[..., 1]).mean(axis=0), 1, rtol=0.1)


def test_prices_missing_zero_and_absurd_do_not_crash(promoted):
    panel, origin = promoted
    known = panel.known.copy()
    series = panel.row_series()
    for place, value in enumerate((np.nan, 0.0, 1e30, -5.0)):
        known[series == place, 0] = value
    odd = replace(panel, known=known)
    assert sound(patchwork().fit(odd.as_of(origin)).predict(odd, [origin]))


def test_totals_are_series_like_others(promoted):
    panel, origin = promoted
    both = with_aggregates(panel, [["category"], []])
    model = patchwork(group="category").fit(both.as_of(origin))
    forecast = model.predict(both, [origin])
    assert both.n_series == panel.n_series + 3
    assert sound(forecast)
    mean = forecast.mean[:, 0, 0]
    assert mean[-3:].max() == pytest.approx(mean[: panel.n_series].sum(), rel=0.3)


def test_rules_of_the_fit_are_kept_whatever_becomes_of_the_file(tmp_path):
    panel = panel_of(np.random.default_rng(0).poisson(9, (8, 150)))
    path = tmp_path / "rules.toml"
    path.write_text('[[rules]]\nmodel = "croston"\nseason = false\n')
    model = patchwork(rules=str(path)).fit(panel)
    model.save(tmp_path / "model")
    said = model.predict(panel, [149]).values
    path.write_text('[[rules]]\nmodel = "window-average"\n')
    np.testing.assert_array_equal(load(tmp_path / "model").predict(panel, [149]).values, said)
    path.unlink()
    np.testing.assert_array_equal(load(tmp_path / "model").predict(panel, [149]).values, said)


def test_a_folder_of_a_model_with_prices_may_be_written_again_without(promoted, tmp_path):
    panel, origin = promoted
    with_price = patchwork(rules=ALL_IN).fit(panel.as_of(origin))
    assert with_price.elasticity_ is not None
    with_price.save(tmp_path)
    plain = replace(panel, names=replace(panel.names, price=None, promotions=()))
    model = patchwork().fit(plain.as_of(origin))
    model.save(tmp_path)
    assert load(tmp_path).elasticity_ is None
    np.testing.assert_array_equal(load(tmp_path).predict(plain, [origin]).values, model.predict(plain, [origin]).values)


def test_wrong_settings_say_what_is_wrong(tmp_path):
    panel = panel_of(np.random.default_rng(0).poisson(9, (3, 60)))
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="own_share"):
            patchwork(own_share=share)
    with pytest.raises(ConfigError, match="did you mean 'croston'"):
        patchwork(rules=[{"model": "crostn"}]).fit(panel)
    with pytest.raises(ConfigError, match="no rule fits 3 series"):
        patchwork(rules=[{"life": "ended", "model": "ses"}]).fit(panel)
    with pytest.raises(ConfigError, match="at least one rule"):
        patchwork(rules=[]).fit(panel)
    with pytest.raises(DataError, match=r"nowhere\.toml"):
        patchwork(rules=str(tmp_path / "nowhere.toml")).fit(panel)
    with pytest.raises(ShelfcastError, match="department"):
        patchwork(group="department").fit(panel)


def test_settings_are_kept(tmp_path):
    panel = panel_of(np.random.default_rng(0).poisson(9, (3, 60)))
    patchwork(rules=PLAIN, own_share=0.25, n_origins=5).fit(panel).save(tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["settings"]["own_share"] == 0.25
    again = load(tmp_path)
    assert (again.rules, again.own_share, again.n_origins) == (PLAIN, 0.25, 5)


def test_routes_count_every_series():
    panel = panel_of([*np.random.default_rng(0).poisson(9, (3, 300)), np.zeros(300)])
    table = patchwork().fit(panel).routes(panel, 299)
    assert table["series"].sum() == 4
    assert table["units"].sum() == pytest.approx(panel.demand.sum())
