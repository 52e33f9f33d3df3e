"""Seasonal factors and holiday effects: known seasons are recovered, items shrunk to groups, nothing looks ahead."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from promoted import draw, made
from shelfcast.data.panel import Calendar
from shelfcast.errors import StoreError
from shelfcast.models.elasticity import Elasticities
from shelfcast.models.events import event_columns
from shelfcast.models.season_factors import BOUNDS, filled, shrunken_factors, week_bin, year_bin
from shelfcast.models.seasonal import SeasonalAddon
from shelfcast.periods import Frequency
from shop import WEEKDAYS, panel_of, rewritten_after

DAY, WEEK, MONTH, HOUR = (Frequency.parse(name) for name in ("day", "week", "month", "hour"))
START = {"day": 18_262, "week": 2_608, "month": 600, "hour": 18_262 * 24}  # about 2020-01-01


def _wave(frequency, periods, size=0.4):
    """A yearly wave by date."""
    dates = frequency.to_date(periods).astype("datetime64[D]")
    day = (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(int)
    return 1 + size * np.sin(2 * np.pi * day / 365.25)


def _panel(frequency, factor, *, n=20, seed=0, groups=None, calendar=None, shape=20.0, level=30.0):
    """Gamma demand around level x factor; `factor` (N, T) or (T,)."""
    rng = np.random.default_rng(seed)
    factor = np.broadcast_to(factor, (n, np.shape(factor)[-1]))
    means = level * rng.uniform(0.3, 2.0, (n, 1)) * factor
    names = {"item": [f"item-{i:02d}" for i in range(n)], "kind": groups or ["a"] * n}
    demand = rng.gamma(shape, means / shape)
    known = np.zeros((demand.size, 0))
    start = START[str(frequency).split("-")[0]]
    return made(demand, known, pl.DataFrame(names), start=start, frequency=frequency, columns=(), calendar=calendar)


def _weekly(n_weeks=160, **settings):
    wave = _wave(WEEK, START["week"] + np.arange(n_weeks))
    return _panel(WEEK, wave, **settings), wave


def test_the_year_is_recovered_and_its_mean_is_one():
    panel, _ = _weekly()
    learned = SeasonalAddon.learn(panel)
    ahead = panel.last + np.arange(1, 53)
    found = learned.factors(panel, ahead[0], ahead[-1])
    assert found.shape == (20, 52)
    assert abs(found - _wave(WEEK, ahead)).max() < 0.12
    assert abs(found - _wave(WEEK, ahead)).mean() < 0.03
    assert learned.year.mean(axis=1) == pytest.approx(1.0)


def test_groups_have_seasons_of_their_own():
    t = START["week"] + np.arange(160)
    up, down = _wave(WEEK, t), _wave(WEEK, t, -0.4)
    panel = _panel(WEEK, np.repeat([up, down], 10, axis=0), groups=["a"] * 10 + ["b"] * 10)
    ahead = panel.last + np.arange(1, 53)
    found = SeasonalAddon.learn(panel, "kind").factors(panel, ahead[0], ahead[-1])
    assert abs(found[:10] - _wave(WEEK, ahead)).mean() < 0.05
    assert abs(found[10:] - _wave(WEEK, ahead, -0.4)).mean() < 0.05
    together = SeasonalAddon.learn(panel)
    assert abs(together.year[0] - 1).max() < 0.1  # opposite seasons cancel


def test_weekdays_and_year_of_daily_data():
    t = START["day"] + np.arange(3 * 365)
    truth = _wave(DAY, t) * WEEKDAYS[week_bin(DAY, t)]
    panel = _panel(DAY, truth, shape=5.0)
    learned = SeasonalAddon.learn(panel)
    assert learned.week[0] == pytest.approx(WEEKDAYS / WEEKDAYS.mean(), abs=0.03)
    found = learned.factors(panel, panel.first, panel.last)
    assert abs(found / truth - 1).mean() < 0.05


def test_hours_of_the_week_and_months():
    t = START["hour"] + np.arange(24 * 7 * 6)
    by_hour = np.where((t % 24 >= 8) & (t % 24 < 20), 1.7, 0.3)
    hourly = _panel(HOUR, by_hour, n=8, shape=10.0)
    learned = SeasonalAddon.learn(hourly)
    assert abs(learned.factors(hourly, t[0], t[-1]) - by_hour).mean() < 0.06
    assert (learned.year == 1.0).all()
    t = START["month"] + np.arange(48)
    truth = 1 + 0.5 * np.cos(2 * np.pi * (t % 12) / 12)
    monthly = _panel(MONTH, truth)
    found = SeasonalAddon.learn(monthly).factors(monthly, monthly.last + 1, monthly.last + 12)
    assert found == pytest.approx(np.broadcast_to(truth[:12], (20, 12)), abs=0.1)


def test_under_a_year_the_years_factors_are_one():
    panel, _ = _weekly(n_weeks=51)
    learned = SeasonalAddon.learn(panel)
    assert (learned.factors(panel, panel.first, panel.last + 60) == 1.0).all()
    daily = _panel(DAY, WEEKDAYS[week_bin(DAY, START["day"] + np.arange(100))])
    found = SeasonalAddon.learn(daily)
    assert (found.year == 1.0).all()
    assert found.week[0] == pytest.approx(WEEKDAYS / WEEKDAYS.mean(), abs=0.05)


def test_one_year_shows_the_wave_and_smooths_the_noise():
    panel, wave = _weekly(n_weeks=54, shape=4.0, n=10)
    found = SeasonalAddon.learn(panel).factors(panel, panel.first, panel.first + 51)
    raw = panel.demand.reshape(10, 54)[:, :52] / panel.demand.reshape(10, 54).mean(axis=1, keepdims=True)
    assert abs(found - wave[:52]).mean() < 0.4 * abs(raw - wave[:52]).mean()


def test_noise_alone_gives_factors_of_about_one():
    panel = _panel(WEEK, np.ones(160), shape=2.0)
    assert abs(SeasonalAddon.learn(panel).factors(panel, panel.first, panel.last) - 1).mean() < 0.04


def test_an_item_with_its_own_season_is_between_its_group_and_its_data():
    t = START["week"] + np.arange(160)
    factor = np.tile(_wave(WEEK, t), (20, 1))
    factor[0] = _wave(WEEK, t, -0.4)
    panel = _panel(WEEK, factor, shape=5.0, seed=3)
    found = SeasonalAddon.learn(panel).factors(panel, panel.first, panel.last)
    slope = [np.polyfit(_wave(WEEK, t) - 1, row - 1, 1)[0] for row in found]
    assert -1.1 < slope[0] < 0.6
    assert np.mean(slope[1:]) == pytest.approx(1.0, abs=0.1)


# ---- events


def _moving_event(n_days=4 * 365, size=2.5, before=1.4):
    """A daily panel with an event on a moving date each year, and a rise the day before."""
    t = START["day"] + np.arange(n_days)
    on = np.zeros(n_days)
    on[[100, 450, 840, 1180]] = 1.0
    eve = np.roll(on, -1)
    calendar = Calendar(DAY, t[0], on[None, :, None].astype(np.float32), ("event=Fair",))
    factor = _wave(DAY, t, 0.2) * np.where(on > 0, size, 1.0) * np.where(eve > 0, before, 1.0)
    return _panel(DAY, factor, calendar=calendar, shape=10.0), factor, on


def test_event_effects_go_to_the_event_and_its_eve():
    panel, factor, on = _moving_event()
    learned = SeasonalAddon.learn(panel)
    effects = np.exp(learned.events.effects[0])  # offsets -2 .. 2
    assert effects == pytest.approx([1.0, 1.4, 2.5, 1.0, 1.0], rel=0.12)
    found = learned.factors(panel, panel.first, panel.last)
    assert abs(found / factor - 1)[:, on > 0].mean() < 0.1
    assert abs(np.diff(learned.year[0])).max() < 0.1  # the peak is not in the season


def test_an_event_week_acts_on_its_own_week_only():
    t = START["week"] + np.arange(160)
    on = np.zeros(160)
    on[[20, 70, 125]] = 1
    calendar = Calendar(WEEK, t[0], on[None, :, None].astype(np.float32), ("holiday",))
    panel = _panel(WEEK, np.where(on > 0, 2.0, 1.0), calendar=calendar)
    learned = SeasonalAddon.learn(panel)
    assert learned.events.columns == (("holiday", True, (0,)),)
    assert np.exp(learned.events.effects[0]) == pytest.approx([2.0], rel=0.1)


def test_repeated_columns_share_the_effect_and_others_are_no_events():
    panel, factor, on = _moving_event()
    wide = np.stack((on, on, np.random.default_rng(0).normal(size=len(on)), np.zeros(len(on))), axis=1)
    calendar = Calendar(DAY, panel.first, wide[None].astype(np.float32), ("holiday", "holiday=Fair", "heat", "never"))
    twice = replace(panel, calendar=calendar)
    assert [name for name, _, _ in event_columns(twice)] == ["holiday", "holiday=Fair"]
    found = SeasonalAddon.learn(twice).factors(twice, panel.first, panel.last)
    assert abs(found / factor - 1)[:, on > 0].mean() < 0.1


def test_frequent_columns_and_places():
    """A pay-day column on a third of the days, other days in each of two places."""
    t = START["day"] + np.arange(500)
    pay = np.stack((t % 30 < 10, t % 30 >= 20)).astype(np.float32)
    place = np.arange(20) % 2
    calendar = Calendar(DAY, t[0], pay[:, :, None], ("pay",))
    panel = _panel(DAY, np.where(pay[place] > 0, 1.5, 1.0), calendar=calendar)
    panel = replace(panel, place=place.astype(np.int32))
    learned = SeasonalAddon.learn(panel)
    assert learned.events.columns == (("pay", False, (0,)),)
    found = learned.factors(panel, panel.first, panel.last)
    ratio = [row[p > 0].mean() / row[p == 0].mean() for row, p in zip(found, pay[place], strict=True)]
    assert ratio == pytest.approx([1.5] * 20, rel=0.06)


# ---- edges and laws


def test_zeros_short_and_empty_series_have_positive_finite_factors():
    rows = [np.zeros(200), np.array([3.0]), [], np.tile([5.0, 0, 0, 0, 0, 0, 0], 60), np.full(300, 1e8)]
    panel = panel_of(rows, starts=[0, 50, 0, 0, 0])
    learned = SeasonalAddon.learn(panel)
    found = learned.factors(panel, 0, 430)
    assert np.isfinite(found).all()
    assert (found >= BOUNDS[0]).all()
    assert (found <= BOUNDS[1]).all()
    silent = replace(panel, observed=np.zeros_like(panel.observed), demand=np.zeros_like(panel.demand))
    assert (SeasonalAddon.learn(silent).factors(silent, 0, 20) == 1.0).all()


def test_demand_after_the_origin_changes_nothing():
    panel, _ = _weekly()
    origin = panel.first + 120
    one = SeasonalAddon.learn(panel.as_of(origin), "kind").factors(panel, panel.first, panel.last)
    other = SeasonalAddon.learn(rewritten_after(panel, origin).as_of(origin), "kind")
    assert (one == other.factors(panel, panel.first, panel.last)).all()


def test_scaled_demand_has_nearly_the_same_factors_and_order_does_not_matter():
    panel, _ = _weekly()
    base = SeasonalAddon.learn(panel, "kind").factors(panel, 2700, 2760)
    scaled = replace(panel, demand=panel.demand * np.float32(7.0))
    assert SeasonalAddon.learn(scaled, "kind").factors(scaled, 2700, 2760) == pytest.approx(base, abs=0.03)
    order = np.random.default_rng(0).permutation(20)
    mixed = panel.take(order)
    assert SeasonalAddon.learn(mixed, "kind").factors(mixed, 2700, 2760) == pytest.approx(base[order], abs=1e-9)


def test_promotions_are_divided_out_when_elasticities_are_given():
    """All cuts fall into the same weeks of the year: without the lift they look like a season."""
    panel, _ = draw(n_weeks=160, cut=0.0, noise=0.1, seed=1)
    on = np.isin(np.arange(160) % 52, (10, 11, 30)) & (np.random.default_rng(0).random((72, 160)) < 0.7)
    known = panel.known.reshape(72, 160, 3).copy()
    known[:, :, 0] *= np.where(on, 0.7, 1.0)
    demand = (panel.demand.reshape(72, 160) * np.where(on, 2.0, 1.0)).ravel().astype(np.float32)
    panel = replace(panel, known=known.reshape(-1, 3), demand=demand)
    learned = Elasticities.learn(panel, group="category", reference="base")
    with_lift, without = (SeasonalAddon.learn(panel, elasticity=e).year[0] for e in (learned, None))
    assert abs(np.diff(with_lift)).max() < 0.08
    assert abs(np.diff(without)).max() > 0.2


def test_unseen_items_take_their_groups_factors():
    panel, _ = _weekly()
    learned = SeasonalAddon.learn(panel, "kind")
    other = panel.take([0, 1])
    names = pl.DataFrame({"item": ["other", "third"], "kind": ["a", "?"]})
    found = learned.factors(replace(other, series=names), 2700, 2752)
    at = year_bin(WEEK, np.arange(2700, 2753))
    assert found == pytest.approx(np.stack((learned.year[1][at], learned.year[0][at])))


def test_shrunken_factors_by_hand():
    """Two repeats that agree keep their distance from 1; with pure disagreement nothing is kept."""
    agree = np.array([[[2.0, 2.0], [0.5, 0.5], [0.5, 0.5]]])
    ones = np.ones((1, 3, 2))
    assert shrunken_factors(agree, ones, np.zeros(1, int))[0] == pytest.approx([2.0, 0.5, 0.5])
    apart = np.array([[[2.0, 0.0], [0.0, 2.0], [1.5, 0.5]]])
    assert shrunken_factors(apart, ones, np.zeros(1, int))[0] == pytest.approx([1.0, 1.0, 1.0])
    nothing = np.array([[[0.0, 0.0], [1.5, 1.5], [1.5, 1.5]]])
    assert shrunken_factors(nothing, ones, np.zeros(1, int))[0] == pytest.approx([BOUNDS[0], 1.5, 1.5])
    assert filled(np.array([[1.0, np.nan, 3.0, np.nan]]))[0] == pytest.approx([1.0, 2.0, 3.0, 2.0])


def test_saved_and_loaded(tmp_path):
    panel, _, _ = _moving_event()
    learned = SeasonalAddon.learn(panel, "kind")
    learned.save(tmp_path / "model")
    again = SeasonalAddon.load(tmp_path / "model")
    assert (again.factors(panel, panel.first, panel.last) == learned.factors(panel, panel.first, panel.last)).all()
    with pytest.raises(StoreError, match="Learn them again"):
        SeasonalAddon.load(tmp_path)
