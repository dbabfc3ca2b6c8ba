"""A mask measured against its study, and the change between two reports."""

import json

import jsonschema
import nibabel as nib
import numpy as np
import pytest

from monai_tumor import paths
from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.errors import InputError, SchemeError, StudyError
from monai_tumor.files import sha256
from monai_tumor.metrics.tables import ScoreTable
from monai_tumor.services.compare import compare
from monai_tumor.services.report import Quantity, change, report


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study folder of a small phantom that has enhancing tumour."""
    folder = tmp_path_factory.mktemp("report") / "studies"

    def make(seed, **options):
        return make_phantom(seed, **(options | {"size": "small"}))

    write_phantoms(folder, count=1, layout="brats2023", seed=1, make=make)
    return next(path for path in folder.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def mask(study):
    return study / f"{study.name}-seg.nii.gz"


@pytest.fixture(scope="module")
def reported(study, mask, tmp_path_factory):
    folder = tmp_path_factory.mktemp("before")
    return report(study, mask, scheme="brats2023", output=folder), folder


def without_half(mask, path):
    """The mask without enhancing tumour in every second plane."""
    image = nib.load(mask)
    labels = np.asarray(image.dataobj).copy()
    half = np.zeros(labels.shape, bool)
    half[::2] = True
    removed = int(((labels == 3) & half).sum())
    labels[(labels == 3) & half] = 1
    nib.save(nib.Nifti1Image(labels, image.affine), path)
    return removed


def test_a_mask_is_measured_and_written(reported, mask, study):
    made, folder = reported
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.html"}
    content = json.loads((folder / "report.json").read_text())
    jsonschema.validate(content, json.loads(paths.REPORT_SCHEMA.read_text()))
    assert content == made.as_dict()
    assert made.study == study.name
    image = nib.load(mask)
    voxels = np.bincount(np.asarray(image.dataobj).ravel(), minlength=4)
    voxel_ml = abs(np.linalg.det(image.affine[:3, :3])) / 1000
    assert made.measures.volumes_ml["WT"] == pytest.approx(voxels[1:].sum() * voxel_ml)
    assert made.measures.volumes_ml["oedema"] == pytest.approx(voxels[2] * voxel_ml)
    assert content["provenance"]["mask"] == {"file": mask.name, "sha256": sha256(mask)}
    assert str(mask.parent) not in (folder / "report.html").read_text()


def test_a_mask_in_another_orientation_measures_the_same(reported, study, mask, tmp_path):
    turned = nib.load(mask).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    nib.save(turned, tmp_path / "turned.nii.gz")
    other = report(study, tmp_path / "turned.nii.gz", scheme="brats2023", output=tmp_path / "out")
    assert other.measures == reported[0].measures
    assert other.flags == reported[0].flags


def test_the_change_in_numbers(reported, study, mask, tmp_path):
    before, folder = reported
    removed = without_half(mask, tmp_path / "mask.nii.gz")
    after = report(study, tmp_path / "mask.nii.gz", scheme="brats2023", output=tmp_path / "after")
    found = change(folder, tmp_path / "after" / "report.json")
    by_name = {quantity.name: quantity for quantity in found.quantities}
    voxel_ml = abs(np.linalg.det(nib.load(mask).affine[:3, :3])) / 1000
    enhancing = by_name["ET"]
    assert enhancing.absolute == pytest.approx(-removed * voxel_ml, abs=2e-4)
    share = removed * voxel_ml / before.measures.volumes_ml["ET"]
    assert enhancing.relative == pytest.approx(-share, abs=0.01)
    assert by_name["WT"].absolute == 0
    products = by_name["sum of products"]
    assert products.before == pytest.approx(before.measures.sum_of_products_mm2, abs=0.01)
    assert products.after == pytest.approx(after.measures.sum_of_products_mm2, abs=0.01)
    assert change(before, after).as_dict() == found.as_dict()
    assert json.loads(json.dumps(found.as_dict()))["changes"][2]["name"] == "ET"
    for word in ("progress", "response", "stable", "partial"):
        assert word not in str(found).lower()


def test_quantities():
    one = Quantity("ET", "mL", 8.0, 10.0)
    assert (one.absolute, one.relative) == (2.0, 0.25)
    assert one.cells() == ["ET, mL", "8.00", "10.00", "+2.00", "+25.0%"]
    new = Quantity("ET lesions", "", 0, 2)
    assert new.relative is None
    assert new.cells() == ["ET lesions", "0", "2", "+2", "-"]


def edited(folder, target, **plane):
    content = json.loads((folder / "report.json").read_text())
    content["measures"]["plane"] |= plane
    content["flags"] = [{"name": "skull", "severity": "warning", "found": "a", "advice": "b"}]
    target.write_text(json.dumps(content))
    return target


def test_what_makes_two_reports_hard_to_compare(reported, tmp_path):
    _, folder = reported
    other = edited(folder, tmp_path / "other.json", spacing_mm=5.0, pixel_mm=[0.9, 0.9])
    notes = change(folder, other).notes
    assert notes[0].startswith("note: voxels of 1 x 1 x 1 mm before and 0.9 x 0.9 x 5 mm after")
    assert notes[1].endswith("has warnings: skull.")
    assert change(folder, folder).notes == ()


def test_compare_takes_what_it_is_given(reported, tmp_path):
    _, folder = reported
    assert compare(folder, folder / "report.json").quantities[0].relative == 0
    table = ScoreTable("brats2023")
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"format": "monai_tumor scores", "version": 1}))
    assert table.as_dict()["format"] == "monai_tumor scores"
    with pytest.raises(InputError, match=r"is not monai_tumor report of version 1: found format"):
        compare(folder, scores)
    with pytest.raises(InputError, match="Damaged monai_tumor scores"):
        compare(scores, folder)


def test_reports_that_do_not_fit(reported, study, mask, tmp_path):
    before, folder = reported
    options = {"scheme": "brats2023", "output": tmp_path / "out"}
    with pytest.raises(InputError, match=r"counted by other rules.*measure both alike"):
        change(before, report(study, mask, least_ml=0.001, **options))
    with pytest.raises(InputError, match=r"Cannot read a report from .*nowhere"):
        change(folder, tmp_path / "nowhere")
    damaged = tmp_path / "damaged.json"
    damaged.write_text('{"format": "monai_tumor report", "version": 1}')
    with pytest.raises(InputError, match=r"Damaged monai_tumor report: KeyError\('measures'\)"):
        change(damaged, folder)


def test_masks_that_do_not_fit(study, mask, tmp_path):
    options = {"output": tmp_path / "out"}
    with pytest.raises(SchemeError, match=r"label values \[3\], which scheme 'brats2021'"):
        report(study, mask, scheme="brats2021", **options)
    image = nib.load(mask)
    labels = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(labels[1:], image.affine), tmp_path / "cut.nii.gz")
    with pytest.raises(StudyError, match=r"different grids: .*; resample the mask onto the image"):
        report(study, tmp_path / "cut.nii.gz", scheme="brats2023", **options)
    with pytest.raises(InputError, match=r"Cannot read .*none\.nii\.gz"):
        report(study, tmp_path / "none.nii.gz", scheme="brats2023", **options)
    assert not (tmp_path / "out").exists()


def test_one_study_is_needed(study, mask, tmp_path):
    for name in ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000"):
        (tmp_path / name).mkdir()
        for role in ("t1n", "t1c", "t2w", "t2f"):
            source = study / f"{study.name}-{role}.nii.gz"
            (tmp_path / name / f"{name}-{role}.nii.gz").write_bytes(source.read_bytes())
    with pytest.raises(InputError, match=r"holds 2 studies; give the folder"):
        report(tmp_path, mask, scheme="brats2023", output=tmp_path / "out")
