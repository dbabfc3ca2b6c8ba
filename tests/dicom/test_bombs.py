import struct
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
)

from dicom.generator import Grid, classic, save
from monai_tumor.dicom import (
    Limits,
    NothingConvertedError,
    Reason,
    RefusalError,
    bombs,
    convert,
    deidentify,
)
from monai_tumor.dicom.bombs import codestream_shape, has_more_items
from monai_tumor.dicom.slices import read_slice

COMPRESSED = [
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG2000.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "examples_jpeg2k.dcm",
    "examples_ybr_color.dcm",
    "JPEGLSNearLossless_16.dcm",
]


@pytest.mark.parametrize("name", COMPRESSED)
def test_the_shape_that_a_codestream_states(name):
    ds = pydicom.dcmread(get_testdata_file(name))
    frames = generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1)))
    assert {codestream_shape(frame) for frame in frames} == {(ds.Rows, ds.Columns)}


@pytest.mark.parametrize(
    "frame", [b"", b"\xff\xd8", b"\xff\x4f\xff\x51\0", b"\xff\xd8\xff\xda\0\0" * 9, b"x" * 99]
)
def test_no_shape(frame):
    assert codestream_shape(frame) is None


def test_a_codestream_larger_than_its_header_is_not_decoded(tmp_path):
    content = bytearray(Path(get_testdata_file("MR_small_jp2klossless.dcm")).read_bytes())
    at = content.index(b"\xff\x4f\xff\x51") + 8
    content[at : at + 8] = struct.pack(">2I", 60000, 60000)
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(RefusalError, match="is 60000 x 60000, its header says 64 x 64") as refused:
        read_slice(tmp_path / "x.dcm")
    assert refused.value.reason is Reason.UNDECODABLE


def deflated_bomb(path, size):
    """A deflated slice with `size` zero bytes in a private element before its pixels."""
    (ds,) = classic(Grid(count=1))
    content = save(ds, path, DeflatedExplicitVRLittleEndian).read_bytes()
    start = 144 + struct.unpack("<I", content[140:144])[0]
    body = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    pixels = body.index(b"\xe0\x7f\x10\x00")
    padding = struct.pack("<HH2sHI", 0x0029, 0x1010, b"OB", 0, size)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflate.compress(body[:pixels] + padding)
    for _ in range(size >> 20):
        packed += deflate.compress(bytes(1 << 20))
    packed += deflate.compress(body[pixels:]) + deflate.flush()
    path.write_bytes(content[:start] + packed)
    return path


def test_a_deflated_bomb_is_refused_before_it_inflates(tmp_path):
    path = deflated_bomb(tmp_path / "x.dcm", 64 << 20)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(NothingConvertedError) as refused:
        convert(path, tmp_path / "out", limits=Limits(inflated_bytes=32 << 20))
    assert refused.value.reason is Reason.TOO_LARGE
    assert len(convert(path, tmp_path / "out")) == 1


def with_items(path, count, syntax=ExplicitVRLittleEndian):
    """A slice with a private sequence of `count` empty items before its pixels."""
    (ds,) = classic(Grid(count=1))
    item = Dataset()
    ds.private_block(0x0029, "OURS", create=True).add_new(0x10, "SQ", [item] * count)
    return save(ds, path, syntax)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_items_are_counted_before_they_are_read(tmp_path, syntax):
    path = with_items(tmp_path / "x.dcm", 3000, syntax)
    for work in (
        lambda limits: convert(path, tmp_path / "out", limits=limits),
        lambda limits: deidentify(path, tmp_path / "other", limits=limits),
    ):
        with pytest.raises(RefusalError) as refused:
            work(Limits(items=2999))
        assert refused.value.reason is Reason.TOO_LARGE
    assert len(convert(path, tmp_path / "out", limits=Limits(items=3000))) == 1


def test_an_item_across_two_parts_is_counted(tmp_path, monkeypatch):
    path = with_items(tmp_path / "x.dcm", 3000)
    for step in (7, 64, 1000):
        monkeypatch.setattr(bombs, "_STEP", step)
        assert has_more_items(path, b"", 2999)
        assert not has_more_items(path, b"", 3000)
