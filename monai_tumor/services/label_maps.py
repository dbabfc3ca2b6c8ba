"""Label maps in files: found by subject, read, checked, and brought onto one grid."""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.filebasedimages import ImageFileError

from monai_tumor.errors import InputError, SchemeError, StudyError
from monai_tumor.labels import Modality, modality, scheme

_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_LABELS = re.compile(r"[-_](seg|segmentation|labels?|mask|pred|prediction)$", re.IGNORECASE)
_LABELS_FOLDER = "labelsTr"  # of MSD and nnU-Net; their images carry the same names

_TOLERANCE = 0.1  # of a voxel, that two grids may lie apart
_INTEGRAL = 1e-4  # that a label stored as a float may lie from an integer


def pair_up(prediction: Path, truth: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The label maps of both sides, subject -> file.

    Two files make one pair, whatever their names; the subject is the truth's.

    Raises:
        InputError: a path is missing, one is a file and the other a folder, a folder holds no
            label map or two of one subject.
    """
    for path in (prediction, truth):
        if not path.exists():
            raise InputError(f"{path} does not exist; give a NIfTI label map or a folder of them.")
    if prediction.is_dir() != truth.is_dir():
        raise InputError(
            f"Give two label maps or two folders; found a "
            f"{'folder' if prediction.is_dir() else 'file'} ({prediction}) and a "
            f"{'folder' if truth.is_dir() else 'file'} ({truth})."
        )
    if truth.is_dir():
        return _label_maps(prediction), _label_maps(truth)
    name = _subject(truth)
    return {name: prediction}, {name: truth}


def _label_maps(folder: Path) -> dict[str, Path]:
    """Subject -> label map, of all those below `folder`, sorted.

    In a folder where files are named as label maps (`-seg`), only these count; elsewhere every
    NIfTI file does that is not named as an image.
    """
    root = folder / _LABELS_FOLDER if (folder / _LABELS_FOLDER).is_dir() else folder
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if _NIFTI.search(path.name) and not path.name.startswith("."):
            by_folder.setdefault(path.parent, []).append(path)
    found: dict[str, Path] = {}
    for files in by_folder.values():
        named = [path for path in files if _LABELS.search(_stem(path))]
        for path in named or [path for path in files if not _modality_of(_stem(path))]:
            subject = _subject(path)
            if subject in found:
                raise InputError(
                    f"Two label maps of subject {subject!r}: {found[subject]} and {path}; keep one."
                )
            found[subject] = path
    if not found:
        raise InputError(
            f"No label maps in {root}; expected NIfTI files such as case.nii.gz or case-seg.nii.gz."
        )
    return dict(sorted(found.items()))


def _stem(path: Path) -> str:
    return _NIFTI.sub("", path.name)


def _subject(path: Path) -> str:
    """The name without `-seg` and the like, and without a modality: MONAI saves `x_flair_seg`."""
    name = _LABELS.sub("", _stem(path))
    return re.split(r"[-_][^-_]+$", name)[0] if _modality_of(name) else name


def _modality_of(name: str) -> Modality | None:
    match = re.search(r"[-_]([^-_]+)$", name)
    try:
        return modality(match[1]) if match else None
    except SchemeError:
        return None


def read_pair(
    prediction: Path, truth: Path, prediction_scheme: str, truth_scheme: str
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], tuple[float, ...]]:
    """Two label maps on the truth's grid, integers [X, Y, Z] each, and its spacing in mm.

    A prediction stored in another orientation is flipped and its axes swapped; nothing is
    interpolated.

    Raises:
        InputError: a file cannot be read.
        StudyError: a file holds no label map, or the grids differ.
        SchemeError: a value is not in its scheme.
    """
    image, reference = read(prediction, prediction_scheme), read(truth, truth_scheme)
    orientations = [nib.orientations.io_orientation(volume.affine) for volume in (image, reference)]
    image = image.reoriented(nib.orientations.ornt_transform(*orientations))
    _check_grids(image, reference, prediction, truth)
    spacing = tuple(float(edge) for edge in voxel_sizes(reference.affine))
    return image.values, reference.values, spacing


def read_onto(
    path: Path, scheme_name: str, shape: Sequence[int], affine: npt.NDArray[np.float64], owner: str
) -> npt.NDArray[Any]:
    """A label map on the grid of an image, integers [X, Y, Z].

    One stored in another orientation is flipped and its axes swapped; nothing is interpolated.

    Args:
        path: the label map.
        scheme_name: how to read it.
        shape: of the image, voxels along each axis.
        affine: of the image, voxel index to mm, RAS, [4, 4].
        owner: what to call the image in a message.

    Raises:
        As `read_pair`.
    """
    image = read(path, scheme_name)
    reference = LabelMap(np.broadcast_to(np.uint8(0), tuple(shape)), np.asarray(affine))
    orientations = [nib.orientations.io_orientation(volume.affine) for volume in (image, reference)]
    image = image.reoriented(nib.orientations.ornt_transform(*orientations))
    _check_grids(image, reference, path, owner, "the mask onto the image's grid")
    return image.values


class LabelMap(NamedTuple):
    """A label map and where it lies."""

    values: npt.NDArray[Any]  # [X, Y, Z]
    affine: npt.NDArray[np.float64]

    def reoriented(self, transform: npt.NDArray[Any]) -> "LabelMap":
        """The same voxels at the same places, in another order."""
        return LabelMap(
            nib.orientations.apply_orientation(self.values, transform),
            self.affine @ nib.orientations.inv_ornt_aff(transform, self.values.shape),
        )


def read(path: Path, scheme_name: str) -> LabelMap:
    """The label map: integers that the scheme knows, and an affine that can be used.

    Raises:
        InputError: the file cannot be read.
        StudyError: it holds no label map.
        SchemeError: a value is not in the scheme.
    """
    try:
        image = nib.load(path)
        values, affine = np.asanyarray(image.dataobj), image.affine
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"Cannot read {path}: {reason}. Write it again.") from error
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3 or values.dtype.kind not in "biuf":
        raise StudyError(
            f"{path} has shape {_shape(values)} and type {values.dtype}; a label map needs X, Y "
            "and Z alone, and plain numbers."
        )
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise StudyError(f"{path} has an affine that places no voxels; repair its header.")
    values = _integers(values, path)
    chosen = scheme(scheme_name)
    unknown = chosen.unknown_values(int(value) for value in np.unique(values))
    if unknown:
        raise SchemeError(
            f"{path} holds label values {unknown}, which scheme {scheme_name!r} does not know "
            f"(it has {', '.join(map(str, chosen.tissues))}); state the scheme it was written in."
        )
    return LabelMap(values, affine)


def _integers(values: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    if values.dtype.kind != "f":
        return values
    rounded = np.rint(values)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        off = ~(np.abs(values - rounded) <= _INTEGRAL)  # NaN too
    if off.any():
        raise StudyError(
            f"{path} holds {values[off][0]:g}; a label map needs integers. Threshold "
            "probabilities and write a label map first."
        )
    return rounded.astype(np.int64)


def _check_grids(
    prediction: LabelMap,
    truth: LabelMap,
    first: Path | str,
    second: Path | str,
    what: str = "the prediction onto the truth's grid",
) -> None:
    """Raise unless the voxels of both lie at the same places.

    Corners of the volumes may lie a tenth of a voxel apart: headers round.
    """
    start = f"{first} and {second} are on different grids: "
    end = f"; resample {what} (nearest neighbour) first."
    shapes = prediction.values.shape, truth.values.shape
    if shapes[0] != shapes[1]:
        sizes = f"{_shape(prediction.values)} and {_shape(truth.values)} voxels"
        raise StudyError(f"{start}{sizes}{end}")
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shapes[1]) - 1)
    places = [apply_affine(volume.affine, corners) for volume in (prediction, truth)]
    apart = float(np.linalg.norm(places[0] - places[1], axis=1).max())
    if apart > _TOLERANCE * min(voxel_sizes(truth.affine)):
        raise StudyError(f"{start}corners lie {apart:.3g} mm apart{end}")


def _shape(values: npt.NDArray[Any]) -> str:
    return "x".join(map(str, values.shape))
