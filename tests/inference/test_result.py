"""What a segmentation found, in files; made by hand, without a network."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_tumor.errors import InputError
from monai_tumor.imaging.measure import measure
from monai_tumor.inference import SegmentationResult


@pytest.fixture
def result():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:5, 2:5, 2:5] = 3
    return SegmentationResult(
        study="S 1",
        label_map=labels,
        affine=np.eye(4),
        scheme="brats2023",
        reference=Path("t1c.nii.gz"),
        image=nib.Nifti1Image(labels, np.eye(4)),
        measures=measure(labels, np.eye(4), "brats2023"),
        flags=(),
        mean_entropy=None,
        disagreement=None,
        probabilities=np.ones((3, 8, 8, 8), np.float32),
        seconds={"network": 1.0},
        provenance={"bundle": "b"},
    )


def test_what_is_saved(result, tmp_path):
    path = result.save(tmp_path, note="more")
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["S_1_prob.nii.gz", "S_1_seg.json", "S_1_seg.nii.gz"]
    assert np.array_equal(np.asarray(nib.load(path).dataobj), result.label_map)
    content = json.loads((tmp_path / "S_1_seg.json").read_text())
    assert (content["study"], content["label_scheme"], content["note"]) == (
        "S 1",
        "brats2023",
        "more",
    )
    assert content["volumes_ml"]["ET"] == 0.027  # 27 voxels of 1 mm
    assert nib.load(tmp_path / "S_1_prob.nii.gz").shape == (8, 8, 8, 3)


def test_probabilities_of_an_earlier_result_go(result, tmp_path):
    result.save(tmp_path)
    replace(result, probabilities=None).save(tmp_path)
    assert not (tmp_path / "S_1_prob.nii.gz").exists()


@pytest.mark.parametrize("file", ["S_1_seg.nii.gz", "S_1_prob.nii.gz", "S_1_seg.json"])
def test_what_is_no_result_is_never_replaced(result, tmp_path, file):
    (tmp_path / file).write_text("drawn by hand")
    with pytest.raises(InputError, match=f"{file} is there and is not a result of ours"):
        result.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [file]
    assert (tmp_path / file).read_text() == "drawn by hand"


def test_a_full_disk_leaves_the_earlier_label_map_and_no_json_for_it(result, tmp_path, monkeypatch):
    def full(image, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    before = result.save(tmp_path).read_bytes()
    monkeypatch.setattr("monai_tumor.inference.result.nifti.save", full)
    with pytest.raises(InputError, match="No space left on device"):
        result.save(tmp_path)
    assert (tmp_path / "S_1_seg.nii.gz").read_bytes() == before
    content = json.loads((tmp_path / "S_1_seg.json").read_text())
    assert content["unfinished"] is True
    monkeypatch.undo()
    result.save(tmp_path)  # and ours it is still
