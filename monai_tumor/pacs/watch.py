"""Receive studies, have each processed when it is complete, send the results back: `watch`."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic

from monai_tumor.errors import InputError, MonaiTumorError
from monai_tumor.files import write_json
from monai_tumor.pacs.access import Access, Tls, one_line, require_packages
from monai_tumor.pacs.address import Address, Node
from monai_tumor.pacs.client import send
from monai_tumor.pacs.results import Status
from monai_tumor.pacs.spool import INSTANCES, NOTES, RESULTS, Room, Spool, State
from monai_tumor.pacs.watched import Event, Watched

Process = Callable[[Path, Path], list[Path]]
_LONGEST_WAIT_S = 600.0  # between two tries
_PAUSE_S = 1.0  # between two looks at the spool
_SPOOL = ""  # in place of a study: what concerns none
_FULL_DISK = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))


@dataclass(frozen=True)
class WatchOptions:
    """How to watch.

    Attributes:
        listen: our title, and where to listen.
        destination: where results go; None leaves them in the spool.
        access: how the destination is spoken to.
        tls: with which to listen; None for in the clear.
        callers: AE titles that may send to us; none for all.
        quiet_s: seconds without an instance after which a study is complete.
        idle_s: seconds of silence after which a caller is hung up on.
        first_s: the same of one from which no message has come yet.
        give_up_s: seconds after which a study that was broken off is a failed one.
        hang_up_is_end: take a caller that hangs up without a word as one that has sent all.
        attempts: how often a study is processed that ends the process each time.
        send_attempts: how often results are sent before they are failed.
        retry_s: seconds until they are sent again, or what a full disk kept from being done is
            tried again; the first time, then twice as many each time.
        room: how much the spool may hold.
    """

    listen: Node
    destination: Address | None = None
    access: Access = field(default_factory=Access)
    tls: Tls | None = None
    callers: tuple[str, ...] = ()
    quiet_s: float = 60.0
    idle_s: float = 300.0
    first_s: float = 30.0
    give_up_s: float = 3600.0
    hang_up_is_end: bool = False
    attempts: int = 3
    send_attempts: int = 12
    retry_s: float = 10.0
    room: Room = field(default_factory=Room)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: one is not above 0.
        """
        for name in (
            "quiet_s",
            "idle_s",
            "first_s",
            "give_up_s",
            "retry_s",
            "attempts",
            "send_attempts",
        ):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} of {getattr(self, name)} cannot be; give one above 0.")


def watch(
    spool: Path,
    process: Process,
    options: WatchOptions,
    *,
    stop: threading.Event | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Watched:
    """Receive studies, process each when it is complete, send the results; until it is stopped.

    An instance is on the disk before its sender is told so. A study that was broken off is not
    processed before it was sent again. Instances that come while their study is processed wait,
    then the whole is processed again. After a crash everything goes on where it was.

    Args:
        spool: a folder of ours, of one watcher at a time; see `monai_tumor.pacs.spool`.
        process: from the folder of a study's instances and an empty one for the results to the
            files of the latter that are to be sent; called by one thread.
        options: how.
        stop: ends it once a study that is being processed is through; so does an interrupt, which
            does not wait.
        on_event: told of what happens, by several threads.

    Raises:
        PacsError: one cannot listen there.
        InputError: the spool cannot be written, or another process has it.
        DependencyError: the extra `pacs` is not installed.
    """
    require_packages()
    from monai_tumor.pacs.desk import Desk
    from monai_tumor.pacs.receiver import listening

    over = stop or threading.Event()
    tell = on_event or _ignore
    store = Spool(Path(spool), options.room)
    work = _Work(store, process, options, over, tell)
    desk = Desk(store, tell, hang_up_is_end=options.hang_up_is_end)
    outbox = threading.Thread(target=work.send_until_over, name="outbox")
    try:
        with listening(
            options.listen,
            desk.store,
            tls=options.tls,
            timeout=options.idle_s,
            first_s=options.first_s,
            callers=options.callers,
            instance_bytes=options.room.instance_bytes,
            handlers=desk.handlers,
        ):
            tell(Event("", None, f"listening as {options.listen}"))
            outbox.start()
            work.process_until_over()
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        over.set()
        if outbox.ident is not None:
            outbox.join()
        store.close()
    return work.watched()


def _ignore(event: Event) -> None:
    """Tell nobody."""


@dataclass
class _Notes:
    """What `study.json` says: how often it was tried, which files to send, why it failed."""

    attempts: int = 0
    files: list[str] = field(default_factory=list)
    reason: str = ""

    @classmethod
    def of(cls, study: Path) -> "_Notes":
        try:
            return cls(**json.loads((study / NOTES).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return cls()

    def save(self, study: Path) -> None:
        write_json(study / NOTES, vars(self))


@dataclass(frozen=True)
class _Delay:
    """What could not be done: how often it was tried, when it is tried again, and why."""

    tries: int = 0
    due: float = 0.0
    problem: str = ""


class _Work:
    """What is done with complete studies."""

    def __init__(
        self,
        spool: Spool,
        process: Process,
        options: WatchOptions,
        over: threading.Event,
        tell: Callable[[Event], None],
    ) -> None:
        self._spool = spool
        self._process = process
        self._options = options
        self._over = over
        self._tell = tell
        self._counts = dict.fromkeys(State, 0)
        self._begun: set[str] = set()  # by this process
        self._delayed: dict[str, _Delay] = {}
        self._tries: dict[str, tuple[int, float]] = {}  # to send, and when to try again

    def watched(self) -> Watched:
        """What came of it."""
        waiting = (State.RECEIVED, State.PROCESSING, State.SENDING)
        return Watched(
            folder=self._spool.folder,
            done=self._counts[State.DONE],
            failed=self._counts[State.FAILED],
            waiting=len({study for state in waiting for study in self._spool.studies(state)}),
        )

    def process_until_over(self) -> None:
        """Process what the last watcher left, then each study that is complete.

        Whatever fails here of the spool, a full disk say, is told once, and tried again later.
        """
        while not self._over.is_set():
            if not (self._is_due(_SPOOL) and self._attempt(_SPOOL, self._process_next)):
                self._over.wait(_PAUSE_S)

    def _process_next(self) -> None:
        for study in filter(self._is_due, self._spool.studies(State.PROCESSING)):
            if self._attempt(study, partial(self._process_one, study)):
                self._begun.discard(study)
            return
        if self._spool.claim(self._options.quiet_s) is not None:
            return
        for given_up in self._spool.give_up(self._options.give_up_s):
            reason = "it was broken off, or a part refused, and not sent again"
            _Notes(reason=reason).save(self._spool.path(State.FAILED, given_up))
            self._count(given_up, State.FAILED, reason)
        self._spool.purge()
        self._over.wait(min(_PAUSE_S, self._options.quiet_s / 4))

    def _is_due(self, what: str) -> bool:
        return what not in self._delayed or monotonic() >= self._delayed[what].due

    def _attempt(self, what: str, step: Callable[[], None]) -> bool:
        """Whether `step` was done; if not, it is put off, and that is told where it is news."""
        try:
            step()
        except Exception as error:  # of the spool; the watcher must not end
            problem = one_line(error)
            last = self._delayed.get(what, _Delay())
            if problem != last.problem:
                state = State.PROCESSING if what else None
                self._tell(Event(what, state, f"put off, and tried again: {problem}"))
            due = monotonic() + self._wait(last.tries + 1)
            self._delayed[what] = _Delay(last.tries + 1, due, problem)
            return False
        self._delayed.pop(what, None)
        return True

    def _wait(self, tries: int) -> float:
        """Seconds until what was tried so often is tried again."""
        return min(self._options.retry_s * 2 ** min(tries - 1, 32), _LONGEST_WAIT_S)

    def _process_one(self, study: str) -> None:
        if self._over.is_set():
            return
        folder = self._spool.path(State.PROCESSING, study)
        notes = _Notes.of(folder)
        if study not in self._begun:  # what is put off has not ended the process
            if notes.attempts >= self._options.attempts:
                self._fail(study, notes, f"it ended the process {notes.attempts} times")
                return
            notes.attempts += 1
            notes.save(folder)
            self._begun.add(study)
            self._tell(Event(study, State.PROCESSING))
        output = folder / RESULTS
        if output.exists():
            shutil.rmtree(output)
        output.mkdir()
        try:
            files = self._process(folder / INSTANCES, output)
            notes.files = [_below(path, output) for path in files]
        except Exception as error:  # whatever it is, the next study must not suffer from it
            if _is_of_full_disk(error):  # nor is a full disk, which is tried again
                with suppress(InputError, OSError):
                    _Notes(notes.attempts - 1).save(folder)
                raise
            kind = "" if isinstance(error, MonaiTumorError) else f"{type(error).__name__}: "
            self._fail(study, notes, f"{kind}{one_line(error)}")
            return
        except BaseException:  # an interrupt is not the study's fault
            with suppress(InputError, OSError):  # on a full disk it counts as an attempt
                _Notes(notes.attempts - 1).save(folder)
            raise
        notes.save(folder)
        if notes.files and self._options.destination is not None:
            self._spool.move(study, State.PROCESSING, State.SENDING)
        else:
            self._spool.move(study, State.PROCESSING, State.DONE)
            self._count(study, State.DONE, f"{len(notes.files)} results")

    def _fail(
        self, study: str, notes: _Notes, reason: str, state: State = State.PROCESSING
    ) -> None:
        notes.reason = reason
        notes.save(self._spool.path(state, study))
        self._spool.move(study, state, State.FAILED)
        self._count(study, State.FAILED, reason)

    def _count(self, study: str, state: State, note: str) -> None:
        self._counts[state] += 1
        self._tell(Event(study, state, note))

    # -- the outbox, in a thread of its own

    def send_until_over(self) -> None:
        """Send the results of each study, again and again until they are stored.

        Whatever fails here, a full disk say, is told, and tried again later.
        """
        while not self._over.is_set():
            try:
                waiting = self._spool.studies(State.SENDING)
            except OSError as error:
                self._tell(Event("", None, f"the outbox cannot be read: {one_line(error)}"))
                waiting = []
            for study in waiting:
                tries, due = self._tries.get(study, (0, 0.0))
                if monotonic() >= due and not self._over.is_set():
                    self._try_to_send(study, tries + 1)
            self._over.wait(min(_PAUSE_S, self._options.retry_s))

    def _try_to_send(self, study: str, tries: int) -> None:
        try:
            self._send_one(study, tries)
        except Exception as error:  # of the spool; the outbox must not end
            self._put_off(study, tries, f"{type(error).__name__}: {one_line(error)}")

    def _put_off(self, study: str, tries: int, problem: str) -> None:
        wait = self._wait(tries)
        self._tries[study] = (tries, monotonic() + wait)
        self._tell(Event(study, State.SENDING, f"again in {wait:g} s: {problem}"))

    def _send_one(self, study: str, tries: int) -> None:
        folder = self._spool.path(State.SENDING, study)
        notes = _Notes.of(folder)
        problem = self._problem_of_sending([folder / RESULTS / name for name in notes.files])
        if not problem:
            self._spool.move(study, State.SENDING, State.DONE)
            self._tries.pop(study, None)
            to = self._options.destination
            self._count(study, State.DONE, f"{len(notes.files)} results sent to {to}")
        elif tries >= self._options.send_attempts:
            self._fail(study, notes, f"not sent in {tries} tries: {problem}", State.SENDING)
            self._tries.pop(study, None)
        else:
            self._put_off(study, tries, problem)

    def _problem_of_sending(self, files: list[Path]) -> str:
        """Why not all files are stored; empty where they are."""
        if self._options.destination is None:
            return "no destination is given"
        try:
            sent = send(self._options.destination, files, self._options.access)
        except MonaiTumorError as error:
            return one_line(error)
        except Exception as error:  # the outbox must not end
            return f"{type(error).__name__}: {one_line(error)}"
        failed = [one for one in sent.files if one.status is Status.FAILED]
        return one_line("; ".join(f"{one.path.name}: {one.reason}" for one in failed))


def _is_of_full_disk(error: Exception) -> bool:
    """Whether that was why; an error of many studies has but the words of the first."""
    return any(words in str(error) for words in _FULL_DISK)


def _below(path: Path, folder: Path) -> str:
    """The path of a result within its folder."""
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise InputError(f"The result {path} is no file in {folder}; write it there.")
    return path.resolve().relative_to(folder.resolve()).as_posix()
