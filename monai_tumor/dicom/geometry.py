"""Where slices lie, and what kind of stack they make.

Everything here is in millimetres in DICOM's patient axes (LPS: +x left, +y posterior, +z head),
except `affine`, which answers in NIfTI's (RAS). Spacing comes from positions, never from a
thickness or an instance number. Standard: DICOM PS3.3 C.7.6.2.1.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Two slices whose planes are closer than this lie at the same place.
SAME_PLACE_MM = 0.01
# How far a slice may lie from its place on a regular grid: this share of the gap, within bounds.
_GRID_SHARE, _GRID_LEAST_MM, _GRID_MOST_MM = 0.02, 0.005, 0.1
# A sideways drift over the whole stack of less than this share of a pixel is rounding, not shear.
_SHEAR_SHARE = 0.1
_COSINE_ERROR = 1e-3


class Kind(StrEnum):
    """What kind of stack some slices make."""

    REGULAR = "regular"
    MISSING = "missing"
    DUPLICATE = "duplicate"
    VARIABLE = "variable"
    SINGLE = "single"


@dataclass(frozen=True)
class Plane:
    """Where one slice lies.

    Attributes:
        position: LPS mm of the centre of the first pixel.
        row: unit vector in which the column index grows.
        column: unit vector in which the row index grows.
        spacing: mm between rows, mm between columns.
        shape: rows, columns.
    """

    position: tuple[float, float, float]
    row: tuple[float, float, float]
    column: tuple[float, float, float]
    spacing: tuple[float, float]
    shape: tuple[int, int]

    @property
    def normal(self) -> Floats:
        """The unit vector across the slice, row x column."""
        normal = np.cross(self.row, self.column)
        return np.asarray(normal / np.linalg.norm(normal))

    def points(self, rows: ArrayLike, columns: ArrayLike) -> Floats:
        """LPS mm, [n, 3], of the pixel centres at `rows` and `columns`, each [n]."""
        down = np.multiply.outer(np.asarray(rows, float) * self.spacing[0], self.column)
        right = np.multiply.outer(np.asarray(columns, float) * self.spacing[1], self.row)
        return np.asarray(np.asarray(self.position) + down + right)


def valid_cosines(row: Sequence[float], column: Sequence[float]) -> bool:
    """Whether the two are unit vectors at a right angle, within rounding."""
    r, c = np.asarray(row), np.asarray(column)
    errors = (abs(r @ r - 1), abs(c @ c - 1), abs(r @ c))
    return bool(max(errors) < _COSINE_ERROR)


@dataclass(frozen=True)
class Stack:
    """How parallel slices lie behind one another.

    Attributes:
        kind: what they make; regular and single stacks convert as they are.
        order: [n], the slices' numbers from first to last along the normal.
        index: [n], the place of each ordered slice on a regular grid (gaps where one is missing);
            empty for variable and duplicate stacks.
        step: LPS mm from one place to the next, [3]; zeros for a single slice.
        missing: how many places hold no slice.
        sheared: the step is not along the normal (a gantry tilt).
        gaps: mm along the normal between ordered neighbours.
    """

    kind: Kind
    order: tuple[int, ...]
    index: tuple[int, ...]
    step: tuple[float, float, float]
    missing: int
    sheared: bool
    gaps: tuple[float, ...]

    def __str__(self) -> str:
        """`regular`, `missing(2)`, `regular, sheared`, ..."""
        name = f"missing({self.missing})" if self.kind is Kind.MISSING else str(self.kind)
        return f"{name}, sheared" if self.sheared else name

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        gaps = {"min": min(self.gaps), "max": max(self.gaps)} if self.gaps else {}
        return {
            "kind": str(self.kind),
            "missing": self.missing,
            "sheared": self.sheared,
            "gap_mm": {key: round(value, 6) for key, value in gaps.items()},
        }


def classify(planes: Sequence[Plane]) -> Stack:
    """What kind of stack parallel `planes` of one shape and spacing make, in any order."""
    positions = np.array([plane.position for plane in planes])
    normal = planes[0].normal
    depth = positions @ normal
    order = np.argsort(depth, kind="stable")
    positions, depth = positions[order], depth[order]
    gaps = np.diff(depth)

    def stack(kind: Kind, index: Any = (), step: Any = (0.0, 0.0, 0.0), drift: float = 0) -> Stack:
        places = tuple(int(i) for i in index)
        return Stack(
            kind=kind,
            order=tuple(int(i) for i in order),
            index=places,
            step=triple(step),
            missing=places[-1] + 1 - len(places) if places else 0,
            sheared=drift > _SHEAR_SHARE * min(planes[0].spacing),
            gaps=tuple(float(g) for g in gaps),
        )

    if len(planes) == 1:
        return stack(Kind.SINGLE, index=[0])
    if gaps.min() < SAME_PLACE_MM:
        return stack(Kind.DUPLICATE)
    gap = float(np.median(gaps[gaps < 1.5 * gaps.min()]))
    index = np.concatenate([[0], np.cumsum(np.rint(gaps / gap))])
    # The straight line through the positions, by least squares.
    offset = index - index.mean()
    step = offset @ (positions - positions.mean(axis=0)) / (offset @ offset)
    away = positions - (positions.mean(axis=0) + np.outer(offset, step))
    allowed = np.clip(_GRID_SHARE * gap, _GRID_LEAST_MM, _GRID_MOST_MM)
    sideways = np.linalg.norm(step - (step @ normal) * normal) * index[-1]
    if np.linalg.norm(away, axis=1).max() > allowed:
        return stack(Kind.VARIABLE, drift=float(sideways))
    kind = Kind.REGULAR if index[-1] + 1 == len(planes) else Kind.MISSING
    return stack(kind, index, step, float(sideways))


def triple(vector: ArrayLike) -> tuple[float, float, float]:
    """`vector` as three plain numbers."""
    x, y, z = (float(v) for v in np.asarray(vector))
    return (x, y, z)


def affine(first: Plane, step: ArrayLike) -> Floats:
    """RAS mm, [4, 4], of voxel (column, row, slice), for slices that start at `first`.

    Args:
        first: the first slice along the normal.
        step: LPS mm from one slice to the next, [3].
    """
    lps = np.eye(4)
    lps[:3, 0] = np.asarray(first.row) * first.spacing[1]
    lps[:3, 1] = np.asarray(first.column) * first.spacing[0]
    lps[:3, 2] = step
    lps[:3, 3] = first.position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
