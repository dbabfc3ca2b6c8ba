"""De-identifying what is broken, odd or real: typed errors, the rest goes on, nothing leaks."""

import io
import shutil
import struct
import subprocess
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from programs import program
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from dicom.generator import Grid, classic, save
from dicom.test_hostile import BUNDLED, mutated
from monai_tumor.dicom import Reason, convert, deidentify
from monai_tumor.dicom.files import quiet
from monai_tumor.errors import DicomError


def plain(**tags) -> Dataset:
    return classic(Grid(count=1), **tags)[0]


def test_bad_files_are_named_by_number_and_the_rest_goes_on(tmp_path):
    folder = tmp_path / "in"
    good = save(classic(Grid(count=1))[0], folder / "b.dcm")
    (folder / "a.dcm").write_bytes(good.read_bytes()[:900])
    no_uid = plain()
    save(no_uid, folder / "c.dcm")
    again = dcmread(folder / "c.dcm")
    del again.SOPInstanceUID
    again.save_as(folder / "c.dcm", enforce_file_format=False)
    (folder / "d.dcm").write_bytes(nested(300))
    result = deidentify([folder, tmp_path / "nowhere", good], tmp_path / "out")
    assert len(result.written) == 1
    reasons = [one.refused for one in result.files if one.refused]
    assert reasons[0] is Reason.NOT_FOUND
    assert reasons[2] is Reason.BAD_HEADER
    assert reasons[3] in (Reason.NESTED_TOO_DEEP, Reason.UNREADABLE)
    assert len(reasons) == 4
    for one in result.refused:
        assert "\n" not in str(one)
        assert str(one.refused) in str(one)


def nested(depth: int) -> bytes:
    """A file whose sequences nest `depth` deep."""
    ds = plain()
    deep = bytearray()
    for _ in range(depth):
        deep += struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
        deep += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    for _ in range(depth):
        deep += struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    buffer = io.BytesIO()
    ds.file_meta = dcmread(get_testdata_file("CT_small.dcm")).file_meta
    ds.save_as(buffer, enforce_file_format=True)
    whole = buffer.getvalue()
    at = whole.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    return whole[:at] + bytes(deep) + whole[at:]


def test_an_element_that_claims_more_than_there_is(tmp_path):
    path = save(plain(), tmp_path / "in" / "a.dcm")
    raw = path.read_bytes()
    at = raw.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW")) + 8
    path.write_bytes(raw[:at] + struct.pack("<I", 0xFFFFFFF0) + raw[at + 4 :])
    save(plain(), tmp_path / "in" / "b.dcm")
    result = deidentify(tmp_path / "in", tmp_path / "out")
    assert result.files[1].path is not None


@pytest.mark.parametrize(
    ("tag", "vr", "following"),
    [
        ((0x0008, 0x0060), b"CS", (0x0018, 0x0050)),  # Modality, before the patient
        ((0x0018, 0x0024), b"SH", (0x0020, 0x000D)),  # SequenceName
        ((0x0018, 0x0086), b"IS", (0x0020, 0x000D)),  # EchoNumbers
        ((0x0018, 0x1310), b"US", (0x0020, 0x000D)),  # AcquisitionMatrix
    ],
)
def test_elements_swallowed_by_a_wrong_length_do_not_survive_in_it(tag, vr, following, tmp_path):
    ds = plain(SequenceName="tfl", AcquisitionMatrix=[0, 1, 1, 0], PatientComments="Zorblax")
    ds.EchoNumbers, ds.SoftwareVersions = 1, "Zorblax"
    ds.DeviceSerialNumber, ds.AcquisitionDeviceProcessingDescription = "Zorblax", "Zorblax"
    ds.SliceThickness = 3
    path = save(ds, tmp_path / "in.dcm")
    raw = path.read_bytes()
    at = raw.index(struct.pack("<HH2s", *tag, vr))
    end = raw.index(struct.pack("<HH", *following), at)
    path.write_bytes(raw[: at + 6] + struct.pack("<H", end - at - 8) + raw[at + 8 :])
    with quiet():
        swallowed = dcmread(path).get_item(tag).value
    (one,) = deidentify(path, tmp_path / "out").written
    assert swallowed not in one.path.read_bytes()
    assert len(swallowed) > 20


def test_what_pydicom_ships(tmp_path):
    """Every bundled file: written with the same pixels and no private element, or refused."""
    root = Path(get_testdata_file("CT_small.dcm")).parent
    result = deidentify(sorted(root.glob("*.dcm")), tmp_path / "out", allow_burned_in=True)
    assert len(result.written) > 60
    compared = 0
    for one in result.written:
        ds = dcmread(one.path)
        assert ds.PatientIdentityRemoved == "YES"
        assert ds.PatientID.startswith("ANON-")
        assert not any(tag.is_private for tag in ds.keys())  # noqa: SIM118
        with quiet():  # some of these are odd on purpose
            old = dcmread(root / one.source)
        name = str(old.get("PatientName", ""))
        if len(name) > 4:
            assert name.encode() not in one.path.read_bytes()
        if one.path.stat().st_size > 100_000 or old.file_meta.TransferSyntaxUID.is_compressed:
            continue
        with quiet():
            try:
                expected = old.pixel_array
            except ValueError:  # a number that is none, on purpose
                continue
            assert np.array_equal(ds.pixel_array, expected)
            compared += 1
    assert compared > 15


def attack(count: int, seed: int, folder: Path) -> int:
    """How many of `count` mutated files were written; others gave typed errors of one line."""
    rng = np.random.default_rng(seed)
    images = [p.read_bytes() for p in BUNDLED if b"\xe0\x7f\x10\x00" in p.read_bytes()]
    written, messages = 0, []
    for number in range(count):
        path, out = folder / "x.dcm", folder / f"out{number}"
        path.write_bytes(mutated(images[number % len(images)], rng))
        start = time.process_time()
        try:
            written += len(deidentify(path, out, allow_burned_in=True).written)
        except DicomError as error:
            messages.append(str(error))
        assert time.process_time() - start < 5
        shutil.rmtree(out, ignore_errors=True)
    assert not any("\n" in message for message in messages)
    return written


def test_mutated_files_give_typed_errors(tmp_path):
    assert attack(60, 11, tmp_path) > 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_mutated_files_give_typed_errors(tmp_path):
    assert attack(3000, 12, tmp_path) > 400


@pytest.mark.slow
@pytest.mark.parametrize("vendor", ["anatomical", "ge", "hitachi", "hyperfine", "failing"])
def test_real_series_convert_to_the_same(vendor, real_data, tmp_path):
    source = real_data / "dicom" / "dicom2nifti_tests" / vendor
    result = deidentify(source, tmp_path / "out")
    assert result.written
    assert not result.refused

    def converted(folder: Path, out: Path) -> list[tuple[bytes, bytes, str]]:
        made = [(nib.load(c.path), c) if c.path else (None, c) for c in convert(folder, out)]
        return sorted(
            (np.asarray(i.dataobj).tobytes(), i.affine.tobytes(), c.stack)
            if i
            else (b"", b"", str(c.refused))
            for i, c in made
        )

    before = converted(source, tmp_path / "before")
    assert before == converted(tmp_path / "out", tmp_path / "after")


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "liver_1frame.dcm"])
def test_a_valid_file_stays_valid(name, tmp_path):
    source = get_testdata_file(name, download=False)
    (one,) = deidentify(source, tmp_path / "out", options=["modified-dates"]).written
    dciodvfy = program("dciodvfy", "apt-get install dicom3tools")

    def faults(path: Path | str) -> set[str]:
        done = subprocess.run([dciodvfy, str(path)], capture_output=True, check=False)
        lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
        return {line for line in lines if line.startswith("Error")}

    assert faults(one.path) <= faults(source)
