"""Siemens mosaics: all slices of a volume as tiles of one picture.

How many tiles there are and which way the slices run stands only in Siemens' private header
(CSA), which nibabel reads. Without it the mosaic is refused.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom import Dataset

from monai_tumor.dicom.files import Source, quiet
from monai_tumor.dicom.geometry import triple
from monai_tumor.dicom.headers import integer, time_of
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.records import Slice, pixels_of, plane_of, traits_of


def tiles(source: Source, header: Dataset) -> list[Slice]:
    """The slices of a mosaic, first tile first.

    Raises:
        RefusalError: the private header does not say how the tiles lie.
    """
    csa = _csa(header)
    count = int(_values(csa, "NumberOfImagesInMosaic", 1)[0]) if csa else 0
    normal = np.array(_values(csa, "SliceNormalVector", 3)) if csa else np.zeros(3)
    gap = float(header.get("SpacingBetweenSlices") or 0)
    whole = plane_of(source, header, [header])
    side = math.ceil(math.sqrt(count)) if count > 0 else 0
    if not side or not gap > 0 or whole.shape[0] % side or whole.shape[1] % side:
        raise RefusalError(
            Reason.MOSAIC_UNKNOWN, f"{source.name} is a mosaic that does not say how its tiles lie."
        )
    if abs(normal @ whole.normal - 1) > 1e-3:
        # Where tiles run against row x column, SPM takes the stated position for the last tile's,
        # nibabel for the first's; neither is documented.
        raise RefusalError(
            Reason.MOSAIC_UNKNOWN,
            f"{source.name} is a mosaic whose slices do not run along row x column but along "
            f"{normal.tolist()}; export it as single slices.",
        )
    shape = (whole.shape[0] // side, whole.shape[1] // side)
    # The stated position is that of the mosaic's corner, as if the mosaic were centred where the
    # slice is.
    half = ((whole.shape[0] - shape[0]) / 2, (whole.shape[1] - shape[1]) / 2)
    first = whole.points([half[0]], [half[1]])[0]
    traits = traits_of([header])
    pixels = pixels_of(source, header, [header], 0)
    time = time_of([header])
    slices = []
    for number in range(count):
        position = first + number * gap * whole.normal
        slices.append(
            Slice(
                source=source,
                uid=str(header.get("SOPInstanceUID", "")),
                instance=integer(header, "InstanceNumber") or 0,
                plane=replace(whole, position=triple(position), shape=shape),
                pixels=replace(
                    pixels, corner=(number // side * shape[0], number % side * shape[1])
                ),
                traits=traits,
                space=str(header.get("FrameOfReferenceUID", "")),
                time=time,
            )
        )
    return slices


def _csa(header: Dataset) -> dict[str, Any] | None:
    with quiet():  # importing nibabel's DICOM room warns that it is experimental
        from nibabel.nicom import csareader

    csa = csareader.get_csa_header(header)
    return None if csa is None else csa["tags"]


def _values(csa: dict[str, Any], name: str, count: int) -> list[float]:
    items = csa.get(name, {}).get("items", [])
    return [float(item) for item in items[:count]] if len(items) >= count else [0.0] * count
