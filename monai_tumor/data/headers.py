"""Geometry of a NIfTI file, and whether the file can be read at all."""

import os
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from monai_tumor.data.problems import short

# What nibabel raises on a file that is cut short, or is something else than it says.
UNREADABLE = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error)


@dataclass(frozen=True)
class Header:
    """Geometry of one file.

    Attributes:
        shape: voxels along i, j, k (and channels).
        affine: 4x4, voxel index to millimetres, RAS+; the one that nibabel and MONAI use.
        qform: the affine of the qform, where the header holds an sform too; else None.
        placed: whether the header says at all where the image lies.
        end: bytes that the content must have.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    qform: NDArray[np.float64] | None
    placed: bool
    end: int

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm along i, j, k."""
        return tuple(float(v) for v in np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))

    @property
    def orientation(self) -> str:
        """Where i, j, k point, such as "LPS"; oblique axes are named by the nearest direction."""
        return "".join(str(c) for c in nib.aff2axcodes(self.affine))


def read_header(path: Path) -> Header:
    """The geometry of a NIfTI file; its voxels are not read.

    Raises:
        Any of `UNREADABLE`: the file cannot be read.
    """
    image = nib.load(path)
    qform_code, sform_code = int(image.header["qform_code"]), int(image.header["sform_code"])
    qform = image.header.get_qform() if qform_code > 0 and sform_code > 0 else None
    shape = tuple(int(n) for n in image.shape)
    return Header(
        shape=shape,
        affine=np.asarray(image.affine, dtype=np.float64),
        qform=None if qform is None else np.asarray(qform, dtype=np.float64),
        placed=qform_code > 0 or sform_code > 0,
        end=int(image.dataobj.offset) + prod(shape) * image.get_data_dtype().itemsize,
    )


def read_voxels(path: Path) -> NDArray[Any]:
    """Every voxel, [i, j, k] or [i, j, k, channel], scaled as the header says.

    Raises:
        Any of `UNREADABLE`: the file cannot be read to its end, or says that it is larger than
            memory.
    """
    try:
        return np.asanyarray(nib.load(path).dataobj)
    except MemoryError as error:
        size = f"{read_header(path).end / 1e9:.0f} GB"
        raise ImageFileError(f"by its header it has {size}, more than memory") from error


def looks_whole(path: Path, header: Header) -> bool:
    """Whether the size on record fits the header, which a file cut short does not.

    A .gz ends in the size of its content modulo 2^32 (RFC 1952), so nothing is unpacked. False
    is a suspicion only: a .gz of several members is rightly read, yet looks cut short.
    """
    if not is_gzip(path):
        return path.stat().st_size >= header.end
    return gzip_trailer(path)[1] == header.end & 0xFFFFFFFF


def is_gzip(path: Path) -> bool:
    """Whether the name says that the content is packed."""
    return path.name.lower().endswith(".gz")


def gzip_trailer(path: Path) -> tuple[int, int]:
    """CRC-32 of the content, and its size modulo 2^32, as the end of a .gz records them."""
    with path.open("rb") as stream:
        stream.seek(-8, os.SEEK_END)
        return int.from_bytes(stream.read(4), "little"), int.from_bytes(stream.read(4), "little")


def not_readable(path: Path, error: BaseException) -> str:
    """The message for a file that raised one of `UNREADABLE`."""
    if not path.exists():
        return f"{short(path)} is not there, or is a link to nothing. Fetch it again."
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return f"{short(path)} is not a readable NIfTI file: {reason}. Fetch it again."
