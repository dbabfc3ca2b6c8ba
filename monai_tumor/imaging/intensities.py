"""Intensities that do not depend on the scanner's scale."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from monai_tumor.errors import StudyError
from monai_tumor.imaging.finite import require_finite

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


def normalise_brain(
    values: np.ndarray[Any, Any],
    names: Sequence[str],
    study: str,
    lower: float = 0.1,
    upper: float = 99.9,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Each channel clipped to the brain's percentiles, then mean 0, std 1; 0 outside the brain.

    Args:
        values: float32, [C, X, Y, Z], raw and skull-stripped.
        names: of the channels.
        study: whose they are.
        lower: percentile of the brain to clip at.
        upper: likewise.

    Returns:
        float32, [C, X, Y, Z]; and the brain mask, bool, [X, Y, Z].

    Raises:
        StudyError: a voxel is not finite, the brain is empty, or a channel is constant in it.
    """
    require_finite(values, names, study)
    mask = brain_mask(values)
    if not mask.any():
        raise StudyError(
            f"Study {study!r}: every image is constant, there is no brain in it. "
            "Look at the files; they may be blank."
        )
    normalised = np.zeros_like(values)
    for index, channel in enumerate(values):
        brain = channel[mask]
        low, high = np.percentile(brain, [lower, upper])
        clipped = np.clip(brain, low, high)
        deviation = clipped.std(dtype=np.float64)
        if not deviation > 0:
            raise StudyError(
                f"Study {study!r}: {names[index]} has the same value in the whole brain. "
                "Look at the file; it may be blank."
            )
        normalised[index][mask] = (clipped - clipped.mean(dtype=np.float64)) / deviation
    return normalised, mask
