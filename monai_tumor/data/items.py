"""Items for the configs of bundles: to train and validate on, and to segment."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict, Unpack

from monai_tumor.data.checks import check_study
from monai_tumor.data.datalist import Datalist, Item, OnBad, make_datalist, require_on_bad
from monai_tumor.data.problems import refuse
from monai_tumor.data.studies import find_studies
from monai_tumor.data.study import absolute, study_from_files
from monai_tumor.errors import InputError, StudyError

_log = logging.getLogger(__name__)


class Split(TypedDict, total=False):
    """Options of a split, each with its default.

    Attributes:
        datalist: a datalist JSON; then `validation`, `folds`, `seed` and `on_bad` are its
            own. Without it the split is made here, from names and headers. None.
        validation: share of subjects kept for validation. 0.2.
        folds: make this many folds. None.
        fold: which fold is validation. 0.
        seed: of the split. 0.
        scheme: how to read every label. None.
        on_bad: "error" or "skip". "error".
    """

    datalist: Path | str | None
    validation: float
    folds: int | None
    fold: int
    seed: int
    scheme: str | None
    on_bad: OnBad


_DEFAULTS = Split(
    datalist=None, validation=0.2, folds=None, fold=0, seed=0, scheme=None, on_bad="error"
)


def training_items(
    dataset_dir: Path | str | None, *, limit: int | None = None, **split: Unpack[Split]
) -> list[Item]:
    """Items to train on, for configs; paths are absolute.

    Args:
        dataset_dir: a folder of studies.
        limit: at most so many items, for a quick try.
        split: see `Split`.

    Raises:
        As `make_datalist` and `Datalist.load`.
    """
    chosen = _datalist(dataset_dir, split)
    return chosen.training_items(split.get("fold", 0))[:limit]


def validation_items(
    dataset_dir: Path | str | None, *, limit: int | None = None, **split: Unpack[Split]
) -> list[Item]:
    """Items to validate on; arguments as for `training_items`, which has the others."""
    chosen = _datalist(dataset_dir, split)
    return chosen.validation_items(split.get("fold", 0))[:limit]


def split_facts(dataset_dir: Path | str | None, **split: Unpack[Split]) -> dict[str, Any]:
    """What must be known of a split to tell it from another; arguments as for `training_items`.

    Returns:
        JSON-ready: the options; "label_schemes", in use; and "studies", how many are on each side
        and a digest of which, so that a data set that moved is the same split and one that grew
        is another.
    """
    chosen, options = _datalist(dataset_dir, split), _DEFAULTS | split
    fold, datalist = options["fold"], options["datalist"]
    sides = [chosen.training_items(fold), chosen.validation_items(fold)]
    names = [sorted(str(item["study"]) for item in side) for side in sides]
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]
    return {
        "dataset_dir": str(chosen.dataset_dir),
        "datalist": str(absolute(datalist)) if datalist else None,
        **{key: options[key] for key in ("validation", "folds", "fold", "seed", "scheme")},
        "label_schemes": list(chosen.schemes),
        "studies": f"{len(names[0])} + {len(names[1])} ({digest})",
    }


def inference_items(
    input: Path | str | None = None,
    t1n: Path | str | None = None,
    t1c: Path | str | None = None,
    t2w: Path | str | None = None,
    t2f: Path | str | None = None,
    modalities: str | Sequence[str] | None = None,
    scheme: str | None = None,
    on_bad: OnBad = "error",
) -> list[Item]:
    """Items to segment; paths are absolute.

    Args:
        input: a datalist JSON (its test list; if it has none, its validation list), a study
            folder, a tree of them, or one 4D file.
        t1n: with the next three, four 3D files in place of `input`.
        t1c: contrast-enhanced T1.
        t2w: T2.
        t2f: FLAIR.
        modalities: channel order of 4D files that lie beside no dataset.json.
        scheme: how to read labels that lie beside the images, if they are used at all.
        on_bad: "error" raises and names the first bad study; "skip" leaves such studies out, each
            with a warning.

    Returns:
        One item a study, as `Study.as_item`, with the repairs of a datalist, and "list": "test",
        "validation" or "input", where it comes from. A label that lies beside the
        images is named but not checked.

    Raises:
        StudyError: a study that cannot be segmented, the first is named; with "skip", none can.
        InputError: neither or both of `input` and four files are given, or nothing is there.
    """
    require_on_bad(on_bad)
    files = {"t1n": t1n, "t1c": t1c, "t2w": t2w, "t2f": t2f}
    if bool(input) == any(files.values()):
        raise InputError("Give either a folder, datalist or 4D file, or all of t1n, t1c, t2w, t2f.")
    source, problems = "input", []
    if not input:
        whole = Datalist(Path(), (), test=(study_from_files(**files),))
    elif Path(input).suffix == ".json" and Path(input).name != "dataset.json":
        whole = Datalist.load(input)
        source = "test" if whole.test else "validation"
    else:
        found = find_studies(input, scheme=scheme, modalities=modalities)
        whole = Datalist(found.root, (), test=found.studies)
        problems = [p for p in found.problems if p.kind not in ("scheme", "same-image")]
    studies = whole.test or whole.validation
    for study in studies:
        problems += check_study(replace(study, label=None), voxels=False)
    bad = [p for p in problems if not (p.is_note or whole.repairs_it(p))]
    if bad and on_bad == "error":
        refuse(bad)
    for problem in bad:
        _log.warning("Left out: %s: %s", problem.study or "not a study", problem)
    out = {p.study for p in bad}
    kept = [whole.item(s) | {"list": source} for s in studies if s.study not in out]
    if not kept:
        left = f"; {len(out)} were left out" if out else ""
        raise StudyError(f"{input} has no test and no validation studies to segment{left}.")
    return kept


def _datalist(dataset_dir: Path | str | None, split: Split) -> Datalist:
    options = _DEFAULTS | split
    if options["datalist"]:
        return Datalist.load(options["datalist"], dataset_dir or None, options["scheme"])
    if not dataset_dir:
        raise InputError(
            "No data set to train on; name its folder with --dataset_dir, or a --datalist."
        )
    folder = absolute(dataset_dir)
    changed = folder.stat().st_mtime_ns if folder.is_dir() else 0
    making = {k: v for k, v in options.items() if k not in ("datalist", "fold")}
    return _split(folder, changed, **making)


@lru_cache(maxsize=4)
def _split(
    folder: Path,
    changed: int,  # noqa: ARG001  (part of the key: a folder that changed is read again)
    **making: Any,
) -> Datalist:
    return make_datalist(folder, check_voxels=False, **making)
