"""A training that takes a given time."""

import time
from typing import Any

from ignite.engine import Engine, Events
from torch.optim import Optimizer


class TimeBudget:
    """Ends a training after `minutes`, and lets its learning rate follow the time spent.

    The rate rises linearly over the first `warm_up` of the time and then falls as
    (1 - share of the time) ** `power`: whatever the machine, the schedule is complete when the
    time is up. The training ends with a whole epoch, the one nearest to the end of the time, so
    `max_epochs` follows the speed seen so far. Time spent before an interruption counts when a
    training goes on; the time in between does not.

    How many steps fit into the time differs between machines and from run to run, so a training
    under a budget cannot be repeated number by number. The checkpoint's JSON says how many
    epochs there were.

    Args:
        optimizer: whose rate to set; the one it has now is the highest.
        minutes: of wall time, validation included.
        warm_up: share of the time.
        power: of the decay, 0.9 as in the polynomial schedule of the bundles.
    """

    def __init__(
        self, optimizer: Optimizer, minutes: float, warm_up: float = 0.03, power: float = 0.9
    ) -> None:
        self.optimizer = optimizer
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.budget = 60 * minutes
        self.warm_up = warm_up
        self.power = power
        self.spent = 0.0
        self._last = 0.0
        self._epoch_start: float | None = None

    def attach(self, engine: Engine) -> None:
        """Start the clock with the run, set the rate at each step, plan at each epoch."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._plan)
        engine.add_event_handler(Events.ITERATION_STARTED, self._set_rate)

    def rate(self, share: float) -> float:
        """Of the highest rate, when `share` of the time is spent."""
        rise = min(share / self.warm_up, 1.0) if self.warm_up else 1.0
        fall = max(1 - (share - self.warm_up) / (1 - self.warm_up), 0.0) ** self.power
        return max(rise, 0.01) * min(fall, 1.0)

    def _start(self, engine: Engine) -> None:  # noqa: ARG002 - Ignite passes it
        self._last = time.monotonic()

    def _tick(self) -> None:
        now = time.monotonic()
        self.spent += now - self._last
        self._last = now

    def _plan(self, engine: Engine) -> None:
        self._tick()
        left = self.budget - self.spent
        if left <= 0 and engine.state.epoch > 1:
            engine.terminate()  # a run that goes on had spent it all
        elif self._epoch_start is not None:
            epochs = max(round(left / (self.spent - self._epoch_start)), 1)
            engine.state.max_epochs = engine.state.epoch - 1 + epochs
        self._epoch_start = self.spent

    def _set_rate(self, engine: Engine) -> None:  # noqa: ARG002 - Ignite passes it
        self._tick()
        factor = self.rate(self.spent / self.budget)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = factor * rate

    def state_dict(self) -> dict[str, Any]:
        """The time spent, for a checkpoint."""
        return {"spent": self.spent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; the clock starts anew."""
        self.spent = float(state["spent"])
        self._last = time.monotonic()
