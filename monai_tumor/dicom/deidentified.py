"""What de-identification made of each file, said without a word of what the files said."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from monai_tumor.dicom.profile import BASIC, CODES, EDITION, Option
from monai_tumor.dicom.reasons import Reason

LIMITS = (
    "Not removed: faces in head scans, text in the pixels, and words in the few text elements that "
    "the standard's table keeps. No claim of legal compliance is made."
)
_WHY: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.BURNED_IN: "text may be burned into its pixels; look, and allow it if there is none",
        Reason.SECONDARY_CAPTURE: "a screen or film copy; look for text in it, and allow it if "
        "there is none",
        Reason.NOT_AN_IMAGE: "no image but a report, document, plan or directory, which is free "
        "text",
        Reason.BAD_HEADER: "it has no SOP class or instance UID",
        Reason.NESTED_TOO_DEEP: "its sequences nest too deep",
        Reason.TRUNCATED: "its pixels are cut short",
        Reason.TOO_LARGE: "it is too large",
        Reason.UNDECODABLE: "its transfer syntax is private",
        Reason.NOT_FOUND: "there is no such file or folder",
        Reason.NOT_DICOM: "it is not a DICOM file",
        Reason.UNSAFE_PATH: "it leads out of its folder",
    }
)


@dataclass(frozen=True)
class DeidentifiedFile:
    """What became of one file.

    Attributes:
        number: its place in the order in which files were found, from 1; 0 for a whole input.
        source: how its input calls it. It may name a patient, so it is never printed.
        path: what was written; None where refused.
        refused: why there is no file; None where there is one.
    """

    number: int
    source: str = field(repr=False)
    path: Path | None = None
    refused: Reason | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without the name of the source."""
        return {
            "file": self.number or None,
            "path": self.path and str(self.path),
            "refused": self.refused and str(self.refused),
            "message": str(self) if self.refused else "",
        }

    def __str__(self) -> str:
        """One line; without the name of the source."""
        what = f"file {self.number}" if self.number else "an input"
        if self.refused is None:
            return f"{what}: {self.path}"
        why = _WHY.get(self.refused, "it cannot be read")
        return f"{what} refused: {why} [{self.refused}]"


@dataclass(frozen=True)
class Deidentification:
    """What became of all files of one run.

    Attributes:
        files: written and refused ones, in the order in which they were found.
        output: the folder.
        options: what was retained or cleaned beyond the Basic Profile.
        patients: how many were written.
        directories: DICOMDIR files left out; they list names, and their files are elsewhere now.
        passed: files that are not DICOM, left where they are.
    """

    files: tuple[DeidentifiedFile, ...]
    output: Path
    options: tuple[Option, ...] = ()
    patients: int = 0
    directories: int = 0
    passed: int = 0

    @property
    def written(self) -> tuple[DeidentifiedFile, ...]:
        """Those that were de-identified."""
        return tuple(one for one in self.files if one.path is not None)

    @property
    def refused(self) -> tuple[DeidentifiedFile, ...]:
        """Those that were not; each says why."""
        return tuple(one for one in self.files if one.refused is not None)

    @property
    def methods(self) -> tuple[tuple[str, str], ...]:
        """Codes and meanings as they stand in DeidentificationMethodCodeSequence."""
        return (BASIC, *(CODES[option] for option in self.options))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "output": str(self.output),
            "edition": f"DICOM PS3.15 {EDITION}",
            "methods": [{"code": code, "meaning": meaning} for code, meaning in self.methods],
            "patients": self.patients,
            "files": [one.as_dict() for one in self.files],
            "directories_left_out": self.directories,
            "not_dicom": self.passed,
            "limits": LIMITS,
        }

    def __str__(self) -> str:
        """The refused ones, what was done, and what was not."""
        lines = [str(one) for one in self.refused]
        if self.directories:
            lines.append(f"{self.directories} DICOMDIR left out: it lists names, and old places")
        if self.passed:
            lines.append(f"{self.passed} files left where they are: not DICOM")
        codes = ", ".join(f"{code} {meaning}" for code, meaning in self.methods)
        lines.append(
            f"{len(self.written)} files of {self.patients} patients de-identified in "
            f"{self.output}, {len(self.refused)} refused"
        )
        return "\n".join([*lines, f"DICOM PS3.15 {EDITION}: {codes}", LIMITS])
