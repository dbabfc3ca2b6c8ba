"""Phantoms as data sets: MSD Task01, BraTS 2021 and BraTS 2023 folders, DICOM studies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from monai_tumor.data.phantom.anatomy import Array
from monai_tumor.data.phantom.dicom import write_dicom_phantom
from monai_tumor.data.phantom.phantom import Phantom, make_phantom
from monai_tumor.errors import InputError
from monai_tumor.files import write_atomically, write_json
from monai_tumor.labels import MODALITIES, Modality, convert_labels

# Word for word as in Task01_BrainTumour/dataset.json, where the order and case are like this.
_MSD_MODALITIES = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
_MSD_ORDER = (Modality.T2F, Modality.T1N, Modality.T1C, Modality.T2W)
_MSD_LABELS = {
    "0": "background",
    "1": "edema",
    "2": "non-enhancing tumor",
    "3": "enhancing tumour",
}
_SEEDS_EACH = 100_000


@dataclass(frozen=True)
class Layout:
    """How a data set lays out its files.

    Attributes:
        label_scheme: of its labels.
        orientation: of its voxel axes, as nibabel writes it.
        subject: name of subject number n.
        files: modality -> end of a file's name; empty where that is not how images are told apart.
    """

    label_scheme: str
    orientation: str
    subject: str
    files: dict[Modality, str]


LAYOUTS = {
    "msd": Layout("msd", "RAS", "BRATS_{:03d}", {}),
    "brats2021": Layout(
        "brats2021",
        "LPS",
        "BraTS2021_{:05d}",
        {
            Modality.T1N: "_t1",
            Modality.T1C: "_t1ce",
            Modality.T2W: "_t2",
            Modality.T2F: "_flair",
        },
    ),
    "brats2023": Layout(
        "brats2023", "LPS", "BraTS-GLI-{:05d}-000", {name: f"-{name}" for name in MODALITIES}
    ),
    "dicom": Layout("brats2023", "LPS", "PHANTOM_{:03d}", {}),
}


def write_phantoms(
    folder: Path,
    *,
    count: int,
    layout: str,
    seed: int = 0,
    unlabelled: int = 0,
    orientation: str | None = None,
    make: Callable[[int], Phantom] = make_phantom,
    on_written: Callable[[Path], None] | None = None,
) -> list[Path]:
    """The subjects' folders, or with "msd" their images, of phantoms written as a data set.

    Images are int16, labels uint8, `.nii.gz`; with "dicom" the images are MR series.
    Subject n of any layout is `make(100000 * seed + n)`, so that the same seed gives the same
    subjects in each layout, and different seeds share none.

    Args:
        folder: where to; made when it is not there. With "msd" it becomes the folder that holds
            `dataset.json`, with "dicom" the one that holds `studies` (a folder for each subject,
            in it one for each series) and `truth` (labels on the series' grid); else it will hold
            one folder for each subject.
        count: subjects with a label.
        layout: "msd", "brats2021", "brats2023" or "dicom".
        seed: the source of all chance.
        unlabelled: further subjects without a label, numbered on; with "msd" in `imagesTs`.
        orientation: of the voxel axes, such as "RAS"; by default the layout's own. BraTS-Africa
            is "brats2023" in "RAS". Not for "dicom".
        make: seed -> phantom; `functools.partial(make_phantom, size="small")`, for example.
        on_written: called with each subject's path once it is on disk.

    Raises:
        InputError: no such layout or orientation, a count below zero, or a place that cannot be
            written to.
    """
    chosen = _checked(layout, orientation, count, unlabelled)
    write = {"msd": _write_msd, "dicom": _write_dicom}.get(layout, _write_brats)
    written = []
    for number in range(1, count + unlabelled + 1):
        phantom = make(_SEEDS_EACH * seed + number)
        path = write(Path(folder), phantom, chosen, number, labelled=number <= count)
        written.append(path)
        if on_written:
            on_written(path)
    if layout == "msd":
        _write_dataset_json(Path(folder), written[:count], written[count:])
    return written


def _checked(layout: str, orientation: str | None, count: int, unlabelled: int) -> Layout:
    if layout not in LAYOUTS:
        raise InputError(f"Unknown phantom layout {layout!r}; choose one of {', '.join(LAYOUTS)}.")
    if min(count, unlabelled) < 0 or count + unlabelled >= _SEEDS_EACH:
        raise InputError(
            f"Cannot write {count} phantoms and {unlabelled} unlabelled ones; "
            f"give numbers from 0, together below {_SEEDS_EACH}."
        )
    chosen = LAYOUTS[layout]
    if layout == "dicom" and orientation is not None:
        raise InputError("DICOM has axes of its own; leave out the orientation.")
    axes = (orientation or chosen.orientation).upper()
    if len(axes) != 3 or any(len(set(axes) & set(pair)) != 1 for pair in ("LR", "PA", "IS")):
        raise InputError(
            f"Unknown orientation {orientation!r}; give three letters such as RAS or LPS."
        )
    return Layout(chosen.label_scheme, axes, chosen.subject, chosen.files)


def _save(path: Path, voxels: Array, affine: Array, orientation: str) -> None:
    """Write voxels [X, Y, Z] or [X, Y, Z, channel] of RAS axes in another orientation."""
    image = nib.Nifti1Image(voxels, affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(orientation)
    )
    turned = image.as_reoriented(turn)
    turned.header.set_xyzt_units("mm")
    turned.set_sform(turned.affine, code="scanner")
    turned.set_qform(turned.affine, code="scanner")
    write_atomically(path, partial(nib.save, turned))


def _int16(image: Array) -> Array:
    return np.asarray(np.rint(image), np.int16)


def _label(phantom: Phantom, layout: Layout) -> Array:
    return np.asarray(convert_labels(phantom.label, phantom.scheme, layout.label_scheme))


def _write_brats(
    folder: Path, phantom: Phantom, layout: Layout, number: int, *, labelled: bool
) -> Path:
    subject = layout.subject.format(number)
    for modality, image in zip(MODALITIES, phantom.images, strict=True):
        path = folder / subject / f"{subject}{layout.files[modality]}.nii.gz"
        _save(path, _int16(image), phantom.affine, layout.orientation)
    if labelled:
        mark = layout.files[Modality.T1N][0]
        path = folder / subject / f"{subject}{mark}seg.nii.gz"
        _save(path, _label(phantom, layout), phantom.affine, layout.orientation)
    return folder / subject


def _write_msd(
    folder: Path, phantom: Phantom, layout: Layout, number: int, *, labelled: bool
) -> Path:
    name = f"{layout.subject.format(number)}.nii.gz"
    channels = [phantom.images[MODALITIES.index(modality)] for modality in _MSD_ORDER]
    path = folder / ("imagesTr" if labelled else "imagesTs") / name
    _save(path, np.stack([_int16(c) for c in channels], -1), phantom.affine, layout.orientation)
    if labelled:
        label = _label(phantom, layout)
        _save(folder / "labelsTr" / name, label, phantom.affine, layout.orientation)
    return path


def _write_dicom(
    folder: Path, phantom: Phantom, layout: Layout, number: int, *, labelled: bool
) -> Path:
    subject = layout.subject.format(number)
    write_dicom_phantom(folder / "studies" / subject, phantom)
    if labelled:
        path = folder / "truth" / f"{subject}_seg.nii.gz"
        _save(path, _label(phantom, layout), phantom.affine, layout.orientation)
    return folder / "studies" / subject


def _write_dataset_json(folder: Path, training: list[Path], test: list[Path]) -> None:
    """The description that MSD Task01 has, with its wording of modalities, labels and paths."""
    contents: dict[str, Any] = {
        "name": "BRATS",
        "description": "Phantoms made by monai-tumor; no patients",
        "licence": "Apache-2.0",
        "release": "1.0",
        "tensorImageSize": "4D",
        "modality": _MSD_MODALITIES,
        "labels": _MSD_LABELS,
        "numTraining": len(training),
        "numTest": len(test),
        "training": [
            {"image": f"./imagesTr/{path.name}", "label": f"./labelsTr/{path.name}"}
            for path in training
        ],
        "test": [f"./imagesTs/{path.name}" for path in test],
    }
    write_json(folder / "dataset.json", contents)
