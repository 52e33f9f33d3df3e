"""Season and lift around a base model: the base sees flat demand, and the path rises and falls as planned."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from promoted import draw
from shelfcast.models.addons import WithAddons, adjusted_path, adjusted_series
from shelfcast.models.elasticity import Elasticities
from shelfcast.models.points import Series
from shelfcast.models.seasonal import SeasonalAddon
from shop import panel_of, rewritten_after


@dataclass(frozen=True)
class Mean:
    """The mean of all that was observed."""

    name: str = "mean"

    def path(self, series, n_periods):
        of_row = np.repeat(np.arange(series.n_series), np.diff(series.indptr))
        seen = np.bincount(of_row, series.observed, series.n_series)
        units = np.bincount(of_row, series.demand * series.observed, series.n_series)
        return np.repeat((units / np.maximum(seen, 1))[:, None], n_periods, axis=1)


@dataclass(frozen=True)
class Below:
    """A base that dips below zero."""

    name: str = "below"

    def path(self, series, n_periods):
        return np.full((series.n_series, n_periods), -1.0)


@pytest.fixture(scope="module")
def shop():
    panel, truth = draw(n_weeks=130, noise=0.15)
    origin = panel.first + 117
    seen = panel.as_of(origin)
    elasticity = Elasticities.learn(seen, group="category", reference="base")
    return panel, truth, origin, elasticity, SeasonalAddon.learn(seen, "category", elasticity)


def test_without_addons_it_is_the_base(shop):
    panel, _, origin, _, _ = shop
    assert (adjusted_path(Mean(), panel, origin, 12) == Mean().path(Series.of(panel, origin), 12)).all()


def test_the_path_is_the_adjusted_mean_times_season_and_lift(shop):
    panel, _, origin, elasticity, seasonal = shop
    path = WithAddons(Mean(), seasonal, elasticity).path(panel, origin, 12)
    past = seasonal.factors(panel, panel.first, origin) * elasticity.lift(panel, panel.first, origin)
    level = (panel.window(panel.first, origin)[0] / past).mean(axis=1)
    ahead = seasonal.factors(panel, origin + 1, origin + 12) * elasticity.lift(panel, origin + 1, origin + 12)
    assert path == pytest.approx(level[:, None] * ahead, rel=1e-6)


def test_promoted_weeks_are_forecast_better_with_the_lift_and_others_too(shop):
    panel, _, origin, elasticity, seasonal = shop
    demand, _ = panel.window(origin + 1, origin + 12)
    known = panel.known_window(origin + 1, origin + 12)
    promoted = (known[:, :, 1] > 0) | (known[:, :, 0] < known[:, :, 2])

    def wape(addons, rows):
        path = adjusted_path(Mean(), panel, origin, 12, *addons)
        return abs(path - demand)[rows].sum() / demand[rows].sum()

    plain, lifted, both = (None, None), (None, elasticity), (seasonal, elasticity)
    assert wape(lifted, promoted) < 0.55 * wape(plain, promoted)
    assert wape(lifted, ~promoted) < wape(plain, ~promoted)
    assert wape(both, promoted | ~promoted) < 0.9 * wape(lifted, promoted | ~promoted)


def test_adjusted_history_is_flat_and_keeps_what_was_not_observed(shop):
    panel, _, origin, elasticity, seasonal = shop
    keep = np.random.default_rng(0).random(len(panel.demand)) < 0.9
    holes = replace(panel, observed=keep, demand=np.where(keep, panel.demand, 0).astype(np.float32))
    plain, made = Series.of(holes, origin), adjusted_series(holes, origin, seasonal, elasticity)
    assert (made.observed == plain.observed).all()
    assert (made.indptr == plain.indptr).all()
    assert (made.demand[~made.observed] == 0).all()

    def variation(series):
        wide = np.where(series.observed, series.demand, np.nan).reshape(panel.n_series, -1)
        return np.nanmean(np.nanstd(wide, axis=1) / np.nanmean(wide, axis=1))

    assert variation(made) < 0.5 * variation(plain)


def test_demand_after_the_origin_changes_nothing(shop):
    panel, _, origin, elasticity, seasonal = shop
    model = WithAddons(Mean(), seasonal, elasticity)
    other = model.path(rewritten_after(panel, origin), origin, 8)
    assert (model.path(panel, origin, 8) == other).all()


def test_planned_prices_change_the_path(shop):
    panel, _, origin, elasticity, _ = shop
    later = panel.row_periods() > origin
    known = panel.known.copy()
    known[later, 0] = known[later, 2] * np.float32(0.8)
    known[later, 1] = 0.0
    path = adjusted_path(Mean(), replace(panel, known=known), origin, 5, None, elasticity)
    level = adjusted_path(Mean(), panel, origin, 5, None, None)
    price = elasticity.levels["series"].mean[:, 0]
    base = Mean().path(adjusted_series(panel, origin, None, elasticity), 5)
    assert path == pytest.approx(base * (0.8**price)[:, None], rel=1e-5)
    assert level.shape == path.shape


def test_never_negative_and_named_by_its_parts(shop):
    panel, _, origin, elasticity, seasonal = shop
    assert (adjusted_path(Below(), panel, origin, 3, seasonal, elasticity) == 0).all()
    assert WithAddons(Mean()).name == "mean"
    assert WithAddons(Mean(), seasonal, elasticity).name == "mean+season+price"
    assert WithAddons(Mean(), None, elasticity).name == "mean+price"


def test_short_late_and_empty_series():
    panel = panel_of([[1.0, 2.0, 3.0], [], [4.0], [0.0] * 30], starts=[0, 0, 25, 0])
    seasonal = SeasonalAddon.learn(panel)
    for origin in (0, 10, 29):
        path = adjusted_path(Mean(), panel, origin, 4, seasonal)
        assert path.shape == (4, 4)
        assert np.isfinite(path).all()
    nothing = adjusted_path(Mean(), panel.take([1]), 29, 4, seasonal)
    assert (nothing == 0).all()


def test_a_panel_without_series(shop):
    panel, _, origin, elasticity, seasonal = shop
    nobody = panel.take([])
    assert adjusted_path(Mean(), nobody, origin, 4, seasonal, elasticity).shape == (0, 4)
    learned = SeasonalAddon.learn(nobody, "category"), Elasticities.learn(nobody, group="category")
    assert adjusted_path(Mean(), panel, origin, 4, *learned) == pytest.approx(adjusted_path(Mean(), panel, origin, 4))
