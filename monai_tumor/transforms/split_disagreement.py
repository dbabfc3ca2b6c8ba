"""Part an ensemble's output into what it says and how far its members differ."""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from monai_tumor.errors import BundleError
from monai_tumor.labels import REGIONS


class SplitDisagreementd(MapTransform):
    """[6, X, Y, Z] to scores [3, X, Y, Z] and, under `output_key`, disagreement [1, X, Y, Z].

    The disagreement of a voxel is the greatest over the regions of the standard deviation between
    members, as `monai_tumor.networks.MeanEnsemble(with_disagreement=True)` appends it.

    Args:
        keys: the ensemble's output.
        output_key: where the disagreement goes.

    Raises:
        BundleError: the output has no disagreement in it.
    """

    def __init__(self, keys: KeysCollection, output_key: str = "disagreement") -> None:
        super().__init__(keys)
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with both parts."""
        item = dict(data)
        for key in self.key_iterator(item):
            output = item[key]
            count = len(REGIONS)
            if output.shape[0] != 2 * count:
                raise BundleError(
                    f"The network gives {output.shape[0]} channels, not {2 * count}; a disagreement"
                    " map needs an ensemble that is built with disagreement."
                )
            item[self.output_key] = output[count:].amax(dim=0, keepdim=True)
            item[key] = output[:count]
        return item
