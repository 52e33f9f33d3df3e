"""The laws of every forecaster, run over the whole table of names; a new name is held to them without a new test."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from shelfcast.data.panel import Panel
from shelfcast.errors import ConfigError, DataError, NotFittedError, StoreError
from shelfcast.horizons import Horizon, per_period
from shelfcast.models.base import Ability, Forecaster
from shelfcast.models.table import forecaster, load, makers
from shelfcast.periods import Frequency
from shop import DAY, WEEKDAYS, panel_of, rewritten_after

NAMES = sorted(makers())
SLOW = ("arima", "ets", "theta")  # a search over forms for every single series
NETWORKS = ("mq-cnn", "mq-fnn", "mq-rnn", "mqtransformer", "rnn-distribution", "rnn-point")
TINY = {"steps": 12, "series": 8, "origins": 4, "width": 8, "hidden": 8, "reach": 7, "forks": 16}
SMALL = {
    "blend": {"members": ["recent-quantiles", "sqrf"], "member_settings": {"sqrf": {"n_trees": 10, "n_rows": 50_000}}},
    "forest-point": {"n_trees": 16, "n_rows": 100_000, "n_origins": 16},
    "sqrf": {"n_trees": 25, "n_rows": 100_000},
}
LISTED = [pytest.param(name, marks=pytest.mark.heavy) if name in SLOW else name for name in NAMES]
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
HORIZONS = (*per_period(2), Horizon(9), Horizon(0, 7), Horizon(2, 5))
ORIGIN = 19_723 + 118
ARRAYS = ("start", "indptr", "demand", "observed", "past", "known", "place")


@pytest.fixture(params=LISTED)
def name(request):
    """Every name in the table."""
    return request.param


def made(name, horizons=HORIZONS, levels=LEVELS):
    settings = {"n_origins": 3} if name in SLOW else TINY if name in NETWORKS else SMALL.get(name, {})
    return forecaster(name, horizons=horizons, levels=levels, **settings)


def needs_many_series(name):
    """Skip a law of hundreds of series for a model that takes seconds for each."""
    if name in SLOW:
        pytest.skip("too slow for so many series")


class Fitted(dict):
    """Name -> forecaster fitted on a panel, made when first asked for."""

    def __init__(self, panel):
        super().__init__()
        self.panel = panel

    def __missing__(self, name):
        self[name] = made(name).fit(self.panel)
        return self[name]


@pytest.fixture(scope="module")
def fitted(shop_panel):
    """Every forecaster, fitted on the shop as of `ORIGIN`."""
    return Fitted(shop_panel.as_of(ORIGIN))


def assert_same(one, other, **tolerance):
    np.testing.assert_allclose(one.values, other.values, **{"rtol": 1e-5, "atol": 1e-6} | tolerance)
    assert (one.mean is None) == (other.mean is None)
    if one.mean is not None:
        np.testing.assert_allclose(one.mean, other.mean, **{"rtol": 1e-5, "atol": 1e-6} | tolerance)


def assert_sound(forecast):
    """Finite, never negative, non-decreasing in level."""
    assert np.isfinite(forecast.values).all()
    assert (forecast.values >= 0).all()
    assert (np.diff(forecast.values, axis=-1) >= 0).all()
    assert forecast.mean is None or (np.isfinite(forecast.mean).all() and (forecast.mean >= 0).all())


def sound_or_refused(model, panel, origins):
    """A sound forecast, or a named refusal by a model that does not claim to forecast series without rows."""
    try:
        assert_sound(model.predict(panel, origins))
    except DataError:
        assert Ability.COLD_START not in model.abilities


# --- what a forecaster is --------------------------------------------------------------------------------------------


def test_it_is_what_the_table_says(name):
    model = made(name)
    assert isinstance(model, Forecaster)
    assert model.name == name
    assert (model.horizons, model.levels) == (HORIZONS, LEVELS)
    assert all(isinstance(ability, Ability) for ability in model.abilities)


def test_fit_returns_itself_and_predict_before_it_is_refused(name, shop_panel, tmp_path):
    model = made(name)
    with pytest.raises(NotFittedError, match=f"'{name}' has not been fitted"):
        model.predict(shop_panel, [ORIGIN])
    with pytest.raises(NotFittedError, match=name):
        model.save(tmp_path / "m")
    assert model.fit(shop_panel) is model


def test_unknown_names_and_settings_name_the_nearest(name):
    with pytest.raises(ConfigError, match=f"did you mean '{name}'"):
        forecaster(f"{name}x", horizons=1)
    with pytest.raises(ConfigError, match="no such setting") as error:
        forecaster(name, horizons=1, min_histroy=3)
    assert error.value.key == "model.min_histroy"
    assert "there are:" in str(error.value)
    for wrong in ({"horizons": 0}, {"horizons": [(0, 0)]}, {"horizons": 1, "levels": [50]}):
        with pytest.raises(ConfigError):
            forecaster(name, **wrong)


# --- (1) axes and order ----------------------------------------------------------------------------------------------


def test_axes_are_those_asked_for(fitted, name, shop_panel):
    origins = [ORIGIN - 7, ORIGIN, ORIGIN - 30]
    forecast = fitted[name].predict(shop_panel, origins)
    assert forecast.values.shape == (6, 3, len(HORIZONS), len(LEVELS))
    assert forecast.values.dtype == np.float32
    assert (forecast.origins, forecast.horizons, forecast.levels) == (tuple(origins), HORIZONS, LEVELS)
    assert forecast.series.equals(shop_panel.series.select("item"))
    assert (forecast.frequency, forecast.model) == (DAY, name)
    assert_sound(forecast)
    assert forecast.values.max() > 0
    assert forecast.table().height == 6 * 3 * len(HORIZONS)


# --- (2) no look-ahead -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [ORIGIN, ORIGIN - 20, 19_723 + 69, 19_723 + 5])
def test_nothing_after_an_origin_changes_what_is_said_there(fitted, name, shop_panel, origin):
    said = fitted[name].predict(shop_panel, [origin])
    assert_same(fitted[name].predict(shop_panel.as_of(origin), [origin]), said, rtol=0, atol=0)
    for seed in (0, 1):
        other = rewritten_after(shop_panel, origin, seed)
        assert_same(fitted[name].predict(other, [origin]), said, rtol=0, atol=0)


def test_fitting_sees_only_what_it_is_shown(fitted, name, shop_panel):
    other = rewritten_after(shop_panel, ORIGIN)
    again = made(name).fit(other.as_of(ORIGIN))
    assert_same(again.predict(shop_panel, [ORIGIN]), fitted[name].predict(shop_panel, [ORIGIN]), rtol=0, atol=0)


def test_origins_do_not_change_each_other(fitted, name, shop_panel):
    origins = [ORIGIN - 3, ORIGIN, ORIGIN - 50]
    together = fitted[name].predict(shop_panel, origins)
    for origin in origins:
        assert_same(fitted[name].predict(shop_panel, [origin]), together.at([origin]))


# --- (3) company changes nothing -------------------------------------------------------------------------------------


def test_order_of_series_changes_nothing(fitted, name, shop_panel):
    said = fitted[name].predict(shop_panel, [ORIGIN])
    order = np.array([4, 1, 5, 0, 3, 2])
    moved = fitted[name].predict(shop_panel.take(order), [ORIGIN])
    assert moved.series["item"].to_list() == [f"item-{i:02d}" for i in order]
    assert_same(moved, said.take(order))


def test_the_presence_of_others_changes_nothing(fitted, name, shop_panel):
    said = fitted[name].predict(shop_panel, [ORIGIN])
    for chosen in (slice(2, 3), slice(0, 4), np.array([5])):
        assert_same(fitted[name].predict(shop_panel.take(chosen), [ORIGIN]), said.take(chosen))


def test_names_change_nothing(fitted, name, shop_panel):
    """A model that uses static columns may know items by their key: it is fitted on the other names, too."""
    renamed = shop_panel.series.with_columns(item=pl.format("another-{}", pl.col("item").str.reverse()))
    panel, model = replace(shop_panel, series=renamed), fitted[name]
    if Ability.STATIC in model.abilities:
        model = made(name).fit(panel.as_of(ORIGIN))
    assert_same(model.predict(panel, [ORIGIN]), fitted[name].predict(shop_panel, [ORIGIN]))


def test_no_company_at_all(fitted, name, shop_panel):
    columns = {key: getattr(shop_panel, key)[:0] for key in ("past", "known")}
    alone = replace(
        panel_of([[]], last=ORIGIN, static={"department": ["toys"]}), names=shop_panel.names, **columns
    )  # fmt: skip
    sound_or_refused(fitted[name], alone, [ORIGIN])
    assert fitted[name].predict(shop_panel.take([]), [ORIGIN]).values.shape[0] == 0


# --- (4) scale -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.25, 3.0, 1e5])
def test_demand_times_c_gives_quantiles_times_c(name, shop_panel, factor):
    model = made(name)
    if Ability.SCALE_EQUIVARIANT not in model.abilities:
        pytest.skip("not claimed")
    panel = shop_panel.as_of(ORIGIN)
    scaled = replace(panel, demand=panel.demand * np.float32(factor))
    one = model.fit(panel).predict(panel, [ORIGIN])
    other = made(name).fit(scaled).predict(scaled, [ORIGIN])
    np.testing.assert_allclose(other.values, one.values * factor, rtol=1e-4, atol=1e-4 * factor)
    np.testing.assert_allclose(other.mean, one.mean * factor, rtol=1e-4, atol=1e-4 * factor)


# --- (5) unobserved is not zero --------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.3, 0.45])
def test_days_without_stock_do_not_pull_the_forecast_down(name, share):
    needs_many_series(name)
    rng = np.random.default_rng(5)
    demand = rng.poisson(40, (200, 250)).astype(float)
    seen = rng.random((200, 250)) >= share
    full, holed = panel_of(demand), panel_of(demand, observed=seen)
    whole = made(name).fit(full).predict(full, [249]).values
    with_holes = made(name).fit(holed).predict(holed, [249]).values
    ratio = with_holes.mean(axis=(0, 1)) / whole.mean(axis=(0, 1))
    assert (np.abs(ratio[:, 1:4] - 1) < 0.06).all(), ratio
    assert (ratio[:, 0] > 0.8).all(), ratio


# --- (6) spans -------------------------------------------------------------------------------------------------------


def test_a_longer_span_is_never_smaller_where_claimed(name, shop_panel):
    model = made(name, horizons=[(0, 1), (0, 2), (0, 7), (0, 14)])
    if Ability.MONOTONE_SPAN not in model.abilities:
        pytest.skip("not claimed")
    values = model.fit(shop_panel.as_of(ORIGIN)).predict(shop_panel, [ORIGIN]).values
    assert (np.diff(values, axis=2) >= 0).all()


def test_a_span_is_wider_than_a_period_and_narrower_than_added_quantiles(name):
    """Independent days: the spread of a sum of n grows like sqrt(n), that of added quantiles like n."""
    needs_many_series(name)
    demand = np.random.default_rng(2).poisson(20, (300, 300))
    panel = panel_of(demand)
    values = made(name, horizons=[(0, 1), (0, 7)]).fit(panel).predict(panel, [299]).values.mean(axis=(0, 1))
    spread = values[:, 4] - values[:, 0]
    if Ability.SPANS not in made(name).abilities:
        pytest.skip("not claimed")
    rough = 0.08 if name in NETWORKS else 0.05  # after a dozen steps a median among whole numbers is not sharp yet
    assert values[1, 2] / values[0, 2] == pytest.approx(7, rel=rough)
    assert 1.7 < spread[1] / spread[0] < 4.0


# --- (7) keeping -----------------------------------------------------------------------------------------------------


def test_saved_and_loaded_says_the_same(fitted, name, shop_panel, tmp_path):
    fitted[name].save(tmp_path / "deep" / "model")
    again = load(tmp_path / "deep" / "model")
    assert type(again) is type(fitted[name])
    assert (again.name, again.horizons, again.levels) == (name, HORIZONS, LEVELS)
    origins = [ORIGIN]
    if Ability.COLD_START in again.abilities:
        origins.append(shop_panel.first - 10)  # there, what was learned in `fit` is all there is
    assert_same(again.predict(shop_panel, origins), fitted[name].predict(shop_panel, origins), rtol=0, atol=0)


def test_another_process_says_the_same(fitted, shop_panel, tmp_path):
    shop_panel.save(tmp_path / "panel")
    quick = [name for name in NAMES if name not in SLOW]
    for name in quick:
        fitted[name].save(tmp_path / name)
    script = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from shelfcast.data.panel import Panel\n"
        "from shelfcast.models.table import load\n"
        "folder, origin, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]\n"
        "panel = Panel.open(folder / 'panel')\n"
        "np.savez(folder / 'said.npz', **{n: load(folder / n).predict(panel, [origin]).values for n in names})\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path), str(ORIGIN), *quick], check=True)
    with np.load(tmp_path / "said.npz") as said:
        for name in quick:
            np.testing.assert_array_equal(said[name], fitted[name].predict(shop_panel, [ORIGIN]).values, err_msg=name)


def test_one_seed_one_forecast(name, shop_panel):
    one, same = (made(name).fit(shop_panel, seed=7).predict(shop_panel, [ORIGIN]) for _ in range(2))
    assert_same(one, same, rtol=0, atol=0)


def test_the_panel_is_left_as_it_was(name, shop_panel):
    panel = replace(shop_panel, **{array: getattr(shop_panel, array).copy() for array in ARRAYS})
    for array in ARRAYS:
        getattr(panel, array).setflags(write=False)
    before = panel.fingerprint()
    made(name).fit(panel).predict(panel, [ORIGIN, ORIGIN - 40])
    assert panel.fingerprint() == before


def test_an_unwritable_place_and_a_damaged_model_are_store_errors(fitted, name, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="cannot write"):
        fitted[name].save(tmp_path / "file" / "model")
    fitted[name].save(tmp_path / "model")
    stranger = f'{{"name": "{name}", "settings": {{"horizons": [[0, 1]], "levels": [0.5], "colour": "red"}}}}'.encode()
    for path in sorted(path for path in (tmp_path / "model").rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for part in (b"", whole[: len(whole) // 2], b"[]", b"{}", stranger):
            path.write_bytes(part)
            with pytest.raises(StoreError, match=r"shelfcast fit|Learn them again"):
                load(tmp_path / "model")
        path.write_bytes(whole)
    with pytest.raises(StoreError, match="expected a saved model"):
        load(tmp_path / "nothing")


# --- (8) nothing, little, and strange --------------------------------------------------------------------------------


@pytest.mark.parametrize("company", [0, 4])
def test_zeros_give_zeros_alone_and_in_company(name, company):
    panel = panel_of([*np.zeros((3, 200)), *np.random.default_rng(3).poisson(4, (company, 200))])
    forecast = made(name).fit(panel).predict(panel, [199]).take(slice(0, 3))
    assert not forecast.values.any()
    assert forecast.mean is None or not forecast.mean.any()


def test_a_history_without_past_origins_still_gives_a_law_with_a_width(name):
    """Nine days of some sixteen units a day, and horizons that reach ten: no past error was ever seen."""
    panel = panel_of(np.random.default_rng(4).poisson(16, (5, 9)))
    forecast = made(name).fit(panel).predict(panel, [8])
    assert_sound(forecast)
    assert (forecast.values[..., -1] > forecast.values[..., 0]).all()


def test_a_series_without_rows_has_a_forecast_or_a_named_refusal(name, shop_panel):
    keys = pl.concat([shop_panel.series, pl.DataFrame({"item": ["new"], "department": ["toys"]})])
    panel = replace(
        shop_panel,
        series=keys,
        start=np.append(shop_panel.start, np.int32(ORIGIN)),
        indptr=np.append(shop_panel.indptr, shop_panel.indptr[-1]),
        place=np.append(shop_panel.place, np.int32(0)),
    )
    model = made(name).fit(panel)
    if Ability.COLD_START in model.abilities:
        forecast = model.predict(panel, [ORIGIN])
        assert_sound(forecast)
        assert forecast.values[-1].max() > 0
    else:
        with pytest.raises(DataError, match="new"):
            model.predict(panel, [ORIGIN])


STRANGE = {
    "one observation": ([[3.0]], None, [200]),
    "all missing": ([np.ones(200)], [np.zeros(200)], [0]),
    "constant": ([np.full(201, 4.0)], None, [0]),
    "one spike": ([np.where(np.arange(201) == 150, 1e9, 1.0)], None, [0]),
    "huge": ([np.random.default_rng(0).poisson(5, 201) * 1e9], None, [0]),
    "tiny": ([np.random.default_rng(0).poisson(5, 201) * 1e-9], None, [0]),
    "short": ([[1.0, 2.0, 3.0]], None, [198]),
    "observed one day in ten": ([np.arange(201.0)], [np.arange(201) % 10 == 0], [0]),
    "one weekday only": ([np.where(np.arange(201) % 7 == 2, 9.0, 0.0)], None, [0]),
    "ended": ([np.ones(60)], None, [0]),
    "not yet begun": ([np.ones(60)], None, [250]),
    "none": ([[]], None, [0]),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_series_give_sound_forecasts_alone_and_in_company(name, kind):
    rows, observed, starts = STRANGE[kind]
    for company in (0, 3):
        others = np.random.default_rng(1).poisson(3, (company, 201))
        panel = panel_of(
            [*rows, *others],
            starts=[*starts, *[0] * company],
            observed=None if observed is None else [*observed, *np.ones((company, 201))],
            last=200,
        )
        model = made(name).fit(panel.as_of(190))
        sound_or_refused(model, panel, [200, 100, 0])


def test_origins_outside_the_panel(fitted, name, shop_panel):
    """Before all history only launches are known; after the last period nothing is, so that is refused."""
    with pytest.raises(DataError, match="the last period with demand"):
        fitted[name].predict(shop_panel, [shop_panel.last, shop_panel.last + 5])
    sound_or_refused(fitted[name], shop_panel, [shop_panel.first - 10])


@pytest.mark.parametrize("frequency", ["hour", "day", "week", "week-sun", "month"])
@pytest.mark.parametrize("length", [3, 30, 200])
def test_every_frequency(name, frequency, length):
    demand = np.random.default_rng(0).poisson(6, (4, length))
    panel = panel_of(demand, starts=[600] * 4, frequency=Frequency.parse(frequency))
    forecast = made(name).fit(panel).predict(panel, [panel.last, panel.last - 2])
    assert_sound(forecast)
    assert forecast.frame().height == 4 * 2 * len(HORIZONS) * len(LEVELS)


# --- (9) calibration -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known_law():
    """200 series of negative binomial demand with a weekly season, 400 days; the last 20 are the truth."""
    rng = np.random.default_rng(11)
    means = rng.uniform(8, 40, 200)[:, None] * WEEKDAYS[DAY.season_position(np.arange(400))]
    return panel_of(rng.poisson(rng.gamma(10.0, means / 10.0)))


@pytest.mark.parametrize(("horizon", "band"), [(Horizon(0), 0.05), (Horizon(5), 0.05), (Horizon(0, 7), 0.06)])
def test_quantiles_cover_what_they_say(name, known_law, horizon, band):
    """Each level lies between the shares of truth below and at most its quantile, within the band; seven origins.

    The bands leave room for few samples: n values interpolated at place `(n - 1) x level` cover
    `((n - 1) x level + 1) / (n + 1)`, which is 0.083 for level 0.05 and 26 values.
    """
    needs_many_series(name)
    band += 0.02 * (name in NETWORKS)  # one law for all series, after a dozen steps: their errors are not independent
    origins = list(range(379, 386))
    model = made(name, horizons=[horizon]).fit(known_law.as_of(origins[0]))
    values = model.predict(known_law, origins).values[:, :, 0]
    truth, whole = known_law.labels(origins, [horizon])
    assert whole.all()
    below, at_most = truth[..., 0] < values.transpose(2, 0, 1), truth[..., 0] <= values.transpose(2, 0, 1)
    for q, level in enumerate(LEVELS):
        low, high = below[q].mean(), at_most[q].mean()
        assert low - band <= level <= high + band, f"level {level}: covered {low:.3f} to {high:.3f}"


def test_the_table_of_names_is_complete():
    assert set(NAMES) >= {"seasonal-naive", "recent-quantiles", "season-quantiles", "season-profile"}
    assert isinstance(panel_of([[1]]), Panel)
