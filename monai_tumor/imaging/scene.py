"""A study and its tumour masks as slices that a radiologist would look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from monai_tumor.errors import InputError
from monai_tumor.imaging.orientation import Plane, obliquity, reorient, voxel_spacing

_MARGIN_MM = 6.0
_NEARLY_STRAIGHT = 2.0  # degrees; below that a slice is called by the plane's name alone


@dataclass(frozen=True)
class Slice:
    """One slice, in the rows and columns of the picture.

    Attributes:
        grey: uint8, [rows, columns].
        regions: bool, [3, rows, columns], in the order of `labels.REGIONS`; or None: no contours.
        pixel_mm: width and height of a pixel.
        plane: which way it cuts.
        caption: plane and position, in mm along the affine's x (right), y (anterior), z (superior).
        lines: measured diameters: the ends of each, [2, (column, row)], pixel centres at integers.
    """

    grey: NDArray[np.uint8]
    regions: NDArray[np.bool_] | None
    pixel_mm: tuple[float, float]
    plane: Plane
    caption: str
    lines: tuple[NDArray[np.float64], ...] = ()


@dataclass(frozen=True)
class Scene:
    """A study in the display frame (LPI), cropped to what is not background.

    Attributes:
        grey: uint8, [L, P, I].
        masks: of each segmentation (prediction, truth) bool [3, L, P, I], as `labels.REGIONS`.
        affine: voxel index to mm, RAS, [4, 4].
    """

    grey: NDArray[np.uint8]
    masks: tuple[NDArray[np.bool_], ...]
    affine: NDArray[np.float64]

    def weights(self, plane: Plane, segmentations: Sequence[int] | None = None) -> NDArray[Any]:
        """How much tumour each slice of a plane cuts: the areas of TC, WT and ET together.

        So core counts twice and enhancing tumour three times.

        Args:
            plane: whose slices.
            segmentations: of which segmentations; by default of all together.
        """
        others = tuple(axis for axis in range(3) if axis != plane.axis)
        count = np.zeros(self.grey.shape[plane.axis], dtype=np.int64)
        for number in range(len(self.masks)) if segmentations is None else segmentations:
            count += self.masks[number].sum(axis=(0, *(axis + 1 for axis in others)))
        return count

    def key_index(self, plane: Plane) -> int:
        """The slice that cuts the most tumour; without any tumour, the middle one."""
        weights = self.weights(plane)
        return int(weights.argmax()) if weights.any() else len(weights) // 2

    def spread_indices(self, plane: Plane, count: int, segmentation: int) -> list[int]:
        """Slices that divide the tumour of one segmentation into equal parts.

        Where that segmentation is empty: the tumour of the others, else the volume.
        """
        weights = self.weights(plane, [segmentation])
        if not weights.any():
            weights = self.weights(plane)
        shares = np.cumsum(weights if weights.any() else np.ones_like(weights))
        return [int(np.searchsorted(shares, shares[-1] * (i + 0.5) / count)) for i in range(count)]

    def cut(self, plane: Plane, index: int, segmentation: int | None = None) -> Slice:
        """One slice, with the contours' masks of one segmentation or of none."""
        spacing = np.delete(voxel_spacing(self.affine), plane.axis)
        regions: NDArray[np.bool_] | None = None
        if segmentation is not None:
            regions = np.take(self.masks[segmentation], index, plane.axis + 1).swapaxes(1, 2)
        return Slice(
            grey=np.take(self.grey, index, plane.axis).T,
            regions=regions,
            pixel_mm=(float(spacing[0]), float(spacing[1])),
            plane=plane,
            caption=self._caption(plane, index),
        )

    def _caption(self, plane: Plane, index: int) -> str:
        middle = (np.array(self.grey.shape) - 1) / 2
        middle[plane.axis] = index
        position = float((self.affine @ np.append(middle, 1))[plane.axis])
        lean = obliquity(self.affine)
        oblique = f", oblique {lean:.0f}°" if lean > _NEARLY_STRAIGHT else ""
        # Not "L 8 mm": the origin of many images (BraTS's too) lies outside the head, and then
        # every slice would be called right, those of the left hemisphere too.
        return (
            f"{plane.capitalize()}{oblique}, {'xyz'[plane.axis]} = {round(position, 1) + 0:.1f} mm"
        )


def scene(image: ArrayLike, masks: Sequence[NDArray[np.bool_]], affine: ArrayLike) -> Scene:
    """The scene of an image and the segmentations of it, from any voxel grid.

    Args:
        image: one modality, [X, Y, Z]. Voxels of exactly 0 are background and shown black; the 0.5
            to 99.5 percentiles of the others span the greys.
        masks: of each segmentation the regions, bool [3, X, Y, Z], in the order `labels.REGIONS`.
        affine: voxel index to mm, RAS, [4, 4].

    Raises:
        InputError: the image is not a volume, a mask has another shape, the affine is singular.
    """
    volume = np.asarray(image)
    if volume.ndim != 3 or 0 in volume.shape:
        raise InputError(f"A picture needs one volume [X, Y, Z], found shape {volume.shape}.")
    for mask in masks:
        if mask.shape[1:] != volume.shape:
            raise InputError(
                f"Image and segmentation have different grids, {volume.shape} and "
                f"{mask.shape[1:]}; resample the segmentation onto the image's grid."
            )
    grey, display_affine = reorient(_window(volume), affine)
    moved = [reorient(mask, affine)[0] for mask in masks]
    box = _box(grey, moved, display_affine)
    shift = np.eye(4)
    shift[:3, 3] = [part.start for part in box]
    cropped = tuple(mask[(slice(None), *box)] for mask in moved)
    return Scene(grey[box], cropped, display_affine @ shift)


def _window(volume: NDArray[Any]) -> NDArray[np.uint8]:
    """The volume as greys; see `scene`."""
    head = np.isfinite(volume) & (volume != 0)
    found = ndimage.find_objects(head.view(np.uint8))
    grey = np.zeros(volume.shape, np.uint8)
    if not found:
        return grey
    inner = found[0]  # a quarter of the voxels, as a rule
    head, part = head[inner], volume[inner]
    low, high = np.percentile(part[head], (0.5, 99.5))
    span = max(float(high - low), np.finfo(np.float32).tiny)
    values = np.where(head, part, low).astype(np.float32)
    grey[inner] = (np.clip((values - low) / span, 0, 1) * 254 + 1).astype(np.uint8) * head
    return grey


def _box(
    grey: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]], affine: NDArray[np.float64]
) -> tuple[slice, ...]:
    """The bounding box of all that is shown, with a margin."""
    shown = grey > 0
    for mask in masks:
        shown = shown | mask.any(0)
    found = ndimage.find_objects(shown.view(np.uint8))
    if not found:
        return tuple(slice(0, size) for size in grey.shape)
    margins = np.ceil(_MARGIN_MM / np.array(voxel_spacing(affine))).astype(int)
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, margin, size in zip(found[0], margins, grey.shape, strict=True)
    )
