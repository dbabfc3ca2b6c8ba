"""A label map in a file, into DICOM beside the series it was made on, with key images."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import measure

from monai_tumor.dicom import Algorithm, Exported, KeyImage, Mask, export
from monai_tumor.errors import InputError, SchemeError
from monai_tumor.imaging.drawing import draw_panel, legend, stack
from monai_tumor.imaging.orientation import Plane, voxel_spacing
from monai_tumor.imaging.scene import scene
from monai_tumor.labels import REGIONS, Region, to_regions
from monai_tumor.services.label_maps import read

MANUAL = "manual"
_PANEL_PX = 480  # of the longest side of the head
_LEAST_PX = (430, 200)  # width and height; the legend needs that width
# Where rows and columns of a picture run to, as DICOM names it.
_ORIENTATION = {Plane.AXIAL: ("L", "P"), Plane.CORONAL: ("L", "F"), Plane.SAGITTAL: ("P", "F")}


def export_mask(
    mask: Path,
    source: Path | Sequence[Path],
    output: Path,
    *,
    scheme: str | None = None,
    algorithm: str | None = None,
    pictures: bool = True,
    diameters: Mapping[Region, tuple[float, float]] | None = None,
    series: str | None = None,
    resample: bool = False,
) -> Exported:
    """The written SEG, SR and key images of a mask; see `monai_tumor.dicom.export`.

    Label scheme and algorithm stand in the JSON beside a result; for other masks they are stated.
    The file's time of change stands as the time at which the mask was made.

    Args:
        mask: NIfTI label map.
        source: folder, file or archive with the DICOM series it was made on; or several files.
        output: folder to write.
        scheme: label scheme; may be None where the JSON beside the mask names it.
        algorithm: `NAME VERSION` of what made the mask, or `manual` for a person; may be None
            where the JSON names a bundle.
        pictures: also write key images.
        diameters: longest and perpendicular diameter, mm, of the largest lesion of each region.
        series: UID of the series, where the source holds several.
        resample: where mask and series have different voxels, take the nearest.

    Raises:
        InputError: the mask cannot be read, or nothing says what made it.
        SchemeError: nothing names the label scheme, or two names differ.
        DicomError: the mask cannot be placed on the series.
    """
    facts = _facts(mask)
    name = _scheme(mask, facts, scheme)
    found = read(mask, name)
    stem = mask.name.removesuffix(".gz").removesuffix(".nii")
    return export(
        Mask(
            labels=found.values,
            affine=found.affine,
            scheme=name,
            algorithm=_algorithm(mask, facts, algorithm),
            name=stem.removesuffix("_seg"),
            made=datetime.fromtimestamp(mask.stat().st_mtime),
        ),
        source,
        output,
        series=series,
        resample=resample,
        diameters=diameters,
        draw=partial(key_images, scheme=name) if pictures else None,
    )


def _facts(mask: Path) -> dict[str, Any]:
    """What the JSON beside the mask says; nothing where there is none."""
    beside = mask.with_name(mask.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    if not beside.is_file():
        return {}
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {beside}: {error}. Mend it or move it away.") from error
    return content if isinstance(content, dict) else {}


def _scheme(mask: Path, facts: Mapping[str, Any], stated: str | None) -> str:
    noted = facts.get("label_scheme")
    if noted and stated and noted != stated:
        raise SchemeError(
            f"The JSON beside {mask} names label scheme {noted!r}, not {stated!r}; leave out "
            "--scheme, or mend the JSON."
        )
    name = stated or noted
    if not name:
        raise SchemeError(
            f"No JSON beside {mask} names its label scheme, and values do not tell; state --scheme."
        )
    return str(name)


def _algorithm(mask: Path, facts: Mapping[str, Any], stated: str | None) -> Algorithm | None:
    if stated == MANUAL:
        return None
    if stated is not None:
        name, _, version = stated.strip().rpartition(" ")
        if not name.strip():
            raise InputError(
                f"--algorithm {stated!r} must be a name and a version, 'my_network 1.2', or "
                f"{MANUAL!r}."
            )
        return Algorithm(name.strip(), version)
    if not facts.get("bundle") or not facts.get("bundle_version"):
        raise InputError(
            f"No JSON beside {mask} says what made it; state --algorithm 'NAME VERSION', or "
            f"--algorithm {MANUAL} where a person drew it."
        )
    weights = facts.get("weights")
    entries = [one for one in weights if isinstance(one, dict)] if isinstance(weights, list) else []
    digests = tuple(str(one["sha256"]) for one in entries if one.get("sha256"))
    return Algorithm(str(facts["bundle"]), str(facts["bundle_version"]), digests)


def key_images(
    image: NDArray[Any], labels: NDArray[Any], affine: NDArray[np.float64], *, scheme: str
) -> list[KeyImage]:
    """Axial, coronal and sagittal: each where it cuts most of the largest lesion.

    With the contours of ET, TC and WT and marks of orientation, in radiological convention.

    Args:
        image: [X, Y, Z].
        labels: integers, [X, Y, Z], on the same grid.
        affine: voxel to mm, RAS, [4, 4], without shear.
        scheme: how to read `labels`.
    """
    regions = to_regions(labels, scheme)
    lesion = _largest(regions[REGIONS.index(Region.WT)])
    shown = scene(image, [regions, regions & lesion], affine)
    sides = np.array(shown.grey.shape) * voxel_spacing(shown.affine)
    scale = _PANEL_PX / float(sides.max())
    made = []
    for plane in Plane:
        weights = shown.weights(plane, [1])
        index = int(weights.argmax()) if weights.any() else shown.key_index(plane)
        sides_px = np.ceil(np.delete(sides, plane.axis) * scale).astype(int)
        width, height = (max(a, b) for a, b in zip(sides_px.tolist(), _LEAST_PX, strict=True))
        panel = draw_panel(shown.cut(plane, index, 0), pixels_per_mm=scale, room=(width, height))
        picture = stack([panel, legend(panel.width)], down=True)
        made.append(KeyImage(str(plane), np.asarray(picture), _ORIENTATION[plane]))
    return made


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest part of a mask that hangs together by faces, edges or corners."""
    parts = measure.label(mask, connectivity=3)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(mask & (parts == sizes.argmax()))
