"""The four images of a study that was found; those of a DICOM study are converted first."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_tumor.data.study import CONTRASTS, Study
from monai_tumor.dicom import ConvertedSeries, assign, convert
from monai_tumor.errors import StudyError
from monai_tumor.files import printable
from monai_tumor.labels import MODALITIES, Modality, modality
from monai_tumor.services.sources import Found


@dataclass(frozen=True)
class Origin:
    """The DICOM series that a study was converted from.

    Attributes:
        path: the input that holds them.
        files: of the study, as plain files.
        series: of each modality; its `path` is the image.
    """

    path: Path
    files: tuple[Path, ...]
    series: Mapping[Modality, ConvertedSeries]


@dataclass(frozen=True)
class Source:
    """One study to segment.

    Attributes:
        name: of its results; no other study of the run has it.
        study: its images.
        origin: where they were converted from; None for NIfTI.
    """

    name: str
    study: Study
    origin: Origin | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: which image is which."""
        return {"source": str(self._root), "images": self._images()}

    def __str__(self) -> str:
        """The study, and a line for each image."""
        lines = [f"  {role}: {found}" for role, found in self._images().items()]
        return "\n".join([f"{self.name} ({printable(self._root, 300)})", *lines])

    @property
    def _root(self) -> Path:
        return self.study.images[0].parent if self.origin is None else self.origin.path

    def _images(self) -> dict[str, str]:
        if self.origin is not None:
            return {
                str(role): f"{one.description or one.name} ({one.role.reason}), "
                + printable(one.series_uid)
                for role, one in self.origin.series.items()
            }
        if len(self.study.images) == 1:
            return {
                str(role): f"{printable(self.study.images[0].name, 300)}, channel {number}"
                for number, role in enumerate(self.study.modalities)
            }
        pairs = zip(self.study.modalities, self.study.images, strict=True)
        return {str(role): printable(path.name, 300) for role, path in pairs}


def four_images(found: Found, scratch: Path, series: Mapping[str, str] | None = None) -> Source:
    """What was found as images.

    Args:
        found: the study.
        scratch: a folder that archives are unpacked into and series converted into; nothing is
            written for NIfTI. It is needed as long as the images are.
        series: modality -> UID or converted name of the DICOM series to take for it.

    Raises:
        DicomError: no series can be converted, or what is wanted is not there.
        StudyError: a modality has no series.
    """
    if isinstance(found.study, Study):
        return Source(found.name, found.study)
    files = found.study.unpacked(scratch / "unpacked")
    chosen = _choose(found.name, convert(files, scratch / "converted"), series)
    images = tuple(chosen[m].path or Path() for m in MODALITIES)
    study = Study(found.name, images, MODALITIES, None, None, "named", found.name)
    return Source(found.name, study, Origin(found.given, files, chosen))


def _choose(
    name: str, group: Sequence[ConvertedSeries], wanted: Mapping[str, str] | None
) -> dict[Modality, ConvertedSeries]:
    """The series of each modality.

    Raises:
        StudyError: a modality has none, or they may be of several patients.
        RefusalError: what is wanted is not there.
    """
    chosen = assign(group, {modality(role): uid for role, uid in (wanted or {}).items()})
    missing = [m for m in MODALITIES if m not in chosen]
    if missing:
        lacks = " and no ".join(f"{m} ({CONTRASTS[m]})" for m in missing)
        seen = "; ".join(
            f"{one.name or one.description or printable(one.series_uid)}: "
            f"{one.message if one.refused else one.role}"
            for one in group
        )
        raise StudyError(
            f"DICOM study {name!r} has no {lacks} series. Found: {printable(seen, 1500)}. Name the "
            f"series with --series {missing[0]}=UID, or leave the study out."
        )
    studies = {one.study_uid for one in chosen.values()}
    if len(studies) > 1 or (studies == {""} and len(wanted or {}) < len(MODALITIES)):
        found = f"{len(studies)} studies" if len(studies) > 1 else "files that name no study"
        raise StudyError(
            f"The series of {name!r} are of {found}, perhaps of several patients. Give a folder of "
            "one study, or name each series with --series."
        )
    return chosen


def keep_images(source: Source, folder: Path) -> Source:
    """`source` with its converted images and sidecars moved to `folder`; NIfTI stays as it is."""
    if source.origin is None:
        return source
    folder.mkdir(parents=True, exist_ok=True)
    series = {}
    for role, one in source.origin.series.items():
        path, sidecar = (folder / f"{role}{end}" for end in (".nii.gz", ".json"))
        assert one.path is not None
        assert one.sidecar is not None
        shutil.copyfile(one.path, path)
        shutil.copyfile(one.sidecar, sidecar)
        series[role] = replace(one, path=path, sidecar=sidecar)
    images = tuple(series[role].path or Path() for role in source.study.modalities)
    return replace(
        source,
        study=replace(source.study, images=images),
        origin=replace(source.origin, series=series),
    )
