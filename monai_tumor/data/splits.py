"""Splits by subject, each side with every layout, the same on any machine."""

import random
from collections import defaultdict
from collections.abc import Iterable

from monai_tumor.data.study import Study
from monai_tumor.errors import InputError


def hold_out(studies: Iterable[Study], share: float, seed: int) -> frozenset[str]:
    """The subjects kept for validation: `share` of each layout's, at least one of two.

    Raises:
        InputError: `share` is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise InputError(f"validation is {share}; give a share from 0 up to, not including, 1.")
    held: set[str] = set()
    for subjects in _shuffled(studies, seed):
        count = round(share * len(subjects))
        if share > 0 and len(subjects) > 1:
            count = min(max(count, 1), len(subjects) - 1)
        held.update(subjects[:count])
    return frozenset(held)


def assign_folds(studies: Iterable[Study], folds: int, seed: int) -> dict[str, int]:
    """Subject -> fold, 0 to `folds` - 1; sizes differ by at most one, overall and by layout.

    Raises:
        InputError: fewer than two folds, or fewer subjects than folds.
    """
    subjects = [subject for group in _shuffled(studies, seed) for subject in group]
    if not 2 <= folds <= len(subjects):
        raise InputError(
            f"Cannot make {folds} folds of {len(subjects)} subjects; give 2 to {len(subjects)}."
        )
    return {subject: number % folds for number, subject in enumerate(subjects)}


def _shuffled(studies: Iterable[Study], seed: int) -> list[list[str]]:
    """Subjects of each layout, shuffled; a subject of two layouts is of a group of its own."""
    layouts: dict[str, set[str]] = defaultdict(set)
    for study in studies:
        layouts[study.subject].add(study.layout)
    groups: dict[str, list[str]] = defaultdict(list)
    for subject in sorted(layouts):
        groups["+".join(sorted(layouts[subject]))].append(subject)
    for layout, subjects in groups.items():
        random.Random(f"{seed}:{layout}").shuffle(subjects)
    return [groups[layout] for layout in sorted(groups)]
