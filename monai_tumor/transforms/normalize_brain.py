"""Intensities that do not depend on the scanner's scale."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_numpy

from monai_tumor.imaging.intensities import normalise_brain
from monai_tumor.labels import MODALITIES


class NormalizeBraind(MapTransform):
    """Each channel of [C, X, Y, Z]: clipped to the brain's percentiles, then mean 0, std 1.

    Voxels outside the brain become 0. The mask of all modalities together goes to
    `item[mask_key]` ([1, X, Y, Z], bool) for the crop that follows. The result does not change
    when an input is multiplied by a positive number, shifted, or holds a few wild values.

    Args:
        keys: images with raw intensities, skull-stripped.
        lower: percentile of the brain to clip at.
        upper: likewise; 99.9 leaves bright vessels and drops spikes such as 32767.
        mask_key: where the brain mask goes.

    Raises:
        StudyError: a voxel is not finite, the brain is empty, or a channel is constant in it.
    """

    def __init__(
        self,
        keys: KeysCollection,
        lower: float = 0.1,
        upper: float = 99.9,
        mask_key: str = "brain",
    ) -> None:
        super().__init__(keys)
        self.lower = lower
        self.upper = upper
        self.mask_key = mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with normalised images and a brain mask."""
        item = dict(data)
        names = item.get("modalities", MODALITIES)
        study = item.get("study", "?")
        for key in self.key_iterator(item):
            image = item[key]
            values = convert_to_numpy(image, dtype=np.float32)
            normalised, mask = normalise_brain(values, names, study, self.lower, self.upper)
            # Each gets its own copy of what the image knows of itself, to change as it likes.
            item[key] = MetaTensor(torch.from_numpy(normalised))
            item[self.mask_key] = MetaTensor(torch.from_numpy(mask[None]))
            if isinstance(image, MetaTensor):
                item[key].copy_meta_from(image)
                item[self.mask_key].copy_meta_from(image)
        return item
