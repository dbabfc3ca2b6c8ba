"""What was found in one study, as JSON for programs and as a page for people."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from monai_tumor.files import write_json, write_text
from monai_tumor.imaging.measure import Measures
from monai_tumor.imaging.quality import Flag
from monai_tumor.provenance import INTENDED_USE, REPORT_FORMAT, require_replaceable
from monai_tumor.report.key_slices import key_slices, lesion_slices
from monai_tumor.report.page import page

FORMAT = REPORT_FORMAT
FORMAT_VERSION = 1


@dataclass(frozen=True)
class StudyReport:
    """Measures of one segmentation, what is doubtful about it, and how it was made.

    Attributes:
        study: its name; nothing else of the person is kept.
        measures: volumes, counts and diameters.
        flags: reasons to look twice.
        provenance: as `provenance.record` gives it (bundle, weights and their SHA-256, versions,
            options), with "run_time_s" where it is known; JSON-ready.
        mean_entropy: mean over the tumour's voxels of the binary entropy of the regions'
            probabilities, in bits: 0 is sure, 1 undecided. None where there are no probabilities.
        disagreement: mean over the tumour's voxels of the standard deviation between the members
            of an ensemble: 0 where all agree, at most 0.5. None where there is no ensemble.
    """

    study: str
    measures: Measures
    flags: tuple[Flag, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    mean_entropy: float | None = None
    disagreement: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; the schema is `paths.REPORT_SCHEMA`."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "intended_use": INTENDED_USE,
            "study": self.study,
            "measures": self.measures.as_dict(),
            "uncertainty": {
                "mean_entropy": self.mean_entropy,
                "ensemble_disagreement": self.disagreement,
            },
            "flags": [flag.as_dict() for flag in self.flags],
            "provenance": dict(self.provenance),
        }

    def __str__(self) -> str:
        """The measures and flags as plain text."""
        lines = [self.study, str(self.measures)]
        if self.mean_entropy is not None:
            lines.append(f"mean entropy  {self.mean_entropy:.3f} bits")
        if self.disagreement is not None:
            lines.append(f"ensemble disagreement  {self.disagreement:.3f}")
        return "\n".join([*lines, *(str(flag) for flag in self.flags)])


def write_report(
    folder: Path,
    report: StudyReport,
    *,
    images: Mapping[str, ArrayLike],
    labels: ArrayLike,
    affine: ArrayLike,
) -> tuple[Path, Path]:
    """Write `report.json` and `report.html`, each whole or not at all.

    Args:
        folder: where to.
        report: what to write.
        images: name -> [X, Y, Z] of those to show, the one with enhancing tumour first; at least
            one.
        labels: the label map that was measured, integers [X, Y, Z].
        affine: voxel index to mm, RAS, [4, 4].

    Returns:
        Both paths.

    Raises:
        InputError: they cannot be written there, or would replace what is no report of ours; or
            images and label map do not fit.
    """
    json_path, html_path = folder / "report.json", folder / "report.html"
    require_replaceable(html_path, json_path)
    options: dict[str, Any] = {"affine": affine, "scheme": report.measures.scheme}
    rows = key_slices(images, labels, **options)
    first = next(iter(images.values()))
    lesions = lesion_slices(first, labels, report.measures.enhancing, **options)
    text = page(report.as_dict(), report.measures, rows, lesions)
    write_json(json_path, report.as_dict())
    write_text(html_path, text)
    return json_path, html_path
