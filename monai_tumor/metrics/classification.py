"""How good a classifier of slices is, and how sure one can be of that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from monai_tumor.errors import InputError
from monai_tumor.metrics.predictions import (
    Predictions,
    decide,
    probabilities,
    require_threshold,
)

BINS = 15
REPLICATES = 1000


@dataclass(frozen=True)
class Figure:
    """One figure and its 95% interval, None where none was asked for."""

    value: float
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """JSON-ready; NaN becomes None."""
        return {
            key: None if value is None or np.isnan(value) else round(value, 6)
            for key, value in asdict(self).items()
        }

    def __str__(self) -> str:
        """Such as `0.912 [0.880, 0.940]`."""
        if self.low is None or self.high is None:
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Bin:
    """Slices whose most likely class got a probability in one range."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class ClassificationScores:
    """Scores on a set of slices.

    Attributes:
        count: slices.
        classes: their names.
        figures: "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1",
            "roc_auc", "pr_auc" (these six the mean over classes, each against the others; of two
            classes, those of the second), "log_loss", "brier", "ece".
        per_class: class -> the same six, and "support".
        confusion: rows the truth, columns what was said.
        reliability: bins of `ece`; those that are not empty.
        temperature: of the probabilities.
        threshold: of the second of two classes; None takes the most likely class.
        neighbour: accuracy of the nearest neighbour on raw pixels; None where not known.
        leaking: share of the slices that leak; None where not known.
    """

    count: int
    classes: tuple[str, ...]
    figures: Mapping[str, Figure]
    per_class: Mapping[str, Mapping[str, float]]
    confusion: NDArray[np.int64]
    reliability: tuple[Bin, ...]
    temperature: float
    threshold: float | None
    neighbour: Figure | None
    leaking: float | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "slices": self.count,
            "classes": list(self.classes),
            "figures": {name: figure.as_dict() for name, figure in self.figures.items()},
            "per_class": {
                label: {k: None if np.isnan(v) else round(v, 6) for k, v in values.items()}
                for label, values in self.per_class.items()
            },
            "confusion": self.confusion.tolist(),
            "reliability": [asdict(one) for one in self.reliability],
            "temperature": round(self.temperature, 6),
            "threshold": self.threshold,
            "nearest_neighbour_accuracy": self.neighbour and self.neighbour.as_dict(),
            "leaking_share": self.leaking,
        }

    def __str__(self) -> str:
        """A line a figure, with the baseline and the leak beside the accuracy."""
        lines = [f"{self.count} slices of {len(self.classes)} classes"]
        lines += [f"  {name:<18}{figure}" for name, figure in self.figures.items()]
        if self.neighbour is not None:
            lines.append(f"  {'nearest neighbour':<18}{self.neighbour} (accuracy, raw pixels)")
        if self.leaking is not None:
            lines.append(f"  {'leaking':<18}{100 * self.leaking:.1f}% of these slices")
        return "\n".join(lines)


def classification_scores(
    predictions: Predictions,
    *,
    temperature: float = 1.0,
    threshold: float | None = None,
    intervals: bool = True,
    seed: int = 0,
) -> ClassificationScores:
    """Scores of `predictions`.

    Args:
        predictions: of one side.
        temperature: that probabilities are made with; see `fit_temperature`.
        threshold: for two classes; see `choose_threshold`.
        intervals: 95% intervals from 1,000 bootstrap replicates, which draw whole groups.
        seed: of the bootstrap.

    Raises:
        InputError: a threshold for other than two classes, or outside 0 to 1.
    """
    number = len(predictions.classes)
    require_threshold(threshold, predictions.classes)
    chances = probabilities(predictions.logits, temperature)
    said = decide(chances, threshold)
    labels, neighbours = predictions.labels, predictions.neighbours

    def figures(rows: NDArray[np.int64]) -> dict[str, float]:
        found = _figures(labels[rows], said[rows], chances[rows])
        if neighbours is not None:
            found["neighbour"] = float((neighbours[rows] == labels[rows]).mean())
        return found

    everything = figures(np.arange(len(predictions)))
    limits: Mapping[str, tuple[float | None, float | None]] = dict.fromkeys(
        everything, (None, None)
    )
    if intervals:
        limits = _bootstrap(predictions, figures, seed)
    whole = {name: Figure(value, *limits[name]) for name, value in everything.items()}
    return ClassificationScores(
        count=len(predictions),
        classes=predictions.classes,
        neighbour=whole.pop("neighbour", None),
        figures=whole,
        per_class=_per_class(predictions.classes, labels, said, chances),
        confusion=confusion(labels, said, number),
        reliability=reliability(labels, chances),
        temperature=temperature,
        threshold=threshold,
        leaking=None if predictions.leaks is None else float(predictions.leaks.mean()),
    )


def confusion(labels: NDArray[np.int64], said: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """How often each class (rows) was called which (columns), [number, number]."""
    counts = np.bincount(labels * number + said, minlength=number * number)
    return counts.reshape(number, number).astype(np.int64)


def roc_auc(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Area under the ROC curve, ties counted half (Mann-Whitney); NaN where a class is absent."""
    positive = int(truth.sum())
    negative = len(truth) - positive
    if not positive or not negative:
        return float("nan")
    ranks = stats.rankdata(scores)[truth].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))


def pr_auc(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Average precision: the step-wise area under precision against recall; NaN where undefined."""
    positive = int(truth.sum())
    if not positive:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(truth[order])
    last = np.append(np.diff(scores[order]) != 0, True)  # of each set of equal scores
    found, shown = found[last], np.nonzero(last)[0] + 1
    steps = np.diff(np.append(0, found)) / positive
    return float((steps * found / shown).sum())


def reliability(labels: NDArray[np.int64], chances: NDArray[np.float64]) -> tuple[Bin, ...]:
    """Accuracy and mean confidence of the most likely class, in 15 ranges of that confidence."""
    top, right = chances.max(axis=1), chances.argmax(axis=1) == labels
    place = np.minimum((top * BINS).astype(int), BINS - 1)
    return tuple(
        Bin(n / BINS, (n + 1) / BINS, int(here.sum()), float(top[here].mean()),
            float(right[here].mean()))
        for n in range(BINS)
        if (here := place == n).any()
    )  # fmt: skip


def fit_temperature(validation: Predictions) -> float:
    """The temperature whose probabilities fit best, by the log loss of validation slices.

    Source: Guo et al., On calibration of modern neural networks, 2017. Between 0.05 and 20, so that
    a validation without a mistake does not make every later probability exactly 1.
    """

    def loss(log_temperature: float) -> float:
        chances = probabilities(validation.logits, float(np.exp(log_temperature)))
        return _log_loss(validation.labels, chances)

    found = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


def choose_threshold(validation: Predictions, temperature: float = 1.0) -> float:
    """Probability of the second of two classes from which it is called, chosen on validation.

    The one with the best balanced accuracy; in the middle between the two nearest probabilities,
    and of equally good ones the one nearest to 0.5.

    Raises:
        InputError: there are not two classes, or one of them has no slice.
    """
    chances = probabilities(validation.logits, temperature)[:, -1]
    truth = validation.labels == 1
    if len(validation.classes) != 2 or truth.all() or not truth.any():
        raise InputError("A threshold needs validation slices of two classes.")
    values = np.unique(chances)
    cuts = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2, [1.0]])
    hit = (chances[truth][None] >= cuts[:, None]).mean(axis=1)
    clear = (chances[~truth][None] < cuts[:, None]).mean(axis=1)
    best = cuts[np.isclose(hit + clear, (hit + clear).max())]
    return float(best[np.abs(best - 0.5).argmin()])


def decision_threshold(
    validation: Predictions, temperature: float = 1.0, fixed: float | None = None
) -> float | None:
    """The threshold to decide with: `fixed`, else chosen on validation; None for other than two.

    Raises:
        InputError: as `choose_threshold` and `require_threshold`.
    """
    require_threshold(fixed, validation.classes)
    if fixed is not None:
        return fixed
    return choose_threshold(validation, temperature) if len(validation.classes) == 2 else None


def _log_loss(labels: NDArray[np.int64], chances: NDArray[np.float64]) -> float:
    said = chances[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(said, 1e-12)).mean())


def _figures(
    labels: NDArray[np.int64], said: NDArray[np.int64], chances: NDArray[np.float64]
) -> dict[str, float]:
    number = chances.shape[1]
    counts = confusion(labels, said, number)
    ratios = _ratios(counts)
    present = counts.sum(axis=1) > 0
    chosen = np.array([1]) if number == 2 else np.nonzero(present)[0]
    truth = labels[:, None] == np.arange(number)
    bins = reliability(labels, chances)
    return {
        "accuracy": float((labels == said).mean()),
        "balanced_accuracy": float(ratios["recall"][present].mean()),
        **{name: float(values[chosen].mean()) for name, values in ratios.items()},
        "roc_auc": _mean(roc_auc(truth[:, n], chances[:, n]) for n in chosen),
        "pr_auc": _mean(pr_auc(truth[:, n], chances[:, n]) for n in chosen),
        "log_loss": _log_loss(labels, chances),
        "brier": float(np.square(chances - truth).sum(axis=1).mean()),
        "ece": sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / len(labels),
    }


def _ratios(counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Of each class against the others; 0 where nothing was said or is there."""
    hits = np.diag(counts).astype(float)
    said, true, everything = counts.sum(axis=0), counts.sum(axis=1), counts.sum()
    clear = everything - said - true + hits
    precision = hits / np.maximum(said, 1)
    recall = hits / np.maximum(true, 1)
    return {
        "precision": precision,
        "recall": recall,
        "specificity": clear / np.maximum(everything - true, 1),
        "f1": 2 * hits / np.maximum(said + true, 1),
    }


def _per_class(
    classes: Sequence[str],
    labels: NDArray[np.int64],
    said: NDArray[np.int64],
    chances: NDArray[np.float64],
) -> dict[str, dict[str, float]]:
    ratios = _ratios(confusion(labels, said, len(classes)))
    found = {}
    for n, label in enumerate(classes):
        truth = labels == n
        found[label] = {
            **{name: float(values[n]) for name, values in ratios.items()},
            "roc_auc": roc_auc(truth, chances[:, n]),
            "pr_auc": pr_auc(truth, chances[:, n]),
            "support": float(truth.sum()),
        }
    return found


def _bootstrap(
    predictions: Predictions, figures: Callable[[NDArray[np.int64]], dict[str, float]], seed: int
) -> dict[str, tuple[float | None, float | None]]:
    """2.5th and 97.5th percentile of each figure over replicates that draw groups."""
    groups = predictions.groups or tuple(map(str, range(len(predictions))))
    _, numbers = np.unique(np.array(groups), return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
    random = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(REPLICATES):
        chosen = random.integers(0, len(members), len(members))
        for name, value in figures(np.concatenate([members[n] for n in chosen])).items():
            drawn.setdefault(name, []).append(value)
    limits: dict[str, tuple[float | None, float | None]] = {}
    for name, values in drawn.items():
        finite = [value for value in values if np.isfinite(value)]
        low, high = np.percentile(finite, [2.5, 97.5]) if finite else (np.nan, np.nan)
        limits[name] = (float(low), float(high))
    return limits


def _mean(values: Any) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
