"""The figures that published systems show, of a data set or of a training, as PNG."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from monai_tumor.bundles import load
from monai_tumor.data.slices import Preparation, find_slices, leak_told
from monai_tumor.data.slices.items import SliceDataset, SliceItem
from monai_tumor.errors import DicomError, ImageError, InputError
from monai_tumor.explain import feature_maps, feature_picture
from monai_tumor.files import safe_name, write_atomically
from monai_tumor.inference.classifier import Classifier
from monai_tumor.metrics.classification import classification_scores
from monai_tumor.metrics.predictions import Predictions
from monai_tumor.provenance import INTENDED_USE
from monai_tumor.report.charts import Curve, bar_chart, beside, line_chart, picture_sheet, titled
from monai_tumor.training.slices.figures import confusion_picture

_SAMPLES, _GRID, _AUGMENTED = 5, 16, 6
_MAPS = 64  # channels of a convolution that are shown
_BINS = 200  # points of a curve that has a value a step
_HUNDREDTH = 100  # of the test side, whose feature maps are shown
_SHOWN = 224  # pixels of pictures as they are shown
_RULE = "most likely class"  # whatever threshold the evaluation has


@dataclass(frozen=True)
class Figures:
    """What was drawn.

    Attributes:
        files: name -> PNG.
        stamp: on the split, where a training's results are shown; "" for a data set.
        left_out: what could not be drawn, and why.
    """

    files: Mapping[str, Path]
    stamp: str = ""
    left_out: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "files": {name: str(path) for name, path in self.files.items()},
            "split": self.stamp,
            "left_out": list(self.left_out),
            "intended_use": INTENDED_USE,
        }

    def __str__(self) -> str:
        """A line a file."""
        lines = [str(path) for path in self.files.values()]
        lines += [f"left out: {one}" for one in self.left_out]
        return "\n".join([*lines, *([self.stamp] if self.stamp else [])])


def figures(
    source: Path | str,
    output: Path | str,
    *,
    image: int | Path | None = None,
    overlays: Sequence[str | Path] = (),
    seed: int = 0,
    bundle: str | Path = "slice_classifier",
    trust: bool = False,
) -> Figures:
    """Draw a data set, or what a training made of one.

    Of a data set: five random pictures a class, sixteen of all, how many of which class there are,
    and pictures beside their augmented selves. Of a training: its curves, from TensorBoard's
    events; what each convolution makes of one picture; confusion matrix, sensitivity and
    specificity before and after, "before" being the same network with random weights.

    Args:
        source: a data set as `find_slices` reads it, or the `output_dir` of a training.
        output: folder of the PNG files.
        image: whose feature maps: the how-manieth of the test side, from 1, or a file; None is the
            hundredth, or the last of fewer.
        overlays: whose augmentation to show, such as "presets/efficientnet_mri".
        seed: of what is random.
        bundle: that was trained.
        trust: run a bundle that is not shipped; it can do whatever you can do.

    Raises:
        InputError: there is neither at `source`, nothing that can be drawn, or no such `image`.
    """
    source, output = Path(source), Path(output)
    if (source / "checkpoints").is_dir() or (source / "tensorboard").is_dir():
        return _of_training(source, output, image, seed, {"bundle": bundle, "trust": trust})
    augment = load(bundle, "training", overlays=overlays, trust=trust)["augment"]
    pictures, left_out = _of_dataset(find_slices(source), augment, seed)
    files = {name: _written(output, name, made) for name, made in pictures.items()}
    return Figures(files, left_out=left_out)


def _written(folder: Path, name: str, picture: Image.Image) -> Path:
    path = folder / f"{name}.png"
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG"))
    return path


# -- a data set


def _of_dataset(
    dataset: SliceDataset, augment: Callable[[torch.Tensor], torch.Tensor] | None, seed: int
) -> tuple[dict[str, Image.Image], tuple[str, ...]]:
    """Name -> picture, and what was left out."""
    random = np.random.default_rng(seed)
    rows = []
    for label in dataset.classes:
        own = [item for item in dataset.items if item.label == label]
        rows += [(item, label) for item in _some(own, _SAMPLES, random)]
    grid = [(item, item.label) for item in _some(dataset.items, _GRID, random)]
    sides = {side or "no side": dataset.counts(side) for side in dataset.splits}
    made = {
        "samples": _sheet(rows, "Samples of each class", _SAMPLES),
        "grid": _sheet(grid, "Samples", 4),
        "classes": bar_chart(sides, title=f"Slices of each class, {len(dataset)} in all"),
    }
    if augment is None:
        return made, ()
    chosen = [_readable(item) for item in _some(dataset.items, _AUGMENTED, random)]
    pixels = [one for one in chosen if one is not None]
    if not pixels:
        return made, (f"augmented: all {len(chosen)} pictures that were drawn are damaged",)
    return made | {"augmented": _augmented(np.stack(pixels), augment, seed)}, ()


def _augmented(
    pixels: NDArray[np.uint8], augment: Callable[[torch.Tensor], torch.Tensor], seed: int
) -> Image.Image:
    """Pictures [N, 1, rows, columns] in a row, below them augmented twice."""
    torch.manual_seed(seed)
    changed = [augment(torch.from_numpy(pixels).float() / 255) for _ in range(2)]
    eight = [np.rint(255 * one.numpy()).astype(np.uint8) for one in changed]
    captions = ("original", "augmented", "augmented again")
    sheet = [
        (Image.fromarray(one[0]), words)
        for row, words in zip((pixels, *eight), captions, strict=True)
        for one in row
    ]
    return picture_sheet(sheet, title="Original and augmented", columns=len(pixels), side=144)


def _some(
    items: Sequence[SliceItem], count: int, random: np.random.Generator
) -> Sequence[SliceItem]:
    chosen = random.permutation(len(items))[:count]
    return [items[n] for n in chosen]


def _readable(item: SliceItem) -> NDArray[np.uint8] | None:
    """Grey pixels, [1, rows, columns]; None where the file is damaged."""
    try:
        return Preparation(size=_SHOWN).read(item.path, item.frame)
    except (ImageError, DicomError):
        return None


def _sheet(rows: Sequence[tuple[SliceItem, str]], title: str, columns: int) -> Image.Image:
    """Pictures in a grid; a damaged one is an empty place."""
    sheet = []
    for item, words in rows:
        pixels = _readable(item)
        blank = Image.new("L", (_SHOWN, _SHOWN), 128)
        picture = blank if pixels is None else Image.fromarray(pixels[0])
        sheet.append((picture, words if pixels is not None else f"{words}: damaged"))
    return picture_sheet(sheet, title=title, columns=columns)


# -- a training


def _of_training(
    run: Path, output: Path, image: int | Path | None, seed: int, options: Mapping[str, Any]
) -> Figures:
    drawn, left_out = _curves(run / "tensorboard")
    stamp = ""
    weights, predictions = run / "checkpoints" / "model_best.pt", run / "evaluation" / "test.json"
    if not weights.is_file() or not predictions.is_file():
        lacking = predictions if weights.is_file() else weights
        left_out.append(
            f"feature maps, before and after: there is no {lacking}; train and evaluate"
        )
    else:
        after, facts = Predictions.load(predictions)
        stamp = leak_told(facts.get("split", {}).get("leak"))
        classifier = Classifier(weights=weights, gate=False, device="cpu", **options)
        place = (image, None) if isinstance(image, Path) else _of_test_side(after, image)
        drawn |= _features(classifier, *place)
        drawn |= _before_and_after(classifier, after, stamp, seed)
    if not drawn:
        raise InputError(f"Nothing of {run} can be drawn: {'; '.join(left_out)}.")
    files = {name: _written(output, name, picture) for name, picture in drawn.items()}
    return Figures(files, stamp, tuple(left_out))


def _curves(folder: Path) -> tuple[dict[str, Image.Image], list[str]]:
    """Loss, accuracy and rate of a training, from TensorBoard's events; what was left out."""
    scalars = _scalars(folder)
    lost = [tag for tag, (_, values) in scalars.items() if not np.isfinite(values).any()]
    left_out = [f"curve of {tag}: no value is finite" for tag in lost]
    scalars = {tag: points for tag, points in scalars.items() if tag not in lost}
    made = {}
    pairs = {
        "loss": ("Loss", {"training": "training/loss", "validation": "validation/log_loss"}),
        "accuracy": (
            "Accuracy",
            {"training": "training/accuracy", "validation": "validation/accuracy"},
        ),
    }
    for name, (title, tags) in pairs.items():
        curves = [Curve(words, *scalars[tag]) for words, tag in tags.items() if tag in scalars]
        limits = (0.0, 1.0) if name == "accuracy" else None
        if curves:
            made[f"curve_{name}"] = line_chart(curves, title=title, across="epoch", limits=limits)
    steps = {"loss": "Loss of each step", "learning_rate": "Learning rate"}
    for tag, title in steps.items():
        if tag in scalars:
            curve = Curve(tag.replace("_", " "), *_binned(*scalars[tag]))
            made[f"steps_{tag}"] = line_chart([curve], title=title, across="step")
    if not made and not left_out:
        left_out = [f"curves: {folder} holds no scalars"]
    return made, left_out


def _scalars(folder: Path) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Tag -> steps and values; of a step that a run repeated, the last."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not folder.is_dir():
        return {}
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        values = {event.step: event.value for event in events.Scalars(tag)}
        steps = sorted(values)
        found[tag] = (np.array(steps, float), np.array([values[n] for n in steps], float))
    return found


def _binned(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of neighbouring finite points, so that a curve of thousands can be seen."""
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if len(x) <= _BINS:
        return x, y
    parts = [np.array_split(values, _BINS) for values in (x, y)]
    return np.array([p.mean() for p in parts[0]]), np.array([p.mean() for p in parts[1]])


def _of_test_side(test: Predictions, number: int | None) -> tuple[Path, int | None]:
    """File and frame of the how-manieth slice."""
    number = min(_HUNDREDTH, len(test.names)) if number is None else number
    if not 1 <= number <= len(test.names):
        raise InputError(
            f"There is no picture {number} on the test side; give --image 1 to {len(test.names)},"
            " or a file."
        )
    name, frame = test.places[number - 1]
    return Path(name), frame


def _features(
    classifier: Classifier, path: Path, frame: int | None = None
) -> dict[str, Image.Image]:
    """What each convolution makes of a picture, and the picture."""
    preparation = classifier.preparation
    pixels = preparation.read(path, frame)
    batch = preparation.normalised(preparation.unit(torch.from_numpy(pixels[None])))
    shown = Image.fromarray(pixels[0]).resize((2 * _SHOWN, 2 * _SHOWN), Image.Resampling.NEAREST)
    told = path.name if frame is None else f"{path.name} frame {frame}"
    made = {"features_00_input": titled(shown, f"{told}, as the network sees it")}
    for number, (layer, maps) in enumerate(feature_maps(classifier.network, batch).items(), 1):
        channels, rows, columns = maps.shape
        few = f", the first {_MAPS}" if channels > _MAPS else ""
        title = f"{layer}: {channels} maps of {rows} x {columns}{few}"
        name = f"features_{number:02d}_{safe_name(layer)}"
        made[name] = titled(feature_picture(maps[:_MAPS]), title)
    return made


def _before_and_after(
    classifier: Classifier, after: Predictions, stamp: str, seed: int
) -> dict[str, Image.Image]:
    before = _untrained(classifier, after, seed)
    states = {"before training": before, "after training": after}
    scores = {name: classification_scores(one, intervals=False) for name, one in states.items()}
    matrices = [
        titled(Image.fromarray(confusion_picture(one.confusion, one.classes)), f"{name}, {_RULE}")
        for name, one in scores.items()
    ]
    shown = after.classes[1:] if len(after.classes) == 2 else after.classes
    words = {"recall": "sensitivity", "specificity": "specificity"}
    bars = {
        name: {
            f"{word}, {label}": one.per_class[label][key]
            for label in shown
            for key, word in words.items()
        }
        for name, one in scores.items()
    }
    chart = bar_chart(bars, title=f"Sensitivity and specificity, {_RULE}", most=1.0, digits=3)
    return {
        "confusion": beside(matrices, stamp),
        "sensitivity_specificity": beside([chart], stamp),
    }


def _untrained(classifier: Classifier, after: Predictions, seed: int) -> Predictions:
    """What the same network says of the same slices with random weights."""
    torch.manual_seed(seed)
    learnt = {key: value.clone() for key, value in classifier.network.state_dict().items()}
    for module in classifier.network.modules():
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
    preparation = classifier.preparation
    pictures = [preparation.read(name, frame) for name, frame in after.places]
    whole = [np.repeat(p, preparation.channels // len(p), axis=0) for p in pictures]
    _, logits = classifier.outputs(whole)
    classifier.network.load_state_dict(learnt)
    return Predictions(logits, after.labels, after.classes)
