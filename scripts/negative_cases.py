"""Segment heads that have no tumour, and say how much is found in them.

    python scripts/negative_cases.py --data DIR --runs OUT --out NEGATIVES [--bundle B]

DIR are the studies and OUT the folder of scripts/train_weights.py. The heads:

- Of each study, its healthier half and that half's mirror image, where less than 1 mL of tumour
  is in that half. It goes to the weights of the fold that left the study out.
- The MNI template as four plausible contrasts, noise and bias field by chance: phantoms without a
  tumour. They go to the weights that are shipped.

Writes NEGATIVES/negatives.{md,json}: mL of TC, WT and ET found in each.
"""

import argparse
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from monai_tumor.bundles import run
from monai_tumor.data import Datalist
from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.files import write_json, write_text
from monai_tumor.labels import REGIONS, to_regions
from monai_tumor.training import one_line_errors
from monai_tumor.transforms.rand_mirror_half import mirror_columns

HEALTHY_ML = 1.0
LAST = "final"  # the stage of scripts/train_weights.py whose weights count
TEMPLATES = 8


def main() -> None:
    """Make the heads, segment them with weights that never saw them, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", default="brats_segresnet")
    given = parser.parse_args()
    heads = {fold: given.out / "heads" / fold for fold in ("fold_0", "fold_1", "fold_2")}
    left_out = mirrored_heads(given.runs / "folds.json", given.data, given.out / "heads")
    heads["template"] = given.out / "heads" / "template"
    write_phantoms(
        heads["template"],
        count=TEMPLATES,
        layout="brats2023",
        seed=99,
        make=lambda seed: make_phantom(seed, size="brats", tumour=False),
    )
    rows = []
    for name, folder in heads.items():
        weights = None
        if name != "template":
            weights = given.runs / given.bundle / name / LAST / "checkpoints" / "model_best.pt"
        results = given.out / given.bundle / name
        run(given.bundle, "inference", input=folder, output_dir=results, weights=weights)
        rows += [measure(path, name) for path in sorted(results.glob("*_seg.nii.gz"))]
    worst = max(row["WT"] for row in rows)
    lines = [
        f"| head | weights | {' | '.join(f'{r} mL' for r in REGIONS)} |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['head']} | {row['weights']} | "
        + " | ".join(f"{row[str(r)]:.2f}" for r in REGIONS)
        + " |"
        for row in rows
    ]
    lines += ["", f"Most whole tumour found in a head without one: {worst:.2f} mL."]
    lines += [
        f"{name}: {ml:.1f} mL of tumour in the healthier half, left out" for name, ml in left_out
    ]
    write_text(given.out / "negatives.md", "\n".join(lines) + "\n")
    write_json(given.out / "negatives.json", {"bundle": given.bundle, "heads": rows})
    print("\n".join(lines))


def mirrored_heads(datalist: Path, data: Path, folder: Path) -> list[tuple[str, float]]:
    """Write them to `folder`/fold_K; returns the studies that have no healthy half, with mL."""
    left_out = []
    chosen = Datalist.load(datalist, data)
    for fold in range(3):
        for item in chosen.validation_items(fold):
            images = [nib.as_closest_canonical(nib.load(path)) for path in item["image"]]
            label = np.asarray(nib.as_closest_canonical(nib.load(item["label"])).dataobj)
            voxels = torch.from_numpy(np.stack([i.get_fdata(dtype=np.float32) for i in images]))
            tumour = to_regions(label, item["scheme"])[REGIONS.index("WT")]
            sides = [mirror_columns(voxels, left=left) for left in (True, False)]
            ml = [float(tumour[columns].sum()) / 2000 for columns in sides]
            if min(ml) >= HEALTHY_ML:
                left_out.append((item["study"], min(ml)))
                continue
            mirrored = voxels[:, sides[int(ml[1] < ml[0])]].numpy()
            name = f"{item['study']}-mirrored".replace("_", "-")
            for modality, values in zip(item["modalities"], mirrored, strict=True):
                path = folder / f"fold_{fold}" / name / f"{name}-{modality}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(values.astype(np.int16), images[0].affine), path)
    return left_out


def measure(path: Path, weights: str) -> dict[str, str | float]:
    """Region volumes of a label map."""
    image = nib.load(path)
    scheme = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    regions = to_regions(np.asarray(image.dataobj), scheme["label_scheme"])
    voxel = float(np.prod(image.header.get_zooms()[:3])) / 1000
    volumes = {str(r): float(m.sum()) * voxel for r, m in zip(REGIONS, regions, strict=True)}
    return {"head": path.name.removesuffix("_seg.nii.gz"), "weights": weights, **volumes}


if __name__ == "__main__":
    one_line_errors()
    main()
