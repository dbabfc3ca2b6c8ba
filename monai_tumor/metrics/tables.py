"""Scores of many cases: summary, CSV, JSON and Markdown."""

import csv
import io
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from math import isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

from monai_tumor import __version__
from monai_tumor.errors import InputError
from monai_tumor.files import write_json, write_text
from monai_tumor.labels import REGIONS, Region
from monai_tumor.metrics.segmentation import CaseScores, LesionRule, RegionScores
from monai_tumor.metrics.statistics import Mean, bootstrap_mean

FORMAT = "monai_tumor scores"
FORMAT_VERSION = 1


class _Column(NamedTuple):
    title: str
    digits: int


# Scores that every summary gives, and how tables for people show them.
COLUMNS: Mapping[str, _Column] = {
    "dice": _Column("Dice", 3),
    "hd95_mm": _Column("HD95 mm", 1),
    "lesion_dice": _Column("lesion Dice", 3),
    "lesion_hd95_mm": _Column("lesion HD95 mm", 1),
    "sensitivity": _Column("sensitivity", 3),
    "precision": _Column("precision", 3),
    "volume_error_ml": _Column("volume error mL", 1),
    "volume_error_relative": _Column("volume error, relative", 2),
}


@dataclass
class ScoreTable:
    """Scores by case, filled with `add`.

    Attributes:
        scheme: label scheme of the truth.
        rule: how lesions were matched.
        seed: of the bootstrap in the summary.
        cases: case -> its scores, in the order added.
    """

    scheme: str
    rule: LesionRule = field(default_factory=LesionRule)
    seed: int = 0
    cases: dict[str, CaseScores] = field(default_factory=dict)

    def add(self, case: str, scores: CaseScores) -> None:
        """Add one case.

        Raises:
            InputError: the case is there already, or its regions differ from the others'.
        """
        if case in self.cases:
            raise InputError(f"Case {case!r} is in the table already; score each case once.")
        if self.cases and list(scores.regions) != self.regions:
            raise InputError(
                f"Case {case!r} has regions {', '.join(scores.regions)}; the table holds "
                f"{', '.join(self.regions)}."
            )
        self.cases[case] = scores

    @property
    def regions(self) -> list[Region]:
        """The regions scored, in channel order."""
        return list(next(iter(self.cases.values())).regions) if self.cases else list(REGIONS)

    def values(self, region: Region, score: str) -> list[float]:
        """One score of one region, a value a case, in the order added."""
        return [getattr(case.regions[region], score) for case in self.cases.values()]

    def summary(self) -> dict[Region, dict[str, Mean]]:
        """Region -> score -> mean over cases with its 95% interval."""
        return {
            region: {
                score: bootstrap_mean(self.values(region, score), seed=self.seed)
                for score in COLUMNS
            }
            for region in self.regions
        }

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON: how it was scored, the summary, the cases."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "scheme": self.scheme,
            "lesion_rule": asdict(self.rule),
            "interval": {"confidence": 0.95, "method": "percentile bootstrap", "seed": self.seed},
            "software": _software(),
            "summary": {
                region.value: {score: mean.as_dict() for score, mean in scores.items()}
                for region, scores in self.summary().items()
            },
            "cases": {name: scores.as_dict() for name, scores in self.cases.items()},
        }

    @classmethod
    def from_dict(cls, content: Any) -> "ScoreTable":
        """The table that `as_dict` wrote.

        Raises:
            InputError: `content` is something else, or of another version.
        """
        head = content if isinstance(content, dict) else {}
        found = head.get("format"), head.get("version")
        if found != (FORMAT, FORMAT_VERSION):
            raise InputError(
                f"Not {FORMAT} of version {FORMAT_VERSION}: found format {found[0]!r}, version "
                f"{found[1]}. Give the JSON that the evaluation wrote."
            )
        try:
            table = cls(
                content["scheme"], LesionRule(**content["lesion_rule"]), content["interval"]["seed"]
            )
            for name, regions in content["cases"].items():
                table.add(name, _case_scores(regions))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"Damaged {FORMAT}: {error!r}. Evaluate again.") from error
        return table

    def to_csv(self) -> str:
        """A row for each case and region; an undefined score is an empty cell."""
        names = [f.name for f in fields(RegionScores)]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["case", "region", *names])
        for case, scores in self.cases.items():
            for region, values in scores.as_dict().items():
                writer.writerow([case, region, *(values[name] for name in names)])
        return text.getvalue()

    def to_markdown(self) -> str:
        """Summary, cases and parameters, for people."""
        rule = self.rule
        return "\n".join(
            [
                f"# Scores of {_cases(len(self.cases))}\n",
                f"Label scheme `{self.scheme}`. Mean [95% interval], percentile bootstrap over "
                f"cases, seed {self.seed}.\n",
                align(self._summary_rows(), markdown=True),
                "\n## Cases\n",
                align(self._case_rows(), markdown=True),
                "\n## How it was scored\n",
                f"HD95 and lesion-wise scores as in BraTS 2023: truth dilated "
                f"{rule.dilation_voxels}x with 18 neighbours, components with 26 neighbours, "
                f"lesions of at most {rule.min_volume_mm3:g} mm3 left out, HD95 "
                f"{rule.penalty_mm:g} mm where one side is empty. Both empty: Dice 1, HD95 0.\n",
                ", ".join(f"{name} {number}" for name, number in _software().items()) + "\n",
            ]
        )

    def __str__(self) -> str:
        """The summary as plain text."""
        title = f"{_cases(len(self.cases))}, label scheme {self.scheme}, mean [95% interval]"
        return f"{title}\n{align(self._summary_rows())}"

    def write(
        self, folder: Path, *, more: Mapping[str, Any] | None = None, notes: Sequence[str] = ()
    ) -> list[Path]:
        """Write `scores.json`, `scores.csv` and `scores.md`, each atomically.

        Args:
            folder: where to.
            more: further keys of the JSON.
            notes: further lines of the Markdown.

        Returns:
            The files written.

        Raises:
            InputError: they cannot be written there.
        """
        paths = [folder / f"scores.{ending}" for ending in ("json", "csv", "md")]
        write_json(paths[0], self.as_dict() | dict(more or {}))
        write_text(paths[1], self.to_csv())
        write_text(paths[2], self.to_markdown() + "".join(f"\n{note}\n" for note in notes))
        return paths

    def _summary_rows(self) -> list[list[str]]:
        summary = self.summary()
        rows = [["", *(region.value for region in summary)]]
        for score, column in COLUMNS.items():
            cells = []
            for means in summary.values():
                mean = means[score]
                fewer = f" (n {mean.n})" if mean.n < len(self.cases) else ""
                cells.append(show(mean.mean, mean.low, mean.high, digits=column.digits) + fewer)
            rows.append([column.title, *cells])
        return rows

    def _case_rows(self) -> list[list[str]]:
        rows = [["case", "region", *(column.title for column in COLUMNS.values())]]
        for case, scores in self.cases.items():
            for region, values in scores.regions.items():
                cells = [
                    show(getattr(values, score), digits=column.digits)
                    for score, column in COLUMNS.items()
                ]
                rows.append([case, region.value, *cells])
        return rows


def show(value: float, low: float = nan, high: float = nan, *, digits: int) -> str:
    """A number as people read it: `0.812`, `0.812 [0.760, 0.861]`, or `-` for NaN."""
    if isnan(value):
        return "-"
    interval = "" if isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{value:.{digits}f}{interval}"


def align(rows: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """`rows` (the first is the head) as columns of equal width; with pipes for Markdown."""
    cells = [[cell.replace("|", "\\|") if markdown else cell for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths, markdown) for row in cells]
    if markdown:
        lines.insert(1, _line(["-" * width for width in widths], widths, markdown))
    return "\n".join(lines)


def _line(row: Iterable[str], widths: Sequence[int], markdown: bool) -> str:
    padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    return f"| {' | '.join(padded)} |" if markdown else "  ".join(padded).rstrip()


def _cases(count: int) -> str:
    return "1 case" if count == 1 else f"{count} cases"


def _case_scores(content: Mapping[str, Mapping[str, Any]]) -> CaseScores:
    scores: dict[Region, RegionScores] = {}
    for region, values in content.items():
        known: dict[str, Any] = {k: nan if v is None else v for k, v in values.items()}
        scores[Region(region)] = RegionScores(**known)
    return CaseScores(scores)


def _software() -> dict[str, str]:
    packages = {name: version(name) for name in ("monai", "numpy", "scipy")}
    return {"monai_tumor": __version__, "python": platform.python_version(), **packages}
