"""Rigid registration of two images of one head, whatever their contrasts and grids.

Normalised mutual information (Studholme et al., Pattern Recognition 1999) of points spread at
random over the fixed head, from coarse to fine, by Powell's method. The search is `scipy`'s; ITK
has one too, but loading its registration alone takes 9 s of CPU time and 0.9 GB of memory, more
than all of this takes to run.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from monai_tumor.errors import InputError
from monai_tumor.files import write_json
from monai_tumor.imaging.volume import Volume, shrink

Floats = NDArray[np.float64]

_LEVELS = ((8.0, 6_000, 0.5), (4.0, 20_000, 0.1), (2.0, 40_000, 0.02))  # mm, points, tolerance mm
_BINS = 32
_RADIUS = 80.0  # mm from the middle of a head to its surface: an angle of 1/80 is as good as 1 mm
_UNALIKE = 1.015  # below this normalised mutual information two images show nothing in common
_LEAST_OVERLAP = 0.25  # of the fixed head


class Outcome(StrEnum):
    """What came of a registration; only `MOVED` changes where the image lies."""

    MOVED = "moved"
    NOT_BETTER = "no position is better than that of the header"
    TOO_FAR = "the best position found is implausibly far away"
    UNALIKE = "the images have nothing in common at the best position found"
    NO_OVERLAP = "the images hardly overlap at the best position found"


@dataclass(frozen=True)
class RigidTransform:
    """Where the moving image belongs in the world of the fixed one.

    Attributes:
        matrix: float64, [4, 4]: a point of the moving image's world (mm, RAS) to the fixed one's.
            `matrix @ affine` is the moving image's affine set right. The identity unless `outcome`
            is `MOVED`.
        outcome: what came of it.
        metric_before: normalised mutual information at the header's position: 1 of images that
            have nothing in common, 2 of equal ones; 0 where they do not overlap.
        metric_after: the same at the best position found, taken or not.
        shift_mm: how far the best position found moves a point within 80 mm of the middle of the
            fixed head, at most.
        turn_degrees: the angle by which it turns.
        iterations: of the search on the finest level.
        converged: whether that search ended by itself.
    """

    matrix: Floats
    outcome: Outcome
    metric_before: float
    metric_after: float
    shift_mm: float
    turn_degrees: float
    iterations: int
    converged: bool

    @property
    def refused(self) -> bool:
        """Whether the search led nowhere, so that the header's position is all there is."""
        return self.outcome not in (Outcome.MOVED, Outcome.NOT_BETTER)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.__dict__, "matrix": self.matrix.tolist(), "outcome": self.outcome.name}

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        write_json(path, {"convention": "moving to fixed, mm, RAS", **self.as_dict()})

    @classmethod
    def load(cls, path: Path) -> "RigidTransform":
        """What `save` wrote.

        Raises:
            InputError: the file is not a transform.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            found.pop("convention")
            matrix = np.array(found.pop("matrix"), np.float64).reshape(4, 4)
            return cls(matrix=matrix, outcome=Outcome[found.pop("outcome")], **found)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is not a transform that this program wrote: {error!r}. Register again."
            ) from None

    def __str__(self) -> str:
        """One line."""
        found = f"{self.shift_mm:.1f} mm, {self.turn_degrees:.1f} degrees"
        gain = f"mutual information {self.metric_before:.3f} to {self.metric_after:.3f}"
        return f"{self.outcome.value} ({found}; {gain})"


def register(
    moving: Volume,
    fixed: Volume,
    *,
    seed: int = 0,
    max_shift_mm: float = 80.0,
    max_turn_degrees: float = 35.0,
) -> RigidTransform:
    """The rigid transform that puts `moving` where it fits `fixed` best; same in, same out.

    Starts from the headers' positions and, where those are no good, from head upon head. A
    position is taken only when it is better than the headers' and plausible; see `Outcome`.

    Args:
        moving: the image to be placed.
        fixed: the image that stays, of the same head; any contrast, grid and orientation.
        seed: of the points.
        max_shift_mm: a position that moves the middle of the head further is not taken.
        max_turn_degrees: likewise.

    Raises:
        InputError: an image is constant, or not finite.
    """
    searches = []
    for edge, count, _ in _LEVELS:
        searches.append(_Search.of(moving, fixed, edge, count, np.random.default_rng(seed)))
    coarse, finest = searches[0], searches[-1]
    start = np.zeros(6)
    starts = [start, np.concatenate([coarse.moving_middle - coarse.middle, start[3:]])]
    found = [_minimise(coarse.cost, at, _LEVELS[0]) for at in starts]
    best = min(found, key=lambda result: result.fun)
    for level, search in zip(_LEVELS[1:], searches[1:], strict=True):
        best = _minimise(search.cost, best.x, level)
    pull = finest.pull(best.x)
    outcome = _judge(finest, best.x, max_shift_mm, max_turn_degrees)
    return RigidTransform(
        matrix=_inverse(pull) if outcome is Outcome.MOVED else np.eye(4),
        outcome=outcome,
        metric_before=-finest.cost(start),
        metric_after=-finest.cost(best.x),
        shift_mm=finest.shift(best.x),
        turn_degrees=float(np.degrees(np.linalg.norm(best.x[3:]))),
        iterations=int(best.nit),
        converged=bool(best.success),
    )


def resample(
    image: Volume,
    onto: Volume,
    transform: RigidTransform | None = None,
    *,
    order: Literal[0, 1] = 1,
) -> NDArray[np.float32]:
    """`image` on the grid of `onto`: float32, [X, Y, Z] of `onto`; 0 where it does not reach.

    Where the grid is coarser than the image, the image is blurred first as the larger voxels
    would have, so that nothing is lost between them.

    Args:
        image: what to resample.
        onto: whose grid; its voxels do not matter.
        transform: from `register(image, onto)`; without it the headers say where things lie.
        order: 1 interpolates linearly, 0 takes the nearest voxel (for label maps).
    """
    matrix = np.eye(4) if transform is None else transform.matrix
    step = _inverse(matrix @ image.affine) @ onto.affine  # index to index
    voxels = np.asarray(image.voxels, np.float32)
    if order:
        larger = np.abs(step[:3, :3]).max(axis=1)  # edges of the new voxels in old ones
        sigma = 0.4 * np.sqrt(np.maximum(larger**2 - 1, 0))
        voxels = ndimage.gaussian_filter(voxels, np.where(larger > 1.1, sigma, 0))
    out = np.empty(onto.voxels.shape, np.float32)
    ndimage.affine_transform(
        voxels, step[:3, :3], step[:3, 3], output=out, order=order, mode="grid-constant"
    )
    return out


@dataclass(frozen=True)
class _Search:
    """One level: points of the fixed head, their values, and the image to be moved.

    Attributes:
        points: float64, [3, n]: mm, about `middle`.
        bins: int, [n]: of the fixed image's values.
        middle: float64, [3]: of the fixed head, mm; what rotations turn about.
        moving: float32, [X, Y, Z]: bin of each voxel, not rounded.
        to_index: float64, [4, 4]: mm to index of `moving`.
        moving_middle: float64, [3]: of the moving head, mm.
    """

    points: Floats
    bins: NDArray[np.intp]
    middle: Floats
    moving: NDArray[np.float32]
    to_index: Floats
    moving_middle: Floats

    @classmethod
    def of(
        cls, moving: Volume, fixed: Volume, edge: float, count: int, rng: np.random.Generator
    ) -> "_Search":
        moving, fixed = shrink(moving, edge), shrink(fixed, edge)
        head = _head(fixed)
        near = np.argwhere(ndimage.binary_dilation(head, iterations=max(1, round(8 / edge))))
        at = near[rng.integers(len(near), size=count)] + rng.uniform(-0.5, 0.5, (count, 3))
        values = ndimage.map_coordinates(_binned(fixed), at.T, order=1, mode="nearest")
        middle = _middle(head, fixed)
        return cls(
            points=(at @ fixed.affine[:3, :3].T + fixed.affine[:3, 3] - middle).T,
            bins=np.rint(values).astype(np.intp),
            middle=middle,
            moving=_binned(moving),
            to_index=_inverse(moving.affine),
            moving_middle=_middle(_head(moving), moving),
        )

    def pull(self, x: Floats) -> Floats:
        """[4, 4]: a point of the fixed world to the moving one's, by 3 shifts and 3 angles."""
        out = np.eye(4)
        out[:3, :3] = Rotation.from_rotvec(x[3:]).as_matrix()
        out[:3, 3] = x[:3] + self.middle - out[:3, :3] @ self.middle
        return out

    def cost(self, x: Floats) -> float:
        """Minus the normalised mutual information; 0 where the images hardly overlap."""
        values = self._values(x)
        inside = values >= 0
        if inside.sum() < _LEAST_OVERLAP * inside.size / 2:
            return 0.0
        values = values[inside]
        low = np.minimum(values.astype(np.intp), _BINS - 2)
        high_share = values - low
        cell = self.bins[inside] * _BINS + low
        counts = np.bincount(cell, 1 - high_share, _BINS**2)
        counts = counts + np.bincount(cell + 1, high_share, _BINS**2)
        joint = counts.reshape(_BINS, _BINS) / len(values)
        one, other = _entropy(joint.sum(0)), _entropy(joint.sum(1))
        return -(one + other) / max(_entropy(joint.ravel()), 1e-9)

    def overlap(self, x: Floats) -> float:
        """Share of the points that the moving image reaches."""
        return float((self._values(x) >= 0).mean())

    def shift(self, x: Floats) -> float:
        """Mm by which a point within a head's radius moves, at most."""
        return float(np.linalg.norm(x[:3]) + 2 * _RADIUS * np.sin(np.linalg.norm(x[3:]) / 2))

    def _values(self, x: Floats) -> NDArray[np.float32]:
        to_index = self.to_index @ self.pull(x)
        offset = to_index[:3, :3] @ self.middle + to_index[:3, 3]
        at = to_index[:3, :3] @ self.points + offset[:, None]
        return ndimage.map_coordinates(self.moving, at, order=1, mode="constant", cval=-1e6)


def _minimise(
    cost: Callable[[Floats], float], start: Floats, level: tuple[float, int, float]
) -> Any:
    """Powell's search from `start`, in steps of mm: angles count by what they move."""
    edge, _, tolerance = level
    units = edge * np.array([1, 1, 1, 1 / _RADIUS, 1 / _RADIUS, 1 / _RADIUS])
    from scipy import optimize  # a third of a second that few studies need

    result = optimize.minimize(
        lambda y: cost(start + y * units),
        np.zeros(6),
        method="Powell",
        options={"xtol": tolerance / edge, "ftol": 1e-5, "maxiter": 20},
    )
    result.x = start + result.x * units
    return result


def _judge(search: _Search, x: Floats, max_shift: float, max_turn: float) -> Outcome:
    before, after = -search.cost(np.zeros(6)), -search.cost(x)
    if after <= before:
        return Outcome.NOT_BETTER
    if search.overlap(x) < _LEAST_OVERLAP:
        return Outcome.NO_OVERLAP
    if after < _UNALIKE:
        return Outcome.UNALIKE
    if np.linalg.norm(x[:3]) > max_shift or np.degrees(np.linalg.norm(x[3:])) > max_turn:
        return Outcome.TOO_FAR
    return Outcome.MOVED


def _head(volume: Volume) -> NDArray[np.bool_]:
    """Where there is more than air: above a tenth of the bright end of the values."""
    low, high = _range(volume)
    return np.asarray(volume.voxels > low + 0.1 * (high - low))


def _middle(head: NDArray[np.bool_], volume: Volume) -> Floats:
    at = np.array(ndimage.center_of_mass(head))
    return volume.affine[:3, :3] @ at + volume.affine[:3, 3]


def _binned(volume: Volume) -> NDArray[np.float32]:
    low, high = _range(volume)
    scaled = (volume.voxels - low) * ((_BINS - 1) / (high - low))
    return np.clip(scaled, 0, _BINS - 1).astype(np.float32)


def _range(volume: Volume) -> tuple[float, float]:
    low, high = np.percentile(volume.voxels, (1, 99.5))
    if not low < high:
        raise InputError(
            "An image has hardly any values that differ, or some that are not finite, so it cannot"
            " be registered. Look at the file."
        )
    return float(low), float(high)


def _inverse(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def _entropy(shares: Floats) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
