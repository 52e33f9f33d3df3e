"""Training of networks: precision, groups of processes, early stop, overfitting, calibration, launches, every head."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from shelfcast.models.base import DEFAULT_LEVELS
from shelfcast.models.table import forecaster
from shelfcast.networks import fitting
from shelfcast.networks.settings import ENCODERS, HEADS
from shop import DAY, WEEKDAYS, panel_of

TINY = {"steps": 12, "series": 8, "origins": 4, "width": 8, "hidden": 8, "reach": 7, "forks": 16}


def trainer_of(panel, name="mq-cnn", horizons=3, **settings):
    """A trainer at its first step, as `fit` makes it."""
    model = forecaster(name, horizons=horizons, **(TINY | settings))
    return fitting.prepare(panel, model.horizons, model.levels, model.network, model.training, model.compute, 0)


@pytest.fixture(scope="module")
def some():
    """Six series of Poisson counts, 200 days."""
    return panel_of(np.random.default_rng(0).poisson(5, (6, 200)))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_goes_with_every_head_and_any_horizons(encoder, head, some):
    horizons = [(0, 1), (3, 1), (0, 7), (2, 5)]
    settings = TINY | {"steps": 2, "encoder": encoder, "head": head, "features": encoder == "mlp"}
    values = forecaster("mq-cnn", horizons=horizons, **settings).fit(some).predict(some, [199]).values
    assert values.shape == (6, 1, 4, len(DEFAULT_LEVELS))
    assert np.isfinite(values).all()
    assert (np.diff(values, axis=-1) >= 0).all()
    assert values[:, 0, 2, 4].mean() > 3 * values[:, 0, 0, 4].mean()


def test_half_precision_learns_as_much(some):
    losses = {}
    for precision in ("float32", "bfloat16"):
        trainer = trainer_of(some, precision=precision, steps=40)
        trainer.run()
        losses[precision] = trainer.losses
        assert all(p.dtype is torch.float32 for p in trainer.network.parameters())
    assert losses["bfloat16"] != losses["float32"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.05)


GROUP = """
import sys, numpy as np, torch
sys.path.insert(0, sys.argv[4])
from test_training import trainer_of
from shop import panel_of
rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet{world}", rank=rank, world_size=world)
trainer = trainer_of(panel_of(np.random.default_rng(0).poisson(5, (6, 200))), steps=5)
trainer.run()
np.savez(f"{folder}/{world}-{rank}.npz", *[p.detach().numpy() for p in trainer.network.parameters()])
torch.distributed.destroy_process_group()
"""


def test_a_group_of_two_takes_the_steps_of_its_mean_gradient(some, tmp_path):
    """Both end with the weights of one process that averages the gradients of the batches of both."""
    here = __file__.rsplit("/", 1)[0]
    given = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    members = [
        subprocess.Popen([sys.executable, "-c", GROUP, str(rank), "2", str(tmp_path), here], env=given)
        for rank in range(2)
    ]
    assert [member.wait(timeout=120) for member in members] == [0, 0]
    alone = trainer_of(some, steps=5)
    original = alone.batch

    def mean_of_both(batch, drawn, keep=None, consistency=0.0):
        parts = [type(alone).loss(alone, *original(alone.step * 2 + rank), keep, consistency) for rank in range(2)]
        return sum(loss / count for loss, count in parts) / 2, torch.tensor(1)

    alone.loss = mean_of_both
    alone.run()
    for rank in range(2):
        with np.load(tmp_path / f"2-{rank}.npz") as got:
            for name, parameter in zip(got.files, alone.network.parameters(), strict=True):
                np.testing.assert_allclose(got[name], parameter.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_a_group_of_one_changes_nothing(some, tmp_path):
    alone, member = trainer_of(some, steps=3), trainer_of(some, steps=3)
    alone.run()
    group = torch.distributed
    group.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        member.run()
    finally:
        group.destroy_process_group()
    assert alone.losses == member.losses


def test_it_stops_early_and_keeps_the_best_weights(some):
    trainer = trainer_of(
        some, steps=400, validation_origins=2, validate_every=2, patience=3, learning_rate=0.2, average=0.0
    )
    trainer.run()
    scores = [score for _, _, score in trainer.scores]
    assert trainer.step < 400
    assert trainer.step == 2 * (int(np.argmin(scores)) + 1 + 3)
    trainer.average = [p.detach().clone() for p in trainer.network.parameters()]
    assert trainer.score() == pytest.approx(min(scores), rel=1e-6)


@pytest.mark.parametrize("name", ["mq-cnn", "mq-rnn", "mq-fnn"])
def test_eight_series_are_learned_by_heart_in_200_steps(name):
    """Noise that only the date can tell, the same at eight levels of demand: a fifth of the loss is left."""
    noise = np.exp(np.random.default_rng(1).normal(0, 0.5, 70))
    panel = panel_of(np.rint(np.geomspace(5, 200, 8)[:, None] * noise))
    sizes = {"origins": 16, "width": 48, "hidden": 64, "reach": 28, "forks": 32}
    trainer = trainer_of(panel, name, steps=200, learning_rate=0.01, **sizes)
    trainer.run()
    assert np.mean(trainer.losses[-10:]) < 0.2 * np.mean(trainer.losses[:5])


def test_a_spline_covers_at_levels_it_was_never_asked_for_in_training():
    """Trained on its CRPS; asked at other levels, each lies between the shares below and at most, within 0.02."""
    rng = np.random.default_rng(11)
    means = rng.uniform(20, 60, 200)[:, None] * WEEKDAYS[DAY.season_position(np.arange(400))]
    panel = panel_of(rng.poisson(rng.gamma(10.0, means / 10.0)))
    settings = {"head": "spline", "steps": 400, "series": 32, "origins": 8, "width": 16, "hidden": 16}
    settings["left_out"] = ["calendar"]
    model = forecaster("mq-cnn", horizons=2, levels=(0.5,), **(TINY | settings)).fit(panel.as_of(370))
    model.levels = (0.07, 0.2, 0.35, 0.62, 0.8, 0.93)
    origins = list(range(370, 396, 2))
    values = model.predict(panel, origins).values
    truth, _ = panel.labels(origins, model.horizons)
    for q, level in enumerate(model.levels):
        below, at_most = (truth < values[..., q]).mean(), (truth <= values[..., q]).mean()
        assert below - 0.02 <= level <= at_most + 0.02, f"level {level}: covered {below:.3f} to {at_most:.3f}"


def test_a_product_without_rows_is_forecast_from_what_it_is():
    """Launches of one department sell nine times those of the other; an unknown department lies between."""
    rng = np.random.default_rng(3)
    rates = np.where(np.arange(60) % 2, 18.0, 2.0)
    starts = np.append(0, rng.integers(1, 60, 59))
    rows = [rng.poisson(rate, 70 - start) for rate, start in zip(rates, starts, strict=True)]
    static = {"department": [*np.array(["slow", "fast"])[np.arange(60) % 2], "slow", "fast", "unheard of"]}
    panel = panel_of([*rows, [], [], []], starts=[*starts, 69, 69, 69], static=static)
    model = forecaster("mq-cnn", horizons=[(0, 7)], levels=(0.1, 0.5, 0.9), **(TINY | {"steps": 400, "series": 16}))
    slow, fast, unknown = model.fit(panel).predict(panel, [69]).values[-3:, 0, 0]
    assert slow[1] < 35
    assert 70 < fast[1] < 180
    assert slow[1] < unknown[1] < fast[1]
