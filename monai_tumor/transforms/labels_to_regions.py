"""Label map to overlapping regions."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor

from monai_tumor.errors import SchemeError
from monai_tumor.labels import REGIONS, Region, scheme, to_regions


class LabelsToRegionsd(MapTransform):
    """Label map [1, X, Y, Z] to region masks [3 (TC, WT, ET), X, Y, Z], float32.

    Args:
        keys: label maps.
        scheme: a label scheme; None takes the one that each item names under "scheme".
        regions: which regions, in channel order.

    Raises:
        SchemeError: the item names no scheme, or a value is not in it. Labels are never guessed.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scheme: str | None = None,
        regions: Sequence[Region] = REGIONS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scheme = scheme
        self.regions = tuple(regions)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with regions in place of labels."""
        item = dict(data)
        for key in self.key_iterator(item):
            name = self.scheme or item.get("scheme")
            study = item.get("study", "?")
            if not name:
                raise SchemeError(
                    f"Study {study!r} names no label scheme; "
                    "state one, for example --scheme brats2021."
                )
            labels = convert_to_tensor(item[key], track_meta=True)[0]
            unknown = scheme(name).unknown_values(torch.unique(labels).tolist())
            if unknown:
                found = ", ".join(f"{value:g}" for value in unknown)
                raise SchemeError(
                    f"Study {study!r}: label values {found} are not in scheme "
                    f"{name!r} ({scheme(name).description}). State the right one with --scheme."
                )
            masks = to_regions(labels.as_tensor(), name, self.regions).float()
            item[key] = MetaTensor(
                masks, meta=labels.meta, applied_operations=labels.applied_operations
            )
        return item
