"""Names for the results of many studies, no two the same whatever they are called."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_tumor.files import safe_name

_LONGEST = 100  # characters; a file system takes 255 bytes, and endings follow


@dataclass(frozen=True)
class Named:
    """What is to get a name of its own.

    Attributes:
        name: what it is called.
        place: where it lies, absolute.
        detail: what else tells it from others of that name and place.
    """

    name: str
    place: Path
    detail: str = ""

    @property
    def stem(self) -> str:
        """The name as a file name."""
        return safe_name(self.name)


def distinct(named: Sequence[Named]) -> list[str]:
    """A file name for each.

    That is its own name where no other has it, in upper or lower case. Those that share one get the
    folders in which they differ before it: a/BraTS-1 and b/BraTS-1 are a_BraTS-1 and b_BraTS-1.
    Where that does not do, eight digits of a SHA-256 of place and detail follow. The order in
    which they are found makes no difference.
    """
    by_stem: dict[str, list[int]] = {}
    for number, one in enumerate(named):
        by_stem.setdefault(one.stem.lower(), []).append(number)
    names = [one.stem for one in named]
    for numbers in by_stem.values():
        if len(numbers) > 1:
            for number, name in zip(numbers, _by_folder([named[n] for n in numbers]), strict=True):
                names[number] = name
    count = Counter(name.lower() for name in names)
    return [
        name if count[name.lower()] == 1 and len(name) <= _LONGEST else _with_digest(name, one)
        for name, one in zip(names, named, strict=True)
    ]


def _by_folder(same: Sequence[Named]) -> list[str]:
    """Names of those that share a stem: the folders below the one that holds all, then the stem."""
    common = os.path.commonpath([one.place for one in same])
    names = []
    for one in same:
        parts = one.place.relative_to(common).parts
        if parts and safe_name(parts[-1]).lower() == one.stem.lower():
            parts = parts[:-1]
        names.append(safe_name("_".join([*parts, one.stem])))
    return names


def _with_digest(name: str, one: Named) -> str:
    told = f"{one.name}\n{one.place}\n{one.detail}"
    digest = hashlib.sha256(told.encode(errors="surrogateescape"))
    return f"{name[:_LONGEST]}_{digest.hexdigest()[:8]}"
