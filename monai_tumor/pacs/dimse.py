"""C-ECHO, C-FIND, C-GET, C-MOVE and C-STORE, by pynetdicom."""

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom import sop_class as sop

from monai_tumor.dicom.files import quiet
from monai_tumor.errors import InputError, PacsError
from monai_tumor.pacs.access import Access, failure, one_line
from monai_tumor.pacs.address import Node
from monai_tumor.pacs.contexts import contexts_to_get, contexts_to_send
from monai_tumor.pacs.instances import BadInstanceError, put, received
from monai_tumor.pacs.outgoing import Outgoing, read_outgoing
from monai_tumor.pacs.receiver import listening
from monai_tumor.pacs.results import (
    Echoed,
    Fetched,
    Found,
    Query,
    SentFile,
    Status,
    texts,
)

_SUCCESS, _CANCELLED, _DUPLICATE = 0x0000, 0xFE00, 0x0111
_NO_RESOURCES, _NOT_UNDERSTOOD = 0xA700, 0xC000
_PENDING = (0xFF00, 0xFF01)
_WARNINGS = (0x0001, 0x0107, 0x0116, *range(0xB000, 0xC000))
_PER_ASSOCIATION = 100  # kinds of file; 128 is the most that the protocol can tell apart


def echo(node: Node, access: Access) -> Echoed:
    """That `node` answers a C-ECHO."""
    begun = monotonic()
    with _association(node, access, [build_context(sop.Verification)]) as association:
        _require(_status(association.send_c_echo()), node, "the echo")
    return Echoed(str(node), monotonic() - begun)


def find(node: Node, access: Access, query: Query) -> Found:
    """What `node` holds, by C-FIND in the study root model."""
    model = sop.StudyRootQueryRetrieveInformationModelFind
    identifier = _identifier(query.level.value, dict.fromkeys(query.keys, "") | dict(query.match))
    matches: list[dict[str, str]] = []
    cut = False
    with quiet(), _association(node, access, [build_context(model)]) as association:
        for answer, match in association.send_c_find(identifier, model):
            status = _status(answer)
            if status not in (*_PENDING, _CANCELLED):
                _require(status, node, "the search", answer)
            if match is None or status not in _PENDING:
                continue
            if len(matches) < query.limit:
                matches.append(texts(match, query.keys))
            elif not cut:
                cut = True
                association.send_c_cancel(1, query_model=model)
    return Found(str(node), query.level, tuple(matches), cut)


def get(node: Node, access: Access, study: str, series: str | None, folder: Path) -> Fetched:
    """A study or series, by C-GET: it comes over the association that asks for it."""
    model = sop.StudyRootQueryRetrieveInformationModelGet
    contexts = contexts_to_get()
    roles = [build_role(uid, scp_role=True) for uid in {str(c.abstract_syntax) for c in contexts}]
    inbox = _Inbox(folder, study)
    with _association(
        node, access, [*contexts, build_context(model)], roles=roles, store=inbox.store
    ) as association:
        if not any(c.abstract_syntax == model for c in association.accepted_contexts):
            raise failure(f"{node} offers no C-GET; use --move with an address of ours it knows.")
        answers = association.send_c_get(_retrieval(study, series), model)
        failed = _outcome(answers, node, "C-GET")
    return inbox.fetched(str(node), failed)


def move(
    node: Node, access: Access, study: str, series: str | None, folder: Path, receiver: Node
) -> Fetched:
    """A study or series, by C-MOVE to a receiver of our own that the PACS must know."""
    model = sop.StudyRootQueryRetrieveInformationModelMove
    inbox = _Inbox(folder, study)
    with (
        listening(receiver, inbox.store, tls=access.tls, timeout=access.timeout),
        _association(node, access, [build_context(model)]) as association,
    ):
        answers = association.send_c_move(_retrieval(study, series), receiver.title, model)
        failed = _outcome(answers, node, f"C-MOVE to {receiver}")
    return inbox.fetched(str(node), failed)


def send(
    node: Node, access: Access, files: Sequence[Path], on_sent: Callable[[SentFile], None]
) -> None:
    """Send files by C-STORE; each one's fate is told to `on_sent` as soon as it is known.

    A connection that breaks is made again once for each file that was on its way.

    Raises:
        PacsError: there is no connection; what was told to `on_sent` holds.
    """
    waiting = []
    for path in files:
        one = read_outgoing(path)
        if isinstance(one, SentFile):
            on_sent(one)
        else:
            waiting.append(one)
    broken: Path | None = None
    while waiting:
        kinds = list(dict.fromkeys(one.kind for one in waiting))[:_PER_ASSOCIATION]
        now = [one for one in waiting if one.kind in kinds]
        with _association(node, access, contexts_to_send(kinds)) as association:
            for one in now:
                result = _send_one(association, one)
                if result is None and broken != one.path:
                    broken = one.path
                    break  # and on with a new association
                waiting.remove(one)
                on_sent(result or _failed(one, "the connection broke twice while it was sent"))
                if not association.is_established:
                    break


def _send_one(association: Any, one: Outgoing) -> SentFile | None:
    """What became of a file; None where the connection broke."""
    try:
        with quiet():
            answer = association.send_c_store(one.path)
    except (ValueError, AttributeError, RuntimeError, OSError) as error:
        if not association.is_established:
            return None
        return _failed(one, one_line(error))
    except Exception as error:  # pydicom raises nearly any class on a file that it cannot encode
        return _failed(one, f"it cannot be encoded ({type(error).__name__}: {one_line(error)})")
    status = _status(answer)
    if status is None:
        return None
    if status in (_SUCCESS, _DUPLICATE):
        return SentFile(one.path, one.uid, Status.STORED)
    said = f"status 0x{status:04X} {one_line(answer.get('ErrorComment', ''))}".strip()
    if status in _WARNINGS:
        return SentFile(one.path, one.uid, Status.WARNED, said)
    return _failed(one, said)


def _failed(one: Outgoing, reason: str) -> SentFile:
    return SentFile(one.path, one.uid, Status.FAILED, reason)


class _Inbox:
    """Writes what comes in for one study into a folder."""

    def __init__(self, folder: Path, study: str) -> None:
        self._folder = folder
        self._study = study
        self._paths: dict[Path, None] = {}
        self._notes: dict[str, None] = {}

    def store(self, event: Any) -> int:
        """The status to answer a C-STORE with."""
        try:
            one = received(event)
            if one.study != self._study:
                raise BadInstanceError(f"An instance of another study, {one.study}, was sent.")
            path = self._folder / one.series / f"{one.uid}.dcm"
            put(one.content, path)
        except BadInstanceError as error:
            self._notes[one_line(error)] = None
            return _NOT_UNDERSTOOD
        except InputError as error:
            self._notes[one_line(error)] = None
            return _NO_RESOURCES
        self._paths[path] = None
        return _SUCCESS

    def fetched(self, address: str, failed: int) -> Fetched:
        """What came.

        Raises:
            PacsError: nothing.
        """
        if not self._paths:
            reason = "; ".join([f"{failed} failed", *self._notes]) if failed else "it has none"
            raise failure(f"{address} sent nothing of study {self._study}: {reason}.")
        paths = tuple(sorted(self._paths))
        return Fetched(address, self._study, self._folder, paths, failed, tuple(self._notes))


# -- associations


@contextmanager
def _association(
    node: Node,
    access: Access,
    contexts: Sequence[Any],
    *,
    roles: Sequence[Any] = (),
    store: Callable[[Any], int] | None = None,
) -> Iterator[Any]:
    """An association, released at the end; aborted where the body fails.

    Raises:
        PacsError: there is none, and why.
    """
    ae = AE(ae_title=access.title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = access.timeout
    ae.connection_timeout = access.timeout
    tls = None if access.tls is None else (access.tls.client(), node.host)
    try:
        association = ae.associate(
            node.host,
            node.port,
            contexts=list(contexts),
            ae_title=node.title,
            ext_neg=list(roles),
            tls_args=tls,
            evt_handlers=[] if store is None else [(evt.EVT_C_STORE, store)],
        )
    except OSError as error:  # the name is unknown
        raise failure(f"Cannot reach {node}: {one_line(error)}. Check the address.") from error
    if not association.is_established:
        raise _why_not(association, node, access)
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    if association.is_established:
        association.release()


_ADVICE = {
    (1, 3): "it does not know our AE title; register it there, or give another as --title.",
    (1, 7): "no AE title of that name is there; check the address.",
    (3, 2): "it has too many connections; try again later.",
}


def _why_not(association: Any, node: Node, access: Access) -> PacsError:
    if association.is_rejected:
        answer = association.acceptor.primitive
        advice = _ADVICE.get((answer.result_source, answer.diagnostic))
        said = advice or f"{answer.source_str}: {answer.reason_str}. Ask its administrator."
        return failure(f"{node} rejects a connection from {access.title}: {said}")
    if association.rejected_contexts and not association.accepted_contexts:
        kinds = ", ".join({c.abstract_syntax.name for c in association.rejected_contexts})
        return failure(f"{node} accepts none of {one_line(kinds)}; ask what it offers.")
    if problem := _connection_problem(node, access):
        return failure(f"Cannot reach {node}: {problem}")
    return failure(
        f"{node} took the connection but did not answer within {access.timeout:g} s or broke it "
        "off; check that it is a DICOM port, and whether it wants TLS."
    )


def _connection_problem(node: Node, access: Access) -> str | None:
    """Why no connection can be made; pynetdicom only logs it, so this tries once more."""
    try:
        with socket.create_connection((node.host, node.port), timeout=access.timeout) as plain:
            if access.tls is not None:
                with access.tls.client().wrap_socket(plain, server_hostname=node.host):
                    pass
    except ssl.SSLError as error:
        return f"TLS failed ({one_line(error)}). Check --tls-ca, the certificates and the port."
    except TimeoutError:
        return f"no connection within {access.timeout:g} s. Check address and firewall."
    except OSError as error:
        return f"{one_line(error.strerror or error)}. Check the address, and whether it runs."
    return None


# -- questions and answers


def _identifier(level: str, values: dict[str, str]) -> Dataset:
    identifier = Dataset()
    identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = level.upper().replace("INSTANCE", "IMAGE")
    for keyword, value in values.items():
        try:
            setattr(identifier, keyword, value)
        except (ValueError, TypeError) as error:
            raise InputError(f"{keyword} cannot be {value!r}: {one_line(error)}.") from error
    return identifier


def _retrieval(study: str, series: str | None) -> Dataset:
    if series is None:
        return _identifier("study", {"StudyInstanceUID": study})
    return _identifier("series", {"StudyInstanceUID": study, "SeriesInstanceUID": series})


def _status(answer: Dataset) -> int | None:
    """The number; None where no answer came."""
    return int(answer.Status) if "Status" in answer else None


def _require(status: int | None, node: Node, what: str, answer: Dataset | None = None) -> None:
    if status is None:
        raise failure(f"{node} broke off or did not answer {what}; try again, or a longer timeout.")
    if status != _SUCCESS:
        comment = one_line(answer.get("ErrorComment", "")) if answer is not None else ""
        raise failure(f"{node} refuses {what}: status 0x{status:04X} {comment}".rstrip() + ".")


def _outcome(answers: Any, node: Node, what: str) -> int:
    """How many instances failed, when all answers are in.

    Raises:
        PacsError: it was refused, or broken off.
    """
    status, failed, done = None, 0, 0
    answer = Dataset()
    for answer, _ in answers:
        status = _status(answer)
        failed = int(answer.get("NumberOfFailedSuboperations", failed) or 0)
        done = int(answer.get("NumberOfCompletedSuboperations", done) or 0)
    if status is not None and (done or status in _WARNINGS):
        return failed
    _require(status, node, what, answer)
    return failed
