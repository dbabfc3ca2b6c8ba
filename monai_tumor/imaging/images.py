"""The images of a study, read onto one grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_tumor.errors import StudyError
from monai_tumor.imaging.finite import require_finite
from monai_tumor.imaging.grids import REPAIR_AFFINE, REPAIR_NAN, SAME_MM, distance_mm
from monai_tumor.imaging.nifti import voxels_of


@dataclass(frozen=True)
class Images:
    """Images on one grid.

    Attributes:
        voxels: float32, [C, X, Y, Z].
        affine: float64, [4, 4]: voxel index to mm, RAS.
        path: the first one's file.
    """

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    path: Path


def read_images(
    paths: Sequence[str | Path],
    study: str,
    names: Sequence[str],
    repairs: Sequence[str] = (),
    like: Images | None = None,
    key: str = "image",
) -> Images:
    """Four 3D files, one 4D file, or one label map, with the repairs that the datalist names.

    Args:
        paths: whose images become channels, one after another.
        study: whose they are.
        names: of the channels; where there are more or fewer of these, `key` stands for all.
        repairs: of `imaging.grids`, carried out here and nowhere else.
        like: images whose grid these must have; by default the first file's.
        key: see `names`.

    Raises:
        StudyError: a file cannot be read, a voxel is not finite, or grids differ.
    """
    files = [_read(path, study) for path in paths]
    first, affine = files[0]
    shape = first.shape[1:]
    if like is not None:
        shape, affine = like.voxels.shape[1:], like.affine
    for path, (voxels, own) in zip(paths, files, strict=True):
        _require_same_grid(voxels.shape[1:], own, shape, affine, path, study, repairs)
    # Each voxel is copied once: type, axis order and channel change on the way.
    joined = np.empty((sum(len(voxels) for voxels, _ in files), *shape), dtype=np.float32)
    np.concatenate([voxels for voxels, _ in files], out=joined, casting="unsafe")
    if REPAIR_NAN in repairs:
        np.nan_to_num(joined, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    names = names if len(names) == len(joined) else [key] * len(joined)
    require_finite(joined, names, study)
    return Images(joined, affine, Path(paths[0]))


def _read(path: str | Path, study: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels of a file, [C, X, Y, Z], of its own type, and its affine."""
    try:
        image: Any = nib.load(path)
        voxels = voxels_of(image)
        affine = np.array(image.affine, dtype=np.float64)
    except Exception as error:  # each of nibabel's formats has errors of its own
        raise StudyError(
            f"Study {study!r}: cannot read {path} ({_last_line(error)}). "
            "Look at it with monai-tumor inspect."
        ) from error
    return (np.moveaxis(voxels, -1, 0) if voxels.ndim > 3 else voxels[None]), affine


def _require_same_grid(
    shape: Sequence[int],
    affine: NDArray[np.float64],
    first_shape: Sequence[int],
    first_affine: NDArray[np.float64],
    path: str | Path,
    study: str,
    repairs: Sequence[str],
) -> None:
    if tuple(shape) != tuple(first_shape):
        raise StudyError(
            f"Study {study!r}: {path} has {_by(shape)} voxels, the study's first "
            f"image {_by(first_shape)}. Bring all files of the study to one grid."
        )
    apart = distance_mm(first_affine, affine, first_shape)
    if apart > SAME_MM and REPAIR_AFFINE not in repairs:
        raise StudyError(
            f"Study {study!r}: {path} lies {apart:.2f} mm off the study's first image by its "
            "affine. Bring all files of the study to one grid."
        )


def _by(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape)


def _last_line(error: BaseException) -> str:
    """The last line of an error's own words; some put whole tracebacks before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
