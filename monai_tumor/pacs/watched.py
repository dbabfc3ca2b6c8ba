"""What `watch` tells: while it runs, and at its end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor.pacs.spool import State


@dataclass(frozen=True)
class Event:
    """Something that happened to a study.

    Attributes:
        study: its study instance UID; empty for what concerns none.
        state: the one that it has now; None for what is refused.
        note: more of it.
    """

    study: str
    state: State | None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"study": self.study, "state": self.state and str(self.state), "note": self.note}

    def __str__(self) -> str:
        """One line."""
        text = f"study {self.study}: {self.state or 'refused'}" if self.study else ""
        return ": ".join(part for part in (text, self.note) if part)


@dataclass(frozen=True)
class Watched:
    """What came of watching.

    Attributes:
        folder: the spool.
        done: how many studies were done.
        failed: how many failed.
        waiting: how many wait in the spool for the next time.
    """

    folder: Path
    done: int
    failed: int
    waiting: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "folder": str(self.folder),
            "done": self.done,
            "failed": self.failed,
            "waiting": self.waiting,
        }

    def __str__(self) -> str:
        """One line."""
        where = f", see {self.folder / State.FAILED}" if self.failed else ""
        return f"{self.done} studies done, {self.failed} failed{where}; {self.waiting} waiting"
