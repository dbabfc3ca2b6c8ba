"""What was understood of a folder, before anything runs on it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_tumor.data.checks import check_study
from monai_tumor.data.headers import UNREADABLE, read_header, read_voxels
from monai_tumor.data.layouts import LAYOUTS
from monai_tumor.data.problems import Problem
from monai_tumor.data.studies import find_studies
from monai_tumor.data.study import Study

_ROWS = 40  # studies and problems shown by `str`; `as_dict` has all


@dataclass(frozen=True)
class Grid:
    """One voxel grid; two studies share it whatever their origins.

    Attributes:
        shape: voxels along i, j, k.
        spacing: voxel size in mm along i, j, k, to a micrometre.
        orientation: where i, j, k point, such as "LPS".
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    orientation: str

    def __str__(self) -> str:
        """Such as `240x240x155, 1x1x1 mm, LPS`."""
        spacing = "x".join(f"{v:g}" for v in self.spacing)
        return f"{'x'.join(map(str, self.shape))}, {spacing} mm, {self.orientation}"


@dataclass(frozen=True)
class Inspection:
    """What a path holds.

    Attributes:
        path: what was looked at.
        studies: complete studies.
        grids: study id -> grid of its first image; a study that cannot be read has none.
        labels: study id -> label values present, 0 left out; empty unless voxels were read.
        problems: everything found, notes included.
        voxels: whether voxels were read.
    """

    path: Path
    studies: tuple[Study, ...]
    grids: Mapping[str, Grid]
    labels: Mapping[str, tuple[int, ...]]
    problems: tuple[Problem, ...]
    voxels: bool

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep a study from being used."""
        return tuple(p for p in self.problems if not p.is_note)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "path": str(self.path),
            "studies": [self._row(s) for s in self.studies],
            "subjects": len({s.subject for s in self.studies}),
            "layouts": _count(s.layout for s in self.studies),
            "schemes": _count(s.scheme or "unknown" for s in self.studies),
            "grids": _count(str(g) for g in self.grids.values()),
            "labelled": sum(s.label is not None for s in self.studies),
            "voxels_read": self.voxels,
            "problems": [{**p.as_dict(), "note": p.is_note} for p in self.problems],
        }

    def __str__(self) -> str:
        """A summary, a table of studies, the problems."""
        subjects = {s.subject for s in self.studies}
        labelled = sum(s.label is not None for s in self.studies)
        lines = [
            str(self.path),
            f"  subjects    {len(subjects)}",
            f"  studies     {len(self.studies)}, {labelled} with a label",
            _line("time points", (f"{n} a subject" for n in self._time_points())),
            _line("modalities", (", ".join(s.modalities) for s in self.studies)),
            _line("layouts", (_layout(s.layout) for s in self.studies)),
            _line("schemes", (s.scheme or "unknown" for s in self.studies)),
            _line("grids", map(str, self.grids.values())),
        ]
        if self.voxels:
            lines.append(_line("labels", (_values(v) for v in self.labels.values())))
        lines += ["", *_table([self._cells(s) for s in self.studies[:_ROWS]])]
        lines += _rest(len(self.studies), "studies")
        bad = self.errors
        lines += ["", f"{len(bad)} problems, {len(self.problems) - len(bad)} notes"]
        shown = (*bad, *(p for p in self.problems if p.is_note))
        lines += [f"  {p}" + (f" [repair: {p.repair}]" if p.repair else "") for p in shown[:_ROWS]]
        lines += _rest(len(shown), "problems and notes")
        if not self.voxels:
            lines.append("Headers only; voxels were not read.")
        return "\n".join(lines)

    def _time_points(self) -> list[int]:
        """How many studies each subject has."""
        return sorted(Counter(s.subject for s in self.studies).values())

    def _row(self, study: Study) -> dict[str, Any]:
        grid = self.grids.get(study.study)
        row = study.as_item()
        if grid is not None:
            row["grid"] = {
                "shape": list(grid.shape),
                "spacing": list(grid.spacing),
                "orientation": grid.orientation,
            }
        if study.study in self.labels:
            row["label_values"] = list(self.labels[study.study])
        return row

    def _cells(self, study: Study) -> tuple[str, ...]:
        label = "-" if study.label is None else study.scheme or "scheme unknown"
        if study.study in self.labels:
            label += f" {_values(self.labels[study.study])}"
        grid = self.grids.get(study.study)
        bad = {p.kind for p in self.errors if p.study == study.study}
        state = ", ".join(sorted(bad)) or "ok"
        return study.study, study.layout, str(grid or "unreadable"), label, state


def inspect(
    path: Path | str,
    *,
    scheme: str | None = None,
    modalities: str | None = None,
    voxels: bool = False,
    on_checked: Callable[[Study, int, int], None] | None = None,
) -> Inspection:
    """What `path` holds: subjects, modalities, layouts, schemes, grids, problems.

    Args:
        path: a study folder, a tree of any layouts, a 4D file, or a datalist JSON.
        scheme: how to read every label, in place of what each layout says.
        modalities: channel order of 4D files, such as "t2f,t1n,t1c,t2w".
        voxels: also read every voxel: NaN, empty images, label values, files cut short.
        on_checked: called after each study with it, its number from 1, and how many there are.

    Raises:
        InputError: there is nothing at `path`.
        StudyError: no study was found.
        SchemeError: no such scheme or modality.
    """
    inventory = find_studies(path, scheme=scheme, modalities=modalities)
    problems = list(inventory.problems)
    grids: dict[str, Grid] = {}
    labels: dict[str, tuple[int, ...]] = {}
    for number, study in enumerate(inventory.studies, 1):
        problems += check_study(study, voxels=voxels)
        try:
            grids[study.study] = _grid(study)
            if voxels and study.label is not None:
                labels[study.study] = _label_values(study.label)
        except UNREADABLE:
            pass  # `check_study` has said so
        if on_checked is not None:
            on_checked(study, number, len(inventory.studies))
    studies, found = inventory.studies, tuple(problems)
    return Inspection(Path(path), studies, grids, labels, found, voxels)


def _grid(study: Study) -> Grid:
    header = read_header(study.images[0])
    spacing = tuple(round(v, 3) for v in header.spacing)
    return Grid(header.shape[:3], spacing, header.orientation)


def _label_values(label: Path) -> tuple[int, ...]:
    return tuple(int(v) for v in np.unique(read_voxels(label)) if np.isfinite(v) and v != 0)


def _values(values: tuple[int, ...]) -> str:
    return "+".join(map(str, values)) or "none"


def _layout(name: str) -> str:
    return f"{name} ({LAYOUTS[name].description})" if name in LAYOUTS else name


def _count(values: Iterable[str]) -> dict[str, int]:
    """How often each value stands, most first."""
    return dict(sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0])))


def _line(title: str, values: Iterable[str]) -> str:
    counted = [f"{count} x {value}" for value, count in _count(values).items()]
    return f"  {title:<11} " + ("\n" + " " * 14).join(counted or ["none"])


def _rest(total: int, what: str) -> list[str]:
    return [f"  ... {total} {what} in all; --json lists them."] if total > _ROWS else []


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    rows = [("study", "layout", "grid", "label", "state"), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join(f"{c:<{w}}" for c, w in zip(r, widths, strict=True)).rstrip() for r in rows
    ]
