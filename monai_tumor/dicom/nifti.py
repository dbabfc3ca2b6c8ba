"""Write a NIfTI file so that it is there whole and audited, or not at all."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_tumor.dicom.geometry import Floats

_SCANNER = 1  # NIfTI's code for scanner coordinates
# A quaternion that puts a corner of the volume further off than this cannot stand for the affine.
_QFORM_ERROR_MM = 0.05
_LEVEL = 1


def write(
    path: Path,
    data: NDArray[Any],
    affine: Floats,
    time_step: float,
    check: Callable[[Path], Any],
) -> tuple[Any, bool]:
    """What `check` answered about the written file, and whether it has a qform.

    The file is written beside `path` under another name, checked there, and moved into place; if
    writing or checking fails nothing is left.

    Args:
        path: ends in `.nii.gz`.
        data: [columns, rows, slices] or [columns, rows, slices, times].
        affine: RAS mm, [4, 4].
        time_step: seconds between volumes, 0 where unknown or 3D.
        check: is given the written file; raises where it is wrong.
    """
    image = nib.Nifti1Image(data, affine, dtype=data.dtype)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, _SCANNER)
    image.set_qform(affine, _SCANNER)
    squared = _corners(image.get_qform(), data.shape) - _corners(affine, data.shape)
    has_qform = bool(np.abs(squared).max() <= _QFORM_ERROR_MM)
    if not has_qform:
        image.header["qform_code"] = 0
    if data.ndim == 4:
        image.header["pixdim"][4] = time_step
    partial = path.with_name(f".{path.name.removesuffix('.nii.gz')}.partial.nii.gz")
    try:
        with partial.open("wb") as file:
            _write(file, image, data)
        found = check(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return found, has_qform


def _corners(affine: Floats, shape: tuple[int, ...]) -> Floats:
    ends = np.array([(i, j, k, 1) for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    ends[:, :3] *= np.array(shape[:3]) - 1
    return np.asarray((ends @ np.asarray(affine).T)[:, :3])


def _write(file: BinaryIO, image: Any, data: NDArray[Any]) -> None:
    header = image.header
    header.set_data_offset(352)
    header.set_slope_inter(1.0, 0.0)
    with _gzip(file) as packed:
        header.write_to(packed)  # and the four bytes that say there are no extensions
        # Fortran order is what NIfTI stores: the transpose of such an array is plain bytes.
        packed.write(np.ascontiguousarray(data.T).data.cast("B"))
    file.flush()
    os.fsync(file.fileno())


def _gzip(file: BinaryIO) -> Any:
    """A gzip stream without time or name, so that equal volumes give equal files."""
    try:
        from isal import igzip
    except ImportError:
        return gzip.GzipFile("", "wb", _LEVEL, file, mtime=0)
    return igzip.IGzipFile("", "wb", 1, file, mtime=0)


def read(path: Path) -> Any:
    """The image at `path`, wholly in memory."""
    try:
        from isal import igzip

        return nib.Nifti1Image.from_bytes(igzip.decompress(path.read_bytes()))
    except ImportError:
        return nib.load(path)
