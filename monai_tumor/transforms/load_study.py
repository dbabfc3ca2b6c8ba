"""Read the files of a study."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import MetaKeys, SpaceKeys

from monai_tumor.imaging.images import Images, read_images


class LoadStudyd(MapTransform):
    """Paths to images [C, X, Y, Z], float32: four 3D files, one 4D file, or one label map.

    nibabel says what a file is, ISA-L unpacks it. `LoadImage` is not used: when a NIfTI file is
    damaged it tries every other reader it knows, and ITK's took the whole process down; and its
    reader remembers the files it is at, so that threads that share it (`CacheDataset` with
    `num_workers`) would exchange their images.

    All files of a study must lie on the grid of its first image. The repairs that the item names
    (`item["repairs"]`, from the datalist) are carried out.

    Args:
        keys: paths, or lists of paths whose images become channels; the first key's first file
            gives the grid. What is an image already, a MetaTensor or `Images`, is taken as it is.
        allow_missing_keys: an item may lack one, as an unlabelled study does its label.

    Raises:
        StudyError: a file cannot be read, a voxel is not finite, or the files of one study differ
            in grid.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with images in place of paths."""
        item = dict(data)
        study = str(item.get("study", "?"))
        repairs = str(item.get("repairs") or "").split(",")
        first: Images | None = None
        for key in self.key_iterator(item):
            if isinstance(item[key], MetaTensor):  # somebody has read it already
                continue
            found = item[key]
            if not isinstance(found, Images):
                paths = [found] if isinstance(found, str | Path) else found
                names = [str(name) for name in item.get("modalities", ())]
                found = read_images(paths, study, names, repairs, first, str(key))
            first = found if first is None else first
            item[key] = as_metatensor(found)
        return item


def as_metatensor(images: Images) -> MetaTensor:
    """The same as MONAI knows an image, with what its transforms ask for."""
    meta = {
        MetaKeys.AFFINE: images.affine.copy(),
        MetaKeys.ORIGINAL_AFFINE: images.affine.copy(),
        MetaKeys.SPATIAL_SHAPE: np.asarray(images.voxels.shape[1:]),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
        "filename_or_obj": str(images.path),
    }
    return MetaTensor.ensure_torch_and_prune_meta(images.voxels, meta)
