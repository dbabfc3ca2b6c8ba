"""The healthy brain that a phantom starts from, and how it is bent into another person's.

Tissue order is `TISSUES` throughout: cerebrospinal fluid, grey matter, white matter.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import ndimage

from monai_tumor.errors import DependencyError

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, int, int]

TISSUES = ("csf", "gm", "wm")
_TYPICAL_SIZE = 0.92  # of an average head against the MNI152 template, which is a large one
_T1_OF_TISSUE = np.array([0.27, 0.65, 0.87], np.float32)  # medians in the template


@dataclass(frozen=True)
class Anatomy:
    """A healthy brain on a grid of 1 mm voxels.

    Attributes:
        maps: float32, [4, X, Y, Z]: share of CSF, grey and white matter in each voxel (their sum
            is the brain), then texture, in units of the T1 contrast of white against grey matter.
        sites: int, [n, 3]: voxels of deep supratentorial white matter, where a tumour may start.
        unit: how many mm of this grid stand for one mm of an adult head.
    """

    maps: Array
    sites: Array
    unit: float

    @property
    def brain(self) -> Array:
        """bool, [X, Y, Z]."""
        return np.asarray(self.maps[:3].sum(0) > 0.5)


def smooth_noise(rng: np.random.Generator, shape: Shape, cell: float) -> Array:
    """Gaussian noise of mean 0 and variance 1 that varies over about `cell` voxels.

    Random coefficients of cubic B-splines, so it is smooth to the second derivative and costs
    three small matrix products.

    Returns:
        float32, `shape`.
    """
    out = rng.standard_normal([int(n / cell) + 4 for n in shape], np.float32)
    for n in shape:
        at = np.arange(n) / cell
        knot = at.astype(int)
        f = at - knot
        weights = np.stack(
            [(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3]
        )
        basis = np.zeros((n, int(n / cell) + 4), np.float32)
        for k in range(4):
            basis[np.arange(n), knot + k] = weights[k]
        basis /= np.linalg.norm(basis, axis=1, keepdims=True)
        out = np.tensordot(out, basis, (0, 1))  # the next axis comes first
    return np.ascontiguousarray(out)


@cache
def mni152() -> Anatomy:
    """The MNI152 brain that the package nilearn carries (ICBM 2009a nonlinear symmetric), 1 mm.

    Raises:
        DependencyError: nilearn is not installed.
    """
    try:
        from nilearn import datasets
    except ImportError:
        raise DependencyError(
            "Phantoms of real anatomy need the package nilearn, which is not installed; "
            'pip install "monai-tumor[phantom]", or ask for size="small".'
        ) from None
    images = [datasets.load_mni152_template(1)]
    images += [datasets.load_mni152_gm_template(1), datasets.load_mni152_wm_template(1)]
    t1, gm, wm = (np.asarray(image.dataobj, np.float32) for image in images)
    mask = t1 > 0
    # The maps are averages over 152 people; squaring makes them as crisp as one person's.
    shares = np.stack([np.clip(mask - gm - wm, 0, 1), gm, wm]) ** 1.6 * mask
    shares /= np.maximum(shares.sum(0), 1e-6)
    shares[0] = np.clip(mask - shares[1] - shares[2], 0, 1)
    texture = (t1 - np.tensordot(_T1_OF_TISSUE, shares, 1)) * mask
    texture /= _T1_OF_TISSUE[2] - _T1_OF_TISSUE[1]
    world = np.indices(mask.shape, sparse=True)
    x, y, z = (world[axis] + images[0].affine[axis, 3] for axis in range(3))
    cerebrum = (z > -4 - 0.15 * y) & (np.abs(x) > 10)
    maps = np.concatenate([shares, texture[None]]).astype(np.float32)
    return Anatomy(maps, _sites(shares, cerebrum, unit=1), 1.0)


@cache
def geometric(shape: Shape) -> Anatomy:
    """A brain of ellipsoids: folded cortex over white matter, two ventricles. Needs no file.

    Args:
        shape: voxels (X, Y, Z); the brain fills about nine tenths of each axis at most.
    """
    unit = float(np.prod(shape) / (160 * 192 * 160)) ** (1 / 3)
    x, y, z = (
        ((np.arange(n, dtype=np.float32) - (n - 1) / 2) / (0.45 * n)).reshape(
            [-1 if a == axis else 1 for a in range(3)]
        )
        for axis, n in enumerate(shape)
    )
    radius = np.sqrt(x**2 + y**2 + z**2)
    folds = np.cos(9 * np.arctan2(y, x)) * np.cos(7 * np.arctan2(z, np.hypot(x, y)))
    width = 1.2 / (0.45 * np.mean(shape))  # of an edge: about a voxel

    def inside(level: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(np.clip(level / (0.4 * width), -30, 30))), np.float32)

    brain = inside(radius - 0.98)
    cortex = np.minimum(inside(radius - 0.91 - 0.04 * folds), brain)
    white = np.minimum(inside(radius - 0.72 - 0.08 * folds), cortex)
    ventricles = sum(
        inside(np.sqrt(((x - side) / 0.1) ** 2 + (y / 0.42) ** 2 + ((z - 0.05) / 0.16) ** 2) - 1)
        for side in (-0.16, 0.16)
    )
    shares = np.stack([brain - cortex, cortex - white, white]) * (1 - ventricles)
    shares[0] += ventricles
    maps = np.concatenate([shares, np.zeros_like(brain)[None]]).astype(np.float32)
    maps[:3, brain < 0.02] = 0
    return Anatomy(maps, _sites(shares, np.abs(x) > 0.1, unit), unit)


def _sites(shares: Array, allowed: Array, unit: float) -> Array:
    """int, [n, 3]: white-matter voxels at least 15 mm (of a head) inside the brain."""
    step = 2 if unit == 1 else 1
    coarse = (slice(None, None, step),) * 3
    depth = ndimage.distance_transform_edt(np.pad(shares.sum(0)[coarse] > 0.5, 1))[1:-1, 1:-1, 1:-1]
    good = (depth * step > 15 * unit) & (shares[2][coarse] > 0.6)
    return np.argwhere(good & np.broadcast_to(allowed, shares.shape[1:])[coarse]) * step


@dataclass(frozen=True)
class Mass:
    """Something that grows and pushes tissue aside.

    Attributes:
        site: float, [3]: where, in voxels of the anatomy before it is bent.
        radius: mm.
        push: 0 for none; 0.4 for a strong mass effect.
    """

    site: Array
    radius: float
    push: float


def bend(
    anatomy: Anatomy, shape: Shape, masses: list[Mass], rng: np.random.Generator
) -> tuple[Array, Array]:
    """Another person's brain: random size, mirror, small rotation, smooth deformation, mass effect.

    Args:
        anatomy: whose maps to bend.
        shape: of the result, voxels of 1 mm; the brain lies in its middle.
        masses: what pushes tissue aside.
        rng: the source of chance.

    Returns:
        the bent maps, float32 [4, X, Y, Z], and where each mass came to lie, int [n, 3].
    """
    import torch

    unit = anatomy.unit
    source = np.array(anatomy.maps.shape[1:])
    brain = np.argwhere(anatomy.brain[::4, ::4, ::4]) * 4
    middle = (brain.min(0) + brain.max(0)) / 2
    linear = _rotation(rng.uniform(-0.12, 0.12, 3)) @ np.diag(
        rng.choice([-1, 1], 3, p=[0.5, 0.5]) ** [1, 0, 0]
        / (_TYPICAL_SIZE * rng.uniform(0.94, 1.06) * rng.uniform(0.97, 1.03, 3))
    )
    grid = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape]
    at = np.empty((3, *shape), np.float32)
    for axis in range(3):
        x, y, z = (np.float32(linear[axis, k]) * grid[k] for k in range(3))
        at[axis] = x[:, None, None] + y[:, None] + z + np.float32(middle[axis])
        at[axis] += 3.5 * unit * smooth_noise(rng, shape, max(45 * unit, 4))
        at[axis] += 1.2 * unit * smooth_noise(rng, shape, max(14 * unit, 3))
    places = []
    for mass in masses:
        away = at - mass.site.reshape(3, 1, 1, 1).astype(np.float32)
        square = np.einsum("cxyz,cxyz->xyz", away, away)
        places.append(np.unravel_index(np.argmin(square), shape))
        at -= mass.push * np.exp(-square / (2 * (1.3 * mass.radius) ** 2)) * away
    at *= (2 / (source - 1)).reshape(3, 1, 1, 1).astype(np.float32)
    at -= 1
    bent = torch.nn.functional.grid_sample(
        torch.from_numpy(anatomy.maps)[None],
        torch.from_numpy(np.ascontiguousarray(at[::-1].transpose(1, 2, 3, 0)))[None],
        align_corners=True,
    )
    return bent[0].numpy(), np.array(places, int).reshape(-1, 3)


def _rotation(angles: Array) -> Array:
    """The 3 x 3 matrix that turns by `angles` (radians) about x, y and z in turn."""
    out = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        turn = np.eye(3)
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        out = out @ turn
    return out
