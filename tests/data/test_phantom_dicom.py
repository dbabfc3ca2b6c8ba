"""A phantom as DICOM: read back by the converter it is the phantom, voxel by voxel."""

import subprocess

import nibabel as nib
import numpy as np
import pytest
from programs import program
from pydicom import dcmread

from monai_tumor.data.phantom import make_phantom, write_dicom_phantom, write_phantoms
from monai_tumor.dicom import assign, convert
from monai_tumor.labels import MODALITIES


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    phantom = make_phantom(7, size=(24, 28, 26), spacing=(1.0, 2.0, 2.0))
    folder = tmp_path_factory.mktemp("phantom")
    return phantom, folder, write_dicom_phantom(folder, phantom)


def test_the_converter_reads_the_phantom_back(written, tmp_path):
    phantom, folder, _ = written
    series = convert(folder, tmp_path)
    roles = assign(series)
    assert list(roles) == list(MODALITIES)
    for modality, image in zip(MODALITIES, phantom.images, strict=True):
        found = nib.as_closest_canonical(nib.load(roles[modality].path))
        np.testing.assert_allclose(found.affine, phantom.affine, atol=1e-4)
        np.testing.assert_array_equal(np.asarray(found.dataobj), np.rint(image))


def test_a_data_set_has_the_truth_on_the_grid_of_the_series(written, tmp_path):
    phantom, _, _ = written
    (study,) = write_phantoms(tmp_path, count=1, layout="dicom", make=lambda seed: phantom)
    assert study == tmp_path / "studies" / "PHANTOM_001"
    (series,) = convert(study / "t1c", tmp_path / "nifti")
    image = nib.load(series.path)
    truth = nib.load(tmp_path / "truth" / "PHANTOM_001_seg.nii.gz")
    np.testing.assert_allclose(truth.affine, image.affine, atol=1e-4)
    assert truth.shape == image.shape
    canonical = nib.as_closest_canonical(truth)
    np.testing.assert_array_equal(np.asarray(canonical.dataobj), phantom.label)


def test_one_study_in_one_frame_of_reference(written):
    _, folder, series = written
    files = [dcmread(path) for path in folder.rglob("*.dcm")]
    assert [path.name for path in series] == list(MODALITIES)
    assert len(files) == 4 * 13
    assert len({f.SOPInstanceUID for f in files}) == len(files)
    assert len({f.SeriesInstanceUID for f in files}) == 4
    assert len({(f.StudyInstanceUID, f.FrameOfReferenceUID) for f in files}) == 1


def test_the_same_phantom_gives_the_same_bytes(written, tmp_path):
    phantom, folder, _ = written
    write_dicom_phantom(tmp_path, phantom)
    for path in (folder / "t1c").iterdir():
        assert (tmp_path / "t1c" / path.name).read_bytes() == path.read_bytes()


def test_dciodvfy_finds_no_errors(written):
    _, _, series = written
    dciodvfy = program("dciodvfy", "apt-get install dicom3tools")
    for folder in series:
        path = str(folder / "0003.dcm")
        done = subprocess.run([dciodvfy, path], capture_output=True, text=True)
        assert "Error" not in done.stderr, done.stderr
        assert "MRImage" in done.stderr
