"""Tumours that took up no contrast agent."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch.nn.functional import avg_pool3d, max_pool3d

from monai_tumor.labels import MODALITIES, REGIONS, Modality, Region

_T1N, _T1C = MODALITIES.index(Modality.T1N), MODALITIES.index(Modality.T1C)
_ET = REGIONS.index(Region.ET)


class RandUnenhancedd(Randomizable, MapTransform):
    """With probability `prob`, enhancing tumour looks on t1c as it does on t1n, and is core.

    Where nearly every tumour of a training set enhances, a network learns that what does not is
    no tumour. The edge is blurred over a voxel, so that it does not give the change away.

    Args:
        keys: the image, [4 (t1n, t1c, t2w, t2f), X, Y, Z], each modality normalised; then the
            regions, [3 (TC, WT, ET), X, Y, Z].
        prob: for each item.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.1) -> None:
        MapTransform.__init__(self, keys)
        self.prob = prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item, changed or as it was."""
        item = dict(data)
        image_key, label_key = self.keys
        if self.R.random() >= self.prob or not item[label_key][_ET].any():
            return item
        image, label = item[image_key].clone(), item[label_key].clone()
        enhancing = torch.as_tensor(label[_ET])[None].to(torch.float32)
        share = avg_pool3d(max_pool3d(enhancing, 3, 1, 1), 3, 1, 1, count_include_pad=False)[0]
        image[_T1C] = torch.lerp(image[_T1C], image[_T1N], share.to(image.dtype))
        label[_ET] = 0
        return item | {image_key: image, label_key: label}
