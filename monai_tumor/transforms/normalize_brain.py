"""Intensities that do not depend on the scanner's scale."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_numpy
from scipy import ndimage

from monai_tumor.errors import StudyError
from monai_tumor.labels import MODALITIES
from monai_tumor.transforms.finite import require_finite

_SAMPLE_STRIDE = 5
_FAINT = 0.01
_COARSE = 2
_COMMON = 0.05  # a value that fewer voxels share is chance, such as noise where there was 0
_BINS = 200
_REACH = 9.0  # half of all noise lies within one of its median, one in 800 million beyond nine


def _background(sample: np.ndarray[Any, Any]) -> tuple[float, float]:
    """What most voxels hold, and how far its noise reaches.

    That is 0 after skull stripping, or whatever stands for it. Where no two voxels are alike, it is
    the fullest bin, and the noise is judged by what lies below it, which is no brain.
    """
    values, counts = np.unique(sample, return_counts=True)
    if counts.max() > _COMMON * sample.size:
        return float(values[counts.argmax()]), 0.0
    counts, edges = np.histogram(sample, bins=_BINS, range=tuple(np.percentile(sample, [1, 99])))
    fullest = int(counts.argmax())
    level = float(edges[fullest] + edges[fullest + 1]) / 2
    return level, _REACH * float(np.median(level - sample[sample <= level]))


def brain_mask(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where there is brain in a skull-stripped image: bool, [X, Y, Z].

    A voxel counts where any modality differs from that modality's background by more than 1% of
    its own range, so that small negative values and ringing around 0 do not. Of what remains only
    the largest connected piece is brain, so that a stray voxel of 32767 in the air is not.

    Args:
        image: float, [C, X, Y, Z], finite.
    """
    mask = np.zeros(image.shape[1:], dtype=bool)
    for channel in image:
        sample = channel[::_SAMPLE_STRIDE, ::_SAMPLE_STRIDE, ::_SAMPLE_STRIDE]
        if sample.size < 1000:
            sample = channel
        background, noise = _background(sample)
        away = np.abs(sample - background)
        away = away[away > 0]
        if away.size:
            faint = max(_FAINT * np.percentile(away, 95), noise)
            mask |= channel > background + faint
            mask |= channel < background - faint
    return mask & _largest_piece(mask)


def _largest_piece(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The largest component, found on a coarse grid (every second voxel) for speed."""
    step = _COARSE if min(mask.shape) >= 16 else 1
    pieces, count = ndimage.label(mask[::step, ::step, ::step])
    if count == 0:
        return mask
    largest = np.bincount(pieces.ravel())[1:].argmax() + 1
    # By all 26 neighbours: a voxel between coarse ones may touch the piece at a corner alone.
    coarse = ndimage.binary_dilation(pieces == largest, np.ones((3, 3, 3), dtype=bool))
    fine = coarse.repeat(step, 0).repeat(step, 1).repeat(step, 2)
    return fine[tuple(slice(n) for n in mask.shape)]


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
            require_finite(values, names, study)
            mask = brain_mask(values)
            if not mask.any():
                raise StudyError(
                    f"Study {study!r}: every image is constant, there is no brain in it. "
                    "Look at the files; they may be blank."
                )
            normalised = np.zeros_like(values)
            for index, channel in enumerate(values):
                normalised[index][mask] = self._normalise(channel[mask], names[index], study)
            # Each gets its own copy of what the image knows of itself, to change as it likes.
            item[key] = MetaTensor(torch.from_numpy(normalised))
            item[self.mask_key] = MetaTensor(torch.from_numpy(mask[None]))
            if isinstance(image, MetaTensor):
                item[key].copy_meta_from(image)
                item[self.mask_key].copy_meta_from(image)
        return item

    def _normalise(self, brain: np.ndarray[Any, Any], name: str, study: str) -> Any:
        low, high = np.percentile(brain, [self.lower, self.upper])
        clipped = np.clip(brain, low, high)
        deviation = clipped.std(dtype=np.float64)
        if not deviation > 0:
            raise StudyError(
                f"Study {study!r}: {name} has the same value in the whole brain. "
                "Look at the file; it may be blank."
            )
        return (clipped - clipped.mean(dtype=np.float64)) / deviation
