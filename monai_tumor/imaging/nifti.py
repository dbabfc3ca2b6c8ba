"""NIfTI files packed with gzip, read and written by ISA-L, which is several times faster than zlib.

nibabel reads the header and decides what the file is; only the stream of voxels is unpacked here.
"""

import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray

from monai_tumor.errors import StudyError

_LEVEL = 1  # of 0 to 3
# Fields of a NIfTI header that say where voxels lie; so do the first four of "pixdim".
_GEOMETRY = (
    *("xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def voxels_of(image: Any) -> NDArray[Any]:
    """Every voxel of an image that `nibabel.load` opened, scaled as its header says.

    Args:
        image: any of nibabel's; what is not a gzip file on the disk is read by nibabel itself.

    Returns:
        [i, j, k] or [i, j, k, channel], in the order of the file (Fortran's), type and values as
        `numpy.asanyarray(image.dataobj)` gives them.

    Raises:
        EOFError: the file is cut short.
        zlib.error, OSError: its content is damaged.
    """
    path, proxy = image.get_filename(), image.dataobj
    if not (path and path.lower().endswith(".gz") and isinstance(proxy, ArrayProxy)):
        return np.asanyarray(proxy)
    layout = (proxy.shape, proxy.dtype, proxy.offset, proxy.slope, proxy.inter)
    try:
        with igzip.open(path, "rb") as stream:
            return np.asanyarray(ArrayProxy(stream, layout))
    # No kind of zlib's error, which callers know; its stub takes the class for an instance.
    except isal_zlib.error as error:  # type: ignore[misc]
        raise zlib.error(str(error)) from error


def save(image: Any, path: Path) -> None:
    """Write an image, packed where the name ends in `.gz`; equal images give equal bytes.

    Args:
        image: one of nibabel's.
        path: replaced; see `monai_tumor.files.write_atomically`, which this is a writer for.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("wb") as file:
        if not path.name.lower().endswith(".gz"):
            image.to_stream(file)
            return
        # Neither a name nor a time in the gzip header: they would make equal images differ.
        with igzip.IGzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
            image.to_stream(packed)


def on_grid_of(reference: Path, volume: np.ndarray[Any, Any]) -> nib.Nifti1Image:
    """`volume` ([X, Y, Z]) as a NIfTI image with the header geometry of `reference`.

    Raises:
        StudyError: their shapes differ.
    """
    source = nib.load(reference)
    if tuple(source.shape[:3]) != volume.shape:
        raise StudyError(
            f"{reference.name} has {source.shape[:3]} voxels, its result {volume.shape}; "
            "the result was not brought back to the input's grid."
        )
    image = nib.Nifti1Image(volume, source.affine, dtype=volume.dtype)
    if isinstance(source.header, nib.Nifti1Header):
        image.header["pixdim"][:4] = source.header["pixdim"][:4]
        for field in _GEOMETRY:
            image.header[field] = source.header[field]
    image.header["descrip"] = b"monai_tumor, research use only"
    return image
