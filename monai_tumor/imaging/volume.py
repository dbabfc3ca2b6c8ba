"""One 3D image: voxels, and where they lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_tumor.errors import InputError
from monai_tumor.imaging.orientation import check_affine, voxel_spacing


@dataclass(frozen=True)
class Volume:
    """One 3D image.

    Attributes:
        voxels: [X, Y, Z].
        affine: float64, [4, 4]: voxel index to mm, RAS.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Refuse what cannot be placed in space.

        Raises:
            InputError: not three axes, a single slice, or an affine that cannot be used.
        """
        object.__setattr__(self, "affine", check_affine(self.affine))
        if self.voxels.ndim != 3 or min(self.voxels.shape) < 2:
            raise InputError(f"A 3D image is needed here, found shape {self.voxels.shape}.")

    @property
    def spacing(self) -> tuple[float, float, float]:
        """How many mm lie between the centres of neighbouring voxels, of each axis."""
        return voxel_spacing(self.affine)

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel in mL."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def with_voxels(self, voxels: NDArray[Any]) -> "Volume":
        """Other voxels on the same grid."""
        return Volume(voxels, self.affine)


def shrink(volume: Volume, edge: float) -> Volume:
    """The volume with voxels of about `edge` mm: means of whole blocks; never finer than it was.

    Args:
        volume: what to shrink; voxels become float32.
        edge: mm; each axis takes the number of voxels a block that comes nearest to it.

    Returns:
        voxels: float32, [X / a, Y / b, Z / c]; an incomplete block at the end is left out.
    """
    steps = [max(1, round(edge / s)) for s in volume.spacing]
    steps = [min(step, n // 2) for step, n in zip(steps, volume.voxels.shape, strict=True)]
    sums = np.asarray(volume.voxels, np.float32)
    for axis, step in enumerate(steps):  # one axis at a time: five times faster than one mean
        along = np.moveaxis(sums, axis, 0)
        stop = len(along) // step * step
        parts = [along[start:stop:step] for start in range(step)]
        sums = np.moveaxis(sum(parts[1:], start=parts[0]), 0, axis)
    return Volume(sums / np.float32(np.prod(steps)), volume.affine @ block_affine(steps))


def block_affine(steps: Sequence[int]) -> NDArray[np.float64]:
    """Index of a block of `steps` voxels to the (fractional) index of its middle, [4, 4]."""
    out = np.diag([*steps, 1.0])
    out[:3, 3] = (np.asarray(steps) - 1) / 2
    return out
