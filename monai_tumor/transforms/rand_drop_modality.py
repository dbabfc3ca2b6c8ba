"""Hide modalities at random, so that a network learns to do without."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable


class RandDropModalityd(Randomizable, MapTransform):
    """Each channel of [C, X, Y, Z] is set to 0 with probability `prob`; one always stays.

    0 is the mean of the brain after normalisation, so a hidden modality carries no contrast.

    Args:
        keys: images after normalisation.
        prob: for each channel and item.

    Source: modality dropout, Neverova et al. 2016; HeMIS, Havaei et al. 2016.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.2) -> None:
        MapTransform.__init__(self, keys)
        self.prob = prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with some channels blank."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            drop = self.R.random(image.shape[0]) < self.prob
            if drop.all():
                drop[self.R.randint(image.shape[0])] = False
            if drop.any():
                image = image.clone()
                image[np.flatnonzero(drop)] = 0
                item[key] = image
        return item
