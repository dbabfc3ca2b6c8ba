"""One study: its images, their modalities, its label and how to read it."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor.data.layouts import (
    LAYOUTS,
    CaseName,
    case_name,
    file_name,
    msd_above,
    nifti_stem,
)
from monai_tumor.data.problems import short
from monai_tumor.errors import SchemeError, StudyError
from monai_tumor.labels import MODALITIES, Modality, modality
from monai_tumor.labels import scheme as label_scheme

CONTRASTS = {
    Modality.T1N: "T1",
    Modality.T1C: "contrast-enhanced T1",
    Modality.T2W: "T2",
    Modality.T2F: "FLAIR",
}


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

        What the item does not say, its file names and a `dataset.json` above them must.

        Args:
            item: as `as_item` writes it; `{"image": ...}` or a path alone will do.
            base: the folder that its paths are relative to.

        Raises:
            StudyError: the item has no image, or its modalities are not known.
            SchemeError: it names an unknown modality or scheme.
        """
        item = {"image": item} if isinstance(item, str) else item
        found = item.get("image") if isinstance(item, Mapping) else None
        entries = [found] if isinstance(found, str) else found
        if not entries or not isinstance(entries, list) or not _are_names(entries):
            raise StudyError(f'Datalist item {item!r} needs "image": a path or a list of paths.')
        item = {key: value for key, value in item.items() if value is not None}
        for key in ("subject", "study", "layout", "scheme", "label", "modalities"):
            value = item.get(key, "-")
            listed = key == "modalities" and isinstance(value, list)
            if not _are_names(value if listed else [value]):
                raise StudyError(
                    f"Datalist item of {entries[0]} has {value!r} for {key!r}; give text."
                )
        images = tuple(_path(e, base) for e in entries)
        case = _case(images[0])
        above = msd_above(images[0]) if len(images) == 1 and "scheme" not in item else None
        order = parse_modalities(item.get("modalities")) or (
            above.modalities if above else _roles(images)
        )
        layout = item.get("layout") or ("msd" if above else case.layout)
        scheme = item.get("scheme") or (above.scheme if above else scheme_of(layout))
        return cls(
            subject=str(item.get("subject") or case.subject),
            images=images,
            modalities=tuple(order),
            label=_path(item["label"], base) if item.get("label") else None,
            scheme=None if scheme is None else label_scheme(scheme).name,
            layout=layout,
            study=str(item.get("study") or item.get("subject") or case.study),
        )


def scheme_of(layout: str) -> str | None:
    """The label scheme that `layout` is published in; None if it must be stated."""
    return LAYOUTS[layout].scheme if layout in LAYOUTS else None


def study_from_files(
    *,
    t1n: Path | str | None = None,
    t1c: Path | str | None = None,
    t2w: Path | str | None = None,
    t2f: Path | str | None = None,
) -> Study:
    """The study of four 3D files, whatever their names; it has no label.

    Raises:
        StudyError: one is not given, or not there.
    """
    given = dict(zip(MODALITIES, (t1n, t1c, t2w, t2f), strict=True))
    missing = [m for m, p in given.items() if not p]
    if missing:
        found = ", ".join(m for m in MODALITIES if m not in missing) or "none"
        raise StudyError(
            f"No {missing[0]} ({CONTRASTS[missing[0]]}) image is given; given are {found}. Give all"
            " of t1n, t1c, t2w, t2f."
        )
    images = tuple(absolute(str(p)) for p in given.values())
    for image in images:
        if not image.is_file():
            raise StudyError(f"There is no file {image}; give the path of an image.")
    case = _case(images[0])
    scheme = scheme_of(case.layout)
    return Study(case.subject, images, MODALITIES, None, scheme, case.layout, case.study)


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


@dataclass(frozen=True)
class Listing:
    """What a datalist JSON holds.

    Attributes:
        data: all of it.
        dataset_dir: the folder that its paths are relative to.
        lists: items by "training", "validation", "test"; those that are there.
    """

    data: Mapping[str, Any]
    dataset_dir: Path
    lists: Mapping[str, list[Any]]


def read_listing(path: Path) -> Listing:
    """Read a datalist JSON, ours or any that MONAI reads.

    Raises:
        StudyError: it is not JSON, or holds none of the lists.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read as a datalist: {error}.") from None
    data = data if isinstance(data, dict) else {}
    keys = ("training", "validation", "test")
    lists = {k: data[k] for k in keys if isinstance(data.get(k), list)}
    if not any(lists.values()):
        raise StudyError(
            f'{path} is not a datalist: it has no "training", "validation" or "test" list.'
        )
    folder = data.get("dataset_dir") or path.parent
    if not isinstance(folder, str | Path):
        raise StudyError(f'{path} has {folder!r} for "dataset_dir"; give the path of a folder.')
    return Listing(data, absolute(folder), lists)


def absolute(path: Path | str) -> Path:
    """`path` from the root of the file system; links are kept as they are."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100


def _are_names(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) and value for value in values)


def _path(entry: str, base: Path | None) -> Path:
    return Path(os.path.normpath((base or Path()) / entry))


def _case(image: Path) -> CaseName:
    """The case that an image's name, or else its folder's, speaks of."""
    named = file_name(image)
    name = (named.case or image.parent.name) if named else (nifti_stem(image) or image.name)
    return case_name(name) or CaseName(name, name, "named" if named else "loose")


def _roles(images: Sequence[Path]) -> list[Modality]:
    named = [file_name(image) for image in images]
    order = [name.role for name in named if name is not None and name.role is not None]
    if len(order) != len(images) or len(images) == 1:
        raise StudyError(
            f"{short(images[0])}: which channel is which modality is not known. Add"
            ' "modalities": ["t1n", "t1c", "t2w", "t2f"], in channel order, to its item.'
        )
    return order
