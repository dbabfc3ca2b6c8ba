"""Draw the cases that were segmented worst: prediction above, truth below.

    python scripts/failure_cases.py --data DIR --results DIR --out DIR [--count 3]

RESULTS holds `<study>_seg.nii.gz` and `scores.json` of studies that the weights never saw, as
scripts/train_weights.py leaves them in `<bundle>/left_out`. Those with the lowest mean Dice of the
three regions are drawn on FLAIR, as OUT/failure_<number>.png.
"""

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np

from monai_tumor.data import find_studies
from monai_tumor.labels import Modality, convert_labels
from monai_tumor.report.pictures import save_overlay
from monai_tumor.training import one_line_errors

_SHOWN = Modality.T2F


def main() -> None:
    """Rank, then draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3)
    given = parser.parse_args()
    studies = {study.study: study for study in find_studies(given.data).studies}
    scores = json.loads((given.results / "scores.json").read_text(encoding="utf-8"))
    dice = {
        case: {name: round(region["dice"], 3) for name, region in regions.items()}
        for case, regions in scores["cases"].items()
    }
    worst = sorted(dice, key=lambda name: sum(dice[name].values()))[: given.count]
    for number, name in enumerate(worst, start=1):
        study = studies[name]
        assert study.label is not None
        assert study.scheme is not None
        image = nib.load(study.images[study.modalities.index(_SHOWN)])
        found = np.asarray(nib.load(given.results / f"{name}_seg.nii.gz").dataobj)
        truth = np.asarray(nib.load(study.label).dataobj)
        save_overlay(
            given.out / f"failure_{number}.png",
            np.asarray(image.dataobj),
            found,
            affine=image.affine,
            scheme="brats2023",
            truth=convert_labels(truth, study.scheme, "brats2023"),
            title=f"{name}, {_SHOWN}",
            panel_px=260,
        )
        print(name, dice[name], flush=True)


if __name__ == "__main__":
    one_line_errors()
    main()
