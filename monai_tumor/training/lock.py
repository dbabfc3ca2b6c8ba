"""One training at a time in a folder."""

import logging
import os
import sys
from pathlib import Path

from monai_tumor.errors import InputError, TrainingError

_LOG = logging.getLogger(__name__)
LOCK = ".lock"


class FolderLock:
    """Keeps other processes out of a folder from `acquire` to `release` or the process's end.

    The operating system holds the lock (`fcntl.lockf` on the file `.lock`) and drops it with the
    process, whatever ends that, so none is ever stale; the file stays and names the process last
    in. Where there are no such locks, as on Windows and some network drives, nothing is locked.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._file: int | None = None

    def acquire(self) -> None:
        """Lock the folder, which is made where it lacks.

        Raises:
            TrainingError: another process has locked it.
            InputError: the folder cannot be written to.
        """
        if sys.platform == "win32":
            return
        import fcntl

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(
                f"Cannot write {self.path}: {error.strerror}. Choose another place."
            ) from error
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            process = os.read(file, 20).decode().strip()
            os.close(file)
            raise TrainingError(
                f"Another training (process {process}) is at work in {self.path.parent}. "
                "Wait for it to end, or choose another --output_dir."
            ) from None
        except OSError as error:
            _LOG.warning("%s cannot be locked: %s", self.path, error.strerror)
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file

    def release(self) -> None:
        """Let others in."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
