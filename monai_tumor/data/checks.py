"""Whether a study can be trained on: geometry from the headers, then the voxels."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from monai_tumor.data.headers import (
    UNREADABLE,
    Header,
    looks_whole,
    not_readable,
    read_header,
    read_voxels,
)
from monai_tumor.data.problems import Problem, short
from monai_tumor.data.study import Study
from monai_tumor.imaging.grids import (
    REPAIR_AFFINE,
    REPAIR_NAN,
    ROUNDING_MM,
    SAME_MM,
    distance_mm,
)
from monai_tumor.labels import MODALITIES, SCHEMES
from monai_tumor.labels import scheme as label_scheme

_T = TypeVar("_T")


def check_study(study: Study, *, voxels: bool = True) -> list[Problem]:
    """What is wrong with `study`, the gravest first.

    Args:
        study: what to check.
        voxels: also read every voxel: values that are not finite, constant images, label values,
            files cut short. Without it only headers are read.

    Returns:
        Problems and notes; empty if all is well.
    """
    problems = _check_channels(study)
    headers = _read(study, read_header, problems)
    if not problems and not voxels:
        suspects = {p for p, h in headers.items() if not looks_whole(p, h)}
        _read(study, lambda p: read_voxels(p) if p in suspects else None, problems)
    if not problems:
        problems = _check_shapes(study, headers) or _check_affines(study, headers)
    if voxels and not any(p.kind in _NO_VOXELS for p in problems):
        problems += _check_voxels(study)
    return problems


_NO_VOXELS = ("unreadable", "missing-modality", "dimension", "one-voxel", "shape")


def _read(study: Study, reader: Callable[[Path], _T], problems: list[Problem]) -> dict[Path, _T]:
    """What `reader` makes of each file; those that it cannot read are added to `problems`."""
    read = {}
    for path in study.files:
        try:
            read[path] = reader(path)
        except UNREADABLE as error:
            message = not_readable(path, error)
            problems.append(Problem(study.study, path, "unreadable", message))
    return read


def _check_channels(study: Study) -> list[Problem]:
    missing = [m for m in MODALITIES if m not in study.modalities]
    if missing:
        message = (
            f"Study {study.study!r} has no {' and no '.join(missing)} image; it has"
            f" {', '.join(study.modalities)}. Name all four modalities, or leave the study out."
        )
        return [Problem(study.study, study.images[0], "missing-modality", message)]
    if len(study.images) not in (1, len(study.modalities)):
        message = (
            f"Study {study.study!r} has {len(study.images)} files for {len(study.modalities)}"
            " modalities. Give one file a modality, or one 4D file."
        )
        return [Problem(study.study, study.images[0], "dimension", message)]
    return []


def _check_shapes(study: Study, headers: dict[Path, Header]) -> list[Problem]:
    def problem(path: Path, kind: str, message: str) -> Problem:
        return Problem(study.study, path, kind, f"{short(path)} {message}")

    is_4d = len(study.images) == 1
    first = study.images[0]
    reference = headers[first].shape[:3]
    for path in study.files:
        shape = headers[path].shape
        wanted = 4 if is_4d and path != study.label else 3
        if len(shape) != wanted:
            text = f"has shape {shape}; a {wanted}D image is needed here."
            return [problem(path, "dimension", text)]
        if min(shape[:3]) < 2:
            return [problem(path, "one-voxel", f"has shape {shape}; a volume is needed.")]
        if wanted == 4 and shape[3] != len(study.modalities):
            text = f"has {shape[3]} channels, but {len(study.modalities)} modalities are named."
            return [problem(path, "dimension", f"{text} State the modalities it holds.")]
        if shape[:3] != reference:
            text = f"has shape {shape[:3]}, but {first.name} has {reference}. Resample it."
            return [problem(path, "shape", text)]
    return []


def _check_affines(study: Study, headers: dict[Path, Header]) -> list[Problem]:
    first = study.images[0]
    reference = headers[first]
    shape = reference.shape
    problems: list[Problem] = []

    def add(path: Path, kind: str, message: str, repair: str | None = None) -> None:
        problems.append(Problem(study.study, path, kind, f"{short(path)}: {message}", repair))

    for path in study.files:
        affine = headers[path].affine
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
            add(path, "affine", "the affine is singular or not finite. Convert the file again.")
    if problems:
        return problems
    for path in study.files[1:]:
        header = headers[path]
        apart = distance_mm(header.affine, reference.affine, shape)
        if apart <= SAME_MM:
            continue
        by_qform = header.qform is not None and (
            distance_mm(header.qform, reference.affine, shape) <= SAME_MM
        )
        text = f"the affine puts it {apart:.3g} mm off {first.name}"
        if by_qform:
            add(path, "affine", f"{text}, though its qform agrees.", REPAIR_AFFINE)
        elif apart <= ROUNDING_MM:
            add(path, "affine", f"{text}, which is rounding.", REPAIR_AFFINE)
        else:
            text += f" (orientation {header.orientation}, there {reference.orientation})"
            add(path, "affine", f"{text}. Resample it, or give it the right affine.")
    return problems or [*_check_forms(study, headers), *_check_placed(study, reference)]


def _check_placed(study: Study, header: Header) -> list[Problem]:
    if header.placed:
        return []
    first = study.images[0]
    message = f"{short(first)} does not say how it is oriented; {header.orientation} is assumed."
    return [Problem(study.study, first, "no-orientation", message)]


def _check_forms(study: Study, headers: dict[Path, Header]) -> list[Problem]:
    """Files whose qform and sform disagree; a sound file of the study settles who is right."""
    shape = headers[study.images[0]].shape
    apart: dict[Path, float] = {}
    for path in study.files:
        header = headers[path]
        if header.qform is not None:
            apart[path] = distance_mm(header.affine, header.qform, shape)
    torn = [path for path, mm in apart.items() if mm > ROUNDING_MM]
    settled = len(torn) < len(study.files)
    problems = []
    for path in torn:
        text = f"{short(path)}: qform and sform disagree by {apart[path]:.3g} mm"
        if settled:
            text += "; the sform agrees with the study's other files and is used."
            problems.append(Problem(study.study, path, "form-conflict-settled", text))
        else:
            text += ", so readers disagree where it lies. Write the right one into both."
            problems.append(Problem(study.study, path, "form-conflict", text))
    return problems


def _check_voxels(study: Study) -> list[Problem]:
    problems: list[Problem] = []
    arrays = _read(study, read_voxels, problems)
    if problems:
        return problems
    label = None if study.label is None else arrays[study.label]
    if len(study.images) == 1:
        images = list(np.moveaxis(arrays[study.images[0]], -1, 0))
    else:
        images = [arrays[path] for path in study.images]
    for index, name in enumerate(study.modalities):
        path = study.images[index if len(study.images) > 1 else 0]
        which = short(path) if len(study.images) > 1 else f"{short(path)} channel {index} ({name})"
        finite = np.isfinite(images[index])
        if not finite.all():
            problems.append(_not_finite(study, path, which, images, ~finite, label))
        values = images[index][finite]
        if values.size == 0 or values.min() == values.max():
            value = f"{values[0]:g}" if values.size else "not finite"
            message = f"{which} is empty: every voxel is {value}. Replace it."
            problems.append(Problem(study.study, path, "empty", message))
    if study.label is not None and label is not None:
        problems += _check_label(study, study.label, label)
    return problems


def _not_finite(
    study: Study,
    path: Path,
    which: str,
    images: Sequence[NDArray[Any]],
    where: NDArray[np.bool_],
    label: NDArray[Any] | None,
) -> Problem:
    """NaN where every other image is 0 (or NaN too) and no tumour is labelled is background."""
    others = [image[where] for image in images]
    background = all(((v == 0) | ~np.isfinite(v)).all() for v in others)
    background = background and (label is None or not label[where].any())
    message = f"{which} has {int(where.sum())} voxels that are NaN or infinite"
    if background:
        return Problem(study.study, path, "nan", f"{message}, all in background.", REPAIR_NAN)
    return Problem(study.study, path, "nan", f"{message}, some inside the head. Replace it.")


def _check_label(study: Study, path: Path, label: NDArray[Any]) -> list[Problem]:
    present = np.unique(label)
    odd = [v for v in present.tolist() if not np.isfinite(v) or v != round(v)]
    if odd:
        message = (
            f"{short(path)} holds values that are not whole, such as {odd[0]:g}. Labels must not be"
            " interpolated: resample with nearest neighbour."
        )
        return [Problem(study.study, path, "label-not-whole", message)]
    values = [int(v) for v in present if v != 0]
    if not values:
        message = f"{short(path)} has no tumour: every voxel is 0."
        return [Problem(study.study, path, "no-tumour", message)]
    if study.scheme is None:
        return []  # `find_studies` has said so
    scheme = label_scheme(study.scheme)
    unknown = scheme.unknown_values(values)
    if unknown:
        message = (
            f"{short(path)} has label values {unknown}, unknown in scheme {scheme.name!r} (0,"
            f" {', '.join(map(str, scheme.tissues))})."
        )
        others = [n for n, s in SCHEMES.items() if not s.unknown_values(values) and "_as_" not in n]
        if others:
            message += (
                " If the labels are in another scheme, state it (schemes with these values:"
                f" {', '.join(others)})."
            )
        return [Problem(study.study, path, "label-values", message)]
    return []
