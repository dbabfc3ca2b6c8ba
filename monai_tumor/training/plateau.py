"""A learning rate that falls when a validation figure no longer improves."""

from typing import Any

from ignite.engine import Engine, Events
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from monai_tumor.errors import TrainingError


class ReduceOnPlateau(ReduceLROnPlateau):
    """Torch's `ReduceLROnPlateau`, told of each validation by the evaluator itself.

    MONAI's `LrScheduleHandler` steps in the training's own event, before it was validated.

    Args:
        optimizer: whose rate to lower.
        evaluator: what validates.
        metric: of its metrics, such as "validation/accuracy".
        options: of `ReduceLROnPlateau`: mode, factor, patience, threshold, min_lr.

    Raises:
        TrainingError: at the first validation, where there is no such metric.
    """

    def __init__(
        self, optimizer: Optimizer, evaluator: Engine, metric: str, **options: Any
    ) -> None:
        super().__init__(optimizer, **options)
        self.evaluator = evaluator
        self.metric = metric

    def attach(self, engine: Engine) -> None:  # noqa: ARG002 - the evaluator is what tells
        """Step after each validation, once its metrics are there."""
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._validated)

    def state_dict(self) -> dict[str, Any]:
        """Torch's own, without the evaluator."""
        return {k: v for k, v in super().state_dict().items() if k not in ("evaluator", "metric")}

    def _validated(self, engine: Engine) -> None:
        if self.metric not in engine.state.metrics:
            known = ", ".join(sorted(engine.state.metrics))
            raise TrainingError(f"No metric {self.metric!r} to follow; there are {known}.")
        self.step(engine.state.metrics[self.metric])
