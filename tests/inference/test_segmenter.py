"""A study in, a typed result out."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from monai_tumor.bundles import run
from monai_tumor.data import inference_items
from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.errors import BundleError, StudyError
from monai_tumor.inference import Segmenter


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    write_phantoms(
        folder, count=2, layout="brats2023", make=lambda n: make_phantom(n, size="small")
    )
    return folder


@pytest.fixture(scope="module")
def segmenter(tiny_bundle):
    return Segmenter(tiny_bundle, trust=True, device="cpu", backend="torch")


def first(studies):
    return sorted(studies.glob("BraTS*"))[0]


def test_the_answer_is_the_bundles_own(segmenter, tiny_bundle, studies, tmp_path):
    result = segmenter(inference_items(first(studies))[0])
    run(tiny_bundle, "inference", trust=True, input=first(studies), output_dir=tmp_path)
    written = nib.load(next(tmp_path.glob("*_seg.nii.gz")))
    assert np.array_equal(np.asarray(written.dataobj), result.label_map)
    assert np.array_equal(written.affine, result.affine)
    assert result.label_map.any()


def test_volumes_are_those_of_the_label_map(segmenter, studies):
    result = segmenter(inference_items(first(studies))[0])
    values, counts = np.unique(result.label_map, return_counts=True)
    ml = dict(zip(values.tolist(), (counts / 1000).tolist(), strict=True))  # voxels of 1 mm
    assert result.volumes_ml["WT"] == pytest.approx(sum(ml.get(v, 0) for v in (1, 2, 3)), abs=1e-3)
    assert result.volumes_ml["TC"] == pytest.approx(ml.get(1, 0) + ml.get(3, 0), abs=1e-3)
    assert result.volumes_ml["ET"] == pytest.approx(ml.get(3, 0), abs=1e-3)


def test_saved_files_lie_on_the_grid_of_t1c(segmenter, studies, tmp_path):
    result = segmenter(inference_items(first(studies))[0], probabilities=True)
    path = result.save(tmp_path / "out")
    reference = nib.load(first(studies) / f"{first(studies).name}-t1c.nii.gz")
    written = nib.load(path)
    assert np.array_equal(written.affine, reference.affine)
    assert written.get_data_dtype() == np.uint8
    probabilities = nib.load(tmp_path / "out" / f"{first(studies).name}_prob.nii.gz")
    assert probabilities.shape == (*reference.shape, 3)
    inside = np.asarray(probabilities.dataobj) > 0.5
    assert np.array_equal(inside.any(-1), result.label_map > 0)
    record = json.loads((tmp_path / "out" / f"{first(studies).name}_seg.json").read_text())
    assert record["label_scheme"] == "brats2023"
    assert record["device"] == "cpu"
    assert record["weights"][0]["file"] == "model.safetensors"
    assert record["intended_use"].startswith("Research use only")


def test_another_scheme_has_other_values(tiny_bundle, studies):
    options = {"trust": True, "device": "cpu"}
    item = inference_items(first(studies))[0]
    msd = Segmenter(tiny_bundle, scheme="msd", **options)(item)
    brats = Segmenter(tiny_bundle, scheme="brats2021", **options)(item)
    assert np.array_equal(msd.label_map == 3, brats.label_map == 4)
    assert np.array_equal(msd.label_map == 1, brats.label_map == 2)


def test_a_bundle_of_others_needs_trust(tiny_bundle):
    with pytest.raises(BundleError, match="is not shipped with monai_tumor"):
        Segmenter(tiny_bundle)


def test_devices_and_precisions_that_are_not_there(tiny_bundle, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BundleError, match="PyTorch finds no CUDA device"):
        Segmenter(tiny_bundle, trust=True, device="cuda")
    with pytest.raises(BundleError, match="Unknown precision 'half'; choose one of"):
        Segmenter(tiny_bundle, trust=True, precision="half")
    with pytest.raises(BundleError, match="'fp16' was asked for, but this CPU"):
        Segmenter(tiny_bundle, trust=True, device="cpu", precision="fp16")


def test_bfloat16_and_float32_say_so_and_agree(tiny_bundle, studies):
    item = inference_items(first(studies))[0]
    exact = Segmenter(tiny_bundle, trust=True, device="cpu", precision="fp32")
    fast = Segmenter(tiny_bundle, trust=True, device="cpu")
    assert exact.provenance["precision"] == "float32"
    one, other = exact(item).label_map > 0, fast(item).label_map > 0
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.98


def test_a_study_with_nan_is_refused(segmenter, studies, tmp_path):
    item = inference_items(first(studies))[0]
    image = nib.load(item["image"][0])
    voxels = image.get_fdata(dtype=np.float32)
    voxels[20, 20, 20] = np.nan
    bad = tmp_path / "bad.nii.gz"
    nib.save(nib.Nifti1Image(voxels, image.affine), bad)
    with pytest.raises(StudyError, match="1 voxels of t1n are not finite"):
        segmenter(item | {"image": [str(bad), *item["image"][1:]]})
