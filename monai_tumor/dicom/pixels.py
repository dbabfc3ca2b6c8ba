"""Stored pixels of files and frames, by pydicom and its codecs, or by ITK as a last resort."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from monai_tumor.dicom.files import Limits, Source, quiet
from monai_tumor.dicom.frames import Slice, integer
from monai_tumor.dicom.reasons import Reason, RefusalError

Pixels = NDArray[Any]

# How NIfTI stores colour: three bytes a voxel.
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


class Reader:
    """Reads slices' stored pixels; keeps the last file open, as a file's frames come in a row."""

    def __init__(self, limits: Limits | None = None):
        self._limits = limits or Limits()
        self._path: Path | None = None
        self._dataset = Dataset()
        self._frame: tuple[int, Pixels] | None = None

    def stored(self, one: Slice) -> Pixels:
        """The stored values of one slice, [rows, columns]; colour as dtype `RGB`.

        Raises:
            RefusalError: the file is cut short, or no decoder here can read it.
        """
        if one.source.path != self._path:
            self._dataset = read_dataset(one.source)
            self._path, self._frame = one.source.path, None
        if self._frame is None or self._frame[0] != one.pixels.frame:
            frame = decode(self._dataset, one.source, one.pixels.frame)
            self._frame = (one.pixels.frame, frame)
        (top, left), (rows, columns) = one.pixels.corner, one.plane.shape
        tile = self._frame[1][top : top + rows, left : left + columns]
        if tile.shape != (rows, columns):
            raise RefusalError(
                Reason.UNDECODABLE, f"{one.source.name} decodes to {self._frame[1].shape} pixels."
            )
        return tile

    def same(self, one: Slice, other: Slice) -> bool:
        """Whether two slices hold the same stored pixels."""
        return bool(np.array_equal(self.stored(one).copy(), self.stored(other)))


def read_dataset(source: Source) -> Dataset:
    """A file with its pixels.

    Raises:
        RefusalError: it cannot be read.
    """
    try:
        with quiet():
            dataset = dcmread(source.path, force=True)
            if "TransferSyntaxUID" not in dataset.file_meta:
                dataset.file_meta.TransferSyntaxUID = _NATIVE.get(
                    dataset.original_encoding, ExplicitVRLittleEndian
                )
            return dataset
    except Exception as error:  # as in files.read_header
        raise RefusalError(Reason.UNREADABLE, f"{source.name} cannot be read ({error}).") from error


def decode(dataset: Dataset, source: Source, frame: int) -> Pixels:
    """The stored values of one frame, [rows, columns]; colour as dtype `RGB`.

    Raises:
        RefusalError: pixels are absent, cut short, or in a form no decoder here can read.
    """
    with quiet():
        _check_length(dataset, source)
        try:
            pixels = pixel_array(dataset, index=frame)
        except Exception as error:  # each codec raises its own
            if not _compressed(dataset):
                raise RefusalError(
                    Reason.UNDECODABLE, f"{source.name} cannot be decoded ({error})."
                ) from error
            pixels = _decode_with_itk(dataset, source, frame)
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            pixels = _palette(pixels, dataset, source)
    return _as_stored(pixels, source)


def _compressed(dataset: Dataset) -> bool:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    return syntax is not None and bool(syntax.is_compressed)


def _check_length(dataset: Dataset, source: Source) -> None:
    keywords = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    keyword = next((k for k in keywords if k in dataset), None)
    if keyword is None or not dataset[keyword].value:
        raise RefusalError(Reason.TRUNCATED, f"{source.name} has no pixel data.")
    if _compressed(dataset):
        return
    samples, frames = integer(dataset, "SamplesPerPixel") or 1, integer(dataset, "NumberOfFrames")
    bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(
        keyword, integer(dataset, "BitsAllocated") or 0
    )
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    needed = dataset.Rows * dataset.Columns * samples * (frames or 1) * bits // 8
    if len(dataset[keyword].value) < needed:
        raise RefusalError(
            Reason.TRUNCATED,
            f"{source.name} is cut short: {len(dataset[keyword].value)} of {needed} bytes of "
            "pixels; fetch it again.",
        )


def _palette(pixels: Pixels, dataset: Dataset, source: Source) -> Pixels:
    try:
        colors = apply_color_lut(pixels, dataset)
    except Exception as error:  # as above
        raise RefusalError(
            Reason.UNDECODABLE, f"{source.name} has an unreadable palette ({error})."
        ) from error
    return (colors >> 8).astype(np.uint8) if colors.dtype == np.uint16 else colors


def _as_stored(pixels: Pixels, source: Source) -> Pixels:
    if pixels.ndim == 2 and pixels.dtype.kind in "iuf":
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels).view(RGB)[..., 0]
    raise RefusalError(
        Reason.UNSUPPORTED_PIXELS,
        f"{source.name} has pixels of shape {pixels.shape}, type {pixels.dtype}.",
    )


# Without file meta information the transfer syntax is what the header turned out to be written in:
# (implicit VR, little endian).
_NATIVE: dict[Any, UID] = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}

_PIXEL_MODULE = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def _decode_with_itk(dataset: Dataset, source: Source, frame: int) -> Pixels:
    """One compressed frame by ITK, alone in a file that has no rescale for ITK to apply."""
    import itk

    single = Dataset()
    for keyword in _PIXEL_MODULE:
        if keyword in dataset:
            single[keyword] = dataset[keyword]
    if single.get("PhotometricInterpretation") == "MONOCHROME1":
        single.PhotometricInterpretation = "MONOCHROME2"  # ITK would invert
    single.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    single.SOPInstanceUID = "2.25.1"
    try:
        one = get_frame(
            dataset.PixelData, frame, number_of_frames=integer(dataset, "NumberOfFrames") or 1
        )
        single.PixelData = encapsulate([one])
        single["PixelData"].is_undefined_length = True
        single.file_meta = dataset.file_meta
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "frame.dcm"
            single.save_as(path, enforce_file_format=True)
            pixels = np.asarray(itk.array_from_image(itk.imread(str(path))))
    except Exception as error:  # ITK raises RuntimeError, pydicom nearly anything
        raise RefusalError(
            Reason.UNDECODABLE,
            f"{source.name} is stored as {_syntax(dataset)}, which no decoder here can read; "
            "install monai-tumor[codecs].",
        ) from error
    pixels = pixels[0] if pixels.shape[0] == 1 and pixels.ndim > 2 else pixels
    kind = "i" if dataset.PixelRepresentation else "u"
    return pixels.astype(f"{kind}{dataset.BitsAllocated // 8}")


def _syntax(dataset: Dataset) -> str:
    return str(dataset.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian).name)


def measured(stored: Pixels, slices: Sequence[Slice]) -> Pixels:
    """Measured values: stored x slope + intercept, slice by slice, in the smallest fitting type.

    Integers stay integers wherever every slope and intercept is whole; else float32.

    Args:
        stored: [columns, rows, n] stored values, Fortran order.
        slices: [n], whose rescale applies.
    """
    if stored.dtype == RGB or stored.dtype.kind == "f":
        scales = {(s.pixels.slope, s.pixels.intercept) for s in slices}
        return stored if scales == {(1.0, 0.0)} or stored.dtype == RGB else _scaled(stored, slices)
    scales = {(s.pixels.slope, s.pixels.intercept) for s in slices}
    whole = all(a.is_integer() and b.is_integer() and abs(a) < 1e6 for a, b in scales)
    if not whole:
        return _scaled(stored, slices)
    if scales == {(1.0, 0.0)}:
        values = stored
    else:
        values = np.empty(stored.shape, np.int64, order="F")
        for n, one in enumerate(slices):
            values[..., n] = stored[..., n] * np.int64(one.pixels.slope)
            values[..., n] += int(one.pixels.intercept)
    low, high = int(values.min()), int(values.max())
    first = (np.uint8,) if stored.dtype == np.uint8 else ()
    for kind in (*first, np.int16, np.uint16, np.int32, np.uint32):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return values.astype(kind, order="F", copy=False)
    return values.astype(np.float64, order="F")


def _scaled(stored: Pixels, slices: Sequence[Slice]) -> Pixels:
    out = np.empty(stored.shape, np.float32, order="F")
    for n, one in enumerate(slices):
        out[..., n] = stored[..., n] * one.pixels.slope + one.pixels.intercept
    return out
