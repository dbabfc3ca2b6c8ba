"""How far a run has come, on a terminal or in a log."""

import logging
import sys
import time

from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)

_LOG = logging.getLogger(__name__)


class ShowProgress:
    """A bar on a terminal; elsewhere one line an epoch through `logging`.

    Args:
        title: what is going on: "training", "validation".
        active: False on all ranks but 0.
    """

    def __init__(self, title: str, active: bool = True) -> None:
        self.title = title
        self.active = active
        self._bar: Bar | None = None
        self._epoch_started = 0.0

    def attach(self, engine: Engine) -> None:
        """Follow the engine."""
        if not self.active:
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._stop)

    def _start(self, engine: Engine) -> None:
        self._epoch_started = time.perf_counter()
        if sys.stderr.isatty():
            from rich.console import Console

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._bar.add_task(self._name(engine), total=engine.state.epoch_length, note="")

    def _advance(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, note=_loss(engine))

    def _finish(self, engine: Engine) -> None:
        self._stop(engine)
        seconds = time.perf_counter() - self._epoch_started
        metrics = ", ".join(
            f"{name} {value:.4f}"
            for name, value in engine.state.metrics.items()
            if name.startswith("Dice")
        )
        facts = [part for part in (_loss(engine), metrics) if part]
        _LOG.info("%s: %s (%.1f s)", self._name(engine), ", ".join(facts), seconds)

    def _stop(self, engine: Engine, error: BaseException | None = None) -> None:  # noqa: ARG002
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if error is not None:
            raise error

    def _name(self, engine: Engine) -> str:
        return f"{self.title}, epoch {engine.state.epoch}/{engine.state.max_epochs}"


def _loss(engine: Engine) -> str:
    output = engine.state.output
    if isinstance(output, dict) and CommonKeys.LOSS in output:
        return f"loss {float(output[CommonKeys.LOSS].detach()):.4f}"
    return ""
