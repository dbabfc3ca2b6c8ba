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
from monai_tumor.training.gradients import steps_now

_LOG = logging.getLogger(__name__)
_RATES = ("lr", "initial_lr")


class NonFiniteGuard:
    """Goes back to the last checkpoint and lowers the learning rate when the loss is NaN or inf.

    So it does where the loss is finite and its gradient, as `ClipGradients` measures it, is not;
    under CUDA mixed precision that is the scaler's business. The step of such a batch leaves no
    trace: weights and optimiser state come from the checkpoint, and gradients that were still
    accumulating are dropped. The schedule goes on where it is, from the lower rate. A training
    that has to be rescued more than `patience` times is stopped.

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
        if not self._spoiled and not _gradient_spoiled(engine):
            return
        self._spoiled = False
        self.rescues += 1
        if self.rescues > self.patience:
            raise TrainingError(
                f"The loss was not a number {self.rescues} times (last in epoch "
                f"{engine.state.epoch}), though the learning rate was lowered each time. "
                "Look for NaN in the data (monai-tumor inspect), or lower --learning_rate."
            )
        groups = engine.optimizer.param_groups
        lowered = [{k: g[k] * self.factor for k in _RATES if k in g} for g in groups]
        self.checkpoints.restore_weights(engine, but=("guard", "lr_schedule"))
        engine.optimizer.zero_grad()
        for group, rates in zip(engine.optimizer.param_groups, lowered, strict=True):
            group.update(rates)
        schedule = self.checkpoints.objects.get("lr_schedule")
        if schedule is not None:
            schedule.base_lrs = [rate * self.factor for rate in schedule.base_lrs]
        _LOG.warning(
            "the loss was not a number; the learning rate is now %g",
            engine.optimizer.param_groups[0]["lr"],
        )


def _gradient_spoiled(engine: Engine) -> bool:
    if engine.scaler is not None or not steps_now(engine):
        return False
    return not math.isfinite(getattr(engine.state, "gradient_norm", 0.0))
