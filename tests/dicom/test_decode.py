"""Decoding, and decoders that break down."""

import time

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from monai_tumor.dicom import decode as decode_room
from monai_tumor.dicom import decode_worker
from monai_tumor.dicom.decode import RGB, Worker, decode, read_dataset
from monai_tumor.dicom.files import Source
from monai_tumor.dicom.reasons import Reason, RefusalError

GREY = [
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_expb.dcm",
]


def stored(name, frame=0):
    path = get_testdata_file(name)
    source = Source(path, name)
    with Worker() as worker:
        return decode(read_dataset(source), source, frame, worker)


@pytest.mark.parametrize("name", GREY)
def test_one_image_in_several_syntaxes(name):
    assert np.array_equal(stored(name), pydicom.dcmread(get_testdata_file(GREY[0])).pixel_array)


@pytest.mark.parametrize(
    "name", ["SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_palette.dcm"]
)
def test_colour(name):
    assert stored(name).dtype == RGB


def test_jpeg_of_12_bits():
    """Against what dcmdjpeg of DCMTK 3.6.7 makes of it."""
    pytest.importorskip("gdcm", reason="without GDCM the worker imports ITK, which takes seconds")
    pixels = stored("JPGExtended.dcm")
    assert (pixels.shape, pixels.dtype, int(pixels.max())) == ((1024, 256), np.uint16, 264)
    assert int(pixels.sum()) == 3_767_007
    assert int((pixels.ravel() * np.arange(pixels.size)).sum()) == 385_874_512_539


def test_what_cannot_be_decoded_is_refused():
    with pytest.raises(RefusalError) as refused:
        stored("SC_rgb_rle_32bit.dcm")  # 32 bits a colour
    assert refused.value.reason is Reason.UNSUPPORTED_PIXELS
    with pytest.raises(RefusalError) as refused:
        stored("MR_truncated.dcm")
    assert refused.value.reason is Reason.TRUNCATED


def frame_of(name):
    return decode_room._alone(pydicom.dcmread(get_testdata_file(name)), 0)


def test_the_worker_decodes_says_no_and_goes_on():
    pytest.importorskip("gdcm", reason="without GDCM the worker imports ITK, which takes seconds")
    expected = pydicom.dcmread(get_testdata_file(GREY[0])).pixel_array
    with Worker() as worker:
        for name in ("MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"):
            assert np.array_equal(worker.decode(frame_of(name)), expected)
        with pytest.raises(ValueError, match="no decoder here can read it"):
            worker.decode(b"rubbish")
        assert np.array_equal(worker.decode(frame_of(name)), expected)
        process = worker._process
    assert process is not None
    assert process.returncode is not None


@pytest.mark.parametrize("script", ["import os; os.abort()", "print('not an answer')", "1/0"])
def test_a_worker_that_dies_is_an_error_and_is_started_again(tmp_path, monkeypatch, script):
    (tmp_path / "worker.py").write_text(script)
    monkeypatch.setattr(decode_worker, "__file__", str(tmp_path / "worker.py"))
    with Worker() as worker:
        for _ in range(2):
            with pytest.raises(ValueError, match="broke down"):
                worker.decode(b"x" * 1_000_000)


def test_a_worker_that_hangs_is_ended(tmp_path, monkeypatch):
    (tmp_path / "worker.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(decode_worker, "__file__", str(tmp_path / "worker.py"))
    monkeypatch.setattr(decode_room, "_PATIENCE", 0.5)
    start = time.perf_counter()
    with Worker() as worker, pytest.raises(ValueError, match="broke down"):
        worker.decode(b"x")
    assert time.perf_counter() - start < 5


@pytest.mark.slow
def test_itk_decodes_to_the_same_values(tmp_path, monkeypatch):
    script = (
        "import runpy, sys; sys.modules['gdcm'] = None; runpy.run_path({!r}, run_name='__main__')"
    )
    (tmp_path / "worker.py").write_text(script.format(decode_worker.__file__))
    monkeypatch.setattr(decode_worker, "__file__", str(tmp_path / "worker.py"))
    expected = pydicom.dcmread(get_testdata_file(GREY[0])).pixel_array
    with Worker() as worker:
        for name in ("MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm"):
            assert np.array_equal(worker.decode(frame_of(name)), expected)
