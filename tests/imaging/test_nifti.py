"""ISA-L in the place of zlib: the same voxels, valid files, and the same bytes each time."""

import gzip
import time
import zlib

import nibabel as nib
import numpy as np
import pytest

from monai_tumor.imaging import nifti

SHAPE = (17, 13, 11)


def image(dtype=np.int16, slope=None):
    voxels = np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)
    made = nib.Nifti1Image(voxels, np.diag([-1.0, 2.0, 3.0, 1.0]))
    if slope:
        made.header.set_slope_inter(slope, 5)
    return made


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i2", np.float32])
@pytest.mark.parametrize("slope", [None, 0.5])
def test_voxels_are_those_nibabel_reads(tmp_path, ending, dtype, slope):
    path = tmp_path / f"image{ending}"
    nib.save(image(dtype, slope), path)
    found = nifti.voxels_of(nib.load(path))
    expected = np.asanyarray(nib.load(path).dataobj)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_an_image_in_memory_has_its_voxels_too():
    assert np.array_equal(nifti.voxels_of(image()), image().dataobj)


def test_two_gzip_members_are_one_file(tmp_path):
    path = tmp_path / "two.nii.gz"
    content = image().to_bytes()
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    assert np.array_equal(nifti.voxels_of(nib.load(path)), image().dataobj)


def test_a_file_cut_short_or_damaged(tmp_path):
    path = tmp_path / "image.nii.gz"
    noise = np.random.default_rng(0).integers(0, 2**15, (40, 40, 40), np.int16)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EOFError, match="end-of-stream"):
        nifti.voxels_of(nib.load(path))
    path.write_bytes(whole[:60_000] + b"\xff" * 1000 + whole[61_000:])
    with pytest.raises((zlib.error, OSError)):
        nifti.voxels_of(nib.load(path))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_what_is_written_is_read_by_nibabel_and_is_the_same_tomorrow(tmp_path, ending, monkeypatch):
    first, second = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    nifti.save(image(), first)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    nifti.save(image(), second)
    assert first.read_bytes() == second.read_bytes()
    written = nib.load(first)
    assert np.array_equal(np.asanyarray(written.dataobj), image().dataobj)
    assert np.array_equal(written.affine, image().affine)
    if ending == ".nii.gz":
        assert gzip.decompress(first.read_bytes()) == image().to_bytes()
        assert first.read_bytes()[4:8] == b"\0\0\0\0"  # the time in a gzip header, RFC 1952
