"""Things read ahead by threads: the same things, in the same order, and errors where they are taken."""

import threading

import numpy as np
import pytest
import torch

from shelfcast.horizons import per_period
from shelfcast.networks.fitting import prepare
from shelfcast.networks.reading import ReadAhead
from shelfcast.networks.settings import Compute, NetworkConfig, TrainConfig
from shop import panel_of


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_every_step_comes_once_and_in_order(threads: int) -> None:
    with ReadAhead(lambda step: step * step, 5, 40, threads) as ahead:
        assert [ahead.take() for _ in range(5, 40)] == [step * step for step in range(5, 40)]


def test_threads_work_ahead_but_never_past_the_end() -> None:
    made: set[int] = set()
    met = threading.Event()

    def make(step: int) -> int:
        made.add(step)
        if step == 3:
            met.set()
        return step

    with ReadAhead(make, 0, 4, 2) as ahead:
        assert ahead.take() == 0
        assert met.wait(10)
    assert made == {0, 1, 2, 3}


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_is_raised_where_the_thing_is_taken(threads: int) -> None:
    def make(step: int) -> int:
        if step == 1:
            raise ValueError("no batch of step 1")
        return step

    with ReadAhead(make, 0, 9, threads) as ahead:
        assert ahead.take() == 0
        with pytest.raises(ValueError, match="no batch of step 1"):
            ahead.take()


def test_a_network_learns_the_same_with_batches_read_ahead() -> None:
    rng = np.random.default_rng(0)
    panel = panel_of(rng.poisson(4.0, (12, 160)))
    weights = []
    for readers in (0, 3):
        torch.manual_seed(0)
        train = TrainConfig(steps=12, series=6, origins=4)
        trainer = prepare(panel, per_period(3), (0.1, 0.5, 0.9), NetworkConfig(), train, Compute(device="cpu"), 0)
        trainer.readers = readers
        trainer.run()
        weights.append(torch.cat([p.detach().ravel() for p in trainer.network.parameters()]))
    assert torch.equal(*weights)
