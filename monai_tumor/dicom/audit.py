"""Check a written NIfTI against its sources.

While slices are decoded, some pixels of each are noted with the place that the slice's own
position and orientation give them. After writing, the file is read back from disk and each noted
pixel is looked up through the file's own affine. This shares no code with the way the volume was
put together, so that a slice in the wrong place, a flipped axis or a wrong scale cannot pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_tumor.dicom import nifti
from monai_tumor.dicom.decode import RGB
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.records import Slice

_PIXELS_A_SLICE = 64
_VOXELS_AWAY = 0.1


@dataclass(frozen=True)
class Samples:
    """Some pixels of one slice.

    Attributes:
        time: which volume of a 4D file they belong to.
        name: the slice's file.
        points: LPS mm, [n, 3].
        values: measured values, [n], or [n, 3] for colour.
        tolerance: how far the file's values may be from these.
    """

    time: int
    name: str
    points: NDArray[np.float64]
    values: NDArray[np.float64]
    tolerance: float = 0.0


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        slices: how many slices were checked.
        pixels: how many pixels.
        worst_voxels: how far, in voxels, the worst pixel lay from a voxel's centre.
        worst_value: the largest difference in value.
    """

    slices: int
    pixels: int
    worst_voxels: float
    worst_value: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passed": True,
            "slices": self.slices,
            "pixels": self.pixels,
            "worst_voxels": round(self.worst_voxels, 6),
            "worst_value": self.worst_value,
        }

    def __str__(self) -> str:
        """One line."""
        return f"{self.pixels} pixels of {self.slices} slices found in their place"


def sample(one: Slice, stored: NDArray[Any], time: int, rng: np.random.Generator) -> Samples:
    """Pixels of one slice: corners, the brightest, and some at random.

    Args:
        one: the slice.
        stored: its stored values, [rows, columns].
        time: which volume of the file it belongs to.
        rng: where the random ones come from.
    """
    rows, columns = stored.shape
    grey = stored["G"] if stored.dtype == RGB else stored
    brightest = np.unravel_index(int(np.argmax(grey)), stored.shape)
    r = np.concatenate([[0, rows - 1, brightest[0]], rng.integers(0, rows, _PIXELS_A_SLICE - 3)])
    c = np.concatenate([[0, columns - 1, brightest[1]], rng.integers(0, columns, len(r) - 3)])
    picked = _numbers(stored[r, c])
    tolerance = 0.0
    if stored.dtype != RGB:
        picked = picked * one.pixels.slope + one.pixels.intercept
        if not (one.pixels.slope.is_integer() and one.pixels.intercept.is_integer()):
            tolerance = 1e-6 * float(np.abs(picked).max())
    return Samples(time, one.source.name, one.plane.points(r, c), picked, tolerance)


def audit(path: Path, samples: Sequence[Samples]) -> Audit:
    """Look every sampled pixel up in the file at `path`.

    Raises:
        RefusalError: one is not where its slice says, or has another value.
    """
    image = nifti.read(path)
    data = np.asanyarray(image.dataobj)
    data = data.reshape(*data.shape[:3], -1)
    to_voxel = np.linalg.inv(np.asarray(image.affine, dtype=np.float64))
    away = difference = 0.0
    pixels = 0
    for noted in samples:
        ras = noted.points * [-1.0, -1.0, 1.0]
        voxel = ras @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        nearest = np.rint(voxel).astype(int)
        off = float(np.abs(voxel - nearest).max())
        inside = (nearest >= 0).all() and (nearest < data.shape[:3]).all()
        if not inside or off > _VOXELS_AWAY:
            raise _mismatch(noted, f"lies {off:.2f} voxels from the grid")
        i, j, k = nearest.T
        found = _numbers(data[i, j, k, noted.time])
        error = float(np.nanmax(np.abs(found - noted.values), initial=0.0))
        if error > noted.tolerance or (np.isnan(found) != np.isnan(noted.values)).any():
            raise _mismatch(noted, f"has values that differ by {error:g}")
        away, difference = max(away, off), max(difference, error)
        pixels += len(nearest)
    return Audit(len(samples), pixels, away, difference)


def _mismatch(noted: Samples, what: str) -> RefusalError:
    return RefusalError(
        Reason.AUDIT_MISMATCH, f"The written file disagrees with its source: {noted.name} {what}."
    )


def _numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype == RGB:
        return np.stack([values[c] for c in "RGB"], axis=-1).astype(np.float64)
    return values.astype(np.float64)
