"""A file's slices: one of a classic file, one for each frame of an enhanced file or mosaic tile."""

from collections.abc import Sequence

from pydicom import Dataset

from monai_tumor.dicom.files import Limits, Source, quiet
from monai_tumor.dicom.headers import integer, number, texts, time_of, value_of
from monai_tumor.dicom.mosaic import tiles
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.records import Slice, pixels_of, plane_of, traits_of

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
    storage = str(
        value_of(header, "SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", "")
    )
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
    shared = value_of(header, "SharedFunctionalGroupsSequence") or [Dataset()]
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


def _slice(source: Source, header: Dataset, groups: Sequence[Dataset], frame: int) -> Slice:
    return Slice(
        source=source,
        uid=str(value_of(header, "SOPInstanceUID") or ""),
        instance=frame if len(groups) > 1 else integer(header, "InstanceNumber") or 0,
        plane=plane_of(source, header, groups),
        pixels=pixels_of(source, header, groups, frame),
        traits=traits_of(groups),
        space=str(value_of(header, "FrameOfReferenceUID") or ""),
        thickness=number(groups, "SliceThickness"),
        time=time_of(groups),
    )
