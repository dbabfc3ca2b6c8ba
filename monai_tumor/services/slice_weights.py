"""From a training's checkpoint to weights that can be shipped: calibrated, gated, on record."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_tumor.data.slices import divide, slice_facts
from monai_tumor.data.slices.sides import SIDES
from monai_tumor.errors import BundleError, InputError
from monai_tumor.explain import Gate, fit_gate
from monai_tumor.files import sha256, write_atomically, write_json
from monai_tumor.inference.classifier import Classifier, grey_of
from monai_tumor.metrics.classification import decision_threshold, fit_temperature
from monai_tumor.metrics.predictions import Predictions
from monai_tumor.networks.weights import read_weights, record_beside, settings_of
from monai_tumor.provenance import INTENDED_USE, versions

_FEW = 3000  # slices are enough to fit a gate
_FEWEST = 10  # slices of another kind
_Items = Mapping[str, tuple[dict[str, Any], ...]]


@dataclass(frozen=True)
class SliceWeights:
    """Weights as they were written.

    Attributes:
        path: `<name>.safetensors`; beside it `<name>.json` and `<name>_gate.safetensors`.
        record: the JSON.
    """

    path: Path
    record: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"path": str(self.path), "record": dict(self.record)}

    def __str__(self) -> str:
        """One line."""
        size = self.path.stat().st_size / 1e6
        gate = self.record["gate"]["refused"]
        told = ", ".join(f"{100 * share:.1f}% of {side}" for side, share in gate.items())
        threshold = self.record["threshold"]
        decided = "" if threshold is None else f"threshold {threshold:.3f}, "
        return (
            f"{self.path}: {size:.1f} MB, temperature {self.record['temperature']:.3f},"
            f" {decided}the gate refuses {told}"
        )


def export_slice_weights(
    checkpoint: Path | str,
    output: Path | str,
    *,
    dataset_dir: Path | str | None,
    split: Mapping[str, Any],
    licence: str,
    others: Sequence[Path | str] = (),
    name: str = "model",
    bundle: str = "slice_classifier",
    trust: bool = False,
) -> SliceWeights:
    """Write half-precision weights with temperature, gate and a record that names the data.

    Temperature, the threshold of two classes (where the training fixes none) and the gate's
    thresholds come from the validation side, as the shipped, rounded weights see it; the gate
    itself from the training side.

    Args:
        checkpoint: `model_best.pt` of a training, with its JSON.
        output: folder.
        dataset_dir: what was trained on.
        split: options of `data.slices.divide` that the training had.
        licence: of the data, for the record: name, source, terms.
        others: data sets of other kinds, such as another organ's, that the gate is to refuse. It is
            fitted on two thirds of each; the record says how many of the rest it refuses.
        name: of the files.
        bundle: whose network it is.
        trust: run a bundle that is not shipped; it can do whatever you can do.

    Raises:
        BundleError: no such checkpoint, or it was trained on another split.
        InputError: `others` that `slices_of_others` refuses.
    """
    checkpoint, output = Path(checkpoint), Path(output)
    trained = record_beside(checkpoint)
    if not settings_of(trained):
        raise BundleError(f"{checkpoint} has no record of its training beside it; train it again.")
    division = divide(dataset_dir, **split)
    _require_same_split(checkpoint, trained, slice_facts(dataset_dir, **split))
    apart = slices_of_others(others)
    path = output / f"{name}.safetensors"
    path.with_suffix(".json").unlink(missing_ok=True)
    _write_half(read_weights(checkpoint), path)
    record: dict[str, Any] = {
        "sha256": sha256(path),
        "bundle": Path(bundle).name,
        "options": {"settings": dict(settings_of(trained))},
        "classes": settings_of(trained)["classes"].split(", "),
        "epoch": trained.get("epoch"),
        "validation": trained.get("metric"),
        "split": _without_places(trained.get("split") or {}),
        "data_licence": licence,
        "versions": versions(),
        "intended_use": INTENDED_USE,
    }
    write_json(path.with_suffix(".json"), record)
    classifier = Classifier(bundle, weights=path, device="cpu", gate=False, trust=trust)
    seen = {side: _seen(classifier, items) for side, items in division.items.items() if items}
    held = seen["validation"]
    known = Predictions(held.logits, held.labels, classifier.classes)
    record["temperature"] = fit_temperature(known)
    record["threshold"] = decision_threshold(
        known, record["temperature"], settings_of(trained).get("threshold")
    )
    learnt = seen["train"]
    pixels = [_grey(classifier, items["train"]) for items in apart.values()]
    gate = fit_gate(
        learnt.features, learnt.grey, learnt.labels, held.features, held.grey,
        others=np.concatenate(pixels) if pixels else None,
    )  # fmt: skip
    refused = {side: _refused(gate, one) for side, one in seen.items() if side != "train"}
    for other, items in apart.items():
        refused[other] = _refused(gate, _seen(classifier, items["test"]))
    record["gate"] = gate.save(output / f"{name}_gate.safetensors") | {"refused": refused}
    write_json(path.with_suffix(".json"), record)
    return SliceWeights(path, json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))


def slices_of_others(others: Sequence[Path | str]) -> dict[str, _Items]:
    """Folder's name -> "train", what a gate learns to refuse, and "test", what shows that it does.

    Raises:
        InputError: no such data set, or fewer than 10 slices to fit; two of one name, or one
            named as a side.
    """
    found: dict[str, _Items] = {}
    for other in map(Path, others):
        if other.name in {*SIDES, *found}:
            raise InputError(
                f"The record cannot tell {other} from another {other.name!r}; rename the folder."
            )
        items = divide(other, test=1 / 3, validation=0.0, allow_leak=True).items
        if len(items["train"]) < _FEWEST or not items["test"]:
            raise InputError(
                f"{other} has {len(items['train'])} slices to fit a gate and {len(items['test'])}"
                f" to test it; it needs {_FEWEST} and 1."
            )
        found[other.name] = items
    return found


def _require_same_split(
    checkpoint: Path, trained: Mapping[str, Any], facts: Mapping[str, Any]
) -> None:
    learnt = (trained.get("split") or {}).get("studies")
    if learnt != facts["studies"]:
        raise BundleError(
            f"{checkpoint} was trained on {learnt or 'a split that is not recorded'}, these options"
            f" give {facts['studies']} (train + validation + test); give those of its training."
        )


@dataclass(frozen=True)
class _Seen:
    """What a network makes of slices."""

    features: NDArray[np.float64]
    logits: NDArray[np.float64]
    grey: NDArray[np.uint8]
    labels: NDArray[np.int64]


def _seen(classifier: Classifier, items: tuple[dict[str, Any], ...]) -> _Seen:
    few = items[:: -(-len(items) // _FEW)]
    pictures = [classifier.preparation.read(item["image"], item.get("frame")) for item in few]
    whole = [np.repeat(p, classifier.preparation.channels // len(p), axis=0) for p in pictures]
    features, logits = classifier.outputs(whole)
    labels = np.array([item["label"] for item in few], np.int64)
    return _Seen(features, logits, np.stack([grey_of(p) for p in pictures]), labels)


def _grey(classifier: Classifier, items: tuple[dict[str, Any], ...]) -> NDArray[np.uint8]:
    few = items[:: -(-len(items) // _FEW)]
    read = [classifier.preparation.read(item["image"], item.get("frame")) for item in few]
    return np.stack([grey_of(pixels) for pixels in read])


def _refused(gate: Gate, seen: _Seen) -> float:
    verdicts = gate.judge(seen.features, seen.grey)
    return round(sum(not verdict.accepted for verdict in verdicts) / len(verdicts), 4)


def _without_places(split: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a split that say nothing of the machine."""
    named = {key: Path(split[key]).name for key in ("dataset_dir", "datalist") if split.get(key)}
    return {**split, **named}


def _write_half(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    half = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in tensors.items()
    }
    write_atomically(path, lambda temporary: save_file(half, temporary))
