"""What the inputs of `segment` hold: studies in NIfTI files, and in DICOM series."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from monai_tumor.data.datalist import Datalist
from monai_tumor.data.layouts import nifti_stem, walk
from monai_tumor.data.problems import Problem
from monai_tumor.data.studies import Inventory, find_studies
from monai_tumor.data.study import Study, absolute, study_from_files
from monai_tumor.dicom import DicomStudy, find_dicom_studies, looks_like_dicom
from monai_tumor.errors import InputError, MonaiTumorError, StudyError
from monai_tumor.files import printable
from monai_tumor.provenance import result_record
from monai_tumor.services.naming import Named, distinct
from monai_tumor.services.places import Place

SECTIONS = ("test", "validation", "training")  # of a datalist, in the order that they are chosen
_LOG = logging.getLogger(__name__)
_LONGEST = 2000  # characters of a message


@dataclass(frozen=True)
class Found:
    """A study among the inputs; one in DICOM is not converted yet.

    Attributes:
        name: of its results; no other study of the run has it.
        study: its images, or its DICOM files.
        given: the input that holds it.
    """

    name: str
    study: Study | DicomStudy
    given: Path

    @property
    def key(self) -> str:
        """What tells it from others that may get its name in another run.

        A digest of the study instance UID; where there is none the path of its (first) file.
        """
        if isinstance(self.study, Study):
            return str(self.study.images[0].resolve())
        uid = self.study.uid
        return hashlib.sha256(uid.encode()).hexdigest()[:16] if uid else str(self.given.resolve())


@dataclass(frozen=True)
class Sources:
    """All studies of a run, in the order found.

    Attributes:
        found: those that can be tried.
        errors: name -> why another cannot, in one line.
    """

    found: tuple[Found, ...]
    errors: Mapping[str, str]


def find_sources(
    inputs: Sequence[Path],
    roles: Mapping[str, Path] | None = None,
    *,
    modalities: str | None = None,
    section: str | None = None,
) -> Sources:
    """Every study in `inputs`; an input that cannot be read is an error among the others.

    Files that the JSON of a result lists, and DICOM that this package wrote, are no inputs.

    Args:
        inputs: study folders, trees of them, 4D files, datalists; DICOM files, folders, archives.
        roles: or four files, "t1n", "t1c", "t2w" and "t2f".
        modalities: channel order of 4D files that lie beside no dataset.json.
        section: of a datalist; by default the first of `SECTIONS` that is not empty, and the log
            says which that is where there are several.

    Raises:
        InputError: nothing to segment.
        MonaiTumorError: why the first input cannot be read, where none can.
    """
    if bool(inputs) == bool(roles):
        raise InputError(
            "Give either folders, datalists, 4D files or DICOM, or all of t1n, t1c, t2w, t2f."
        )
    paths = [absolute(path) for path in inputs]
    if section is not None and not any(_is_datalist(path) for path in paths):
        raise InputError("A section is of a datalist, and none is given; leave out --section.")
    finder = _Finder(modalities, section)
    if roles:
        finder.add(study_from_files(**dict(roles)), next(iter(roles.values())))
    failures: list[MonaiTumorError] = []
    for path in paths:
        try:
            finder.look(path)
        except MonaiTumorError as error:
            failures.append(error)
            finder.fail(path.name or str(path), path.parent, error)
        except OSError as error:
            failures.append(InputError(f"Cannot read {path}: {error.strerror or error}."))
            finder.fail(path.name or str(path), path.parent, failures[-1])
    if paths and len(failures) == len(paths):
        raise failures[0]
    return finder.sources()


class _Entry(NamedTuple):
    named: Named
    given: Path
    what: Study | DicomStudy | str


@dataclass
class _Finder:
    """Gathers studies, and what keeps others out."""

    modalities: str | None
    section: str | None
    entries: list[_Entry] = field(default_factory=list)

    def look(self, path: Path) -> None:
        """Everything at or below `path`.

        Raises:
            MonaiTumorError: it holds nothing of use.
            OSError: it cannot be read.
        """
        if path.is_dir():
            os.scandir(path).close()
        if _is_datalist(path):
            for study in _listed(path, self.section):
                self.add(study, path)
            return
        dicom, refused = _dicom(path, self.refuse)
        try:
            inventory = find_studies(path, modalities=self.modalities, keep_repeated=True)
        except InputError:
            if refused is not None:
                raise refused from None
            if not dicom:
                raise
            inventory = Inventory(path, ())
        ours = _results_below(path)
        studies = [s for s in inventory.studies if ours.isdisjoint(_resolved(s.images))]
        problems = [p for p in inventory.problems if _keeps_out(p) and not _is_of(p, ours)]
        if not (studies or problems or dicom):
            raise StudyError(
                f"No study in {path} but results of earlier runs, which are no inputs; give the "
                "folder of the images."
            )
        if refused is not None:
            self.fail(path.name, path.parent, f"DICOM in {path} was not read: {refused}")
        for problem in problems:
            file = problem.file or path
            self.fail(problem.study or file.name, _folder(file), problem)
        for study in studies:
            self.add(study, path)
        for one in dicom:
            self.add_dicom(one, path, alone=len(dicom) == 1)

    def add(self, study: Study, given: Path) -> None:
        """A study; one that is given twice counts once."""
        first = study.images[0]
        place = first.parent if len(study.images) > 1 else first.parent / study.study
        named = Named(study.study, place, "\n".join(map(str, study.images)))
        self.entries.append(_Entry(named, given, study))

    def add_dicom(self, study: DicomStudy, given: Path, *, alone: bool) -> None:
        """A DICOM study, called after its folder; after the input, where that holds no other."""
        place = _folder(given) / given.stem if given.is_file() else given
        place = place if alone else study.folder
        self.entries.append(_Entry(Named(place.name, place, study.uid), given, study))

    def fail(self, name: str, place: Path, why: object) -> None:
        """What cannot be segmented."""
        self.entries.append(_Entry(Named(name, place), place, printable(why, _LONGEST)))

    def refuse(self, path: Path, why: InputError) -> None:
        """An archive, or a folder, that cannot be read."""
        self.fail(path.name if path.is_dir() else path.stem, _folder(path), why)

    def sources(self) -> Sources:
        """All, under names of their own; of several errors of one study the first."""
        first = {entry.named: entry for entry in reversed(self.entries)}
        entries = [entry for entry in self.entries if first[entry.named] is entry]
        names = distinct([entry.named for entry in entries])
        pairs = list(zip(names, entries, strict=True))
        return Sources(
            tuple(Found(n, e.what, e.given) for n, e in pairs if not isinstance(e.what, str)),
            {name: entry.what for name, entry in pairs if isinstance(entry.what, str)},
        )


def _is_datalist(path: Path) -> bool:
    return path.suffix == ".json" and path.name != "dataset.json"


def _listed(path: Path, section: str | None) -> tuple[Study, ...]:
    """The studies of one section of a datalist.

    Raises:
        StudyError: it is no datalist, or the section has none.
    """
    listed = Datalist.load(path)
    sections = {name: getattr(listed, name) for name in SECTIONS if getattr(listed, name)}
    sizes = ", ".join(f"{name} ({len(studies)})" for name, studies in sections.items())
    chosen = section or next(iter(sections))
    if chosen not in sections:
        raise StudyError(f"{path} has no studies for {chosen}; it has {sizes}.")
    if section is None and len(sections) > 1:
        _LOG.warning("%s has %s: %s is taken; --section takes another.", path, sizes, chosen)
    return tuple(sections[chosen])


def _dicom(
    path: Path, on_refused: Callable[[Path, InputError], None]
) -> tuple[list[DicomStudy], InputError | None]:
    """The DICOM studies at or below `path`, and what keeps them from being read.

    Raises:
        StudyError: it is an archive without DICOM.
    """
    if not path.is_dir() and not (
        path.is_file()
        and not nifti_stem(path)
        and path.suffix != ".json"
        and looks_like_dicom(path)
    ):
        return [], None
    try:
        found = find_dicom_studies(path, on_refused=on_refused)
    except InputError as error:
        return [], error
    except OSError as error:
        return [], InputError(f"{path} cannot be read: {error.strerror or error}.")
    if not found and path.is_file():
        raise StudyError(f"No images in {path}; give DICOM, NIfTI, or a folder or zip of DICOM.")
    return found, None


def _keeps_out(problem: Problem) -> bool:
    return not problem.is_note and problem.kind not in ("scheme", "same-image")


def _folder(file: Path) -> Path:
    return file if file.is_dir() else file.parent


def _resolved(paths: Iterable[Path]) -> set[Path]:
    return {path.resolve() for path in paths}


def _results_below(folder: Path) -> set[Path]:
    """The files of earlier results, as the JSON beside each label map lists them."""
    found: set[Path] = set()
    for path in walk(folder, str) if folder.is_dir() else ():
        record = result_record(path) if path.name.endswith("_seg.json") else None
        if record is not None:
            files = Place(path.parent, path.name.removesuffix("_seg.json")).listed(record)
            found |= {(path.parent / file).resolve() for file in files}
    return found


def _is_of(problem: Problem, results: set[Path]) -> bool:
    """Whether a problem is one of a result's file, or of a folder within a result."""
    if problem.file is None:
        return False
    file = problem.file.resolve()
    return file in results or any(file == result.parent for result in results if file.is_dir())
