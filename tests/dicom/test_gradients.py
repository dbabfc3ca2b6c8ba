"""Gradient tables: worked out by hand, and against dcm2niix."""

import subprocess

import nibabel as nib
import numpy as np
import pytest
from programs import program

from dicom.generator import AXIAL, CORONAL, Grid, classic, oblique, save_all
from monai_tumor.dicom import convert
from monai_tumor.dicom.files import quiet
from monai_tumor.dicom.gradients import gradient_table

DIRECTIONS = [None, (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, -0.48, 0.64)]  # LPS


def test_worked_out_by_hand():
    # Voxel axes to the left, to the back, up, as an axial DICOM series has them: determinant +1.
    diffusion = [(0.0,), (1000.0, 1, 0, 0), (1000.0, 0, 1, 0), (2000.0, 0, 0, 2)]
    bval, bvec = gradient_table(diffusion, np.diag([-2.0, -2.0, 3.0, 1.0]))
    assert bval == "0 1000 1000 2000\n"
    assert bvec == "0 -1 0 0\n0 0 1 0\n0 0 0 1\n"
    # The same with the first axis to the right: determinant below 0, so nothing is turned round.
    _, bvec = gradient_table(diffusion, np.diag([2.0, -2.0, 3.0, 1.0]))
    assert bvec == "0 -1 0 0\n0 0 1 0\n0 0 0 1\n"


def written(folder, orientation):
    grid = Grid(orientation=orientation, spacing=(2.0, 2.0), gap=2.0)
    files = []
    for number, direction in enumerate(DIRECTIONS):
        tags = {"DiffusionBValue": 1000.0 if direction else 0.0, "AcquisitionNumber": 1}
        if direction:
            tags["DiffusionGradientOrientation"] = list(map(float, direction))
        part = classic(grid, offset=100 * number, Manufacturer="Philips", **tags)
        for one in part:
            one.InstanceNumber += number * grid.count
            one.TemporalPositionIdentifier = number + 1
        files += part
    with quiet():
        return save_all(files, folder)


def world(image, bvec) -> np.ndarray:
    """The directions in LPS, [volumes, 3], that FSL takes from a file for this image."""
    affine = nib.load(image).affine
    vectors = np.loadtxt(bvec).T
    if np.linalg.det(affine[:3, :3]) > 0:
        vectors[:, 0] *= -1
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return vectors @ axes.T * (-1, -1, 1)


@pytest.mark.parametrize(
    "orientation", [AXIAL, CORONAL, oblique(0.3, -0.4, 0.5)], ids=["axial", "coronal", "oblique"]
)
def test_directions_are_those_of_the_headers_and_of_dcm2niix(tmp_path, orientation):
    folder = written(tmp_path / "in", orientation)
    (one,) = convert(folder, tmp_path / "ours")
    expected = [direction or (0, 0, 0) for direction in DIRECTIONS]
    stem = tmp_path / "ours" / one.name
    assert (stem.with_suffix(".bval")).read_text() == "0 1000 1000 1000 1000\n"
    np.testing.assert_allclose(world(one.path, f"{stem}.bvec"), expected, atol=1e-3)
    dcm2niix = program("dcm2niix", "pip install dcm2niix")
    (tmp_path / "theirs").mkdir()
    command = [dcm2niix, "-z", "n", "-b", "n", "-f", "x", "-o", tmp_path / "theirs", folder]
    subprocess.run(command, check=True, capture_output=True)
    (bvec,) = (tmp_path / "theirs").glob("*.bvec")
    theirs = world(bvec.with_suffix(".nii"), bvec)
    np.testing.assert_allclose(theirs, expected, atol=1e-3)


def test_no_table_without_directions(tmp_path):
    parts = [
        classic(Grid(uid="1.2.3", study="1.2"), offset=700 * n, DiffusionBValue=b)
        for n, b in enumerate((0.0, 1000.0))
    ]
    with quiet():
        folder = save_all([one for part in parts for one in part], tmp_path / "in")
    convert(folder, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.bv*"))
