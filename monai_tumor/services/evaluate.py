"""Score anybody's predictions against the truth, and compare two models on the same cases."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor import labels
from monai_tumor.errors import InputError, SchemeError
from monai_tumor.labels import Region, to_regions
from monai_tumor.metrics.segmentation import LesionRule, score_case
from monai_tumor.metrics.statistics import Paired, compare_paired
from monai_tumor.metrics.tables import COLUMNS, ScoreTable, align, show
from monai_tumor.services.label_maps import pair_up, read_pair

_NAMES_SHOWN = 10

# Scores where more (or less) is better, so that a difference between models says something.
_COMPARED = ("dice", "hd95_mm", "lesion_dice", "lesion_hd95_mm", "sensitivity", "precision")


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model's predictions.

    Attributes:
        table: the scores by case, their summary and how they were made.
        missing: subjects of the truth without prediction; in none of the figures.
        extra: predictions without truth; not scored.
        prediction_scheme: label scheme of the predictions; the table's is the truth's.
    """

    table: ScoreTable
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    prediction_scheme: str

    def as_dict(self) -> dict[str, Any]:
        """The table and what was left out, ready for JSON."""
        return self.table.as_dict() | self._more()

    def __str__(self) -> str:
        """The summary, and what was left out."""
        return "\n".join([str(self.table), *self._left_out()])

    def write(self, folder: Path) -> list[Path]:
        """Write `scores.json`, `scores.csv` and `scores.md` into `folder`; returns their paths.

        Raises:
            InputError: they cannot be written there.
        """
        return self.table.write(folder, more=self._more(), notes=self._left_out())

    def _more(self) -> dict[str, Any]:
        return {
            "prediction_scheme": self.prediction_scheme,
            "missing": list(self.missing),
            "extra": list(self.extra),
        }

    def _left_out(self) -> list[str]:
        lines = []
        if self.missing:
            lines.append(f"No prediction, left out of the means: {', '.join(self.missing)}")
        if self.extra:
            lines.append(f"No truth, not scored: {', '.join(self.extra)}")
        return lines


@dataclass(frozen=True)
class Comparison:
    """Two models on the same cases.

    Attributes:
        results: score -> region -> what the second model has over the first.
        first: name of the first model.
        second: name of the second.
        n: cases.
        scheme: label scheme of the truth.
    """

    results: dict[str, dict[Region, Paired]]
    first: str
    second: str
    n: int
    scheme: str

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "n": self.n,
            "scheme": self.scheme,
            "test": "Wilcoxon signed-rank, two-sided; Holm over regions",
            "differences": {
                score: {region.value: paired.as_dict() for region, paired in regions.items()}
                for score, regions in self.results.items()
            },
        }

    def __str__(self) -> str:
        """A row for each score and region."""
        rows = [["score", "region", "median difference", "differ", "p", "p (Holm)"]]
        for score, regions in self.results.items():
            title, digits = COLUMNS[score]
            for region, paired in regions.items():
                median = show(paired.median, paired.low, paired.high, digits=digits)
                p_values = [f"{p:.2g}" for p in (paired.p, paired.p_holm)]
                rows.append([title, region.value, median, f"{paired.n_differ}", *p_values])
        return (
            f"{self.second} minus {self.first}, cases: {self.n}, label scheme {self.scheme}; "
            f"median [95% interval], Wilcoxon signed-rank, Holm over regions\n{align(rows)}"
        )


def evaluate(
    prediction: Path | str,
    truth: Path | str,
    *,
    scheme: str,
    prediction_scheme: str | None = None,
    output: Path | str | None = None,
    allow_missing: bool = False,
    rule: LesionRule | None = None,
    on_case: Callable[[str, int, int], object] | None = None,
) -> Evaluation:
    """Score label maps against the truth.

    Args:
        prediction: a NIfTI label map, or a folder of them: nnU-Net's, ours, anybody's.
        truth: a label map or a folder: `case.nii.gz`, a BraTS tree with `*-seg.nii.gz` or
            `*_seg.nii.gz` beside the images, an MSD data set with `labelsTr`. Files are matched
            by subject, which is the name without such endings.
        scheme: label scheme of the truth; it cannot be told from the values.
        prediction_scheme: label scheme of the predictions, where it is another.
        output: folder for `scores.json`, `scores.csv` and `scores.md`.
        allow_missing: score those cases that have a prediction, and name the others, instead of
            refusing.
        rule: how lesions are matched; BraTS 2023's for glioma where not given.
        on_case: called before each case with its name, its number from 0, and how many there are.

    Returns:
        The scores. A prediction stored in another orientation than the truth is reoriented
        exactly (flips and axis swaps, no interpolation); other differences of grid are refused.

    Raises:
        InputError: nothing fitting is found, predictions are missing, a file cannot be read or
            written.
        StudyError: a file holds no label map, or its grid differs from the truth's.
        SchemeError: a label value is not in the scheme.
    """
    predicted_in = prediction_scheme or scheme
    for name in (scheme, predicted_in):
        labels.scheme(name)
    predictions, truths = pair_up(Path(prediction), Path(truth))
    missing = tuple(name for name in truths if name not in predictions)
    extra = tuple(name for name in predictions if name not in truths)
    shared = [name for name in truths if name in predictions]
    if not shared:
        raise InputError(
            f"No prediction matches a subject of the truth: found {_list(extra)} in {prediction} "
            f"and {_list(missing)} in {truth}. Name the files by subject."
        )
    if missing and not allow_missing:
        raise InputError(
            f"No prediction for {len(missing)} of {len(truths)} subjects: {_list(missing)}. Add "
            "them, or allow missing predictions to leave them out of the means."
        )
    table = ScoreTable(scheme, rule or LesionRule())
    for number, name in enumerate(shared):
        if on_case:
            on_case(name, number, len(shared))
        found, true, spacing = read_pair(predictions[name], truths[name], predicted_in, scheme)
        masks = to_regions(found, predicted_in), to_regions(true, scheme)
        table.add(name, score_case(*masks, spacing, rule=table.rule))
    result = Evaluation(table, missing, extra, predicted_in)
    if output is not None:
        result.write(Path(output))
    return result


def compare(first: Evaluation | Path | str, second: Evaluation | Path | str) -> Comparison:
    """Compare two models on the same cases.

    Args:
        first: an evaluation, its `scores.json`, or the folder that holds it.
        second: the same for the other model; differences are second minus first.

    Returns:
        Wilcoxon tests of each score and region. Signed volume errors are left out: neither more
        nor less of them is better.

    Raises:
        InputError: a file is not an evaluation, or the cases, regions or lesion rules differ.
        SchemeError: the label schemes of the truth differ.
    """
    (a, name_a), (b, name_b) = _scores(first, "first"), _scores(second, "second")
    if a.scheme != b.scheme:
        raise SchemeError(
            f"The truth of {name_a} is in scheme {a.scheme!r}, that of {name_b} in {b.scheme!r}; "
            "evaluate both in one scheme."
        )
    if a.rule != b.rule or a.regions != b.regions:
        raise InputError(
            f"{name_a} and {name_b} were scored by other lesion rules or regions; evaluate both "
            "alike."
        )
    single = sorted(set(a.cases) ^ set(b.cases))
    if single or not a.cases:
        raise InputError(
            f"{name_a} and {name_b} must hold the same cases; only one has "
            f"{_list(single) or 'any'}. Evaluate both on the same cases."
        )
    b = ScoreTable(b.scheme, b.rule, b.seed, {name: b.cases[name] for name in a.cases})
    results = {}
    for score in _COMPARED:
        values = [[table.values(region, score) for region in a.regions] for table in (a, b)]
        results[score] = dict(zip(a.regions, compare_paired(*values, seed=a.seed), strict=True))
    return Comparison(results, name_a, name_b, len(a.cases), a.scheme)


def _scores(given: Evaluation | Path | str, name: str) -> tuple[ScoreTable, str]:
    if isinstance(given, Evaluation):
        return given.table, name
    path = Path(given) / "scores.json" if Path(given).is_dir() else Path(given)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"Cannot read scores from {path}: {error}. Give the scores.json of an evaluation."
        ) from error
    try:
        return ScoreTable.from_dict(content), str(given)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _list(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
