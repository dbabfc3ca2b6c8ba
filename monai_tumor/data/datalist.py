"""Datalists: which study is for training, which for validation, which for test.

Splits go by subject, so that two scans of one person never lie on both sides, and by layout, so
that each side has every data set. The JSON is one that `monai.data.load_decathlon_datalist` reads
too (`base_dir` is the stored "dataset_dir").
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from monai_tumor.data.checks import check_study
from monai_tumor.data.problems import Problem, refuse
from monai_tumor.data.splits import assign_folds, hold_out
from monai_tumor.data.studies import find_studies, unknown_scheme
from monai_tumor.data.study import Study, absolute, read_listing
from monai_tumor.errors import InputError, StudyError
from monai_tumor.files import write_json
from monai_tumor.labels import scheme as label_scheme

FORMAT = "monai-tumor datalist"
FORMAT_VERSION = 1
_log = logging.getLogger(__name__)
OnBad = Literal["error", "skip"]
Item = dict[str, Any]


@dataclass(frozen=True)
class Datalist:
    """A split of studies, and how it came about.

    Attributes:
        dataset_dir: the folder that paths in the JSON are relative to.
        training: labelled studies; with folds, all of them.
        validation: labelled studies kept apart; empty with folds.
        test: studies without a label.
        folds: subject -> fold; empty without folds.
        seed: of the split.
        problems: what was found; where `skipped`, the reasons.
        skipped: ids of the studies left out.
        repairs: study id -> names of repairs that loading must carry out.
    """

    dataset_dir: Path
    training: tuple[Study, ...]
    validation: tuple[Study, ...] = ()
    test: tuple[Study, ...] = ()
    folds: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    problems: tuple[Problem, ...] = ()
    skipped: tuple[str, ...] = ()
    repairs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a subject on both sides, and two studies of one name."""
        shared = {s.subject for s in self.training} & {s.subject for s in self.validation}
        if shared:
            raise StudyError(
                f"Subject {min(shared)!r} is in training and in validation"
                f" ({len(shared)} such); results would be too good. Split by subject."
            )
        for studies in ((*self.training, *self.validation), self.test):
            names = Counter(s.study for s in studies)
            repeated = [name for name, count in names.items() if count > 1]
            if repeated:
                raise StudyError(
                    f"{names[repeated[0]]} items are study {repeated[0]!r}; one would take the"
                    ' place of the other. Give each its own "study".'
                )

    @property
    def schemes(self) -> tuple[str, ...]:
        """The label schemes in use."""
        labelled = (*self.training, *self.validation)
        return tuple(sorted({s.scheme for s in labelled if s.scheme is not None}))

    def repairs_it(self, problem: Problem) -> bool:
        """Whether loading carries out the repair of `problem`."""
        return problem.repair is not None and problem.repair in self.repairs.get(problem.study, ())

    @property
    def left(self) -> tuple[Problem, ...]:
        """Problems that nothing mends: the reasons of what was left out, and those of no study."""
        return tuple(p for p in self.problems if not (p.is_note or self.repairs_it(p)))

    @property
    def complete(self) -> bool:
        """Whether no study was left out and no problem is left."""
        return not self.skipped and not self.left

    def training_items(self, fold: int = 0) -> list[Item]:
        """Items to train on, paths absolute; with folds, all folds but `fold`."""
        self._known(fold)
        rest = [s for s in self.training if self.folds.get(s.subject, fold + 1) != fold]
        return [self._labelled(s) for s in rest]

    def validation_items(self, fold: int = 0) -> list[Item]:
        """Items to validate on, paths absolute; with folds, those of `fold`."""
        self._known(fold)
        held = [s for s in self.training if self.folds.get(s.subject) == fold]
        return [self._labelled(s) for s in (held if self.folds else self.validation)]

    def test_items(self) -> list[Item]:
        """Items without a label, paths absolute."""
        return [self.item(s) for s in self.test]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; paths relative to `dataset_dir`."""
        base = self.dataset_dir
        data: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "dataset_dir": str(base),
            "seed": self.seed,
            "folds": len(set(self.folds.values())),
            "schemes": list(self.schemes),
            "software": _software(),
            "training": [self.item(s, base) for s in self.training],
            "validation": [self.item(s, base) for s in self.validation],
            "problems": [p.as_dict() for p in self.problems],
            "skipped": list(self.skipped),
            "complete": self.complete,
        }
        if self.test:  # MONAI cannot read an empty test list
            data["test"] = [self.item(s, base) for s in self.test]
        return data

    def __str__(self) -> str:
        """How many studies are where, in which schemes, each case left out, each problem."""
        folds = len(set(self.folds.values()))
        parts = f"{len(self.training)} training" + (f" in {folds} folds" if folds else "")
        parts += f", {len(self.validation)} validation, {len(self.test)} test studies"
        lines = [f"{self.dataset_dir}: {parts}; {', '.join(self.schemes) or 'no labels'}"]
        for problem in self.left:
            word = "left out" if problem.study in self.skipped else "problem"
            lines.append(f"  {word}: {problem}")
        lines += [f"  repaired on loading: {s}: {', '.join(r)}" for s, r in self.repairs.items()]
        return "\n".join(lines)

    def save(self, path: Path | str) -> Path:
        """Write the datalist as JSON, atomically; returns its path."""
        path = Path(path)
        write_json(path, self.as_dict())
        return path

    @classmethod
    def load(
        cls,
        path: Path | str,
        dataset_dir: Path | str | None = None,
        scheme: str | None = None,
    ) -> "Datalist":
        """Read a datalist, ours or any that MONAI reads.

        Args:
            path: the JSON.
            dataset_dir: where the data set lies now, if it was moved.
            scheme: how to read every label, in place of what the items say.

        Raises:
            StudyError: not a datalist, of a newer format, its data set is not there, or a subject
                is on both sides of the split.
            SchemeError: the scheme of a label is not known.
        """
        listing = read_listing(Path(path))
        data = listing.data
        found = data.get("format_version") if data.get("format") == FORMAT else FORMAT_VERSION
        if found != FORMAT_VERSION:
            raise StudyError(
                f"{path} is of format version {found}; this release reads {FORMAT_VERSION}."
                " Update monai-tumor, or make the datalist again."
            )
        base = absolute(dataset_dir or listing.dataset_dir)
        if not base.is_dir():
            raise StudyError(
                f"The data set of {path} is not at {base}. Say where it lies: dataset_dir=..."
            )
        studies = {
            key: tuple(_read_study(item, base, scheme) for item in items)
            for key, items in listing.lists.items()
        }
        items = [i for entries in listing.lists.values() for i in entries if isinstance(i, dict)]
        return cls(
            dataset_dir=base,
            training=studies.get("training", ()),
            validation=studies.get("validation", ()),
            test=studies.get("test", ()),
            folds=_read_folds(studies.get("training", ()), listing.lists.get("training", [])),
            seed=int(data.get("seed", 0)),
            problems=tuple(Problem.from_dict(p) for p in data.get("problems", ())),
            skipped=tuple(data.get("skipped", ())),
            repairs={
                str(item.get("study")): tuple(str(item["repairs"]).split(","))
                for item in items
                if item.get("repairs")
            },
        )

    def item(self, study: Study, base: Path | None = None) -> Item:
        """The item of one of the studies, paths absolute or relative to `base`."""
        item = study.as_item(base)
        if study.subject in self.folds:
            item["fold"] = self.folds[study.subject]
        if self.repairs:  # for every item, so that a batch collates
            item["repairs"] = ",".join(self.repairs.get(study.study, ()))
        return item

    def _labelled(self, study: Study) -> Item:
        if study.label is None:
            raise StudyError(
                f"Study {study.study!r} is listed for training or validation but has no label. Add"
                ' "label" to its item, or list it under "test".'
            )
        return self.item(study)

    def _known(self, fold: int) -> None:
        if not self.folds and fold != 0:
            raise InputError(
                f"fold is {fold}, but this split has no folds. Give folds, or a datalist made with"
                " them."
            )
        if self.folds and fold not in self.folds.values():
            raise InputError(f"There is no fold {fold}; folds are 0 to {max(self.folds.values())}.")


def make_datalist(
    root: Path | str,
    *,
    scheme: str | None = None,
    validation: float = 0.2,
    folds: int | None = None,
    seed: int = 0,
    on_bad: OnBad = "error",
    repair: bool = False,
    check_voxels: bool = True,
    on_checked: Callable[[Study, int, int], None] | None = None,
) -> Datalist:
    """Find, check and split every study below `root`.

    Args:
        root: a folder of any layouts.
        scheme: how to read every label, in place of what each layout says.
        validation: share of the subjects of each layout that is kept for validation.
        folds: make this many folds in place of one validation set.
        seed: of the split. The same subjects and seed give the same split on any machine.
        on_bad: "error" raises and names the first bad study; "skip" leaves such studies out, logs
            each as a warning and keeps the reasons in `problems`.
        repair: accept studies whose every problem has a certain repair, and record the repairs.
        check_voxels: read every voxel; otherwise only headers.
        on_checked: called after each study with it, its number from 1, and how many there are.

    Raises:
        StudyError: a bad study, with on_bad "error"; or nothing labelled is left.
        SchemeError: a label scheme must be stated.
        InputError: no such folder, or a split that cannot be made.
    """
    require_on_bad(on_bad)
    inventory = find_studies(root, scheme=scheme)
    problems = list(inventory.problems)
    for number, study in enumerate(inventory.studies, 1):
        problems += check_study(study, voxels=check_voxels)
        if on_checked is not None:
            on_checked(study, number, len(inventory.studies))
    bad = [p for p in problems if not (p.is_note or (repair and p.repair))]
    if bad and on_bad == "error":
        refuse(bad)
    for problem in bad:
        _log.warning("Left out: %s", problem)
    out = {p.study for p in bad}
    kept = [s for s in inventory.studies if s.study not in out]
    labelled = [s for s in kept if s.label is not None]
    if not labelled:
        raise StudyError(f"No usable labelled study in {root}; {len(out)} were left out.")
    names = {s.study for s in kept}
    repairs: dict[str, tuple[str, ...]] = {}
    for p in problems:
        if p.repair and p.study in names and p.repair not in repairs.get(p.study, ()):
            repairs[p.study] = (*repairs.get(p.study, ()), p.repair)
    whole = Datalist(
        dataset_dir=inventory.root,
        training=tuple(labelled),
        test=tuple(s for s in kept if s.label is None),
        seed=seed,
        problems=tuple(problems),
        skipped=tuple(sorted(out - {""})),
        repairs=repairs,
    )
    if folds is not None:
        return replace(whole, folds=assign_folds(labelled, folds, seed))
    held = hold_out(labelled, validation, seed)
    return replace(
        whole,
        training=tuple(s for s in labelled if s.subject not in held),
        validation=tuple(s for s in labelled if s.subject in held),
    )


def require_on_bad(on_bad: str) -> None:
    """Refuse anything but "error" and "skip"."""
    if on_bad not in ("error", "skip"):
        raise InputError(f"on_bad is {on_bad!r}; give 'error' or 'skip'.")


def _read_study(item: Item | str, base: Path, scheme: str | None) -> Study:
    study = Study.from_item(item, base)
    if scheme is not None:
        return replace(study, scheme=label_scheme(scheme).name)
    if study.label is not None and study.scheme is None:
        refuse([unknown_scheme(study)])
    return study


def _read_folds(studies: Sequence[Study], items: Sequence[Item | str]) -> dict[str, int]:
    folds: dict[str, int] = {}
    for study, item in zip(studies, items, strict=True):
        if isinstance(item, dict) and "fold" in item:
            fold = item["fold"]
            if not isinstance(fold, int) or fold < 0:
                raise StudyError(f"Study {study.study!r} has fold {fold!r}; give 0 or more.")
            if folds.setdefault(study.subject, fold) != fold:
                raise StudyError(
                    f"Subject {study.subject!r} is in folds {folds[study.subject]} and {fold};"
                    " results would be too good. Split by subject."
                )
    return folds


def _software() -> dict[str, str]:
    found = {}
    for name in ("monai-tumor", "monai", "nibabel", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
