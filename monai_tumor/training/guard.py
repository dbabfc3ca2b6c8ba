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
        self._spoiled = ""  # what was not finite in this iteration, and its value

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
        self._spoiled = "" if math.isfinite(loss) else f"the loss was {loss}"
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            flag = torch.tensor(float(bool(self._spoiled)), device=engine.state.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            if flag.item() and not self._spoiled:
                self._spoiled = "the loss of another process was not finite"

    def _mend(self, engine: Engine) -> None:
        found = self._spoiled or _spoiled_gradient(engine)
        if not found:
            return
        self._spoiled = ""
        self.rescues += 1
        if self.rescues > self.patience:
            raise TrainingError(
                f"Training was not finite {self.rescues} times (last in epoch "
                f"{engine.state.epoch}: {found}), though the learning rate was lowered each time. "
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
            "%s; the learning rate is now %g",
            found,
            engine.optimizer.param_groups[0]["lr"],
        )


def _spoiled_gradient(engine: Engine) -> str:
    if engine.scaler is not None or not steps_now(engine):
        return ""
    norm = getattr(engine.state, "gradient_norm", 0.0)
    return "" if math.isfinite(norm) else f"the norm of the gradient was {norm}"
