"""Real series of several vendors; dcm2niix and dicom2nifti as references where they are right."""

import subprocess

import nibabel as nib
import numpy as np
import pytest
from programs import program

from monai_tumor.dicom import NothingConvertedError, Reason, convert


@pytest.fixture(scope="session")
def dicom(real_data):
    folder = real_data / "dicom"
    if not folder.is_dir():
        pytest.skip("real data absent: no dicom/ in the data folder")
    return folder


def canonical(path):
    """Values and affine with axes turned towards right, anterior, superior."""
    image = nib.as_closest_canonical(nib.load(path))
    return np.asanyarray(image.dataobj), image.affine


def assert_same(ours, theirs, mm=0.01):
    values, affine = canonical(ours)
    expected, where = canonical(theirs)
    assert values.shape == expected.shape
    assert np.array_equal(values, expected)
    ends = np.array([[0, 0, 0, 1], [*(n - 1 for n in values.shape[:3]), 1]]).T
    assert np.allclose(affine @ ends, where @ ends, atol=mm)


@pytest.mark.parametrize("number", range(1, 10))
def test_one_image_in_seven_transfer_syntaxes(dicom, number, tmp_path):
    folder = dicom / "dcm_qa_ts"
    (one,) = convert(folder / "In" / f"{number}.dcm", tmp_path)
    assert_same(one.path, folder / "Ref" / f"{number}.nii")


def test_twelve_bits_signed_and_unsigned(dicom, tmp_path):
    folder = dicom / "dcm_qa_12bit"
    made = [convert(path, tmp_path)[0] for path in sorted((folder / "In").iterdir())]
    assert sorted(one.path.name[:3] for one in made) == ["002", "003", "004"]
    for one in made:
        assert_same(one.path, folder / "Ref" / f"{int(one.path.name[:3])}.nii")


GOOD = {
    "anatomical/001": "anatomical/001_ground_truth.nii.gz",
    "anatomical/001_implicit": "anatomical/001_implicit_ground_truth.nii.gz",
    "hitachi/anatomical/001": "hitachi/anatomical/001_ground_truth.nii.gz",
    "hitachi/anatomical/001_implicit": "hitachi/anatomical/001_implicit_ground_truth.nii.gz",
    "hyperfine/anatomical/001": "hyperfine/anatomical/001_ground_truth.nii.gz",
    "siemens_multiframe/anatomical/001": "siemens_multiframe/anatomical/001_ground_truth.nii.gz",
    "failing/slicecount/001": "failing/slicecount/001_ground_truth.nii.gz",
    "ge/anatomical/001": "ge/anatomical/001_ground_truth.nii.gz",
    "ge/anatomical/001_implicit": "ge/anatomical/001_implicit_ground_truth.nii.gz",
    "ge/anatomical/001_single_slice": "ge/anatomical/001_single_slice_ground_truth.nii.gz",
}


@pytest.mark.parametrize("name", GOOD)
def test_vendors_series_equal_dicom2nifti(dicom, name, tmp_path):
    folder = dicom / "dicom2nifti_tests"
    (one,) = convert(folder / name, tmp_path)
    assert one.stack in ("regular", "single")
    assert one.audit is not None
    assert_same(one.path, folder / GOOD[name])


def test_a_missing_slice_is_refused_or_filled(dicom, tmp_path):
    folder = dicom / "dicom2nifti_tests" / "failing" / "sliceincrement"
    for name, sheared in (("001", False), ("002", True)):
        with pytest.raises(NothingConvertedError) as refused:
            convert(folder / name, tmp_path / "refused")
        assert refused.value.reason is Reason.MISSING_SLICES
        (one,) = convert(folder / name, tmp_path, repair=["missing"])
        assert one.shape == (512, 512, 5)
        assert one.stack == ("missing(1), sheared" if sheared else "missing(1)")
        assert one.repairs == ("1 missing slice(s) interpolated",)
    assert not list((tmp_path / "refused").glob("*"))


def test_a_gantry_tilt_keeps_its_shear_or_is_resampled(dicom, tmp_path):
    folder = dicom / "dicom2nifti_tests" / "failing" / "gantrytilting" / "001"
    (kept,) = convert(folder, tmp_path)
    assert kept.stack == "regular, sheared"
    image = nib.load(kept.path)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)
    # The columns lean by the tilt that the orientation states: 0.2419 = sin(14 degrees).
    axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    assert abs(axes[:, 1] @ axes[:, 2]) == pytest.approx(0.2419, abs=1e-3)
    (straight,) = convert(folder, tmp_path / "resampled", resample=True)
    axes = nib.load(straight.path).affine[:3, :3]
    assert np.allclose(axes.T @ axes, np.diag(np.diag(axes.T @ axes)), atol=1e-4)
    assert straight.spacing[2] == pytest.approx(5 * np.cos(np.arcsin(0.2419219)), abs=1e-3)


def test_two_orientations_are_two_volumes(dicom, tmp_path):
    made = convert(dicom / "dicom2nifti_tests" / "failing" / "sliceorientation", tmp_path)
    assert [(one.stack, one.shape) for one in made] == [("regular", (288, 288, 2))] * 2
    assert all(one.audit is not None for one in made)


def test_repeated_positions_are_times(dicom, tmp_path):
    # Bolus monitoring: one place, four acquisitions.
    (one,) = convert(dicom / "dicom2nifti_tests" / "failing" / "notavolume", tmp_path)
    assert (one.stack, one.shape) == ("single", (512, 512, 1, 4))


# Not the gantry tilt: dcm2niix writes its affine without the shear (see docs/dicom.md).
@pytest.mark.parametrize("name", GOOD)
def test_dcm2niix_agrees(dicom, name, tmp_path):
    dcm2niix = program("dcm2niix", "pip install dcm2niix")
    if name.endswith("single_slice"):
        pytest.skip("dcm2niix takes another thickness for a slice that states none")
    folder = dicom / "dicom2nifti_tests" / name
    (ours,) = convert(folder, tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    subprocess.run(
        [dcm2niix, "-z", "n", "-b", "n", "-f", "x", "-o", tmp_path / "theirs", folder],
        check=True,
        capture_output=True,
    )
    theirs = [p for p in (tmp_path / "theirs").glob("*.nii") if "Tilt" not in p.name]
    assert_same(ours.path, theirs[0], mm=0.02)
