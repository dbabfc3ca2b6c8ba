"""Train slice classifiers, score them on both splits, and write the weights to ship.

    python scripts/train_slices.py --data DIR --out DIR --minutes 180 --licence "CC0, ..." \
      [--seeds 0 1 2] [--others LUNG_DIR] [--network small_resnet] [--exclude OTHER_DIR]
    python scripts/train_slices.py --data DIR --out DIR --preset tanh_ct --licence "CC0, ..."

Two splits of DIR (folders Training and Testing of classes, or classes alone):

- `authors`: their own test side, whatever leaks; each seed is a training, all seeds an ensemble.
  Scores come whole and without the test slices that have a twin in training.
- `groups`: a new test side of a fifth, twins kept together; the first seed alone.

With --preset there is one, `preset`: network, split and recipe are the preset's, its epochs too
where no minutes are given.

Each training takes its share of the minutes, whatever the machine, under configs/time_budget.yaml.
Interrupt it when you like and run the same command again: finished trainings are kept, one that was
cut goes on from its last checkpoint. Each has a recipe.json of what it is made of: with other data
or options it is refused, and OUT must be another. OUT/<split>/<seed>/ gets the run, predictions,
`scores.json` and `report.html`; OUT/<split>/ensemble_<way>/ those of the ensemble;
OUT/<name>.{safetensors,json} and OUT/<name>_gate.safetensors are the member of `authors`, or of
`preset`, with the smallest log loss on validation, to be copied to the bundle's models/. The name
is `model`, or the preset's. Slices with twins in --exclude are in no training.
"""

import argparse
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monai_tumor import bundles
from monai_tumor.data.slices import divide, slice_facts
from monai_tumor.files import sha256, write_json
from monai_tumor.paths import bundle_dir
from monai_tumor.services.evaluate_slices import WAYS, evaluate_slices
from monai_tumor.services.slice_weights import export_slice_weights, slices_of_others
from monai_tumor.training import one_line_errors
from monai_tumor.training.recipe import claim, contents

BUNDLE = "slice_classifier"
DEFAULT = "small_resnet"
SPLITS: dict[str, dict[str, Any]] = {
    "authors": {"test": None, "allow_leak": True, "validation": 0.1},
    "groups": {"test": 0.2, "allow_leak": False, "validation": 0.1},
}
PRESET = "preset"  # the split that a preset has


@dataclass(frozen=True)
class Plan:
    """What the command line asked for.

    Attributes:
        data: the slices.
        out: where to.
        minutes: of each training; None trains as many epochs as the preset says.
        network: overlay's name.
        preset: overlay's name, which brings its own network; None for the bundle's own recipe.
        exclude: data sets whose pictures are in no training.
        others: data sets of other kinds, which the gate learns to refuse.
        licence: of the data.
        options: more options of the bundle's train.yaml.
    """

    data: Path
    out: Path
    minutes: float | None
    network: str
    preset: str | None
    exclude: tuple[str, ...]
    others: tuple[str, ...]
    licence: str
    options: dict[str, Any]

    def split(self, name: str) -> dict[str, Any]:
        """Options of `data.slices.divide`, as the bundle gives them to it."""
        options = self.common(name, 0)
        split = bundles.load(BUNDLE, "training", overlays=self.overlays, **options)["split"]
        return {key: value for key, value in split.items() if key != "dataset_dir"}

    def common(self, name: str, seed: int) -> dict[str, Any]:
        """Options of the bundle that training and evaluation share."""
        return {
            "dataset_dir": self.data,
            "output_dir": self.out / name / str(seed),
            "seed": seed,
            **SPLITS.get(name, {}),
            "exclude": list(self.exclude),
            **self.options,
        }

    def recipe(self, name: str, seed: int) -> dict[str, Any]:
        """All that a training depends on."""
        options = self.common(name, seed)
        files = bundles.config_files(BUNDLE, "training", self.training_overlays)
        files.append(bundle_dir(BUNDLE) / "configs" / "metadata.json")
        return {
            **{k: v for k, v in options.items() if k not in ("dataset_dir", "output_dir")},
            "exclude": [Path(one).name for one in options["exclude"] or ()],
            "data": contents(self.data),
            "studies": slice_facts(self.data, **self.split(name))["studies"],
            "minutes": self.minutes,
            "configs": {f"{file.parent.name}/{file.name}": sha256(file) for file in files},
        }

    @property
    def overlays(self) -> list[str]:
        """The preset's, or the network's where it is not the bundle's own."""
        if self.preset is not None:
            return [f"presets/{self.preset}"]
        return [] if self.network == DEFAULT else [f"networks/{self.network}"]

    @property
    def training_overlays(self) -> list[str]:
        """Those, and the clock where it says when to stop."""
        return self.overlays if self.minutes is None else [*self.overlays, "time_budget"]

    @property
    def shipped(self) -> tuple[str, str]:
        """Split whose best training is shipped, and the name it gets."""
        return ("authors", "model") if self.preset is None else (PRESET, self.preset)


def main() -> None:
    """Parse, then run every training that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of slices")
    parser.add_argument("--out", type=Path, required=True, help="made if need be")
    parser.add_argument("--minutes", type=float, help="for everything together")
    parser.add_argument("--licence", required=True, help="of the data: name, source, terms")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--splits", nargs="+", choices=SPLITS, help="default: both")
    parser.add_argument("--network", help=f"an overlay in configs/networks ({DEFAULT})")
    parser.add_argument(
        "--preset", help="an overlay in configs/presets; then no network, no splits"
    )
    parser.add_argument("--exclude", nargs="*", default=[], help="data sets to keep out")
    parser.add_argument("--others", nargs="*", default=[], help="data sets the gate is to refuse")
    parser.add_argument("--threads", type=int, help="of the CPU; by default all")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of train.yaml, JSON"
    )
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    if given.threads:
        torch.set_num_threads(given.threads)
    if given.preset is None and given.minutes is None:
        parser.error("give --minutes, or a --preset, which knows its epochs")
    if given.preset is not None and (given.network or given.splits):
        parser.error("a --preset has its own network and split; leave out --network and --splits")
    splits = [PRESET] if given.preset is not None else given.splits or list(SPLITS)
    trainings = [
        (name, seed)
        for name in splits
        for seed in (given.seeds[:1] if name == "groups" else given.seeds)
    ]
    plan = Plan(
        data=given.data.resolve(),
        out=given.out.resolve(),
        minutes=None if given.minutes is None else 0.95 * given.minutes / len(trainings),
        network=given.network or DEFAULT,
        preset=given.preset,
        exclude=tuple(str(Path(one).resolve()) for one in given.exclude),
        others=tuple(str(Path(one).resolve()) for one in given.others),
        licence=given.licence,
        options={k: json.loads(v) for k, v in (one.split("=", 1) for one in given.option)},
    )
    for name in splits:  # a split that cannot be made stops here, not after hours
        print(divide(plan.data, **plan.split(name)).stamp, flush=True)
    slices_of_others(plan.others)
    for name, seed in trainings:
        train(plan, name, seed)
    for name in splits:
        seeds = [seed for split, seed in trainings if split == name]
        score_ensembles(plan, name, seeds)
    if plan.shipped[0] in splits:
        ship(plan, given.seeds)


def train(plan: Plan, name: str, seed: int) -> None:
    """One training, its predictions and its report; at once done where it is done already."""
    here = plan.out / name / str(seed)
    claim(here, plan.recipe(name, seed))
    if (here / "done").is_file():
        return
    clock: dict[str, Any] = {} if plan.minutes is None else {"minutes": plan.minutes}
    if clock and plan.preset is None:  # the schedule ends with the time; the last weights are kept
        clock["val_interval"] = 100_000
    told = "its own epochs" if plan.minutes is None else f"{plan.minutes:.1f} minutes"
    print(f"{name}, seed {seed}: {told}", flush=True)
    bundles.run(
        BUNDLE,
        "training",
        overlays=plan.training_overlays,
        **{**clock, **plan.common(name, seed)},
    )
    for side in ("validation", "test"):
        bundles.run(
            BUNDLE, "evaluating", overlays=plan.overlays, side=side, **plan.common(name, seed)
        )
    folder = here / "evaluation"
    found = evaluate_slices([folder / "test.json"], [folder / "validation.json"], output=here)
    print(f"{name}, seed {seed}\n{found}", flush=True)
    (here / "done").touch()


def score_ensembles(plan: Plan, name: str, seeds: list[int]) -> None:
    """Reports of the ensemble of all seeds, weighted in each way."""
    if len(seeds) < 2:
        return
    folders = [plan.out / name / str(seed) / "evaluation" for seed in seeds]
    sides = [[folder / f"{side}.json" for folder in folders] for side in ("test", "validation")]
    for way in WAYS:
        found = evaluate_slices(*sides, ensemble=way, output=plan.out / name / f"ensemble_{way}")
        print(f"{name}, ensemble of {len(seeds)}, {way}\n{found}", flush=True)


def ship(plan: Plan, seeds: list[int]) -> None:
    """Each seed's weights for the bundle, and the best on validation among them."""
    losses = {}
    split, name = plan.shipped
    for seed in seeds:
        here = plan.out / split / str(seed)
        scores = json.loads((here / "scores.json").read_text(encoding="utf-8"))["scores"]
        losses[seed] = scores["validation"]["figures"]["log_loss"]["value"]
        made = export_slice_weights(
            here / "checkpoints" / "model_best.pt",
            here,
            dataset_dir=plan.data,
            split=plan.split(split),
            licence=plan.licence,
            others=plan.others,
            name=name,
        )
        record = dict(made.record) | {"test": scores["all test slices"]["figures"]}
        write_json(made.path.with_suffix(".json"), record)
        print(made, flush=True)
    best = min(losses, key=losses.__getitem__)
    for file in (f"{name}.safetensors", f"{name}_gate.safetensors", f"{name}.json"):
        shutil.copy(plan.out / split / str(best) / file, plan.out / file)
    made = plan.out / f"{name}.safetensors"
    print(f"seed {best} is the best on validation: {made}", flush=True)


if __name__ == "__main__":
    one_line_errors()
    main()
