"""Scores of classes while an evaluator runs, and predictions kept for a report."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from monai_tumor.errors import TrainingError
from monai_tumor.files import write_json, write_text
from monai_tumor.metrics.classification import classification_scores
from monai_tumor.metrics.predictions import (
    Predictions,
    decide,
    probabilities,
    require_threshold,
)
from monai_tumor.networks.slices import class_logits
from monai_tumor.networks.weights import classes_of, record_beside

_SHOWN = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "log_loss", "ece")


class ClassMetrics(Metric):
    """Accuracy, balanced accuracy (mean recall), F1, AUC, log loss, ECE, one of them the key.

    Attached as `validation/accuracy`, say, accuracy is the key and the others stand beside it:
    `validation/balanced_accuracy` and so on. `engine.state.predictions` has the logits of every
    slice, in the order of the data set. In a distributed run each process holds the scores of all.

    Reads the engine's output before it is parted: a dictionary with "pred", [B, C] or [B, 1], and
    "label" [B]; of the batch "index" [B].

    Args:
        classes: their names.
        items: of the data set; "group", "leaks" and "neighbour" go into the predictions.
    """

    def __init__(self, classes: Sequence[str], items: Sequence[Mapping[str, Any]] = ()) -> None:
        self.classes = tuple(classes)
        self.items = items
        self._rows: list[NDArray[np.float64]] = []
        super().__init__(
            output_transform=lambda output: (output["pred"], output["label"]), skip_unrolling=True
        )

    def reset(self) -> None:
        """Forget all."""
        self._rows = []

    def attach(self, engine: Engine, name: str, *args: Any, **kwargs: Any) -> None:
        """Attach under `name`, and remember the engine for the places of slices.

        Raises:
            TrainingError: `name` does not end in one of the figures.
        """
        if name.rpartition("/")[2] not in _SHOWN:
            raise TrainingError(
                f"There is no figure for {name!r}; let it end in {', '.join(_SHOWN)}."
            )
        self._engine = engine
        super().attach(engine, name, *args, **kwargs)

    def update(self, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Keep a batch: rows of place, label, logits."""
        logits = class_logits(torch.as_tensor(output[0])).double().cpu().numpy()
        index = torch.as_tensor(self._engine.state.batch["index"]).view(-1, 1).double().numpy()
        label = torch.as_tensor(output[1]).view(-1, 1).double().cpu().numpy()
        self._rows.append(np.concatenate([index, label, logits], axis=1))

    def compute(self) -> Predictions:
        """The predictions of all processes, each slice once, in the order of the data set."""
        rows = np.concatenate(self._rows)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gathered: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(gathered, rows)
            rows = np.concatenate(gathered)
        _, first = np.unique(rows[:, 0], return_index=True)
        rows = rows[first]
        items = [self.items[int(n)] for n in rows[:, 0]] if self.items else []
        return Predictions.of_items(rows[:, 2:], rows[:, 1].astype(np.int64), self.classes, items)

    def completed(self, engine: Engine, name: str) -> None:
        """Put the scores into `engine.state.metrics`."""
        predictions = self.compute()
        engine.state.predictions = predictions
        scores = classification_scores(predictions, intervals=False)
        start = name.rpartition("/")[0]
        for key in _SHOWN:
            engine.state.metrics[f"{start}/{key}"] = scores.figures[key].value


class TrainingScores:
    """Mean loss and accuracy of each epoch's batches, as they were trained on, in TensorBoard.

    Written as `training/loss` and `training/accuracy`, beside the validation's curves. Batches
    are augmented and the network changes between them, so both are a little too low.

    Args:
        writer: where to; None writes nothing.
    """

    def __init__(self, writer: SummaryWriter | None) -> None:
        self.writer = writer
        self._clear()

    def _clear(self, engine: Engine | None = None) -> None:  # noqa: ARG002 - Ignite passes it
        self._loss = self._right = self._count = 0.0

    def attach(self, engine: Engine) -> None:
        """Count in each iteration, write after each epoch."""
        if self.writer is not None:
            engine.add_event_handler(Events.EPOCH_STARTED, self._clear)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._count_batch)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _count_batch(self, engine: Engine) -> None:
        output = engine.state.output
        said = class_logits(torch.as_tensor(output["pred"]).detach()).argmax(dim=1)
        label = torch.as_tensor(output["label"]).view(-1)
        self._loss += float(output["loss"].detach()) * len(label)
        self._right += float((said == label).sum())
        self._count += len(label)

    def _write(self, engine: Engine) -> None:
        assert self.writer is not None
        for name, total in (("loss", self._loss), ("accuracy", self._right)):
            mean = total / max(self._count, 1)
            self.writer.add_scalar(f"training/{name}", mean, engine.state.epoch)


class SavePredictions:
    """Writes the predictions of an evaluation as JSON, and prints nothing.

    Args:
        path: the file.
        facts: what else it says: split, provenance.
        active: False on all ranks but 0.
    """

    def __init__(
        self, path: str | Path, facts: Mapping[str, Any] | None = None, active: bool = True
    ) -> None:
        self.path = Path(path)
        self.facts = dict(facts or {})
        self.active = active

    def attach(self, engine: Engine) -> None:
        """Write when the evaluation is complete."""
        if self.active:
            engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        engine.state.predictions.save(self.path, self.facts)


def temperature_of(weights: str | Path | None) -> float:
    """The temperature that the JSON beside weights records; 1 where it records none."""
    if weights is None:
        return 1.0
    return float(record_beside(Path(weights)).get("temperature", 1.0))


def threshold_of(weights: str | Path | None) -> float | None:
    """The threshold of two classes that the JSON beside weights records; None where it has none."""
    return None if weights is None else record_beside(Path(weights)).get("threshold")


def classes_of_weights(weights: str | Path | None) -> list[str]:
    """The classes, in order, that the JSON beside weights records; none where it records none."""
    if weights is None:
        return []
    return classes_of(record_beside(Path(weights)), Path(weights)) or []


class SaveClasses:
    """Writes what a classifier says of each slice: `predictions.csv` and `predictions.json`.

    Args:
        folder: where to.
        classes: their names.
        items: of the data set, with "image" and perhaps "frame".
        temperature: of the probabilities.
        threshold: from which the second of two classes is called; None takes the most likely.
        provenance: what made them.

    Raises:
        InputError: a threshold for other than two classes, or outside 0 to 1.
    """

    def __init__(
        self,
        folder: str | Path,
        classes: Sequence[str],
        items: Sequence[Mapping[str, Any]],
        temperature: float = 1.0,
        provenance: Mapping[str, Any] | None = None,
        threshold: float | None = None,
    ) -> None:
        require_threshold(threshold, classes)
        self.folder = Path(folder)
        self.classes = list(classes)
        self.threshold = threshold
        self.items = items
        self.temperature = temperature
        self.provenance = dict(provenance or {})
        self._logits: list[torch.Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Keep each batch, write at the end."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _keep(self, engine: Engine) -> None:
        self._logits.append(class_logits(torch.as_tensor(engine.state.output["pred"])).cpu())

    def _write(self, engine: Engine) -> None:  # noqa: ARG002 - Ignite passes it
        logits = torch.cat(self._logits).double().numpy()
        chances = probabilities(logits, self.temperature)
        said = [self.classes[n] for n in decide(chances, self.threshold)]
        rows = []
        for item, row, label in zip(self.items, chances, said, strict=True):
            named = dict(zip(self.classes, (round(float(p), 8) for p in row), strict=True))
            first = {key: item[key] for key in ("image", "frame") if key in item}
            rows.append(first | {"class": label, **named})
        head = ["image", "frame", "class", *self.classes]
        lines = Lines()
        table = csv.DictWriter(lines, head, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        write_text(self.folder / "predictions.csv", "".join(lines))
        write_json(
            self.folder / "predictions.json",
            {"slices": rows, "threshold": self.threshold, "made_by": self.provenance},
        )


class Lines(list[str]):
    """Collects what a csv.writer writes."""

    write = list.append
