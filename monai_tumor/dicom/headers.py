"""Look attributes up in headers, flat ones and those of enhanced files alike."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

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


@cache
def _tag(keyword: str) -> BaseTag:
    number = tag_for_keyword(keyword)
    if number is None:
        raise KeyError(keyword)
    return BaseTag(number)


def value_of(header: Dataset, keyword: str) -> Any:
    """The value of `keyword`, or None where it is absent.

    What `Dataset.get` does, which looks a keyword up as an attribute first; with some fifty of them
    a file that is most of the time that a header takes.
    """
    tag = _tag(keyword)
    return header[tag].value if tag in header else None


def look_up(groups: Sequence[Dataset], keyword: str) -> Any:
    """The value of `keyword` from the first of `groups` that has one, or None.

    Args:
        groups: a frame's functional groups, the shared ones, the file's header; or only a header.
        keyword: a DICOM keyword; it is looked for in its macro and at the top of each group.
    """
    # A file without functional groups has no macros either.
    name = _MACROS.get(keyword) if len(groups) > 1 else None
    for group in groups:
        macro = value_of(group, name) if name else None
        for place in ([macro[0]] if macro else []) + [group]:
            value = value_of(place, keyword)
            if value is not None and value != "":
                return value
    return None


def number(groups: Sequence[Dataset], *keywords: str) -> float | None:
    """The first of `keywords` that is a finite number, or None."""
    for keyword in keywords:
        value = look_up(groups, keyword)
        try:
            found = None if value is None else float(value)
        except (TypeError, ValueError):
            continue
        if found is not None and math.isfinite(found):
            return found
    return None


def whole(groups: Sequence[Dataset], *keywords: str) -> int | None:
    """The first of `keywords` that is a finite number, as an integer, or None."""
    found = number(groups, *keywords)
    return None if found is None else int(found)


def integer(header: Dataset, keyword: str) -> int | None:
    """`keyword` as an integer, or None where it is absent or no number."""
    return whole([header], keyword)


def texts(header: Dataset, keyword: str) -> list[str]:
    """The values of `keyword` as text; an empty list where it is absent."""
    value = value_of(header, keyword)
    if value is None or value == "":
        return []
    return [str(v) for v in value] if isinstance(value, MultiValue) else [str(value)]


def time_of(groups: Sequence[Dataset]) -> float | None:
    """Seconds since midnight at which a slice was acquired, or None."""
    stamp = look_up(groups, "FrameAcquisitionDateTime")
    clock = str(stamp)[8:] if stamp else str(look_up(groups, "AcquisitionTime") or "")
    clock = clock.split("+")[0].split("-")[0]
    try:
        return int(clock[:2]) * 3600.0 + int(clock[2:4]) * 60 + float(clock[4:])
    except ValueError:
        return None


def creator(header: Dataset, group: int) -> str:
    """Who owns the first private block of `group`; empty where it has none."""
    found = header.get((group, 0x0010))
    return "" if found is None else str(found.value)


def groups_of(header: Dataset, frame: int) -> list[Dataset]:
    """Where to look attributes of `frame` up, nearest first."""
    frames = value_of(header, "PerFrameFunctionalGroupsSequence")
    shared = value_of(header, "SharedFunctionalGroupsSequence")
    nearest = [frames[frame]] if frames and frame < len(frames) else []
    return [*nearest, *([shared[0]] if shared else []), header]
