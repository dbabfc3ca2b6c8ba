"""The average of weights."""

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_tumor.training import AverageWeights


def run(steps: int, momentum: float) -> tuple[list[float], float]:
    """Weights 1, 2, 3, ... from a start of 100; the momenta, and the average at the end."""
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(100.0)
    handler = AverageWeights(network, momentum)
    momenta = []

    def step(engine: Engine, batch: int) -> None:
        network.weight.data.fill_(float(engine.state.iteration))

    engine = Engine(step)
    handler.attach(engine)
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: momenta.append(e.state.ema_momentum)
    )
    engine.run(range(steps), max_epochs=1)
    return momenta, float(handler.ema_model.weight.detach())


def test_a_short_training_has_forgotten_its_start():
    momenta, average = run(3, 0.01)
    assert momenta == pytest.approx([9 / 10, 9 / 11, 9 / 12])
    # By hand: 100 -> .1 * 100 + .9 = 10.9; 2/11 * 10.9 + 9/11 * 2; 1/4 of that and 3/4 of 3.
    second = 2 / 11 * 10.9 + 9 / 11 * 2
    assert average == pytest.approx(second / 4 + 9 / 4, rel=1e-5)


def test_a_long_one_counts_the_newest_as_asked_for():
    momenta, average = run(400, 0.1)
    assert min(momenta) == momenta[-1] == 0.1
    assert average == pytest.approx(400 - 9, abs=0.1)  # what lags 0.1 by (1 - m) / m steps


def test_statistics_of_normalisations_are_averaged():
    network = nn.BatchNorm1d(1)
    handler = AverageWeights(network, 0.5)
    engine = Engine(lambda e, b: network(torch.full((4, 1), 8.0)))
    handler.attach(engine)
    engine.run(range(1), max_epochs=1)
    assert float(handler.ema_model.running_mean) == pytest.approx(0.9 * 0.8, rel=1e-5)
