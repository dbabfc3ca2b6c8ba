"""Outlines of a mask, as smooth closed curves."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import measure


def contours(mask: NDArray[Any], *, smooth: int = 2) -> list[NDArray[np.float64]]:
    """Closed curves around each part and each hole of a 2D mask.

    They run where voxels inside and outside meet, with the corners cut. In the coordinates used,
    the pixel at row r, column c covers the square from (c, r) to (c + 1, r + 1), so a curve times
    the size of a pixel lies right on an enlarged picture.

    Args:
        mask: [rows, columns]; what is not zero is inside.
        smooth: rounds of Chaikin's corner cutting; each keeps within the curve before.

    Returns:
        float64 arrays [points, 2] of x (column) and y (row); the last point is the first.
    """
    padded = np.pad(np.asarray(mask) != 0, 1).astype(np.float32)
    curves = []
    for curve in measure.find_contours(padded, 0.5):
        for _ in range(smooth):
            curve = _without_corners(curve)
        curves.append(curve[:, ::-1] - 0.5)  # off the padding, from pixel centre to pixel edge
    return curves


def _without_corners(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """One round of Chaikin's corner cutting of a closed curve, [n + 1, 2] -> [2 n + 1, 2].

    `skimage.measure.subdivide_polygon` gives the same points in another order; it imports
    `scipy.signal`, and that takes longer than all contours of a report.
    """
    here, following = curve[:-1], curve[1:]
    cut = np.stack([0.75 * here + 0.25 * following, 0.25 * here + 0.75 * following], axis=1)
    cut = cut.reshape(-1, 2)
    return np.concatenate([cut, cut[:1]])
