import random

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.transforms import Compose, RandGaussianNoise

from monai_tumor.training import SeedEpochs


def draw(seed=1, rank=0, epochs=2, start=0):
    """What Python, NumPy, torch and a data set's transform draw in each epoch."""
    noise = RandGaussianNoise(prob=1.0)
    dataset = Dataset([torch.zeros(2)], Compose([noise]))
    drawn = []
    engine = Engine(lambda engine, batch: None)
    SeedEpochs(seed, dataset, rank).attach(engine)

    def note(engine):
        numbers = (random.random(), np.random.random(), torch.rand(2).tolist())
        drawn.append((*numbers, np.asarray(dataset[0]).tolist()))

    engine.add_event_handler(Events.ITERATION_STARTED, note)
    if start:
        engine.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "epoch", start))
    engine.run([0], max_epochs=start + epochs)
    return drawn


def test_numbers_depend_on_seed_epoch_and_rank_alone():
    first = draw()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    assert draw() == first
    for other in (first[1], draw(seed=2)[0], draw(rank=1)[0]):
        assert all(a != b for a, b in zip(first[0], other, strict=True))


def test_a_resumed_run_draws_what_the_whole_one_drew():
    assert draw(epochs=2, start=1) == draw(epochs=3)[1:]


def test_a_data_set_without_random_transforms():
    for dataset in (None, Dataset([1]), Dataset([1], Compose([])), [1, 2]):
        engine = Engine(lambda engine, batch: None)
        SeedEpochs(0, dataset).attach(engine)
        engine.run([0])
        assert engine.state.iteration == 1
