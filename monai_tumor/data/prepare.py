"""A study whose images lie on different grids, or show the skull, made fit for the bundles.

Their transforms (`LoadStudyd`, `NormalizeBraind`) read images on one grid without a skull. What
`prepare_study` returns holds a `Study` of that kind: the one given, when it needed nothing, else
files in a folder of their own.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_tumor.data.headers import UNREADABLE, not_readable, read_header
from monai_tumor.data.prepared import MaskSource, Placing, PreparedImage, PreparedStudy
from monai_tumor.data.problems import short
from monai_tumor.data.study import Study
from monai_tumor.errors import InputError, StudyError
from monai_tumor.files import safe_name, write_atomically, write_json
from monai_tumor.imaging.grids import ROUNDING_MM, SAME_MM, distance_mm
from monai_tumor.imaging.morphology import largest_piece
from monai_tumor.imaging.registration import RigidTransform, register, resample
from monai_tumor.imaging.skull import SkullFinding, has_skull, outline
from monai_tumor.imaging.skullstrip import BrainMask, judge
from monai_tumor.imaging.skullstrip import strip as find_brain
from monai_tumor.imaging.volume import Volume
from monai_tumor.labels import Modality, modality

Strip = Literal["auto", "always", "never"]
Volumes = dict[Modality, Volume]
Affine = NDArray[np.float64]
_WHOLE = 0.97  # of a head's upper part; an image that shows less has no say in the skull strip


def prepare_study(
    study: Study,
    folder: Path | str,
    *,
    reference: Modality | str = Modality.T1C,
    register: bool = True,
    strip: Strip = "auto",
    mask: Path | str | None = None,
) -> PreparedStudy:
    """Bring a study's images onto one grid and take the skull off, where either is needed.

    Writes, only when something was to be done: `<study>-<modality>.nii` for each, the transforms
    as `<study>-<modality>_to_<reference>.json`, `<study>-brain.nii.gz`, and last
    `<study>-prepared.json`, whose presence says that the others are whole. Images that lie on the
    reference's grid already are taken to be in place.

    Args:
        study: to be prepared; not changed.
        folder: a work folder; made if need be.
        reference: the modality whose grid all come to.
        register: align images of other grids to the reference. Without it they are resampled by
            their headers, which is right when all were scanned in one session and nobody moved.
        strip: "auto" strips where a skull is seen; "always" and "never" do as they say.
        mask: a brain mask to use in place of a strip: a NIfTI file in the reference's world;
            what is not 0 is brain.

    Raises:
        StudyError: an image cannot be read, placed or registered, or no brain is found.
        SchemeError: no modality is called like the reference.
        InputError: an unknown option, or the folder cannot be written to.
    """
    if strip not in get_args(Strip):
        raise InputError(f"Unknown strip {strip!r}; choose one of {', '.join(get_args(Strip))}.")
    target = modality(reference)
    volumes = _read(study)
    if target not in volumes:
        raise StudyError(
            f"Study {study.study!r} has no {target} to be the reference; it has"
            f" {', '.join(study.modalities)}. Choose one of these as the reference."
        )
    grid = volumes[target]
    skull = None if strip == "always" else has_skull(volumes)
    transforms = _align(study, volumes, target, register)
    placed = {n: _placed(v, grid, transforms.get(n)) for n, v in volumes.items()}
    upper = _upper(outline(grid))
    whole = {
        n: image
        for n, image in placed.items()
        if n == target or _covered(upper, volumes[n], transforms.get(n)) > _WHOLE
    }
    source, brain = _brain(study, whole, skull, strip, None if mask is None else Path(mask))
    shown = outline(grid) if brain is None else grid.with_voxels(brain.mask)
    images = tuple(
        _facts(study, name, volumes[name], grid, transforms.get(name), shown)
        for name in study.modalities
    )
    prepared = PreparedStudy(
        study, study, target, images, skull, source, None, brain.quality if brain else None
    )
    if brain is None and all(image.placing is Placing.UNCHANGED for image in images):
        return prepared
    return _write(prepared, placed, brain, Path(folder))


def on_one_grid(study: Study) -> bool:
    """Whether all images lie on one grid, by their headers alone; True of a single 4D file.

    Raises:
        StudyError: a file cannot be read.
    """
    headers = []
    for path in study.images:
        try:
            headers.append(read_header(path))
        except UNREADABLE as error:
            raise StudyError(f"Study {study.study!r}: {not_readable(path, error)}") from error
    first = headers[0]
    return all(
        h.shape == first.shape and distance_mm(h.affine, first.affine, h.shape) <= SAME_MM
        for h in headers
    )


def _read(study: Study) -> Volumes:
    if len(study.images) == 1:
        whole, affine = _read_file(study.images[0], study, axes=4)
        found = [_volume(channel, affine, study.images[0], study) for channel in whole]
    else:
        found = [_volume(*_read_file(path, study), path, study) for path in study.images]
    out = dict(zip(study.modalities, found, strict=True))
    for name, volume in out.items():
        if not np.isfinite(volume.voxels).all():
            bad = int((~np.isfinite(volume.voxels)).sum())
            raise StudyError(
                f"Study {study.study!r}: {bad} voxels of {name} are not finite (NaN or inf). "
                "Mend the file, or leave the study out."
            )
    return out


def _read_file(path: Path, study: Study, axes: int = 3) -> tuple[NDArray[np.float32], Affine]:
    """Voxels, [X, Y, Z] or [channel, X, Y, Z], and affine of one file."""
    try:
        image = nib.load(path)
        voxels = np.asarray(image.dataobj, np.float32)
    except UNREADABLE as error:
        raise StudyError(f"Study {study.study!r}: {not_readable(path, error)}") from error
    if axes == 3 and voxels.ndim == 4 and voxels.shape[3] == 1:
        voxels = voxels[..., 0]
    if axes == 4 and (voxels.ndim != 4 or voxels.shape[3] != len(study.modalities)):
        raise StudyError(
            f"Study {study.study!r}: {short(path)} has shape {voxels.shape}; a channel for each"
            f" of {', '.join(study.modalities)} is needed."
        )
    return (np.moveaxis(voxels, 3, 0) if axes == 4 else voxels), image.affine


def _volume(voxels: NDArray[np.float32], affine: Affine, path: Path, study: Study) -> Volume:
    try:
        return Volume(voxels, affine)
    except InputError as error:
        raise StudyError(f"Study {study.study!r}: {short(path)}: {error}") from None


def _same_grid(one: Volume, other: Volume) -> bool:
    """Whether voxels need not be touched; affines may differ by rounding."""
    return _apart(one, other) <= ROUNDING_MM


def _apart(one: Volume, other: Volume) -> float:
    """Mm between two grids; infinite where their shapes differ."""
    if one.voxels.shape != other.voxels.shape:
        return np.inf
    return distance_mm(one.affine, other.affine, one.voxels.shape)


def _align(
    study: Study, volumes: Volumes, target: Modality, wanted: bool
) -> dict[Modality, RigidTransform]:
    """The transforms of the images on other grids than the reference's."""
    out: dict[Modality, RigidTransform] = {}
    for name, volume in volumes.items():
        if not wanted or _same_grid(volume, volumes[target]):
            continue
        try:
            found = register(volume, volumes[target])
        except InputError as error:
            raise StudyError(f"Study {study.study!r}, {name} to {target}: {error}") from None
        if found.refused:
            raise StudyError(
                f"Study {study.study!r}: {name} cannot be registered to {target}: {found}. Look at"
                " both; if their headers place them rightly, turn registration off."
            )
        out[name] = found
    return out


def _placed(volume: Volume, grid: Volume, transform: RigidTransform | None) -> Volume:
    if _same_grid(volume, grid):
        return grid.with_voxels(volume.voxels)
    return grid.with_voxels(resample(volume, grid, transform))


def _brain(
    study: Study, placed: Volumes, skull: SkullFinding | None, how: Strip, given: Path | None
) -> tuple[MaskSource, BrainMask | None]:
    """The brain mask that is to be applied, on the reference's grid, and where it came from.

    Args:
        study: named in errors.
        placed: images that show the whole brain, on the reference's grid.
        skull: what was seen of a skull; None where it was not looked for.
        how: whether to strip.
        given: a mask's file.
    """
    grid = next(iter(placed.values()))
    stripped = [name for name in (skull.without_skull if skull else ()) if name in placed]
    if given is not None:
        volume = _volume(*_read_file(given, study), given, study)
        same = _same_grid(volume, grid)
        voxels = (volume.voxels if same else resample(volume, grid, order=0)) != 0
        source, found = MaskSource.GIVEN, BrainMask(voxels, judge(voxels, grid.affine))
    elif how == "never" or (how == "auto" and not skull):
        return MaskSource.NONE, None
    elif how == "auto" and stripped:
        voxels = _shown_in_any([placed[name].voxels for name in stripped])
        source, found = MaskSource.OTHER_MODALITIES, BrainMask(voxels, judge(voxels, grid.affine))
    else:
        source, found = MaskSource.STRIPPED, find_brain(placed)
    if not found.mask.any():
        where = "the given mask is empty there" if given else "the skull strip found none"
        raise StudyError(
            f"Study {study.study!r} has no brain on its reference's grid: {where}. "
            "Give a brain mask that covers it, or images that are skull-stripped."
        )
    return source, found


def _shown_in_any(images: list[NDArray[np.float32]]) -> NDArray[np.bool_]:
    """The largest piece of what is not background in any of some skull-stripped images."""
    return largest_piece(np.any([v > 0.01 * np.percentile(v, 99.5) for v in images], axis=0))


def _facts(
    study: Study,
    name: Modality,
    volume: Volume,
    grid: Volume,
    transform: RigidTransform | None,
    shown: Volume,
) -> PreparedImage:
    file = study.images[study.modalities.index(name) if len(study.images) > 1 else 0]
    if _same_grid(volume, grid):
        placing = Placing.UNCHANGED if _apart(volume, grid) <= SAME_MM else Placing.ROUNDED
        return PreparedImage(name, file, placing, None, 1.0)
    covered = _covered(shown, volume, transform)
    if not covered:
        raise StudyError(
            f"Study {study.study!r}: by its header {name} shows nothing of what the reference"
            " shows. Mend the header, or let it be registered."
        )
    placing = Placing.REGISTERED if transform else Placing.RESAMPLED
    return PreparedImage(name, file, placing, transform, covered)


def _upper(head: Volume) -> Volume:
    """The part of a head's mask, at most 140 mm from the top, that the brain lies in."""
    at = np.indices(head.voxels.shape, sparse=True)
    height = sum(head.affine[2, axis] * at[axis] for axis in range(3)) + head.affine[2, 3]
    top = np.max(height, where=head.voxels, initial=-np.inf)
    return head.with_voxels(head.voxels & (height > top - 140))


def _covered(shown: Volume, volume: Volume, transform: RigidTransform | None) -> float:
    """Share of a mask (every 7th voxel of it) that `volume` reaches."""
    at = np.argwhere(shown.voxels)[::7]
    matrix = np.eye(4) if transform is None else transform.matrix
    step = np.linalg.inv(matrix @ volume.affine) @ shown.affine
    index = at @ step[:3, :3].T + step[:3, 3]
    inside = (index >= -0.5) & (index <= np.array(volume.voxels.shape) - 0.5)
    return float(inside.all(axis=1).mean()) if len(at) else 0.0


def _write(
    prepared: PreparedStudy,
    placed: Mapping[Modality, Volume],
    brain: BrainMask | None,
    folder: Path,
) -> PreparedStudy:
    source, reference = prepared.source, prepared.reference
    stem = safe_name(source.study)
    single = len(source.images) == 1
    like = nib.load(source.images[0 if single else source.modalities.index(reference)])
    done = folder / f"{stem}-prepared.json"
    done.unlink(missing_ok=True)
    files = []
    for image in prepared.images:
        voxels = placed[image.modality].voxels
        voxels = voxels if brain is None else np.where(brain.mask, voxels, np.float32(0))
        files.append(folder / f"{stem}-{image.modality}.nii")
        _save(files[-1], voxels, like)
        if image.transform:
            image.transform.save(folder / f"{stem}-{image.modality}_to_{reference}.json")
    mask = None if brain is None else folder / f"{stem}-brain.nii.gz"
    if mask is not None and brain is not None:
        _save(mask, brain.mask.astype(np.uint8), like)
    study = replace(source, images=tuple(files), label=None, layout="named")
    out = replace(prepared, study=study, mask=mask)
    write_json(done, out.as_dict())
    return out


def _save(path: Path, voxels: NDArray[Any], like: Any) -> None:
    """Write voxels [X, Y, Z] with the geometry, and its codes, of the reference's file."""
    header = like.header.copy() if isinstance(like.header, nib.Nifti1Header) else None
    image = nib.Nifti1Image(voxels, like.affine, header, dtype=voxels.dtype)
    image.header.set_slope_inter(1, 0)
    write_atomically(path, partial(nib.save, image))
