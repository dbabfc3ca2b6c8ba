"""An instance as it comes over the wire: whose it is, and where it is put.

Nothing that a file or a caller says decides a path, but for UIDs of digits and dots alone.
"""

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread

from monai_tumor.files import write_atomically

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_LONGEST_UID = 64
_FIELDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Manufacturer")


class BadInstanceError(ValueError):
    """An instance that cannot be taken: its UIDs are none, or it cannot be read."""


@dataclass(frozen=True)
class Instance:
    """One instance.

    Attributes:
        study: study instance UID, safe as a file's name; so are the next two.
        series: series instance UID.
        uid: SOP instance UID.
        manufacturer: as the file says.
        content: the DICOM file.
    """

    study: str
    series: str
    uid: str
    manufacturer: str
    content: bytes


def checked_uid(text: str, what: str) -> str:
    """`text`, if it is a UID: digits and dots, at most 64 of them.

    Raises:
        BadInstanceError: it is none.
    """
    if len(text) > _LONGEST_UID or not _UID.fullmatch(text):
        raise BadInstanceError(f"The {what} {text[:80]!r} is no UID.")
    return text


def received(event: Any) -> Instance:
    """The instance of a pynetdicom event `EVT_C_STORE`.

    Raises:
        BadInstanceError: it cannot be read, or the request and the data set name different UIDs.
    """
    instance = read_instance(event.encoded_dataset())
    stated = str(event.request.AffectedSOPInstanceUID)
    if instance.uid != stated:
        raise BadInstanceError(f"The request is of {stated[:80]!r}, the data set of another.")
    return instance


def read_instance(content: bytes) -> Instance:
    """The instance that the bytes of a DICOM file are.

    Raises:
        BadInstanceError: it cannot be read, or its UIDs are none.
    """
    try:
        header = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=list(_FIELDS))
        uid, study, series, manufacturer = (_text(header, keyword) for keyword in _FIELDS)
    except Exception as error:  # pydicom raises nearly any class on a malformed file
        raise BadInstanceError(f"The data set cannot be read ({type(error).__name__}).") from error
    return Instance(
        study=checked_uid(study, "study instance UID"),
        series=checked_uid(series, "series instance UID"),
        uid=checked_uid(uid, "SOP instance UID"),
        manufacturer=manufacturer,
        content=content,
    )


def _text(header: Any, keyword: str) -> str:
    """A value as it is stored; unlike pydicom's own access this does not warn of odd ones."""
    element = header.get_item(keyword)
    value = b"" if element is None else element.value
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.rstrip(" \0")


def put(content: bytes, path: Path) -> None:
    """Write a file whole, and on the disk, or not at all; see `write_atomically`.

    Raises:
        InputError: it cannot be written.
    """

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, write)
