"""How far a run has come, on a terminal or in a log."""

import logging
import sys
import time
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Evaluator
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
_TOLD = ("Dice", "validation/accuracy", "validation/balanced_accuracy")  # metrics in the line


class ShowProgress:
    """A bar on a terminal, and one line an epoch through `logging`.

    A trainer's line says "training, epoch 3/300: loss 0.4321 (12.3 s)", an evaluator's
    "validation: 4 studies, Dice/mean 0.8123 (2.9 s)".

    Args:
        title: what is going on: "training", "validation".
        active: False on all ranks but 0.
    """

    def __init__(self, title: str, active: bool = True) -> None:
        self.title = title
        self.active = active
        self._bar: Bar | None = None
        self._epoch_started = 0.0
        self._studies = 0

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
        self._studies = 0
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
        if isinstance(engine, Evaluator):
            self._studies += _length(engine.state.batch)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, note=_loss(engine))

    def _finish(self, engine: Engine) -> None:
        self._stop(engine)
        seconds = time.perf_counter() - self._epoch_started
        metrics = ", ".join(
            f"{name} {value:.4f}"
            for name, value in engine.state.metrics.items()
            if name.startswith(_TOLD)
        )
        studies = "1 study" if self._studies == 1 else f"{self._studies} studies"
        first = studies if isinstance(engine, Evaluator) else _loss(engine)
        facts = [part for part in (first, metrics) if part]
        _LOG.info("%s: %s (%.1f s)", self._name(engine), ", ".join(facts), seconds)

    def _stop(self, engine: Engine, error: BaseException | None = None) -> None:  # noqa: ARG002
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if error is not None:
            raise error

    def _name(self, engine: Engine) -> str:
        if isinstance(engine, Evaluator):
            return self.title
        return f"{self.title}, epoch {engine.state.epoch}/{engine.state.max_epochs}"


def _length(batch: Any) -> int:
    """Items of a batch: a list once MONAI has parted it, a dictionary of tensors before."""
    return len(next(iter(batch.values())) if isinstance(batch, dict) else batch)


def _loss(engine: Engine) -> str:
    output = engine.state.output
    if isinstance(output, dict) and CommonKeys.LOSS in output:
        return f"loss {float(output[CommonKeys.LOSS].detach()):.4f}"
    return ""
