import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_tumor.errors import InputError
from monai_tumor.services.inspect import inspect

RAS = np.diag([1.0, 1.0, 2.0, 1.0])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def case(root: Path, name: str, affine: np.ndarray, labels: tuple[int, ...] = ()) -> Path:
    """A BraTS folder of random 8x9x7 images; with a label map if `labels` are given."""
    words = ("-t1n", "-t1c", "-t2w", "-t2f") if "-" in name else ("_t1", "_t1ce", "_t2", "_flair")
    folder = root / name
    folder.mkdir(parents=True)
    random = np.random.default_rng(sum(map(ord, name)))
    for word in words:
        image = nib.Nifti1Image(random.uniform(1, 9, (8, 9, 7)).astype(np.float32), affine)
        nib.save(image, folder / f"{name}{word}.nii.gz")
    if labels:
        label = np.zeros((8, 9, 7), np.uint8)
        label[0, 0, : len(labels)] = labels
        word = words[0][0] + "seg"
        nib.save(nib.Nifti1Image(label, affine), folder / f"{name}{word}.nii.gz")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    case(tmp_path, "BraTS-GLI-00005-000", RAS, (1, 2, 3))
    case(tmp_path, "BraTS-GLI-00005-001", RAS)
    case(tmp_path, "BraTS2021_00003", LPS, (1, 4))
    return tmp_path


def test_what_was_understood(tree):
    assert (
        str(inspect(tree, voxels=True))
        == f"""\
{tree}
  subjects    2
  studies     3, 2 with a label
  time points 1 x 1 a subject
              1 x 2 a subject
  modalities  3 x t1n, t1c, t2w, t2f
  layouts     2 x brats2023 (BraTS 2023 on: GLI, SSA, MET, MEN, GoAT)
              1 x brats2021 (BraTS 2021 folders)
  schemes     2 x brats2023
              1 x brats2021
  grids       2 x 8x9x7, 1x1x2 mm, RAS
              1 x 8x9x7, 1x1x1 mm, LPS
  labels      1 x 1+2+3
              1 x 1+4

  study                layout     grid                  label            state
  BraTS-GLI-00005-000  brats2023  8x9x7, 1x1x2 mm, RAS  brats2023 1+2+3  ok
  BraTS-GLI-00005-001  brats2023  8x9x7, 1x1x2 mm, RAS  -                ok
  BraTS2021_00003      brats2021  8x9x7, 1x1x1 mm, LPS  brats2021 1+4    ok

0 problems, 0 notes"""
    )


def test_headers_only_says_so(tree):
    text = str(inspect(tree))
    assert text.endswith("0 problems, 0 notes\nHeaders only; voxels were not read.")
    assert "1+2+3" not in text


def test_as_dict_is_json(tree):
    data = json.loads(json.dumps(inspect(tree, voxels=True).as_dict()))
    assert (data["subjects"], data["labelled"], data["voxels_read"]) == (2, 2, True)
    assert data["layouts"] == {"brats2023": 2, "brats2021": 1}
    assert data["grids"] == {"8x9x7, 1x1x2 mm, RAS": 2, "8x9x7, 1x1x1 mm, LPS": 1}
    first = data["studies"][0]
    assert first["grid"] == {"shape": [8, 9, 7], "spacing": [1, 1, 2], "orientation": "RAS"}
    assert first["label_values"] == [1, 2, 3]
    assert data["problems"] == []


def test_problems_stand_in_the_table_and_below(tree):
    name = "BraTS2021_00003"
    (tree / name / f"{name}_t1ce.nii.gz").write_bytes(b"no image")
    (tree / "BraTS-GLI-00005-001" / "BraTS-GLI-00005-001-t2w.nii.gz").unlink()
    found = inspect(tree)
    assert [p.kind for p in found.errors] == ["missing-modality", "unreadable"]
    text = str(found)
    assert "  BraTS2021_00003      brats2021  8x9x7, 1x1x1 mm, LPS  brats2021  unreadable" in text
    assert "2 problems, 0 notes" in text
    assert "  Study 'BraTS-GLI-00005-001' has no t2w (T2) image; found t1n, t1c, t2f in" in text


def test_notes_and_repairs_are_marked(tree):
    folder = tree / "BraTS2021_00003"
    label = np.zeros((8, 9, 7), np.uint8)
    nib.save(nib.Nifti1Image(label, LPS), folder / "BraTS2021_00003_seg.nii.gz")
    image = np.ones((8, 9, 7), np.float32)
    image[0] = 0
    near = LPS.copy()
    near[0, 3] = 0.05
    nib.save(nib.Nifti1Image(image, near), folder / "BraTS2021_00003_t2.nii.gz")
    found = inspect(tree, voxels=True)
    assert (len(found.errors), len(found.problems)) == (1, 2)
    text = str(found)
    assert "which is rounding. [repair: affine]" in text
    assert "note: BraTS2021_00003/BraTS2021_00003_seg.nii.gz has no tumour" in text
    assert "1 problems, 1 notes" in text


def test_long_tables_are_cut(tmp_path):
    for number in range(42):
        folder = tmp_path / f"BraTS2021_{number:05d}"
        folder.mkdir()
        for word in ("t1", "t1ce", "t2", "flair"):
            (folder / f"{folder.name}_{word}.nii.gz").write_bytes(b"x")
    text = str(inspect(tmp_path))
    assert "  ... 42 studies in all; --json lists them." in text
    assert "  ... 168 problems and notes in all; --json lists them." in text
    assert "BraTS2021_00041" not in text


def test_progress(tree):
    seen = []
    inspect(tree, on_checked=lambda study, number, total: seen.append((number, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="There is nothing at"):
        inspect(tmp_path / "gone")


def test_real_studies(real_data):
    found = inspect(real_data / "brats")
    assert len(found.studies) == 19
    assert {g.orientation for g in found.grids.values()} == {"LPS", "RAS"}
    assert {g.shape for g in found.grids.values()} == {(240, 240, 155)}
    assert found.as_dict()["layouts"] == {"brats2021": 10, "brats2023": 9}
    assert found.problems == ()
