"""Decodes frames handed to it on standard input; run as a script, in a process of its own.

It holds the decoders that end their process on some broken files: GDCM, or ITK, which has GDCM
inside. Each message is its length (8 bytes, little endian) and that many bytes: in comes a DICOM
file of one frame, out goes its array as `.npy`, or nothing where it cannot be decoded.
"""

import struct
import sys
import tempfile
import warnings
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGExtended12Bit


def decode(content: bytes) -> Any:
    """The stored values of a DICOM file of one frame, [rows, columns] or with colours behind."""
    dataset = dcmread(BytesIO(content))
    if find_spec("gdcm") is None:
        return with_itk(dataset)
    if dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit and dataset.SamplesPerPixel == 1:
        return with_gdcm(dataset)  # pydicom does not let it, and it can
    return pixel_array(dataset, decoding_plugin="gdcm")


def with_gdcm(dataset: Dataset) -> Any:
    """As `decode`, by GDCM's own reader; grey alone.

    Raises:
        ValueError: it cannot.
    """
    import gdcm

    reader = gdcm.ImageReader()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.dcm"
        dataset.save_as(path, enforce_file_format=True)
        reader.SetFileName(str(path))
        if not reader.Read():
            raise ValueError("GDCM cannot read it")
    # GDCM gives bytes as text; `reader` must live as long as its image.
    values = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    kind = "i" if dataset.PixelRepresentation else "u"
    pixels = np.frombuffer(values, f"{kind}{dataset.BitsAllocated // 8}")
    return pixels.reshape(dataset.Rows, dataset.Columns)


def with_itk(dataset: Dataset) -> Any:
    """As `decode`, by ITK, which takes seconds to import."""
    import itk

    if dataset.PhotometricInterpretation == "MONOCHROME1":
        dataset.PhotometricInterpretation = "MONOCHROME2"  # ITK would invert
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.dcm"
        dataset.save_as(path, enforce_file_format=True)
        pixels = np.asarray(itk.array_from_image(itk.imread(str(path))))
    kind = "i" if dataset.PixelRepresentation else "u"
    rows, columns = dataset.Rows, dataset.Columns
    shape = (rows, columns, 3) if dataset.SamplesPerPixel == 3 else (rows, columns)
    return pixels.reshape(shape).astype(f"{kind}{dataset.BitsAllocated // 8}")


def main() -> None:
    """Answer frames until standard input ends."""
    warnings.simplefilter("ignore")
    while len(length := sys.stdin.buffer.read(8)) == 8:
        content = sys.stdin.buffer.read(struct.unpack("<Q", length)[0])
        file = BytesIO()
        try:
            np.save(file, decode(content), allow_pickle=False)
        except Exception:  # whatever a decoder raises; the empty answer says so
            file = BytesIO()
        sys.stdout.buffer.write(struct.pack("<Q", len(file.getvalue())) + file.getvalue())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
