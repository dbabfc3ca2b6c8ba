"""Overlapping regions to one label map."""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

from monai_tumor.labels import REGIONS, Region, to_labels


class RegionsToLabelsd(MapTransform):
    """Region scores [3 (TC, WT, ET), X, Y, Z] to a label map [1, X, Y, Z], uint8.

    A voxel belongs to a region where the score exceeds `threshold`; the innermost region wins.

    Args:
        keys: region scores: probabilities, or logits with `threshold=0`, which are the same cut
            at a third of the cost of a sigmoid over every voxel.
        scheme: whose label values to write.
        threshold: above it is inside.
    """

    def __init__(
        self, keys: KeysCollection, scheme: str = "brats2023", threshold: float = 0.0
    ) -> None:
        super().__init__(keys)
        self.scheme = scheme
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with a label map in place of scores; "pred_scheme" names its scheme."""
        item = dict(data)
        for key in self.key_iterator(item):
            scores = convert_to_tensor(item[key], track_meta=True)
            inside = scores.as_tensor() > self.threshold
            tc, wt, et = (inside[REGIONS.index(r)] for r in (Region.TC, Region.WT, Region.ET))
            labels = to_labels(tc, wt, et, self.scheme)[None]
            item[key] = MetaTensor(
                labels, meta=scores.meta, applied_operations=scores.applied_operations
            )
            item[f"{key}_scheme"] = self.scheme
        return item
