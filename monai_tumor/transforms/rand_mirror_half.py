"""Heads of which one half is the other's mirror image."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable


class RandMirrorHalfd(Randomizable, MapTransform):
    """With probability `prob`, one half of [C, X, Y, Z] is replaced by the other's reflection.

    A tumour in the half that is left out is gone, in the image as in its labels: a head without
    one, made of a patient's own tissue. A tumour in the half that is kept stands on both sides.
    Which half is kept is chance. The plane is the middle of what is not 0 in the first key.

    Args:
        keys: images first, then what must follow them (region masks); of one grid, 0 outside the
            brain, the X axis from left to right.
        prob: for each item.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.15) -> None:
        MapTransform.__init__(self, keys)
        self.prob = prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item, mirrored or as it was."""
        item = dict(data)
        mirrored, left = self.R.random() < self.prob, self.R.random() < 0.5
        if mirrored:
            columns = mirror_columns(item[self.first_key(item)], left)
            for key in self.key_iterator(item):
                item[key] = item[key][:, columns]
        return item


def mirror_columns(image: torch.Tensor, left: bool) -> torch.Tensor:
    """For each X of `image` [C, X, Y, Z] the X to take its voxels from: [X], int64.

    Args:
        image: 0 outside the brain.
        left: keep the half of low X; else that of high X.
    """
    index = torch.arange(image.shape[1])
    brain = image.any(dim=0).flatten(1).any(dim=1).nonzero().flatten()
    if not len(brain):
        return index
    both = int(brain[0] + brain[-1])  # a column and its reflection add up to this
    reflection = both - index
    lost = 2 * index > both if left else 2 * index < both
    # Beyond the brain there may be no reflection; that column is empty as it is.
    lost &= (reflection >= 0) & (reflection < len(index))
    return torch.where(lost, reflection, index)
