"""Take out of pixel data what is no pixel: bytes after the last one, comments of codestreams."""

from collections.abc import Iterator

from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from monai_tumor.dicom.reasons import Reason, RefusalError

_JPEG = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes)
_END = b"\xff\xd9"
# Application segments that decoders need: JFIF without a thumbnail, Adobe's and HP's colour
# transforms.
_NEEDED = {0xE0: b"JFIF\0", 0xE8: b"mrfx", 0xEE: b"Adobe"}
_LONGEST_NEEDED = 16


def strip_pixels(ds: Dataset) -> None:
    """Remove bytes from the pixel data of `ds`, in place, that change no pixel.

    Native data: what follows the last pixel. JPEG, JPEG-LS and JPEG 2000: comments, application
    segments (Exif among them) and what follows the end of a frame. Others stay as they are.

    Raises:
        RefusalError: native pixel data are cut short.
    """
    if "PixelData" not in ds:
        return
    syntax = ds.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_compressed or not syntax.is_encapsulated:
        length = get_expected_length(ds)
        if len(ds.PixelData) < length:
            raise RefusalError(Reason.TRUNCATED, "Fewer bytes than pixels.")
        if len(ds.PixelData) > length + length % 2:
            ds.PixelData = ds.PixelData[:length] + b"\0" * (length % 2)
        return
    strip = (
        strip_jpeg
        if syntax in _JPEG
        else strip_jpeg_2000
        if syntax in JPEG2000TransferSyntaxes
        else None
    )
    if strip is None:
        return
    count = int(ds.get("NumberOfFrames") or 1)
    frames = list(generate_frames(ds.PixelData, number_of_frames=count))
    stripped = [strip(frame) for frame in frames]
    if stripped != frames:
        ds.PixelData = encapsulate(stripped)
        for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
            if keyword in ds:
                del ds[keyword]


def strip_jpeg(frame: bytes) -> bytes:
    """A JPEG or JPEG-LS frame without comments; ITU-T T.81 B.2.4, T.87 C.2."""
    if frame[:2] != b"\xff\xd8":
        return frame
    kept = bytearray(frame[:2])
    at = 2
    for marker, start, end in _segments(frame, 2):
        needed = _NEEDED.get(marker)
        is_needed = needed is not None and frame[start + 4 :].startswith(needed)
        if marker == 0xFE or (
            0xE0 <= marker <= 0xEF and not (is_needed and end - start - 2 <= _LONGEST_NEEDED)
        ):
            at = end
            continue
        if marker == 0xDA:
            break
        kept += frame[start:end]
        at = end
    return bytes(kept) + _until_end(frame[at:])


def strip_jpeg_2000(frame: bytes) -> bytes:
    """A JPEG 2000 codestream without the comments of its main header; ITU-T T.800 A.9.2."""
    if frame[:2] != b"\xff\x4f":
        return frame
    kept = bytearray(frame[:2])
    at = 2
    for marker, start, end in _segments(frame, 2):
        if marker == 0x90:  # the first tile-part
            break
        kept += b"" if marker == 0x64 else frame[start:end]
        at = end
    return bytes(kept) + _until_end(frame[at:])


def _segments(frame: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment, as long as one follows the other."""
    while at + 4 <= len(frame) and frame[at] == 0xFF and frame[at + 1] not in (0x00, 0xFF):
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if end > len(frame) or end < at + 4:
            return
        yield frame[at + 1], at, end
        at = end


def _until_end(rest: bytes) -> bytes:
    """`rest` up to its last end marker, of an even length."""
    end = rest.rfind(_END)
    return rest if end < 0 else rest[: end + 2]
