"""Put a label map onto the slices of a series, by world coordinates."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_tumor.dicom.geometry import Floats
from monai_tumor.dicom.reasons import Reason, RefusalError

_VOXELS_AWAY = 0.1  # headers round; two grids that lie apart by more are two grids


@dataclass(frozen=True)
class Grid:
    """Where voxels lie.

    Attributes:
        shape: columns, rows, slices.
        affine: RAS mm of voxel (column, row, slice), [4, 4].
    """

    shape: tuple[int, int, int]
    affine: Floats

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel, mL."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    def __str__(self) -> str:
        """`10 x 12 x 7 voxels of 1.5 x 2 x 3 mm`."""
        sides = np.linalg.norm(self.affine[:3, :3], axis=0)
        size, edges = " x ".join(map(str, self.shape)), " x ".join(f"{s:.4g}" for s in sides)
        return f"{size} voxels of {edges} mm"


@dataclass(frozen=True)
class Placed:
    """A label map on a grid.

    Attributes:
        labels: integers, [columns, rows, slices].
        grid: where they lie.
        exact: every voxel was taken over as it is; nothing was resampled.
        warnings: what a reader should know.
    """

    labels: NDArray[Any]
    grid: Grid
    exact: bool
    warnings: tuple[str, ...] = ()


def matches(labels_grid: Grid, grid: Grid) -> bool:
    """Whether both have the same voxels at the same places, in whatever order of axes."""
    return _reordering(labels_grid, grid) is not None


def place(labels: NDArray[Any], labels_grid: Grid, grid: Grid, resample: bool = False) -> Placed:
    """`labels` on `grid`.

    Args:
        labels: integers, [X, Y, Z].
        labels_grid: where they lie.
        grid: where they shall lie.
        resample: where the grids differ, take the nearest voxel instead of refusing.

    Raises:
        RefusalError: a labelled voxel lies outside `grid`, the two do not meet, or they differ
            and `resample` was not asked for.
    """
    order = _reordering(labels_grid, grid)
    if order is not None:
        axes, flips = order
        moved = np.transpose(labels, axes)[tuple(slice(None, None, f) for f in flips)]
        return Placed(moved, grid, exact=True)
    share = _covered(labels, labels_grid, grid)
    if not resample:
        raise RefusalError(
            Reason.GRID_DIFFERS,
            f"The mask has {labels_grid}, the series {grid}, and their voxels do not coincide; "
            "give the series that the mask was made on, or ask to resample.",
        )
    made = onto(labels, labels_grid, grid)
    notes = ["taken onto the series' grid by nearest neighbour"]
    if share < 1:
        notes.append(f"the mask reaches over {share:.0%} of the series; the rest is background")
    for value in np.unique(labels[labels != 0]):
        before = np.count_nonzero(labels == value) * labels_grid.voxel_ml
        after = np.count_nonzero(made == value) * grid.voxel_ml
        notes.append(f"label {value}: {before:.2f} mL became {after:.2f} mL")
    return Placed(made, grid, exact=False, warnings=tuple(notes))


def onto(labels: NDArray[Any], labels_grid: Grid, grid: Grid) -> NDArray[Any]:
    """The nearest label at each voxel of `grid`, 0 outside; [columns, rows, slices]."""
    from scipy import ndimage  # a quarter of a second that few exports need

    to_labels = np.linalg.inv(labels_grid.affine) @ grid.affine
    return np.asarray(
        ndimage.affine_transform(
            labels,
            to_labels[:3, :3],
            to_labels[:3, 3],
            output_shape=grid.shape,
            order=0,
            mode="grid-constant",
        )
    )


def _reordering(source: Grid, target: Grid) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Source axes in the target's order, and 1 or -1 for each; None where voxels do not coincide.

    The corners decide: both grids are affine, so what holds for all of them holds in between.
    """
    to_source = np.linalg.inv(source.affine) @ target.affine
    turn = np.rint(to_source[:3, :3])
    if not np.array_equal(np.abs(turn) @ np.ones(3), np.ones(3)) or abs(np.linalg.det(turn)) != 1:
        return None
    axes = tuple(int(a) for a in np.abs(turn).argmax(axis=0))
    flips = tuple(int(turn[axis, n]) for n, axis in enumerate(axes))
    if tuple(source.shape[axis] for axis in axes) != target.shape:
        return None
    for corner in _corners(target.shape):
        expected = np.empty(3)
        for n, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
            expected[axis] = corner[n] if flip > 0 else target.shape[n] - 1 - corner[n]
        found = to_source[:3, :3] @ corner + to_source[:3, 3]
        if np.abs(found - expected).max() > _VOXELS_AWAY:
            return None
    return axes, flips


def _corners(shape: Sequence[int]) -> Floats:
    return np.array(list(product(*((0, n - 1) for n in shape))), dtype=float)


def _covered(labels: NDArray[Any], labels_grid: Grid, grid: Grid) -> float:
    """The share of the target's voxels that the label map reaches.

    Raises:
        RefusalError: a labelled voxel lies outside the target, or the two do not meet.
    """
    labelled = np.argwhere(labels != 0)
    outside = len(labelled) - _inside(labelled, labels_grid, grid)
    if outside:
        raise RefusalError(
            Reason.NOT_COVERED,
            f"{outside} of {len(labelled)} labelled voxels lie outside the series; give the "
            "series that the mask was made on.",
        )
    steps = [max(n // 32, 1) for n in grid.shape]
    points = np.stack(
        np.meshgrid(*(range(0, n, s) for n, s in zip(grid.shape, steps, strict=True)))
    )
    points = points.reshape(3, -1).T
    share = _inside(points, grid, labels_grid) / len(points)
    if share == 0:
        raise RefusalError(
            Reason.NOT_COVERED,
            "The mask and the series do not meet in space; give the series that the mask was made "
            "on.",
        )
    return share


def _inside(voxels: NDArray[Any], source: Grid, target: Grid) -> int:
    """How many voxel centres of `source` lie inside `target`'s voxels."""
    change = np.linalg.inv(target.affine) @ source.affine
    found = voxels @ change[:3, :3].T + change[:3, 3]
    margin = 0.5 + 1e-3
    inside = (found > -margin) & (found < np.array(target.shape) - 1 + margin)
    return int(np.count_nonzero(inside.all(axis=1)))
