"""The audit must see every way in which a file can be wrong."""

import nibabel as nib
import numpy as np
import pytest

from dicom.generator import Grid, classic, save_all
from monai_tumor.dicom import NothingConvertedError, Reason, RefusalError, convert
from monai_tumor.dicom import nifti as nifti_room
from monai_tumor.dicom.audit import audit, sample
from monai_tumor.dicom.files import Limits, find, read_header
from monai_tumor.dicom.frames import slices_of
from monai_tumor.dicom.pixels import Reader


@pytest.fixture
def written(tmp_path):
    """A converted file and samples of its sources."""
    save_all(classic(Grid(count=9)), tmp_path / "in")
    (made,) = convert(tmp_path / "in", tmp_path / "out")
    limits, rng = Limits(), np.random.default_rng(1)
    samples = []
    with Reader() as reader:
        for source in find([tmp_path / "in"], tmp_path, limits):
            for one in slices_of(source, read_header(source, limits), limits):
                samples.append(sample(one, reader.stored(one), 0, rng))
    return made.path, samples


def test_a_right_file_passes(written):
    path, samples = written
    found = audit(path, samples)
    assert (found.slices, found.pixels) == (9, 9 * 64)
    assert found.worst_value == 0
    assert found.worst_voxels < 1e-4


def changed(path, data=None, affine=None):
    image = nib.load(path)
    values = np.asanyarray(image.dataobj).copy()
    if data is not None:
        values = data(values)
    where = image.affine.copy()
    if affine is not None:
        affine(where)
    nib.save(nib.Nifti1Image(values, where), path)


def swap(values):
    values[:, :, [3, 4]] = values[:, :, [4, 3]]
    return values


def one_slice_up(values):
    values[:, :, 5] += 1
    return values


def shift(where):
    where[0, 3] += 1.5


def scale(where):
    where[:3, 2] *= 1.05


def unshear(where):
    where[:3, 1] += 0.1


@pytest.mark.parametrize(
    "how",
    [
        {"data": swap},
        {"data": one_slice_up},
        {"data": lambda v: v[::-1].copy()},
        {"data": lambda v: v[:, ::-1].copy()},
        {"data": lambda v: v[:, :, ::-1].copy()},
        {"data": lambda v: v[:, :, :-1].copy()},
        {"data": lambda v: np.roll(v, 1, 0)},
        {"data": lambda v: (v * 0.999).astype(np.float32)},
        {"data": lambda v: np.where(v > 4000, np.nan, v).astype(np.float32)},
        {"affine": shift},
        {"affine": scale},
        {"affine": unshear},
    ],
)
def test_a_wrong_file_does_not(written, how):
    path, samples = written
    changed(path, **how)
    with pytest.raises(RefusalError) as refused:
        audit(path, samples)
    assert refused.value.reason is Reason.AUDIT_MISMATCH


def test_a_mismatch_leaves_no_file(tmp_path, monkeypatch):
    save_all(classic(Grid()), tmp_path / "in")
    true_write = nifti_room._write

    def wrong(file, image, data):
        true_write(file, image, data[:, :, ::-1])

    monkeypatch.setattr(nifti_room, "_write", wrong)
    with pytest.raises(NothingConvertedError) as refused:
        convert(tmp_path / "in", tmp_path / "out")
    assert refused.value.reason is Reason.AUDIT_MISMATCH
    assert not list((tmp_path / "out").iterdir())


def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch):
    save_all(classic(Grid()), tmp_path / "in")

    def full(file, image, data):
        file.write(b"part")
        raise OSError("no space left")

    monkeypatch.setattr(nifti_room, "_write", full)
    with pytest.raises(OSError, match="no space"):
        convert(tmp_path / "in", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
