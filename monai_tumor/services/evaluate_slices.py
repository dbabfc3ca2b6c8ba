"""What a classifier of slices scores: on the test side whole, and without what leaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor.data.slices import leak_told
from monai_tumor.errors import InputError
from monai_tumor.files import write_json, write_text
from monai_tumor.metrics.classification import (
    ClassificationScores,
    choose_threshold,
    classification_scores,
    fit_temperature,
)
from monai_tumor.metrics.predictions import (
    Predictions,
    accuracy_weights,
    combined,
    stacking_weights,
)
from monai_tumor.provenance import INTENDED_USE
from monai_tumor.report.slices_report import slices_page

FORMAT = "monai-tumor slice evaluation"
FORMAT_VERSION = 1
WHOLE, CLEAN = "all test slices", "without those that leak"
WAYS = ("mean", "accuracy", "stacking")


@dataclass(frozen=True)
class SliceEvaluation:
    """Scores of one classifier or ensemble.

    Attributes:
        scores: `WHOLE` -> scores of the test side; `CLEAN` -> without slices whose twin was learnt
            from, where there are both kinds; "validation" -> that side's.
        temperature: fitted on validation.
        threshold: of the second of two classes; None for more.
        before: expected calibration error on test without the temperature.
        stamp: what leaks between the sides, in one line.
        facts: of the split and how it was made, JSON-ready.
        weights: of an ensemble's members.
    """

    scores: Mapping[str, ClassificationScores]
    temperature: float
    threshold: float | None
    before: float
    stamp: str
    facts: Mapping[str, Any]
    weights: tuple[float, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "intended_use": INTENDED_USE,
            "scores": {title: scores.as_dict() for title, scores in self.scores.items()},
            "temperature": self.temperature,
            "threshold": self.threshold,
            "ece_before_calibration": self.before,
            "leak": self.stamp,
            "ensemble_weights": list(self.weights),
            "facts": dict(self.facts),
        }

    def __str__(self) -> str:
        """The stamp, then each set of slices."""
        lines = [self.stamp]
        for title, scores in self.scores.items():
            lines += [f"{title}: {scores}"]
        return "\n".join(lines)

    def write(self, folder: Path | str) -> tuple[Path, Path]:
        """Write `scores.json` and `report.html` into `folder`; returns both paths."""
        folder = Path(folder)
        made = self.facts.get("made_by", {})
        split = self.facts.get("split", {})
        told = {
            "data": split.get("dataset_dir", "not recorded"),
            "split": split.get("studies", "not recorded"),
            "classes": ", ".join(split.get("classes", ())),
            "bundle": f"{made.get('bundle', '')} {made.get('bundle_version', '')}",
            "weights, SHA-256": "\n".join(
                f"{w['file']} {w['sha256']}" for w in made.get("weights", ())
            ),
            "temperature": f"{self.temperature:.4f}",
            "threshold": "the most likely class"
            if self.threshold is None
            else f"{self.threshold:.4f}",
            "ensemble": ", ".join(f"{w:.3f}" for w in self.weights) or "one network",
        }
        page = slices_page(
            Path(str(told["data"])).name,
            self.scores,
            {"stamp": self.stamp, "made_by": told, "before": self.before},
        )
        write_json(folder / "scores.json", self.as_dict())
        write_text(folder / "report.html", page)
        return folder / "scores.json", folder / "report.html"


def evaluate_slices(
    test: Sequence[Path | str],
    validation: Sequence[Path | str],
    *,
    output: Path | str | None = None,
    ensemble: str = "mean",
    seed: int = 0,
) -> SliceEvaluation:
    """Score predictions that the bundle's evaluation wrote.

    Temperature, threshold and an ensemble's weights come from validation alone.

    Args:
        test: `test.json` of a classifier; of several, which are an ensemble.
        validation: their `validation.json`, in the same order. Members of one ensemble must share
            the test side; where their validation sides differ (folds), their weights are their own
            accuracies, and stacking is refused.
        output: folder for `scores.json` and `report.html`.
        ensemble: "mean"; "accuracy" or "stacking" weigh the members.
        seed: of the bootstrap.

    Raises:
        InputError: files that are no predictions or do not belong together.
    """
    if not test or len(test) != len(validation):
        raise InputError("Give as many files of validation predictions as of test, at least one.")
    if ensemble not in WAYS:
        raise InputError(f"Unknown ensemble {ensemble!r}; choose of {', '.join(WAYS)}.")
    tests = [Predictions.load(path) for path in test]
    held = [Predictions.load(path)[0] for path in validation]
    weights: list[float] = [1.0] * len(held)
    if ensemble == "accuracy":
        weights = accuracy_weights(held)
    elif ensemble == "stacking":
        weights = stacking_weights(held)
    members = [one for one, _ in tests]
    facts = tests[0][1]
    if len(members) == 1:
        tested, known = members[0], held[0]
    else:
        facts = {**facts, "made_by": _together([f.get("made_by", {}) for _, f in tests])}
        tested = combined(members, weights)
        same = all(one.names == held[0].names for one in held)
        known = combined(held, weights) if same else held[0]
    result = _evaluated(tested, known, facts, tuple(weights if len(members) > 1 else ()), seed)
    if output is not None:
        result.write(output)
    return result


def _evaluated(
    test: Predictions,
    validation: Predictions,
    facts: Mapping[str, Any],
    weights: tuple[float, ...],
    seed: int,
) -> SliceEvaluation:
    temperature = fit_temperature(validation)
    two = len(test.classes) == 2
    threshold = choose_threshold(validation, temperature) if two else None
    options: dict[str, Any] = {"temperature": temperature, "threshold": threshold, "seed": seed}
    sets = {WHOLE: test}
    if test.leaks is not None and test.leaks.any() and not test.leaks.all():
        sets[CLEAN] = test.only(~test.leaks)
    scores = {title: classification_scores(one, **options) for title, one in sets.items()}
    scores["validation"] = classification_scores(validation, **options, intervals=False)
    before = classification_scores(test, intervals=False).figures["ece"].value
    return SliceEvaluation(
        scores,
        temperature,
        threshold,
        before,
        leak_told(facts.get("split", {}).get("leak")),
        facts,
        weights,
    )


def _together(made: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What made an ensemble: as the first member, with the weights of all."""
    return {**made[0], "weights": [file for one in made for file in one.get("weights", ())]}
