"""Segmentations as DICOM SEG, by highdicom (extra `dicom`), and the check of the written file."""

from pathlib import Path
from typing import Any

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from monai_tumor.dicom.codes import ABNORMAL, BRAIN, COLOURS, TISSUES
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.report import own_scheme
from monai_tumor.dicom.results import MANUFACTURER, RESEARCH, Job, Mask
from monai_tumor.labels import Tissue, scheme

_HAIR = 1e-3  # of a voxel: halfway between two voxels either is the nearest


def segmentation(job: Job) -> Dataset:
    """A BINARY segmentation, one disjoint segment for each tissue that is there.

    Frames are those of the source series that hold any of the segment; each refers to its source
    image. Standard: PS3.3 A.51.
    """
    made = Segmentation(
        source_images=job.headers,
        pixel_array=_frames(job),
        segmentation_type="BINARY",
        segment_descriptions=[_segment(job, t, number) for t, number in job.segments.items()],
        content_label="TUMOUR",
        content_description=f"Brain tumour, labels by scheme {job.mask.scheme}. {RESEARCH}"[:64],
        coding_schemes=[own_scheme()] if Tissue.CAVITY in job.segments else None,
        **job.identity("seg", 1, "Tumour segmentation (research)"),
    )
    made.ContentCreatorName = ""  # must be there and may be empty; highdicom leaves it out
    made.BodyPartExamined = "BRAIN"
    return job.settle(made)


def _frames(job: Job) -> NDArray[np.uint8]:
    """Segment numbers, [frames, rows, columns], in the order of the source images' frames."""
    values = scheme(job.mask.scheme)
    numbers = np.zeros(job.placed.labels.shape, np.uint8)
    for tissue, number in job.segments.items():
        numbers[job.placed.labels == values.value(tissue)] = number
    stored = np.argsort([one.pixels.frame for one in job.anchor.slices], kind="stable")
    return np.ascontiguousarray(numbers.T[stored])


def _segment(job: Job, tissue: Tissue, number: int) -> SegmentDescription:
    algorithm = job.mask.algorithm
    described: dict[str, Any] = {"algorithm_type": "MANUAL"}
    if algorithm is not None:
        described = {
            "algorithm_type": "AUTOMATIC",
            "algorithm_identification": AlgorithmIdentificationSequence(
                name=algorithm.name,
                version=algorithm.version,
                family=codes.cid7162.ArtificialIntelligence,
                source=MANUFACTURER,
                parameters=dict(one.split("=", 1) for one in algorithm.parameters) or None,
            ),
        }
    return SegmentDescription(
        segment_number=number,
        segment_label=str(tissue),
        segmented_property_category=ABNORMAL,
        segmented_property_type=TISSUES[tissue],
        tracking_id=str(tissue),
        tracking_uid=job.uid("track", str(tissue)),
        anatomic_regions=[BRAIN],
        display_color=CIELabColor.from_rgb(*COLOURS[tissue]),
        **described,
    )


def audit(path: Path, job: Job) -> None:
    """Check the written segmentation against the mask as it was given.

    Every pixel that is set, placed by its frame's own position and orientation, must meet the
    mask's label at that place, and no voxel may be lost. It shares no code with what placed the
    mask on the series and none with highdicom.

    Raises:
        RefusalError: a pixel disagrees.
    """
    file = dcmread(path)
    pixels = file.pixel_array.reshape(-1, file.Rows, file.Columns)
    shared = file.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    between = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    names = {int(s.SegmentNumber): s.SegmentLabel for s in file.SegmentSequence}
    values = {str(t): v for v, t in scheme(job.mask.scheme).tissues.items()}
    count = dict.fromkeys(names, 0)
    for frame, bits in zip(file.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        holder = frame if "SegmentIdentificationSequence" in frame else shared
        number = int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(bits)
        places = (
            corner
            + np.outer(columns * between[1], cosines[:3])
            + np.outer(rows * between[0], cosines[3:])
        )
        wrong = np.count_nonzero(~_meets(job.mask, places, values[names[number]]))
        if wrong:
            raise _mismatch(f"{wrong} pixels of {names[number]!r} lie where the mask has none")
        count[number] += len(rows)
    for number, name in names.items():
        expected = np.count_nonzero(job.placed.labels == values[name])
        if job.placed.exact:
            expected = np.count_nonzero(job.mask.labels == values[name])
        if count[number] != expected:
            raise _mismatch(f"{name!r} has {count[number]} pixels in place of {expected}")


def _meets(mask: Mask, places: NDArray[np.float64], value: int) -> NDArray[np.bool_]:
    """Whether the mask has `value` at each of `places`, LPS mm, [n, 3]."""
    to_voxel = np.linalg.inv(mask.affine)
    voxels = (places * [-1.0, -1.0, 1.0]) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    found = np.zeros(len(places), bool)
    top = np.array(mask.labels.shape) - 1
    for shift in np.array(list(np.ndindex(2, 2, 2))) * 2 - 1:
        i, j, k = np.clip(np.rint(voxels + shift * _HAIR).astype(int), 0, top).T
        found |= mask.labels[i, j, k] == value
    return found


def _mismatch(what: str) -> RefusalError:
    return RefusalError(
        Reason.AUDIT_MISMATCH, f"The written segmentation disagrees with the mask: {what}."
    )
