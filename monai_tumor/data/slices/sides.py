"""Slices for the configs of bundles: to train, validate, test on, and to classify."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from monai_tumor.data.layouts import walk
from monai_tumor.data.slices.find import find_slices
from monai_tumor.data.slices.fingerprints import Fingerprints, fingerprint
from monai_tumor.data.slices.items import TEST, TRAIN, VALIDATION, SliceDataset, SliceItem
from monai_tumor.data.slices.leaks import LeakStamp, require_no_leak, shared
from monai_tumor.data.slices.neighbours import nearest
from monai_tumor.data.slices.pictures import PICTURES, is_dicom
from monai_tumor.data.slices.splits import assign, group
from monai_tumor.data.slices.twins import Twins, find_twins
from monai_tumor.data.study import absolute
from monai_tumor.errors import InputError

Item = dict[str, Any]
SIDES = (TRAIN, VALIDATION, TEST)


class SliceSplit(TypedDict, total=False):
    """Options of a split, each with its default.

    Attributes:
        datalist: a slice datalist; then the next five are its own. None.
        test: share to test on; None keeps the test side of the data set's authors. None.
        validation: share to validate on. 0.1.
        folds: make so many folds in place of a validation side. None.
        seed: of the split. 0.
        similar: keep slices together that correlate by this; see `group`. None.
        fold: which fold is validation. 0.
        patient: pattern of the patient in a path. None.
        rename: class -> name. None.
        exclude: data sets; slices that have a twin in one of them are left out, but for those of
            the authors' test side where that is kept. ().
        subgroups: columns of a CSV that go with predictions, for scores by subgroup. ().
        endings: of the files to read, such as ".jpg", as written; None reads all. None.
        grouped: keep a patient's slices and twins together; False deals slice by slice, as the
            published systems did. True.
        test_validates: validate on the test side, as some of them did; there is then no other
            validation side, nor folds. False.
        allow_leak: train in spite of a leak, which every result then says. False.
    """

    datalist: Path | str | None
    test: float | None
    validation: float
    folds: int | None
    seed: int
    similar: float | None
    fold: int
    patient: str | None
    rename: Mapping[str, str] | None
    exclude: Sequence[str]
    subgroups: Sequence[str]
    endings: Sequence[str] | None
    grouped: bool
    test_validates: bool
    allow_leak: bool


_DEFAULTS = SliceSplit(
    datalist=None,
    test=None,
    validation=0.1,
    folds=None,
    seed=0,
    similar=None,
    fold=0,
    patient=None,
    rename=None,
    exclude=(),
    subgroups=(),
    endings=None,
    grouped=True,
    test_validates=False,
    allow_leak=False,
)
_ALIKE = (
    "datalist",
    "test",
    "validation",
    "folds",
    "seed",
    "similar",
    "fold",
    "grouped",
    "test_validates",
    "allow_leak",
)


@dataclass(frozen=True)
class Division:
    """A split with all that a result must say of it.

    Attributes:
        dataset: every slice with its side and group; the fold in use is the validation side.
        stamp: what leaks.
        items: side -> items: "image", "class", "label" (a number), "group"; beyond training also
            "leaks" (a twin or the patient is on a side that was learnt from) and "neighbour" (the
            class of the slice most alike there).
        excluded: slices left out for their twins in other data sets.
    """

    dataset: SliceDataset
    stamp: LeakStamp
    items: Mapping[str, tuple[Item, ...]]
    excluded: int


def divide(dataset_dir: Path | str | None, **split: Unpack[SliceSplit]) -> Division:
    """Read, group and split a data set, and see what leaks.

    Args:
        dataset_dir: as for `find_slices`; None where `datalist` is given.
        split: see `SliceSplit`.

    Raises:
        InputError: as `find_slices` and `assign`, or there is nothing to train on.
        TrainingError: the split leaks, and that is not allowed.
    """
    unknown = sorted(set(split) - set(_DEFAULTS))
    if unknown:
        raise InputError(f"Unknown option {unknown[0]!r}; there are {', '.join(_DEFAULTS)}.")
    if not (dataset_dir or split.get("datalist")):
        raise InputError(
            "No data set to train on; name its folder with --dataset_dir, or a --datalist."
        )
    options = _DEFAULTS | split
    source = absolute(options["datalist"] or dataset_dir or "")
    others = (*sorted(map(str, options["exclude"] or ())),)
    names = (*sorted((options["rename"] or {}).items()),)
    endings = None if options["endings"] is None else (*options["endings"],)
    keep_test = bool(options["datalist"]) or options["test"] is None
    subgroups = (*(options["subgroups"] or ()),)
    read = (
        source,
        _changed(source),
        options["patient"],
        names,
        others,
        subgroups,
        endings,
        keep_test,
    )
    return _divided(read, tuple((key, options[key]) for key in _ALIKE))  # type: ignore[literal-required]


def training_items(dataset_dir: Path | str | None, **split: Unpack[SliceSplit]) -> list[Item]:
    """What to train on; arguments and errors as for `divide`."""
    return [*divide(dataset_dir, **split).items[TRAIN]]


def side_items(
    dataset_dir: Path | str | None, side: str, **split: Unpack[SliceSplit]
) -> list[Item]:
    """The items of "train", "validation" or "test"; arguments and errors as for `divide`.

    Raises:
        InputError: also where that side is empty.
    """
    if side not in SIDES:
        raise InputError(f"Unknown side {side!r}; choose of {', '.join(SIDES)}.")
    found = [*divide(dataset_dir, **split).items[side]]
    if not found:
        raise InputError(f"The split has no {side} side; give a share, such as --{side} 0.2.")
    return found


def classes_of(
    dataset_dir: Path | str | None, count: int | None = None, **split: Unpack[SliceSplit]
) -> list[str]:
    """The classes, in the order of their numbers; other arguments and errors as for `divide`.

    Args:
        dataset_dir: as for `divide`.
        count: how many there must be; None takes any number.
        split: as for `divide`.

    Raises:
        InputError: also where there are not `count`.
    """
    classes = divide(dataset_dir, **split).dataset.classes
    if count is not None and len(classes) != count:
        raise InputError(
            f"{dataset_dir} has {len(classes)} classes ({', '.join(classes)}), this recipe is for"
            f" {count}; rename classes, or give --class_count None."
        )
    return [*classes]


def class_weights(dataset_dir: Path | str | None, **split: Unpack[SliceSplit]) -> list[float]:
    """Weights that make the classes of the training side count alike; their mean over slices is 1.

    Arguments and errors as for `divide`.
    """
    division = divide(dataset_dir, **split)
    counts = Counter(item["label"] for item in division.items[TRAIN])
    number = len(division.dataset.classes)
    return [counts.total() / (number * counts[label]) for label in range(number)]


def slice_facts(dataset_dir: Path | str | None, **split: Unpack[SliceSplit]) -> dict[str, Any]:
    """What must be known of a split to tell it from another; arguments as for `divide`.

    Returns:
        JSON-ready: the options; the stamp of leaks; "classes"; and "studies", how many slices are
        on each side and a digest of which.
    """
    division = divide(dataset_dir, **split)
    options = _DEFAULTS | split
    root = division.dataset.root
    names = [
        sorted(f"{Path(i['image']).relative_to(root)}#{i.get('frame', 0)}" for i in items)
        if all(Path(i["image"]).is_relative_to(root) for i in items)
        else sorted(f"{i['image']}#{i.get('frame', 0)}" for i in items)
        for items in (division.items[side] for side in SIDES)
    ]
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]
    return {
        "dataset_dir": str(root),
        "datalist": str(absolute(options["datalist"])) if options["datalist"] else None,
        **{key: options[key] for key in _ALIKE[1:]},  # type: ignore[literal-required]
        "exclude": [Path(one).name for one in options["exclude"] or ()],
        "endings": None if options["endings"] is None else [*options["endings"]],
        "excluded": division.excluded,
        "classes": list(division.dataset.classes),
        "leak": division.stamp.as_dict(),
        "studies": f"{' + '.join(str(len(side)) for side in names)} ({digest})",
    }


def slices_to_classify(input: Path | str | Sequence[Path | str] | None) -> list[Item]:
    """Items of files, folders and datalists, in order of path; DICOM frames one by one.

    A file that cannot be shown is found out when it is read.

    Raises:
        InputError: nothing is given, or nothing is there.
    """
    given = [input] if isinstance(input, str | Path) else list(input or ())
    if not given:
        raise InputError("Nothing to classify; give pictures, DICOM files or folders.")
    items: list[Item] = []
    for one in map(absolute, given):
        if one.is_dir():
            files = sorted(p for p in walk(one, lambda _: None) if _is_slice(p))
            items += [{"image": str(path)} for path in files]
        elif one.suffix.lower() in (".json", ".csv") and one.is_file():
            items += [i.as_dict() for i in find_slices(one).items]
        elif one.is_file():
            items.append({"image": str(one)})
        else:
            raise InputError(f"There is nothing at {one}; give a picture, DICOM file or folder.")
    if not items:
        raise InputError(f"No picture and no DICOM file in {given[0]}.")
    return items


def _is_slice(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return not hidden and (path.suffix.lower() in PICTURES or is_dicom(path))


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=2)
def _prints(
    source: Path,
    changed: int,  # noqa: ARG001  (part of the key: what changed is read again)
    patient: str | None,
    rename: tuple[tuple[str, str], ...],
    exclude: tuple[str, ...],
    subgroups: tuple[str, ...],
    endings: tuple[str, ...] | None,
    keep_test: bool,
) -> tuple[Fingerprints, int]:
    found = find_slices(source, patient=patient, rename=dict(rename), subgroups=subgroups)
    if endings is not None:
        found = found.with_items(item for item in found.items if item.path.suffix in endings)
    if not found.items:
        raise InputError(f"No slice in {source} ends in {' or '.join(endings or ())}.")
    prints = fingerprint(found)
    if not exclude:
        return prints, 0
    others = [fingerprint(find_slices(path)) for path in exclude]
    twins = find_twins([prints, *others])
    own = np.arange(len(twins.files)) < len(prints.files)
    out = shared(twins, own, ~own)[3][: len(prints.files)]
    if keep_test:
        out &= np.array([item.split != TEST for item in prints.dataset.items])
    kept = np.nonzero(~out)[0]
    if not len(kept):
        raise InputError(f"Every slice of {source} has a twin in {exclude[0]}; nothing is left.")
    return _only(prints, kept), len(prints.files) - len(kept)


@lru_cache(maxsize=4)
def _divided(read: tuple[Any, ...], chosen: tuple[tuple[str, Any], ...]) -> Division:
    prints, excluded = _prints(*read)
    twins = find_twins([prints])
    options = dict(chosen)
    folds, fold = options["folds"], options["fold"]
    if options["datalist"]:
        split = prints.dataset
        folds = len({item.fold for item in split.items if item.fold is not None}) or None
    else:
        shares = {key: options[key] for key in ("test", "validation", "folds", "seed")}
        if options["test_validates"]:
            shares |= {"validation": 0.0}
        whole = group(prints, twins, similar=options["similar"])
        split = assign(whole if options["grouped"] else _each_alone(whole), **shares)
    if options["test_validates"]:
        _require_none_dropped(split, folds)
    if folds and not 0 <= fold < folds:
        raise InputError(f"There is no fold {fold}; this split has {folds} folds, from 0.")
    if folds:  # the fold in use is the validation side
        split = split.with_items(
            replace(i, split=VALIDATION, fold=None) if i.fold == fold else replace(i, fold=None)
            for i in split.items
        )
    if not options["datalist"] and not options["grouped"]:  # intervals draw groups all the same
        groups = {(item.path, item.frame): item.group for item in whole.items}
        split = split.with_items(replace(i, group=groups[i.path, i.frame]) for i in split.items)
    place = {(item.path, item.frame): item for item in split.items}
    aligned = [place[item.path, item.frame] for item in prints.dataset.items]
    prints = replace(prints, dataset=split.with_items(aligned))
    stamp = require_no_leak(
        split,
        prints,
        twins,
        allow=options["allow_leak"],
        test_validates=options["test_validates"],
    )
    items = _items(prints, twins)
    if options["test_validates"]:
        items |= {VALIDATION: items[TEST]}
    if not items[TRAIN]:
        raise InputError(f"{split.root} leaves no slice to train on; give smaller shares.")
    return Division(prints.dataset, stamp, items, excluded)


def _require_none_dropped(split: SliceDataset, folds: int | None) -> None:
    """Where the test side validates, slices that were to validate would be on no side."""
    held = any(item.split == VALIDATION for item in split.items)
    if folds or held:
        parts = f"{folds} folds" if folds else "a validation side"
        raise InputError(
            f"This split has {parts}, which test_validates does not use; leave out one of the two."
        )


def _each_alone(dataset: SliceDataset) -> SliceDataset:
    """Each slice a group of its own."""
    return dataset.with_items(
        replace(item, group=f"{item.path.as_posix()}#{item.frame or 0}") for item in dataset.items
    )


def _items(prints: Fingerprints, twins: Twins) -> dict[str, tuple[Item, ...]]:
    """Side -> items; what is held back knows whether it leaks, and its nearest neighbour."""
    dataset = prints.dataset
    sides = np.array([item.split or "" for item in dataset.items])
    learnt = {VALIDATION: sides == TRAIN, TEST: (sides == TRAIN) | (sides == VALIDATION)}
    more: dict[int, Item] = {}
    for side, there in learnt.items():
        here = sides == side
        if not here.any() or not there.any():
            continue
        leaks = _leaks(prints, shared(twins, here, there)[3], there)
        (alike,) = nearest(prints.thumbs, [np.where(there, 1, 0)])
        for n in np.nonzero(here)[0].tolist():
            label = dataset.number(dataset.items[int(alike[n])].label)
            more[n] = {"leaks": bool(leaks[n]), "neighbour": label}
    found: dict[str, list[Item]] = {side: [] for side in SIDES}
    for n, item in enumerate(dataset.items):
        if item.split is not None:
            numbered = item.as_dict() | {"label": dataset.number(item.label)}
            found[item.split].append(numbered | more.get(n, {}))
    return {side: tuple(items) for side, items in found.items()}


def _leaks(
    prints: Fingerprints, twins: NDArray[np.bool_], there: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Slices with a twin, or whose patient is `there`."""
    patients = [item.patient for item in prints.dataset.items]
    known = {p for p, seen in zip(patients, there, strict=True) if seen and p is not None}
    return twins | np.array([p in known for p in patients])


def _only(prints: Fingerprints, kept: NDArray[np.int64]) -> Fingerprints:
    """The fingerprints of some slices, by their numbers."""
    items: list[SliceItem] = [prints.dataset.items[n] for n in kept]
    return Fingerprints(
        prints.dataset.with_items(items),
        tuple(prints.files[n] for n in kept),
        tuple(prints.pixels[n] for n in kept),
        prints.thumbs[kept],
    )
