"""Find slices and their classes: image folders, tables, datalists, DICOM.

Only names and DICOM headers are read here; `fingerprints` decodes.
"""

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from monai_tumor.data.layouts import walk
from monai_tumor.data.slices.items import (
    TEST,
    TRAIN,
    VALIDATION,
    LeftOut,
    SliceDataset,
    SliceItem,
)
from monai_tumor.data.slices.pictures import PICTURES, is_dicom
from monai_tumor.data.study import absolute
from monai_tumor.dicom.files import Limits, Source, quiet, read_header
from monai_tumor.errors import DicomError, ImageError, InputError

_SIDES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
# What lies beside pictures and is none; anything else that cannot be read is left out by name.
_BESIDE = frozenset(
    {".txt", ".md", ".csv", ".json", ".xml", ".html", ".pdf", ".db", ".ini", ".yaml", ".yml"}
)
_COLUMNS = ("path", "label", "patient", "split")


def find_slices(
    path: Path | str,
    *,
    patient: str | None = None,
    rename: Mapping[str, str] | None = None,
    subgroups: Sequence[str] = (),
) -> SliceDataset:
    """The slices at `path`, with class, side and patient where they are known.

    Args:
        path: a folder `[split/]class/.../file`, a CSV with the columns path, label and, if wanted,
            patient and split, or a datalist that `SliceDataset.save` wrote. Folders named train,
            val, test or the like are sides; a folder that holds nothing but one folder is looked
            through. Paths in a CSV are relative to it.
        patient: a regular expression searched for in each path below `path` (with "/"); its first
            group, or else all it matches, is the patient. DICOM files say themselves whose they
            are; that identity is kept as a digest.
        rename: class -> name to use in its place, such as {"glioma_tumor": "glioma"}.
        subgroups: further columns of the CSV, such as "scanner", whose values are kept and go with
            predictions. All others, which may say who somebody is, are forgotten here.

    Raises:
        InputError: there is nothing at `path`, the pattern is none, a table lacks a column, no
            slice with a class was found, or none has one of `subgroups`.
    """
    path = absolute(path)
    if path.is_dir():
        found = _folder(path)
    elif path.suffix.lower() == ".json" and path.is_file():
        found = SliceDataset.load(path)
    elif path.suffix.lower() == ".csv" and path.is_file():
        found = _table(path)
    elif path.exists():
        raise InputError(f"{path} is neither a folder, a CSV nor a datalist (.json).")
    else:
        raise InputError(f"There is nothing at {path}; give a folder, a CSV or a datalist.")
    if not found.items:
        first = f" The first reason: {found.left_out[0]}" if found.left_out else ""
        raise InputError(
            f"No slice with a class in {path}: expected class/picture or split/class/picture."
            f"{first}"
        )
    if patient is not None:
        found = _with_patients(found, patient)
    found = _with_subgroups(found, subgroups)
    return _renamed(found, rename) if rename else found


def _with_subgroups(dataset: SliceDataset, subgroups: Sequence[str]) -> SliceDataset:
    """The data set with no more columns than these."""
    wanted = {name.strip().lower() for name in subgroups}
    known = {name for item in dataset.items for name, _ in item.columns}
    if wanted - known:
        raise InputError(
            f"No slice of {dataset.root} has a subgroup {min(wanted - known)!r}; its further"
            f" columns are {', '.join(sorted(known)) or 'none'}. Name subgroups of these."
        )
    return dataset.with_items(
        replace(item, columns=tuple(pair for pair in item.columns if pair[0] in wanted))
        for item in dataset.items
    )


def _folder(root: Path) -> SliceDataset:
    left_out: list[LeftOut] = []
    unreadable: list[OSError] = []
    files = sorted(walk(root, unreadable.append), key=lambda p: p.relative_to(root).parts)
    left_out += [LeftOut(Path(e.filename), f"{e.filename}: {e.strerror}") for e in unreadable]
    places = [(file, file.relative_to(root)) for file in files if _may_be_slice(file, root)]
    wrapped = _wrapping([place for _, place in places])
    sides = _has_sides([place.parts[wrapped:] for _, place in places])
    items: list[SliceItem] = []
    for file, place in places:
        parts = place.parts[wrapped:]
        split = _SIDES.get(parts[0].lower()) if sides else None
        folders = parts[1:-1] if sides else parts[:-1]
        if sides and split is None:
            left_out.append(LeftOut(file, f"{place} lies in none of the folders of sides."))
        elif not folders:
            left_out.append(LeftOut(file, f"{place} lies in no folder of a class."))
        else:
            _add(SliceItem(file, folders[0], split=split), items, left_out)
    return SliceDataset(root, tuple(items), tuple(left_out))


def _may_be_slice(file: Path, root: Path) -> bool:
    """Whether a file is meant to be one: not hidden, not a text beside pictures."""
    parts = file.relative_to(root).parts
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts) or file.name == "Thumbs.db"
    return not hidden and file.suffix.lower() not in _BESIDE and file.name.upper() != "DICOMDIR"


def _wrapping(places: Sequence[PurePath]) -> int:
    """How many outer folders hold all files, and below them folders of classes."""
    depth = 0
    while True:
        inner = [place.parts[depth:] for place in places]
        if not inner or min(map(len, inner)) < 3 or len({parts[0] for parts in inner}) > 1:
            return depth
        if inner[0][0].lower() in _SIDES:
            return depth
        depth += 1


def _has_sides(places: Iterable[tuple[str, ...]]) -> bool:
    first = {parts[0].lower() for parts in places if len(parts) > 1}
    return any(_SIDES.get(name) == TRAIN for name in first) or (
        bool(first) and first <= set(_SIDES)
    )


def _add(item: SliceItem, items: list[SliceItem], left_out: list[LeftOut]) -> None:
    """Add the slices of one file, or the reason why there are none."""
    try:
        items += _slices_of(item)
    except (DicomError, ImageError) as error:
        left_out.append(LeftOut(item.path, f"{item.path.parent.name}/{error}"))


def _slices_of(item: SliceItem) -> Iterator[SliceItem]:
    path = item.path
    if path.suffix.lower() in PICTURES:
        yield item
        return
    if not is_dicom(path):
        raise ImageError(f"{path.name} is no JPEG, PNG, TIFF, BMP or DICOM. Convert it.")
    frames, identity = _of_header(path)
    digest = f"dicom-{hashlib.sha256(identity.encode()).hexdigest()[:12]}" if identity else None
    item = replace(item, patient=item.patient or digest)
    if frames == 1:
        yield item
    else:
        yield from (replace(item, frame=number) for number in range(1, frames + 1))


def _of_header(path: Path) -> tuple[int, str]:
    """How many frames a DICOM file has, and whose it is."""
    try:
        with quiet():
            header: Any = read_header(Source(path, path.name, named=True), Limits()) or {}
            whose = header.get("PatientID") or header.get("StudyInstanceUID") or ""
            return int(header.get("NumberOfFrames") or 1), str(whose)
    except DicomError:
        raise
    except Exception as error:  # pydicom converts values when first read, and raises what it likes
        raise ImageError(f"{path.name} has a malformed header ({error}). Replace it.") from error


def _table(path: Path) -> SliceDataset:
    with path.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened, skipinitialspace=True)
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
        missing = [name for name in _COLUMNS[:2] if name not in columns]
        if missing:
            raise InputError(
                f"{path} has no column {missing[0]!r}; it has {', '.join(columns) or 'none'}. Name"
                f" them {', '.join(_COLUMNS)}; the last two may be absent."
            )
        reader.fieldnames = columns
        rows = [{k: (v or "").strip() for k, v in row.items() if k in columns} for row in reader]
    items: list[SliceItem] = []
    left_out: list[LeftOut] = []
    for number, row in enumerate(rows, 2):
        file = absolute(path.parent / row["path"])
        side = row.get("split", "").lower()
        if not row["path"] or not row["label"]:
            left_out.append(LeftOut(file, f"{path.name} line {number} lacks a path or a label."))
        elif side and side not in _SIDES:
            raise InputError(
                f"{path} line {number} has split {side!r}; give train, validation or test."
            )
        elif not file.is_file():
            left_out.append(LeftOut(file, f"{row['path']} (line {number}) is not there."))
        else:
            whose = row.get("patient") or None
            more = tuple((k, v) for k, v in row.items() if k and v and k not in _COLUMNS)
            item = SliceItem(file, row["label"], whose, _SIDES.get(side), columns=more)
            _add(item, items, left_out)
    items.sort(key=lambda item: (item.path.as_posix(), item.frame or 0))
    return SliceDataset(path.parent, tuple(items), tuple(left_out))


def _with_patients(dataset: SliceDataset, pattern: str) -> SliceDataset:
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise InputError(f"{pattern!r} is no regular expression: {error}.") from None
    items = []
    for item in dataset.items:
        inside = item.path.is_relative_to(dataset.root)
        place = item.path.relative_to(dataset.root) if inside else item.path
        match = search(place.as_posix())
        whose = None if match is None else match.group(1) if match.re.groups else match.group()
        items.append(replace(item, patient=whose or item.patient))
    if not any(item.patient for item in items):
        raise InputError(
            f"The pattern {pattern!r} finds no patient in any path, such as"
            f" {items[0].path.name!r}. Correct it, or leave it out."
        )
    return dataset.with_items(items)


def _renamed(dataset: SliceDataset, rename: Mapping[str, str]) -> SliceDataset:
    items = (replace(item, label=rename.get(item.label, item.label)) for item in dataset.items)
    classes = tuple(sorted({rename.get(label, label) for label in dataset.classes}))
    return replace(dataset, items=tuple(items), classes=classes)
