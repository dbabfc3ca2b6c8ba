"""What comes of talking to a PACS."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from monai_tumor.errors import InputError
from monai_tumor.pacs.access import one_line


@dataclass(frozen=True)
class Echoed:
    """A PACS that answered.

    Attributes:
        address: its.
        seconds: from the call to the answer.
    """

    address: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"address": self.address, "seconds": round(self.seconds, 3)}

    def __str__(self) -> str:
        """One line."""
        return f"{self.address} answers ({self.seconds * 1000:.0f} ms)"


class Level(StrEnum):
    """What is asked for."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"


_OF_STUDY = (
    "StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "StudyTime", "AccessionNumber",
    "StudyDescription", "ModalitiesInStudy",
)  # fmt: skip
_OF_SERIES = (
    "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription",
)  # fmt: skip
_OF_INSTANCE = (
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber",
)  # fmt: skip
_KEYS = {Level.STUDY: _OF_STUDY, Level.SERIES: _OF_SERIES, Level.INSTANCE: _OF_INSTANCE}


@dataclass(frozen=True)
class Query:
    """What to look for.

    Attributes:
        match: DICOM keyword -> value; `*` and `?` stand for any characters, `20260101-` for dates
            from that day on.
        level: of what is listed; PACS want the UIDs of the levels above in `match`.
        limit: of matches.
    """

    match: Mapping[str, str] = field(default_factory=dict)
    level: Level = Level.STUDY
    limit: int = 1000

    def __post_init__(self) -> None:
        """Check keywords and limit.

        Raises:
            InputError: a keyword that DICOM does not know, or a limit below 1.
        """
        from pydicom.datadict import tag_for_keyword

        for keyword in self.match:
            if tag_for_keyword(keyword) is None:
                raise InputError(
                    f"{keyword!r} is no DICOM keyword; PatientID, StudyDate or Modality are some."
                )
        if self.limit < 1:
            raise InputError(f"A limit of {self.limit} finds nothing; give one from 1.")

    @property
    def keys(self) -> tuple[str, ...]:
        """The keywords to be told of each match."""
        return tuple(dict.fromkeys((*_KEYS[self.level], *self.match)))


def texts(match: Any, keys: Sequence[str]) -> dict[str, str]:
    """The values of a pydicom data set as printable text; what is empty is left out."""
    values = {}
    for key in keys:
        value = match.get(key)
        if value not in (None, "", []):
            many = isinstance(value, list) or hasattr(value, "append")
            values[key] = one_line("\\".join(map(str, value)) if many else value)
    return values


@dataclass(frozen=True)
class Found:
    """What a PACS holds of what was looked for.

    Attributes:
        address: its.
        level: of what is listed.
        matches: for each a dict of DICOM keyword and value; what is empty is left out.
        cut: there are more than the limit.
    """

    address: str
    level: Level
    matches: tuple[dict[str, str], ...]
    cut: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "address": self.address,
            "level": str(self.level),
            "matches": list(self.matches),
            "cut": self.cut,
        }

    def __str__(self) -> str:
        """A block for each match, then how many."""
        blocks = [
            "\n".join(f"{key:18}  {value}" for key, value in one.items()) for one in self.matches
        ]
        more = "; there are more, ask more narrowly or raise --limit" if self.cut else ""
        last = f"{len(self.matches)} of level {self.level} at {self.address}{more}"
        return "\n\n".join([*blocks, last])


@dataclass(frozen=True)
class Fetched:
    """Instances that were brought from a PACS.

    Attributes:
        address: its.
        study: its study instance UID.
        folder: where they lie, as `<series UID>/<instance UID>.dcm`.
        files: each of them.
        failed: how many the PACS, or we, could not bring over.
        notes: why.
    """

    address: str
    study: str
    folder: Path
    files: tuple[Path, ...]
    failed: int = 0
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "address": self.address,
            "study": self.study,
            "folder": str(self.folder),
            "files": [str(path) for path in self.files],
            "failed": self.failed,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """How many, from where, and what failed."""
        series = len({path.parent for path in self.files})
        first = f"{len(self.files)} instances of {series} series from {self.address} in "
        lines = [f"{first}{self.folder}"]
        if self.failed:
            lines.append(f"{self.failed} could not be brought over")
        return "\n".join([*lines, *(f"note: {one}" for one in self.notes)])


class Status(StrEnum):
    """What became of a file that was sent."""

    STORED = "stored"
    WARNED = "stored with a warning"
    FAILED = "not stored"


@dataclass(frozen=True)
class SentFile:
    """One file that was sent.

    Attributes:
        path: the file.
        uid: its SOP instance UID; empty where it could not be read.
        status: what became of it.
        reason: why it was not stored, or the warning.
    """

    path: Path
    uid: str
    status: Status
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "path": str(self.path),
            "uid": self.uid,
            "status": str(self.status),
            "reason": self.reason,
        }

    def __str__(self) -> str:
        """One line."""
        return f"{self.path}: {self.status}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Sent:
    """Files that were sent.

    Attributes:
        address: where to.
        files: each, in the order of sending.
    """

    address: str
    files: tuple[SentFile, ...]

    @property
    def complete(self) -> bool:
        """All of them are stored there."""
        return all(one.status is not Status.FAILED for one in self.files)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"address": self.address, "files": [one.as_dict() for one in self.files]}

    def __str__(self) -> str:
        """A line for each file that was not plainly stored, then how many were."""
        lines = [str(one) for one in self.files if one.status is not Status.STORED]
        counts = Counter(one.status for one in self.files)
        told = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
        return "\n".join([*lines, f"{self.address}: {told}"])
