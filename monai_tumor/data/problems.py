"""What is wrong with a study, in words a person can act on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from monai_tumor.errors import SchemeError, StudyError

# Worth telling, but no reason to leave a study out.
NOTES = frozenset(
    {"no-tumour", "unused-file", "missing-test-files", "form-conflict-settled", "no-orientation"}
)


@dataclass(frozen=True)
class Problem:
    """Something wrong with a study, or (`is_note`) merely worth knowing.

    Attributes:
        study: the study's id; "" when it concerns no one study.
        file: the file at fault, if one is.
        kind: a short word for counting, such as "shape", "affine" or "missing-modality".
        message: one line: what failed, what was found, what to do.
        repair: the name of a repair that is certain, or None. Nothing is repaired unasked.
    """

    study: str
    file: Path | None
    kind: str
    message: str
    repair: str | None = None

    @property
    def is_note(self) -> bool:
        """Whether the study can be used all the same."""
        return self.kind in NOTES

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "study": self.study,
            "file": None if self.file is None else str(self.file),
            "kind": self.kind,
            "message": self.message,
            "repair": self.repair,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Problem":
        """What `as_dict` wrote."""
        file = data.get("file")
        return cls(
            study=str(data.get("study", "")),
            file=None if file is None else Path(file),
            kind=str(data.get("kind", "")),
            message=str(data.get("message", "")),
            repair=data.get("repair"),
        )

    def __str__(self) -> str:
        """The message, after the word "note" if it is one."""
        return f"note: {self.message}" if self.is_note else self.message


def short(path: Path) -> str:
    """`folder/file` of a path: enough to find it, short enough to read."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def refuse(problems: Iterable[Problem]) -> NoReturn:
    """Raise the first of `problems` and say how many more there are.

    Raises:
        SchemeError: the first is that the label scheme cannot be known.
        StudyError: anything else.
    """
    first, *rest = problems
    more = ""
    if rest:
        studies = len({p.study for p in rest} - {first.study})
        more = f" ({len(rest)} more problem{'s' if len(rest) > 1 else ''}"
        more += f", in {studies} other stud{'ies' if studies > 1 else 'y'})" if studies else ")"
    raise (SchemeError if first.kind == "scheme" else StudyError)(first.message + more)
