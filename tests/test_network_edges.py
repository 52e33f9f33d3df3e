"""Networks at the edges: sold-out periods, strange series and columns, what was never trained, little memory."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from shelfcast.data.panel import Panel
from shelfcast.data.schema import Schema
from shelfcast.errors import ConfigError, StoreError
from shelfcast.horizons import per_period
from shelfcast.models.table import forecaster, load
from shelfcast.networks import fitting, preflight
from shelfcast.networks.heads import Point, pinball_sum
from shop import panel_of

NETWORKS = ("mq-cnn", "mq-fnn", "mq-rnn", "mqtransformer", "rnn-distribution", "rnn-point")
TINY = {"steps": 12, "series": 8, "origins": 4, "width": 8, "hidden": 8, "reach": 7, "forks": 16}


def trainer_of(panel, **settings):
    """A trainer at its first step, as `fit` makes it."""
    model = forecaster("mq-cnn", horizons=2, **(TINY | settings))
    return fitting.prepare(panel, model.horizons, model.levels, model.network, model.training, model.compute, 0)


def counts(n=6, length=120, **more):
    return panel_of(np.random.default_rng(0).poisson(5, (n, length)), **more)


# --- sold out, and not observed --------------------------------------------------------------------------------------


def test_pinball_of_a_bound_is_charged_for_quantiles_below_it_alone():
    """Label 4: quantiles 1, 3 (below) and 6 (above); an exact label is charged for all three, a bound for two."""
    levels, values = torch.tensor([0.2, 0.5, 0.8]), torch.tensor([[1.0, 3.0, 6.0]], requires_grad=True)
    label, weight = torch.tensor([4.0]), torch.ones(1)
    exact = pinball_sum(values, label, weight, torch.tensor([False]), levels)
    assert exact.item() == pytest.approx((0.2 * 3 + 0.5 * 1 + 0.2 * 2) / 3)
    bound = pinball_sum(values, label, weight, torch.tensor([True]), levels)
    assert bound.item() == pytest.approx((0.2 * 3 + 0.5 * 1) / 3)
    bound.backward()
    np.testing.assert_allclose(values.grad[0], [-0.2 / 3, -0.5 / 3, 0.0], rtol=1e-6)
    point = Point(levels.tolist())
    assert point.loss(torch.tensor([[6.0]]), label, weight, torch.tensor([True]), weight).item() == 0.0


def shop_with_empty_shelves():
    """Demand (30, 200), shelves of 5 to 14, and the panel: `demand` and `sold` are what the shelf let through."""
    rng = np.random.default_rng(1)
    wanted, shelf = rng.poisson(8.0, (30, 200)).astype(float), rng.integers(5, 15, (30, 200))
    frame = pl.DataFrame(
        {
            "item": np.repeat([f"item-{i:02d}" for i in range(30)], 200),
            "date": np.tile(np.datetime64("2024-01-01") + np.arange(200), 30),
            "demand": np.minimum(wanted, shelf).ravel(),
            "sold": np.minimum(wanted, shelf).ravel(),
            "empty": (wanted >= shelf).astype(int).ravel(),
        }
    )
    return wanted, shelf, Panel.from_frame(frame, Schema(sold_out="empty", past=("sold",)))


def test_labels_of_sold_out_periods_are_bounds_at_what_was_sold():
    wanted, shelf, panel = shop_with_empty_shelves()
    trainer = trainer_of(panel, sold="sold")
    batch, drawn = trainer.batch(0)
    assert batch.bound.any()
    first = drawn.last_fork - trainer.layout.forks + 1 - panel.first
    for k in range(2):
        at = first[:, None] + drawn.origins + 1 + k
        inside = (at >= 0) & (at < 200) & (batch.weight[..., k] > 0)
        truth, most = (x[drawn.series[:, None], np.clip(at, 0, 199)] for x in (wanted, shelf))
        np.testing.assert_array_equal(batch.bound[..., k][inside], (truth >= most)[inside])
        units = (batch.labels[..., k] * batch.scale)[inside]
        np.testing.assert_allclose(units, np.minimum(truth, most)[inside], rtol=1e-5)


def test_bounds_lift_quantiles_towards_demand():
    """The median of demand is 8, its 0.9 quantile 12; a network that takes sales for demand says less of both."""
    wanted, shelf, panel = shop_with_empty_shelves()
    none = {"past": panel.past[:, :0], "names": type(panel.names)()}
    sales = replace(panel, demand=np.minimum(wanted, shelf).ravel().astype(np.float32), **none)
    settings = TINY | {"steps": 150, "left_out": ["calendar", "past"]}
    said = {}
    for key, shown, more in (("bound", panel, {"sold": "sold"}), ("sales", sales, {})):
        model = forecaster("mq-cnn", horizons=1, levels=(0.5, 0.9), **(settings | more)).fit(shown)
        said[key] = model.predict(shown, [shown.last]).values.mean(axis=(0, 1, 2))
    assert (said["bound"] > said["sales"] + 0.5).all(), said
    assert (said["bound"] < [8.5, 12.5]).all(), said


def test_what_was_not_observed_is_in_no_loss():
    """Whatever stands in unobserved rows, the losses of training are the same."""
    observed = np.random.default_rng(2).random((6, 120)) > 0.3
    demand = np.random.default_rng(0).poisson(5, (6, 120)).astype(float)
    losses = []
    for garbage in (0.0, 1e6):
        trainer = trainer_of(panel_of(np.where(observed, demand, garbage), observed=observed))
        trainer.run()
        losses.append(trainer.losses)
    assert losses[0] == losses[1]
    assert np.isfinite(losses[0]).all()


# --- strange series, columns and questions ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_category_unseen_in_training_is_forecast_as_an_unknown_one(name):
    static = {"department": ["toys", "food"] * 3}
    panel = counts(static=static)
    model = forecaster(name, horizons=2, **TINY).fit(panel)
    strange, other = (
        model.predict(replace(panel, series=panel.series.with_columns(department=pl.lit(word))), [119]).values
        for word in ("unheard of", "another such")
    )
    assert np.isfinite(strange).all()
    np.testing.assert_array_equal(strange, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_spike_stays_with_its_series(name):
    """One day of 1e9 units among twos and threes: sound for its own series, no matter for the others."""
    rows = np.random.default_rng(0).poisson(3, (5, 120)).astype(float)
    rows[0, 60] = 1e9
    made = forecaster(name, horizons=2, **(TINY | {"steps": 60})).fit(panel_of(rows)).predict(panel_of(rows), [119])
    assert np.isfinite(made.values).all()
    assert made.values[1:].max() < 100


@pytest.mark.parametrize("name", NETWORKS)
def test_horizons_that_were_not_trained_are_refused(name):
    panel = counts()
    model = forecaster(name, horizons=3, **TINY).fit(panel)
    model.horizons = per_period(5)
    with pytest.raises(ConfigError, match=r"(?s)horizons.*trained.*fit it again"):
        model.predict(panel, [119])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_cut_short_is_refused(name, tmp_path):
    forecaster(name, horizons=2, **TINY).fit(counts()).save(tmp_path)
    weights = next(tmp_path.glob("weights*.npz"))
    weights.write_bytes(weights.read_bytes()[:-200])
    with pytest.raises(StoreError):
        load(tmp_path)


def test_history_shorter_than_the_receptive_field_and_one_observed_day():
    """The default network of days looks back on more than is there: padded, not refused."""
    for length in (1, 5):
        panel = panel_of(np.random.default_rng(0).poisson(5, (4, length)) + 1.0)
        settings = {"steps": 12, "series": 8, "origins": 4, "width": 8, "hidden": 8}
        model = forecaster("mq-cnn", horizons=2, **settings).fit(panel)
        assert model.fitted_.layout.reach > length
        values = model.predict(panel, [panel.last]).values
        assert np.isfinite(values).all()
        assert values.max() > 0


def test_preflight_warns_before_memory_runs_out(monkeypatch):
    monkeypatch.setattr(preflight, "free_bytes", lambda where: 0.2e9)
    line = forecaster("mq-cnn", horizons=2, **TINY).preflight(counts())
    assert "WARNING: only 0.2 GB are free; take fewer series or origins a step" in line
    monkeypatch.setattr(preflight, "free_bytes", lambda where: 500e9)
    assert "WARNING" not in forecaster("mq-cnn", horizons=2, **TINY).preflight(counts())
