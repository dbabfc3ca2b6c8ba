"""Train slice classifiers, score them on both splits, and write the weights to ship.

    python scripts/train_slices.py --data DIR --out DIR --minutes 180 --licence "CC0, ..." \
      [--seeds 0 1 2] [--others LUNG_DIR] [--network small_resnet] [--exclude OTHER_DIR]

Two splits of DIR (folders Training and Testing of classes, or classes alone):

- `authors`: their own test side, whatever leaks; each seed is a training, all seeds an ensemble.
  Scores come whole and without the test slices that have a twin in training.
- `groups`: a new test side of a fifth, twins kept together; the first seed alone.

Each training takes its share of the minutes, whatever the machine, under configs/time_budget.yaml.
Interrupt it when you like and run the same command again: finished trainings are kept, one that was
cut goes on from its last checkpoint. OUT/<split>/<seed>/ gets the run, predictions, `scores.json`
and `report.html`; OUT/<split>/ensemble_<way>/ those of the ensemble; OUT/model.{safetensors,json}
and OUT/model_gate.safetensors are the member of `authors` with the smallest log loss on validation,
to be copied to the bundle's models/. Slices with twins in --exclude are in no training.
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
from monai_tumor.data.slices import SliceSplit, divide
from monai_tumor.files import write_json
from monai_tumor.services.evaluate_slices import WAYS, evaluate_slices
from monai_tumor.services.slice_weights import export_slice_weights, slices_of_others
from monai_tumor.training import one_line_errors

BUNDLE = "slice_classifier"
DEFAULT = "small_resnet"
SPLITS: dict[str, dict[str, Any]] = {
    "authors": {"test": None, "allow_leak": True},
    "groups": {"test": 0.2, "allow_leak": False},
}

# Options of train.yaml -> those of `data.slices.divide`.
SPLIT_OPTIONS = {name: name for name in SliceSplit.__annotations__ if name != "seed"}
SPLIT_OPTIONS["split_seed"] = "seed"


@dataclass(frozen=True)
class Plan:
    """What the command line asked for.

    Attributes:
        data: the slices.
        out: where to.
        minutes: of each training.
        network: overlay's name.
        exclude: data sets whose pictures are in no training.
        others: data sets of other kinds, which the gate learns to refuse.
        licence: of the data.
        options: more options of the bundle's train.yaml.
    """

    data: Path
    out: Path
    minutes: float
    network: str
    exclude: tuple[str, ...]
    others: tuple[str, ...]
    licence: str
    options: dict[str, Any]

    def split(self, name: str) -> dict[str, Any]:
        """Options of `data.slices.divide`, as `common` gives them to the bundle."""
        own = {SPLIT_OPTIONS[k]: v for k, v in self.options.items() if k in SPLIT_OPTIONS}
        return {**SPLITS[name], "validation": 0.1, "exclude": list(self.exclude), **own}

    def common(self, name: str, seed: int) -> dict[str, Any]:
        """Options of the bundle that training and evaluation share."""
        return {
            "dataset_dir": self.data,
            "output_dir": self.out / name / str(seed),
            "seed": seed,
            **SPLITS[name],
            "validation": 0.1,
            "exclude": list(self.exclude),
            **self.options,
        }

    @property
    def overlays(self) -> list[str]:
        """The network's, where it is not the bundle's own."""
        return [] if self.network == DEFAULT else [f"networks/{self.network}"]


def main() -> None:
    """Parse, then run every training that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of slices")
    parser.add_argument("--out", type=Path, required=True, help="made if need be")
    parser.add_argument("--minutes", type=float, required=True, help="for everything together")
    parser.add_argument("--licence", required=True, help="of the data: name, source, terms")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--network", default=DEFAULT, help="an overlay in configs/networks")
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
    trainings = [
        (name, seed)
        for name in given.splits
        for seed in (given.seeds if name == "authors" else given.seeds[:1])
    ]
    plan = Plan(
        data=given.data.resolve(),
        out=given.out.resolve(),
        minutes=0.95 * given.minutes / len(trainings),
        network=given.network,
        exclude=tuple(str(Path(one).resolve()) for one in given.exclude),
        others=tuple(str(Path(one).resolve()) for one in given.others),
        licence=given.licence,
        options={k: json.loads(v) for k, v in (one.split("=", 1) for one in given.option)},
    )
    for name in given.splits:  # a split that cannot be made stops here, not after hours
        print(divide(plan.data, **plan.split(name)).stamp, flush=True)
    slices_of_others(plan.others)
    for name, seed in trainings:
        train(plan, name, seed)
    for name in given.splits:
        seeds = [seed for split, seed in trainings if split == name]
        score_ensembles(plan, name, seeds)
    if "authors" in given.splits:
        ship(plan, given.seeds)


def train(plan: Plan, name: str, seed: int) -> None:
    """One training, its predictions and its report; at once done where it is done already."""
    here = plan.out / name / str(seed)
    if (here / "done").is_file():
        return
    print(f"{name}, seed {seed}: {plan.minutes:.1f} minutes", flush=True)
    bundles.run(
        BUNDLE,
        "training",
        overlays=[*plan.overlays, "time_budget"],
        minutes=plan.minutes,
        val_interval=100_000,  # the schedule ends with the time; the last weights are kept
        **plan.common(name, seed),
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
    for seed in seeds:
        here = plan.out / "authors" / str(seed)
        scores = json.loads((here / "scores.json").read_text(encoding="utf-8"))["scores"]
        losses[seed] = scores["validation"]["figures"]["log_loss"]["value"]
        made = export_slice_weights(
            here / "checkpoints" / "model_best.pt",
            here,
            dataset_dir=plan.data,
            split=plan.split("authors"),
            licence=plan.licence,
            others=plan.others,
        )
        record = dict(made.record) | {"test": scores["all test slices"]["figures"]}
        write_json(made.path.with_suffix(".json"), record)
        print(made, flush=True)
    best = min(losses, key=losses.__getitem__)
    for file in ("model.safetensors", "model_gate.safetensors", "model.json"):
        shutil.copy(plan.out / "authors" / str(best) / file, plan.out / file)
    print(f"seed {best} is the best on validation: {plan.out / 'model.safetensors'}", flush=True)


if __name__ == "__main__":
    one_line_errors()
    main()
