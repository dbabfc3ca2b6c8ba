"""Label maps and DICOM series for the tests of what is written back to DICOM."""

from datetime import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom import dcmread

from dicom.generator import (
    CORONAL,
    SAGITTAL,
    Grid,
    classic,
    enhanced,
    oblique,
    save_all,
)
from monai_tumor.dicom import Algorithm, Mask, convert
from monai_tumor.dicom.files import quiet

TURNED = oblique(0.3, -0.4, 0.5)
GRIDS = {
    "axial": {},
    "sagittal": {"orientation": SAGITTAL},
    "coronal": {"orientation": CORONAL},
    "oblique": {"orientation": TURNED},
    "tilted": {"tilt": 0.7},
    "oblique and tilted": {"orientation": TURNED, "tilt": 0.6},
    "tilted backwards": {"tilt": -0.7},
    "fine": {"spacing": (0.4688, 0.4688), "gap": 1.2},
}
WEIGHTS = "ab" * 32
ALGORITHM = Algorithm("brats_segresnet", "0.1.0", (WEIGHTS,))
MADE = datetime(2026, 1, 2, 3, 4, 5, 678)


def label_map(shape) -> np.ndarray:
    """BraTS 2021 values in a lopsided arrangement: oedema around a core around enhancing tumour."""
    labels = np.zeros(shape, np.uint8)
    labels[2:7, 3:9, 1:6] = 2
    labels[3:6, 4:8, 2:5] = 1
    labels[3, 4:7, 2:4] = 4
    labels[6, 8, 5] = 4
    return labels


def series(folder: Path, grid: Grid, **tags) -> Path:
    with quiet():
        return save_all(classic(grid, **tags), folder)


def shuffled(folder: Path, grid: Grid) -> Path:
    """One enhanced file whose frames are in disorder."""
    order = np.random.default_rng(3).permutation(grid.count)
    with quiet():
        return save_all([enhanced(grid, [(int(k), {}) for k in order])], folder)


def converted(source: Path, target: Path):
    """The affine and shape of the one volume in `source`, as our converter writes it."""
    (one,) = convert(source, target)
    image = nib.load(one.path)
    return image.affine, image.shape


def mask_on(source: Path, target: Path, labels=None, **changes) -> Mask:
    affine, shape = converted(source, target)
    fields = {
        "labels": label_map(shape) if labels is None else labels,
        "affine": affine,
        "scheme": "brats2021",
        "algorithm": ALGORITHM,
        "name": "case",
        "made": MADE,
    }
    return Mask(**(fields | changes))


def points_of(labels, affine, value) -> np.ndarray:
    """RAS mm of every voxel of `value`, in a fixed order, rounded to 0.01 mm."""
    voxels = np.argwhere(labels == value)
    return in_order(voxels @ affine[:3, :3].T + affine[:3, 3])


def in_order(points) -> np.ndarray:
    rounded = np.round(points, 2) + 0.0
    return rounded[np.lexsort(rounded.T)]


def points_in(path: Path) -> dict[str, np.ndarray]:
    """RAS mm of every set pixel of a SEG file by the code of its segment: by pydicom alone."""
    with quiet():
        file = dcmread(path)
        frames = file.pixel_array.reshape(-1, file.Rows, file.Columns)
    shared = file.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3))
    down, right = shared.PixelMeasuresSequence[0].PixelSpacing
    codes = {
        int(s.SegmentNumber): s.SegmentedPropertyTypeCodeSequence[0].CodeValue
        for s in file.SegmentSequence
    }
    found = {code: [] for code in codes.values()}
    for groups, frame in zip(file.PerFrameFunctionalGroupsSequence, frames, strict=True):
        holder = groups if "SegmentIdentificationSequence" in groups else shared
        number = int(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        corner = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        for r, c in np.argwhere(frame):
            place = corner + r * down * column.astype(float) + c * right * row.astype(float)
            found[codes[number]].append(place * [-1, -1, 1])
    return {code: in_order(np.array(points)) for code, points in found.items()}
