import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_tumor.errors import StudyError
from monai_tumor.imaging.grids import REPAIR_AFFINE, REPAIR_NAN
from monai_tumor.transforms import LoadStudyd

SHAPE = (6, 7, 5)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume(seed, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)


def save(path, data, affine=LPS):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return str(path)


def study(folder, number=0, **more):
    paths = [save(folder / f"{m}.nii.gz", volume(10 * number + m)) for m in range(4)]
    return {"study": f"P{number}", "image": paths, **more}


def shifted(mm):
    affine = LPS.copy()
    affine[0, 3] = mm
    return affine


def test_four_files_become_four_channels(tmp_path):
    image = LoadStudyd("image")(study(tmp_path))["image"]
    assert image.dtype is torch.float32
    expected = np.stack([volume(m) for m in range(4)])
    assert np.array_equal(image.numpy(), expected.astype(np.float32))
    assert np.array_equal(image.affine.numpy(), LPS)
    assert image.meta["filename_or_obj"] == str(tmp_path / "0.nii.gz")


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_one_4d_file(tmp_path, ending):
    data = volume(1, (*SHAPE, 4))
    path = save(tmp_path / f"four.{ending}", data)
    image = LoadStudyd("image")({"study": "P", "image": path})["image"]
    assert np.array_equal(image.numpy(), np.moveaxis(data, -1, 0).astype(np.float32))
    assert np.array_equal(image.affine.numpy(), LPS)


def test_paths_as_paths(tmp_path):
    item = study(tmp_path)
    one = LoadStudyd("image")(item | {"image": Path(item["image"][0])})["image"]
    several = LoadStudyd("image")(item | {"image": [Path(p) for p in item["image"]]})["image"]
    assert (one.shape, several.shape) == ((1, *SHAPE), (4, *SHAPE))


def test_a_label_and_none(tmp_path):
    item = study(tmp_path)
    load = LoadStudyd(["image", "label"], allow_missing_keys=True)
    assert set(load(item)) == {"study", "image"}
    label = np.zeros(SHAPE, np.uint8)
    label[2, 3, 1] = 4
    labelled = load(item | {"label": save(tmp_path / "seg.nii.gz", label)})
    assert labelled["label"].shape == (1, *SHAPE)
    assert labelled["label"][0, 2, 3, 1] == 4
    with pytest.raises(KeyError):
        LoadStudyd(["image", "label"])(item)


def test_threads_that_share_the_transform_keep_their_studies_apart(tmp_path):
    items = [study(tmp_path / str(n), n) for n in range(20)]
    load = LoadStudyd("image")
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(load, items))
    for number, item in enumerate(loaded):
        expected = np.stack([volume(10 * number + m) for m in range(4)])
        assert np.array_equal(item["image"].numpy(), expected)
        assert item["image"].meta["filename_or_obj"] == items[number]["image"][0]


def test_files_of_another_shape(tmp_path):
    item = study(tmp_path)
    item["image"][2] = save(tmp_path / "t2.nii.gz", volume(1, (6, 7, 4)))
    expected = (
        f"Study 'P0': {tmp_path / 't2.nii.gz'} has 6x7x4 voxels, the study's first image 6x7x5. "
        "Bring all files of the study to one grid."
    )
    with pytest.raises(StudyError, match=f"^{re.escape(expected)}$"):
        LoadStudyd("image")(item)


def test_files_that_lie_elsewhere(tmp_path):
    item = study(tmp_path)
    item["image"][3] = save(tmp_path / "flair.nii.gz", volume(3), shifted(0.05))
    expected = (
        f"Study 'P0': {tmp_path / 'flair.nii.gz'} lies 0.05 mm off the study's first image by its "
        "affine. Bring all files of the study to one grid."
    )
    with pytest.raises(StudyError, match=f"^{re.escape(expected)}$"):
        LoadStudyd("image")(item)
    repaired = LoadStudyd("image")(item | {"repairs": f"{REPAIR_NAN},{REPAIR_AFFINE}"})["image"]
    assert np.array_equal(repaired.affine.numpy(), LPS)


def test_a_label_that_lies_elsewhere_names_the_label(tmp_path):
    label = save(tmp_path / "seg.nii.gz", np.zeros(SHAPE, np.uint8), shifted(2.0))
    item = study(tmp_path) | {"label": label}
    with pytest.raises(StudyError, match=r"seg\.nii\.gz lies 2\.00 mm off"):
        LoadStudyd(["image", "label"])(item)


def test_rounding_of_headers_is_one_grid_that_of_the_first_image(tmp_path):
    item = study(tmp_path)
    item["image"][1] = save(tmp_path / "t1c.nii.gz", volume(3), shifted(0.004))
    label = save(tmp_path / "seg.nii.gz", np.zeros(SHAPE, np.uint8), shifted(0.004))
    loaded = LoadStudyd(["image", "label"])(item | {"label": label})
    for key in ("image", "label"):
        assert np.array_equal(loaded[key].affine.numpy(), LPS)


@pytest.mark.parametrize("repairs", ["", None, REPAIR_AFFINE])
def test_values_that_are_not_finite_are_repaired_only_when_named(tmp_path, repairs):
    data = volume(1).astype(np.float32)
    data[0, 0, :3] = np.nan, np.inf, -np.inf
    item = {"study": "P", "image": save(tmp_path / "x.nii.gz", data)}
    with pytest.raises(StudyError, match=r"Study 'P': 3 voxels of image are not finite"):
        LoadStudyd("image")(item | {"repairs": repairs})
    mended = LoadStudyd("image")(item | {"repairs": REPAIR_NAN})["image"]
    data[0, 0, :3] = 0
    assert np.array_equal(mended.numpy()[0], data)
    assert mended.meta["filename_or_obj"] == item["image"]


def truncated(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def not_nifti(path):
    path.write_bytes(b"not an image")


def gone(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncated, not_nifti, gone])
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path, damage):
    item = study(tmp_path)
    path = Path(item["image"][1])
    save(path, volume(0, (30, 30, 30)))  # of more than the first kilobyte, which tells the format
    damage(path)
    with pytest.raises(StudyError) as caught:
        LoadStudyd("image")(item)
    text = str(caught.value)
    assert text.startswith(f"Study 'P0': cannot read {path} (")
    assert text.endswith("). Look at it with monai-tumor inspect.")
    assert "\n" not in text
    assert len(text) < len(str(path)) * 2 + 300
    if damage is truncated:
        assert "end-of-stream" in text
