"""Rolling origins: which they are, what a model is shown at each, and when it is fitted again."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from shelfcast.errors import ConfigError
from shelfcast.forecast import Forecast, concat_origins
from shelfcast.horizons import Horizon
from shelfcast.models.base import Ability, Forecaster
from shelfcast.models.table import forecaster
from shelfcast.rolling import backtest, rolling_origins
from shop import panel_of, rewritten_after


@dataclass
class Witness:
    """A forecaster that writes down what it was shown and forecasts how often it was fitted."""

    horizons: tuple[Horizon, ...] = (Horizon(0),)
    levels: tuple[float, ...] = (0.5,)
    fits: list[tuple[int, int]] = field(default_factory=list)
    shown: list[tuple[int, list[int], int]] = field(default_factory=list)
    name: ClassVar[str] = "witness"
    abilities: ClassVar[frozenset[Ability]] = frozenset()

    def fit(self, panel, *, seed=0):
        self.fits.append((panel.last, seed))
        return self

    def predict(self, panel, origins):
        newest = panel.row_periods()[panel.observed].max()
        self.shown.append((panel.last, list(origins), int(newest)))
        values = np.full((panel.n_series, len(origins), 1, 1), len(self.fits), dtype=np.float32)
        series = panel.series.select("item")
        return Forecast(series, tuple(origins), panel.frequency, self.horizons, self.levels, values, None, self.name)

    def save(self, folder):
        raise NotImplementedError


@pytest.fixture
def panel():
    return panel_of(np.random.default_rng(0).poisson(5, (3, 100)))


def test_origins_count_back_from_the_last_whole_target(panel):
    assert rolling_origins(panel, 4, 7, 28) == [50, 57, 64, 71]
    assert rolling_origins(panel, 1, 1, 1) == [98]
    assert rolling_origins(panel, 72, 1, 28)[0] == 0
    horizon = [Horizon(21, 7)]
    assert panel.labels(rolling_origins(panel, 4, 7, 28), horizon)[1].all()
    assert not panel.labels([72], horizon)[1].any()


def test_too_little_history_says_how_much_is_needed(panel):
    with pytest.raises(ConfigError, match="73 origins need 101 periods of history; there are 100"):
        rolling_origins(panel, 73, 1, 28)


@pytest.mark.parametrize(("n_origins", "step", "reach"), [(0, 1, 1), (-1, 1, 1), (3, 0, 1), (3, -7, 1), (3, 1, 0)])
def test_origins_that_make_no_sense(panel, n_origins, step, reach):
    with pytest.raises(ConfigError, match="backtest"):
        rolling_origins(panel, n_origins, step, reach)


def test_a_model_is_shown_nothing_after_each_origin(panel):
    witness = Witness()
    assert isinstance(witness, Forecaster)
    made = list(backtest(witness, panel, [80, 60, 70], seed=9))
    assert [forecast.origins for forecast in made] == [(60,), (70,), (80,)]
    assert witness.shown == [(60, [60], 60), (70, [70], 70), (80, [80], 80)]
    assert witness.fits == [(60, 9)]


@pytest.mark.parametrize(
    ("refit_every", "fits"), [(None, [1] * 5), (1, [1, 2, 3, 4, 5]), (2, [1, 1, 2, 2, 3]), (9, [1] * 5)]
)
def test_refitting(panel, refit_every, fits):
    witness = Witness()
    made = list(backtest(witness, panel, range(50, 55), refit_every=refit_every))
    assert [int(forecast.values[0, 0, 0, 0]) for forecast in made] == fits
    assert [last for last, _ in witness.fits] == sorted({50 + fits.index(n) for n in fits})


def test_nothing_is_done_before_it_is_asked_for(panel):
    witness = Witness()
    steps = backtest(witness, panel, range(50, 60))
    assert witness.fits == []
    next(steps)
    assert len(witness.shown) == 1
    assert list(backtest(Witness(), panel, [])) == []


@pytest.mark.parametrize("refit_every", [0, -1])
def test_a_cadence_that_makes_no_sense(panel, refit_every):
    with pytest.raises(ConfigError, match=r"backtest\.refit_every"):
        list(backtest(Witness(), panel, [50], refit_every=refit_every))


def test_a_backtest_is_what_would_have_been_said(panel):
    """The same as forecasting at each origin from a panel whose future is somebody else's."""
    made = concat_origins(list(backtest(made_naive(), panel, [70, 80], refit_every=1)))
    for origin in (70, 80):
        other = rewritten_after(panel, origin)
        said = made_naive().fit(other.as_of(origin)).predict(other, [origin])
        assert (made.at([origin]).values == said.values).all()


def made_naive():
    return forecaster("seasonal-naive", horizons=3)
