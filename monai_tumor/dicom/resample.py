"""Repairs on request: fill missing slices, put uneven or sheared slices on a regular grid.

All interpolation is linear. Integer volumes stay integer (rounded). Where no slice reaches, the
volume's smallest value stands.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_tumor.dicom.audit import Samples
from monai_tumor.dicom.geometry import Floats, Plane, Stack, affine, triple
from monai_tumor.dicom.records import Slice

Array = NDArray[Any]


def fill(data: Array, stack: Stack) -> Array:
    """[columns, rows, places, times]: `data` with each missing place between its neighbours.

    Args:
        data: [columns, rows, slices, times].
        stack: tells which place each slice has; its kind is `missing`.
    """
    places = stack.index[-1] + 1
    out = np.empty((*data.shape[:2], places, data.shape[3]), data.dtype, order="F")
    for place in range(places):
        after = int(np.searchsorted(stack.index, place))
        if stack.index[after] == place:
            out[:, :, place] = data[:, :, after]
            continue
        low, high = stack.index[after - 1], stack.index[after]
        share = (place - low) / (high - low)
        out[:, :, place] = _as(
            data.dtype, data[:, :, after - 1] * (1 - share) + data[:, :, after] * share
        )
    return out


def _as(kind: np.dtype[Any], values: Array) -> Array:
    return (np.rint(values) if kind.kind in "iu" else values).astype(kind)


@dataclass(frozen=True)
class Regular:
    """A grid at right angles.

    Attributes:
        first: where its first slice lies.
        gap: mm between slices.
        count: how many there are.
    """

    first: Plane
    gap: float
    count: int

    @property
    def affine(self) -> Floats:
        """RAS mm of voxel (column, row, slice), [4, 4]."""
        return affine(self.first, self.first.normal * self.gap)


def regular_grid(planes: Sequence[Plane]) -> Regular:
    """The grid at right angles that covers ordered, parallel `planes`, at their median gap."""
    first = planes[0]
    offsets = np.array([p.position for p in planes]) - np.asarray(first.position)
    depth = offsets @ first.normal
    gap = float(np.median(np.diff(depth)))
    down = offsets @ np.asarray(first.column) / first.spacing[0]
    right = offsets @ np.asarray(first.row) / first.spacing[1]
    top, left = np.floor(down.min() + 1e-6), np.floor(right.min() + 1e-6)
    rows = first.shape[0] + int(np.ceil(down.max() - 1e-6) - top)
    columns = first.shape[1] + int(np.ceil(right.max() - 1e-6) - left)
    corner = first.points([top], [left])[0]
    plane = Plane(
        position=triple(corner),
        row=first.row,
        column=first.column,
        spacing=first.spacing,
        shape=(rows, columns),
    )
    return Regular(plane, gap, int(np.floor(depth[-1] / gap + 1e-3)) + 1)


def onto(grid: Regular, data: Array, planes: Sequence[Plane]) -> Array:
    """[columns, rows, grid.count, times]: `data` on `grid`.

    Args:
        grid: from `regular_grid`.
        data: [columns, rows, slices, times].
        planes: [slices], where each lies; ordered.
    """
    start = np.asarray(grid.first.position)
    normal = grid.first.normal
    depth = (np.array([p.position for p in planes]) - start) @ normal
    shape = (grid.first.shape[1], grid.first.shape[0])
    empty = data.min()
    out = np.empty((*shape, grid.count, data.shape[3]), data.dtype, order="F")
    for k in range(grid.count):
        # At the far end rounding may put the grid a hair beyond the last slice.
        at = min(depth[0] + k * grid.gap, depth[-1])
        b = min(max(int(np.searchsorted(depth, at)), 1), len(planes) - 1)
        share = (at - depth[b - 1]) / (depth[b] - depth[b - 1])
        for t in range(data.shape[3]):
            pair = [_shifted(data[:, :, n, t], planes[n], grid, empty) for n in (b - 1, b)]
            out[:, :, k, t] = _as(data.dtype, pair[0] * (1 - share) + pair[1] * share)
    return out


def _shifted(values: Array, plane: Plane, grid: Regular, empty: Any) -> Array:
    from scipy import ndimage  # a quarter of a second that few conversions need

    away = np.asarray(grid.first.position) - np.asarray(plane.position)
    offset = (
        away @ np.asarray(plane.row) / plane.spacing[1],
        away @ np.asarray(plane.column) / plane.spacing[0],
    )
    return np.asarray(
        ndimage.affine_transform(
            values.astype(np.float64),
            [1.0, 1.0],
            offset,
            output_shape=(grid.first.shape[1], grid.first.shape[0]),
            order=1,
            cval=float(empty),
        )
    )


def grid_samples(
    grid: Regular,
    slices: Sequence[Slice],
    stored: Callable[[Slice], Array],
    time: int,
    rng: np.random.Generator,
    whole: bool,
) -> list[Samples]:
    """What an audit must find on `grid`: worked out point by point from the slices themselves.

    Args:
        grid: the grid that was written.
        slices: one time point's, ordered.
        stored: reads a slice's stored values, [rows, columns].
        time: which volume of the file.
        rng: where the points come from.
        whole: the file holds rounded integers.
    """
    normal = grid.first.normal
    depth = np.array([s.plane.position for s in slices]) @ normal
    noted = []
    for k in rng.permutation(grid.count)[:16]:
        at = min(depth[0] + k * grid.gap, depth[-1])
        b = min(max(int(np.searchsorted(depth, at)), 1), len(slices) - 1)
        share = (at - depth[b - 1]) / (depth[b] - depth[b - 1])
        rows = rng.integers(0, grid.first.shape[0], 64)
        columns = rng.integers(0, grid.first.shape[1], 64)
        points = grid.first.points(rows, columns) + normal * k * grid.gap
        low, high = (_bilinear(s, stored(s), points) for s in (slices[b - 1], slices[b]))
        values = low * (1 - share) + high * share
        known = np.isfinite(values)
        scale = max(float(np.abs(values[known]).max(initial=0.0)), 1.0)
        noted.append(
            Samples(
                time,
                slices[b].source.name,
                points[known],
                values[known],
                (0.5 if whole else 0.0) + 1e-5 * scale,
            )
        )
    return noted


def _bilinear(one: Slice, stored: Array, points: Floats) -> Floats:
    """Measured values of a slice at `points` (LPS mm), [n]; NaN where it does not reach."""
    plane = one.plane
    away = points - np.asarray(plane.position)
    r = away @ np.asarray(plane.column) / plane.spacing[0]
    c = away @ np.asarray(plane.row) / plane.spacing[1]
    r0, c0 = np.floor(r + 1e-9).astype(int), np.floor(c + 1e-9).astype(int)
    rows, columns = plane.shape
    inside = (r0 >= 0) & (c0 >= 0) & (r0 < rows - 1) & (c0 < columns - 1)
    r0c, c0c = np.clip(r0, 0, rows - 2), np.clip(c0, 0, columns - 2)
    fr, fc = r - r0, c - c0
    v = stored.astype(np.float64)
    value = (
        v[r0c, c0c] * (1 - fr) * (1 - fc)
        + v[r0c + 1, c0c] * fr * (1 - fc)
        + v[r0c, c0c + 1] * (1 - fr) * fc
        + v[r0c + 1, c0c + 1] * fr * fc
    )
    return np.where(inside, value * one.pixels.slope + one.pixels.intercept, np.nan)
