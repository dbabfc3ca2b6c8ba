"""The slices that a report shows: three planes of each image, each lesion as it was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import ArrayLike, NDArray

from monai_tumor.imaging.drawing import Picture, draw_panel, draw_slice, frame, stack, text
from monai_tumor.imaging.measure import Lesion
from monai_tumor.imaging.orientation import Plane, voxel_spacing
from monai_tumor.imaging.scene import Scene, Slice, scene
from monai_tumor.report.pictures import regions_of

_PANEL_PX = 380  # of the head's longest side
_LESION_PX = 260  # of a lesion's panel
_LEAST_PX = 200  # of a panel's side, so that its marks and caption have room
_AROUND_MM = 15.0  # shown around a lesion
LESIONS_A_ROW = 3
_HIDDEN = 2  # voxels that are drawn around what is shown


def key_slices(
    images: Mapping[str, ArrayLike], labels: ArrayLike, *, affine: ArrayLike, scheme: str
) -> dict[str, Picture]:
    """Rows of three planes: each image with contours; after the first, the same without.

    Each plane is cut where it holds the most tumour, at the same place in each row.

    Args:
        images: what to call it -> [X, Y, Z]; at least one.
        labels: the label map, integers [X, Y, Z].
        affine: voxel index to mm, RAS, [4, 4].
        scheme: how to read it.

    Returns:
        What each row shows -> the row.

    Raises:
        InputError: no volumes, unequal grids, or an affine that cannot be used.
        SchemeError: no such scheme, or values that it does not know.
    """
    masks = [regions_of(labels, scheme)]
    scenes = {name: scene(image, masks, affine) for name, image in images.items()}
    first = next(iter(images))
    rows = {first: _row(scenes[first], first, 0)}
    rows[f"{first} without contours"] = _row(scenes[first], first, None)
    return rows | {n: _row(shown, n, 0) for n, shown in scenes.items() if n != first}


def lesion_slices(
    image: ArrayLike,
    labels: ArrayLike,
    lesions: Sequence[Lesion],
    *,
    affine: ArrayLike,
    scheme: str,
) -> Picture | None:
    """Each lesion in the slice where it was measured, with both diameters; None if there is none.

    Args:
        image: one modality, [X, Y, Z].
        labels: the label map, integers [X, Y, Z].
        lesions: as measured in `labels`.
        affine: voxel index to mm, RAS, [4, 4].
        scheme: how to read the label map.

    Raises:
        As `key_slices`.
    """
    if not lesions:
        return None
    shown = scene(image, [regions_of(labels, scheme)], affine)
    panels = [_lesion(shown, lesion, number) for number, lesion in enumerate(lesions, 1)]
    rows = [
        stack(panels[start : start + LESIONS_A_ROW], gap=4)
        for start in range(0, len(panels), LESIONS_A_ROW)
    ]
    return stack(rows, down=True, gap=4)


def _row(shown: Scene, name: str, segmentation: int | None) -> Picture:
    sides = np.array(shown.grey.shape) * voxel_spacing(shown.affine)
    scale = _PANEL_PX / float(sides.max())
    wide, deep, high = (max(int(np.ceil(side * scale)), _LEAST_PX) for side in sides)
    panels = [
        draw_panel(
            shown.cut(plane, shown.key_index(plane), segmentation),
            pixels_per_mm=scale,
            room=(deep if plane is Plane.SAGITTAL else wide, max(deep, high)),
        )
        for plane in Plane
    ]
    text(panels[0], (6, 24), name)
    return stack(panels)


def _lesion(shown: Scene, lesion: Lesion, number: int) -> Picture:
    to_voxels = np.linalg.inv(shown.affine)
    lines = [
        apply_affine(to_voxels, np.array(ends))
        for ends in (lesion.longest_ends_mm, lesion.perpendicular_ends_mm)
    ]
    index = round(float(lines[0][0, 2]))
    view = replace(shown.cut(Plane.AXIAL, index, 0), lines=tuple(line[:, :2] for line in lines))
    part, low, high = _around(view, np.vstack(view.lines))
    scale = _LESION_PX / float(((high - low) * view.pixel_mm).max())
    drawn = draw_slice(part, pixels_per_mm=scale)
    to_pixels = np.array(drawn.size) / part.grey.T.shape
    left, top = (int(edge) for edge in np.rint(low * to_pixels))
    right, bottom = (int(edge) for edge in np.rint(high * to_pixels))
    picture = drawn.crop((left, top, min(right, left + _LESION_PX), min(bottom, top + _LESION_PX)))
    panel = frame(picture, view, pixels_per_mm=scale, room=(_LESION_PX, _LESION_PX))
    text(panel, (6, 24), f"ET {number}")
    return panel


def _around(
    view: Slice, points: NDArray[np.float64]
) -> tuple[Slice, NDArray[np.int_], NDArray[np.int_]]:
    """The part of a slice around `points`, and the corners, (column, row), of what to show of it.

    It is a little larger than that, since contours run along the border of what is drawn.
    """
    margin = np.ceil(_AROUND_MM / np.array(view.pixel_mm)).astype(int)
    size = np.array(view.grey.T.shape)
    low = np.maximum(np.floor(points.min(0)).astype(int) - margin, 0)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + margin + 1, size)
    start, stop = np.maximum(low - _HIDDEN, 0), np.minimum(high + _HIDDEN, size)
    box = (slice(start[1], stop[1]), slice(start[0], stop[0]))
    part = replace(
        view,
        grey=view.grey[box],
        regions=None if view.regions is None else view.regions[(slice(None), *box)],
        lines=tuple(line - start for line in view.lines),
    )
    return part, low - start, high - start
