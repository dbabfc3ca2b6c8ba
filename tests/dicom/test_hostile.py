"""Files that are broken or made to harm: typed errors, early, and nothing outside the target."""

import resource
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from monai_tumor.dicom import convert
from monai_tumor.dicom.slices import Recipe, read_slice
from monai_tumor.errors import DicomError

BUNDLED = sorted(
    path
    for path in (Path(get_testdata_file("CT_small.dcm")).parent).iterdir()
    if path.suffix == ".dcm" and path.stat().st_size < 300_000
)


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
    start = time.perf_counter()
    for work in (
        lambda: convert(path, folder / "out"),
        lambda: read_slice(path, Recipe(allow_secondary=True), frame=1),
    ):
        try:
            work()
        except DicomError as error:
            messages.append(str(error))
    assert time.perf_counter() - start < 5
    assert all("\n" not in message and len(message) < 500 for message in messages)


def run(count: int, seed: int, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    contents = [path.read_bytes() for path in BUNDLED]
    for number in range(count):
        attack(mutated(contents[number % len(contents)], rng), folder)
        if number % 50 == 0:
            for old in (folder / "out").glob("*"):
                old.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak < 3 << 20, f"{peak >> 10} MiB resident"


def test_bundled_files_themselves(tmp_path):
    for path in BUNDLED:
        attack(path.read_bytes(), tmp_path)


def test_300_mutated_files(tmp_path):
    run(300, 1, tmp_path)


@pytest.mark.slow
def test_5000_mutated_files(tmp_path):
    run(5000, 2, tmp_path)
