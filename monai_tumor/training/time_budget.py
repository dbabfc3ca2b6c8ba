"""A training that takes a given time."""

import logging
import time
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch.optim import Optimizer

from monai_tumor.errors import TrainingError

_LOG = logging.getLogger(__name__)
_STATE = ("spent", "between", "epochs", "base_lrs")


class TimeBudget:
    """Ends a training after `minutes`, and lets its learning rate follow the time spent.

    The rate rises linearly over the first `warm_up` of the time and then falls as
    (1 - share of the rest) ** `power`: whatever the machine, the schedule is complete when the
    time is up. The training ends with a whole epoch, the one nearest to the end of the time, so
    `max_epochs` follows the speed seen so far; what it was before is a bound. Time spent before
    an interruption counts when a training goes on; the time in between does not. Several
    processes follow the clock of the first.

    How many steps fit into the time differs between machines and from run to run, so a training
    under a budget cannot be repeated number by number. The checkpoint's JSON says how many
    epochs there were.

    Args:
        optimizer: whose rate to set; the one it has now is the highest.
        minutes: of wall time, validation included.
        warm_up: share of the time.
        power: of the decay, 0.9 as in the polynomial schedule of the bundles.

    Raises:
        TrainingError: no time to train in.
    """

    def __init__(
        self, optimizer: Optimizer, minutes: float, warm_up: float = 0.03, power: float = 0.9
    ) -> None:
        if minutes <= 0:
            raise TrainingError(f"Cannot train for {minutes} minutes; give --minutes above 0.")
        if not 0 <= warm_up < 1:
            raise TrainingError(
                f"The rate cannot rise over {warm_up} of the time; give --warm_up from 0 up to 1."
            )
        self.optimizer = optimizer
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.budget = 60 * minutes
        self.warm_up = warm_up
        self.power = power
        self.spent = 0.0  # seconds
        self.between = 0.0  # of which between epochs: validation, checkpoints
        self.epochs: int | None = None  # planned in all; not known before the first is over
        self._last = 0.0
        self._bound = 0

    def attach(self, engine: Engine) -> None:
        """Start the clock with the run, set the rate at each step, plan after each epoch.

        To be attached before `Checkpoints`, which keeps the last epoch whatever its interval.
        """
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._go_on)
        engine.add_event_handler(Events.ITERATION_STARTED, self._set_rate)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._plan)

    def rate(self, share: float) -> float:
        """Of the highest rate, when `share` of the time is spent."""
        rise = min(share / self.warm_up, 1.0) if self.warm_up else 1.0
        fall = max(1 - (share - self.warm_up) / (1 - self.warm_up), 0.0) ** self.power
        return max(rise, 0.01) * min(fall, 1.0)

    def _start(self, engine: Engine) -> None:
        self._last = time.monotonic()
        self._bound = engine.state.max_epochs

    def _tick(self) -> float:
        """Seconds since the last time."""
        now, before = time.monotonic(), self.spent
        spent = torch.tensor(before + now - self._last, dtype=torch.float64)
        self.spent = float(torch.as_tensor(idist.broadcast(spent, src=0)))
        self._last = now
        return self.spent - before

    def _go_on(self, engine: Engine) -> None:
        self.between += self._tick()
        if self.epochs is None:
            return
        engine.state.max_epochs = self.epochs
        if engine.state.epoch > self.epochs:
            _LOG.info("the time of this training is up: there is nothing left to do")
            engine.terminate()

    def _plan(self, engine: Engine) -> None:
        self._tick()
        done = engine.state.epoch  # but for its validation, which is expected to take its share
        length = (self.spent - self.between) / done + self.between / max(done - 1, 1)
        self.epochs = max(min(round(self.budget / length), self._bound), done)
        engine.state.max_epochs = self.epochs

    def _set_rate(self, engine: Engine) -> None:  # noqa: ARG002 - Ignite passes it
        self._tick()
        factor = self.rate(self.spent / self.budget)
        for group, rate in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = factor * rate

    def state_dict(self) -> dict[str, Any]:
        """The time spent, the epochs planned and the highest rates, for a checkpoint."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for name in _STATE:
            setattr(self, name, state[name])
