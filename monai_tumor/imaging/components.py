"""Connected components of a tumour mask, and the clean-up of a label map that rests on them."""

from collections.abc import Sequence
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_tumor.errors import InputError
from monai_tumor.labels import Region, Tissue, scheme

# How many axes a step to a neighbour may change: by faces, by edges too, by corners too.
_STEPS = {6: 1, 18: 2, 26: 3}


def count_components(mask: NDArray[Any], *, connectivity: int = 26) -> int:
    """The number of connected components of a mask.

    Args:
        mask: [X, Y, Z]; what is not zero belongs to the mask.
        connectivity: 6 (voxels touch by faces), 18 (or edges) or 26 (or corners).

    Raises:
        InputError: another connectivity.
    """
    return _label(mask[_box(mask)], connectivity)[1]


def filter_components(
    mask: NDArray[Any], *, min_ml: float, spacing: Sequence[float], connectivity: int = 26
) -> NDArray[np.bool_]:
    """The mask without its connected components smaller than a volume.

    Args:
        mask: [X, Y, Z]; what is not zero belongs to the mask.
        min_ml: mL; a component of exactly this volume stays; 0 keeps every component.
        spacing: mm, of each axis.
        connectivity: 6, 18 or 26.

    Returns:
        bool, [X, Y, Z].

    Raises:
        InputError: another connectivity, or a negative volume.
    """
    least = _least_voxels(min_ml, spacing)
    out = np.asarray(mask) != 0
    box = _box(out)
    components, _ = _label(out[box], connectivity)
    sizes = np.bincount(components.ravel())
    out[box] &= (sizes >= least)[components]
    return out


def split_components(
    mask: NDArray[Any], *, min_ml: float, spacing: Sequence[float], connectivity: int = 26
) -> list[tuple[tuple[slice, ...], NDArray[np.bool_]]]:
    """The connected components of at least a volume, the largest first.

    Args:
        mask: [X, Y, Z]; what is not zero belongs to the mask.
        min_ml: mL; a component of exactly this volume counts; 0 keeps every component.
        spacing: mm, of each axis.
        connectivity: 6, 18 or 26.

    Returns:
        Of each component its bounding box in `mask`, and bool within the box: what belongs to it.

    Raises:
        InputError: another connectivity, or a negative volume.
    """
    least = _least_voxels(min_ml, spacing)
    box = _box(mask)
    numbered, _ = _label(mask[box], connectivity)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    places = ndimage.find_objects(numbered)
    out = []
    for number in np.argsort(-sizes, kind="stable"):
        if sizes[number] >= max(least, 1):
            place = places[number - 1]
            shifted = (
                slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, place, strict=True)
            )
            out.append((tuple(shifted), numbered[place] == number))
    return out


def filter_tumour(
    labels: NDArray[Any],
    scheme_name: str,
    *,
    spacing: Sequence[float],
    min_lesion_ml: float = 0,
    min_et_ml: float = 0,
    connectivity: int = 26,
) -> NDArray[Any]:
    """A label map without tiny lesions, and without enhancing tumour where there is hardly any.

    First each connected component of whole tumour below `min_lesion_ml` becomes background. Then,
    if all enhancing tumour together is below `min_et_ml`, it becomes non-enhancing core; this is
    the usual BraTS clean-up, since a few false voxels in a case without enhancing tumour score 0.
    Values in no region (a resection cavity) stay.

    Args:
        labels: integers, [X, Y, Z]; not changed.
        scheme_name: how to read them.
        spacing: mm, of each axis.
        min_lesion_ml: mL; 0 switches this filter off.
        min_et_ml: mL; 0 switches this filter off.
        connectivity: 6, 18 or 26.

    Returns:
        [X, Y, Z], of the type of `labels`.

    Raises:
        SchemeError: no such scheme.
        InputError: another connectivity, or a negative volume.
    """
    regions = scheme(scheme_name).regions
    least_et = _least_voxels(min_et_ml, spacing)
    out = np.array(labels)
    box = _box(out)
    tumour = out[box]  # a view: what is written here lands in `out`
    if min_lesion_ml:
        whole = np.isin(tumour, regions[Region.WT])
        kept = filter_components(
            whole, min_ml=min_lesion_ml, spacing=spacing, connectivity=connectivity
        )
        tumour[whole & ~kept] = 0
    enhancing = np.isin(tumour, regions[Region.ET])
    if np.count_nonzero(enhancing) < least_et:
        tumour[enhancing] = scheme(scheme_name).value(Tissue.NECROSIS)
    return out


def _box(mask: NDArray[Any]) -> tuple[slice, ...]:
    """The bounding box of what is not zero; of an empty mask, its first voxel."""
    found = ndimage.find_objects((np.asarray(mask) != 0).view(np.uint8))
    return found[0] if found else (slice(0, 1),) * mask.ndim


def _label(mask: NDArray[Any], connectivity: int) -> tuple[NDArray[np.int32], int]:
    """The component's number at each voxel, 0 outside, and how many there are."""
    if connectivity not in _STEPS:
        raise InputError(f"Connectivity {connectivity} is unknown; choose 6, 18 or 26.")
    return ndimage.label(mask, ndimage.generate_binary_structure(3, _STEPS[connectivity]))


def _least_voxels(min_ml: float, spacing: Sequence[float]) -> int:
    """How many voxels make `min_ml`; a hair of rounding error does not ask for one voxel more."""
    if min_ml < 0:
        raise InputError(f"A minimum volume of {min_ml} mL is below 0; 0 switches the filter off.")
    return ceil(min_ml * 1000 / prod(spacing) - 1e-6)
