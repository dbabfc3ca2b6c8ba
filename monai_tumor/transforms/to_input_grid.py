"""Scores on a network's grid back to the grid of the images they belong to."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

from monai_tumor.imaging.resampling import on_grid


class ToInputGridd(MapTransform):
    """Volumes [C, X, Y, Z] of the network's grid on the grid of the input's file, 0 outside.

    Interpolates linearly. Where a network's voxels are larger than the input's, scores should be
    interpolated and then cut into regions, not the other way round: a label map of 2 mm voxels,
    even a perfect one, brought to 1 mm by the nearest voxel has a Dice with the truth of 0.82 in
    enhancing tumour; probabilities of 2 mm give 0.96. `docs/results.md` has the table.

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
            affine = torch.as_tensor(meta["original_affine"], dtype=torch.float64)
            shape = [int(n) for n in meta["spatial_shape"]]
            made = on_grid(volume, item[self.reference].affine, affine, shape)
            item[key] = MetaTensor(made, affine=affine, meta={})
            item[key].meta["filename_or_obj"] = meta["filename_or_obj"]
        return item
