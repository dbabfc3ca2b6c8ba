"""b-values and gradient directions of a diffusion series, as FSL writes them: `.bval`, `.bvec`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def gradient_table(
    diffusion: Sequence[tuple[float, ...]], affine: NDArray[np.float64]
) -> tuple[str, str]:
    """The text of `.bval` (one line) and of `.bvec` (three lines), a column for each volume.

    Directions are along the voxel axes of the image, the first one turned round where the affine's
    determinant is positive, as FSL wants it. Volumes without a direction have 0 0 0.

    Args:
        diffusion: of each volume the b-value, s/mm2, then the direction where it has one, LPS.
        affine: voxel to mm, RAS, [4, 4], of the written file.
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    along = np.linalg.inv(axes)
    if np.linalg.det(affine[:3, :3]) > 0:
        along[0] = -along[0]
    columns = [_unit(along @ (np.array(one[1:]) * (-1, -1, 1))) for one in map(_full, diffusion)]
    rows = np.round(np.transpose(columns), 6) + 0.0  # no -0
    values = " ".join(f"{one[0]:g}" for one in diffusion)
    return f"{values}\n", "".join(" ".join(f"{v:g}" for v in row) + "\n" for row in rows)


def _full(one: tuple[float, ...]) -> tuple[float, ...]:
    return one if len(one) == 4 else (one[0], 0.0, 0.0, 0.0)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
