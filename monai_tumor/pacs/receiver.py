"""A C-STORE receiver of our own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Thread
from time import monotonic
from typing import Any

from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from monai_tumor.errors import PacsError
from monai_tumor.pacs.access import Tls, failure, one_line
from monai_tumor.pacs.address import Node
from monai_tumor.pacs.server import Server, cut

_CALLERS_AT_ONCE = 10
_FAREWELL_S = 1.0  # for callers to take note of our end
# The first that a caller offers too is taken: the one that keeps the types of private elements.
# A deflated data set of a kilobyte may unpack to gigabytes before anything can be checked.
_SYNTAXES = [
    ExplicitVRLittleEndian,
    *(
        one
        for one in ALL_TRANSFER_SYNTAXES
        if one != ExplicitVRLittleEndian and not UID(one).is_deflated
    ),
]


@contextmanager
def listening(
    node: Node,
    store: Callable[[Any], int],
    *,
    tls: Tls | None,
    timeout: float,
    first_s: float | None = None,
    callers: Sequence[str] = (),
    instance_bytes: int | None = None,
    handlers: Sequence[tuple[Any, Callable[[Any], None]]] = (),
) -> Iterator[None]:
    """Receive instances while the body runs.

    Args:
        node: our own title, and where to listen; callers must call us by that title.
        store: from pynetdicom's event to the status that is answered; called from many threads.
        tls: our certificate; None to listen in the clear.
        timeout: seconds of silence after which a caller is hung up on.
        first_s: the same of one from which no message has come yet; None for no difference.
        callers: AE titles that may call; none for all.
        instance_bytes: a caller whose instance grows larger is hung up on.
        handlers: of pynetdicom's further events.

    Raises:
        PacsError: one cannot listen there.
    """
    ae = AE(ae_title=node.title)
    ae.require_called_aet = True
    ae.require_calling_aet = list(callers)
    ae.maximum_associations = _CALLERS_AT_ONCE
    first_s = timeout if first_s is None else min(first_s, timeout)
    ae.dimse_timeout = timeout
    ae.acse_timeout = ae.network_timeout = first_s
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, _SYNTAXES)
    ae.add_supported_context(Verification)

    def heard(event: Any) -> None:
        event.assoc.network_timeout = timeout

    bound = [*handlers, (evt.EVT_C_STORE, store), (evt.EVT_DIMSE_RECV, heard)]
    if instance_bytes is not None:
        meter = _Meter(instance_bytes)
        bound += [(evt.EVT_DATA_RECV, meter.add), (evt.EVT_DIMSE_RECV, meter.reset)]
    context = None if tls is None else tls.server()
    try:
        server = ae.make_server(
            (node.host, node.port),
            ssl_context=context,
            evt_handlers=bound,
            server_class=partial(Server, first_s=first_s, idle_s=timeout),
        )
    except OSError as error:
        raise cannot_listen(node, error) from error
    thread = Thread(target=server.serve_forever, name="receiver", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        _hang_up(ae)
        ae.shutdown()


def _hang_up(ae: AE) -> None:
    """End every call; one that stopped in the middle of a word too, which nothing else ends."""
    calls = ae.active_associations
    for call in calls:
        if call.is_established:
            call.abort(block=False)
        else:
            cut(call)  # there is no abort before an association
    for wait in (_FAREWELL_S, _FAREWELL_S):
        end = monotonic() + wait
        for call in calls:
            call.join(max(0.0, end - monotonic()))
            if call.is_alive():
                cut(call)


def cannot_listen(node: Node, error: OSError) -> PacsError:
    """The error for an address that is in use, or not ours."""
    reason = one_line(error.strerror or error)
    return failure(f"Cannot listen on {node}: {reason}. Choose another host or port.")


class _Meter:
    """Hangs up on callers whose message, which is held in memory until it is whole, is too long."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def add(self, event: Any) -> None:
        """Count the bytes of a PDU."""
        count = getattr(event.assoc, "bytes_of_message", 0) + len(event.data)
        event.assoc.bytes_of_message = count
        if count > self._limit:
            event.assoc.abort()

    def reset(self, event: Any) -> None:
        """A message is whole."""
        event.assoc.bytes_of_message = 0
