"""The average of a network's weights over its last steps."""

from ignite.engine import Engine
from ignite.handlers import EMAHandler

_FIRST = 9  # steps that the first average stands for


class AverageWeights(EMAHandler):
    """Ignite's `EMAHandler`, whose average does not remember the random start.

    A new step counts 9 / (9 + steps so far), and never less than `momentum`: early on the average
    follows the network, as it does in a short training throughout. The number follows from the
    step alone, so that a run that was cut goes on as if it had not been (Ignite's own warm-up
    starts anew with each run). Statistics of normalisations are averaged too.

    Args:
        model: whose weights; the average is `ema_model`.
        momentum: weight of the newest in the long run.
    """

    def __init__(self, model: object, momentum: float = 0.005) -> None:
        super().__init__(model, momentum=momentum, handle_buffers="update")

    def _update_ema_model(self, engine: Engine, name: str) -> None:
        momentum = max(self.momentum, _FIRST / (_FIRST + engine.state.iteration))
        setattr(engine.state, name, momentum)
        super()._update_ema_model(engine, name)
