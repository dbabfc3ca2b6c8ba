"""From any voxel grid to the frame in which radiologists look at a brain.

The display frame is LPI: the first axis runs to the patient's left, the second to posterior, the
third to inferior. A slice of it, transposed, is what a viewer shows: the patient's right on the
left of the picture (radiological convention), anterior or superior at the top; on sagittal slices
anterior is on the left. Affines follow NIfTI: voxel index to mm, RAS.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from nibabel import affines, orientations
from numpy.typing import ArrayLike, NDArray

from monai_tumor.errors import InputError


class Plane(StrEnum):
    """The three planes; `axis` is the one they are perpendicular to in the display frame."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"

    @property
    def axis(self) -> int:
        """The display frame's axis that counts the slices."""
        return {Plane.AXIAL: 2, Plane.CORONAL: 1, Plane.SAGITTAL: 0}[self]

    @property
    def marks(self) -> tuple[str, str, str, str]:
        """What lies at the left, right, top and bottom of the picture."""
        top, bottom = ("A", "P") if self is Plane.AXIAL else ("S", "I")
        left, right = ("A", "P") if self is Plane.SAGITTAL else ("R", "L")
        return left, right, top, bottom


def check_affine(affine: ArrayLike) -> NDArray[np.float64]:
    """The affine as float64, [4, 4].

    Raises:
        InputError: it has another shape, is not finite, or maps the volume to a plane.
    """
    out = np.asarray(affine, dtype=np.float64)
    if out.shape != (4, 4):
        raise InputError(f"An affine must be 4 x 4, found shape {out.shape}.")
    if not np.isfinite(out).all() or abs(np.linalg.det(out[:3, :3])) < 1e-9:
        raise InputError(
            "The affine is singular or not finite, so left and right cannot be known; "
            "mend the image's header."
        )
    return out


def voxel_spacing(affine: ArrayLike) -> tuple[float, float, float]:
    """How many mm lie between the centres of neighbouring voxels, of each axis."""
    x, y, z = affines.voxel_sizes(check_affine(affine))
    return float(x), float(y), float(z)


def obliquity(affine: ArrayLike) -> float:
    """Degrees by which the voxel axes lean away from the patient's, at most."""
    return float(np.degrees(affines.obliquity(check_affine(affine)).max()))


def reorient(
    volumes: NDArray[Any], affine: ArrayLike, axcodes: Sequence[str] = "LPI"
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Volumes with their axes swapped and flipped to run as `axcodes` say; nothing is resampled.

    The axes of an oblique grid go to the patient's nearest ones.

    Args:
        volumes: [..., X, Y, Z]; any leading axes stay.
        affine: voxel index to mm, RAS, [4, 4].
        axcodes: towards where each axis shall run; the display frame by default.

    Returns:
        The volumes (a view) and the affine that belongs to them.

    Raises:
        InputError: the affine cannot be used.
    """
    affine = check_affine(affine)
    wanted = orientations.axcodes2ornt(axcodes)
    change = orientations.ornt_transform(orientations.io_orientation(affine), wanted)
    spatial = np.moveaxis(volumes, (-3, -2, -1), (0, 1, 2))
    moved = orientations.apply_orientation(spatial, change)
    moved_affine = affine @ orientations.inv_ornt_aff(change, volumes.shape[-3:])
    return np.moveaxis(moved, (0, 1, 2), (-3, -2, -1)), moved_affine
