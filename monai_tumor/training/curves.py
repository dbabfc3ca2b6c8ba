"""TensorBoard curves of a training and its validation."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summary


def summary_writer(folder: str | Path, active: bool = True) -> SummaryWriter | None:
    """A writer into `folder`; None on ranks that do not write."""
    return SummaryWriter(str(folder)) if active else None


class TrainingCurves:
    """Writes loss, learning rate, gradient norm and throughput at each iteration.

    Throughput counts the time that a batch is waited for. At the end of the run an `hparams` entry
    holds what was chosen beside what came of it.

    Args:
        writer: where to; None writes nothing.
        hparams: name -> number, text or bool.
        evaluator: whose last metrics go into the `hparams` entry.
    """

    def __init__(
        self,
        writer: SummaryWriter | None,
        hparams: Mapping[str, Any] | None = None,
        evaluator: Engine | None = None,
    ) -> None:
        self.writer = writer
        self.hparams = dict(hparams or {})
        self.evaluator = evaluator
        self._started = 0.0

    def attach(self, engine: Engine) -> None:
        """Write after each iteration and at the end."""
        if self.writer is None:
            return
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._start_clock)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._flush)
        engine.add_event_handler(Events.COMPLETED, self._hparams)

    def _start_clock(self, engine: Engine) -> None:  # noqa: ARG002 - Ignite passes it
        self._started = time.perf_counter()

    def _iteration(self, engine: Engine) -> None:
        assert self.writer is not None
        output = engine.state.output
        step = engine.state.iteration
        seconds = max(time.perf_counter() - self._started, 1e-9)
        scalars = {
            "loss": float(output[CommonKeys.LOSS].detach()),
            "learning_rate": engine.optimizer.param_groups[0]["lr"],
            "throughput/samples_per_second": len(output[CommonKeys.IMAGE]) / seconds,
        }
        if hasattr(engine.state, "gradient_norm"):
            scalars["gradient_norm"] = engine.state.gradient_norm
        for tag, value in scalars.items():
            self.writer.add_scalar(tag, value, step)

    def _flush(self, engine: Engine) -> None:  # noqa: ARG002
        assert self.writer is not None
        self.writer.flush()

    def _hparams(self, engine: Engine) -> None:
        assert self.writer is not None
        metrics = {} if self.evaluator is None else dict(self.evaluator.state.metrics)
        plain = {
            k: v if isinstance(v, int | float | bool) else str(v) for k, v in self.hparams.items()
        }
        for summary in hparams_summary(plain, {k: float(v) for k, v in metrics.items()}):
            assert self.writer.file_writer is not None
            self.writer.file_writer.add_summary(summary, engine.state.epoch)
        self.writer.flush()


class ValidationCurves:
    """Writes each metric of an evaluator under its own name (`Dice/WT`), a point an epoch.

    Args:
        writer: where to; None writes nothing.
    """

    def __init__(self, writer: SummaryWriter | None) -> None:
        self.writer = writer

    def attach(self, engine: Engine) -> None:
        """Write after each validation."""
        if self.writer is not None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        assert self.writer is not None
        for tag, value in engine.state.metrics.items():
            self.writer.add_scalar(tag, float(value), engine.state.epoch)
        self.writer.flush()
