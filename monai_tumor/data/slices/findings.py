"""What a set of slices repeats, contradicts and leaks, before anything is trained on it."""

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_tumor.data.slices.find import find_slices
from monai_tumor.data.slices.fingerprints import Fingerprints, fingerprint
from monai_tumor.data.slices.items import TEST, SliceDataset, SliceItem
from monai_tumor.data.slices.leaks import LeakStamp, shared, stamp_of
from monai_tumor.data.slices.neighbours import nearest
from monai_tumor.data.slices.splits import assign, group
from monai_tumor.data.slices.twins import TURNS, TWIN, Twins, components, find_twins
from monai_tumor.errors import InputError
from monai_tumor.files import write_json, write_text

# Correlations at which to show what keeping similar pictures together does.
LADDER = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
_FOLDS = 5
_SHOWN = 10


@dataclass(frozen=True)
class Grouping:
    """What the nearest neighbour scores in five folds, if slices are kept together in a way.

    Attributes:
        kept: what stays in one fold: "nothing", "twins", or "similar 0.8".
        groups: how many groups that makes.
        largest: slices of the largest.
        accuracy: of the class of the most alike picture of another fold; None where groups are too
            large or too few to make folds with every class.
    """

    kept: str
    groups: int
    largest: int
    accuracy: float | None


@dataclass(frozen=True)
class Conflict:
    """A picture that has two classes."""

    first: SliceItem
    second: SliceItem
    turn: str
    correlation: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        pair = [str(self.first.path), str(self.second.path)]
        labels = [self.first.label, self.second.label]
        correlation = round(self.correlation, 4)
        return {"paths": pair, "labels": labels, "turn": self.turn, "correlation": correlation}

    def __str__(self) -> str:
        """Both slices, and how alike they are."""
        return f"{self.first} = {self.second}, {self.turn}, {self.correlation:.3f}"


@dataclass(frozen=True)
class DatasetAudit:
    """What one data set repeats, contradicts and leaks.

    Attributes:
        dataset: the slices that can be read; `left_out` has the others.
        byte_identical: slices beyond the first of each set of byte-identical files.
        same_pixels: slices beyond the first of each set of equal pixels.
        near: slices that have a near twin, exact ones included.
        turned: likewise, mirrored and turned twins included.
        conflicts: pictures that have two classes.
        stamp: what leaks between its sides; None where it has none.
        neighbour: accuracy of the class of the most alike training picture, on its own test side.
        groupings: likewise in five folds, made in several ways.
    """

    dataset: SliceDataset
    byte_identical: int
    same_pixels: int
    near: int
    turned: int
    conflicts: tuple[Conflict, ...]
    stamp: LeakStamp | None
    neighbour: float | None
    groupings: tuple[Grouping, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing is left out, contradicts or leaks."""
        leaking = self.stamp is not None and self.stamp.leaking
        return not (self.dataset.left_out or self.conflicts or leaking)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        data = self.dataset
        return {
            "dataset": str(data.root),
            "slices": len(data),
            "classes": {str(s or "no side"): data.counts(s) for s in data.splits},
            "left_out": [one.as_dict() for one in data.left_out],
            "repeats": {"byte_identical": self.byte_identical, "same_pixels": self.same_pixels},
            "with_twin": {"near": self.near, "near_or_turned": self.turned},
            "conflicts": [one.as_dict() for one in self.conflicts],
            "leak": self.stamp and self.stamp.as_dict(),
            "nearest_neighbour": _rounded(self.neighbour),
            "groupings": [{**asdict(g), "accuracy": _rounded(g.accuracy)} for g in self.groupings],
        }

    def __str__(self) -> str:
        """The data set and what was found, a line each."""
        lines = [
            str(self.dataset),
            f"  repeated    {self.byte_identical} byte-identical, {self.same_pixels} with equal"
            " pixels",
            f"  near twins  {self.near} slices have one, {self.turned} with turned ones",
            f"  conflicts   {len(self.conflicts)} pairs of one picture under two classes",
        ]
        lines += [f"    {one}" for one in self.conflicts[:_SHOWN]]
        if len(self.conflicts) > _SHOWN:
            lines.append(f"    ... and {len(self.conflicts) - _SHOWN} more")
        if self.stamp is not None:
            lines += [f"  leak        {leak}" for leak in self.stamp.leaks]
        lines.append("  nearest neighbour on raw pixels (grey, 48 x 48, correlation):")
        if self.neighbour is not None:
            lines.append(f"    {100 * self.neighbour:5.1f}%  on its test side")
        for one in self.groupings:
            score = "   -  " if one.accuracy is None else f"{100 * one.accuracy:5.1f}%"
            size = f"{one.groups} groups, the largest of {one.largest}"
            lines.append(f"    {score}  in 5 folds, kept together: {one.kept} ({size})")
        return "\n".join(lines)


@dataclass(frozen=True)
class Shared:
    """What one data set has of another.

    Attributes:
        first: the data set whose slices are counted.
        second: the one that has their twins.
        slices: how many have a byte-identical file there; equal pixels; a near twin; a near,
            mirrored or turned one. Each count includes those before it.
    """

    first: Path
    second: Path
    slices: tuple[int, int, int, int]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        names = ("byte_identical", "same_pixels", "near", "near_or_turned")
        counts = dict(zip(names, self.slices, strict=True))
        return {"of": str(self.first), "in": str(self.second), **counts}

    def __str__(self) -> str:
        """One line."""
        files, pixels, near, turned = self.slices
        return (
            f"{self.first.name} in {self.second.name}: {near} slices have a near twin there,"
            f" {turned} with turned ones ({files} byte-identical, {pixels} with equal"
            " pixels)"
        )


@dataclass(frozen=True)
class Audit:
    """What data sets repeat, contradict and leak, each by itself and with the others.

    Attributes:
        datasets: each by itself.
        shared: what each has of each other.
        conflicts: pictures that two data sets of the same classes put into different ones.
        sets: slices that are one picture, near, mirrored and turned twins included, as a chain
            joins them; sets of one are left out.
    """

    datasets: tuple[DatasetAudit, ...]
    shared: tuple[Shared, ...]
    conflicts: tuple[Conflict, ...]
    sets: tuple[tuple[SliceItem, ...], ...]

    @property
    def clean(self) -> bool:
        """Whether nothing is left out, contradicts or leaks."""
        return all(one.clean for one in self.datasets) and not self.conflicts

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; without the sets, which `save` writes as a table."""
        return {
            "twin_correlation": TWIN,
            "clean": self.clean,
            "datasets": [one.as_dict() for one in self.datasets],
            "shared": [one.as_dict() for one in self.shared],
            "conflicts": [one.as_dict() for one in self.conflicts],
            "sets_of_twins": len(self.sets),
        }

    def __str__(self) -> str:
        """Each data set, then what they share."""
        lines = [*map(str, self.datasets), *map(str, self.shared)]
        if self.conflicts:
            lines.append(f"{len(self.conflicts)} pairs of one picture differ between data sets:")
            lines += [f"  {one}" for one in self.conflicts[:_SHOWN]]
        return "\n".join(lines)

    def save(self, folder: Path | str) -> Path:
        """Write audit.json, audit.txt and twins.csv (set, path, class, split); returns `folder`."""
        folder = Path(folder)
        write_json(folder / "audit.json", self.as_dict())
        write_text(folder / "audit.txt", f"{self}\n")
        lines = _Lines()
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(("set", "path", "frame", "label", "split"))
        for number, items in enumerate(self.sets, 1):
            for i in items:
                table.writerow((number, i.path, i.frame or "", i.label, i.split or ""))
        write_text(folder / "twins.csv", "".join(lines))
        return folder


class _Lines(list[str]):
    """Collects what a csv.writer writes."""

    write = list.append


def audit(
    paths: Sequence[Path | str],
    *,
    patient: str | None = None,
    rename: Mapping[str, str] | None = None,
    on_read: Callable[[SliceItem, int, int], None] | None = None,
) -> Audit:
    """What the data sets at `paths` repeat, contradict and leak.

    Args:
        paths: as for `find_slices`; the same for the next two.
        patient: pattern of the patient in a path.
        rename: class -> name; data sets are held against each other where their classes are equal.
        on_read: called after each slice with it, its number from 1, and how many there are.

    Raises:
        InputError: no data set, or one without slices.
    """
    if not paths:
        raise InputError("No data set to audit; give a folder, a CSV or a datalist.")
    datasets = [find_slices(path, patient=patient, rename=rename) for path in paths]
    prints = [fingerprint(dataset, on_read=on_read) for dataset in datasets]
    return audit_prints(prints)


def audit_prints(prints: Sequence[Fingerprints]) -> Audit:
    """`audit` of data sets that were read before."""
    whole = find_twins(prints)
    items = [item for one in prints for item in one.dataset.items]
    owner = np.repeat(np.arange(len(prints)), [len(one.files) for one in prints])
    orders = [(a, b) for a in range(len(prints)) for b in range(len(prints)) if a != b]
    found = []
    for a, b in orders:
        masks = shared(whole, owner == a, owner == b)
        files, pixels, near, turned = (int(mask.sum()) for mask in masks)
        roots = prints[a].dataset.root, prints[b].dataset.root
        found.append(Shared(*roots, (files, pixels, near, turned)))
    between = [
        conflict
        for conflict, (a, b) in _conflicts(items, whole, owner)
        if a != b and prints[a].dataset.classes == prints[b].dataset.classes
    ]
    singles = [_single(one, find_twins([one]) if len(prints) > 1 else whole) for one in prints]
    return Audit(tuple(singles), tuple(found), tuple(between), _sets(items, whole))


def _single(prints: Fingerprints, twins: Twins) -> DatasetAudit:
    items = prints.dataset.items
    count = len(items)
    turned = np.bincount(twins.pictures)[twins.pictures] > 1
    near = turned | np.isin(twins.pictures, twins.pairs[twins.turns == 0])
    turned = turned | np.isin(twins.pictures, twins.pairs)
    stamp = stamp_of(prints, twins)
    labels = np.array([prints.dataset.number(item.label) for item in items])
    groupings, divisions = _divisions(prints, twins)
    test = np.array([item.split == TEST for item in items])
    most_alike = nearest(prints.thumbs, [*divisions, test.astype(np.int64)])
    hits = [labels[found] == labels for found in most_alike]
    scores = iter(hits)
    return DatasetAudit(
        dataset=prints.dataset,
        byte_identical=count - len(set(prints.files)),
        same_pixels=count - len(set(prints.pixels)),
        near=int(near.sum()),
        turned=int(turned.sum()),
        conflicts=tuple(one for one, _ in _conflicts(items, twins, np.zeros(count, np.int64))),
        stamp=stamp if stamp.leaks else None,
        neighbour=float(hits[-1][test].mean()) if test.any() and not test.all() else None,
        groupings=tuple(
            replace(g, accuracy=float(next(scores).mean())) if g.accuracy is not None else g
            for g in groupings
        ),
    )


def _divisions(
    prints: Fingerprints, twins: Twins
) -> tuple[list[Grouping], list[NDArray[np.int64]]]:
    """Ways to keep slices together, and the folds of each way that makes folds."""
    items = prints.dataset.items
    alone = prints.dataset.with_items(
        replace(item, group=str(number)) for number, item in enumerate(items)
    )
    grouped = {"nothing": alone, "twins": group(prints, twins)}
    grouped |= {f"similar {at:g}": group(prints, twins, similar=at) for at in LADDER}
    groupings, divisions = [], []
    for kept, dataset in grouped.items():
        sizes: dict[str | None, int] = defaultdict(int)
        for item in dataset.items:
            sizes[item.group] += 1
        folds = _folds(dataset)
        groupings.append(
            Grouping(kept, len(sizes), max(sizes.values()), None if folds is None else 0.0)
        )
        if folds is not None:
            divisions.append(folds)
    return groupings, divisions


def _folds(dataset: SliceDataset) -> NDArray[np.int64] | None:
    """The fold of each slice; None where one would be larger than half of all, or lack a class."""
    try:
        made = assign(dataset, test=0.0, folds=_FOLDS)
    except InputError:
        return None
    folds = {(item.path, item.frame): item.fold for item in made.items}
    numbers = np.array([folds[item.path, item.frame] for item in dataset.items], np.int64)
    return None if np.bincount(numbers).max() > len(numbers) / 2 else numbers


def _conflicts(
    items: Sequence[SliceItem], twins: Twins, owner: NDArray[np.int64]
) -> list[tuple[Conflict, tuple[int, int]]]:
    """Pictures under two classes, one pair of slices for each two, and whose the slices are."""
    of_picture: dict[int, dict[tuple[int, str], SliceItem]] = defaultdict(dict)
    for item, picture, whose in zip(items, twins.pictures.tolist(), owner.tolist(), strict=True):
        of_picture[picture].setdefault((whose, item.label), item)
    found = []

    def add(one: tuple[int, str], other: tuple[int, str], pair: Conflict) -> None:
        if one[1] != other[1]:
            found.append((pair, (one[0], other[0])))

    for known in of_picture.values():
        for (one, first), (other, second) in combinations(known.items(), 2):
            add(one, other, Conflict(first, second, TURNS[0], 1.0))
    rows = zip(twins.pairs.tolist(), twins.turns, twins.correlations, strict=True)
    for (a, b), how, correlation in rows:
        for (one, first), (other, second) in product(of_picture[a].items(), of_picture[b].items()):
            add(one, other, Conflict(first, second, TURNS[how], float(correlation)))
    return found


def _sets(items: Sequence[SliceItem], twins: Twins) -> tuple[tuple[SliceItem, ...], ...]:
    found = components(int(twins.pictures.max()) + 1, twins.pairs)[twins.pictures]
    sets: dict[int, list[SliceItem]] = defaultdict(list)
    for item, number in zip(items, found.tolist(), strict=True):
        sets[number].append(item)
    return tuple(tuple(one) for one in sets.values() if len(one) > 1)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
