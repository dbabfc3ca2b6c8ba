"""Find the studies in a folder, whatever the layouts: files in, `Study` objects out.

Names and headers are read here; `checks` looks inside, `datalist` makes splits.
"""

import gzip
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from monai_tumor.data.layouts import (
    LAYOUTS,
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
from monai_tumor.errors import InputError, MonaiTumorError, SchemeError, StudyError
from monai_tumor.labels import MODALITIES, Modality, modality
from monai_tumor.labels import scheme as label_scheme

CONTRASTS = {
    Modality.T1N: "T1",
    Modality.T1C: "contrast-enhanced T1",
    Modality.T2W: "T2",
    Modality.T2F: "FLAIR",
}
# What nibabel raises on a file that is cut short, or is something else than it says.
UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
)


@dataclass(frozen=True)
class Study:
    """One scan session: four 3D images or one 4D image, and perhaps a label map.

    Attributes:
        subject: the person; no split parts the studies of one subject.
        images: one path a modality, or the path of one 4D file.
        modalities: channel order of `images`.
        label: the label map, if there is one.
        scheme: how the label map is to be read; None when it is not known.
        layout: a key of `layouts.LAYOUTS`.
        study: this session, unique in a datalist; the subject where a data set has one a person.
    """

    subject: str
    images: tuple[Path, ...]
    modalities: tuple[Modality, ...]
    label: Path | None
    scheme: str | None
    layout: str
    study: str = ""

    def __post_init__(self) -> None:
        """Name the study after its subject where no name is given."""
        if not self.study:
            object.__setattr__(self, "study", self.subject)

    @property
    def files(self) -> tuple[Path, ...]:
        """The images, then the label if there is one."""
        return self.images if self.label is None else (*self.images, self.label)

    def as_item(self, base: Path | None = None) -> dict[str, Any]:
        """The study as an item of a MONAI datalist.

        Args:
            base: paths are written relative to this folder; as they are without it.

        Returns:
            "subject", "study", "image" (a list of paths, or the one path of a 4D file),
            "modalities", "layout", and, where known, "label" and "scheme".
        """

        def text(path: Path) -> str:
            return str(path) if base is None else Path(os.path.relpath(path, base)).as_posix()

        images = [text(p) for p in self.images]
        item: dict[str, Any] = {
            "subject": self.subject,
            "study": self.study,
            "image": images if len(images) > 1 else images[0],
            "modalities": [str(m) for m in self.modalities],
            "layout": self.layout,
        }
        if self.label is not None:
            item["label"] = text(self.label)
        if self.scheme is not None:
            item["scheme"] = self.scheme
        return item

    @classmethod
    def from_item(cls, item: Mapping[str, Any] | str, base: Path | None = None) -> "Study":
        """The study of a MONAI datalist item, ours or another's.

        What the item does not say, its file names must.

        Raises:
            StudyError: the item has no image, or its modalities are not known.
            SchemeError: it names an unknown modality or scheme.
        """
        item = {"image": item} if isinstance(item, str) else item
        found = item.get("image")
        entries = [found] if isinstance(found, str) else found
        if not entries or not all(isinstance(e, str) for e in entries):
            raise StudyError(
                f'Datalist item {dict(item)!r} needs "image": a path or a list of paths.'
            )
        images = tuple(_path(e, base) for e in entries)
        stem = nifti_stem(images[0]) or images[0].name
        named = file_name(images[0])
        case = (named.case if named else "") or (images[0].parent.name if named else stem)
        known = case_name(case)
        order = item.get("modalities") or [getattr(file_name(i), "role", None) for i in images]
        if len(images) == 1 and "modalities" not in item:
            above = msd_above(images[0])
            order = list(above.modalities) if above else [None]
        if None in order:
            raise StudyError(
                f"{short(images[0])}: which channel is which modality is not known. Add"
                ' "modalities": ["t1n", "t1c", "t2w", "t2f"] (in channel order) to its item.'
            )
        layout = item.get("layout") or (known.layout if known else "loose")
        scheme = item.get("scheme") or LAYOUTS.get(layout, LAYOUTS["loose"]).scheme
        return cls(
            subject=str(item.get("subject") or (known.subject if known else case)),
            images=images,
            modalities=tuple(modality(m) for m in order),
            label=_path(item["label"], base) if item.get("label") else None,
            scheme=None if scheme is None else label_scheme(scheme).name,
            layout=layout,
            study=str(item.get("study") or item.get("subject") or case),
        )


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


def parse_modalities(value: str | Sequence[str] | None) -> tuple[Modality, ...] | None:
    """A channel order from `"t2f,t1n,t1c,t2w"` or a list of names; None stays None.

    Raises:
        SchemeError: a name is unknown, or one stands twice.
    """
    if value is None:
        return None
    order = tuple(modality(v) for v in (value.split(",") if isinstance(value, str) else value))
    if len(set(order)) != len(order):
        raise SchemeError(f"A modality stands twice in {', '.join(order)}; name each channel once.")
    return order


def find_studies(
    path: Path | str,
    *,
    scheme: str | None = None,
    modalities: str | Sequence[str] | None = None,
) -> Inventory:
    """Every study at or below `path`.

    Args:
        path: a study folder, a tree of any layouts, a 4D file, or a datalist JSON.
        scheme: how to read every label, in place of what each layout says.
        modalities: channel order of 4D files, in place of what a `dataset.json` says.

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
        studies = [replace(s, scheme=scheme) for s in studies]
    studies, repeated = _without_repeats(studies)
    problems = [*finder.problems, *repeated, *same_images(studies), *_unknown_schemes(studies)]
    return Inventory(root, tuple(studies), tuple(problems))


def study_from_files(
    *,
    t1n: Path | str | None = None,
    t1c: Path | str | None = None,
    t2w: Path | str | None = None,
    t2f: Path | str | None = None,
) -> Study:
    """The study of four 3D files, whatever their names.

    Raises:
        StudyError: one is not given, or not there.
    """
    given = dict(zip(MODALITIES, (t1n, t1c, t2w, t2f), strict=True))
    missing = [m for m, p in given.items() if not p]
    if missing:
        found = ", ".join(m for m in MODALITIES if m not in missing) or "none"
        raise StudyError(
            f"{_lacks(missing[0])} is given; given are {found}. Give all of t1n, t1c, t2w, t2f."
        )
    images = [absolute(str(p)) for p in given.values()]
    for image in images:
        if not image.is_file():
            raise StudyError(f"There is no file {image}.")
    named = file_name(images[0])
    case = (named.case if named else nifti_stem(images[0])) or images[0].parent.name
    known = case_name(case)
    return Study(
        subject=known.subject if known else case,
        images=tuple(images),
        modalities=MODALITIES,
        label=None,
        scheme=LAYOUTS[known.layout].scheme if known else None,
        layout=known.layout if known else "loose",
        study=case,
    )


def read_listing(path: Path) -> tuple[Path, dict[str, list[Any]], dict[str, Any]]:
    """What a datalist JSON holds: its data set's folder, its lists of items, and all of it.

    Raises:
        StudyError: it is not JSON, or holds none of the lists.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as a datalist: {error}.") from None
    data = data if isinstance(data, dict) else {}
    lists = {
        k: data[k] for k in ("training", "validation", "test") if isinstance(data.get(k), list)
    }
    if not any(lists.values()):
        raise StudyError(f'{path} is not a datalist: it has no "training", "validation" or "test".')
    return Path(data.get("dataset_dir") or path.parent), lists, data


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
            # Some copies of BraTS hold a folder X_flair.nii with the one file inside.
            place = path.parent if nifti_stem(path.parent) else path
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
        folder, lists, _ = read_listing(path)
        for item in (item for items in lists.values() for item in items):
            self.studies.append(Study.from_item(item, folder))
        return folder

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
            shape = nib.load(path).shape
            data = msd_above(path)
        except UNREADABLE as error:
            self.problems.append(Problem(study, path, "unreadable", not_nifti(path, error)))
            return
        except MonaiTumorError as error:
            self.problems.append(Problem(study, path, "dataset-json", str(error)))
            return
        if len(shape) != 4:
            message = f"{short(path)} is {len(shape)}D and its name says no modality"
            if asked:
                hint = "give the folder of its study, or four files (t1n, t1c, t2w, t2f)."
                self.problems.append(Problem(study, path, "dimension", f"{message}; {hint}"))
            elif path.parent.name != "labelsTr":
                self.problems.append(Problem(study, path, "unused-file", f"{message}; not used."))
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
            named = file_name(path if file_name(path) else path.parent)
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
            scheme=LAYOUTS[layout].scheme,
            layout=layout,
            study=known.study if known else case,
        )
        self.studies.append(study)

    def _unreadable(self, error: OSError) -> None:
        folder = Path(str(error.filename))
        message = f"Folder {folder} cannot be read: {error.strerror}. Mend its permissions."
        self.problems.append(Problem("", folder, "unreadable", message))


def _msd_study(
    image: Path, label: Path | None, data: MsdDataset, order: tuple[Modality, ...] | None
) -> Study:
    name = nifti_stem(image) or image.name
    return Study(name, (image,), order or data.modalities, label, data.scheme, "msd")


def _lacks(wanted: Modality) -> str:
    return f"No {wanted} ({CONTRASTS[wanted]}) image"


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


def _without_repeats(studies: Iterable[Study]) -> tuple[list[Study], list[Problem]]:
    kept: dict[str, Study] = {}
    problems = []
    for study in studies:
        first = kept.setdefault(study.study, study)
        if first is not study:
            message = (
                f"Study {study.study!r} is there twice: {first.images[0].parent} and"
                f" {study.images[0].parent}. Keep one."
            )
            problems.append(Problem(study.study, study.images[0], "repeated-study", message))
    return list(kept.values()), problems


def _unknown_schemes(studies: Iterable[Study]) -> list[Problem]:
    return [
        Problem(
            s.study,
            s.label,
            "scheme",
            f"The label scheme of study {s.study!r} ({s.layout}) cannot be known from its name."
            " State it, such as scheme='brats2023' (--scheme brats2023).",
        )
        for s in studies
        if s.label is not None and s.scheme is None
    ]


def same_images(studies: Iterable[Study]) -> list[Problem]:
    """A problem for each study whose first image is, byte for byte, that of another subject.

    The checksum that every .nii.gz carries of its content makes this cheap; equal checksums are
    confirmed by comparing the content.
    """
    first: dict[tuple[int, int], Study] = {}
    problems = []
    for study in studies:
        try:
            twin = first.setdefault(_fingerprint(study.images[0]), study)
            same = twin.subject != study.subject and _equal(twin.images[0], study.images[0])
        except UNREADABLE:
            continue  # `checks` reports unreadable files
        if same:
            message = (
                f"Subjects {twin.subject!r} and {study.subject!r} have the same image:"
                f" {short(twin.images[0])} and {short(study.images[0])}. Keep one."
            )
            problems.append(Problem(study.study, study.images[0], "same-image", message))
    return problems


def _fingerprint(path: Path) -> tuple[int, int]:
    """CRC-32 and size of the content; a .gz ends in both (RFC 1952), so nothing is unpacked."""
    with path.open("rb") as stream:
        if path.name.lower().endswith(".gz"):
            stream.seek(-8, os.SEEK_END)
            return int.from_bytes(stream.read(4), "little"), int.from_bytes(stream.read(), "little")
        crc = 0
        while block := stream.read(1 << 22):
            crc = zlib.crc32(block, crc)
        return crc, stream.tell() & 0xFFFFFFFF


def _equal(one: Path, other: Path) -> bool:
    if one.samefile(other):
        return True
    openers = [gzip.open if p.name.lower().endswith(".gz") else open for p in (one, other)]
    with openers[0](one, "rb") as first, openers[1](other, "rb") as second:
        while True:
            block = first.read(1 << 20)
            if block != second.read(1 << 20):
                return False
            if not block:
                return True


def not_nifti(path: Path, error: BaseException) -> str:
    """The message for a file that nibabel refuses."""
    if path.is_file():
        return f"{short(path)} is not a readable NIfTI file: {_reason(error)}. Fetch it again."
    return f"{short(path)} is not there, or is a link to nothing. Fetch it again."


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def absolute(path: Path | str) -> Path:
    """`path` from the root of the file system; links are kept as they are."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100


def _path(entry: str, base: Path | None) -> Path:
    return Path(os.path.normpath((base or Path()) / entry))
