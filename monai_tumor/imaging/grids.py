"""Whether two images lie on the same grid, and what may be mended where they do not.

Two grids are the same when no corner of the volume lies further apart than `SAME_MM`; float32
headers of one scan written by different tools stay well below it. Up to `ROUNDING_MM` a
difference is still rounding, and can be repaired.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAME_MM = 0.01
ROUNDING_MM = 0.1

# Names of the repairs that datalists record and the loader carries out.
REPAIR_AFFINE = "affine"  # the file takes the affine of the study's first image
REPAIR_NAN = "nan"  # values that are not finite become 0


def distance_mm(one: NDArray[Any], other: NDArray[Any], shape: Sequence[int]) -> float:
    """How far apart two affines put the corners of a volume of `shape`, in mm, at most."""
    corners = np.array([[*c, 1] for c in product(*((0, n - 1) for n in shape[:3]))]).T
    return float(np.linalg.norm(((one - other) @ corners)[:3], axis=0).max())
