"""Files that are about to be sent."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from monai_tumor.dicom.files import Limits, find, quiet
from monai_tumor.errors import InputError
from monai_tumor.pacs.access import one_line
from monai_tumor.pacs.instances import checked_uid
from monai_tumor.pacs.results import SentFile, Status


@dataclass(frozen=True)
class Outgoing:
    """A DICOM file to be sent.

    Attributes:
        path: the file.
        uid: its SOP instance UID.
        kind: SOP class UID and transfer syntax UID; the two uncompressed ones of little endian
            are one kind.
    """

    path: Path
    uid: str
    kind: tuple[str, str]


@contextmanager
def outgoing_files(inputs: Iterable[Path | str]) -> Iterator[list[Path]]:
    """The files of files, folders, zip archives and DICOMDIR; unpacked ones vanish at the end.

    Raises:
        InputError: an input is not there, is unsafe, or all hold no file.
    """
    given = [Path(one) for one in inputs]
    with tempfile.TemporaryDirectory() as scratch:
        paths = [source.path for source in find(given, Path(scratch), Limits())]
        if not paths:
            named = ", ".join(map(str, given))
            raise InputError(f"No files in {named or 'nothing'}; give DICOM files or folders.")
        yield paths


def read_outgoing(path: Path) -> Outgoing | SentFile:
    """What is known of a file from its header; a `SentFile` that failed where it cannot be sent."""
    try:
        with quiet():
            header = dcmread(
                path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"]
            )
            encoding = checked_uid(str(header.file_meta.TransferSyntaxUID), "transfer syntax")
            kind = checked_uid(str(header.SOPClassUID), "SOP class UID")
            uid = checked_uid(str(header.SOPInstanceUID), "SOP instance UID")
    except Exception as error:  # pydicom raises nearly any class on a malformed file
        return SentFile(path, "", Status.FAILED, f"no DICOM file to send: {one_line(error)}")
    plain = encoding in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    return Outgoing(path, uid, (kind, str(ExplicitVRLittleEndian) if plain else encoding))
