"""One frame's stored pixels, by pydicom and its codecs, or out of process as a last resort."""

import struct
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
    RLELossless,
)

from monai_tumor.dicom import decode_worker
from monai_tumor.dicom.bombs import codestream_shape
from monai_tumor.dicom.files import Source, quiet
from monai_tumor.dicom.headers import integer
from monai_tumor.dicom.reasons import Reason, RefusalError

Pixels = NDArray[Any]

# How NIfTI stores colour: three bytes a voxel.
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


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
# All that decoding one frame needs; a header has hundreds of others.
DECODED_WITH = tuple(
    Tag(keyword)
    for keyword in (
        *_PIXEL_MODULE,
        "NumberOfFrames",
        *("PixelData", "FloatPixelData", "DoubleFloatPixelData"),
        *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
        *(
            f"{name}PaletteColorLookupTable{what}"
            for name in ("Red", "Green", "Blue", "Alpha")
            for what in ("Descriptor", "Data")
        ),
        *(f"Segmented{name}PaletteColorLookupTableData" for name in ("Red", "Green", "Blue")),
        *("PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue"),
    )
)


def read_dataset(source: Source, tags: Sequence[BaseTag] | None = None) -> Dataset:
    """A file with its pixels.

    Args:
        source: the file.
        tags: of the elements to read; None for all.

    Raises:
        RefusalError: it cannot be read.
    """
    try:
        with quiet():
            dataset = dcmread(
                source.path, force=True, specific_tags=None if tags is None else list(tags)
            )
            if "TransferSyntaxUID" not in dataset.file_meta:
                dataset.file_meta.TransferSyntaxUID = _NATIVE.get(
                    dataset.original_encoding, ExplicitVRLittleEndian
                )
            return dataset
    except Exception as error:  # as in files.read_header
        raise RefusalError(Reason.UNREADABLE, f"{source.name} cannot be read ({error}).") from error


def decode(dataset: Dataset, source: Source, frame: int, worker: "Worker") -> Pixels:
    """The stored values of one frame, [rows, columns]; colour as dtype `RGB`.

    Args:
        dataset: from `read_dataset`.
        source: its file, for messages.
        frame: from 0.
        worker: where decoders run that cannot be trusted in this process.

    Raises:
        RefusalError: pixels are absent, cut short, or in a form no decoder here can read.
    """
    with quiet():
        try:
            _check_length(dataset, source)
            pixels = _pixels(dataset, frame, worker)
        except RefusalError:
            raise
        except Exception as error:  # each codec raises its own
            raise RefusalError(
                Reason.UNDECODABLE, f"{source.name} cannot be decoded ({error})."
            ) from error
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            pixels = _palette(pixels, dataset, source)
    return _as_stored(pixels, source)


def _compressed(dataset: Dataset) -> bool:
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    return syntax is not None and bool(syntax.is_compressed)


def _pixels(dataset: Dataset, frame: int, worker: "Worker") -> Pixels:
    if not _compressed(dataset):
        return pixel_array(dataset, index=frame)
    stated = codestream_shape(_frame(dataset, frame))
    if stated is not None and stated != (dataset.Rows, dataset.Columns):
        raise ValueError(
            f"its compressed image is {stated[0]} x {stated[1]}, its header says "
            f"{dataset.Rows} x {dataset.Columns}"
        )
    syntax = dataset.file_meta.TransferSyntaxUID
    # GDCM, alone or inside ITK, ends the whole process on some broken files, and pylibjpeg-rle
    # panics: neither runs in this process. pydicom decodes RLE itself.
    barred = {"gdcm", "pylibjpeg"} if syntax == RLELossless else {"gdcm"}
    plugins = [name for name in get_decoder(syntax).available_plugins if name not in barred]
    errors = []
    for plugin in plugins:
        try:
            return pixel_array(dataset, index=frame, decoding_plugin=plugin)
        except Exception as error:  # each codec raises its own
            errors.append(str(error))
    if plugins and syntax != JPEGExtended12Bit:
        raise ValueError("; ".join(errors))
    # Pillow says it can decode 12-bit JPEG, and cannot.
    return worker.decode(_alone(dataset, frame))


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


_PATIENCE = 60.0  # seconds for one frame, starting the worker included


class Worker:
    """A process that decodes frames; it is started when first needed and again if it dies.

    Used with `with`, which ends the process.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Worker":
        """The worker."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.stop()

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def decode(self, single: bytes) -> Pixels:
        """The pixels of a DICOM file of one frame.

        Raises:
            ValueError: the worker cannot decode it, died of it, or took too long.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(Path(decode_worker.__file__))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        process = self._process
        timer = Timer(_PATIENCE, process.kill)
        timer.start()
        try:
            if process.stdin is None or process.stdout is None:
                raise ValueError("the decoder has no pipes")
            process.stdin.write(struct.pack("<Q", len(single)) + single)
            process.stdin.flush()
            head = process.stdout.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            answer = process.stdout.read(length)
            complete = len(head) == 8 and len(answer) == length
        except OSError:
            complete, answer = False, b""
        finally:
            timer.cancel()
        if not complete:
            self.stop()
            raise ValueError("the decoder broke down over it")
        if not answer:
            raise ValueError("no decoder here can read it; install monai-tumor[codecs]")
        return np.asarray(np.load(BytesIO(answer), allow_pickle=False))


def _frame(dataset: Dataset, frame: int) -> bytes:
    frames = integer(dataset, "NumberOfFrames") or 1
    return get_frame(dataset.PixelData, frame, number_of_frames=frames)


def _alone(dataset: Dataset, frame: int) -> bytes:
    """One compressed frame as a file that has no rescale for a decoder to apply."""
    single = Dataset()
    for keyword in _PIXEL_MODULE:
        if keyword in dataset:
            single[keyword] = dataset[keyword]
    single.SOPClassUID, single.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "2.25.1"
    single.PixelData = encapsulate([_frame(dataset, frame)])
    single["PixelData"].is_undefined_length = True
    single.file_meta = dataset.file_meta
    file = BytesIO()
    single.save_as(file, enforce_file_format=True)
    return file.getvalue()
