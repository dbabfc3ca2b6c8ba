"""Masks eroded, dilated and closed by mm, on any spacing."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]


def depth_inside(mask: NDArray[Any], spacing: Sequence[float]) -> Floats:
    """Mm from each voxel of a mask, [X, Y, Z], to the nearest outside it; 0 outside.

    The mask goes on beyond the border of the image: a head that the image cuts has no surface
    there.
    """
    padded = np.pad(mask, 1, mode="edge")
    if padded.all():
        return np.full(mask.shape, np.inf, np.float32)
    depth = ndimage.distance_transform_edt(padded, spacing)[1:-1, 1:-1, 1:-1]
    return np.asarray(depth, np.float32)


def dilate(mask: NDArray[Any], radius: float, spacing: Sequence[float]) -> Mask:
    """The mask, [X, Y, Z], and all within `radius` mm of it."""
    if not mask.any():
        return np.zeros(mask.shape, bool)
    return np.asarray(ndimage.distance_transform_edt(~mask, spacing) <= radius)


def close(mask: NDArray[Any], radius: float, spacing: Sequence[float]) -> Mask:
    """The mask, [X, Y, Z], with clefts up to twice `radius` mm wide closed, and holes filled."""
    pads = [ceil(radius / edge) + 1 for edge in spacing]
    grown = dilate(np.pad(mask, [(pad, pad) for pad in pads]), radius, spacing)
    closed = ndimage.distance_transform_edt(grown, spacing) > radius
    inner = tuple(slice(pad, -pad) for pad in pads)
    return np.asarray(ndimage.binary_fill_holes(closed[inner] | mask))


def largest_piece(mask: NDArray[Any], within: NDArray[np.bool_] | None = None) -> Mask:
    """The connected piece, [X, Y, Z], with most voxels; of those `within`, where given."""
    pieces, count = ndimage.label(mask)
    counts = np.bincount(pieces.ravel() if within is None else pieces[within], minlength=count + 1)
    counts[0] = 0
    return np.asarray((pieces == counts.argmax()) & (counts.max() > 0))
