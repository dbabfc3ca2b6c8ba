"""Volumes, counts and diameters of a segmented tumour, in mL and mm.

Volumes count voxels. Enhancing lesions are measured as RANO does on MR (Wen et al. 2010, J Clin
Oncol 28:1963; RANO 2.0, Wen et al. 2023, J Clin Oncol 41:5187): in the axial plane, the longest
diameter and the longest one perpendicular to it in the same slice, their product, and the sum of
the products of the measurable lesions. `imaging.diameters` says how a diameter is drawn. Nothing
here grades a tumour or a response.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from nibabel import orientations
from nibabel.affines import apply_affine
from numpy.typing import ArrayLike, NDArray

from monai_tumor.errors import InputError, SchemeError
from monai_tumor.imaging.components import split_components
from monai_tumor.imaging.diameters import Cross, cross, most_product
from monai_tumor.imaging.orientation import check_affine, voxel_spacing
from monai_tumor.labels import LabelScheme, Region, Tissue
from monai_tumor.labels import scheme as label_scheme

MEASURABLE_MM = 10.0  # both diameters of a measurable lesion (RANO)
THICK_MM = 5.0  # RANO asks for slices of at most 5 mm; else for lesions of twice the thickness
LEAST_SLICES = 2  # RANO: visible on two or more axial slices
MOST_LESIONS = 5  # RANO: up to five target lesions
LEAST_LESION_ML = 0.05  # as BraTS 2023 leaves lesions of up to 50 mm3 out of its scores
_HAIR_MM = 0.001  # rounding does not make a lesion of 10 mm too short
_NEARLY_STRAIGHT = 2.0  # degrees off the patient's axes that need not be mentioned

# What is measured by volume: name -> tissues.
TISSUES: Mapping[str, tuple[Tissue, ...]] = MappingProxyType(
    {
        "oedema": (Tissue.OEDEMA,),
        "non-enhancing core": (Tissue.NECROSIS, Tissue.CYST),
    }
)
COUNTED = (Region.WT, Region.TC, Region.ET)


@dataclass(frozen=True)
class Plane:
    """The slices in which diameters are measured: those of the grid nearest to axial.

    Attributes:
        axis: of the label map, that counts the slices.
        spacing_mm: from slice to slice.
        pixel_mm: the sizes of a voxel within a slice.
        oblique_deg: by how much the slices are tilted from the patient's axial plane.
    """

    axis: int
    spacing_mm: float
    pixel_mm: tuple[float, float]
    oblique_deg: float

    @property
    def measurable_mm(self) -> float:
        """What both diameters of a measurable lesion have at least."""
        thick = self.spacing_mm > THICK_MM
        return max(MEASURABLE_MM, 2 * self.spacing_mm) if thick else MEASURABLE_MM

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "axis": self.axis,
            "spacing_mm": round(self.spacing_mm, 3),
            "pixel_mm": [round(size, 3) for size in self.pixel_mm],
            "oblique_deg": round(self.oblique_deg, 1),
            "measurable_mm": round(self.measurable_mm, 3),
        }

    def __str__(self) -> str:
        """Such as `axial slices every 1 mm, pixels of 1 x 1 mm`, and what is doubtful of them."""
        x, y = self.pixel_mm
        words = f"axial slices every {self.spacing_mm:.3g} mm, pixels of {x:.3g} x {y:.3g} mm"
        if self.oblique_deg > _NEARLY_STRAIGHT:
            words += f"; oblique, {self.oblique_deg:.0f} degrees off the patient's axial plane"
        if self.spacing_mm > THICK_MM:
            words += (
                f"; thick (over {THICK_MM:g} mm), so both diameters of a measurable lesion have "
                f"at least {self.measurable_mm:.3g} mm"
            )
        return words


@dataclass(frozen=True)
class Lesion:
    """One connected component of enhancing tumour.

    Attributes:
        volume_ml: mL.
        slices: on how many axial slices it is seen.
        slice_index: on which it is measured, from 0 along `Plane.axis`.
        longest_mm: the longest diameter there.
        perpendicular_mm: the longest one perpendicular to it, in the same slice.
        measurable: both are long enough, and it is seen on two slices or more (RANO).
        centre_mm: the middle of the component, RAS.
        longest_ends_mm: where the longest diameter ends, RAS, [2, 3].
        perpendicular_ends_mm: where the perpendicular ends, RAS, [2, 3].
    """

    volume_ml: float
    slices: int
    slice_index: int
    longest_mm: float
    perpendicular_mm: float
    measurable: bool
    centre_mm: tuple[float, ...]
    longest_ends_mm: tuple[tuple[float, ...], ...]
    perpendicular_ends_mm: tuple[tuple[float, ...], ...]

    @property
    def product_mm2(self) -> float:
        """Longest times perpendicular, mm2."""
        return self.longest_mm * self.perpendicular_mm

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "volume_ml": round(self.volume_ml, 4),
            "slices": self.slices,
            "slice_index": self.slice_index,
            "longest_mm": round(self.longest_mm, 2),
            "perpendicular_mm": round(self.perpendicular_mm, 2),
            "product_mm2": round(self.product_mm2, 2),
            "measurable": self.measurable,
            "centre_mm": _rounded(self.centre_mm),
            "longest_ends_mm": [_rounded(end) for end in self.longest_ends_mm],
            "perpendicular_ends_mm": [_rounded(end) for end in self.perpendicular_ends_mm],
        }

    def __str__(self) -> str:
        """Such as `31.2 x 20.1 mm = 627 mm2, 9.81 mL, measurable`."""
        word = "measurable" if self.measurable else "not measurable"
        return (
            f"{self.longest_mm:.1f} x {self.perpendicular_mm:.1f} mm = {self.product_mm2:.0f} mm2, "
            f"{self.volume_ml:.2f} mL, {word}"
        )


@dataclass(frozen=True)
class Measures:
    """What was measured in one label map.

    Attributes:
        scheme: how the label map was read.
        volumes_ml: mL of WT, TC, ET, and of the tissues in `TISSUES`.
        lesions: how many connected components WT, TC and ET have, small ones left out.
        connectivity: 6, 18 or 26 neighbours make a component.
        least_ml: smaller components are not counted and not measured.
        enhancing: the largest enhancing components, by volume, at most five.
        plane: the slices in which they are measured.
    """

    scheme: str
    volumes_ml: Mapping[str, float]
    lesions: Mapping[str, int]
    connectivity: int
    least_ml: float
    enhancing: tuple[Lesion, ...]
    plane: Plane

    @property
    def sum_of_products_mm2(self) -> float:
        """Over the measurable ones of `enhancing`, mm2; 0 where none is."""
        return sum(lesion.product_mm2 for lesion in self.enhancing if lesion.measurable)

    @property
    def lesion_rule(self) -> str:
        """How lesions were counted, in words."""
        return f"components with {self.connectivity} neighbours, of at least {self.least_ml:g} mL"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "scheme": self.scheme,
            "volumes_ml": {name: round(ml, 4) for name, ml in self.volumes_ml.items()},
            "lesions": {
                "connectivity": self.connectivity,
                "least_ml": self.least_ml,
                "count": dict(self.lesions),
            },
            "plane": self.plane.as_dict(),
            "enhancing": [lesion.as_dict() for lesion in self.enhancing],
            "sum_of_products_mm2": round(self.sum_of_products_mm2, 2),
        }

    def __str__(self) -> str:
        """Volumes, counts, and a line for each enhancing lesion."""
        counts = ", ".join(f"{name} {count}" for name, count in self.lesions.items())
        return "\n".join(
            [
                "volumes  " + ", ".join(f"{n} {ml:.2f} mL" for n, ml in self.volumes_ml.items()),
                f"lesions  {counts} ({self.lesion_rule})",
                *(f"ET {n}     {lesion}" for n, lesion in enumerate(self.enhancing, 1)),
                f"sum of products of measurable lesions  {self.sum_of_products_mm2:.0f} mm2",
                f"measured in {self.plane}",
            ]
        )


def measure(
    labels: ArrayLike,
    affine: ArrayLike,
    scheme: str,
    *,
    connectivity: int = 26,
    least_ml: float = LEAST_LESION_ML,
) -> Measures:
    """Volumes, lesion counts and the diameters of the largest enhancing lesions.

    Args:
        labels: the label map, integers [X, Y, Z].
        affine: voxel index to mm, RAS, [4, 4].
        scheme: how to read the label map.
        connectivity: 6, 18 or 26 neighbours make a component.
        least_ml: components smaller than this are not counted and not measured.

    Raises:
        InputError: no volume, an affine that cannot be used, an unknown connectivity.
        SchemeError: no such scheme, or values that it does not know.
    """
    values = np.asarray(labels)
    chosen = _checked(values, scheme)
    affine = check_affine(affine)
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    masks = {region: np.isin(values, chosen.regions[region]) for region in COUNTED}
    volumes = {region.value: np.count_nonzero(masks[region]) * voxel_ml for region in COUNTED}
    for name, tissues in TISSUES.items():
        members = [value for value, tissue in chosen.tissues.items() if tissue in tissues]
        volumes[name] = np.count_nonzero(np.isin(values, members)) * voxel_ml
    spacing = voxel_spacing(affine)
    parts = {
        region: split_components(
            masks[region], min_ml=least_ml, spacing=spacing, connectivity=connectivity
        )
        for region in COUNTED
    }
    plane = axial_plane(affine)
    enhancing = tuple(
        _lesion(mask, box, affine, plane) for box, mask in parts[Region.ET][:MOST_LESIONS]
    )
    counts = {region.value: len(found) for region, found in parts.items()}
    return Measures(scheme, volumes, counts, connectivity, least_ml, enhancing, plane)


def axial_plane(affine: ArrayLike) -> Plane:
    """The slices of a grid that are nearest to axial.

    Raises:
        InputError: the affine cannot be used.
    """
    affine = check_affine(affine)
    axis = int(np.flatnonzero(orientations.io_orientation(affine)[:, 0] == 2)[0])
    others = [a for a in range(3) if a != axis]
    normal = np.cross(affine[:3, others[0]], affine[:3, others[1]])
    normal /= np.linalg.norm(normal)
    tilt = float(np.degrees(np.arccos(min(abs(normal[2]), 1.0))))
    x, y = (voxel_spacing(affine)[a] for a in others)
    # Along the normal: in a sheared grid (gantry tilt) the axis itself is longer.
    apart = float(abs(normal @ affine[:3, axis]))
    return Plane(axis, apart, (x, y), tilt)


def _lesion(
    mask: NDArray[np.bool_], box: tuple[slice, ...], affine: NDArray[np.float64], plane: Plane
) -> Lesion:
    """The lesion that fills `mask`, [X, Y, Z], in `box` of the label map."""
    others = [axis for axis in range(3) if axis != plane.axis]
    slices = np.moveaxis(mask, plane.axis, 0)
    index, found = _largest_cross(slices, affine[:3, others])
    corner = np.array([part.start for part in box], dtype=np.float64)

    def world(points: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
        voxels = np.insert(points, plane.axis, index, axis=1) + corner
        return tuple(tuple(place) for place in apply_affine(affine, voxels).tolist())

    seen = int(slices.any((1, 2)).sum())
    shorter = min(found.longest_mm, found.perpendicular_mm)
    return Lesion(
        volume_ml=float(mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000),
        slices=seen,
        slice_index=index + box[plane.axis].start,
        longest_mm=found.longest_mm,
        perpendicular_mm=found.perpendicular_mm,
        measurable=seen >= LEAST_SLICES and shorter >= plane.measurable_mm - _HAIR_MM,
        centre_mm=tuple(apply_affine(affine, np.argwhere(mask).mean(0) + corner).tolist()),
        longest_ends_mm=world(found.longest),
        perpendicular_ends_mm=world(found.perpendicular),
    )


def _largest_cross(slices: NDArray[np.bool_], plane: NDArray[np.float64]) -> tuple[int, Cross]:
    """Of a component's slices, [slice, I, J], the one with the largest product, and its cross."""
    most = np.array([most_product(mask, plane) for mask in slices])
    best: tuple[int, Cross] | None = None
    for index in np.argsort(-most, kind="stable"):
        if best is not None and most[index] <= best[1].product_mm2:
            break
        found = cross(slices[index], plane)
        if found is not None and (best is None or found.product_mm2 > best[1].product_mm2):
            best = int(index), found
    if best is None:
        raise InputError("A lesion without voxels cannot be measured.")
    return best


def _checked(values: NDArray[Any], scheme: str) -> LabelScheme:
    """The scheme of a label map that can be measured."""
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "bui":
        raise InputError(
            f"A label map must be integers [X, Y, Z], found {values.dtype} of shape {values.shape}."
        )
    chosen = label_scheme(scheme)
    unknown = chosen.unknown_values(np.unique(values).tolist())
    if unknown:
        raise SchemeError(
            f"Label values {unknown} are not in scheme {scheme!r}; state the right scheme."
        )
    return chosen


def _rounded(place: tuple[float, ...]) -> list[float]:
    return [round(value, 2) for value in place]
