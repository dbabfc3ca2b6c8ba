"""A study made fit for the network: placed, stripped, within memory."""

import gzip
import json

import nibabel as nib
import numpy as np

from monai_tumor.services.opening import Preparation
from monai_tumor.services.segment import segment_all


def test_an_image_larger_than_memory(studies, options, tmp_path, monkeypatch):
    monkeypatch.setattr("monai_tumor.services.opening.free_memory", lambda: 10_000_000)
    run = segment_all([studies], tmp_path / "out", **options)
    found = run.errors["BraTS-GLI-00001-000"]
    assert "48 x 56 x 40 voxels, which need about 0.0 GB of memory; 0.0 GB are free" in found


def test_a_header_that_claims_more_than_memory(studies, options, tmp_path):
    """Of a small file: 8000 voxels an axis, of which none are there."""
    study = studies / "BraTS-GLI-00001-000"
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((8000, 8000, 8000))
    header.set_sform(np.eye(4), 1)
    for path in study.glob("*.nii.gz"):
        path.write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
    run = segment_all([study], tmp_path / "out", **options)
    expected = "is not a readable NIfTI file: by its header it has 1024 GB, more than memory. Fetch"
    assert expected in run.errors[study.name]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["errors.json"]


def test_images_on_other_grids_are_brought_to_the_reference(studies, options, tmp_path):
    study = studies / "BraTS-GLI-00001-000"
    flair = study / f"{study.name}-t2f.nii.gz"
    image = nib.load(flair)
    coarse = nib.Nifti1Image(image.get_fdata(dtype=np.float32)[::2, ::2], image.affine)
    coarse.affine[:, :2] *= 2
    nib.save(nib.Nifti1Image(coarse.dataobj, coarse.affine), flair)
    by_headers = Preparation(register=False)
    run = segment_all([study], tmp_path, preparation=by_headers, **options)
    found = nib.load(run.done[study.name].label_map)
    assert found.shape == nib.load(study / f"{study.name}-t1c.nii.gz").shape
    record = json.loads((tmp_path / f"{study.name}_seg.json").read_text())
    placed = {i["modality"]: i["placing"] for i in record["prepared"]["images"]}
    assert placed == {
        "t1n": "unchanged",
        "t1c": "unchanged",
        "t2w": "unchanged",
        "t2f": "resampled",
    }
    assert "several-grids" in [flag["name"] for flag in record["flags"]]
    kept = [path.name for path in (tmp_path / study.name / "prepared").iterdir()]
    assert kept == [f"{study.name}-prepared.json"]  # images are kept where it is asked for


def test_a_brain_mask_that_is_given(studies, options, tmp_path):
    study = studies / "BraTS-GLI-00001-000"
    image = nib.load(study / f"{study.name}-t1c.nii.gz")
    half = np.zeros(image.shape, np.uint8)
    half[: image.shape[0] // 2] = 1
    nib.save(nib.Nifti1Image(half, image.affine), tmp_path / "mask.nii.gz")
    given = Preparation(brain_mask=tmp_path / "mask.nii.gz", keep_images=True)
    segment_all([study], tmp_path / "out", preparation=given, **options)
    kept = tmp_path / "out" / study.name / "prepared"
    inside = nib.load(kept / f"{study.name}-t2w.nii").get_fdata() != 0
    assert inside.any()
    assert not inside[half == 0].any()
