"""Slice classifiers that are loaded once and classify slice after slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from monai_tumor.bundles import load
from monai_tumor.data.slices import Preparation, leak_of_weights, slices_to_classify
from monai_tumor.errors import BundleError, InputError
from monai_tumor.explain import Explanation, Gate, Verdict, explain, explanation_picture
from monai_tumor.files import sha256
from monai_tumor.inference.segmenter import _device
from monai_tumor.metrics.predictions import decide, probabilities, require_threshold
from monai_tumor.networks.slices import features_and_logits
from monai_tumor.networks.weights import classes_of, record_beside, settings_of
from monai_tumor.paths import bundle_dir
from monai_tumor.provenance import INTENDED_USE
from monai_tumor.training import load_weights, weights_file
from monai_tumor.training.weights import require_prepared

_DEFAULT = "small_resnet"  # the network of train.yaml; the others are overlays
_SETTINGS = ("size", "channels", "mean", "std", "dicom_window")


@dataclass(frozen=True)
class ClassResult:
    """One slice, classified.

    Attributes:
        image: the file.
        frame: of a multi-frame DICOM file, from 1.
        label: its class, by `threshold`; None where the gate refused the picture.
        probabilities: class -> calibrated probability, whether refused or not.
        threshold: probability of the second of two classes from which it is the label, chosen on
            validation; None takes the most likely.
        verdict: of the gate; None where the weights bring none.
        explanation: where the network looked, if that was asked for.
        picture: of the explanation.
        provenance: bundle, weights and their SHA-256, temperature, whether their split leaks.
    """

    image: Path
    frame: int | None
    label: str | None
    probabilities: Mapping[str, float]
    threshold: float | None
    verdict: Verdict | None
    explanation: Explanation | None
    picture: Image.Image | None
    provenance: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; without pictures."""
        return {
            "image": str(self.image),
            "frame": self.frame,
            "class": self.label,
            "probabilities": {name: round(p, 8) for name, p in self.probabilities.items()},
            "threshold": self._decided,
            "gate": self.verdict and self.verdict.as_dict(),
            "explanation": self.explanation and self.explanation.as_dict(),
            "made_by": dict(self.provenance),
            "intended_use": INTENDED_USE,
        }

    def __str__(self) -> str:
        """One line."""
        frame = "" if self.frame is None else f" frame {self.frame}"
        if self.label is None:
            return f"{self.image.name}{frame}: not such a slice; {self.verdict}"
        others = sorted(self.probabilities.items(), key=lambda pair: -pair[1])
        shares = ", ".join(f"{name} {100 * p:.1f}%" for name, p in others)
        ungated = "; no gate with these weights" if self.verdict is None else ""
        if self._decided is None:
            return f"{self.image.name}{frame}: most likely {self.label} ({shares}){ungated}"
        rule = f"{self._decided['class']} from {100 * self._decided['from']:.1f}% on"
        return f"{self.image.name}{frame}: {self.label} ({shares}; {rule}){ungated}"

    @property
    def _decided(self) -> dict[str, Any] | None:
        """The second of two classes, and the probability from which it is called."""
        if self.threshold is None:
            return None
        return {"class": [*self.probabilities][1], "from": self.threshold}


@dataclass(frozen=True)
class _Member:
    """One network with what it needs to see and say."""

    network: torch.nn.Module
    preparation: Preparation
    prepare: Any
    temperature: float
    threshold: float | None
    gate: Gate | None
    classes: tuple[str, ...]
    facts: Mapping[str, Any]


class Classifier:
    """A bundle's preparation, network, temperature and gate, ready for any number of slices.

    What the weights were trained for (classes, size, network) is read from the JSON beside them.

    Args:
        bundle: a shipped one by name, any other by its folder.
        weights: a file, or the name of some that the bundle brings ("tanh_ct"); several are an
            ensemble, whose calibrated probabilities and thresholds are averaged; by default those
            trained here, else shipped.
        device: "auto" takes a CUDA device where there is one; "cuda:1" names one.
        gate: refuse what does not look like the slices trained on.
        trust: run a bundle that is not shipped; it can do whatever you can do.

    Raises:
        BundleError: no such bundle, device or weights, or weights that do not fit each other.
    """

    def __init__(
        self,
        bundle: str | Path = "slice_classifier",
        *,
        weights: Path | str | Sequence[Path | str] | None = None,
        device: str = "auto",
        gate: bool = True,
        trust: bool = False,
    ) -> None:
        folder = bundle_dir(str(bundle))
        given: Sequence[Path | str | None] = (
            [weights] if weights is None or isinstance(weights, str | Path) else weights
        )
        run = Path("runs") / folder.name
        options = {"device": _device(device), "trust": trust}
        files = [weights_file(folder, one, run) for one in given]
        self._members = [_member(folder, file, gate, options) for file in files]
        self.classes = self._members[0].classes
        if any(member.classes != self.classes for member in self._members):
            raise BundleError("The members of an ensemble must know the same classes in one order.")
        self.threshold = _mean_threshold([member.threshold for member in self._members])
        self.provenance = {
            "bundle": folder.name,
            "weights": [dict(member.facts) for member in self._members],
        }

    def __call__(
        self, item: Mapping[str, Any] | Path | str, *, method: str | None = None
    ) -> ClassResult:
        """One slice, classified.

        Args:
            item: a file, or an item of `slices_to_classify`.
            method: "gradcam", "gradcam++" or "occlusion" explains the first member's answer.

        Raises:
            ImageError: the picture cannot be read.
            DicomError: the DICOM file cannot be shown.
        """
        named: Mapping[str, Any] = {"image": item} if isinstance(item, str | Path) else item
        path, frame = Path(named["image"]), named.get("frame")
        chances, verdicts, pixels = [], [], None
        for member in self._members:
            read = member.preparation.read(path, frame)
            pixels = read if pixels is None else pixels
            features, logits = self._forward(member, read[None])
            chances.append(probabilities(logits, member.temperature)[0])
            if member.gate is not None:
                verdicts += member.gate.judge(features, grey_of(read)[None])
        assert pixels is not None
        mean = np.mean(chances, axis=0)
        verdict = _joined(verdicts)
        named_chances = dict(zip(self.classes, map(float, mean), strict=True))
        best = int(decide(mean[None], self.threshold)[0])
        label = self.classes[best] if verdict is None or verdict.accepted else None
        explanation = picture = None
        if method is not None:
            explanation = self._explained(pixels, best, method)
            caption = f"{path.name}: {label or 'refused'}, {100 * mean[best]:.1f}%"
            shown = grey_of(pixels).astype(np.float32) / np.float32(255)
            picture = explanation_picture(shown, explanation, caption)
        return ClassResult(
            path,
            frame,
            label,
            named_chances,
            self.threshold,
            verdict,
            explanation,
            picture,
            self.provenance,
        )

    @torch.inference_mode()
    def outputs(
        self, pictures: Sequence[NDArray[np.uint8]], member: int = 0, batch: int = 64
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Features [N, F] and logits [N, C] of prepared pictures, for fitting gates and scores."""
        parts = [
            self._forward(self._members[member], np.stack(pictures[start : start + batch]))
            for start in range(0, len(pictures), batch)
        ]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    @property
    def preparation(self) -> Preparation:
        """Of the first member."""
        return self._members[0].preparation

    @property
    def network(self) -> torch.nn.Module:
        """Of the first member."""
        return self._members[0].network

    @torch.inference_mode()
    def _forward(
        self, member: _Member, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        image = self._image(member, pixels)
        features, logits = features_and_logits(member.network, image)
        return features.double().cpu().numpy(), logits.double().cpu().numpy()

    def _image(self, member: _Member, pixels: NDArray[np.uint8]) -> torch.Tensor:
        device = next(member.network.parameters()).device
        image, _ = member.prepare({"image": torch.from_numpy(pixels)}, device)
        return image

    def _explained(self, pixels: NDArray[np.uint8], number: int, method: str) -> Explanation:
        member = self._members[0]
        return explain(member.network, self._image(member, pixels[None]), number, method)  # type: ignore[arg-type]


def classify(
    input: Path | str | Sequence[Path | str],
    *,
    bundle: str | Path = "slice_classifier",
    weights: Path | str | Sequence[Path | str] | None = None,
    device: str = "auto",
    gate: bool = True,
    method: str | None = None,
    trust: bool = False,
) -> list[ClassResult]:
    """Classify pictures, DICOM slices, folders of them or a datalist; one result a slice.

    For many calls make one `Classifier`, which loads the network once. Arguments and errors are
    those of `Classifier` and its call.
    """
    items = slices_to_classify(input)
    classifier = Classifier(bundle, weights=weights, device=device, gate=gate, trust=trust)
    return [classifier(item, method=method) for item in items]


def grey_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One channel of a prepared picture, [H, W] of [C, H, W]; colour by BT.601."""
    if len(pixels) == 1:
        return pixels[0]
    luma = np.tensordot(np.array([0.299, 0.587, 0.114]), pixels.astype(np.float64), axes=1)
    return np.rint(luma).astype(np.uint8)


def _member(folder: Path, weights: Path, gate: bool, options: Mapping[str, Any]) -> _Member:
    record = record_beside(weights)
    settings = settings_of(record)
    found = {key: _number(settings[key]) for key in _SETTINGS if key in settings}
    if (known := classes_of(record, weights)) is not None:
        found["classes"] = known
    name = settings.get("network", _DEFAULT)
    overlays = [] if name == _DEFAULT else [f"networks/{name}"]
    parts = load(folder, overlays=overlays, input="", weights=weights, **found, **options)
    require_prepared(weights, parts["prepared"])
    network = parts["network"].eval()
    load_weights(network, weights)
    made = None
    if gate and "gate" in record:
        made = _gate(record["gate"], weights)
    classes, threshold = tuple(parts["classes"]), parts["threshold"]
    try:
        require_threshold(threshold, classes)
    except InputError as error:
        raise BundleError(f"The record beside {weights} cannot be used: {error}") from None
    facts = {
        "file": weights.name,
        "sha256": sha256(weights),
        "network": name,
        "temperature": parts["temperature"],
        "threshold": threshold,
        "split": leak_of_weights(weights),
    }
    preparation, prepare = parts["preparation"], parts["prepare_batch"]
    return _Member(
        network, preparation, prepare, parts["temperature"], threshold, made, classes, facts
    )


def _gate(recorded: Any, weights: Path) -> Gate:
    """The gate that lies beside `weights`.

    Raises:
        BundleError: the record does not say which, or the file is not the recorded one.
    """
    file, digest = (
        (recorded.get("file"), recorded.get("sha256")) if isinstance(recorded, dict) else (0, 0)
    )
    if not isinstance(file, str) or not isinstance(digest, str) or Path(file).name != file:
        raise BundleError(
            f"The record beside {weights} names no gate that can be loaded; mend it, or classify "
            "with --no-gate."
        )
    return Gate.load(weights.with_name(file), digest)


def _mean_threshold(thresholds: Sequence[float | None]) -> float | None:
    """Of an ensemble; a member without one counts as 0.5, and all without one have none."""
    if all(one is None for one in thresholds):
        return None
    return float(np.mean([0.5 if one is None else one for one in thresholds]))


def _number(value: Any) -> Any:
    """A setting that was kept as text: "0.25" or "[0.1, 0.2, 0.3]"."""
    if not isinstance(value, str):
        return value
    parts = value.strip("[]()").split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return value
    return numbers if len(numbers) > 1 else numbers[0]


def _joined(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Of several gates, the mean distances; None where there is no gate."""
    if not verdicts:
        return None
    views = dict.fromkeys(name for one in verdicts for name in one.distances)
    mean = {
        name: float(np.mean([v.distances[name] for v in verdicts if name in v.distances]))
        for name in views
    }
    return Verdict(all(value <= 1 for value in mean.values()), mean)
