"""Scores on a network's grid back to the grid of the images they belong to."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, SpatialResample
from monai.utils import convert_to_tensor

_ALIGNED = 0.01  # voxels, over a whole grid


class ToInputGridd(MapTransform):
    """Volumes [C, X, Y, Z] of the network's grid on the grid of the input's file, 0 outside.

    Interpolates linearly. Where a network's voxels are larger than the input's, scores should be
    interpolated and then cut into regions, not the other way round: a label map of 2 mm voxels,
    even a perfect one, brought to 1 mm by the nearest voxel has a Dice with the truth of 0.82 in
    enhancing tumour; probabilities of 2 mm give 0.96. `docs/results.md` has the table.

    The grids of a bundle's transforms differ by turned axes, voxel size and a crop, so each axis is
    interpolated by itself; grids that are oblique to each other take MONAI's `SpatialResample`.

    Args:
        keys: volumes to bring back.
        reference: the network's input, which knows where it came from.
        sigmoid: logits to probabilities first. The edge of the brain is then a fade to 0.
    """

    def __init__(
        self, keys: KeysCollection, reference: str = "image", sigmoid: bool = False
    ) -> None:
        super().__init__(keys)
        self.reference = reference
        self.sigmoid = sigmoid

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with float32 volumes on the input's grid."""
        item = dict(data)
        meta = item[self.reference].meta
        for key in self.key_iterator(item):
            volume = convert_to_tensor(item[key], dtype=torch.float32, track_meta=False)
            volume = volume.sigmoid() if self.sigmoid else volume
            item[key] = on_grid(
                MetaTensor(volume, affine=item[self.reference].affine),
                torch.as_tensor(meta["original_affine"], dtype=torch.float64),
                [int(n) for n in meta["spatial_shape"]],
            )
            item[key].meta["filename_or_obj"] = meta["filename_or_obj"]
        return item


def on_grid(volume: MetaTensor, affine: torch.Tensor, shape: Sequence[int]) -> MetaTensor:
    """`volume` [C, X, Y, Z] interpolated linearly on another grid, 0 where it does not reach.

    Args:
        volume: float, knows its affine (voxel to world, mm).
        affine: [4, 4], float64, of the other grid.
        shape: of the other grid.
    """
    step = torch.linalg.solve(volume.affine.cpu().double(), affine.cpu().double())
    axes = step[:3, :3].abs().argmax(dim=0).tolist()  # of the volume, for each of the other grid
    rest = step[:3, :3].clone()
    rest[axes, range(3)] = 0
    if sorted(axes) != [0, 1, 2] or rest.abs().max() * max(shape) > _ALIGNED:
        resample = SpatialResample(mode="bilinear", padding_mode="zeros", dtype=torch.float32)
        return resample(volume, dst_affine=affine, spatial_size=shape)
    values = volume.as_tensor().permute(0, *(1 + axis for axis in axes))
    reached = []
    for axis, size in enumerate(shape):
        places = step[axes[axis], axis] * torch.arange(size) + step[axes[axis], 3]
        shares, part = _shares(places, values.shape[1])
        values = torch.tensordot(values, shares.to(values), dims=([1], [1]))  # the axis goes last
        reached.append(part)
    whole = values.new_zeros((len(values), *shape))
    whole[(slice(None), *reached)] = values
    return MetaTensor(whole, affine=affine, meta={})


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
