"""The folder in which `watch` keeps its studies, so that it may be killed at any time.

    received/    comes in, or waits until it is complete
    processing/  is being processed
    sending/     its results go to their destination
    done/        kept for a while, so that a late instance finds the others
    failed/      for a person to look at; sent again, it is tried again

Each study is a folder `<state>/<study UID>/` with `instances/`, `results/` and `study.json`; a
change of state is one rename. `received/<study UID>/open` stands from the first instance that a
caller sends until the caller takes its leave in due form, so that a study that was broken off is
known as such, by a restarted watcher also.
"""

import os
import shutil
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from time import monotonic, time
from typing import Any

from monai_tumor.errors import InputError
from monai_tumor.files import write_text
from monai_tumor.pacs.instances import Instance, put

_OPEN = "open"
INSTANCES, RESULTS, NOTES = "instances", "results", "study.json"


class State(StrEnum):
    """Where a study stands; the name of its folder's parent."""

    RECEIVED = "received"
    PROCESSING = "processing"
    SENDING = "sending"
    DONE = "done"
    FAILED = "failed"


_PROCESSING, _SENDING = State.PROCESSING, State.SENDING


@dataclass(frozen=True)
class Room:
    """How much a spool may hold.

    Attributes:
        studies: that are not done or failed.
        spool_bytes: of all files together; what is done makes room for what comes.
        free_bytes: to be left free on the disk.
        instance_bytes: of one instance.
        keep_s: seconds for which done and failed studies are kept.
    """

    studies: int = 100
    spool_bytes: int = 100 << 30
    free_bytes: int = 1 << 30
    instance_bytes: int = 2 << 30
    keep_s: float = 7 * 86_400.0


class FullError(Exception):
    """There is no room for an instance."""


@dataclass
class _Arrival:
    """What is known of a study that comes in; times of `monotonic`.

    Attributes:
        last: when an instance came last.
        broken: when a caller broke off last.
        callers: those who are sending it now, and since when they are connected.
    """

    last: float
    broken: float | None = None
    callers: dict[Any, float] = field(default_factory=dict)

    def is_quiet(self, seconds: float) -> bool:
        """Nobody is sending it, nor did for some seconds."""
        return not self.callers and monotonic() - self.last >= seconds


class Spool:
    """A spool folder, of one process at a time; its methods may be called from any thread."""

    def __init__(self, folder: Path, room: Room) -> None:
        """Take over the folder, which is made where it lacks, as the last process left it.

        Raises:
            InputError: it cannot be written, or another process has it.
        """
        self.folder = folder
        self._room = room
        self._guard = threading.RLock()
        self._lock_file = _locked(folder)
        for state in State:
            (folder / state).mkdir(exist_ok=True)
        for leftover in list(folder.rglob(".tmp-*")):  # of a process that was killed
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)
        now = monotonic()
        self._arrivals = {
            study: _Arrival(now, now if self._mark(study).exists() else None)
            for study in self.studies(State.RECEIVED)
        }
        self._used = self._size()

    def close(self) -> None:
        """Let other processes have it."""
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def studies(self, state: State) -> list[str]:
        """The UIDs of the studies in a state, the one that is longest there first."""
        folders = [path for path in (self.folder / state).iterdir() if path.is_dir()]
        return [path.name for path in sorted(folders, key=lambda p: (p.stat().st_mtime_ns, p.name))]

    def path(self, state: State, study: str) -> Path:
        """Where a study lies."""
        return self.folder / state / study

    # -- coming in

    def store(self, instance: Instance, caller: Any, since: float) -> bool:
        """Put an instance on the disk; False where the study holds the very same already.

        Args:
            instance: what came.
            caller: whose connection it came by.
            since: since when they are connected, by `monotonic`.

        Raises:
            FullError: there is no room.
            InputError: it cannot be written.
        """
        with self._guard:
            if self._held(instance):
                return False
            self._make_room(instance)
            arrival = self._arrivals.setdefault(instance.study, _Arrival(monotonic()))
            arrival.callers[caller] = since
            self._used += len(instance.content)
        study = self.path(State.RECEIVED, instance.study)
        try:
            if not self._mark(instance.study).exists():
                write_text(self._mark(instance.study), "")
            put(instance.content, study / INSTANCES / f"{instance.uid}.dcm")
        except InputError:
            with self._guard:
                if not study.is_dir():
                    self._arrivals.pop(instance.study, None)
            raise
        arrival.last = monotonic()
        return True

    def leave(self, study: str, caller: Any, *, in_due_form: bool) -> None:
        """A caller has finished with a study: gone, or gone on to the next."""
        with self._guard:
            arrival = self._arrivals.get(study)
            if arrival is None or caller not in arrival.callers:
                return
            since = arrival.callers.pop(caller)
            if not in_due_form:
                arrival.broken = monotonic()
            elif arrival.broken is None or since > arrival.broken:
                arrival.broken = None
                if not arrival.callers:
                    self._mark(study).unlink(missing_ok=True)

    def refuse(self, study: str) -> None:
        """An instance of a study was refused, so that what is there of it is not all."""
        with self._guard:
            if study in self._arrivals:
                self._arrivals[study].broken = monotonic()
                if not self._mark(study).exists():  # a full disk may be why it was refused
                    with suppress(InputError):
                        write_text(self._mark(study), "")

    # -- changes of state

    def claim(self, quiet_s: float) -> str | None:
        """Move the next complete study to `processing`; returns its UID, or None.

        Complete are those to which nothing was added for `quiet_s` seconds, that nobody is sending
        and that nobody broke off. A study of which earlier instances are being processed or sent
        waits for its turn.
        """
        with self._guard:
            for study, arrival in self._arrivals.items():
                if (
                    arrival.broken is None
                    and arrival.is_quiet(quiet_s)
                    and not self._is_busy(study)
                ):
                    self.move(study, State.RECEIVED, State.PROCESSING)
                    return study
        return None

    def give_up(self, quiet_s: float) -> list[str]:
        """Move to `failed` what was broken off and not taken up again for `quiet_s` seconds."""
        with self._guard:
            given_up = [
                study
                for study, arrival in self._arrivals.items()
                if arrival.broken is not None
                and arrival.is_quiet(quiet_s)
                and not self._is_busy(study)
            ]
            for study in given_up:
                self.move(study, State.RECEIVED, State.FAILED)
            return given_up

    def move(self, study: str, old: State, new: State) -> Path:
        """Give a study another state; returns where it lies now.

        What comes from `received` is put together with what an earlier time left of it in `done`
        or `failed`; of two instances with one UID the later stays.
        """
        with self._guard:
            here = self.path(old, study)
            if old is State.RECEIVED:
                for state in (State.DONE, State.FAILED):
                    _take_over(self.path(state, study), here)
            there = here.rename(self.path(new, study))
            if old is State.RECEIVED:
                self._arrivals.pop(study, None)
            (there / _OPEN).unlink(missing_ok=True)  # not before, lest a crash makes it complete
            _sync(self.folder / new)
            _sync(self.folder / old)
            os.utime(there)
            self._used = self._size()
            return there

    def purge(self) -> list[str]:
        """Remove what is done or failed for longer than it is kept; returns the UIDs."""
        with self._guard:
            old = [
                path
                for state in (State.DONE, State.FAILED)
                for path in (self.path(state, study) for study in self.studies(state))
                if time() - path.stat().st_mtime > self._room.keep_s
            ]
            for path in old:
                shutil.rmtree(path)
            if old:
                self._used = self._size()
            return [path.name for path in old]

    # -- within

    def _mark(self, study: str) -> Path:
        return self.path(State.RECEIVED, study) / _OPEN

    def _is_busy(self, study: str) -> bool:
        return any(self.path(state, study).exists() for state in (_PROCESSING, _SENDING))

    def _held(self, instance: Instance) -> bool:
        """Whether the same bytes are there and need no processing any more."""
        if instance.study in self._arrivals:
            return False
        for state in (State.PROCESSING, State.SENDING, State.DONE):
            path = self.path(state, instance.study) / INSTANCES / f"{instance.uid}.dcm"
            if path.is_file():
                return path.read_bytes() == instance.content
        return False

    def _make_room(self, instance: Instance) -> None:
        size, room = len(instance.content), self._room
        if size > room.instance_bytes:
            raise FullError(f"an instance of {size >> 20} MiB is larger than is allowed")
        busy = {*self._arrivals, *self.studies(_PROCESSING), *self.studies(_SENDING)}
        if instance.study not in busy and len(busy) >= room.studies:
            raise FullError(f"{len(busy)} studies are waiting")
        while reason := self._lacks(size):
            done = self.studies(State.DONE)
            if not done:
                raise FullError(reason)
            shutil.rmtree(self.path(State.DONE, done[0]))
            self._used = self._size()

    def _lacks(self, size: int) -> str:
        if self._used + size > self._room.spool_bytes:
            return f"the spool holds {self._used >> 20} MiB"
        if shutil.disk_usage(self.folder).free - size < self._room.free_bytes:
            return "the disk is full"
        return ""

    def _size(self) -> int:
        return sum(_bytes(path) for path in self.folder.rglob("*"))


def _bytes(path: Path) -> int:
    """The size of a file; 0 of all else, and of one that was renamed just now."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def _take_over(old: Path, new: Path) -> None:
    """Move the instances that `new` lacks from `old` to it, and remove `old`; may be repeated."""
    if not old.is_dir():
        return
    (new / INSTANCES).mkdir(parents=True, exist_ok=True)
    for path in sorted((old / INSTANCES).glob("*.dcm")):
        if not (new / INSTANCES / path.name).exists():
            path.rename(new / INSTANCES / path.name)
    _sync(new / INSTANCES)
    shutil.rmtree(old)


def _locked(folder: Path) -> int | None:
    """A lock on the folder that the system drops with the process; None where there is none."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it will hold patients' files
        if sys.platform == "win32":
            return None
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise InputError(
            f"Cannot write {folder}: {error.strerror}. Choose another folder."
        ) from error
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise InputError(
            f"Another process watches with {folder}; end it, or choose another folder."
        ) from error
    return file


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
