"""Pictures of a segmentation on its image, to be looked at and kept."""

from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from monai_tumor.errors import InputError, SchemeError
from monai_tumor.files import write_atomically
from monai_tumor.imaging.drawing import BLACK, Picture, draw_panel, legend, stack, text
from monai_tumor.imaging.orientation import Plane, voxel_spacing
from monai_tumor.imaging.scene import scene
from monai_tumor.labels import scheme as label_scheme
from monai_tumor.labels import to_regions

_LEAST_PX = 200  # of a panel's side, so that its marks and caption have room


def overlay(
    image: ArrayLike,
    labels: ArrayLike,
    *,
    affine: ArrayLike,
    scheme: str,
    truth: ArrayLike | None = None,
    title: str = "",
    panel_px: int = 400,
) -> Picture:
    """Three planes with the contours of ET, TC and WT, each where it cuts the most tumour.

    In radiological convention (the patient's right on the left), whatever the grid's orientation;
    an oblique grid is shown along its own axes and its captions say so. With `truth`, a second row
    shows its contours on the same slices. Positions are mm in the image's own
    coordinates: x to the right, y to anterior, z to superior.

    Args:
        image: one modality, [X, Y, Z]; voxels of exactly 0 are background.
        labels: the label map, integers [X, Y, Z], on the same grid.
        affine: voxel index to mm, RAS, [4, 4].
        scheme: how to read `labels` and `truth`.
        truth: the label map to compare with, [X, Y, Z].
        title: a line above, the subject and modality for instance.
        panel_px: pixels that the longest side of the head gets.

    Returns:
        An RGB picture, about three times `panel_px` wide; `numpy.asarray` gives [H, W, 3] uint8.

    Raises:
        InputError: no volume, unequal grids, or an affine that cannot be used.
        SchemeError: no such scheme, or values that it does not know.
    """
    maps = {"Segmentation": labels} if truth is None else {"Prediction": labels, "Truth": truth}
    masks = [regions_of(values, scheme) for values in maps.values()]
    shown = scene(image, masks, affine)
    sides = np.array(shown.grey.shape) * voxel_spacing(shown.affine)
    scale = panel_px / float(sides.max())
    sides_px = [max(ceil(side * scale), _LEAST_PX) for side in sides]
    widths = {plane: sides_px[1 if plane is Plane.SAGITTAL else 0] for plane in Plane}
    keys = {plane: shown.key_index(plane) for plane in Plane}
    rows = []
    for number, name in enumerate(maps):
        panels = [
            draw_panel(
                shown.cut(plane, keys[plane], number),
                pixels_per_mm=scale,
                room=(widths[plane], max(sides_px[1:])),
            )
            for plane in Plane
        ]
        text(panels[0], (6, 24), name)
        rows.append(stack(panels))
    heading = [_heading(title, rows[0].width)] if title else []
    return stack([*heading, *rows, legend(rows[0].width)], down=True)


def save_overlay(path: Path, image: ArrayLike, labels: ArrayLike, **options: Any) -> Path:
    """Write `overlay(image, labels, **options)` as a PNG, whole or not at all.

    Returns:
        `path`.
    """
    picture = overlay(image, labels, **options)
    write_atomically(path, partial(picture.save, format="PNG", optimize=True))
    return path


def _heading(title: str, width: int) -> Picture:
    strip = Image.new("RGB", (width, 28), BLACK)
    text(strip, (8, 7), title, points=15)
    return strip


def regions_of(labels: ArrayLike, scheme: str) -> NDArray[np.bool_]:
    """The regions of a label map; a value that the scheme does not know is an error."""
    values = np.asarray(labels)
    if values.ndim != 3:
        raise InputError(f"A label map must be [X, Y, Z], found shape {values.shape}.")
    unknown = label_scheme(scheme).unknown_values(np.unique(values).tolist())
    if unknown:
        raise SchemeError(
            f"Label values {unknown} are not in scheme {scheme!r}; state the right scheme."
        )
    return to_regions(values, scheme)
