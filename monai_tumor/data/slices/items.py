"""`SliceItem` and `SliceDataset`: which slices there are, of which class, on which side."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_tumor.data.study import absolute
from monai_tumor.errors import InputError
from monai_tumor.files import write_json

FORMAT = "monai-tumor slices"
FORMAT_VERSION = 1
TRAIN, VALIDATION, TEST = "train", "validation", "test"
# The key of each side in a datalist, where MONAI's `load_decathlon_datalist` looks for it.
KEYS = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}
_SHOWN = 20


@dataclass(frozen=True)
class SliceItem:
    """One slice.

    Attributes:
        path: the file.
        label: its class.
        patient: whose it is, where that is known.
        split: "train", "validation" or "test"; None where it is on no side yet.
        group: what must stay on one side: a patient or a cluster of near twins; see `groups`.
        fold: of cross-validation, from 0.
        frame: of a multi-frame DICOM file, from 1.
        columns: its subgroups, such as ("scanner", "A"): a table's column and its value.
    """

    path: Path
    label: str
    patient: str | None = None
    split: str | None = None
    group: str | None = None
    fold: int | None = None
    frame: int | None = None
    columns: tuple[tuple[str, str], ...] = ()

    def as_dict(self, base: Path | None = None) -> dict[str, Any]:
        """JSON-ready; what is not known is left out; the path is relative to `base` if below it."""
        path = self.path
        if base is not None and path.is_relative_to(base):
            path = path.relative_to(base)
        known = {"patient": self.patient, "split": self.split, "group": self.group}
        numbers = {"fold": self.fold, "frame": self.frame}
        columns = {"columns": dict(self.columns) or None}
        given = {k: v for k, v in {**known, **numbers, **columns}.items() if v is not None}
        return {"image": path.as_posix(), "class": self.label, **given}

    def __str__(self) -> str:
        """Such as `test glioma/Te-gl_0010.jpg`."""
        frame = "" if self.frame is None else f" frame {self.frame}"
        return f"{self.split or '-'} {self.path.parent.name}/{self.path.name}{frame} ({self.label})"


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used, and why."""

    path: Path
    reason: str

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {"path": str(self.path), "reason": self.reason}

    def __str__(self) -> str:
        """The reason, which names the file."""
        return self.reason


@dataclass(frozen=True)
class SliceDataset:
    """Slices with their classes.

    Attributes:
        root: the folder that paths in a datalist are relative to.
        items: in order of path; the order does not depend on the file system.
        left_out: files that cannot be used.
        classes: every class; its place in here is the number a network learns.
        seed: of the split, where we made it.
    """

    root: Path
    items: tuple[SliceItem, ...]
    left_out: tuple[LeftOut, ...] = ()
    classes: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        """Find the classes where they are not given, and refuse labels outside them."""
        found = sorted({item.label for item in self.items})
        if not self.classes:
            object.__setattr__(self, "classes", tuple(found))
        unknown = sorted(set(found) - set(self.classes))
        if unknown:
            raise InputError(
                f"Class {unknown[0]!r} is not among {', '.join(self.classes)}. Rename it, or list"
                " every class."
            )
        wrong = {item.split for item in self.items} - {None, *KEYS}
        if wrong:
            raise InputError(
                f"Unknown split {min(map(str, wrong))!r}; there are {', '.join(KEYS)}."
            )

    def __len__(self) -> int:
        """How many slices."""
        return len(self.items)

    def of(self, split: str | None) -> tuple[SliceItem, ...]:
        """The slices of one side."""
        return tuple(item for item in self.items if item.split == split)

    def number(self, label: str) -> int:
        """The number of a class."""
        return self.classes.index(label)

    def counts(self, split: str | None) -> dict[str, int]:
        """Class -> slices on one side."""
        count = Counter(item.label for item in self.of(split))
        return {label: count[label] for label in self.classes}

    @property
    def splits(self) -> tuple[str | None, ...]:
        """The sides there are, training first; None for slices on no side."""
        found = {item.split for item in self.items}
        return tuple(split for split in (*KEYS, None) if split in found)

    def with_items(
        self, items: Iterable[SliceItem], left_out: Sequence[LeftOut] = ()
    ) -> "SliceDataset":
        """The same data set with other items, and further files left out."""
        return replace(self, items=tuple(items), left_out=(*self.left_out, *left_out))

    def training_items(self, fold: int | None = None) -> list[dict[str, Any]]:
        """What MONAI trains on: "image" (absolute), "label" (a number), group and patient.

        With `fold`, all folds but that one.
        """
        self._known(fold)
        return [self._item(i) for i in self.of(TRAIN) if fold is None or i.fold != fold]

    def validation_items(self, fold: int | None = None) -> list[dict[str, Any]]:
        """What MONAI validates on; with `fold`, the slices of that fold."""
        self._known(fold)
        if fold is None:
            return [self._item(i) for i in self.of(VALIDATION)]
        return [self._item(i) for i in self.of(TRAIN) if i.fold == fold]

    def test_items(self) -> list[dict[str, Any]]:
        """What MONAI tests on."""
        return [self._item(i) for i in self.of(TEST)]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; paths relative to `root`."""
        data: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "dataset_dir": str(self.root),
            "classes": list(self.classes),
            "seed": self.seed,
            "left_out": [one.as_dict() for one in self.left_out],
        }
        for split, key in KEYS.items():
            if split in self.splits or split == TRAIN:  # MONAI cannot read an empty list
                data[key] = [self._item(item, self.root) for item in self.of(split)]
        if None in self.splits:
            data["unassigned"] = [self._item(item, self.root) for item in self.of(None)]
        return data

    def __str__(self) -> str:
        """How many slices of which class on which side, and each file left out."""
        lines = [f"{self.root}: {len(self)} slices of {len(self.classes)} classes"]
        for split in self.splits:
            counts = ", ".join(f"{label} {n}" for label, n in self.counts(split).items())
            lines.append(f"  {split or 'no side':<10}  {len(self.of(split))}: {counts}")
        folds = sorted({item.fold for item in self.items if item.fold is not None})
        if folds:
            sizes = Counter(item.fold for item in self.items)
            lines.append(f"  folds       {', '.join(str(sizes[f]) for f in folds)}")
        lines += [f"  left out: {one}" for one in self.left_out[:_SHOWN]]
        if len(self.left_out) > _SHOWN:
            lines.append(f"  ... and {len(self.left_out) - _SHOWN} more left out")
        return "\n".join(lines)

    def save(self, path: Path | str) -> Path:
        """Write a datalist as JSON, atomically; returns its path."""
        path = Path(path)
        write_json(path, self.as_dict())
        return path

    @classmethod
    def load(cls, path: Path | str, dataset_dir: Path | str | None = None) -> "SliceDataset":
        """Read what `save` wrote.

        Args:
            path: the JSON.
            dataset_dir: where the data set lies now, if it was moved.

        Raises:
            InputError: no such datalist, of another version, or its data set is not there.
        """
        data = _read_json(Path(path))
        root = absolute(dataset_dir or data["dataset_dir"])
        if not root.is_dir():
            raise InputError(
                f"The data set of {path} is not at {root}. Say where it lies: dataset_dir=..."
            )
        sides = {key: split for split, key in KEYS.items()} | {"unassigned": None}
        items = [
            _read(entry, root, split, path)
            for key, split in sides.items()
            for entry in data.get(key, ())
        ]
        return cls(
            root=root,
            items=tuple(sorted(items, key=_place)),
            left_out=tuple(LeftOut(Path(o["path"]), o["reason"]) for o in data["left_out"]),
            classes=tuple(data["classes"]),
            seed=data.get("seed"),
        )

    def _item(self, item: SliceItem, base: Path | None = None) -> dict[str, Any]:
        return {**item.as_dict(base), "label": self.number(item.label)}

    def _known(self, fold: int | None) -> None:
        folds = {item.fold for item in self.items if item.fold is not None}
        if fold is not None and fold not in folds:
            raise InputError(f"There is no fold {fold}; this split has {len(folds)} folds.")


def _place(item: SliceItem) -> tuple[str, int]:
    return item.path.as_posix(), item.frame or 0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a datalist: {error}.") from None
    found = data if isinstance(data, dict) else {}
    named = found.get("format"), found.get("format_version")
    if named != (FORMAT, FORMAT_VERSION):
        raise InputError(
            f"{path} is no slice datalist of version {FORMAT_VERSION}: its format is {named[0]!r},"
            f" version {named[1]!r}. Make it again with SliceDataset.save."
        )
    return found


def _read(entry: Any, root: Path, split: str | None, source: Path | str) -> SliceItem:
    if not isinstance(entry, Mapping) or not {"image", "class"} <= set(entry):
        raise InputError(f"{source} has an item without image and class: {str(entry)[:80]}.")
    return SliceItem(
        path=root / entry["image"],
        label=str(entry["class"]),
        patient=entry.get("patient"),
        split=split,
        group=entry.get("group"),
        fold=entry.get("fold"),
        frame=entry.get("frame"),
        columns=(*entry.get("columns", {}).items(),),
    )
