"""Gradients kept in bounds, and their size on record."""

import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents


class ClipGradients:
    """Clips the total gradient norm before the optimiser steps; `state.gradient_norm` holds it.

    With gradient accumulation only the whole, accumulated gradient is clipped. Under CUDA mixed
    precision gradients are unscaled first.

    Args:
        max_norm: L2 norm over all parameters; infinity only measures.
    """

    def __init__(self, max_norm: float = float("inf")) -> None:
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Clip when the backward pass is done."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip)

    def _clip(self, engine: Engine) -> None:
        if not steps_now(engine):
            return
        if engine.amp and engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        parameters = [p for group in engine.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)
        engine.state.gradient_norm = float(norm)


def steps_now(engine: Engine) -> bool:
    """Whether the optimiser steps in this iteration, by MONAI's rule for accumulation."""
    length = engine.state.epoch_length
    local = (engine.state.iteration - 1) % length if length else engine.state.iteration - 1
    last = length is not None and local + 1 == length
    return (local + 1) % engine.accumulation_steps == 0 or last
