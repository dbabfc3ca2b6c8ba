"""What the inputs of `segment` hold: studies in NIfTI files, and in DICOM series."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from monai_tumor.data.datalist import Datalist
from monai_tumor.data.problems import Problem
from monai_tumor.data.studies import find_studies
from monai_tumor.data.study import CONTRASTS, Study, study_from_files
from monai_tumor.dicom import ConvertedSeries, assign, convert, looks_like_dicom
from monai_tumor.errors import DicomError, InputError, StudyError
from monai_tumor.files import safe_name
from monai_tumor.labels import MODALITIES, Modality, modality

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """The DICOM series that a study was converted from.

    Attributes:
        path: as it was given.
        series: of each modality; its `path` is the image.
    """

    path: Path
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
        return "\n".join([f"{self.name} ({self._root})", *lines])

    @property
    def _root(self) -> Path:
        return self.study.images[0].parent if self.origin is None else self.origin.path

    def _images(self) -> dict[str, str]:
        if self.origin is not None:
            return {
                str(role): f"{one.description or one.name} ({one.role.reason}), {one.series_uid}"
                for role, one in self.origin.series.items()
            }
        if len(self.study.images) == 1:
            return {
                str(role): f"{self.study.images[0].name}, channel {number}"
                for number, role in enumerate(self.study.modalities)
            }
        pairs = zip(self.study.modalities, self.study.images, strict=True)
        return {str(role): path.name for role, path in pairs}


@dataclass
class Sources:
    """All studies of a run, in the order found.

    Attributes:
        found: those that can be tried.
        errors: study -> why another cannot.
    """

    found: list[Source] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)

    def add(self, study: Study, origin: Origin | None = None) -> None:
        """A study under a name of its own; "_2" and so on where another has it."""
        # A file system may not tell upper from lower case.
        used = {source.name.lower() for source in self.found}
        stem = name = safe_name(study.study)
        number = 1
        while name.lower() in used:
            number += 1
            name = f"{stem}_{number}"
        self.found.append(Source(name, study, origin))


def find_sources(
    inputs: Sequence[Path],
    roles: Mapping[str, Path] | None,
    scratch: Path,
    *,
    modalities: str | None = None,
    series: Mapping[str, str] | None = None,
) -> Sources:
    """Every study in `inputs`.

    Args:
        inputs: study folders, trees of them, 4D files, datalists; DICOM folders and archives.
        roles: or four files, "t1n", "t1c", "t2w" and "t2f".
        scratch: a folder that DICOM series are converted into.
        modalities: channel order of 4D files that lie beside no dataset.json.
        series: modality -> UID or converted name of the DICOM series to take for it.

    Raises:
        InputError: nothing to segment.
    """
    if bool(inputs) == bool(roles):
        raise InputError(
            "Give either folders, datalists, 4D files or DICOM, or all of t1n, t1c, t2w, t2f."
        )
    sources = Sources()
    if roles:
        sources.add(study_from_files(**dict(roles)))
    for number, given in enumerate(inputs):
        path = Path(given)
        if path.exists() and _is_dicom(path):
            _add_dicom(sources, path, scratch / str(number), series)
        elif path.suffix == ".json" and path.name != "dataset.json":
            listed = Datalist.load(path)
            for study in listed.test or listed.validation or listed.training:
                sources.add(study)
        else:
            _add_studies(sources, path, modalities)
    if not sources.found and not sources.errors:
        raise InputError(
            f"No study in {', '.join(map(str, inputs))}; look with monai-tumor inspect."
        )
    return sources


def _is_dicom(path: Path) -> bool:
    if path.is_dir():
        try:
            find_studies(path)
        except StudyError:
            return looks_like_dicom(path)
        return False
    return not path.name.lower().endswith((".nii", ".nii.gz", ".json")) and looks_like_dicom(path)


def _add_studies(sources: Sources, path: Path, modalities: str | None) -> None:
    inventory = find_studies(path, modalities=modalities)
    problems: list[Problem] = [
        p for p in inventory.problems if not p.is_note and p.kind not in ("scheme", "same-image")
    ]
    for problem in problems:
        sources.errors.setdefault(problem.study or str(problem.file), str(problem))
    for study in inventory.studies:
        if study.study not in sources.errors:
            sources.add(study)


def _add_dicom(
    sources: Sources, path: Path, folder: Path, wanted: Mapping[str, str] | None
) -> None:
    """The DICOM studies at `path`; series of one study instance UID belong together."""
    name = path.name.removesuffix(path.suffix) if path.is_file() else path.name
    try:
        converted = convert(path, folder)
        by_study: dict[str, list[ConvertedSeries]] = {}
        for one in converted:
            by_study.setdefault(one.study_uid, []).append(one)
        stray = by_study.pop("", []) if len(by_study) > 1 else []  # files that name no study
        for one in stray:
            _LOG.warning("%s: not used: %s", path, one)
        for number, group in enumerate(by_study.values(), start=1):
            called = name if number == 1 else f"{name}_{number}"
            try:
                chosen = _choose(called, group, wanted)
            except (DicomError, StudyError) as error:
                sources.errors[called] = str(error)
                continue
            images = tuple(chosen[m].path or Path() for m in MODALITIES)
            study = Study(called, images, MODALITIES, None, None, "named", called)
            sources.add(study, Origin(path.absolute(), chosen))
    except DicomError as error:
        sources.errors[name] = str(error)


def _choose(
    name: str, group: Sequence[ConvertedSeries], wanted: Mapping[str, str] | None
) -> dict[Modality, ConvertedSeries]:
    """The series of each modality.

    Raises:
        StudyError: a modality has none.
        RefusalError: what is wanted is not there.
    """
    chosen = assign(group, {modality(role): uid for role, uid in (wanted or {}).items()})
    missing = [m for m in MODALITIES if m not in chosen]
    if missing:
        lacks = " and no ".join(f"{m} ({CONTRASTS[m]})" for m in missing)
        seen = "; ".join(
            f"{one.name or one.description or one.series_uid}: "
            f"{one.message if one.refused else one.role}"
            for one in group
        )
        raise StudyError(
            f"DICOM study {name!r} has no {lacks} series. Found: {seen}. Name the series with "
            f"--series {missing[0]}=UID, or leave the study out."
        )
    return chosen


def keep_images(source: Source, folder: Path) -> Source:
    """`source` with its converted images and sidecars copied to `folder`; NIfTI stays as it is."""
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
