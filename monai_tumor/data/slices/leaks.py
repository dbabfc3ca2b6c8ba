"""Whether a picture is on two sides of a split, and the refusal to train on such a split."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_tumor.data.slices.fingerprints import Fingerprints, fingerprint
from monai_tumor.data.slices.items import TEST, TRAIN, VALIDATION, SliceDataset
from monai_tumor.data.slices.twins import TWIN, Twins, find_twins
from monai_tumor.errors import TrainingError
from monai_tumor.networks.weights import record_beside

_VALIDATES = "the test side was validated on"


@dataclass(frozen=True)
class Leak:
    """How many slices of one side are on another too. Each count includes the ones before it.

    Attributes:
        side: such as "test".
        slices: of that side.
        files: those with a byte-identical twin on another side.
        pixels: with a twin of equal pixels.
        near: with a near twin.
        turned: with a near twin, mirrored and turned ones too.
        leaking: with any twin or of a patient who is on another side.
    """

    side: str
    slices: int
    files: int
    pixels: int
    near: int
    turned: int
    leaking: int

    @property
    def share(self) -> float:
        """Of the side's slices, those that leak."""
        return self.leaking / self.slices if self.slices else 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "share": round(self.share, 4)}

    def __str__(self) -> str:
        """Such as `test: 75.7% of 1311 leak (16.5% byte-identical, 37.1% near, ...)`."""

        def percent(count: int) -> str:
            return f"{100 * count / max(self.slices, 1):.1f}%"

        return (
            f"{self.side}: {percent(self.leaking)} of {self.slices} leak ({percent(self.files)}"
            f" byte-identical, {percent(self.pixels)} with equal pixels, {percent(self.near)} near,"
            f" {percent(self.turned)} with mirrored or turned ones)"
        )


@dataclass(frozen=True)
class LeakStamp:
    """What every result says of the split it was made on.

    Attributes:
        leaks: one a side: test against training and validation, validation against training, each
            fold against the others.
        at: least correlation of near twins.
        allowed: training on a leaking split was asked for.
        test_validates: the test side was validated on, and so chose what is tested.
    """

    leaks: tuple[Leak, ...]
    at: float = TWIN
    allowed: bool = False
    test_validates: bool = False

    @property
    def leaking(self) -> bool:
        """Whether any side leaks, or the test side was validated on."""
        return self.test_validates or any(leak.leaking for leak in self.leaks)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "leaking": self.leaking,
            "allowed": self.allowed,
            "twin_correlation": self.at,
            "test_validates": self.test_validates,
            "sides": [leak.as_dict() for leak in self.leaks],
        }

    def __str__(self) -> str:
        """A line that no reader of a result can miss, or `no leak`."""
        bad = [str(leak) for leak in self.leaks if leak.leaking]
        bad += [_VALIDATES] if self.test_validates else []
        if not bad:
            return f"no leak (no twins of correlation {self.at:g} or more, no patient on two sides)"
        return "LEAKING SPLIT, results are too good: " + "; ".join(bad)


def require_no_leak(
    dataset: SliceDataset,
    prints: Fingerprints | None = None,
    twins: Twins | None = None,
    *,
    allow: bool = False,
    test_validates: bool = False,
) -> LeakStamp:
    """The stamp for results made on this split.

    Args:
        dataset: with sides or folds; every picture is decoded once, about 2,000 a second.
        prints: its fingerprints, where they are there already; its items are those that count.
        twins: as `find_twins([prints])` gives; found where not given.
        allow: go on in spite of a leak, which the stamp then says.
        test_validates: the test side is validated on, which is a leak too.

    Raises:
        TrainingError: the split leaks, and that is not allowed.
    """
    prints = prints or fingerprint(dataset)
    stamp = stamp_of(prints, twins or find_twins([prints]), allow=allow)
    stamp = replace(stamp, test_validates=test_validates)
    if stamp.leaking and not allow:
        shares = {str(leak): leak.share for leak in stamp.leaks if leak.leaking}
        worst = max(shares, key=shares.__getitem__, default=_VALIDATES)
        raise TrainingError(
            f"This split leaks: {worst}. Split by group (assign), or allow it (--allow-leak), which"
            " every result will say."
        )
    return stamp


def leak_told(leak: Mapping[str, Any] | None) -> str:
    """One line of what `LeakStamp.as_dict` recorded; None where nothing was recorded."""
    if leak is None:
        return "It is not known whether this split leaks."
    bad = [
        f"{100 * side['share']:.1f}% of {side['slices']} {side['side']} slices have a twin that was"
        " learnt from"
        for side in leak["sides"]
        if side["leaking"]
    ]
    bad += [_VALIDATES] if leak.get("test_validates") else []
    if not bad:
        return "No leak: no twins and no patient on two sides."
    return f"LEAKING SPLIT, results are too good: {'; '.join(bad)}."


def leak_of_weights(weights: Path | str) -> str:
    """One line on the split that weights were trained and tested on, from the JSON beside them."""
    return leak_told((record_beside(Path(weights)).get("split") or {}).get("leak"))


def stamp_of(prints: Fingerprints, twins: Twins, *, allow: bool = False) -> LeakStamp:
    """The stamp of a split whose twins are known; see `require_no_leak`."""
    items = prints.dataset.items
    splits = np.array([item.split or "" for item in items])
    folds = np.array([-1 if item.fold is None else item.fold for item in items])
    training = splits == TRAIN
    sides = [
        (TEST, splits == TEST, training | (splits == VALIDATION)),
        (VALIDATION, splits == VALIDATION, training),
        *((f"fold {n}", folds == n, training & (folds != n)) for n in sorted({*folds} - {-1})),
    ]
    found = [leak_of(name, prints, twins, here, there) for name, here, there in sides if here.any()]
    return LeakStamp(tuple(found), twins.at, allow)


def leak_of(
    side: str,
    prints: Fingerprints,
    twins: Twins,
    here: NDArray[np.bool_],
    there: NDArray[np.bool_],
) -> Leak:
    """How many of the slices `here` [slices] have a twin, or are of a patient, `there` [slices]."""
    patients = [item.patient for item in prints.dataset.items]
    known = {p for p, seen in zip(patients, there, strict=True) if seen and p is not None}
    files, pixels, near, turned = shared(twins, here, there)
    leaking = turned | (here & np.array([p in known for p in patients]))
    counts = (int(mask.sum()) for mask in (here, files, pixels, near, turned, leaking))
    return Leak(side, *counts)


def shared(
    twins: Twins, here: NDArray[np.bool_], there: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Slices `here` with a twin `there`: of equal bytes, equal pixels, near, near or turned."""
    files = here & np.isin(twins.files, twins.files[there])
    seen = np.zeros(int(twins.pictures.max()) + 1, bool)
    seen[twins.pictures[there]] = True
    pixels = here & seen[twins.pictures]
    found = []
    for pairs in (twins.pairs[twins.turns == 0], twins.pairs):
        beside = np.zeros_like(seen)
        beside[pairs[seen[pairs[:, 1]], 0]] = True
        beside[pairs[seen[pairs[:, 0]], 1]] = True
        found.append(pixels | (here & beside[twins.pictures]))
    return files, pixels, found[0], found[1]
