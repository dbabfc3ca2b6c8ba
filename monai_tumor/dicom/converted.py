"""What `convert` hands back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_tumor.dicom.audit import Audit
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.roles import Role


@dataclass(frozen=True)
class ConvertedSeries:
    """One file that was written, or one series that was refused.

    Attributes:
        series_uid: series instance UID; empty where not even that could be read.
        description: series description.
        role: t1n, t1c, t2w, t2f or none, and why.
        path: the NIfTI file; None where refused.
        sidecar: its JSON file; None where refused.
        shape: voxels along each axis.
        spacing: mm along each of the three axes.
        stack: `regular`, `missing(1)`, `regular, sheared`, ...
        repairs: what was mended.
        warnings: what a reader should know.
        audit: what the check of the written file found.
        refused: why there is no file; None where there is one.
        message: the refusal in words.
        study_uid: study instance UID; empty where there is none.
    """

    series_uid: str
    description: str = ""
    role: Role = field(default_factory=lambda: Role(None, "not converted"))
    path: Path | None = None
    sidecar: Path | None = None
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    stack: str = ""
    repairs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    audit: Audit | None = None
    refused: Reason | None = None
    message: str = ""
    study_uid: str = ""

    @property
    def name(self) -> str:
        """The file's name without ending; empty where refused."""
        return "" if self.path is None else self.path.name.removesuffix(".nii.gz")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "series_uid": self.series_uid,
            "description": self.description,
            "role": self.role.modality and str(self.role.modality),
            "role_reason": self.role.reason,
            "path": self.path and str(self.path),
            "sidecar": self.sidecar and str(self.sidecar),
            "shape": list(self.shape),
            "spacing": [round(s, 6) for s in self.spacing],
            "stack": self.stack,
            "repairs": list(self.repairs),
            "warnings": list(self.warnings),
            "audit": self.audit and self.audit.as_dict(),
            "refused": self.refused and str(self.refused),
            "message": self.message,
        }

    def __str__(self) -> str:
        """One line."""
        if self.path is None:
            return f"refused: {self.message}"
        size = " x ".join(str(n) for n in self.shape)
        notes = "".join(f"; {note}" for note in (*self.repairs, *self.warnings))
        return f"{self.path.name}: {size}, {self.stack}, {self.role}; {self.audit}{notes}"


class NothingConvertedError(RefusalError):
    """Every series was refused.

    Attributes:
        refusals: each of them.
    """

    def __init__(self, refusals: tuple[ConvertedSeries, ...]):
        first = refusals[0]
        more = f" (and {len(refusals) - 1} more refused)" if len(refusals) > 1 else ""
        RefusalError.__init__(self, first.refused or Reason.UNREADABLE, first.message + more)
        self.refusals = refusals
