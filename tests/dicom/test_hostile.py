"""Files that are broken or made to harm: typed errors, early, and nothing outside the target."""

import resource
import struct
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom.uid
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import ImplicitVRLittleEndian

from dicom.generator import Grid, classic, save
from monai_tumor.dicom import NothingConvertedError, Reason, RefusalError, convert
from monai_tumor.dicom.slices import Recipe, read_slice
from monai_tumor.errors import DicomError

BUNDLED = sorted(
    path
    for path in (Path(get_testdata_file("CT_small.dcm")).parent).iterdir()
    if path.suffix == ".dcm" and path.stat().st_size < 300_000
)

# Without GDCM some files start ITK, which alone takes that long.
PATIENCE = 5 if find_spec("gdcm") else 40


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """`content` with bytes changed, cut out, repeated or cut off; mostly in its header."""
    data = bytearray(content)
    reach = len(data) if rng.random() < 0.3 else min(len(data), 3000)
    for _ in range(rng.integers(1, 12)):
        at = int(rng.integers(0, reach))
        kind = rng.integers(0, 6)
        if kind == 0:
            data[at : at + 1] = rng.bytes(1)
        elif kind == 1:
            data[at : at + 4] = struct.pack("<I", int(rng.choice([0, 1, 0xFFFF, 2**31, 2**32 - 1])))
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 40))]
        elif kind == 3:
            data[at:at] = data[at : at + int(rng.integers(1, 200))]
        elif kind == 4:
            data[at : at + 2] = struct.pack("<H", int(rng.choice([0, 1, 8, 255, 60000, 65535])))
        elif rng.random() < 0.3:
            del data[at:]
            break
    return bytes(data)


def attack(content: bytes, folder: Path) -> None:
    """Convert and read one file; only typed errors may come out, soon, in little memory."""
    path = folder / "x.dcm"
    path.write_bytes(content)
    messages: list[str] = []
    start = time.process_time()
    for work in (
        lambda: convert(path, folder / "out"),
        lambda: read_slice(path, Recipe(allow_secondary=True), frame=1),
    ):
        try:
            work()
        except DicomError as error:
            messages.append(str(error))
    assert time.process_time() - start < PATIENCE
    assert all("\n" not in message and len(message) < 500 for message in messages)


def run(count: int, seed: int, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    contents = [path.read_bytes() for path in BUNDLED]
    for number in range(count):
        attack(mutated(contents[number % len(contents)], rng), folder)
        if number % 50 == 0:
            for old in (folder / "out").glob("*"):
                old.unlink()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1 << 20, f"{grown >> 10} MiB more resident"


def test_bundled_files_themselves(tmp_path):
    for path in BUNDLED:
        attack(path.read_bytes(), tmp_path)


def test_300_mutated_files(tmp_path):
    run(300, 1, tmp_path)


@pytest.mark.slow
def test_5000_mutated_files(tmp_path):
    run(5000, 2, tmp_path)


def nested_bytes(depth: int, undefined: bool) -> bytes:
    """Sequences nested `depth` deep, in implicit VR; pydicom could not write them either."""
    tag, item = struct.pack("<HH", 0x0040, 0xA043), struct.pack("<HH", 0xFFFE, 0xE000)
    content = b""
    for _ in range(depth):
        if undefined:
            end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
            content = tag + b"\xff" * 4 + item + b"\xff" * 4 + content + end
        else:
            inner = item + struct.pack("<I", len(content)) + content
            content = tag + struct.pack("<I", len(inner)) + inner
    return content


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("depth", [300, 20_000])
def test_sequences_nested_deep(tmp_path, depth, undefined):
    if depth > 300 and not undefined:
        depth = 3000  # the lengths alone are quadratic to write
    (ds,) = classic(Grid(count=1))
    path = save(ds, tmp_path / "in" / "x.dcm", ImplicitVRLittleEndian)
    content = path.read_bytes()
    pixels = content.index(struct.pack("<HH", 0x7FE0, 0x0010))
    path.write_bytes(content[:pixels] + nested_bytes(depth, undefined) + content[pixels:])
    start = time.process_time()
    if undefined:  # pydicom reads these at once
        with pytest.raises(RefusalError) as refused:
            convert(path, tmp_path / "out")
        assert refused.value.reason is Reason.NESTED_TOO_DEEP
    else:  # and these only when asked, which nothing here does
        assert len(convert(path, tmp_path / "out")) == 1
    assert time.process_time() - start < 3


@pytest.mark.parametrize(("rows", "frames"), [(60000, 1), (4096, 60000), (64, 10**9)])
def test_claims_are_refused_before_anything_is_allocated(tmp_path, rows, frames):
    (ds,) = classic(Grid(count=1))
    ds.Rows = ds.Columns = rows
    if frames > 1:
        ds.NumberOfFrames = frames
    path = save(ds, tmp_path / "x.dcm")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    for work in (lambda: convert(path, tmp_path / "out"), lambda: read_slice(path)):
        with pytest.raises(RefusalError) as refused:
            work()
        assert refused.value.reason is Reason.TOO_LARGE
    assert time.process_time() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_huge_length_allocates_nothing(tmp_path):
    (ds,) = classic(Grid(count=1))
    path = save(ds, tmp_path / "x.dcm")
    content = bytearray(path.read_bytes())
    at = content.index(b"\xe0\x7f\x10\x00OW")
    content[at + 8 : at + 12] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (one,) = convert(path, tmp_path / "out")
    assert one.shape == (10, 12, 1)  # the pixels are all there, only the length lies
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@pytest.mark.parametrize(
    ("syntax", "encoder"),
    [("RLELossless", "numpy"), ("JPEGLSLossless", "jpeg_ls"), ("JPEG2000Lossless", "openjpeg")],
)
def test_a_compressed_file_cut_short_is_refused(tmp_path, syntax, encoder):
    pytest.importorskip(encoder, reason=f"{encoder} encodes this; see the extra codecs")
    for k, ds in enumerate(classic(Grid(shape=(64, 64)))):
        path = save(ds, tmp_path / "plain" / f"{k}.dcm")
        whole = pydicom.dcmread(path)
        whole.compress(getattr(pydicom.uid, syntax))
        (tmp_path / "in").mkdir(exist_ok=True)
        whole.save_as(tmp_path / "in" / path.name)
    cut = tmp_path / "in" / "3.dcm"
    content = cut.read_bytes()
    for share in (0.55, 0.8, 0.95):
        cut.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(NothingConvertedError) as refused:
            convert(tmp_path / "in", tmp_path / "out")
        assert refused.value.reason in (Reason.UNDECODABLE, Reason.UNREADABLE, Reason.TRUNCATED)
    assert not list((tmp_path / "out").glob("*"))
