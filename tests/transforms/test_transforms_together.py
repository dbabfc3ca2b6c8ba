"""A study through the whole of `inference.yaml` but the network, and back onto its own grid."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    CropForegroundd,
    Orientationd,
    SelectItemsd,
    Spacingd,
)

from monai_tumor.transforms import (
    LabelsToRegionsd,
    LoadStudyd,
    NormalizeBraind,
    RegionsToLabelsd,
    SaveOnInputGridd,
    SelectModalitiesd,
    ToInputGridd,
)

SHAPE = (22, 26, 18)
AXES = [f"{'RL'[a]}{'AP'[b]}{'SI'[c]}" for a, b, c in product((0, 1), repeat=3)]
ORIENTATIONS = ["".join(p) for axes in AXES for p in permutations(axes)]


def anatomy():
    """Four contrasts [4, X, Y, Z] of a lopsided head in RAS, and its BraTS 2023 label map."""
    x, y, z = np.mgrid[tuple(slice(n) for n in SHAPE)]
    head = (((x - 10) / 9) ** 2 + ((y - 13) / 11) ** 2 + ((z - 9) / 7.5) ** 2) < 1
    label = np.zeros(SHAPE, np.uint8)
    label[5:11, 8:15, 6:12] = 2
    label[6:10, 9:13, 7:10] = 1
    label[7:10, 9:11, 8:11] = 3
    noise = np.random.default_rng(0).normal(0, 5, (4, *SHAPE))
    image = np.stack([head * (100 + 30 * m + (x + 2 * y) + 40 * (label == m)) for m in range(4)])
    return np.where(head, image + noise, 0).astype(np.int16), label * head


def oriented(volume, affine, codes):
    """The same anatomy, stored along other axes."""
    image = nib.Nifti1Image(volume, affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
    )
    return image.as_reoriented(turn)


def write(folder, affine, codes="RAS", enlarge=1):
    """A study's files; returns its datalist item and its label as it lies in the file."""
    images, label = (
        v.repeat(enlarge, -1).repeat(enlarge, -2).repeat(enlarge, -3) for v in anatomy()
    )
    item = {"study": "P1", "modalities": ["t2f", "t1", "t1gd", "t2"], "image": []}
    for number, volume in enumerate(images):
        path = folder / f"{number}.nii.gz"
        nib.save(oriented(volume, affine, codes), path)
        item["image"].append(str(path))
    stored = oriented(label, affine, codes)
    nib.save(stored, folder / "label.nii.gz")
    return item | {"label": str(folder / "label.nii.gz"), "scheme": "brats2023"}, stored


def preprocessing():
    both = ["image", "label"]
    return Compose(
        [
            LoadStudyd(both),
            SelectModalitiesd("image"),
            Orientationd(both, axcodes="RAS", labels=None),
            Spacingd(both, pixdim=(1.0, 1.0, 1.0), mode=["bilinear", "nearest"]),
            NormalizeBraind("image"),
            CropForegroundd(both, source_key="brain", margin=2, allow_smaller=True),
            SelectItemsd([*both, "study", "scheme"]),
        ]
    )


def segment(item, output_dir, scheme="brats2023"):
    """What a perfect network would make of the study."""
    data = preprocessing()(item)
    cropped = data["image"]
    regions = LabelsToRegionsd("label")(data)["label"]
    data["pred"] = MetaTensor(regions.as_tensor() * 12 - 6).copy_meta_from(cropped)
    after = Compose(
        [
            ToInputGridd("pred", sigmoid=True),
            RegionsToLabelsd("pred", scheme=scheme, threshold=0.5),
            SaveOnInputGridd("pred", output_dir),
        ]
    )
    return nib.load(after(data)["pred_path"]), cropped


def voxels(image):
    return np.asarray(image.dataobj)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_of_a_1_mm_grid_comes_back_exactly(tmp_path, codes):
    affine = np.eye(4)
    affine[:3, 3] = (-90.5, 12.25, 7)
    item, stored = write(tmp_path, affine, codes)
    written, cropped = segment(item, tmp_path / "out")
    assert nib.aff2axcodes(written.affine) == tuple(codes)
    assert np.array_equal(written.affine, stored.affine)
    assert np.array_equal(voxels(written), voxels(stored))
    assert cropped.shape[1:] < SHAPE  # something was cropped, so something had to be undone


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def rotation(degrees):
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("spacing", "codes", "degrees", "least"),
    [
        ((1.5, 1.5, 1.5), "LPS", 0, 0.99),
        ((1.0, 1.0, 3.0), "RAS", 0, 0.99),
        ((1.2, 2.5, 0.9), "SAL", 0, 0.9),
        ((0.7, 0.7, 0.7), "PIR", 0, 0.8),
        ((1.0, 1.0, 1.0), "LPS", 10, 0.99),  # oblique, but no resampling: axes are kept
        ((1.3, 1.3, 2.0), "ILA", 17, 0.95),
    ],
)
def test_other_spacings_and_oblique_grids(tmp_path, spacing, codes, degrees, least):
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) @ np.diag(spacing)
    affine[:3, 3] = (30, -20.5, 4)
    item, stored = write(tmp_path, affine, codes, enlarge=2)
    written, _ = segment(item, tmp_path / "out")
    assert written.shape == stored.shape
    assert np.allclose(written.affine, stored.affine, atol=1e-5)
    found, truth = voxels(written), voxels(stored)
    for values in ([1, 2, 3], [1, 3], [3]):
        one, other = np.isin(found, values), np.isin(truth, values)
        assert dice(one, other) >= least
        shift = (np.argwhere(one).mean(0) - np.argwhere(other).mean(0)) * stored.header.get_zooms()
        assert np.abs(shift).max() < 0.5  # mm: half a voxel of the network's grid
    assert set(np.unique(found)) == {0, 1, 2, 3}


def test_channels_are_in_the_networks_order(tmp_path):
    """File 0 is FLAIR by the item, so it must come last; the T1 stands first."""
    item, _ = write(tmp_path, np.eye(4))
    _, cropped = segment(item, tmp_path / "out")
    again = preprocessing()(item | {"modalities": ["t1n", "t1c", "t2w", "t2f"]})["image"]
    assert torch.equal(cropped[[3, 0, 1, 2]].as_tensor(), again.as_tensor())


def test_a_result_in_another_scheme(tmp_path):
    item, stored = write(tmp_path, np.eye(4), "LPS")
    written, _ = segment(item, tmp_path / "out", scheme="msd")
    expected = np.array([0, 2, 1, 3], np.uint8)[voxels(stored)]  # necrosis 2, oedema 1
    assert np.array_equal(voxels(written), expected)


def test_a_4d_file(tmp_path):
    images, label = anatomy()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    nib.save(nib.Nifti1Image(np.moveaxis(images, 0, -1), affine), tmp_path / "four.nii")
    nib.save(nib.Nifti1Image(label, affine), tmp_path / "label.nii")
    item = {
        "study": "BRATS_001",
        "modalities": ["FLAIR", "T1w", "t1gd", "T2w"],
        "image": str(tmp_path / "four.nii"),
        "label": str(tmp_path / "label.nii"),
        "scheme": "brats2023",
    }
    written, _ = segment(item, tmp_path / "out")
    assert np.array_equal(voxels(written), label)
    assert written.shape == SHAPE
