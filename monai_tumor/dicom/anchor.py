"""The volume of a DICOM series that results are written for, found by the code that converts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset, config
from pydicom.valuerep import format_number_as_ds, validate_value

from monai_tumor.dicom.assemble import assemble, step_of
from monai_tumor.dicom.files import Limits, Source, quiet, read_header
from monai_tumor.dicom.geometry import affine
from monai_tumor.dicom.headers import texts
from monai_tumor.dicom.pixels import Reader
from monai_tumor.dicom.placing import Grid, matches
from monai_tumor.dicom.reading import Series, read_series
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.records import Slice
from monai_tumor.dicom.series import Volume, volumes
from monai_tumor.files import printable


@dataclass(frozen=True)
class Anchor:
    """A 3D volume of a series.

    Attributes:
        uid: the series' instance UID.
        volume: its slices and how they lie.
        grid: where its voxels lie, as `convert` writes them.
        warnings: what a reader should know.
    """

    uid: str
    volume: Volume
    grid: Grid
    warnings: tuple[str, ...] = ()

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Its slices, first to last along the normal."""
        return self.volume.points[0]

    def image(self, reader: Reader, limits: Limits) -> tuple[NDArray[Any], Grid]:
        """Measured values, [columns, rows, slices], on a grid at right angles, and that grid.

        Raises:
            RefusalError: a slice cannot be decoded.
        """
        made = assemble(self.volume, reader, limits, resample=True)
        columns, rows, slices = made.data.shape
        return made.data, Grid((columns, rows, slices), made.affine)


def find_anchor(
    sources: Sequence[Source], wanted: str | None, mask: Grid, reader: Reader, limits: Limits
) -> Anchor:
    """The volume that a mask belongs to.

    Of a series that makes several volumes, it is the one whose voxels are the mask's.

    Args:
        sources: files to look through.
        wanted: series UID; may be None where there is one series alone.
        mask: where the mask's voxels lie.
        reader: compares pixels of slices that lie at one place.
        limits: bounds on untrusted input.

    Raises:
        RefusalError: there is no such series, several and none is named, or it makes no volume
            that a segmentation can refer to.
    """
    one = _only(read_series(sources, wanted, limits), wanted)
    if one.refusal is not None:
        raise one.refusal
    made = volumes(one.slices, reader.same)
    found = [v for v in made if isinstance(v, Volume)]
    if not found:
        raise next(v for v in made if isinstance(v, RefusalError))
    anchors = [_anchor(one, volume) for volume in found]
    if len(anchors) > 1:
        anchors = [a for a in anchors if matches(mask, a.grid)]
    if len(anchors) != 1:
        raise RefusalError(
            Reason.CHOOSE_SERIES,
            f"Series {one.uid} makes {len(found)} volumes, and {len(anchors)} of them have the "
            "mask's voxels; give the files of one volume alone.",
        )
    _check(anchors[0])
    return anchors[0]


def _only(found: Sequence[Series], wanted: str | None) -> Series:
    """The one series of images.

    Raises:
        RefusalError: there is none, or more than one.
    """
    images = [one for one in found if one.slices or (one.uid and not _no_image(one))]
    if not images:
        what = f"No series {wanted!r}" if wanted else "No series of images"
        raise RefusalError(
            Reason.NO_SUCH_SERIES, f"{what} in the source; give the folder that holds it."
        )
    if len(images) > 1:
        listed = ", ".join(f"{one.uid} ({_description(one.header)})" for one in images[:4])
        more = ", ..." if len(images) > 4 else ""
        raise RefusalError(
            Reason.CHOOSE_SERIES,
            f"The source holds {len(images)} series; name the one that the mask was made on by its "
            f"UID: {listed}{more}.",
        )
    return images[0]


def _no_image(one: Series) -> bool:
    return one.refusal is not None and one.refusal.reason is Reason.NOT_AN_IMAGE


def _description(header: Dataset) -> str:
    with quiet():
        try:
            return printable(" ".join(texts(header, "SeriesDescription"))) or "no description"
        except Exception:  # undecodable text only costs the description
            return "no description"


def _anchor(one: Series, volume: Volume) -> Anchor:
    step, notes = step_of(volume)
    first = volume.first.plane
    rows, columns = first.shape
    grid = Grid((columns, rows, len(volume.points[0])), affine(first, step))
    return Anchor(one.uid, volume, grid, (*one.warnings, *volume.warnings, *notes))


def _check(anchor: Anchor) -> None:
    """Check that a segmentation can refer to every slice.

    Raises:
        RefusalError: it cannot.
    """
    slices, name = anchor.slices, anchor.slices[0].source.name
    if not slices[0].space:
        raise RefusalError(
            Reason.NO_FRAME_OF_REFERENCE,
            f"{name} has no frame of reference UID, so nothing can be placed beside it.",
        )
    many = len(anchor.volume.points)
    if many > 1:
        why = f"is one of {many} volumes over {anchor.volume.axis or 'time'}"
    elif any(
        one.pixels.corner != (0, 0) or one.plane.shape != slices[0].plane.shape for one in slices
    ):
        why = "is a mosaic, whose tiles have no name of their own"
    elif any(one.pixels.color for one in slices):
        why = "is in colour"
    else:
        return
    raise RefusalError(
        Reason.NOT_REFERENCEABLE,
        f"A segmentation cannot refer to this series: {name} {why}; choose an anatomical series.",
    )


def headers(anchor: Anchor, limits: Limits) -> tuple[list[Dataset], list[str]]:
    """Headers of the source images, and what a reader should know of them.

    One for each slice, in their order; one alone for a multi-frame file. They are copies, made so
    that each states what the converter worked out: one orientation and one spacing for all slices,
    the measured distance between them in place of a stated one. Elements of patient and study
    whose values the standard does not allow are left out or emptied.

    Raises:
        RefusalError: the series is spread over several multi-frame files, a multi-frame file holds
            other frames than this volume's, or a header is malformed.
    """
    try:
        with quiet():
            found = _headers(anchor, limits)
            emptied = sorted({name for header in found for name in _mend(header)})
    except RefusalError:
        raise
    except Exception as error:  # pydicom converts values when first read, and raises what it likes
        raise RefusalError(
            Reason.BAD_HEADER, f"{anchor.slices[0].source.name} has a malformed header ({error})."
        ) from error
    return found, [f"left out, as malformed in the source: {name}" for name in emptied]


def _headers(anchor: Anchor, limits: Limits) -> list[Dataset]:
    sources = list({one.source.path: one.source for one in anchor.slices}.values())
    found = []
    for source in sources:
        header = read_header(source, limits)
        if header is None:
            raise RefusalError(Reason.UNREADABLE, f"{source.name} changed while it was read.")
        found.append(header)
    if "PerFrameFunctionalGroupsSequence" in found[0]:
        frames = len(found[0].PerFrameFunctionalGroupsSequence)
        if len(found) > 1 or frames != len(anchor.slices):
            raise RefusalError(
                Reason.NOT_REFERENCEABLE,
                f"A segmentation cannot refer to this series: its volume of {len(anchor.slices)} "
                f"slices lies in {len(found)} multi-frame file(s), the first of {frames} frames.",
            )
        return [_enhanced(found[0], anchor)]
    return [_placed(header, one, anchor) for header, one in zip(found, anchor.slices, strict=True)]


def _placed(header: Dataset, one: Slice, anchor: Anchor) -> Dataset:
    """`header`, changed to say where `one` lies: a classic file's, or a group of a frame."""
    first = anchor.slices[0].plane
    header.ImagePositionPatient = _decimals(one.plane.position)
    header.ImageOrientationPatient = _decimals((*first.row, *first.column))
    _measured(header, anchor)
    return header


def _measured(place: Dataset, anchor: Anchor) -> None:
    gap = abs(float(anchor.grid.affine[:3, 2] * [-1, -1, 1] @ anchor.slices[0].plane.normal))
    place.PixelSpacing = _decimals(anchor.slices[0].plane.spacing)
    place.SliceThickness = _decimals([gap])[0]
    place.SpacingBetweenSlices = _decimals([gap])[0]


def _enhanced(header: Dataset, anchor: Anchor) -> Dataset:
    """The header of a multi-frame file with no more of its functional groups than is needed."""
    first = anchor.slices[0].plane
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = _decimals((*first.row, *first.column))
    _measured(measures, anchor)
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [measures]
    frames = []
    for one in sorted(anchor.slices, key=lambda s: s.pixels.frame):
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = _decimals(one.plane.position)
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    header.SharedFunctionalGroupsSequence = [shared]
    header.PerFrameFunctionalGroupsSequence = frames
    return header


# Must be there and may be empty: patient and study, PS3.3 C.7.1.1 and C.7.2.1.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)


_CHECKED = ("AS", "CS", "DA", "LO", "SH", "TM", "UI")
_SEXES = ("M", "F", "O", "")


def _mend(header: Dataset) -> list[str]:
    """Keywords of elements of patient and study that were malformed, and now are gone or empty."""
    bad = [
        element.keyword
        for element in header
        if (element.tag.group == 0x0010 or element.keyword in _MAY_BE_EMPTY) and not _valid(element)
    ]
    for keyword in bad:
        delattr(header, keyword)
    for keyword in _MAY_BE_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    return bad


def _valid(element: DataElement) -> bool:
    if element.keyword == "PatientSex" and element.value not in _SEXES:
        return False
    if element.VR not in _CHECKED or element.is_empty:
        return True
    try:
        for value in element.value if element.VM > 1 else [element.value]:
            validate_value(element.VR, str(value), config.RAISE)
    except ValueError:
        return False
    return True


def _decimals(values: Any) -> list[str]:
    """`values` as DICOM's decimal strings, at most 16 characters."""
    return [format_number_as_ds(float(v)) for v in np.asarray(values, dtype=float)]
