"""One process at a time in a folder."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from monai_tumor.errors import InputError

_LOG = logging.getLogger(__name__)
LOCK = ".monai-tumor.lock"


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Keep others out of `folder`, which is made if need be, until the end of the block.

    The operating system holds the lock (`fcntl.flock` on a file of its own) and drops it with the
    process, whatever ends that: none is ever stale. Where there are no such locks, as on Windows
    and some network drives, nothing is locked. The file goes at the end, and with it the folder
    where it was made for nothing.

    Args:
        folder: to lock.
        doing: what the other process does, for the message: "segments into".

    Raises:
        InputError: another process has it, or it cannot be written to.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = None if sys.platform == "win32" else _lock(folder / LOCK, doing)
    except OSError as error:
        if made:
            with suppress(OSError):
                folder.rmdir()
        reason = error.strerror or error
        raise InputError(f"Cannot write {folder}: {reason}. Choose another place.") from error
    try:
        yield
    finally:
        if file is not None:
            (folder / LOCK).unlink(missing_ok=True)  # while it is ours, so that no other's goes
            os.close(file)
        if made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _lock(path: Path, doing: str) -> int:
    """The open and locked file, which is the one that has the name now."""
    import fcntl

    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            process = os.read(file, 20).decode(errors="replace").strip() or "unknown"
            os.close(file)
            raise InputError(
                f"Another process ({process}) {doing} {path.parent}; wait for it to end, or "
                "choose another folder."
            ) from None
        except OSError as error:
            _LOG.warning("%s cannot be locked: %s", path, error.strerror)
        try:
            same = os.path.samestat(os.fstat(file), path.stat())
        except FileNotFoundError:  # the process before removed it just now
            same = False
        if same:
            try:
                os.ftruncate(file, 0)
                os.write(file, f"{os.getpid()}\n".encode())
            except OSError:  # the disk is full
                path.unlink(missing_ok=True)
                os.close(file)
                raise
            return file
        os.close(file)
