"""Clean up a predicted label map: no tiny lesions, no doubtful enhancing tumour."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from monai_tumor.errors import InputError
from monai_tumor.imaging.components import filter_tumour
from monai_tumor.imaging.orientation import voxel_spacing
from monai_tumor.labels import scheme as label_scheme


class FilterTumourComponentsd(MapTransform):
    """Label maps without lesions below a volume, and without enhancing tumour below a volume.

    Each connected component (26 neighbours) of whole tumour below `min_lesion_ml` becomes
    background; then, if all enhancing tumour together is below `min_et_ml`, it becomes
    non-enhancing core. Volumes are measured with the spacing of the label map's own affine.

    Args:
        keys: label maps, integers [1, X, Y, Z]; MetaTensors.
        scheme: how to read them, a name of `monai_tumor.labels.SCHEMES`.
        min_lesion_ml: mL; 0 switches this filter off.
        min_et_ml: mL; 0 switches this filter off.
        allow_missing_keys: skip keys that are not there.

    Raises:
        SchemeError: no such scheme.
        InputError: a label map has no affine or more than one channel.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scheme: str,
        min_lesion_ml: float = 0,
        min_et_ml: float = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.scheme = label_scheme(scheme).name
        self.min_lesion_ml = min_lesion_ml
        self.min_et_ml = min_et_ml

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with its label maps cleaned up; type, device and metadata stay."""
        out = dict(data)
        if self.min_lesion_ml or self.min_et_ml:
            for key in self.key_iterator(out):
                out[key] = self._filter(key, out[key])
        return out

    def _filter(self, key: Hashable, labels: torch.Tensor) -> torch.Tensor:
        if not isinstance(labels, MetaTensor):
            raise InputError(
                f"Label map {key!r} has no affine, so its volumes are unknown; "
                "give a MetaTensor, as LoadImaged makes it."
            )
        if labels.ndim != 4 or labels.shape[0] != 1:
            raise InputError(
                f"Label map {key!r} must be [1, X, Y, Z], found {tuple(labels.shape)}; "
                "turn region channels into a label map first."
            )
        kept = filter_tumour(
            labels[0].cpu().numpy(),
            self.scheme,
            spacing=voxel_spacing(labels.affine.cpu().numpy()),
            min_lesion_ml=self.min_lesion_ml,
            min_et_ml=self.min_et_ml,
        )
        return convert_to_dst_type(kept[np.newaxis], labels)[0]
