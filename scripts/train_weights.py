"""Train, cross-validate and write the weights that the bundles ship.

    python scripts/train_weights.py --data DIR --out DIR --minutes 180 [--jobs 2]

DIR holds BraTS studies of any year. Each training takes its share of the minutes, whatever the
machine: stages of `RECIPES`, each a plain `python -m monai.bundle run training` under
configs/time_budget.yaml, starting from the weights of the one before. Trainings: each fold of a
cross-validation over subjects, stratified by layout, and one on all studies, whose weights are
the ones to ship. The first stage, on phantoms, sees no patient and is shared by all of a bundle.

Interrupt it when you like and run the same command again: finished stages are kept, a stage that
was cut goes on from its last checkpoint. Each folder has a recipe.json of what it is made of: with
other data, options or earlier stages it is refused, and OUT must be another. --jobs 2 runs two
trainings side by side, each on half of the cores.

Results: OUT/<bundle>/left_out/scores.{md,json,csv} and OUT/<bundle>/model.{safetensors,json}, to be
copied to the bundle's models/.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from safetensors.torch import save_file

from monai_tumor.bundles import load
from monai_tumor.data import Datalist, make_datalist
from monai_tumor.data.phantom import Contrast, Phantom, make_phantom, write_phantoms
from monai_tumor.files import sha256, write_atomically, write_json
from monai_tumor.inference.likeness import appearance, ranges
from monai_tumor.labels import to_regions
from monai_tumor.metrics.segmentation import score_case
from monai_tumor.metrics.tables import ScoreTable
from monai_tumor.paths import bundle_dir, config
from monai_tumor.provenance import versions
from monai_tumor.services.segment import segment_all
from monai_tumor.training import one_line_errors
from monai_tumor.training.recipe import claim, contents

FOLDS = 3
ALL = "all"
REMINDERS = 9  # phantoms that go with the patients; three of them have a tumour
OVERLAYS = ("dice_ce", "augment", "ema", "time_budget")
CONTRASTS: tuple[Contrast, ...] = ("random_ordered", "clinical", "random_ordered", "random")
LIFELIKE: tuple[Contrast, ...] = (
    "clinical",
    "random_ordered",
    "clinical",
    "random_ordered",
    "random",
    "clinical",
)
COARSE = {"spacing": "[3,3,3]", "window": "[56,64,56]"}  # mm, voxels: as much as the bundle sees
# Heads without a tumour: mirrored halves of patients, and phantoms. With `smooth`, in voxels, the
# Dice loss of a head without a tumour falls with what is found in it; at 1e-5 it is 1 as soon as
# one voxel is, and only the cross-entropy would teach. See docs/results.md for what it gave.
HEALTHY = {"augment_more#0#prob": "0.33", "loss#smooth_nr": "200", "loss#smooth_dr": "200"}


@dataclass(frozen=True)
class Stage:
    """One training run.

    Attributes:
        name: of its folder.
        share: of a training's minutes.
        options: what differs from the bundle's train.yaml and `OVERLAYS`.
        phantoms: train on phantoms, not on patients.
        reminders: beside the patients, train on a few phantoms, most of them without a tumour.
    """

    name: str
    share: float
    options: dict[str, str]
    phantoms: bool = False
    reminders: bool = False


RECIPES = {
    "brats_segresnet": (
        Stage("phantoms", 0.1, COARSE | {"learning_rate": "3e-3"}, phantoms=True),
        Stage("coarse", 0.1, COARSE | {"learning_rate": "3e-3"}),
        Stage("fine", 0.25, {"learning_rate": "2e-3"}),
        Stage("final", 0.55, {"learning_rate": "2e-3"} | HEALTHY, reminders=True),
    ),
    "brats_unetr": (  # its position embedding knows one window, so all stages are at that window
        Stage("phantoms", 0.3, {"learning_rate": "1e-3"}, phantoms=True),
        Stage("final", 0.7, {"learning_rate": "1e-3"} | HEALTHY, reminders=True),
    ),
}


@dataclass(frozen=True)
class Plan:
    """What the command line asked for."""

    data: Path
    out: Path
    minutes: float
    jobs: int

    def datalist(self, fold: str | None, reminders: bool = False) -> Path:
        """The studies of a fold; of all patients; or, with None, of the phantoms."""
        name = "phantoms" if fold is None else "all" if fold == ALL else "folds"
        return self.out / f"{name}{'_and_reminders' if reminders else ''}.json"


def main() -> None:
    """Parse, then run every training that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of studies to train on")
    parser.add_argument("--out", type=Path, required=True, help="made if need be")
    parser.add_argument("--minutes", type=float, required=True, help="for everything together")
    parser.add_argument("--bundle", action="append", choices=RECIPES, help="default: each")
    parser.add_argument(
        "--fold", action="append", choices=[*map(str, range(FOLDS)), ALL], help="default: each"
    )
    parser.add_argument("--phantoms", type=int, default=72, help="how many to make")
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    given = parser.parse_args()
    bundles, folds = given.bundle or list(RECIPES), given.fold or [*map(str, range(FOLDS)), ALL]
    trainings = [(bundle, fold) for bundle in bundles for fold in folds]
    each = 0.9 * given.minutes * given.jobs / (len(trainings) + 0.2 * len(bundles))
    plan = Plan(given.data.resolve(), given.out.resolve(), each, given.jobs)
    prepare(plan, given.phantoms)
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(partial(pretrain, plan), bundles))
        trained = list(pool.map(lambda training: train(plan, *training), trainings))
    for (bundle, fold), weights in zip(trainings, trained, strict=True):
        if fold == ALL:
            export(plan, bundle, weights)
        else:
            segment_left_out(plan, bundle, fold, weights)
    left_out = [fold for fold in folds if fold != ALL]
    for bundle in bundles if left_out else ():
        score(plan, bundle, left_out)


def prepare(plan: Plan, phantoms: int) -> None:
    """Make the phantoms and the datalists, those that are not there."""
    kinds = {
        "phantoms": (phantoms, 1, CONTRASTS, lambda seed: seed % 12 != 11),
        "reminders": (REMINDERS, 3, LIFELIKE, lambda seed: seed % 3 == 0),
    }
    claim(plan.out, {"studies": contents(plan.data), "phantoms": phantoms, "folds": FOLDS})
    for fold, options in (("0", {"folds": FOLDS}), (ALL, {"validation": 0.0})):
        if not plan.datalist(fold).is_file():
            make_datalist(plan.data, **options).save(plan.datalist(fold))
    for name, (count, seed, contrasts, tumour) in kinds.items():
        folder = plan.out / name
        if not (folder / ".complete").is_file():
            make = partial(_phantom, contrasts=contrasts, tumour=tumour)
            write_phantoms(folder, count=count, layout="brats2023", seed=seed, make=make)
            (folder / ".complete").touch()
    if not plan.datalist(None).is_file():
        make_datalist(plan.out / "phantoms", validation=0.0).save(plan.datalist(None))
    made = make_datalist(plan.out / "reminders", validation=0.0, check_voxels=False).training
    reminders = tuple(  # under names that no patient has
        replace(s, subject=f"phantom-{s.subject}", study=f"phantom-{s.study}") for s in made
    )
    for fold, count in (("0", REMINDERS * 2 // 3), (ALL, REMINDERS)):  # a third of the studies
        patients = Datalist.load(plan.datalist(fold))
        both = replace(patients, training=patients.training + reminders[:count])
        both.save(plan.datalist(fold, reminders=True))


def listed(datalist: Path) -> str:
    """A digest of the studies of a datalist and its split."""
    content = json.loads(datalist.read_text(encoding="utf-8"))
    items = json.dumps([content["training"], content["validation"]], sort_keys=True)
    return hashlib.sha256(items.encode()).hexdigest()


def _phantom(seed: int, contrasts: Sequence[Contrast], tumour: Callable[[int], bool]) -> Phantom:
    kind = contrasts[seed % len(contrasts)]
    return make_phantom(seed, spacing=2.0, contrast=kind, tumour=tumour(seed))


def pretrain(plan: Plan, bundle: str) -> None:
    """The stages on phantoms, which all folds start from."""
    for stage in RECIPES[bundle]:
        if stage.phantoms:
            run(plan, bundle, None, stage, plan.out / bundle / stage.name, None)


def train(plan: Plan, bundle: str, fold: str) -> Path:
    """The stages on patients; returns the weights that come of them."""
    folder = plan.out / bundle / (fold if fold == ALL else f"fold_{fold}")
    weights = None
    for stage in RECIPES[bundle]:
        here = (plan.out / bundle if stage.phantoms else folder) / stage.name
        if not stage.phantoms:
            run(plan, bundle, fold, stage, here, weights)
        weights = here / "checkpoints" / "model_best.pt"
    assert weights is not None
    return weights


def run(
    plan: Plan, bundle: str, fold: str | None, stage: Stage, here: Path, weights: Path | None
) -> None:
    """Train one stage; at once done where the same was done already."""
    options = stage.options | {
        "datalist": str(plan.datalist(fold, stage.reminders)),
        "output_dir": str(here),
        "minutes": f"{plan.minutes * stage.share:.2f}",
        "max_gradient_norm": "1.0",
        "ema_momentum": "0.02",
        "val_interval": "100000",  # the schedule ends with the time; the last weights are kept
        "checkpoints#interval": "10",
    }
    if fold not in (None, ALL):
        options["fold"] = fold
    if weights is not None:
        options["initial_weights"] = str(weights)
    configs = [bundle_dir(bundle) / "configs" / "metadata.json", *config_files(bundle)]
    claim(
        here,
        {name: value for name, value in options.items() if name not in ("output_dir", "datalist")}
        | {"studies": listed(plan.datalist(fold, stage.reminders))}
        | {"initial_weights": sha256(weights) if weights is not None else None}
        | {"configs": [sha256(file) for file in configs]},
    )
    if (here / "done").is_file():
        return
    print(f"{bundle}, {'phantoms' if fold is None else f'fold {fold}'}: {stage.name}", flush=True)
    monai_bundle(plan, bundle, options, here / "log.txt")
    (here / "done").touch()


def segment_left_out(plan: Plan, bundle: str, fold: str, weights: Path) -> None:
    """Label maps of the studies that a fold left out."""
    studies = Datalist.load(plan.datalist(fold)).validation_items(int(fold))
    run = segment_all(
        [Path(item["image"][0]).parent for item in studies],
        plan.out / bundle / "left_out",
        bundle=bundle,
        weights=weights,
        resume=True,
    )
    if not run.complete:
        sys.exit(f"{bundle}, fold {fold}: studies that it left out were not segmented.\n{run}")


def score(plan: Plan, bundle: str, folds: list[str]) -> None:
    """Scores of all studies, each segmented by the fold that left it out."""
    table = ScoreTable("brats2023")
    chosen = Datalist.load(plan.datalist("0"))
    for item in (i for fold in folds for i in chosen.validation_items(int(fold))):
        found = nib.load(plan.out / bundle / "left_out" / f"{item['study']}_seg.nii.gz")
        truth = nib.load(item["label"])
        table.add(
            item["study"],
            score_case(
                np.asarray(to_regions(np.asarray(found.dataobj), "brats2023")),
                np.asarray(to_regions(np.asarray(truth.dataobj), item["scheme"])),
                tuple(float(edge) for edge in truth.header.get_zooms()[:3]),
            ),
        )
    table.write(plan.out / bundle / "left_out", more={"folds": folds})
    print(table, flush=True)


def export(plan: Plan, bundle: str, weights: Path) -> None:
    """Half-precision safetensors with a record beside it."""
    tensors = torch.load(weights, map_location="cpu", weights_only=True)
    half = {name: value.half().contiguous() for name, value in tensors.items()}
    path = plan.out / bundle / "model.safetensors"
    write_atomically(path, lambda temporary: save_file(half, temporary))
    trained = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    studies = json.loads(plan.datalist(ALL).read_text(encoding="utf-8"))["training"]
    record = {
        "sha256": sha256(path),
        "bundle": bundle,
        "options": {"settings": trained["options"]["settings"]},
        "trained_on": sorted(item["study"] for item in studies),
        "intensities": intensities(plan, bundle),
        "minutes": round(plan.minutes, 1),
        "stages": [stage.name for stage in RECIPES[bundle]],
        "versions": versions(),
    }
    write_json(path.with_suffix(".json"), record)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB", flush=True)


def intensities(plan: Plan, bundle: str) -> dict[str, list[float]]:
    """What the patients of the training look like, for `inference.likeness`."""
    preprocessing = load(bundle, input="", weights=None)["preprocessing"]
    items = Datalist.load(plan.datalist(ALL)).training_items()
    return ranges([appearance(preprocessing(item)["image"].numpy()) for item in items])


def config_files(bundle: str) -> list[Path]:
    """Of a training, in the order that MONAI merges them."""
    return [bundle_dir(bundle) / "configs" / "train.yaml", *map(config, OVERLAYS)]


def monai_bundle(plan: Plan, bundle: str, options: dict[str, str], log: Path) -> None:
    """`python -m monai.bundle run training` in a process of its own, its output in `log`."""
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "training"]
    command += ["--config_file", str([str(file) for file in config_files(bundle)])]
    for name, value in options.items():
        command += [f"--{name}", value]
    threads = max((os.cpu_count() or 1) // plan.jobs, 1)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as output:
        done = subprocess.run(
            command,
            stdout=output,
            stderr=output,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
    if done.returncode:
        sys.exit(f"{bundle}: the training failed; the last lines of {log} say why.")


if __name__ == "__main__":
    one_line_errors()
    main()
