"""Checkpoints that survive a crash at any moment."""

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_tumor.errors import TrainingError
from monai_tumor.files import sha256, write_atomically, write_json
from monai_tumor.training.facts import difference, other_split
from monai_tumor.training.lock import FolderLock
from monai_tumor.training.weights import TRAINED

_LOG = logging.getLogger(__name__)


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The newest whole checkpoint in `folder`; None if there is none.

    One whose checksum is missing or wrong was being written when the machine stopped: it is passed
    over, with a warning, for the one before it.
    """
    for path in sorted(Path(folder).glob("epoch_*.pt"), reverse=True):
        if _recorded_hash(path) == sha256(path):
            return path
        _LOG.warning("checkpoint %s is not whole; the one before it is used", path.name)
    return None


def _recorded_hash(path: Path) -> str | None:
    try:
        content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return str(content["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Checkpoints:
    """Saves the state of a training after each epoch and resumes from it.

    `epoch_0012.pt` holds the state dictionaries of `objects`, the epoch, the iteration and the best
    metric so far; `epoch_0012.json` its SHA-256 and `record`. Each is written to a temporary
    file, flushed to disk and renamed; the JSON comes last and marks the checkpoint as whole. The
    last `keep` stay. `model_best.pt` is the plain state dictionary of `network` at the best
    validation, ready for export; where no epoch was validated, it is the last, with a warning and
    the metric null. Random state needs no place: see `SeedEpochs`.

    Put it after the handlers that validate and step the schedule: it must see their result.

    Args:
        folder: where checkpoints lie.
        objects: name -> network, optimiser, schedule, scaler: anything with `state_dict`.
        network: whose weights to keep as the best (the averaged one where there is one).
        evaluator: its key metric, the higher the better, chooses the best; None keeps the last.
        resume: continue from the newest whole checkpoint where there is one; False starts anew and
            removes the checkpoints of the run before, so that they never pass for newer ones.
        keep: how many to keep.
        interval: epochs between checkpoints; the last epoch is always saved.
        record: what else the JSON says (options, versions).
        split: what is trained and validated on (`monai_tumor.data.split_facts`): going on with
            another would train on what validated before.
        schedule: options that shape the schedule; a run that goes on must have the same.
        active: False on all ranks but 0: they load, they do not save.

    Raises:
        TrainingError: the checkpoint found is of another network, optimiser, split or schedule, or
            another process trains in `folder`.
    """

    def __init__(
        self,
        folder: str | Path,
        objects: Mapping[str, Any],
        network: nn.Module,
        evaluator: Engine | None = None,
        resume: bool = True,
        keep: int = 3,
        interval: int = 1,
        record: Mapping[str, Any] | None = None,
        active: bool = True,
        split: Mapping[str, Any] | None = None,
        schedule: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.objects = {name: item for name, item in objects.items() if item is not None}
        self.network = network
        self.evaluator = evaluator
        self.resume = resume
        self.keep = keep
        self.interval = interval
        given = {"split": split, "schedule": schedule}
        self.facts = {name: dict(facts) for name, facts in given.items() if facts is not None}
        self.record = {**(record or {}), **self.facts}
        self.active = active
        self.best_metric = float("-inf")
        self.best_epoch = 0
        self._lock = FolderLock(self.folder)

    def attach(self, engine: Engine) -> None:
        """Resume at the start, save after each epoch."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)
        engine.add_event_handler(Events.COMPLETED, self._lock.release)

    def _start(self, engine: Engine) -> None:
        if getattr(engine, "scaler", None) is not None:
            self.objects["scaler"] = engine.scaler
        if self.active:
            self._lock.acquire()
            self._tidy()
        path = newest_checkpoint(self.folder) if self.resume else None
        if path is not None:
            self.restore(engine, path)
        elif self.active:
            self.save(engine)
        if self.active:  # what a killed run was writing
            for part in self.folder.glob(".tmp-*"):
                part.unlink()

    def _tidy(self) -> None:
        """Remove what a killed run left half written; starting anew, all its checkpoints."""
        left = list(self.folder.glob(".tmp-*"))
        if not self.resume:
            left += self.folder.glob("epoch_*.pt")
            left += self.folder.glob("epoch_*.json")
        for path in left:
            path.unlink(missing_ok=True)

    def restore(self, engine: Engine, path: Path) -> None:
        """Put back every object, the epoch and the best metric as they were in `path`."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self._require_same_training(path, state)
        try:
            self._load_objects(state["objects"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error.args[0] if error.args else error).splitlines()[0].rstrip(":. ")
            raise TrainingError(
                f"{path} is of another network or optimiser ({reason}). "
                "Choose another --output_dir, or start anew with --resume False."
            ) from error
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["iteration"]
        self.best_metric, self.best_epoch = state["best_metric"], state["best_epoch"]
        _LOG.info("resumed after epoch %d from %s", state["epoch"], path)
        if state["epoch"] == engine.state.max_epochs:
            _LOG.info("this training is complete: there is nothing left to do")

    def _require_same_training(self, path: Path, state: Mapping[str, Any]) -> None:
        split = other_split(state.get("split"), self.facts.get("split"))
        if split:
            raise TrainingError(
                f"{path} was {split}. "
                "Choose another --output_dir, or start anew with --resume False."
            )
        schedule = difference(state.get("schedule"), self.facts.get("schedule"))
        if schedule:
            raise TrainingError(
                f"{path} was {schedule}. Go on with the same, start anew with --resume False, or "
                "train on from its weights with --initial_weights in another --output_dir."
            )

    def restore_weights(self, engine: Engine, but: Collection[str] = ()) -> None:
        """Put back the objects of the newest checkpoint, all `but` those named.

        The engine goes on counting.

        Raises:
            TrainingError: there is no checkpoint.
        """
        path = newest_checkpoint(self.folder)
        if path is None:
            raise TrainingError(f"No checkpoint in {self.folder} to go back to.")
        state = torch.load(path, map_location="cpu", weights_only=True)
        self._load_objects(state["objects"], but)
        _LOG.warning("epoch %d: went back to %s", engine.state.epoch, path.name)

    def _load_objects(self, states: Mapping[str, Any], but: Collection[str] = ()) -> None:
        missing = set(self.objects) - set(states)
        if missing:
            raise KeyError(f"it holds no {', '.join(sorted(missing))}")
        for name in self.objects.keys() - set(but):
            self.objects[name].load_state_dict(states[name])

    def _epoch_completed(self, engine: Engine) -> None:
        self._keep_best(engine)
        last = engine.state.epoch == engine.state.max_epochs
        if last and self.best_epoch == 0 and self.active:
            _LOG.warning(
                "no epoch was validated with a score: %s holds the last weights, not the best",
                self.folder / TRAINED,
            )
            self._write_weights(engine.state.epoch, metric=None)
        if self.active and (engine.state.epoch % self.interval == 0 or last):
            self.save(engine)

    def _keep_best(self, engine: Engine) -> None:
        epoch = engine.state.epoch
        if self.evaluator is None:
            metric = float(epoch)
        else:
            name = self.evaluator.state.key_metric_name
            if self.evaluator.state.epoch != epoch or name is None:
                return  # not validated in this epoch
            metric = float(self.evaluator.state.metrics[name])
        if not metric > self.best_metric:  # nor is NaN ever the best
            return
        self.best_metric, self.best_epoch = metric, epoch
        if self.active:
            self._write_weights(epoch, None if self.evaluator is None else metric)

    def _write_weights(self, epoch: int, metric: float | None) -> None:
        self._write(self.folder / TRAINED, self.network.state_dict(), metric=metric, epoch=epoch)

    def save(self, engine: Engine) -> Path:
        """Write a checkpoint of the present state and drop those too old to keep."""
        state = {
            "objects": {name: item.state_dict() for name, item in self.objects.items()},
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "best_metric": self.best_metric,
            "best_epoch": self.best_epoch,
            **self.facts,
        }
        path = self.folder / f"epoch_{engine.state.epoch:05d}.pt"
        self._write(path, state, epoch=engine.state.epoch)
        for old in sorted(self.folder.glob("epoch_*.pt"))[: -self.keep]:
            old.with_suffix(".json").unlink(missing_ok=True)
            old.unlink()
        return path

    def _write(self, path: Path, content: Any, **facts: Any) -> None:
        path.with_suffix(".json").unlink(missing_ok=True)
        write_atomically(path, lambda temporary: torch.save(content, temporary))
        write_json(path.with_suffix(".json"), {"sha256": sha256(path), **facts, **self.record})
