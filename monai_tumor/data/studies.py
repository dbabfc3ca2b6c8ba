"""Find the studies in a folder, whatever the layouts: files in, `Study` objects out.

Names and headers are read here; `checks` looks inside, `datalist` makes splits.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from monai_tumor.data.duplicates import same_images, without_repeats
from monai_tumor.data.headers import UNREADABLE, not_readable, read_header
from monai_tumor.data.layouts import (
    MsdDataset,
    case_name,
    file_name,
    msd_above,
    name_beside,
    nifti_stem,
    read_msd,
    walk,
)
from monai_tumor.data.problems import Problem, short
from monai_tumor.data.study import (
    CONTRASTS,
    Study,
    absolute,
    parse_modalities,
    read_listing,
    scheme_of,
    study_from_files,
)
from monai_tumor.errors import InputError, MonaiTumorError, StudyError
from monai_tumor.labels import MODALITIES, Modality
from monai_tumor.labels import scheme as label_scheme

_LOG = logging.getLogger(__name__)

__all__ = ["Inventory", "Study", "find_studies", "study_from_files"]


@dataclass(frozen=True)
class Inventory:
    """What lies below a path.

    Attributes:
        root: the folder that paths in a datalist are relative to.
        studies: complete studies, in order of their id.
        problems: what kept others out, and notes.
    """

    root: Path
    studies: tuple[Study, ...]
    problems: tuple[Problem, ...] = ()


def find_studies(
    path: Path | str,
    *,
    scheme: str | None = None,
    modalities: str | Sequence[str] | None = None,
    keep_repeated: bool = False,
) -> Inventory:
    """Every study at or below `path`.

    Args:
        path: a study folder, a tree of any layouts, a 4D file, or a datalist JSON.
        scheme: how to read every label, in place of what each layout says; the log names a
            layout that says otherwise.
        modalities: channel order of 4D files, in place of what a `dataset.json` says.
        keep_repeated: give all of several studies with one id; otherwise the first, and a problem
            for each other.

    Returns:
        Complete studies, and the problems that kept others out. A study whose label scheme must
        be stated is among the studies, with a problem of kind "scheme".

    Raises:
        InputError: there is nothing at `path`, or it is neither a folder, NIfTI nor JSON.
        StudyError: no study and no sign of one was found.
        SchemeError: an unknown scheme or modality is asked for.
    """
    path = absolute(path)
    order = parse_modalities(modalities)
    if scheme is not None:
        label_scheme(scheme)
    if not path.exists():
        raise InputError(f"There is nothing at {path}; give a folder, a NIfTI file or a datalist.")
    finder = _Finder(order)
    root = path if path.is_dir() else path.parent
    if path.is_dir():
        finder.tree(path)
    elif path.suffix == ".json":
        root = finder.listing(path)
    elif nifti_stem(path):
        finder.loose(path, asked=True)
    else:
        raise InputError(f"{path} is neither a folder, a NIfTI file nor a datalist (.json).")
    if not finder.studies and not any(not p.is_note for p in finder.problems):
        raise StudyError(
            f"No study found in {path}: expected MSD Task01 (dataset.json) or BraTS folders such as"
            " BraTS2021_00001/BraTS2021_00001_{t1,t1ce,t2,flair}.nii.gz, .nii or .nii.gz."
        )
    studies = sorted(finder.studies, key=lambda s: (s.study, s.images))
    if scheme is not None:
        _say_if_overridden(studies, scheme)
        studies = [replace(s, scheme=scheme) for s in studies]
    repeated: list[Problem] = []
    if not keep_repeated:
        studies, repeated = without_repeats(studies)
    unstated = [unknown_scheme(s) for s in studies if s.label is not None and s.scheme is None]
    problems = [*finder.problems, *repeated, *same_images(studies), *unstated]
    return Inventory(root, tuple(studies), tuple(problems))


def _say_if_overridden(studies: Sequence[Study], scheme: str) -> None:
    """Log where `scheme` contradicts a layout: many values are valid in both, none would fail."""
    labelled = [s for s in studies if s.label is not None]
    for own in sorted({s.scheme for s in labelled if s.scheme not in (None, scheme)}, key=str):
        concerned = [s for s in labelled if s.scheme == own]
        _LOG.warning(
            "The labels of %d studies (%s and so on) are read by scheme %r as asked, though their "
            "layout stands for %r.",
            len(concerned),
            concerned[0].study,
            scheme,
            own,
        )


@dataclass
class _Finder:
    """Gathers studies and problems on a walk through a tree."""

    order: tuple[Modality, ...] | None
    studies: list[Study] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def tree(self, root: Path) -> None:
        """Everything below `root`."""
        files = list(walk(root, self._unreadable))
        claimed: set[Path] = set()
        for path in files:
            if path.name == "dataset.json":
                claimed |= self.msd(path)
        groups: dict[tuple[Path, str], list[Path]] = defaultdict(list)
        for path in files:
            if path in claimed or not nifti_stem(path):
                continue
            place = _place(path)
            named = file_name(place)
            if named is None:
                self.loose(path, asked=False)
                continue
            folder = case_name(place.parent.name)
            is_stray = named.case == "" and folder is not None
            groups[place.parent, place.parent.name if is_stray else named.case].append(path)
        for (folder_path, case), paths in groups.items():
            self.group(case or folder_path.name, folder_path, paths)

    def listing(self, path: Path) -> Path:
        """A datalist or `dataset.json` given by its path; returns the folder it speaks of."""
        if self.msd(path):
            return path.parent
        listing = read_listing(path)
        items = (item for items in listing.lists.values() for item in items)
        self.studies += [Study.from_item(item, listing.dataset_dir) for item in items]
        return listing.dataset_dir

    def msd(self, path: Path) -> set[Path]:
        """The studies of a `dataset.json`; returns the files that it speaks of."""
        try:
            data = read_msd(path)
        except MonaiTumorError as error:
            self.problems.append(Problem("", path, "dataset-json", str(error)))
            return set()
        if data is None:
            return set()
        pairs: list[tuple[Path, Path | None]] = [*data.training, *((i, None) for i in data.test)]
        absent = [image for image in data.test if not image.is_file()]
        if absent:
            message = f"{short(path)} lists {len(absent)} test images that are not there."
            self.problems.append(Problem("", path, "missing-test-files", message))
        for image, label in pairs:
            gone = next((f for f in (image, label) if f is not None and not f.is_file()), None)
            if gone is None:
                self.studies.append(_msd_study(image, label, data, self.order))
            elif label is not None:
                message = (
                    f"{short(path)} lists {short(gone)}, which is not there; add it or unlist it."
                )
                self.problems.append(
                    Problem(nifti_stem(image) or "", gone, "missing-file", message)
                )
        return {f for pair in pairs for f in pair if f is not None}

    def loose(self, path: Path, *, asked: bool) -> None:
        """A file whose name says no modality: usable if 4D with a known channel order."""
        study = nifti_stem(path) or ""
        try:
            shape = read_header(path).shape
            data = msd_above(path)
        except UNREADABLE as error:
            self.problems.append(Problem(study, path, "unreadable", not_readable(path, error)))
            return
        except MonaiTumorError as error:
            self.problems.append(Problem(study, path, "dataset-json", str(error)))
            return
        if len(shape) != 4:
            message = f"{short(path)} is {len(shape)}D"
            if asked:
                message += "; give the folder of its study, or four files (t1n, t1c, t2w, t2f)."
                self.problems.append(Problem(study, path, "dimension", message))
            elif path.parent.name != "labelsTr":
                message += " and its name says no modality; not used."
                self.problems.append(Problem(study, path, "unused-file", message))
        elif data is not None:
            label = data.folder / "labelsTr" / path.name
            self.studies.append(
                _msd_study(path, label if label.is_file() else None, data, self.order)
            )
        elif self.order is not None:
            self.studies.append(Study(study, (path,), self.order, None, None, "loose"))
        else:
            message = (
                f"{short(path)} has {shape[3]} channels, and which is which modality is not known."
                " State them in channel order, such as modalities='t2f,t1n,t1c,t2w'."
            )
            self.problems.append(Problem(study, path, "modalities", message))

    def group(self, case: str, folder: Path, paths: Sequence[Path]) -> None:
        """The files of one study, four 3D images and perhaps a label."""
        roles: dict[Modality | None, Path] = {}
        for path in paths:
            named = file_name(_place(path))
            role = named.role if named else None
            if role in roles:
                message = (
                    f"Study {case!r} has two files for its {role or 'label'}: {roles[role].name}"
                    f" and {path.name} in {folder.name}/. Keep one."
                )
                self.problems.append(Problem(case, path, "two-files", message))
                return
            roles[role] = path
        missing = [m for m in MODALITIES if m not in roles]
        if len(missing) == len(MODALITIES):
            for path in paths:
                message = f"{short(path)} is a label without images beside it; not used."
                self.problems.append(Problem(case, path, "unused-file", message))
            return
        if missing:
            self.problems.append(_missing(case, folder, roles, missing))
            return
        known = case_name(case) or case_name(folder.name)
        layout = known.layout if known else "named"
        study = Study(
            subject=known.subject if known else case,
            images=tuple(roles[m] for m in MODALITIES),
            modalities=MODALITIES,
            label=roles.get(None),
            scheme=scheme_of(layout),
            layout=layout,
            study=known.study if known else case,
        )
        self.studies.append(study)

    def _unreadable(self, error: OSError) -> None:
        folder = Path(str(error.filename))
        message = f"Folder {folder} cannot be read: {error.strerror}. Mend its permissions."
        self.problems.append(Problem("", folder, "unreadable", message))


def _place(path: Path) -> Path:
    """The path whose name counts: some copies of BraTS hold a folder X_flair.nii with one file."""
    return path.parent if nifti_stem(path.parent) else path


def _msd_study(
    image: Path, label: Path | None, data: MsdDataset, order: tuple[Modality, ...] | None
) -> Study:
    name = nifti_stem(image) or image.name
    return Study(name, (image,), order or data.modalities, label, data.scheme, "msd")


def _missing(
    case: str,
    folder: Path,
    roles: Mapping[Modality | None, Path],
    missing: Sequence[Modality],
) -> Problem:
    images = [roles[m] for m in MODALITIES if m in roles]
    found = ", ".join(m for m in MODALITIES if m in roles)
    lacks = " and no ".join(f"{m} ({CONTRASTS[m]})" for m in missing)
    adds = ", ".join(name_beside(images[0], m) for m in missing)
    message = (
        f"Study {case!r} has no {lacks} image; found {found} in {folder.name}/. Add {adds}, or"
        " leave the study out."
    )
    return Problem(case, folder, "missing-modality", message)


def unknown_scheme(study: Study) -> Problem:
    """That the label of `study` cannot be read without being told how."""
    message = (
        f"The label scheme of study {study.study!r} (layout {study.layout!r}) cannot be known from"
        " its name. State it, such as scheme='brats2023'."
    )
    return Problem(study.study, study.label, "scheme", message)
