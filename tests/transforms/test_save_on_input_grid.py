import json
import re

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_tumor.errors import InputError, StudyError
from monai_tumor.transforms import SaveOnInputGridd

SHAPE = (5, 6, 7)
A = np.deg2rad(20)
OBLIQUE = np.array(
    [
        [-1.1 * np.cos(A), -0.9 * np.sin(A), 0, 91.3],
        [1.1 * np.sin(A), -0.9 * np.cos(A), 0, -20.7],
        [0, 0, 2.5, 33.1],
        [0, 0, 0, 1],
    ]
)
_FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x"),
    *("qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"),
)


def reference(path, affine=OBLIQUE, qform=1, sform=1, shape=SHAPE, kind=nib.Nifti1Image):
    image = kind(np.ones(shape, np.int16), None)
    image.header.set_zooms([*np.sqrt((affine[:3, :3] ** 2).sum(0)), *[1.5] * (len(shape) - 3)])
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine if qform else None, qform)
    image.set_sform(affine if sform else None, sform)
    image.header["cal_max"] = 500
    image.header["descrip"] = b"somebody's name"
    nib.save(image, path)
    return path


def result(path, data=None, **more):
    data = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 4 if data is None else data
    volume = MetaTensor(torch.as_tensor(data)[None], meta={"filename_or_obj": str(path)})
    return {"pred": volume, "pred_scheme": "brats2023", "study": "P1", **more}


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(
    ("qform", "sform"), [(1, 1), (1, 0), (0, 1), (0, 0), (4, 2), (2, 4), (3, 0)]
)
def test_geometry_is_that_of_the_input_bit_for_bit(tmp_path, ending, kind, qform, sform):
    path = reference(tmp_path / f"t1n{ending}", qform=qform, sform=sform, kind=kind)
    done = SaveOnInputGridd("pred", tmp_path / "out")(result(path))
    written, source = nib.load(done["pred_path"]), nib.load(path)
    assert written.shape == SHAPE
    assert np.array_equal(written.header["pixdim"][:4], source.header["pixdim"][:4].astype("f4"))
    for field in _FIELDS:
        expected = source.header[field].astype(written.header[field].dtype)
        assert np.array_equal(written.header[field], expected), field
    assert np.allclose(written.affine, source.affine, rtol=1e-6)
    assert nib.aff2axcodes(written.affine) == nib.aff2axcodes(source.affine)


def test_a_form_that_contradicts_the_other_is_kept_too(tmp_path):
    path = reference(tmp_path / "a.nii")
    image = nib.load(path)
    image.set_qform(np.diag([-1.0, -1.0, 1.0, 1.0]), 1)
    nib.save(image, path)
    written = nib.load(SaveOnInputGridd("pred", tmp_path / "out")(result(path))["pred_path"])
    assert np.array_equal(written.affine, nib.load(path).affine)
    assert np.array_equal(written.get_qform(), nib.load(path).get_qform())


def test_values_type_and_no_trace_of_the_input(tmp_path):
    path = reference(tmp_path / "t1n.nii.gz")
    done = SaveOnInputGridd("pred", tmp_path / "out")(result(path))
    written = nib.load(done["pred_path"])
    assert done["pred_path"] == str(tmp_path / "out" / "P1_seg.nii.gz")
    assert written.get_data_dtype() == np.uint8
    assert written.dataobj.slope == 1
    assert np.array_equal(np.asarray(written.dataobj), done["pred"][0].numpy())
    assert written.header["descrip"] == b"monai_tumor, research use only"
    assert written.header["cal_max"] == 0


def test_other_volumes_in_float(tmp_path):
    path = reference(tmp_path / "t1n.nii.gz")
    data = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    save = SaveOnInputGridd("pred", tmp_path / "out", postfix="disagreement", dtype="float32")
    written = nib.load(save(result(path, data))["pred_path"])
    assert written.get_filename().endswith("P1_disagreement.nii.gz")
    assert np.array_equal(written.get_fdata(dtype=np.float32), data)


def test_a_4d_input_gives_a_3d_result(tmp_path):
    path = reference(tmp_path / "four.nii.gz", shape=(*SHAPE, 4))
    written = nib.load(SaveOnInputGridd("pred", tmp_path / "out")(result(path))["pred_path"])
    assert written.shape == SHAPE
    assert np.allclose(written.affine, nib.load(path).affine)


def test_the_json_beside_it(tmp_path):
    path = reference(tmp_path / "t1n.nii.gz")
    save = SaveOnInputGridd("pred", tmp_path / "out", provenance={"bundle": "brats_unetr"})
    save(result(path))
    assert json.loads((tmp_path / "out" / "P1_seg.json").read_text()) == {
        "study": "P1",
        "label_scheme": "brats2023",
        "input": "t1n.nii.gz",
        "bundle": "brats_unetr",
    }
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["P1_seg.json", "P1_seg.nii.gz"]


def test_same_names_are_numbered(tmp_path):
    path = reference(tmp_path / "t1n.nii.gz")
    save = SaveOnInputGridd("pred", tmp_path / "out")
    studies = ["P1", "P1", "P1_2", "P/1", "P 1", "P1"]
    names = [save(result(path, study=study))["pred_path"].split("/")[-1] for study in studies]
    assert names == [f"{n}_seg.nii.gz" for n in ("P1", "P1_2", "P1_2_2", "P_1", "P_1_2", "P1_3")]


@pytest.mark.parametrize(
    ("study", "stem"),
    [
        ("../../etc/passwd", "etc_passwd"),
        ("/root", "root"),
        ("a\\b:c*d?", "a_b_c_d"),
        ("..", "unnamed"),
        ("Köln 7", "K_ln_7"),
        ("x\n", "x"),
        (12, "12"),
    ],
)
def test_odd_names_stay_in_the_folder(tmp_path, study, stem):
    path = reference(tmp_path / "t1n.nii.gz")
    SaveOnInputGridd("pred", tmp_path / "a" / "out")(result(path, study=study))
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*seg*"))
    assert written == [f"a/out/{stem}_seg.json", f"a/out/{stem}_seg.nii.gz"]


def test_without_a_study_the_subject_or_the_file_gives_the_name(tmp_path):
    path = reference(tmp_path / "case7.nii.gz")
    save = SaveOnInputGridd("pred", tmp_path / "out")
    assert save(result(path, study=None, subject="S"))["pred_path"].endswith("/S_seg.nii.gz")
    assert save(result(path, study=None))["pred_path"].endswith("/case7_seg.nii.gz")


def test_a_result_on_another_grid(tmp_path):
    path = reference(tmp_path / "t1n.nii.gz")
    expected = (
        "t1n.nii.gz has (5, 6, 7) voxels, its result (5, 6, 6); "
        "the result was not brought back to the input's grid."
    )
    with pytest.raises(StudyError, match=f"^{re.escape(expected)}$"):
        SaveOnInputGridd("pred", tmp_path / "out")(result(path, np.zeros((5, 6, 6))))
    assert not (tmp_path / "out").exists()


def test_truth_of_the_same_name_is_not_replaced(tmp_path):
    """BraTS 2021 calls its truth as we call our results."""
    study = tmp_path / "P1"
    study.mkdir()
    path, truth = reference(study / "P1_t1.nii.gz"), reference(tmp_path / "P1_seg.nii.gz")
    before = truth.read_bytes()
    expected = (
        f"{truth} is there and is not a result of ours (P1_seg.json does not say so); "
        "choose another output folder, or move it away."
    )
    for sidecar in (None, "not JSON", '{"EchoTime": 0.1}'):
        if sidecar:
            (tmp_path / "P1_seg.json").write_text(sidecar)
        with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
            SaveOnInputGridd("pred", tmp_path)(result(path))
        assert truth.read_bytes() == before


def test_a_sidecar_of_someone_else_is_not_replaced(tmp_path):
    path = reference(tmp_path / "t1n.nii.gz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "P1_seg.json").write_text('{"EchoTime": 0.1}')
    with pytest.raises(InputError, match=r"P1_seg.json is there and is not a result of ours"):
        SaveOnInputGridd("pred", tmp_path / "out")(result(path))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["P1_seg.json"]


def test_nothing_is_written_beside_an_input(tmp_path, monkeypatch):
    path = reference(tmp_path / "P1_t1.nii.gz")
    monkeypatch.chdir(tmp_path)
    expected = (
        "Results would go to ., beside the input P1_t1.nii.gz; "
        "choose another folder with --output_dir."
    )
    with pytest.raises(StudyError, match=f"^{re.escape(expected)}$"):
        SaveOnInputGridd("pred", ".")(result(path))
    assert [p.name for p in tmp_path.iterdir()] == ["P1_t1.nii.gz"]


def test_a_result_replaces_an_older_one(tmp_path):
    path = reference(tmp_path / "t1n.nii.gz")
    for value in (1, 2):
        done = SaveOnInputGridd("pred", tmp_path / "out")(result(path, np.full(SHAPE, value)))
        assert np.all(np.asarray(nib.load(done["pred_path"]).dataobj) == value)
