"""A progress bar for work that takes long: how far, how fast, how long still."""

import sys
from typing import Any


class Steps:
    """A bar on a terminal until all is done, and nothing elsewhere.

    Args:
        title: what is done.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None

    def __enter__(self) -> "Steps":
        """Begin."""
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=None, rate="")
        return self

    def advance(self, item: Any, number: int, total: int) -> None:  # noqa: ARG002
        """One item of `total` is done."""
        if self._bar is None:
            return
        seconds = self._bar.tasks[0].elapsed or 0
        rate = (
            f"{number / seconds:.1f} a second"
            if number > seconds
            else (f"{seconds / number:.1f} s each" if number else "")
        )
        self._bar.update(self._task, completed=number, total=total, rate=rate)
        if number == total:  # others may write to the terminal from here on
            self.__exit__()

    def __exit__(self, *error: object) -> None:
        """End, if that was not done yet."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
