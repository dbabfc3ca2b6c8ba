import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom.generator import Grid, classic, linear, oblique, save_all
from dicom.series_cases import SMALL_BASE, SMALL_STEP, Case, cases
from monai_tumor.dicom import NothingConvertedError, convert
from monai_tumor.dicom.files import quiet

with quiet():
    ALL = cases()
CASES = {case.name: case for case in ALL}


def residuals(path, margin=0):
    """Value less the linear function of the place that the file's own affine gives, by time."""
    image = nib.load(path)
    data = np.asanyarray(image.dataobj)
    if data.dtype.names:  # colour: red is the value, green its opposite
        # Equal but for the rounding of a conversion from another colour space.
        assert np.abs(255.0 - data["G"] - data["R"]).max() <= 3
        data = data["R"] * SMALL_STEP + SMALL_BASE
    data = data.astype(float)
    data = data.reshape(*data.shape[:3], -1)
    i, j, k = np.indices(data.shape[:3])
    ras = np.stack([i, j, k, np.ones_like(i)], -1) @ image.affine.T
    away = data - linear(ras[..., :3] * [-1, -1, 1])[..., None]
    return away[:, margin : away.shape[1] - margin or None]


def run(case: Case, folder):
    with quiet():
        case.build(folder / "in")
    try:
        return convert(folder / "in", folder / "out", **case.options)
    except NothingConvertedError as error:
        return list(error.refusals)


@pytest.mark.parametrize("name", CASES)
def test_right_or_refused_by_name(name, tmp_path):
    case = CASES[name]
    (tmp_path / "in").mkdir()
    results = run(case, tmp_path)
    written = [one for one in results if one.path]
    assert len(written) == len(case.files), [str(one) for one in results]
    assert sorted(p.name for p in (tmp_path / "out").glob("**/*.nii.gz")) == sorted(
        one.path.name for one in written
    )
    found = []
    for one in written:
        away = residuals(one.path, case.margin)
        # Rounding to a stored value is off by half a quantum; the affine is stored as float32.
        constants = np.round(np.median(away, axis=(0, 1, 2)) * 4) / 4
        assert np.abs(away - constants).max() <= 0.55 * case.step + 0.6 * bool(case.options), name
        found.append(tuple(constants))
        if case.slices:
            assert one.shape[2] == case.slices
        if case.stack:
            assert one.stack == case.stack
    for constants, expected in zip(sorted(found), sorted(case.files), strict=True):
        assert constants == pytest.approx(expected, abs=case.step)
    if case.refused is not None:
        assert [str(one.refused) for one in results if one.refused] == list(case.refused)


orientations = st.builds(oblique, *[st.floats(-3.1, 3.1)] * 3)
sides = st.floats(0.5, 4.0).map(lambda value: round(value, 3))


@settings(max_examples=15, deadline=None)
@given(orientations, sides, sides, sides, st.integers(2, 9), st.randoms(use_true_random=False))
def test_any_orientation_spacing_and_order(orientation, row, column, gap, count, random):
    grid = Grid(orientation=orientation, spacing=(row, column), gap=gap, count=count)
    files = classic(grid)
    random.shuffle(files)
    with tempfile.TemporaryDirectory() as folder:
        save_all(files, Path(folder) / "in")
        (one,) = convert(Path(folder) / "in", Path(folder) / "out")
        assert one.shape == (10, 12, count)
        assert np.abs(residuals(one.path)).max() <= 0.55


def test_there_are_enough_cases():
    assert len(CASES) == len(ALL) >= 45
