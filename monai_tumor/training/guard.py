"""A loss that is not a number does not end a training, nor spoil its weights."""

import logging
import math
from collections.abc import Mapping

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys

from monai_tumor.errors import TrainingError
from monai_tumor.training.checkpoints import Checkpoints

_LOG = logging.getLogger(__name__)


class NonFiniteGuard:
    """Goes back to the last checkpoint and lowers the learning rate when the loss is NaN or inf.

    The step of such a batch leaves no trace: parameters, optimiser state and schedule come from the
    checkpoint. A training that has to be rescued more than `patience` times is stopped.

    Args:
        checkpoints: where to go back to.
        factor: the learning rate is multiplied by it at each rescue.
        patience: rescues before giving up.

    Raises:
        TrainingError: too many rescues.
    """

    def __init__(self, checkpoints: Checkpoints, factor: float = 0.5, patience: int = 3) -> None:
        self.checkpoints = checkpoints
        self.factor = factor
        self.patience = patience
        self.rescues = 0
        self._spoiled = False

    def state_dict(self) -> dict[str, int]:
        """How many rescues the state of the training includes."""
        return {"rescues": self.rescues}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take that number over."""
        self.rescues = state["rescues"]

    def attach(self, engine: Engine) -> None:
        """Look at each loss, mend after each iteration; the count goes into the checkpoints."""
        self.checkpoints.objects["guard"] = self
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._look)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._mend)

    def _look(self, engine: Engine) -> None:
        loss = float(engine.state.output[CommonKeys.LOSS].detach())
        self._spoiled = not math.isfinite(loss)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            flag = torch.tensor(float(self._spoiled), device=engine.state.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            self._spoiled = bool(flag.item())

    def _mend(self, engine: Engine) -> None:
        if not self._spoiled:
            return
        self._spoiled = False
        rescues = self.rescues + 1
        if rescues > self.patience:
            raise TrainingError(
                f"The loss was not a number {rescues} times (last in epoch "
                f"{engine.state.epoch}), though the learning rate was lowered each time. "
                "Look for NaN in the data (monai-tumor inspect), or lower --learning_rate."
            )
        self.checkpoints.restore_weights(engine)
        schedule = self.checkpoints.objects.get("lr_schedule")
        # The checkpoint may already be of a lowered rate; only what is still missing is applied.
        share = self.factor ** (rescues - self.rescues)
        self.rescues = rescues
        for index, group in enumerate(engine.optimizer.param_groups):
            group["lr"] *= share
            group["initial_lr"] = group.get("initial_lr", group["lr"]) * share
            if schedule is not None:
                schedule.base_lrs[index] *= share
        _LOG.warning(
            "the loss was not a number; the learning rate is now %g",
            engine.optimizer.param_groups[0]["lr"],
        )
