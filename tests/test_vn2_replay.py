"""The VN2 example: its benchmark by hand, and a short replay of the real history where it lies beside the project."""

import sys
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from shelfcast.config import read_config
from shelfcast.horizons import Horizon
from shelfcast.inventory.learning import Lesson
from shelfcast.inventory.policies import Cover, ProjectedStockout
from shelfcast.inventory.savings import measures
from shelfcast.loading import Run, load_panel, products
from shelfcast.periods import Frequency, Unit
from shop import panel_of

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "vn2"
sys.path.insert(0, str(ROOT / "examples"))
import vn2_replay as vn2  # noqa: E402


def weekly(rows, **more):
    return panel_of(rows, starts=[0] * len(rows), frequency=Frequency(Unit.WEEK), **more)


def test_the_benchmark_forecast_by_hand():
    """Constant sales have no season: the forecast is the mean of thirteen weeks, as often as there are weeks."""
    panel = weekly([np.full(80, 4.0), np.concatenate((np.zeros(67), np.arange(13.0)))])
    flat = weekly([np.full(80, 4.0)])
    made = vn2.Benchmark((Horizon(0, 1), Horizon(1, 2))).predict(flat, flat.last)
    assert made.values[0, 0, :, 0] == pytest.approx([4.0, 8.0], rel=1e-5)
    both = vn2.Benchmark((Horizon(0, 3),)).predict(panel, panel.last)
    assert both.values[0, 0, 0, 0] > 0
    assert both.levels == (0.5,)


def test_a_season_that_all_products_share_is_taken_out_and_put_back():
    weeks = np.arange(156)
    season = 1 + 0.5 * np.sin(2 * np.pi * weeks / 52)
    panel = weekly([10 * season, 4 * season])
    made = vn2.Benchmark((Horizon(0, 3),)).predict(panel, panel.first + 129)
    assert made.values[:, 0, 0, 0] == pytest.approx([10 * season[130:133].sum(), 4 * season[130:133].sum()], rel=0.06)


@pytest.mark.skipif(not DATA.exists(), reason="no real data beside the project (../shared/data)")
def test_ten_weeks_of_the_game():
    """Not the scored figure: ten of its weeks, to see that the replay runs and the projected rule holds less."""
    config, root = read_config(ROOT / "examples" / "vn2.toml")
    panel = products(load_panel(Run(config, root, datetime(2026, 1, 1), data=DATA)))
    horizons = (Horizon(0, 1), Horizon(0, 3), Horizon(1, 1), Horizon(2, 1))
    trial = vn2.trial(panel, vn2.FIRST, 10)
    assert not trial.counted[:, :2].any()
    lessons = {
        name: Lesson(trial, vn2.laws(panel, name, horizons, vn2.FIRST, 10))
        for name in ("benchmark", "recent-quantiles")
    }
    base = vn2.play(lessons["benchmark"], Cover(4.0))
    ours = vn2.play(lessons["recent-quantiles"], ProjectedStockout())
    assert ours.total("cost") < base.total("cost")
    fill = measures(ours, 52)["fill_rate"] + 0.02
    same = vn2.at_fill(partial(vn2.play, lessons["recent-quantiles"]), fill)
    assert measures(same, 52)["fill_rate"] == pytest.approx(fill, abs=0.01)
