"""Read the files of a study."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor, NibabelReader
from monai.transforms import MapTransform

from monai_tumor.errors import StudyError
from monai_tumor.imaging.grids import REPAIR_AFFINE, REPAIR_NAN, SAME_MM, distance_mm
from monai_tumor.imaging.nifti import voxels_of
from monai_tumor.transforms.finite import require_finite


class _File(NamedTuple):
    """What one file holds.

    Attributes:
        voxels: [C, X, Y, Z], of the file's own type.
        meta: as MONAI's reader gives it.
    """

    voxels: np.ndarray[Any, Any]
    meta: dict[str, Any]


class LoadStudyd(MapTransform):
    """Paths to images [C, X, Y, Z], float32: four 3D files, one 4D file, or one label map.

    MONAI's `NibabelReader` says what a file is, ISA-L unpacks it. `LoadImage` is not used: when a
    NIfTI file is damaged it tries every other reader it knows, and ITK's took the whole process
    down. Each file gets its own reader, because one remembers the files it is at: threads that
    share it (`CacheDataset` with `num_workers`) would exchange their images.

    All files of a study must lie on the grid of its first image. The repairs that the item names
    (`item["repairs"]`, from the datalist) are carried out here and nowhere else.

    Args:
        keys: paths, or lists of paths whose images become channels; the first key's first file
            gives the grid. What is an image already stays as it is.
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
        first: _File | None = None
        for key in self.key_iterator(item):
            if isinstance(item[key], MetaTensor):  # somebody has read it already
                continue
            paths = [item[key]] if isinstance(item[key], str | Path) else item[key]
            files = [_read(path, study) for path in paths]
            first = files[0] if first is None else first
            for path, file in zip(paths, files, strict=True):
                _require_same_grid(first, file, path, study, REPAIR_AFFINE in repairs)
            item[key] = _stack(files, first)
            if REPAIR_NAN in repairs:
                item[key] = torch.nan_to_num(item[key], nan=0.0, posinf=0.0, neginf=0.0)
            names = item.get("modalities", ())
            names = names if len(names) == len(item[key]) else [str(key)] * len(item[key])
            require_finite(item[key].numpy(), names, study)
        return item


def _read(path: str | Path, study: str) -> _File:
    reader = NibabelReader()
    try:
        image = reader.read(path)
        unpacked = type(image)(voxels_of(image), image.affine, image.header)
        voxels, meta = reader.get_data(unpacked)
    except Exception as error:
        raise StudyError(
            f"Study {study!r}: cannot read {path} ({_last_line(error)}). "
            "Look at it with monai-tumor inspect."
        ) from error
    meta["filename_or_obj"] = str(path)
    has_channels = voxels.ndim > len(meta["spatial_shape"])
    return _File(np.moveaxis(voxels, -1, 0) if has_channels else voxels[None], meta)


def _require_same_grid(
    first: _File, file: _File, path: str | Path, study: str, repair: bool
) -> None:
    shape = first.voxels.shape[1:]
    if file.voxels.shape[1:] != shape:
        raise StudyError(
            f"Study {study!r}: {path} has {_by(file.voxels.shape[1:])} voxels, the study's first "
            f"image {_by(shape)}. Bring all files of the study to one grid."
        )
    apart = distance_mm(first.meta["affine"], file.meta["affine"], shape)
    if apart > SAME_MM and not repair:
        raise StudyError(
            f"Study {study!r}: {path} lies {apart:.2f} mm off the study's first image by its "
            "affine. Bring all files of the study to one grid."
        )


def _stack(files: Sequence[_File], first: _File) -> MetaTensor:
    """Channels one after another, on the grid of the study's first image.

    Each voxel is copied once: type, axis order and channel change on the way.
    """
    channels = sum(len(file.voxels) for file in files)
    joined = np.empty((channels, *first.voxels.shape[1:]), dtype=np.float32)
    np.concatenate([file.voxels for file in files], out=joined, casting="unsafe")
    meta = files[0].meta | {"affine": first.meta["affine"]}
    return MetaTensor.ensure_torch_and_prune_meta(joined, meta)


def _by(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape)


def _last_line(error: BaseException) -> str:
    """The last line of an error's own words; MONAI puts whole tracebacks before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
