"""Randomness that depends on nothing but the seed and the epoch."""

import random
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.transforms import Randomizable


class SeedEpochs:
    """Seeds Python, NumPy, torch and the data set's transforms anew at each epoch.

    A run that was killed and resumed draws the same numbers as one that was not, with no random
    state to store, for any number of data-loading workers.

    Args:
        seed: of the run.
        dataset: whose random transforms to seed (those run in this process).
        rank: of this process; each draws its own numbers.
    """

    def __init__(self, seed: int, dataset: Any = None, rank: int = 0) -> None:
        self.seed = seed
        self.dataset = dataset
        self.rank = rank

    def attach(self, engine: Engine) -> None:
        """Seed when an epoch starts, before its batches are drawn."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._seed)

    def _seed(self, engine: Engine) -> None:
        sequence = np.random.SeedSequence([self.seed, engine.state.epoch, self.rank])
        number = int(sequence.generate_state(1)[0])
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        transform = getattr(self.dataset, "transform", None)
        if isinstance(transform, Randomizable):
            transform.set_random_state(seed=number)
