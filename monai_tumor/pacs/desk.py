"""Where instances of callers are taken in, for `watch`."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom import evt
from pynetdicom.pdu import A_RELEASE_RQ

from monai_tumor.dicom.results import MANUFACTURER
from monai_tumor.errors import InputError
from monai_tumor.pacs.access import one_line
from monai_tumor.pacs.instances import BadInstanceError, received
from monai_tumor.pacs.spool import FullError, Spool, State
from monai_tumor.pacs.watched import Event

_SUCCESS, _FULL, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000


@dataclass
class _Call:
    """One connection.

    Attributes:
        since: when it was made, by `monotonic`.
        study: that it sends now.
        released: the caller took its leave in due form.
        closed: it is over.
        refused: its caller was told so once.
        lost: an instance came that names no study; so none can be known to be whole.
        incomplete: studies of which an instance was refused.
    """

    since: float
    study: str = ""
    released: bool = False
    closed: bool = False
    refused: bool = False
    lost: bool = False
    incomplete: set[str] = field(default_factory=set)


class Desk:
    """Puts what callers send into a spool, and tells the spool when they have finished."""

    def __init__(
        self, spool: Spool, tell: Callable[[Event], None], *, hang_up_is_end: bool
    ) -> None:
        self._spool = spool
        self._tell = tell
        self._hang_up_is_end = hang_up_is_end
        self._calls: WeakKeyDictionary[Any, _Call] = WeakKeyDictionary()
        self._guard = threading.Lock()

    @property
    def handlers(self) -> list[tuple[Any, Callable[[Any], None]]]:
        """Of pynetdicom's events."""
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_PDU_RECV, self._read),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]

    def store(self, event: Any) -> int:
        """The status with which an instance is answered; it is on the disk when that is 0."""
        call = self._call(event)
        try:
            instance = received(event)
        except BadInstanceError as error:
            call.lost = True
            return self._refuse(call, call.study, one_line(error), _NOT_UNDERSTOOD)
        if instance.manufacturer == MANUFACTURER:
            return _SUCCESS  # our own results, forwarded to us: no study to process
        if call.study not in ("", instance.study):
            whole = not call.lost and call.study not in call.incomplete
            self._spool.leave(call.study, event.assoc, in_due_form=whole)
        is_new = call.study != instance.study
        call.study = instance.study
        try:
            stored = self._spool.store(instance, event.assoc, call.since)
        except (FullError, InputError) as error:
            call.incomplete.add(instance.study)  # even where it is the first that came
            return self._refuse(call, instance.study, one_line(error), _FULL)
        if call.closed:  # while it was written
            self._spool.leave(instance.study, event.assoc, in_due_form=self._in_due_form(call))
        if is_new and stored:
            self._tell(Event(instance.study, State.RECEIVED, f"from {_title(event)}"))
        return _SUCCESS

    def _refuse(self, call: _Call, study: str, reason: str, status: int) -> int:
        self._spool.refuse(study)
        if not call.refused:
            call.refused = True
            self._tell(Event(study, None, reason))
        return status

    def _call(self, event: Any) -> _Call:
        with self._guard:
            return self._calls.setdefault(event.assoc, _Call(monotonic()))

    def _opened(self, event: Any) -> None:
        self._call(event)

    def _read(self, event: Any) -> None:
        # This comes by the same thread as the end of the connection does, and before it;
        # pynetdicom's event of a release comes by another, so maybe after it.
        if isinstance(event.pdu, A_RELEASE_RQ):
            self._call(event).released = True

    def _closed(self, event: Any) -> None:
        call = self._call(event)
        call.closed = True
        self._spool.leave(call.study, event.assoc, in_due_form=self._in_due_form(call))

    def _in_due_form(self, call: _Call) -> bool:
        whole = not call.lost and call.study not in call.incomplete
        return whole and (call.released or self._hang_up_is_end)


def _title(event: Any) -> str:
    return one_line(event.assoc.requestor.ae_title)
