"""The command over the DICOM writer: what is read beside the mask, and the key images."""

import json
import os
import re
import shlex
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom.generator import Grid
from dicom.masks import label_map, mask_on, series
from pydicom import dcmread

from monai_tumor.cli import main
from monai_tumor.errors import InputError, SchemeError
from monai_tumor.services.export import export_mask, key_images

BESIDE = {
    "study": "P1",
    "label_scheme": "brats2021",
    "input": "t1c.nii.gz",
    "bundle": "brats_segresnet",
    "bundle_version": "0.1.0",
    "weights": [{"file": "model.pt", "sha256": "12" * 32}],
}


@pytest.fixture
def study(tmp_path):
    """The source's folder and a mask beside its JSON."""
    source = series(tmp_path / "in", Grid())
    mask = mask_on(source, tmp_path / "nifti")
    path = tmp_path / "P1_seg.nii.gz"
    nib.save(nib.Nifti1Image(mask.labels, mask.affine), path)
    os.utime(path, (1_700_000_000, 1_700_000_000.5))
    path.with_name("P1_seg.json").write_text(json.dumps(BESIDE))
    return source, path


def test_export_writes_and_says_what(study, tmp_path, capsys):
    source, mask = study
    command = ["export", str(mask), "--source", str(source), "-o", str(tmp_path / "out")]
    assert main(command) == 0
    assert "voxel for voxel on series" in capsys.readouterr().out
    names = [f"P1_{part}.dcm" for part in ("key_axial", "key_coronal", "key_sagittal", "seg", "sr")]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
    (segment, *_) = dcmread(tmp_path / "out" / "P1_seg.dcm").SegmentSequence
    (made_by,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == ("brats_segresnet", "0.1.0")
    assert made_by.AlgorithmParameters == f"weights SHA-256={'12' * 32}"
    assert main([*command, "--json", "--no-pictures"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["key_images"] == []
    assert said["sop_instance_uids"]["P1_sr.dcm"] == dcmread(said["report"]).SOPInstanceUID


def test_the_file_s_time_makes_a_second_export_equal(study, tmp_path):
    source, mask = study
    first = export_mask(mask, source, tmp_path / "a")
    again = export_mask(mask, source, tmp_path / "b")
    assert [p.read_bytes() for p in first.files] == [p.read_bytes() for p in again.files]


def test_without_json_scheme_and_algorithm_are_stated(study, tmp_path):
    source, mask = study
    mask.with_name("P1_seg.json").unlink()
    with pytest.raises(SchemeError, match="values do not tell; state --scheme"):
        export_mask(mask, source, tmp_path / "out")
    with pytest.raises(InputError, match="--algorithm manual where a person drew it"):
        export_mask(mask, source, tmp_path / "out", scheme="brats2021")
    with pytest.raises(InputError, match="must be a name and a version"):
        export_mask(mask, source, tmp_path / "out", scheme="brats2021", algorithm="nameless")
    made = export_mask(
        mask, source, tmp_path / "out", scheme="brats2021", algorithm="my network 1.2"
    )
    (segment, *_) = dcmread(made.segmentation).SegmentSequence
    (made_by,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == ("my network", "1.2")
    drawn = export_mask(mask, source, tmp_path / "out", scheme="brats2021", algorithm="manual")
    (segment, *_) = dcmread(drawn.segmentation).SegmentSequence
    assert segment.SegmentAlgorithmType == "MANUAL"


def test_two_names_for_the_scheme_are_an_error(study, tmp_path):
    source, mask = study
    with pytest.raises(SchemeError, match="names label scheme 'brats2021', not 'brats2023'"):
        export_mask(mask, source, tmp_path / "out", scheme="brats2023")


def test_a_broken_json_is_an_error(study, tmp_path):
    source, mask = study
    mask.with_name("P1_seg.json").write_text("{")
    with pytest.raises(InputError, match="Mend it or move it away"):
        export_mask(mask, source, tmp_path / "out")


def test_a_mistake_is_one_line(study, tmp_path, capsys):
    _, mask = study
    source = series(tmp_path / "other", Grid(origin=(0, 0, 500)))
    command = ["export", str(mask), "--source", str(source), "-o", str(tmp_path / "out")]
    assert main(command) == 4
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "[not-covered]" in said
    assert not (tmp_path / "out").exists()


def test_commands_of_the_docs_run(study, tmp_path, monkeypatch):
    text = (Path(__file__).resolve().parents[2] / "docs" / "dicom.md").read_text(encoding="utf-8")
    commands = re.findall(r"^monai-tumor (export .*)$", text, flags=re.MULTILINE)
    commands = [one for one in commands if "scanner/" not in one]  # tests/test_docs.py runs that
    assert len(commands) == 2
    source, mask = study
    work = tmp_path / "work"
    (work / "study").mkdir(parents=True)
    source.rename(work / "study" / "t1c")
    for name in ("case_seg", "drawn"):
        (work / f"{name}.nii.gz").write_bytes(mask.read_bytes())
    (work / "case_seg.json").write_text(json.dumps(BESIDE))
    monkeypatch.chdir(work)
    for command in commands:
        assert main(shlex.split(command)) == 0
    kinds = ("seg", "sr", "key_axial", "key_coronal", "key_sagittal")
    expected = {f"{name}_{kind}.dcm" for name in ("case", "drawn") for kind in kinds}
    assert {path.name for path in Path("results").iterdir()} == expected


GREEN = np.array([0x00, 0x9E, 0x73])  # of the whole tumour's contour


def greens(picture) -> np.ndarray:
    """Rows and columns of the pixels of the contour of WT, less the legend below."""
    near = np.abs(picture[:-52].astype(int) - GREEN).max(axis=-1) < 40
    return np.argwhere(near)


def test_key_images_cut_the_largest_lesion_and_are_marked_by_side():
    """A large lesion in the patient's left, anterior and superior; a small one elsewhere."""
    shape = (60, 50, 40)  # RAS, 2 mm
    image = np.zeros(shape)
    image[5:55, 5:45, 5:35] = 100
    labels = np.zeros(shape, np.uint8)
    labels[10:20, 30:40, 22:32] = 2
    labels[40:44, 10:14, 8:12] = 2
    axial, coronal, sagittal = key_images(
        image, labels, np.diag([2.0, 2.0, 2.0, 1.0]), scheme="brats2021"
    )
    assert [one.name for one in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    assert axial.orientation == ("L", "P")
    assert coronal.orientation == ("L", "F")
    assert sagittal.orientation == ("P", "F")
    expected = {  # in which half of the picture: to the right, downward
        "axial": (True, False),  # the patient's left is right, anterior is up
        "coronal": (True, False),  # superior is up
        "sagittal": (False, False),  # anterior is left
    }
    for one in (axial, coronal, sagittal):
        height, width = one.pixels[:-52].shape[:2]
        rows, columns = greens(one.pixels).T
        assert len(rows) > 50, one.name
        # One lesion alone: the contour spans 20 mm, not the way to the other.
        assert np.ptp(columns) < width / 3
        middle = (columns.mean() > width / 2, rows.mean() > height / 2)
        assert middle == expected[one.name], one.name


def test_key_images_of_a_cavity_alone():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:9, 5:9, 5:9] = 4
    made = key_images(np.ones((20, 20, 20)), labels, np.eye(4), scheme="brats2024")
    assert [one.pixels.dtype for one in made] == [np.uint8] * 3


def test_pictures_of_a_tilted_series_are_straightened(tmp_path):
    source = series(tmp_path / "in", Grid(tilt=0.9))
    mask = mask_on(source, tmp_path / "nifti")
    path = tmp_path / "case.nii.gz"
    nib.save(nib.Nifti1Image(label_map(mask.labels.shape), mask.affine), path)
    made = export_mask(path, source, tmp_path / "out", scheme="brats2021", algorithm="manual")
    assert len(made.key_images) == 3
    assert made.exact
