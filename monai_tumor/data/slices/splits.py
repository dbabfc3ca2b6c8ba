"""Splits that do not leak: whole groups to each side, every class in its share, seeded."""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from monai_tumor.data.slices.fingerprints import Fingerprints
from monai_tumor.data.slices.items import TEST, TRAIN, VALIDATION, SliceDataset, SliceItem
from monai_tumor.data.slices.twins import Twins, components, find_twins, forest
from monai_tumor.errors import InputError


def group(
    prints: Fingerprints, twins: Twins | None = None, *, similar: float | None = None
) -> SliceDataset:
    """The data set, each slice with its `group`: what must stay on one side.

    Slices of one patient are one group, and so are twins, exact, near, mirrored or turned, and
    whatever a chain of these joins: a picture that two patients share joins the patients.

    Args:
        prints: of the data set.
        twins: as `find_twins([prints])` gives; found where not given.
        similar: also join slices whose small copies correlate by this or more. Needed where no
            patient is known and neighbouring slices differ more than twins do; the audit shows
            what each value does. Not for sets where every picture resembles every other.
    """
    twins = twins or find_twins([prints])
    items = prints.dataset.items
    # Nodes are the slices, then the pictures, then the patients.
    patients = {p: n for n, p in enumerate(sorted({i.patient for i in items if i.patient}))}
    slices, pictures = len(items), int(twins.pictures.max()) + 1
    edges = [
        np.stack([np.arange(slices), slices + twins.pictures], 1),
        slices + twins.pairs,
        np.array(
            [
                (n, slices + pictures + patients[i.patient])
                for n, i in enumerate(items)
                if i.patient
            ],
            np.int64,
        ).reshape(-1, 2),
    ]
    if similar is not None:
        edges.append(forest(prints.thumbs, similar)[0])
    found = components(slices + pictures + len(patients), np.concatenate(edges))[:slices]
    return prints.dataset.with_items(
        replace(item, group=name)
        for item, name in zip(items, _names(items, found.tolist()), strict=True)
    )


def _names(items: Sequence[SliceItem], found: Sequence[int]) -> list[str]:
    """The patient, where a group is all of one; else numbered in the order of the slices."""
    whose: dict[int, set[str | None]] = defaultdict(set)
    for item, number in zip(items, found, strict=True):
        whose[number].add(item.patient)
    names: dict[int, str] = {}
    for number, patients in whose.items():  # in the order of the slices
        (first, *others) = patients
        named = first is not None and not others
        names[number] = f"patient {first}" if named else f"cluster {len(names):05d}"
    return [names[number] for number in found]


def assign(
    dataset: SliceDataset,
    *,
    test: float | None = None,
    validation: float = 0.1,
    folds: int | None = None,
    seed: int = 0,
) -> SliceDataset:
    """The data set with every slice on a side; no group is on two of the sides made here.

    Groups are dealt, the largest first and equal ones in seeded order, to the side where they
    bring the counts of the classes nearest to their shares. The result depends on groups, classes,
    names and seed alone, so that it is the same on any machine.

    Args:
        dataset: with groups, as `group` gives.
        test: share of the slices to test on. None keeps the test side of the data set's authors,
            leaking or not (`require_no_leak` says), and makes none where there is none.
        validation: share to validate on, of all slices; of those left beside a kept test side.
        folds: make k folds of the training side in place of a validation side.
        seed: of the order.

    Raises:
        InputError: slices without a group, shares that do not fit, or a class with too few groups.
    """
    if any(item.group is None for item in dataset.items):
        raise InputError("The slices have no groups. Call group(fingerprint(dataset)) first.")
    if folds is not None and folds < 2:
        raise InputError(f"folds is {folds}; give 2 or more.")
    shares = {TEST: test or 0.0, VALIDATION: 0.0 if folds else validation}
    if min(shares.values()) < 0 or sum(shares.values()) >= 1:
        raise InputError(
            f"Shares of {shares[TEST]} for test and {shares[VALIDATION]} for validation leave"
            " nothing to train on; give shares whose sum is below 1."
        )
    kept = [] if test is not None else [i for i in dataset.items if i.split == TEST]
    rest = [i for i in dataset.items if test is not None or i.split != TEST]
    wanted = {TRAIN: 1 - sum(shares.values()), **{s: v for s, v in shares.items() if v > 0}}
    sides = _dealt(rest, wanted, seed)
    made = [replace(i, split=sides[i.group], fold=None) for i in rest]
    if folds is not None:
        training = [i for i in made if i.split == TRAIN]
        dealt = _dealt(training, {str(n): 1 / folds for n in range(folds)}, seed)
        made = [replace(i, fold=int(dealt[i.group])) if i.split == TRAIN else i for i in made]
    items = sorted([*kept, *made], key=lambda i: (i.path.as_posix(), i.frame or 0))
    return replace(dataset, items=tuple(items), seed=seed)


def _dealt(
    items: Sequence[SliceItem], shares: Mapping[str, float], seed: int
) -> dict[str | None, str]:
    """Group -> side."""
    groups: dict[str | None, Counter[str]] = defaultdict(Counter)
    for item in items:
        groups[item.group][item.label] += 1
    total = Counter(item.label for item in items)
    order = sorted(groups, key=str)
    random.Random(f"slices:{seed}").shuffle(order)
    order.sort(key=lambda name: -groups[name].total())  # stable: equal ones stay shuffled
    filled = {side: Counter[str]() for side in shares}
    sides: dict[str | None, str] = {}
    for name in order:
        counts = groups[name]
        side = min(shares, key=lambda s: _misfit(counts, filled[s], total, shares[s]))
        sides[name] = side
        filled[side].update(counts)
    for side, label in ((s, c) for s in shares for c in sorted(total)):
        if not filled[side][label]:
            count = sum(label in counts for counts in groups.values())
            raise InputError(
                f"Class {label!r} has only {count} groups, so that {side} gets none. Ask for fewer"
                " sides or folds, a larger share, or group less."
            )
    return sides


def _misfit(
    counts: Mapping[str, int], filled: Mapping[str, int], total: Mapping[str, int], share: float
) -> float:
    """What adding `counts` to a side changes in its squared distance from the shares wanted."""
    return sum(
        n * (n + 2 * (filled[label] - share * total[label])) / total[label] ** 2
        for label, n in sorted(counts.items())
    )
