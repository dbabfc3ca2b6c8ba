"""Small studies (8x9x7 voxels) in every layout, for the tests of this folder."""

import json
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (8, 9, 7)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
RAS = np.diag([1.0, 1.0, 1.0, 1.0])
OLD = ("t1", "t1ce", "t2", "flair")
NEW = ("t1n", "t1c", "t2w", "t2f")


def write(path: Path, data: np.ndarray, affine: np.ndarray = LPS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def head(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Random values in a box; a border of one voxel is 0."""
    data = np.zeros(shape, np.float32)
    inside = (slice(1, -1),) * 3
    data[inside] = np.random.default_rng(seed).uniform(1, 100, data[inside].shape)
    return data


def label_map(values: tuple[int, ...] = (1, 2, 4)) -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    label[2 : 2 + len(values), 4, 3] = values
    return label


def brats(
    root: Path,
    case: str,
    *,
    labels: tuple[int, ...] | None = (1, 2, 4),
    ending: str = ".nii.gz",
    affine: np.ndarray = LPS,
) -> Path:
    """A BraTS folder, old or new style by its name; returns it."""
    folder = root / case
    words, mark = (NEW, "-") if case.startswith("BraTS-") else (OLD, "_")
    seed = zlib.crc32(str(folder).encode())
    for number, word in enumerate(words):
        write(folder / f"{case}{mark}{word}{ending}", head(seed * 10 + number), affine)
    if labels is not None:
        write(folder / f"{case}{mark}seg{ending}", label_map(labels), affine)
    return folder


def msd(root: Path, *, training: int = 2, test: int = 1, **changes: object) -> Path:
    """An MSD Task01 folder; returns it. `changes` replace entries of its dataset.json."""
    listing: dict[str, object] = {
        "name": "BRATS",
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {
            "0": "background",
            "1": "edema",
            "2": "non-enhancing tumor",
            "3": "enhancing tumour",
        },
        "training": [],
        "test": [],
    }
    pairs, images = [], []
    for number in range(1, training + test + 1):
        name = f"BRATS_{number:03d}.nii.gz"
        data = np.stack([head(number * 100 + c) for c in range(4)], axis=-1)
        if number <= training:
            write(root / "imagesTr" / name, data)
            write(root / "labelsTr" / name, label_map((1, 2, 3)))
            pairs.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
        else:
            write(root / "imagesTs" / name, data)
            images.append(f"./imagesTs/{name}")
    listing |= {"training": pairs, "test": images} | changes
    (root / "dataset.json").write_text(json.dumps(listing))
    return root
