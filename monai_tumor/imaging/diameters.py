"""The two diameters of a mask in one slice, as RANO measures a lesion.

Convention. The outline runs half-way between the centres of neighbouring voxels inside and outside
(marching squares at 0.5), so n voxels in a row measure n voxel sizes, and the steps of a slanted
edge have their corners cut, as a reader's calliper would. Lengths are in mm in the plane of the
slice, from the affine, so anisotropic, oblique and sheared grids measure right.

Both lines stay inside the mask. RANO leaves cysts, necrosis and resection cavities out of the
measurement (Wen et al. 2010), and independent implementations hold every line to the mask:
AutoRANO (Chang et al. 2019) and RANO-assist (Kujawa et al. 2025). So a thin ring measures the
thickness of its wall, not its outer diameter. The perpendicular crosses the longest diameter.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import cdist

from monai_tumor.imaging.contours import contours

_Points = NDArray[np.float64]

# A line may leave the outline by about this share of a voxel: a digitised straight edge is a
# staircase, whose inner corners would else cut every line along it.
_STAIRCASE = 0.25
_STEP = 0.25  # voxels between the places where a line is held against the mask
_BAND = 0.05  # lines are tried from the longest down, this share of the extent at a time
_NUDGE = 1e-6  # mm to either side of a corner, where the width may jump


@dataclass(frozen=True)
class Cross:
    """The longest diameter and the longest one perpendicular to it.

    Attributes:
        longest_mm: mm.
        perpendicular_mm: mm; 0 where the mask has no width.
        longest: its ends in voxel coordinates of the slice (centres at integers), [2, 2].
        perpendicular: the other's ends, [2, 2].
    """

    longest_mm: float
    perpendicular_mm: float
    longest: _Points
    perpendicular: _Points

    @property
    def product_mm2(self) -> float:
        """The product of both, mm2."""
        return self.longest_mm * self.perpendicular_mm


def cross(mask: NDArray[Any], plane: NDArray[np.float64]) -> Cross | None:
    """The cross of diameters of a mask in a slice; None where the mask is empty.

    Parts of the mask that only a corner joins, or nothing, are measured apart, and the largest
    product counts.

    Args:
        mask: [I, J]; what is not zero is inside.
        plane: mm that a step along i and along j makes, [3, 2]: two columns of an affine.
    """
    inside = np.asarray(mask) != 0
    parts, count = ndimage.label(inside)
    found = [_cross(parts == number, plane) for number in range(1, count + 1)]
    return max(found, key=lambda one: (one.product_mm2, one.longest_mm), default=None)


def most_product(mask: NDArray[Any], plane: NDArray[np.float64]) -> float:
    """No cross in the mask has a larger product than this, mm2; cheap.

    Two perpendicular lines that cross span a quadrilateral of half their product, and it lies in
    the convex hull of each part.
    """
    inside = np.asarray(mask) != 0
    points = _outlines(inside)
    if not points:
        return 0.0
    try:
        area = ConvexHull(np.vstack(points) @ _metric(plane).T).volume  # in 2D: the area
    except QhullError:
        return 0.0
    return 2 * float(area)


def _cross(mask: NDArray[np.bool_], plane: NDArray[np.float64]) -> Cross:
    metric = _metric(plane)
    outlines = _outlines(mask)
    ends = _longest(mask, np.vstack([curve[:-1] for curve in outlines]), metric)
    along = metric @ (ends[1] - ends[0])
    length = float(np.linalg.norm(along))
    across = _perpendicular([curve @ metric.T for curve in outlines], ends @ metric.T)
    back = across @ np.linalg.inv(metric).T
    return Cross(length, float(np.linalg.norm(across[1] - across[0])), ends, back)


def _metric(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """[2, 2]: from voxel steps to coordinates in the plane whose lengths are mm."""
    return np.linalg.qr(plane)[1]


def _outlines(mask: NDArray[np.bool_]) -> list[_Points]:
    """Closed curves [points, (i, j)] in voxel coordinates; holes have theirs."""
    return [curve[:, ::-1] - 0.5 for curve in contours(mask, smooth=0)]


def _longest(
    mask: NDArray[np.bool_], points: _Points, metric: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The ends, [2, 2], of the longest line between two of `points` that stays in the mask."""
    lengths = np.triu(cdist(points @ metric.T, points @ metric.T))
    soft = np.pad(mask, 2).astype(np.float32)
    upper = extent = float(lengths.max())
    while upper > 0:
        lower = upper - _BAND * extent
        first, second = np.nonzero((lengths > max(lower, 0)) & (lengths <= upper))
        order = np.argsort(-lengths[first, second], kind="stable")
        first, second = first[order], second[order]
        kept = _staying(soft, points[first] + 2, points[second] + 2)
        if kept is not None:
            return points[[first[kept], second[kept]]]
        upper = lower
    return points[[0, 0]]


def _staying(soft: NDArray[np.float32], starts: _Points, ends: _Points) -> int | None:
    """The first of the lines that stays inside; lines are halved again and again, and dropped."""
    if not len(starts):
        return None
    alive = np.arange(len(starts))
    farthest = float(np.abs(ends - starts).max())
    pieces = 2
    while len(alive):
        share = np.arange(1, pieces, 2)[:, None, None] / pieces
        places = starts[alive] + share * (ends - starts)[alive]
        values = ndimage.map_coordinates(soft, places.reshape(-1, 2).T, order=1)
        values = values.reshape(len(share), -1)
        alive = alive[(values >= 0.5 - _STAIRCASE).all(0)]
        if farthest / pieces <= _STEP:
            break
        pieces *= 2
    return int(alive[0]) if len(alive) else None


def _perpendicular(outlines: list[_Points], ends: _Points) -> _Points:
    """The ends, mm [2, 2], of the longest line across the line between `ends`, in the outlines."""
    along = ends[1] - ends[0]
    length = float(np.linalg.norm(along))
    if length == 0:
        return ends
    frame = np.array([along, [-along[1], along[0]]]) / length  # rows: along, across
    turned = [(curve - ends[0]) @ frame.T for curve in outlines]
    starts = np.vstack([curve[:-1] for curve in turned])
    stops = np.vstack([curve[1:] for curve in turned])
    # Between two corners the width changes linearly, so it is greatest beside a corner.
    places = np.unique(np.concatenate([starts[:, 0] - _NUDGE, starts[:, 0] + _NUDGE]))
    places = places[(places > 0) & (places < length)][:, None]
    hit = (starts[:, 0] <= places) != (stops[:, 0] <= places)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (places - starts[:, 0]) / (stops - starts)[:, 0]
        heights = np.where(hit, starts[:, 1] + share * (stops - starts)[:, 1], np.nan)
    below = np.where(hit & (heights <= 0), heights, -np.inf)
    above = np.where(hit & (heights > 0), heights, np.inf)
    low, high = below.max(1, initial=-np.inf), above.min(1, initial=np.inf)
    inside = np.isfinite(below).sum(1) % 2 == 1
    widths = np.where(inside, high - low, 0.0)
    if not len(widths) or widths.max() <= 0:
        return ends[[0, 0]]
    best = int(widths.argmax())
    spots = np.array([[places[best, 0], low[best]], [places[best, 0], high[best]]])
    return ends[0] + spots @ frame
