"""Where a PACS is: `AETITLE@host:port` for the DICOM protocol, `https://host/path` for DICOMweb."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from monai_tumor.errors import InputError

# PS3.5: at most 16 characters, no backslash, no control characters.
_TITLE = re.compile(r"[ -\[\]-~]{1,16}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True)
class Node:
    """An application entity of the DICOM protocol.

    Attributes:
        title: its AE title.
        host: name or address, IPv6 without brackets.
        port: 1 to 65535.
    """

    title: str
    host: str
    port: int

    def __str__(self) -> str:
        """`AETITLE@host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.title}@{host}:{self.port}"


@dataclass(frozen=True)
class Web:
    """A DICOMweb service.

    Attributes:
        url: what `/studies` is appended to.
    """

    url: str

    def __str__(self) -> str:
        """The URL."""
        return self.url


Address = Node | Web


def parse_address(text: str) -> Address:
    """The `Node` or the `Web` that a text names.

    Raises:
        InputError: it names neither.
    """
    return _web(text) if "://" in text else parse_node(text)


def parse_node(text: str) -> Node:
    """The `Node` that `AETITLE@host:port` names.

    Raises:
        InputError: it names none.
    """
    title, at, rest = text.rpartition("@")
    host, colon, port = rest.rpartition(":")
    if not at or not colon or not _HOST.fullmatch(host) or not _is_port(port):
        raise InputError(
            f"{text!r} is no PACS address; write AETITLE@host:port, or https://host/path for "
            "DICOMweb."
        )
    return Node(checked_title(title), host.strip("[]"), int(port))


def checked_title(text: str) -> str:
    """`text` without blanks at its ends, as an AE title.

    Raises:
        InputError: it is none.
    """
    title = text.strip(" ")
    if not _TITLE.fullmatch(title):
        raise InputError(
            f"{text!r} is no AE title; it has 1 to 16 characters of ASCII, no backslash among them."
        )
    return title


def _is_port(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,5}", text)) and 0 < int(text) < 65_536


def _web(text: str) -> Web:
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, a bracket without its other
        known = False
    if not known or not text.isprintable() or " " in text or parts.query or parts.fragment:
        raise InputError(
            f"{text!r} is no DICOMweb address; write http(s)://host[:port]/path, without '?' and "
            "'#'."
        )
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "A password in an address ends up in logs; give it as --user and --password-file."
        )
    return Web(text.rstrip("/"))
