"""One record for every 2D image: a classic file, a frame of an enhanced file, a mosaic's tile.

All later rooms see only these records, so that the three kinds go through the same code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.multival import MultiValue

from monai_tumor.dicom.files import Source
from monai_tumor.dicom.geometry import Plane, valid_cosines
from monai_tumor.dicom.headers import creator, integer, look_up, number, value_of, whole
from monai_tumor.dicom.reasons import Reason, RefusalError


@dataclass(frozen=True)
class Traits:
    """What tells apart slices of one series that lie at the same place.

    Attributes:
        role: image type and complex component: magnitude, phase, a derived map.
        echo: echo time, ms.
        inversion: inversion time, ms.
        temporal: temporal position.
        trigger: trigger delay or frame reference time, ms.
        diffusion: b-value in s/mm2, then the gradient's direction (LPS) where it has one.
        acquisition: acquisition number.
    """

    role: tuple[str, ...] = ()
    echo: float | None = None
    inversion: float | None = None
    temporal: int | None = None
    trigger: float | None = None
    diffusion: tuple[float, ...] | None = None
    acquisition: int | None = None


@dataclass(frozen=True)
class Pixels:
    """Where one slice's stored values are and how they become measured ones.

    Attributes:
        frame: 0-based, in its file.
        corner: first row and column in the frame; (0, 0) but for a mosaic's tile.
        color: RGB or palette.
        slope: measured = stored x slope + intercept.
        intercept: see `slope`.
    """

    frame: int = 0
    corner: tuple[int, int] = (0, 0)
    color: bool = False
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True)
class Slice:
    """One 2D image of a series.

    Attributes:
        source: its file.
        uid: SOP instance UID.
        instance: instance number, or the frame's number; only to break ties.
        plane: where it lies.
        pixels: where its values are.
        traits: what tells it from others at the same place.
        space: frame of reference UID; positions under different ones do not compare.
        thickness: mm, as stated; used for a slice that stands alone only.
        time: seconds since midnight at which it was acquired.
    """

    source: Source
    uid: str
    instance: int
    plane: Plane
    pixels: Pixels
    traits: Traits
    space: str = ""
    thickness: float | None = None
    time: float | None = None


def pixels_of(source: Source, header: Dataset, groups: Sequence[Dataset], frame: int) -> Pixels:
    """Where a frame's values are and how they become measured ones.

    Raises:
        RefusalError: the rescale slope or intercept is no finite number, or the slope is 0.
    """
    slope = _rescale(source, groups, "RescaleSlope", 1.0)
    if slope == 0:
        raise RefusalError(Reason.BAD_RESCALE, f"{source.name} has a rescale slope of 0.")
    return Pixels(
        frame=frame,
        color=(integer(header, "SamplesPerPixel") or 1) > 1
        or value_of(header, "PhotometricInterpretation") == "PALETTE COLOR",
        slope=slope,
        intercept=_rescale(source, groups, "RescaleIntercept", 0.0),
    )


def _rescale(source: Source, groups: Sequence[Dataset], keyword: str, default: float) -> float:
    value = look_up(groups, keyword)
    try:
        number = default if value is None else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise RefusalError(Reason.BAD_RESCALE, f"{source.name} has {keyword} {value!r}.")
    return number


def plane_of(source: Source, header: Dataset, groups: Sequence[Dataset]) -> Plane:
    """Where a slice lies.

    Raises:
        RefusalError: position, orientation or pixel spacing is absent or impossible.
    """
    position = _floats(source, groups, "ImagePositionPatient", 3, Reason.NO_POSITION)
    cosines = _floats(source, groups, "ImageOrientationPatient", 6, Reason.NO_ORIENTATION)
    spacing = _floats(source, groups, "PixelSpacing", 2, Reason.NO_PIXEL_SPACING)
    if not valid_cosines(cosines[:3], cosines[3:]):
        raise RefusalError(
            Reason.BAD_ORIENTATION,
            f"{source.name} has row and column directions that are no unit vectors at a right "
            f"angle: {cosines}.",
        )
    if min(spacing) <= 0:
        raise RefusalError(Reason.NO_PIXEL_SPACING, f"{source.name} has PixelSpacing {spacing}.")
    return Plane(
        position=(position[0], position[1], position[2]),
        row=(cosines[0], cosines[1], cosines[2]),
        column=(cosines[3], cosines[4], cosines[5]),
        spacing=(spacing[0], spacing[1]),
        shape=(int(header.Rows), int(header.Columns)),
    )


def _floats(
    source: Source, groups: Sequence[Dataset], keyword: str, count: int, absent: Reason
) -> tuple[float, ...]:
    value = look_up(groups, keyword)
    if value is None:
        raise RefusalError(absent, f"{source.name} has no {keyword}.")
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(math.isfinite(n) and abs(n) < 1e6 for n in numbers):
        raise RefusalError(Reason.BAD_HEADER, f"{source.name} has {keyword} {value!r}.")
    return numbers


def traits_of(groups: Sequence[Dataset]) -> Traits:
    """What tells a slice from others at the same place."""
    frame_type = look_up(groups, "FrameType") or look_up(groups, "ImageType") or ""
    role = tuple(map(str, frame_type if isinstance(frame_type, MultiValue) else [frame_type]))
    component = look_up(groups, "ComplexImageComponent")
    header = groups[-1]
    ge_component = header.get((0x0043, 0x102F))  # GE: 0 magnitude, 1 phase, 2 real, 3 imaginary
    if (
        component is None
        and ge_component is not None
        and creator(header, 0x0043).startswith("GEMS")
    ):
        component = f"GE{ge_component.value}"
    return Traits(
        role=(*role, str(component)) if component is not None else role,
        echo=number(groups, "EffectiveEchoTime", "EchoTime"),
        inversion=number(groups, "InversionTime"),
        temporal=whole(groups, "TemporalPositionIndex", "TemporalPositionIdentifier"),
        trigger=number(
            groups, "NominalCardiacTriggerDelayTime", "TriggerTime", "FrameReferenceTime"
        ),
        diffusion=_diffusion(groups),
        acquisition=whole(groups, "FrameAcquisitionNumber", "AcquisitionNumber"),
    )


def _diffusion(groups: Sequence[Dataset]) -> tuple[float, ...] | None:
    """b-value and direction, from the standard's attributes or Siemens' private ones."""
    b_value = number(groups, "DiffusionBValue")
    direction: Any = None
    for group in groups:
        macro = value_of(group, "MRDiffusionSequence")
        for place in ([macro[0]] if macro else []) + [group]:
            nested = value_of(place, "DiffusionGradientDirectionSequence")
            found = value_of(nested[0] if nested else place, "DiffusionGradientOrientation")
            direction = found if direction is None else direction
    header = groups[-1]
    if b_value is None and creator(header, 0x0019) == "SIEMENS MR HEADER":
        private = header.get((0x0019, 0x100C))
        b_value = None if private is None else float(private.value)
        direction = getattr(header.get((0x0019, 0x100E)), "value", None)
    if b_value is None:
        return None
    if direction is None or len(direction) != 3 or b_value == 0:
        return (b_value,)
    return (b_value, *(round(float(d), 4) for d in direction))
