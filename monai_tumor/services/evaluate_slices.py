"""What a classifier of slices scores: on the test side whole, and without what leaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from monai_tumor.data.slices import leak_told
from monai_tumor.errors import InputError
from monai_tumor.files import write_json, write_text
from monai_tumor.metrics.classification import (
    ClassificationScores,
    classification_scores,
    decision_threshold,
    fit_temperature,
)
from monai_tumor.metrics.predictions import Predictions
from monai_tumor.provenance import INTENDED_USE
from monai_tumor.report.slices_report import slices_page
from monai_tumor.services.slice_ensemble import WAYS, Ensemble, ensemble_of

FORMAT = "monai-tumor slice evaluation"
FORMAT_VERSION = 1
WHOLE, CLEAN = "all test slices", "without those that leak"
_MOST_SUBGROUPS = 20  # a column of more values, such as a date, parts nothing
__all__ = ["CLEAN", "WAYS", "WHOLE", "SliceEvaluation", "evaluate_slices"]


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
        subgroups: "scanner: A" -> scores of its test slices, where subgroups are known.
    """

    scores: Mapping[str, ClassificationScores]
    temperature: float
    threshold: float | None
    before: float
    stamp: str
    facts: Mapping[str, Any]
    weights: tuple[float, ...] = ()
    subgroups: Mapping[str, ClassificationScores] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "intended_use": INTENDED_USE,
            "scores": {title: scores.as_dict() for title, scores in self.scores.items()},
            "subgroups": {title: scores.as_dict() for title, scores in self.subgroups.items()},
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
        for title, scores in self.subgroups.items():
            lines.append(f"{title}: {scores.count} slices, accuracy {scores.figures['accuracy']}")
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
            self.subgroups,
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
    threshold: float | None = None,
    seed: int = 0,
) -> SliceEvaluation:
    """Score predictions that the bundle's evaluation wrote.

    Temperature, threshold and an ensemble's weights come from validation alone.

    Args:
        test: `test.json` of a classifier; of several, which are an ensemble.
        validation: their `validation.json`, in the same order. Members of one ensemble share the
            test side, and either the validation side or they are all folds of a cross-validation.
        output: folder for `scores.json` and `report.html`.
        ensemble: "mean"; "accuracy" or "stacking" weigh the members.
        threshold: of the second of two classes; by default what the training's `threshold` says,
            else chosen on validation.
        seed: of the bootstrap.

    Raises:
        InputError: files that are no predictions or do not belong together.
    """
    if not test or len(test) != len(validation):
        raise InputError("Give as many files of validation predictions as of test, at least one.")
    loaded = [Predictions.load(path) for path in test]
    held = [Predictions.load(path)[0] for path in validation]
    told = [facts for _, facts in loaded]
    settings = [f.get("made_by", {}).get("options", {}).get("settings", {}) for f in told]
    networks = [str(one.get("network", "")) for one in settings]
    made = ensemble_of([one for one, _ in loaded], held, networks, ensemble)
    if threshold is None:
        threshold = settings[0].get("threshold")
    result = _evaluated(made, _facts(told), threshold, seed)
    if output is not None:
        result.write(output)
    return result


def _evaluated(
    made: Ensemble, facts: Mapping[str, Any], threshold: float | None, seed: int
) -> SliceEvaluation:
    test, validation = made.test, made.validation
    temperature = fit_temperature(validation)
    threshold = decision_threshold(validation, temperature, threshold)
    options: dict[str, Any] = {"temperature": temperature, "threshold": threshold, "seed": seed}
    sets = {WHOLE: test}
    if test.leaks is not None and test.leaks.any() and not test.leaks.all():
        sets[CLEAN] = test.only(~test.leaks)
    scores = {title: classification_scores(one, **options) for title, one in sets.items()}
    scores["validation"] = classification_scores(validation, **options, intervals=False)
    return SliceEvaluation(
        scores=scores,
        temperature=temperature,
        threshold=threshold,
        before=classification_scores(test, intervals=False).figures["ece"].value,
        stamp=leak_told(facts.get("split", {}).get("leak")),
        facts=facts,
        weights=made.weights,
        subgroups={
            title: classification_scores(one, **options) for title, one in _subgroups(test).items()
        },
    )


def _subgroups(test: Predictions) -> dict[str, Predictions]:
    """Such as "scanner: A" -> its slices; of columns that part the slices into a few."""
    found = {}
    for name, values in test.columns.items():
        kinds = sorted({*values} - {""})
        if 1 < len(kinds) <= _MOST_SUBGROUPS:
            for kind in kinds:
                found[f"{name}: {kind}"] = test.only(np.array([v == kind for v in values]))
    return found


def _facts(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the first member, with the weights of all and the worst split: leaking before unknown."""
    first = dict(told[0])
    if len(told) == 1:
        return first
    splits = [facts.get("split") or {} for facts in told]
    leaking = [split for split in splits if (split.get("leak") or {}).get("leaking")]
    unknown = [split for split in splits if split.get("leak") is None]
    made = _together([facts.get("made_by", {}) for facts in told])
    return {**first, "made_by": made, "split": (leaking or unknown or splits)[0]}


def _together(made: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What made an ensemble: as the first member, with the weights of all."""
    return {**made[0], "weights": [file for one in made for file in one.get("weights", ())]}
