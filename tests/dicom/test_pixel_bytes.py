"""Comments, thumbnails and tails of compressed frames go; pixels stay."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames

from monai_tumor.dicom import deidentify
from monai_tumor.dicom.files import quiet
from monai_tumor.dicom.pixel_bytes import strip_jpeg, strip_jpeg_2000

SECRET = b"Zorblax1953!"


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


COMMENTS = segment(0xFE, SECRET) + segment(0xE1, b"Exif\0\0" + SECRET)
NEEDED = segment(0xE0, b"JFIF\0" + bytes(9)) + segment(0xEE, b"Adobe" + bytes(7))
SCAN = segment(0xC0, bytes(15)) + segment(0xDA, bytes(10)) + b"\x01\xff\x00\x02" + b"\xff\xd9"


def test_a_jpeg_frame_by_hand():
    plain = b"\xff\xd8" + NEEDED + SCAN
    thumbnail = segment(0xE0, b"JFIF\0" + bytes(9) + SECRET)
    assert strip_jpeg(plain) == plain
    assert strip_jpeg(b"\xff\xd8" + COMMENTS + NEEDED + thumbnail + SCAN + SECRET) == plain
    assert strip_jpeg(b"no JPEG") == b"no JPEG"


def test_a_jpeg_2000_frame_by_hand():
    head, tiles = segment(0x51, bytes(30)), b"\xff\x90\x00\x0a" + bytes(8) + b"\xff\x93xy\xff\xd9"
    plain = b"\xff\x4f" + head + tiles
    assert strip_jpeg_2000(plain) == plain
    commented = b"\xff\x4f" + head + segment(0x64, b"\0\1" + SECRET) + tiles + SECRET
    assert strip_jpeg_2000(commented) == plain


@pytest.mark.parametrize("cut", range(2, 60, 3))
def test_broken_frames_lose_nothing_but_comments(cut):
    frame = (b"\xff\xd8" + NEEDED + SCAN)[:cut]
    assert strip_jpeg(frame) == frame


@pytest.mark.parametrize(
    ("name", "soi"),
    [
        ("SC_rgb_jpeg_dcmtk.dcm", b"\xff\xd8"),
        ("SC_rgb_jls_lossy_line.dcm", b"\xff\xd8"),
        ("MR_small_jpeg_ls_lossless.dcm", b"\xff\xd8"),
        ("MR_small_jp2klossless.dcm", b"\xff\x4f"),
        ("examples_jpeg2k.dcm", b"\xff\x4f"),
    ],
)
def test_comments_in_files(name, soi, tmp_path):
    source = get_testdata_file(name, download=False)
    ds = dcmread(source)
    count = int(ds.get("NumberOfFrames") or 1)
    frames = list(generate_frames(ds.PixelData, number_of_frames=count))
    if soi == b"\xff\xd8":
        dirty = [f[:2] + segment(0xFE, SECRET) + f[2:] + SECRET for f in frames]
    else:  # after SIZ, which must come first
        ends = [4 + int.from_bytes(f[4:6], "big") for f in frames]
        extra = segment(0x64, b"\0\1" + SECRET)
        dirty = [f[:e] + extra + f[e:] + SECRET for f, e in zip(frames, ends, strict=True)]
    ds.PixelData = encapsulate(dirty)
    ds.save_as(tmp_path / "in.dcm")
    assert SECRET in (tmp_path / "in.dcm").read_bytes()
    (one,) = deidentify(tmp_path / "in.dcm", tmp_path / "out", allow_burned_in=True).written
    assert SECRET not in one.path.read_bytes()
    after = dcmread(one.path)
    with quiet():
        try:
            expected = dcmread(source).pixel_array
        except RuntimeError:  # no decoder here
            expected = None
        if expected is not None:
            assert np.array_equal(after.pixel_array, expected)
    assert len(list(generate_frames(after.PixelData, number_of_frames=count))) == count
