"""The server below the receiver: pynetdicom's, with bounds on callers that say too little."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socket import SHUT_RDWR
from socketserver import TCPServer
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom import evt
from pynetdicom.transport import AssociationServer

_CONNECTIONS = 20  # with those that are no associations yet; each takes a thread that polls
_LONGEST_UNIT = 1 << 20  # bytes; of what a caller may send at once we state 16 KiB


class Server(AssociationServer):
    """Hangs up on a caller that has not become an association, or ended one, in time.

    pynetdicom waits for ever for the other half of a word, keeps the place of one who left before
    it said anything, and makes the handshake of TLS where everybody waits for it.
    """

    def __init__(self, *args: Any, first_s: float, idle_s: float, **kwargs: Any) -> None:
        """Listen.

        Args:
            *args: of pynetdicom's.
            first_s: seconds until a connection must have become an association.
            idle_s: seconds for which a caller may stop in the middle of a word.
            **kwargs: of pynetdicom's.
        """
        self._first_s, self._idle_s = first_s, idle_s
        self._seen: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        super().__init__(*args, **kwargs)
        self.bind(evt.EVT_CONN_OPEN, _mend)
        self.bind(evt.EVT_CONN_CLOSE, _wake)

    def get_request(self) -> tuple[Any, Any]:
        """A connection; the handshake of TLS is made by its own thread, with the first byte."""
        client, address = TCPServer.get_request(self)
        client.settimeout(self._idle_s)
        if self.ssl_context is not None:
            client = self.ssl_context.wrap_socket(
                client, server_side=True, do_handshake_on_connect=False
            )
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        """Whether there is room for another connection; without, it is closed."""
        return len(self.active_associations) < _CONNECTIONS

    def service_actions(self) -> None:
        """Twice a second: hang up on those whose time is over."""
        super().service_actions()
        for call in self.active_associations:
            since = self._seen.setdefault(call, monotonic())
            if (
                not (call.is_established or call.is_released)
                and monotonic() - since > self._first_s
            ):
                cut(call)

    def shutdown(self) -> None:
        """Stop listening; pynetdicom's own also looks for us among servers it started itself."""
        TCPServer.shutdown(self)
        self.server_close()


def _mend(event: Any) -> None:
    connection = event.assoc.dul.socket
    connection.recv = partial(_recv, connection.recv)
    connection.close = partial(_close, connection, connection.close)


def _wake(event: Any) -> None:
    """Have a caller that left before it made an association waited for no longer."""
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


def _recv(read: Callable[[int], bytearray], count: int) -> bytearray:
    if count > _LONGEST_UNIT:
        raise OSError(f"a unit of {count} bytes")  # pynetdicom closes the connection
    return read(count)


def _close(connection: Any, close: Callable[[], None]) -> None:
    own = connection.socket
    close()  # leaves open one that the other side has shut down
    if own is not None:
        own.close()


def cut(call: Any) -> None:
    """Close the connection of an association, whatever it is in the middle of."""
    connection = call.dul.socket  # None once it is closed
    if connection is not None and connection.socket is not None:
        with suppress(OSError):  # closed just now
            connection.socket.shutdown(SHUT_RDWR)
