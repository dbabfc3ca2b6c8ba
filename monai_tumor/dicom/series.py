"""Slices into volumes: which belong together, and which of several at one place is which.

Slices of one series are always parted by shape, pixel spacing, orientation, colour and frame of
reference. They are parted further (by role, echo, inversion time, diffusion, time, acquisition)
only where several lie at the same place, and only by a trait that tells those apart.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from monai_tumor.dicom.geometry import SAME_PLACE_MM, Kind, Plane, Stack, classify
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.records import Slice

_COSINES_EQUAL = 2e-4  # 0.05 mm at the far side of 256 mm
_SPACING_EQUAL = 1e-4
# More missing slices than this in a row, or more than half as many as there are, are not filled:
# two slabs in one series are not one volume.
_MOST_IN_A_ROW = 3
_WIDEST_GAP = 4.0  # times the median; nor are slices further apart than this resampled


class Repair(StrEnum):
    """What `convert` may mend when it is asked to; each is recorded in the sidecar."""

    MISSING = "missing"  # fill absent slices by linear interpolation between their neighbours
    VARIABLE = "variable"  # resample uneven spacing onto a regular grid
    INCOMPLETE = "incomplete"  # leave out the time points that lack slices
    UNREADABLE = "unreadable"  # convert a series though a file beside it cannot be read


@dataclass(frozen=True)
class Volume:
    """Slices that make one file.

    Attributes:
        label: what tells it from other volumes of its series: `e2`, `phase`, `a1`, ...
        points: [time][place], each time point's slices from first to last along the normal.
        stack: how they lie; the same for every time point.
        axis: what the fourth axis is: `time`, `diffusion`, `trigger`; empty for a 3D volume.
        dropped: UIDs left out because another instance holds the same pixels at the same place.
        repairs: what was mended so far.
        warnings: what a reader should know.
    """

    label: tuple[str, ...]
    points: tuple[tuple[Slice, ...], ...]
    stack: Stack
    axis: str = ""
    dropped: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def first(self) -> Slice:
        """The first slice of the first time point."""
        return self.points[0][0]


SamePixels = Callable[[Slice, Slice], bool]


@dataclass
class _Part:
    """Slices that share the traits in `values`."""

    slices: list[Slice]
    values: dict[str, Hashable] = field(default_factory=dict)


# Traits that may tell apart slices at one place, most telling first. A static trait makes files of
# their own, the others a fourth axis; acquisitions do either.
_STATIC = ("role", "echo", "inversion")
_AXES = {"diffusion": "diffusion", "temporal": "time", "trigger": "trigger", "repeat": "time"}
_TRAITS = (*_STATIC, "diffusion", "temporal", "trigger", "acquisition")


def volumes(
    slices: Sequence[Slice], same_pixels: SamePixels, repair: Iterable[Repair] = ()
) -> list[Volume | RefusalError]:
    """The volumes that the slices of one series make, each converted or refused on its own.

    Args:
        slices: all of one series UID, in any order.
        same_pixels: whether two slices hold the same stored pixels.
        repair: what may be mended.
    """
    allowed = frozenset(repair)
    try:
        unique, dropped = _once(slices, same_pixels)
    except RefusalError as error:
        return [error]
    made: list[Volume | RefusalError] = []
    blocks = _blocks(unique)
    for number, block in enumerate(blocks, 1):
        prefix = (f"o{number}",) if len(blocks) > 1 else ()
        try:
            parts = _part(block, _TRAITS)
        except RefusalError as error:
            made.append(error)
            continue
        for label, group in _files(parts):
            try:
                volume = _volume(prefix + label, group, same_pixels, allowed)
            except RefusalError as error:
                made.append(error)
            else:
                made.append(_with_dropped(volume, dropped))
    return made


def _with_dropped(volume: Volume, dropped: Sequence[Slice]) -> Volume:
    uids = {s.uid for point in volume.points for s in point}
    repeated = tuple(s.uid for s in dropped if s.uid in uids)
    if not repeated:
        return volume
    note = f"{len(repeated)} file(s) repeat an instance that is already there"
    return replace(volume, dropped=volume.dropped + repeated, warnings=(*volume.warnings, note))


def _once(slices: Sequence[Slice], same_pixels: SamePixels) -> tuple[list[Slice], list[Slice]]:
    """The slices without those that come twice under one UID, and the latter.

    Raises:
        RefusalError: two files claim one UID and differ.
    """
    kept: dict[Hashable, Slice] = {}
    dropped = []
    for one in slices:
        key: Hashable = (one.uid or one.source.path, one.pixels.frame, one.pixels.corner)
        twin = kept.setdefault(key, one)
        if twin is one:
            continue
        if twin.plane != one.plane or twin.pixels != one.pixels or not same_pixels(twin, one):
            raise RefusalError(
                Reason.CONFLICTING_INSTANCES,
                f"{twin.source.name} and {one.source.name} share one SOP instance UID and differ; "
                "remove the wrong one.",
            )
        dropped.append(one)
    return list(kept.values()), dropped


def _blocks(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices of one shape, spacing, orientation, colour and frame of reference."""
    blocks: list[list[Slice]] = []
    for one in slices:
        for block in blocks:
            if _alike(block[0], one):
                block.append(one)
                break
        else:
            blocks.append([one])
    return blocks


def _alike(a: Slice, b: Slice) -> bool:
    p, q = a.plane, b.plane
    if a.space != b.space:
        return False
    if (p.shape, p.spacing, p.row, p.column) == (q.shape, q.spacing, q.row, q.column):
        return a.pixels.color == b.pixels.color
    return bool(
        p.shape == q.shape
        and a.pixels.color == b.pixels.color
        and np.allclose(p.spacing, q.spacing, rtol=_SPACING_EQUAL, atol=0)
        and np.allclose(p.row, q.row, rtol=0, atol=_COSINES_EQUAL)
        and np.allclose(p.column, q.column, rtol=0, atol=_COSINES_EQUAL)
    )


def _places(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices by place along the normal."""
    normal = slices[0].plane.normal
    depth = np.array([s.plane.position for s in slices]) @ normal
    order = np.argsort(depth, kind="stable")
    breaks = np.flatnonzero(np.diff(depth[order]) >= SAME_PLACE_MM) + 1
    return [[slices[i] for i in places] for places in np.split(order, breaks)]


def _part(slices: list[Slice], keys: Sequence[str]) -> list[_Part]:
    """Parts in which no two slices lie at one place, or that no trait can part further."""
    places = _places(slices)
    most = max(len(place) for place in places)
    if most == 1:
        return [_Part(slices)]
    for number, key in enumerate(keys):
        values = {getattr(s.traits, key) for s in slices}
        tells = any(len({getattr(s.traits, key) for s in place}) > 1 for place in places)
        # A trait with more values than there are slices at any place counts slices, not volumes.
        if not tells or len(values) > most:
            continue
        parts = []
        for value in sorted(values, key=_rank):
            inside = [s for s in slices if getattr(s.traits, key) == value]
            for part in _part(inside, keys[number + 1 :]):
                parts.append(_Part(part.slices, {key: value, **part.values}))
        return parts
    return [_Part(slices)]


def _rank(value: Any) -> tuple[bool, str, Any]:
    """A sort key for None, numbers and tuples of either."""
    return (value is not None, type(value).__name__, value if value is not None else 0)


def _files(parts: list[_Part]) -> list[tuple[tuple[str, ...], list[_Part]]]:
    """Parts that go into one file together, under the label of that file."""
    _acquisitions_as_time(parts)
    static = (*_STATIC, "acquisition")
    groups: dict[Hashable, list[_Part]] = defaultdict(list)
    for part in parts:
        groups[tuple(part.values.get(key) for key in static)].append(part)
    values = {key: sorted({p.values.get(key) for p in parts}, key=_rank) for key in static}
    files = []
    for group in groups.values():
        label = tuple(
            _label(key, group[0].values.get(key), values[key])
            for key in static
            if len(values[key]) > 1
        )
        files.append((label, group))
    return files


def _acquisitions_as_time(parts: list[_Part]) -> None:
    """Make acquisitions a fourth axis: three or more of the same places, or beside another axis.

    Two stay two files: before and after contrast, say.
    """
    numbers = {part.values.get("acquisition") for part in parts}
    sizes = {len(_places(part.slices)) for part in parts}
    series = len(numbers) > 2 and None not in numbers and len(sizes) == 1
    if series or any(part.values.keys() & _AXES.keys() for part in parts):
        for part in parts:
            if "acquisition" in part.values:
                part.values["repeat"] = part.values.pop("acquisition")


def _label(key: str, value: Any, values: Sequence[Any]) -> str:
    if key != "role":
        return f"{key[0]}{values.index(value) + 1}"
    shared = set.intersection(*(set(v or ()) for v in values))
    own = [word for word in value or () if word not in shared]
    names = {"M": "mag", "P": "phase", "R": "real", "I": "imag", "MAGNITUDE": "mag"}
    ge = {"GE0": "mag", "GE1": "phase", "GE2": "real", "GE3": "imag"}
    return "-".join((names | ge).get(w, w.lower()) for w in own) or f"r{values.index(value) + 1}"


def _volume(
    label: tuple[str, ...], parts: list[_Part], same_pixels: SamePixels, repair: frozenset[Repair]
) -> Volume:
    """One file's volume.

    Raises:
        RefusalError: its slices make no regular stack and the repair was not asked for.
    """
    dropped: list[str] = []
    for part in parts:
        part.slices, twins = _without_twins(part.slices, same_pixels)
        dropped += twins
    parts, repairs = _complete(parts, repair)
    parts.sort(
        key=lambda p: (
            _rank(p.values.get("temporal")),
            _rank(p.values.get("trigger")),
            min(s.instance for s in p.slices),
            _rank(p.slices[0].traits.acquisition),
        )
    )
    stack = classify([s.plane for s in parts[0].slices])
    _check(stack, parts[0].slices[0].source.name, repair)
    points = tuple(
        tuple(p.slices[i] for i in classify([s.plane for s in p.slices]).order) for p in parts
    )
    axes = {axis for key, axis in _AXES.items() if len({p.values.get(key) for p in parts}) > 1}
    return Volume(
        label=label,
        points=points,
        stack=stack,
        axis="+".join(sorted(axes)),
        dropped=tuple(dropped),
        repairs=tuple(repairs),
        warnings=tuple(_mixed(points)),
    )


def _check(stack: Stack, name: str, repair: frozenset[Repair]) -> None:
    """Check that a stack is one regular volume, or may be mended into one.

    Raises:
        RefusalError: it is not.
    """
    if stack.kind is Kind.MISSING:
        most = max(b - a - 1 for a, b in itertools.pairwise(stack.index))
        few = most <= _MOST_IN_A_ROW and 2 * stack.missing <= len(stack.order)
        advice = "or ask for the repair 'missing' to interpolate" if few else "too many to fill"
        if Repair.MISSING not in repair or not few:
            raise RefusalError(
                Reason.MISSING_SLICES,
                f"{stack.missing} slice(s) are missing among {len(stack.order)} (series of "
                f"{name}); find them, {advice}.",
            )
    wide = stack.kind is Kind.VARIABLE and max(stack.gaps) > _WIDEST_GAP * np.median(stack.gaps)
    if stack.kind is Kind.VARIABLE and (wide or Repair.VARIABLE not in repair):
        advice = "they are no one volume" if wide else "ask for the repair 'variable' to resample"
        raise RefusalError(
            Reason.VARIABLE_SPACING,
            f"Slices are {min(stack.gaps):.3f} to {max(stack.gaps):.3f} mm apart or not in line "
            f"(series of {name}); {advice}.",
        )


def _without_twins(slices: list[Slice], same_pixels: SamePixels) -> tuple[list[Slice], list[str]]:
    """The slices without those whose pixels and place another has; and what was left out.

    Raises:
        RefusalError: slices at one place differ and no trait says which is which.
    """
    kept, dropped = [], []
    for place in _places(slices):
        kept.append(place[0])
        for other in place[1:]:
            if not _twins(place[0], other) or not same_pixels(place[0], other):
                raise RefusalError(
                    Reason.DUPLICATE_POSITIONS,
                    f"{place[0].source.name} and {other.source.name} lie in the same plane with "
                    "different images, and nothing in their headers tells them apart.",
                )
            dropped.append(other.uid)
    return kept, dropped


def _twins(a: Slice, b: Slice) -> bool:
    """Whether two slices would hold the same values at the same place, their pixels being equal."""
    near = np.allclose(a.plane.position, b.plane.position, rtol=0, atol=SAME_PLACE_MM)
    scales = [(s.pixels.slope, s.pixels.intercept) for s in (a, b)]
    return bool(near) and scales[0] == scales[1]


def _complete(parts: list[_Part], repair: frozenset[Repair]) -> tuple[list[_Part], list[str]]:
    """The time points that have every slice.

    Raises:
        RefusalError: some lack slices and leaving them out was not asked for.
    """
    most = max((part.slices for part in parts), key=len)
    grid = _grid([s.plane for s in most])
    whole = []
    for part in parts:
        own = _grid([s.plane for s in part.slices])
        if len(own) == len(grid) and np.allclose(own, grid, rtol=0, atol=2 * SAME_PLACE_MM):
            whole.append(part)
    lacking = len(parts) - len(whole)
    if not lacking:
        return parts, []
    if Repair.INCOMPLETE not in repair:
        raise RefusalError(
            Reason.INCOMPLETE_4D,
            f"{lacking} of {len(parts)} time points lack slices or lie elsewhere (series of "
            f"{most[0].source.name}); ask for the repair 'incomplete' to leave them out.",
        )
    return whole, [f"{lacking} incomplete time point(s) left out"]


def _grid(planes: Sequence[Plane]) -> np.ndarray[Any, np.dtype[np.float64]]:
    positions = np.array([plane.position for plane in planes])
    return positions[np.argsort(positions @ planes[0].normal, kind="stable")]


def _mixed(points: Sequence[Sequence[Slice]]) -> list[str]:
    """Traits that change from slice to slice within one time point."""
    notes = []
    for key in ("role", "echo", "inversion", "diffusion"):
        values = {getattr(s.traits, key) for s in points[0]}
        if len(values) > 1:
            shown = ", ".join(sorted(str(v) for v in values)[:4])
            notes.append(f"slices differ in {key}: {shown}")
    return notes
