"""What a classifier of slices scores, as a page for people."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from monai_tumor.metrics.classification import Bin, ClassificationScores, Figure
from monai_tumor.provenance import INTENDED_USE
from monai_tumor.report.page import figure, note, section, sheet, table
from monai_tumor.training.slices.figures import confusion_picture

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision",
    "recall": "recall (sensitivity)",
    "specificity": "specificity",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
}
_PIXELS = 300


def slices_page(
    name: str,
    scores: Mapping[str, ClassificationScores],
    facts: Mapping[str, Any],
    subgroups: Mapping[str, ClassificationScores] | None = None,
) -> str:
    """The page of an evaluation.

    Args:
        name: of the data set.
        scores: title of a set of slices -> its scores; the first is the one to show in full.
        facts: "stamp" (one line), "made_by" (name -> text), "before" (ECE before calibration).
        subgroups: "scanner: A" -> scores of its slices.
    """
    first = next(iter(scores.values()))
    sections = [
        section("The split", f"<p><b>{escape(str(facts['stamp']))}</b></p>\n"),
        section("Scores", _scores(scores), note(_NOTE)),
        section("Each class", _classes(first)),
        *([section("Subgroups", _subgroups(subgroups), note(_FEW))] if subgroups else ()),
        section(
            "Confusion and calibration",
            figure(
                Image.fromarray(confusion_picture(first.confusion, first.classes)), "Confusion", 0.6
            ),
            figure(reliability_picture(first.reliability), _calibration(first, facts), 0.4),
        ),
        section("How it was made", _pairs(facts["made_by"])),
    ]
    return sheet(
        name, "slice classifier", "Slice classification: scores", sections, use=INTENDED_USE
    )


_NOTE = (
    "Intervals are 95%, from a bootstrap over groups (patients, or sets of twins). Precision to PR"
    " AUC are means over classes, each against the others; with two classes, those of the second."
    " The nearest neighbour takes the class of the most alike slice that was learnt from, by raw"
    " pixels: it understands nothing, so what a model has over it is what it may have learnt."
)


_FEW = "Of the test side. Where an interval is wide the subgroup is small, and says little."


def reliability_picture(bins: Sequence[Bin], side: int = _PIXELS) -> Image.Image:
    """Accuracy against confidence, a bar a bin, darker where more slices are; the line is ideal."""
    margin = 34
    picture = Image.new("RGB", (side + margin + 8, side + margin + 8), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    most = max(one.count for one in bins)
    for one in bins:
        shade = round(225 - 150 * one.count / most)
        box = (
            margin + one.low * side,
            8 + (1 - one.accuracy) * side,
            margin + one.high * side - 1,
            8 + side,
        )
        pen.rectangle(box, (shade, shade, 240), (90, 90, 140))
    pen.line((margin, 8 + side, margin + side, 8), (190, 60, 30), 2)
    pen.rectangle((margin, 8, margin + side, 8 + side), None, "black")
    for share in (0.0, 0.5, 1.0):
        pen.text((margin + share * side, side + 12), f"{share:g}", "black", font, anchor="mt")
        pen.text((margin - 5, 8 + (1 - share) * side), f"{share:g}", "black", font, anchor="rm")
    pen.text((margin + side / 2, side + 26), "confidence", "black", font, anchor="mt")
    return picture


def _scores(scores: Mapping[str, ClassificationScores]) -> str:
    head = ["", *(f"{escape(title)}, {one.count} slices" for title, one in scores.items())]
    rows = [
        [escape(words), *(_cell(one.figures.get(key)) for one in scores.values())]
        for key, words in NAMES.items()
    ]
    rows.insert(
        1, ["nearest neighbour, accuracy", *(_cell(one.neighbour) for one in scores.values())]
    )
    shares = ["" if one.leaking is None else f"{100 * one.leaking:.1f}%" for one in scores.values()]
    rows.insert(2, ["slices that leak", *shares])
    return table(head, rows)


def _subgroups(subgroups: Mapping[str, ClassificationScores]) -> str:
    keys = ("accuracy", "balanced_accuracy", "f1")
    head = ["", "slices", *(escape(NAMES[key]) for key in keys), "nearest neighbour, accuracy"]
    rows = [
        [
            escape(title),
            str(one.count),
            *(_cell(one.figures.get(key)) for key in keys),
            _cell(one.neighbour),
        ]
        for title, one in subgroups.items()
    ]
    return table(head, rows)


def _cell(value: Figure | None) -> str:
    if value is None:
        return ""
    if value.low is None or value.high is None:
        return f"{value.value:.3f}"
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _classes(scores: ClassificationScores) -> str:
    keys = ("precision", "recall", "specificity", "f1", "roc_auc", "pr_auc")
    head = ["", *(escape(NAMES[key]) for key in keys), "slices"]
    rows = [
        [escape(label), *(f"{values[key]:.3f}" for key in keys), f"{values['support']:.0f}"]
        for label, values in scores.per_class.items()
    ]
    return table(head, rows)


def _calibration(scores: ClassificationScores, facts: Mapping[str, Any]) -> str:
    return (
        f"Calibration with temperature {scores.temperature:.2f}, fitted on validation: expected"
        f" calibration error {scores.figures['ece'].value:.3f}, before {facts['before']:.3f}"
    )


def _pairs(made: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(str(text))}</dd>\n" for name, text in made.items()
    )
    return f"<dl>\n{rows}</dl>\n"
