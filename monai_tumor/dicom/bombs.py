"""Bounds on what small files may unpack to, checked before any decoder allocates.

A header's Rows and Columns are checked elsewhere; here are the two places where a file states a
size a second time, a deflated data set and the codestream of a compressed frame; and the items of
sequences, which take 160 times their bytes when they are read.
"""

import struct
import zlib
from collections.abc import Iterator
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
    if not _is_deflated(path, head):
        return False
    total = 0
    for part in _inflated(path):
        total += len(part)
        if total > limit:
            return True
    return False


def has_more_items(path: Path, head: bytes, limit: int) -> bool:
    """Whether a file has more than `limit` items of sequences, by the marks that begin them.

    In pixels such a mark comes by chance once in 4 GiB; of encapsulated ones each frame has one.

    Args:
        path: a DICOM file.
        head: its first kilobyte.
        limit: items.
    """
    deflated = _is_deflated(path, head)
    if not deflated and path.stat().st_size < _ITEM_BYTES * limit:
        return False
    count, tail = 0, b""
    for part in _inflated(path) if deflated else _plain(path):
        # Three bytes may begin a mark that the next part ends.
        count += sum((tail + part).count(mark) for mark in _ITEMS)
        tail = part[-3:]
        if count > limit:
            return True
    return False


_ITEM_BYTES = 8
_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # of little and of big endian files


def _is_deflated(path: Path, head: bytes) -> bool:
    if DeflatedExplicitVRLittleEndian.encode() not in head:
        return False
    syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    return bool(syntax == DeflatedExplicitVRLittleEndian)


def _plain(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(_STEP):
            yield part


def _inflated(path: Path) -> Iterator[bytes]:
    """The data set of a deflated file, in parts.

    Raises:
        ValueError: its meta information does not say where it begins.
    """
    meta = read_file_meta_info(path)
    if "FileMetaInformationGroupLength" not in meta:
        raise ValueError("no length of the meta information")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    with path.open("rb") as file:
        file.seek(128 + 4 + 12 + int(meta.FileMetaInformationGroupLength))
        while packed := file.read(_CHUNK):
            while packed:
                yield inflater.decompress(packed, _STEP)
                packed = inflater.unconsumed_tail


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
