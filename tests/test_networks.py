"""Networks: causal encoders, closed forms, no crossing, resume as if undisturbed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shelfcast.errors import StoreError
from shelfcast.horizons import Horizon, per_period
from shelfcast.models.table import forecaster
from shelfcast.networks import fitting
from shelfcast.networks.checkpoints import TRAINING
from shelfcast.networks.consistency import revisions
from shelfcast.networks.encoders import ENCODERS
from shelfcast.networks.heads import Grid
from shelfcast.networks.settings import Compute, NetworkConfig, TrainConfig
from shelfcast.networks.splines import Spline
from shop import panel_of

TINY = {"steps": 12, "series": 8, "origins": 4, "width": 8, "hidden": 8, "reach": 7, "forks": 16}


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_no_encoder_sees_a_later_entry(name):
    torch.manual_seed(0)
    reach = 0 if name == "mlp" else 12
    encoder = ENCODERS[name](8, reach, 6)
    given_ = torch.randn(2, reach + 6, 8, requires_grad=True)
    for fork in range(6):
        (gradient,) = torch.autograd.grad(encoder(given_)[:, fork].sum(), given_)
        assert not gradient[:, reach + fork + 1 :].any()
        assert gradient[:, reach + fork].any()


def test_crps_in_closed_form_is_the_integral():
    torch.manual_seed(1)
    head = Spline((0.5,), 6)
    raw, label = torch.randn(5, head.width, dtype=torch.float64), torch.randn(5, dtype=torch.float64) * 3
    levels = (np.arange(40_000) + 0.5) / 40_000
    quantile = head.quantiles(raw, levels.tolist(), torch.ones(5)).numpy()
    below = label.numpy()[:, None] <= quantile
    integral = (2 * (below - levels) * (quantile - label.numpy()[:, None])).mean(axis=1)
    np.testing.assert_allclose(head.crps(raw, label).numpy(), integral, rtol=2e-3, atol=2e-3)


@given(st.lists(st.floats(-30, 30, width=32), min_size=23, max_size=23))
def test_quantiles_never_cross(numbers):
    levels = (0.005, 0.1, 0.3, 0.5, 0.7, 0.9, 0.995)
    for head in (Grid(levels), Spline(levels, 10)):
        raw = torch.tensor(numbers[: head.width])[None]
        asked = [0.001, 0.01, *levels[1:-1], 0.99, 0.999]
        made = head.quantiles(raw, asked, torch.ones(1))
        assert torch.isfinite(made).all()
        assert (made.diff(dim=-1) >= -1e-5 * made.abs().max()).all()


def test_a_stopped_run_goes_on_as_if_undisturbed(tmp_path):
    panel = panel_of(np.random.default_rng(0).poisson(5, (6, 200)))

    class Stopped(Exception):
        pass

    def stop(progress):
        if progress.step >= 7:
            raise Stopped

    settings = TINY | {"checkpoint_every": 3}
    whole = forecaster("mq-cnn", horizons=3, **settings).fit(panel).predict(panel, [199])
    model = forecaster("mq-cnn", horizons=3, checkpoint=str(tmp_path), **settings)
    model.report = stop
    with pytest.raises(Stopped):
        model.fit(panel)
    assert (tmp_path / TRAINING).exists()
    model.report = None
    steps = []
    model.report = lambda progress: steps.append(progress.step)
    np.testing.assert_array_equal(model.fit(panel).predict(panel, [199]).values, whole.values)
    assert min(steps) == 7  # steps 1 to 6 came from the checkpoint
    whole = (tmp_path / TRAINING).read_bytes()
    for kept in (whole[:-200], whole[: len(whole) // 2], b"PK", b"", whole[:999] + b"?" + whole[1_000:]):
        (tmp_path / TRAINING).write_bytes(kept)  # cut short, emptied, spoilt: never half read
        with pytest.raises(StoreError, match="Remove the file"):
            model.fit(panel)


def test_warm_start_begins_from_the_weights_of_an_earlier_model(tmp_path):
    panel = panel_of(np.random.default_rng(0).poisson(5, (6, 200)))
    earlier = forecaster("mq-cnn", horizons=3, **TINY).fit(panel.as_of(150))
    earlier.save(tmp_path)
    later = forecaster("mq-cnn", horizons=3, warm_start=str(tmp_path), **(TINY | {"steps": 0})).fit(panel)
    np.testing.assert_array_equal(later.predict(panel, [199]).values, earlier.predict(panel, [199]).values)


def test_preflight_names_parameters_and_steps():
    panel = panel_of(np.random.default_rng(0).poisson(5, (6, 200)))
    line = forecaster("mq-cnn", horizons=3, **TINY).preflight(panel)
    assert "parameters, 12 steps of 8 series x 4 origins on" in line
    assert "\n" not in line


@pytest.mark.parametrize("name", ["mq-cnn", "rnn-distribution"])
def test_preflight_changes_nothing(name):
    """Its trial steps leave no trace: the fit after it is the fit without it."""
    panel = panel_of(np.random.default_rng(4).poisson(4, (6, 120)))
    plain = forecaster(name, horizons=3, **TINY).fit(panel, seed=3)
    asked = forecaster(name, horizons=3, **TINY)
    asked.preflight(panel)
    asked.fit(panel, seed=3)
    one, other = (model.predict(panel, [panel.last]).values for model in (plain, asked))
    np.testing.assert_array_equal(one, other)


def test_revisions_equal_a_loop_over_common_windows():
    """Origins 0, 2 and 9; the last is too far for any common window; spans are matched with their like."""
    rng = np.random.default_rng(0)
    horizons = (Horizon(0), Horizon(1), Horizon(2), Horizon(3), Horizon(0, 2), Horizon(2, 2), Horizon(1, 3))
    quantiles, scale = rng.normal(size=(4, 3, 7, 5)), rng.uniform(1, 3, (4, 3))
    weight, origins = rng.uniform(0, 1, (4, 3, 7)), np.array([0, 2, 9])
    slow = 0.0
    for b in range(4):
        for new, old in ((0, 2), (1, 3), (4, 5)):
            moved = quantiles[b, 1, new] - quantiles[b, 0, old] * scale[b, 0] / scale[b, 1]
            slow += weight[b, 1, new] * np.abs(moved).mean()
    made = revisions(*map(torch.from_numpy, (quantiles, scale, weight)), origins, horizons)
    assert float(made) == pytest.approx(slow)


@pytest.mark.parametrize("name", ["mq-cnn", "mqtransformer"])
def test_a_price_on_revisions_makes_forecasts_move_less(name):
    panel = panel_of(np.random.default_rng(0).poisson(4.0, (12, 200)))
    origins = [panel.last - 14 + n for n in range(8)]
    moved = []
    for price in (0.0, 1.0):
        model = forecaster(name, horizons=7, steps=60, series=16, reach=16, forks=16, consistency=price)
        said = model.fit(panel.as_of(origins[0])).predict(panel, origins).values
        moved.append(float(np.abs(said[:, 1:, :-1] - said[:, :-1, 1:]).mean()))
    assert moved[1] < 0.8 * moved[0]


def test_heads_of_counts_take_no_price_on_revisions():
    panel = panel_of(np.random.default_rng(0).poisson(4.0, (6, 120)))
    settings = {"head": "negative-binomial", "steps": 3, "series": 8, "reach": 16, "forks": 16}
    with_price, without = (
        forecaster("mq-cnn", horizons=7, consistency=price, **settings).fit(panel).predict(panel, [panel.last]).values
        for price in (1.0, 0.0)
    )
    assert np.array_equal(with_price, without)


def test_revisions_have_a_price_in_training_and_none_in_validation():
    """What decides when to stop is the loss on held-out origins alone."""
    panel = panel_of(np.random.default_rng(0).poisson(4.0, (6, 120)))
    network, train = NetworkConfig(reach=16, forks=16), TrainConfig(steps=2, series=8, consistency=3.0)
    trainer = fitting.prepare(panel, per_period(7), (0.1, 0.5, 0.9), network, train, Compute(), 0)
    batch, drawn = trainer.batch(0)
    plain, priced = (float(trainer.loss(batch, drawn, None, price)[0].detach()) for price in (0.0, 3.0))
    assert float(trainer.loss(batch, drawn)[0].detach()) == plain
    assert trainer.advance((batch, drawn)) == pytest.approx(priced / float(trainer.loss(batch, drawn)[1]))
    assert priced > plain
