"""A study read and made fit for the network: placed, stripped, looked at."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_tumor.data import on_one_grid, prepare_study
from monai_tumor.data.checks import check_study
from monai_tumor.data.headers import read_header
from monai_tumor.data.memory import free_memory
from monai_tumor.data.prepare import Strip
from monai_tumor.data.prepared import MaskSource, Placing, PreparedStudy
from monai_tumor.data.study import Study
from monai_tumor.errors import InputError, StudyError
from monai_tumor.files import sha256
from monai_tumor.imaging.images import read_images
from monai_tumor.imaging.quality import Flag, Severity, check_images
from monai_tumor.imaging.skull import SkullFinding, has_skull
from monai_tumor.imaging.volume import Volume
from monai_tumor.labels import Modality, modality
from monai_tumor.services.four_images import Source, keep_images

SHOWN = (Modality.T1C, Modality.T2F)  # in key slices: enhancing tumour, then oedema
_BYTES_A_VOXEL = 120  # four images and three probabilities, with their copies
_GRID_PROBLEMS = ("shape", "affine")  # that bringing all to one grid mends


@dataclass(frozen=True)
class Preparation:
    """What may be done to the images before the network.

    Attributes:
        reference: the modality whose grid all come to, where their grids differ.
        register: align such images; else they are resampled by their headers.
        strip: take the skull off: "auto" where one is seen, "always", "never".
        brain_mask: a mask to use in place of a strip.
        keep_images: leave the prepared images beside the result.
    """

    reference: str = Modality.T1C.value
    register: bool = True
    strip: Strip = "auto"
    brain_mask: Path | None = None
    keep_images: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        mask = None if self.brain_mask is None else str(self.brain_mask)
        return asdict(self) | {"brain_mask": mask}

    def request(self) -> dict[str, Any]:
        """What decides the result, JSON-ready: of a brain mask its content, not its name.

        Raises:
            InputError: the brain mask cannot be read.
        """
        if self.brain_mask is None:
            return asdict(self)
        try:
            return asdict(self) | {"brain_mask": sha256(self.brain_mask)}
        except OSError as error:
            raise InputError(
                f"Cannot read the brain mask {self.brain_mask}: {error.strerror or error}."
            ) from error


@dataclass(frozen=True)
class OpenedStudy:
    """A study in memory.

    Attributes:
        item: for `Segmenter.prepare`; its images are read.
        shown: t1c and t2f, float32, [X, Y, Z], those that there are.
        affine: float64, [4, 4], of all images.
        prepared: what was done to them; None where they needed nothing.
        source: where they came from.
    """

    item: Mapping[str, Any]
    shown: Mapping[str, np.ndarray[Any, Any]]
    affine: np.ndarray[Any, Any]
    prepared: PreparedStudy | None
    source: Source


def open_study(source: Source, folder: Path, how: Preparation) -> OpenedStudy:
    """Read a study; where its grids differ or a skull is on, prepare it first.

    Args:
        source: the study.
        folder: of its own; gets what a preparation leaves, and images converted from DICOM.
        how: what may be done.

    Raises:
        StudyError: it cannot be read or prepared.
        SchemeError: the reference is no modality.
    """
    source = keep_images(source, folder / "images")
    study, prepared = source.study, None
    placed = require_usable(study)
    skull: SkullFinding | None = None
    volumes: dict[Modality, np.ndarray[Any, Any]] = {}
    if placed:
        item, volumes, affine = _read(study)
        solid = {name: Volume(voxels, affine) for name, voxels in volumes.items()}
        skull = has_skull(solid) if how.strip == "auto" else None
    if not placed or skull or how.strip == "always" or how.brain_mask is not None:
        prepared = _prepare(study, folder / "prepared", how)
        item, volumes, affine = _read(prepared.study)
        if not how.keep_images:
            for path in set(prepared.study.images) - set(study.images):
                path.unlink()
        skull = None
    flags = (*check_images(volumes, affine, skull), *_preparation_flags(prepared))
    grid = study.images[0 if len(study.images) == 1 else _index(study, how.reference)]
    return OpenedStudy(
        item=item | {"study": source.name, "reference": str(grid), "flags": flags},
        shown={name.value: volumes[name] for name in SHOWN if name in volumes},
        affine=affine,
        prepared=prepared,
        source=source,
    )


def require_usable(study: Study) -> bool:
    """Refuse, by its headers, a study that cannot be segmented; whether it lies on one grid.

    Raises:
        StudyError: an image is missing, damaged, no volume or larger than memory.
    """
    problems = [p for p in check_study(study, voxels=False) if not p.is_note]
    for problem in problems:
        if problem.kind not in _GRID_PROBLEMS:
            raise StudyError(str(problem))
    _require_memory(study)
    return not problems or on_one_grid(study)


def _require_memory(study: Study) -> None:
    """Refuse what would end in this process being killed."""
    shape = max((read_header(path).shape[:3] for path in study.images), key=np.prod)
    needed, free = _BYTES_A_VOXEL * int(np.prod(shape)), free_memory()
    if needed > free:
        size = " x ".join(map(str, shape))
        raise StudyError(
            f"Study {study.study!r} has {size} voxels, which need about {needed / 1e9:.1f} GB of "
            f"memory; {free / 1e9:.1f} GB are free. Crop or resample its images."
        )


def _index(study: Study, reference: str) -> int:
    wanted = modality(reference)
    return study.modalities.index(wanted) if wanted in study.modalities else 0


def _prepare(study: Study, folder: Path, how: Preparation) -> PreparedStudy:
    return prepare_study(
        study,
        folder,
        reference=how.reference,
        register=how.register,
        strip=how.strip,
        mask=how.brain_mask,
    )


def _read(
    study: Study,
) -> tuple[dict[str, Any], dict[Modality, np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """The item with its images read, each image [X, Y, Z], and their affine."""
    names = [name.value for name in study.modalities]
    images = read_images([path.absolute() for path in study.images], study.study, names)
    item = study.as_item() | {"image": images}
    item.pop("label", None)
    volumes = dict(zip(study.modalities, images.voxels, strict=True))
    return item, volumes, images.affine


def _preparation_flags(prepared: PreparedStudy | None) -> tuple[Flag, ...]:
    """What was done, for the reader of the result."""
    if prepared is None:
        return ()
    look = "Look at the images on one another before you trust the result."
    flags = [Flag("preparation", Severity.WARNING, line, look) for line in prepared.warnings]
    moved = [i for i in prepared.images if i.placing in (Placing.RESAMPLED, Placing.REGISTERED)]
    if moved:
        how = "; ".join(f"{i.modality} was {i.placing}" for i in moved)
        found = f"Images lay on different grids: {how}, to that of {prepared.reference}."
        flags.append(Flag("several-grids", Severity.NOTE, found, look))
    if prepared.mask_source is MaskSource.GIVEN:
        found = "The brain mask is the one that was given."
        flags.append(Flag("brain-mask", Severity.NOTE, found, "Nothing outside it is segmented."))
    return tuple(flags)
