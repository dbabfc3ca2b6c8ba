"""Voxels interpolated onto another grid, in PyTorch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

_ALIGNED = 0.01  # voxels, over a whole grid
_SAME = 1e-3  # MONAI's AFFINE_TOL

Affine = NDArray[np.float64]


def on_grid(
    values: torch.Tensor, affine: torch.Tensor, other: torch.Tensor, shape: Sequence[int]
) -> torch.Tensor:
    """`values` interpolated linearly on another grid, 0 where they do not reach.

    Where the two grids differ by turned axes, voxel size and a crop alone, each axis is
    interpolated by itself; grids that are oblique to each other take MONAI's `SpatialResample`.

    Args:
        values: float, [C, X, Y, Z].
        affine: of these, [4, 4]: voxel index to mm.
        other: of the other grid.
        shape: of the other grid.
    """
    affine, other = affine.cpu().double(), other.cpu().double()
    step = torch.linalg.solve(affine, other)
    axes = step[:3, :3].abs().argmax(dim=0).tolist()  # of the values, for each of the other grid
    rest = step[:3, :3].clone()
    rest[axes, range(3)] = 0
    if sorted(axes) != [0, 1, 2] or rest.abs().max() * max(shape) > _ALIGNED:
        return _resampled(values, affine, other, shape)
    values = values.permute(0, *(1 + axis for axis in axes))
    reached = []
    for axis, size in enumerate(shape):
        places = step[axes[axis], axis] * torch.arange(size) + step[axes[axis], 3]
        shares, part = _shares(places, values.shape[1])
        values = torch.tensordot(values, shares.to(values), dims=([1], [1]))  # the axis goes last
        reached.append(part)
    whole = values.new_zeros((len(values), *shape))
    whole[(slice(None), *reached)] = values
    return whole


def _resampled(
    values: torch.Tensor, affine: torch.Tensor, other: torch.Tensor, shape: Sequence[int]
) -> torch.Tensor:
    from monai.data import MetaTensor  # seconds, which few studies need
    from monai.transforms import SpatialResample

    resample = SpatialResample(mode="bilinear", padding_mode="zeros", dtype=torch.float32)
    made = resample(MetaTensor(values, affine=affine), dst_affine=other, spatial_size=shape)
    return made.as_tensor()


def _shares(places: torch.Tensor, size: int) -> tuple[torch.Tensor, slice]:
    """How much of each voxel of one axis is at each of `places` on it, and which places it reaches.

    A place up to one voxel outside fades to 0, as it does with zeros around the volume.

    Returns:
        float64, [places reached, size]; rows add up to 1, less where they fade.
    """
    places = places.round(decimals=6)
    inside = ((places > -1) & (places < size)).nonzero().flatten()
    part = slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)
    distance = (places[part, None] - torch.arange(size)).abs()
    return (1 - distance).clamp_min(0), part


def to_spacing(
    values: torch.Tensor, affine: Affine, spacing: Sequence[float]
) -> tuple[torch.Tensor, Affine]:
    """`values` on voxels of `spacing`, interpolated linearly; their axes keep their directions.

    As MONAI's `Spacing(spacing, mode="bilinear", dtype=torch.float32)`, in its order and rounding.

    Args:
        values: float32, [C, X, Y, Z].
        affine: of these: voxel index to mm.
        spacing: mm, of each axis.

    Returns:
        float32, [C, X, Y, Z], and their affine.
    """
    made, size = _spaced(affine, spacing, values.shape[1:])
    step = np.linalg.solve(affine, made)
    same = np.allclose(affine, made, atol=_SAME) or np.allclose(step, np.eye(4), atol=_SAME)
    if same and size == list(values.shape[1:]):
        return values.float(), affine
    back = torch.from_numpy(np.linalg.inv(_normalised(size).numpy()))
    theta = _normalised(values.shape[1:]) @ torch.from_numpy(step).float()[None] @ back
    theta[:, :3] = theta[:, [2, 1, 0]]  # PyTorch's order of axes
    theta[:, :, :3] = theta[:, :, [2, 1, 0]]
    grid = functional.affine_grid(theta[:, :3], [1, len(values), *size], align_corners=False)
    whole = values[None].contiguous()
    out = functional.grid_sample(whole, grid, "bilinear", "border", align_corners=False)
    return out[0], affine @ step


def _spaced(
    affine: Affine, spacing: Sequence[float], shape: Sequence[int]
) -> tuple[Affine, list[int]]:
    """The grid of another spacing that covers a grid, and its size."""
    now = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    wanted = np.where(np.abs(now - spacing) <= _SAME, now, spacing)
    columns = affine[:3, :3]
    zoom = np.linalg.cholesky(columns.T @ columns).T
    made = np.eye(4)
    signed = np.sign(np.diag(zoom)) * wanted
    made[:3, :3] = columns @ np.linalg.inv(zoom) @ np.diag(signed)
    ends = [(0.0, n - 1.0) for n in shape]
    corners = np.asarray(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    corners = np.concatenate([corners, np.ones((1, corners.shape[1]))])
    there = (np.linalg.solve(made, affine) @ corners)[:3]
    size = np.round(np.ptp(there, axis=1) + 1.0)
    made[:3, 3] = _origin(there, affine @ corners, affine, shape, made, size)
    return made, size.astype(int).tolist()


def _origin(
    there: NDArray[Any],
    corners: NDArray[Any],
    affine: Affine,
    shape: Sequence[int],
    made: Affine,
    size: NDArray[Any],
) -> NDArray[Any]:
    """The corner from which all others lie ahead; without one, where both middles meet."""
    for index in range(corners.shape[1]):
        if np.allclose(np.min(there - there[:, index : index + 1], axis=1), 0.0, rtol=_SAME):
            return np.asarray(corners[:3, index])
    middle = affine[:3, :3] @ (np.asarray(shape, dtype=float) / 2.0) + affine[:3, 3]
    return np.asarray(middle - made[:3, :3] @ (size / 2.0))


def _normalised(shape: Sequence[int]) -> torch.Tensor:
    """Voxel index to PyTorch's -1 to 1, float32, [1, 4, 4]."""
    sizes = torch.tensor([float(n) for n in shape], dtype=torch.float64)
    out = torch.diag(torch.cat([2.0 / sizes, torch.ones(1, dtype=torch.float64)]))
    out[:3, 3] = 1.0 / sizes - 1.0
    return out[None].float()
