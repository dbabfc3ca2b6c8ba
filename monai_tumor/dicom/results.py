"""What the writers of results share: the mask, its source, names and UIDs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from monai_tumor import __version__
from monai_tumor.dicom.anchor import Anchor
from monai_tumor.dicom.headers import integer
from monai_tumor.dicom.placing import Placed
from monai_tumor.labels import REGIONS, Region, Tissue, scheme, to_regions

MANUFACTURER = "monai_tumor"
RESEARCH = "Research use only. Not for diagnosis."
_LARGEST_NUMBER = 99_999  # of a source series; a larger one is no basis for another number
_OTHER_NUMBER = 90


@dataclass(frozen=True)
class Algorithm:
    """What made a mask.

    Attributes:
        name: of a bundle, say.
        version: its version.
        weights: SHA-256 of each file of weights.
    """

    name: str
    version: str
    weights: tuple[str, ...] = ()

    @property
    def parameters(self) -> list[str]:
        """`weights SHA-256=...`, one for each file of weights."""
        return [f"weights SHA-256={digest}" for digest in self.weights]


@dataclass(frozen=True)
class Mask:
    """A label map to be exported.

    Attributes:
        labels: integers, [X, Y, Z].
        affine: voxel to mm, RAS, [4, 4].
        scheme: name of the label scheme that says what the integers are.
        algorithm: what made it; None where a person drew it.
        name: how the written files are called, without ending.
        made: when; it stands in the written files, and decides their UIDs with all else.
    """

    labels: NDArray[Any]
    affine: NDArray[np.float64]
    scheme: str
    algorithm: Algorithm | None
    name: str
    made: datetime


@dataclass(frozen=True)
class KeyImage:
    """A picture of a result.

    Attributes:
        name: part of the file's name: `axial`.
        pixels: RGB, uint8, [rows, columns, 3]; no name or date of a patient on it.
        orientation: where its rows and its columns run to: `("L", "P")`.
    """

    name: str
    pixels: NDArray[np.uint8]
    orientation: tuple[str, str]


@dataclass(frozen=True)
class Job:
    """One mask on its way into DICOM.

    Attributes:
        mask: as given.
        placed: on the slices of the source.
        anchor: the volume of the source series.
        headers: of the source images, from `anchor.headers`.
        diameters: longest and perpendicular, mm, of the largest lesion of a region.
        warnings: what a reader should know.
    """

    mask: Mask
    placed: Placed
    anchor: Anchor
    headers: Sequence[Dataset]
    diameters: dict[Region, tuple[float, float]]
    warnings: tuple[str, ...] = ()

    @cached_property
    def tissues_ml(self) -> dict[Tissue, float]:
        """Of each tissue of the scheme its volume, mL; in the order of the scheme's values."""
        return {
            tissue: float(np.count_nonzero(self.placed.labels == value)) * self.placed.grid.voxel_ml
            for value, tissue in sorted(scheme(self.mask.scheme).tissues.items())
        }

    @cached_property
    def regions_ml(self) -> dict[Region, float]:
        """Of WT, TC and ET the volume, mL."""
        masks = to_regions(self.placed.labels, self.mask.scheme)
        return {
            region: float(np.count_nonzero(one)) * self.placed.grid.voxel_ml
            for region, one in zip(REGIONS, masks, strict=True)
        }

    @property
    def segments(self) -> dict[Tissue, int]:
        """The number of each segment: the tissues that are there, from 1, in the scheme's order."""
        there = [tissue for tissue, volume in self.tissues_ml.items() if volume]
        return {tissue: number for number, tissue in enumerate(there, start=1)}

    @cached_property
    def _seed(self) -> str:
        """A digest of all that decides what is written."""
        digest = hashlib.sha256(np.ascontiguousarray(self.placed.labels).tobytes())
        parts = (
            str((self.placed.labels.shape, str(self.placed.labels.dtype))),
            str((self.mask.scheme, self.mask.algorithm, self.mask.made.isoformat(), __version__)),
            str(sorted(self.diameters.items())),
            str([(one.uid, one.pixels.frame) for one in self.anchor.slices]),
        )
        digest.update("\n".join(parts).encode())
        return digest.hexdigest()

    def uid(self, *role: str) -> str:
        """The UID of what plays `role`: equal where mask, source and software are equal."""
        return str(generate_uid(entropy_srcs=["monai_tumor", self._seed, *role]))

    def identity(self, kind: str, number: int, description: str) -> dict[str, Any]:
        """What every constructor of highdicom asks for.

        Args:
            kind: what is made, for its UIDs.
            number: of the series among those made of one source series, from 1.
            description: of the series.
        """
        source = integer(self.headers[0], "SeriesNumber") or 0
        base = source if 0 < source <= _LARGEST_NUMBER else _OTHER_NUMBER
        return {
            "series_instance_uid": self.uid(kind, "series"),
            "sop_instance_uid": self.uid(kind, "instance"),
            "series_number": base * 100 + number,
            "instance_number": 1,
            "series_description": description,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": MANUFACTURER,
            "software_versions": __version__,
            "device_serial_number": __version__,
            "content_date": self.mask.made.date(),
            "content_time": self.mask.made.time(),
            "transfer_syntax_uid": ExplicitVRLittleEndian,
        }

    def settle(self, made: Dataset) -> Dataset:
        """`made`, with its time of making and a UID of its own where highdicom put others.

        So that the same mask, exported twice, gives the same bytes under the same UIDs.
        """
        when = self.mask.made
        day, clock = when.strftime("%Y%m%d"), when.strftime("%H%M%S.%f")
        values = {
            "InstanceCreationDate": day,
            "InstanceCreationTime": clock,
            "DateOfSecondaryCapture": day,
            "TimeOfSecondaryCapture": clock,
            "DimensionOrganizationUID": self.uid("dimensions"),
        }
        for element in made.iterall():
            if element.keyword in values:
                element.value = values[element.keyword]
        for equipment in made.get("ContributingEquipmentSequence", []):
            if equipment.get("ManufacturerModelName") == "highdicom":
                equipment.ContributionDateTime = day + clock
        return made
