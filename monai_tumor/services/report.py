"""Measure a mask that someone made or corrected, and the change between two such reports."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from monai_tumor.data.problems import refuse
from monai_tumor.data.studies import find_studies
from monai_tumor.data.study import Study
from monai_tumor.errors import InputError
from monai_tumor.files import sha256
from monai_tumor.imaging.images import read_images
from monai_tumor.imaging.measure import LEAST_LESION_ML, measure
from monai_tumor.imaging.quality import check_images, check_mask
from monai_tumor.labels import Modality
from monai_tumor.metrics.tables import align
from monai_tumor.provenance import INTENDED_USE, versions
from monai_tumor.report.study_report import FORMAT, FORMAT_VERSION, StudyReport, write_report
from monai_tumor.services.label_maps import read_onto

_SHOWN = (Modality.T1C, Modality.T2F)  # in the key slices: enhancing tumour, then oedema
_SAME = 0.1  # relative difference of voxel sizes that does not matter to a comparison


def report(
    study: Study | Path | str,
    mask: Path | str,
    *,
    scheme: str,
    output: Path | str,
    modalities: str | None = None,
    connectivity: int = 26,
    least_ml: float = LEAST_LESION_ML,
) -> StudyReport:
    """Measure `mask`, and write `report.json` and `report.html`.

    Args:
        study: the study that it was drawn on, or where it lies: a folder or a 4D file.
        mask: the label map, on the grid of the study's images; another orientation will do.
        scheme: how to read it; it cannot be told from the values.
        output: folder to write.
        modalities: channel order of a 4D file, where no dataset.json says it.
        connectivity: 6, 18 or 26 neighbours make a lesion.
        least_ml: smaller lesions are neither counted nor measured.

    Raises:
        InputError: there is not one study, or a file cannot be read or written.
        StudyError: the study cannot be used, or the mask is on another grid.
        SchemeError: the mask holds a value that the scheme does not know.
    """
    one = study if isinstance(study, Study) else _only_study(Path(study), modalities)
    path = Path(mask)
    loaded = read_images(one.images, one.study, [name.value for name in one.modalities])
    affine = loaded.affine
    volumes = dict(zip(one.modalities, loaded.voxels, strict=True))
    labels = read_onto(path, scheme, loaded.voxels.shape[1:], affine, f"study {one.study!r}")
    made = StudyReport(
        study=one.study,
        measures=measure(labels, affine, scheme, connectivity=connectivity, least_ml=least_ml),
        flags=(*check_images(volumes, affine), *check_mask(labels, affine, scheme)),
        provenance={
            "mask": {"file": path.name, "sha256": sha256(path)},
            "versions": versions(),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "intended_use": INTENDED_USE,
        },
    )
    shown = {name.value: volumes[name] for name in _SHOWN if name in volumes}
    write_report(Path(output), made, images=shown, labels=labels, affine=affine)
    return made


def _only_study(path: Path, modalities: str | None) -> Study:
    found = find_studies(path, modalities=modalities)
    if len(found.studies) == 1:
        return found.studies[0]
    problems = [p for p in found.problems if not p.is_note]
    if not found.studies and problems:
        refuse(problems)
    raise InputError(
        f"{path} holds {len(found.studies)} studies; give the folder or 4D file of the one that "
        "the mask belongs to."
    )


@dataclass(frozen=True)
class Quantity:
    """One measure at two time points.

    Attributes:
        name: such as "ET" or "sum of products".
        unit: "mL", "mm2", or "" of a count.
        before: in the first report.
        after: in the second.
    """

    name: str
    unit: str
    before: float
    after: float

    @property
    def absolute(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def relative(self) -> float | None:
        """As a share of before: 0.25 is a quarter more. None where before is 0."""
        return self.absolute / self.before if self.before else None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        relative = self.relative
        return {
            "name": self.name,
            "unit": self.unit,
            "before": self.before,
            "after": self.after,
            "absolute": round(self.absolute, 4),
            "relative": None if relative is None else round(relative, 4),
        }

    def cells(self) -> list[str]:
        """A row of a table."""
        digits = {"mL": 2, "mm2": 0}.get(self.unit, 0)
        relative = self.relative
        return [
            f"{self.name}, {self.unit}" if self.unit else self.name,
            f"{self.before:.{digits}f}",
            f"{self.after:.{digits}f}",
            f"{self.absolute:+.{digits}f}",
            "-" if relative is None else f"{relative:+.1%}",
        ]


@dataclass(frozen=True)
class Change:
    """What changed between two reports, in numbers alone; no category of response.

    Attributes:
        before: name of the first study.
        after: name of the second.
        quantities: volumes, counts and the sum of products.
        notes: what makes the two hard to compare.
    """

    before: str
    after: str
    quantities: tuple[Quantity, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "before": self.before,
            "after": self.after,
            "changes": [quantity.as_dict() for quantity in self.quantities],
            "notes": list(self.notes),
            "intended_use": INTENDED_USE,
        }

    def __str__(self) -> str:
        """A row for each measure, then the notes."""
        head = ["", "before", "after", "change", "relative"]
        table = align([head, *(quantity.cells() for quantity in self.quantities)])
        return "\n".join([f"from {self.before} to {self.after}", table, *self.notes, INTENDED_USE])


def change(before: StudyReport | Path | str, after: StudyReport | Path | str) -> Change:
    """What changed from one report to another.

    Args:
        before: a report, its `report.json`, or the folder that holds it.
        after: the same of the later time point.

    Raises:
        InputError: a file is not a report, or lesions were counted by other rules.
    """
    a, b = _content(before), _content(after)
    try:
        return _change(a, b)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"Damaged {FORMAT}: {error!r}. Write the reports again.") from error


def _change(a: Mapping[str, Any], b: Mapping[str, Any]) -> Change:
    one, other = a["measures"], b["measures"]
    rules = [{k: m["lesions"][k] for k in ("connectivity", "least_ml")} for m in (one, other)]
    if rules[0] != rules[1]:
        raise InputError(
            f"Lesions were counted by other rules, {rules[0]} and {rules[1]}; measure both alike."
        )
    quantities = [
        Quantity(name, "mL", float(ml), float(other["volumes_ml"][name]))
        for name, ml in one["volumes_ml"].items()
    ]
    sums = [float(m["sum_of_products_mm2"]) for m in (one, other)]
    quantities.append(Quantity("sum of products", "mm2", *sums))
    for name, count in one["lesions"]["count"].items():
        quantities.append(Quantity(f"{name} lesions", "", count, other["lesions"]["count"][name]))
    return Change(a["study"], b["study"], tuple(quantities), _notes(a, b))


def _notes(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    sizes = [
        [m["plane"]["spacing_mm"], *m["plane"]["pixel_mm"]] for m in (a["measures"], b["measures"])
    ]
    if not np.allclose(sizes[0], sizes[1], rtol=_SAME):
        words = [" x ".join(f"{size:g}" for size in (*s[1:], s[0])) for s in sizes]
        notes.append(
            f"note: voxels of {words[0]} mm before and {words[1]} mm after; part of a change may "
            "come from that."
        )
    for content in (a, b):
        names = [flag["name"] for flag in content["flags"] if flag["severity"] == "warning"]
        if names:
            notes.append(f"note: {content['study']} has warnings: {', '.join(names)}.")
    return tuple(notes)


def _content(given: StudyReport | Path | str) -> Mapping[str, Any]:
    if isinstance(given, StudyReport):
        return given.as_dict()
    path = Path(given) / "report.json" if Path(given).is_dir() else Path(given)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"Cannot read a report from {path}: {error}. Give the report.json of a study."
        ) from error
    head = content if isinstance(content, dict) else {}
    found = head.get("format"), head.get("version")
    if found != (FORMAT, FORMAT_VERSION):
        raise InputError(
            f"{path} is not {FORMAT} of version {FORMAT_VERSION}: found format {found[0]!r}, "
            f"version {found[1]}. Give the report.json of a study."
        )
    return head
