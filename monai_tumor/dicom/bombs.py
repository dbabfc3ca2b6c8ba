"""Bounds on what small files may unpack to, checked before any decoder allocates.

A header's Rows and Columns are checked elsewhere; here are the two places where a file states a
size a second time: a deflated data set, and the codestream of a compressed frame.
"""

import struct
import zlib
from pathlib import Path

from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

_CHUNK = 1 << 16
_STEP = 1 << 20


def inflates_beyond(path: Path, head: bytes, limit: int) -> bool:
    """Whether a deflated file holds more than `limit` bytes.

    Args:
        path: a DICOM file.
        head: its first kilobyte.
        limit: bytes.

    Raises:
        ValueError: it claims to be deflated and its meta information cannot be read.
    """
    if DeflatedExplicitVRLittleEndian.encode() not in head:
        return False
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return False
    if "FileMetaInformationGroupLength" not in meta:
        raise ValueError("no length of the meta information")
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(128 + 4 + 12 + int(meta.FileMetaInformationGroupLength))
        while packed := file.read(_CHUNK):
            while packed:
                total += len(inflater.decompress(packed, _STEP))
                if total > limit:
                    return True
                packed = inflater.unconsumed_tail
    return False


# Start-of-frame markers of JPEG, lossless JPEG and JPEG-LS; not C4, C8 and CC, which are tables.
_FRAME_STARTS = {0xC0 + n for n in range(16)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}


def codestream_shape(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns that a compressed frame states itself; None where it states none.

    Sources: ITU-T T.800 (JPEG 2000) A.5.1, T.81 (JPEG) B.2.2, T.87 (JPEG-LS) C.2.2.
    """
    at = frame.find(b"\xff\x4f\xff\x51")
    if at >= 0:
        if len(frame) < at + 24:
            return None
        width, height, left, top = struct.unpack(">4I", frame[at + 8 : at + 24])
        return height - top, width - left
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(frame):
        if frame[at] != 0xFF:
            return None
        marker = frame[at + 1]
        if marker in _FRAME_STARTS:
            rows, columns = struct.unpack(">2H", frame[at + 5 : at + 9])
            return rows, columns
        if marker == 0xFF or marker in _BARE_MARKERS:
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + struct.unpack(">H", frame[at + 2 : at + 4])[0]
    return None
