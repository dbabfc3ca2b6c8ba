"""What came of a run of `segment`, or would come of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_tumor.dicom import Exported
from monai_tumor.imaging.quality import Flag
from monai_tumor.labels import REGIONS
from monai_tumor.services.four_images import Source
from monai_tumor.services.opening import Preparation


@dataclass(frozen=True)
class Written:
    """What was found in one study, and its files.

    Attributes:
        label_map: `<study>_seg.nii.gz`.
        volumes_ml: mL of WT, TC, ET and tissues.
        flags: reasons to look twice.
        report: the folder of report.html and report.json; None where none was asked for.
        dicom: SEG, SR and key images; None where the images were not DICOM.
        notes: what a reader should know.
        not_written: what was asked for and could not be made ("dicom") -> why.
    """

    label_map: Path
    volumes_ml: Mapping[str, float]
    flags: tuple[Flag, ...] = ()
    report: Path | None = None
    dicom: Exported | None = None
    notes: tuple[str, ...] = ()
    not_written: Mapping[str, str] = field(default_factory=dict)

    @property
    def dicom_files(self) -> tuple[Path, ...]:
        """SEG, SR and key images; none where none were written."""
        return self.dicom.files if self.dicom else ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "label_map": str(self.label_map),
            "volumes_ml": {name: round(ml, 3) for name, ml in self.volumes_ml.items()},
            "flags": [flag.as_dict() for flag in self.flags],
            "report": self.report and str(self.report),
            "dicom": [str(path) for path in self.dicom_files],
            "notes": list(self.notes),
            "not_written": dict(self.not_written),
        }

    def __str__(self) -> str:
        """The regions' volumes, and a line for the label map, each flag and each note."""
        volumes = ", ".join(f"{name} {self.volumes_ml[name]:.1f} mL" for name in REGIONS)
        lines = [str(self.label_map), *map(str, self.flags), *(f"note: {n}" for n in self.notes)]
        lines += [f"no {what} was written: {why}" for what, why in self.not_written.items()]
        return "\n  ".join([volumes, *lines])


@dataclass(frozen=True)
class Failure:
    """Why a study has no result.

    Attributes:
        message: one line.
        is_defect: nothing that a user could mend.
    """

    message: str
    is_defect: bool = False


@dataclass(frozen=True)
class SegmentationRun:
    """What came of a run.

    Attributes:
        output: where the results lie.
        done: study -> its files.
        kept: studies that an earlier run had finished (`resume`).
        errors: study -> one line that says why it has no result.
        defects: those of the failed studies that failed by no fault of theirs.
    """

    output: Path
    done: Mapping[str, Written]
    kept: tuple[str, ...]
    errors: Mapping[str, str]
    defects: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every study has a result, with all that was asked for."""
        return not self.errors and not any(one.not_written for one in self.done.values())

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "output": str(self.output),
            "done": {study: written.as_dict() for study, written in self.done.items()},
            "kept": list(self.kept),
            "errors": dict(self.errors),
            "defects": list(self.defects),
        }

    def __str__(self) -> str:
        """One line a result or error, then the sum."""
        lines = [f"{study}: {written}" for study, written in self.done.items()]
        lines += [f"{study}: error: {reason}" for study, reason in self.errors.items()]
        kept = f", {len(self.kept)} were there already" if self.kept else ""
        left = f", {len(self.errors)} failed (errors.json)" if self.errors else ""
        return "\n".join([*lines, f"{len(self.done)} segmented{kept}{left}: {self.output}"])


@dataclass(frozen=True)
class SegmentationPlan:
    """What a run would do.

    Attributes:
        sources: the studies, in order.
        preparation: what may be done to their images.
        errors: study -> why it could not be segmented.
    """

    sources: tuple[Source, ...]
    preparation: Preparation
    errors: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether every study can be tried."""
        return not self.errors

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "studies": {source.name: source.as_dict() for source in self.sources},
            "preparation": self.preparation.as_dict(),
            "errors": dict(self.errors),
        }

    def __str__(self) -> str:
        """Each study with its images, each error, the sum."""
        lines = [str(source) for source in self.sources]
        lines += [f"{study}: error: {reason}" for study, reason in self.errors.items()]
        return "\n".join([*lines, f"{len(self.sources)} to segment, {len(self.errors)} cannot be"])
