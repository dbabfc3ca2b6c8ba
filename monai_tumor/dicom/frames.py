"""One record for every 2D image: a classic file, a frame of an enhanced file, a mosaic's tile.

All later rooms see only these records, so that the three kinds go through the same code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.multival import MultiValue

from monai_tumor.dicom.files import Limits, Source, quiet
from monai_tumor.dicom.geometry import Plane, valid_cosines
from monai_tumor.dicom.reasons import Reason, RefusalError

# Storage classes that hold an image on a plane. Others (reports, segmentations, RT, waveforms,
# presentation states, ...) have no pixels, or pixels that are no measurement.
_NOT_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.88.",  # structured reports
    "1.2.840.10008.5.1.4.1.1.66",  # raw data, registrations, segmentations, surfaces
    "1.2.840.10008.5.1.4.1.1.481.",  # radiotherapy
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.9.",  # waveforms
    "1.2.840.10008.5.1.4.1.1.104.",  # encapsulated documents
    "1.2.840.10008.5.1.4.1.1.4.2",  # spectroscopy
    "1.2.840.10008.1.3.10",  # media directory
)


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


def slices_of(source: Source, header: Dataset, limits: Limits) -> list[Slice]:
    """The slices that one file holds, in stored order.

    Raises:
        RefusalError: it holds no image, or one that cannot be placed.
    """
    try:
        with quiet():
            check_image(source, header, limits)
            if "ModalityLUTSequence" in header:
                raise RefusalError(
                    Reason.NONLINEAR_LUT, f"{source.name} maps its values by a table, not a line."
                )
            if "MOSAIC" in texts(header, "ImageType"):
                from monai_tumor.dicom.mosaic import tiles

                return tiles(source, header)
            if "PerFrameFunctionalGroupsSequence" in header:
                return _enhanced(source, header)
            if (integer(header, "NumberOfFrames") or 1) > 1:
                raise RefusalError(
                    Reason.NO_POSITION, f"{source.name} has several frames and no place for each."
                )
            return [_slice(source, header, [header], 0)]
    except RefusalError:
        raise
    except RecursionError as error:
        raise RefusalError(
            Reason.NESTED_TOO_DEEP, f"{source.name} nests its sequences too deep to read."
        ) from error
    except Exception as error:  # pydicom converts values when first read, and raises what it likes
        raise RefusalError(
            Reason.BAD_HEADER, f"{source.name} has a malformed header ({error})."
        ) from error


def check_image(source: Source, header: Dataset, limits: Limits) -> None:
    """Check that a file holds an image, of a size that may be decoded.

    Raises:
        RefusalError: it does not.
    """
    storage = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", ""))
    if storage.startswith(_NOT_IMAGES):
        name = getattr(header.get("SOPClassUID"), "name", storage)
        raise RefusalError(Reason.NOT_AN_IMAGE, f"{source.name} is a {name}, not an image.")
    rows, columns = integer(header, "Rows"), integer(header, "Columns")
    frames = integer(header, "NumberOfFrames") or 1
    if not rows or not columns:
        # A standard image class, or not even a class, without a size: the file is cut short.
        if not storage or storage.startswith("1.2.840.10008.5.1.4.1.1."):
            raise RefusalError(Reason.UNREADABLE, f"{source.name} ends before its image.")
        raise RefusalError(Reason.NOT_AN_IMAGE, f"{source.name} holds no image.")
    if rows * columns > limits.frame_pixels or not 0 < frames <= limits.frames:
        raise RefusalError(
            Reason.TOO_LARGE, f"{source.name} claims {frames} frame(s) of {rows} x {columns}."
        )
    volume = rows * columns * frames * (integer(header, "BitsAllocated") or 16) // 8
    if volume > limits.volume_bytes:
        raise RefusalError(Reason.TOO_LARGE, f"{source.name} claims {volume >> 20} MiB of pixels.")


def _enhanced(source: Source, header: Dataset) -> list[Slice]:
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    frames = header.PerFrameFunctionalGroupsSequence
    claimed = integer(header, "NumberOfFrames") or 1
    if len(frames) != claimed:
        raise RefusalError(
            Reason.BAD_HEADER,
            f"{source.name} says it has {claimed} frames and describes {len(frames)}.",
        )
    return [
        _slice(source, header, [frame, shared[0], header], number)
        for number, frame in enumerate(frames)
    ]


# Where each attribute stands in an enhanced file: the macro's sequence, and the name there.
_MACROS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "RepetitionTime": "MRTimingAndRelatedParametersSequence",
    "FlipAngle": "MRTimingAndRelatedParametersSequence",
    "EchoTrainLength": "MRTimingAndRelatedParametersSequence",
    "InversionTime": "MRModifierSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "FrameAcquisitionNumber": "FrameContentSequence",
    "FrameAcquisitionDateTime": "FrameContentSequence",
    "NominalCardiacTriggerDelayTime": "CardiacSynchronizationSequence",
    "FrameType": "MRImageFrameTypeSequence",
    "ComplexImageComponent": "MRImageFrameTypeSequence",
    "AcquisitionContrast": "MRImageFrameTypeSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "PixelBandwidth": "MRImagingModifierSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "VOILUTFunction": "FrameVOILUTSequence",
}


def look_up(groups: Sequence[Dataset], keyword: str) -> Any:
    """The value of `keyword` from the first of `groups` that has one, or None.

    Args:
        groups: a frame's functional groups, the shared ones, the file's header; or only a header.
        keyword: a DICOM keyword; it is looked for in its macro and at the top of each group.
    """
    # A file without functional groups has no macros either.
    name = _MACROS.get(keyword) if len(groups) > 1 else None
    for group in groups:
        macro = group.get(name) if name else None
        for place in ([macro[0]] if macro else []) + [group]:
            value = place.get(keyword)
            if value is not None and value != "":
                return value
    return None


def _slice(source: Source, header: Dataset, groups: Sequence[Dataset], frame: int) -> Slice:
    return Slice(
        source=source,
        uid=str(header.get("SOPInstanceUID", "")),
        instance=frame if len(groups) > 1 else integer(header, "InstanceNumber") or 0,
        plane=plane_of(source, header, groups),
        pixels=pixels_of(source, header, groups, frame),
        traits=traits_of(groups),
        space=str(header.get("FrameOfReferenceUID", "")),
        thickness=_number(groups, "SliceThickness"),
        time=time_of(groups),
    )


def time_of(groups: Sequence[Dataset]) -> float | None:
    """Seconds since midnight at which a slice was acquired, or None."""
    stamp = look_up(groups, "FrameAcquisitionDateTime")
    clock = str(stamp)[8:] if stamp else str(look_up(groups, "AcquisitionTime") or "")
    clock = clock.split("+")[0].split("-")[0]
    try:
        return int(clock[:2]) * 3600.0 + int(clock[2:4]) * 60 + float(clock[4:])
    except ValueError:
        return None


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
        or header.get("PhotometricInterpretation") == "PALETTE COLOR",
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
    if component is None and ge_component is not None and _text(header, 0x0043).startswith("GEMS"):
        component = f"GE{ge_component.value}"
    return Traits(
        role=(*role, str(component)) if component is not None else role,
        echo=_number(groups, "EffectiveEchoTime", "EchoTime"),
        inversion=_number(groups, "InversionTime"),
        temporal=_whole(groups, "TemporalPositionIndex", "TemporalPositionIdentifier"),
        trigger=_number(
            groups, "NominalCardiacTriggerDelayTime", "TriggerTime", "FrameReferenceTime"
        ),
        diffusion=_diffusion(groups),
        acquisition=_whole(groups, "FrameAcquisitionNumber", "AcquisitionNumber"),
    )


def _diffusion(groups: Sequence[Dataset]) -> tuple[float, ...] | None:
    """b-value and direction, from the standard's attributes or Siemens' private ones."""
    b_value = _number(groups, "DiffusionBValue")
    direction: Any = None
    for group in groups:
        macro = group.get("MRDiffusionSequence")
        for place in ([macro[0]] if macro else []) + [group]:
            nested = place.get("DiffusionGradientDirectionSequence")
            found = (nested[0] if nested else place).get("DiffusionGradientOrientation")
            direction = found if direction is None else direction
    header = groups[-1]
    if b_value is None and _text(header, 0x0019) == "SIEMENS MR HEADER":
        private = header.get((0x0019, 0x100C))
        b_value = None if private is None else float(private.value)
        direction = getattr(header.get((0x0019, 0x100E)), "value", None)
    if b_value is None:
        return None
    if direction is None or len(direction) != 3 or b_value == 0:
        return (b_value,)
    return (b_value, *(round(float(d), 4) for d in direction))


def _text(header: Dataset, group: int) -> str:
    creator = header.get((group, 0x0010))
    return "" if creator is None else str(creator.value)


def _number(groups: Sequence[Dataset], *keywords: str) -> float | None:
    for keyword in keywords:
        value = look_up(groups, keyword)
        try:
            number = None if value is None else float(value)
        except (TypeError, ValueError):
            continue
        if number is not None and math.isfinite(number):
            return number
    return None


def _whole(groups: Sequence[Dataset], *keywords: str) -> int | None:
    number = _number(groups, *keywords)
    return None if number is None else int(number)


def integer(header: Dataset, keyword: str) -> int | None:
    """`keyword` as an integer, or None where it is absent or no number."""
    return _whole([header], keyword)


def texts(header: Dataset, keyword: str) -> list[str]:
    """The values of `keyword` as text; an empty list where it is absent."""
    value = header.get(keyword)
    if value is None or value == "":
        return []
    return [str(v) for v in value] if isinstance(value, MultiValue) else [str(value)]
