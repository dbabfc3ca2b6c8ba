"""Nothing that is sent decides a path, but for UIDs of digits and dots."""

from pathlib import Path

import pytest
from dicom.generator import Grid, classic, save
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian

from monai_tumor.dicom.files import quiet
from monai_tumor.pacs.instances import BadInstanceError, checked_uid, read_instance
from monai_tumor.pacs.receiver import _SYNTAXES
from pacs.peers import SMALL


@given(st.text(max_size=70))
@example("..")
@example("1..2")
@example("../../etc/passwd")
@example("1.2\n")
@example("/1.2")
@example("")
@example("١.٢")
@example("1" * 65)
def test_a_uid_is_a_name_that_stays_in_its_folder(text):
    try:
        uid = checked_uid(text, "UID")
    except BadInstanceError:
        return
    assert set(uid) <= set("0123456789.")
    assert len(uid) <= 64
    assert (Path("/spool") / uid).resolve().parent == Path("/spool")


def content(tmp_path, **tags) -> bytes:
    with quiet():
        one = classic(Grid(**SMALL), **tags)[0]
        save(one, tmp_path / "one.dcm")
    return (tmp_path / "one.dcm").read_bytes()


def test_what_is_read_of_a_file(tmp_path):
    found = read_instance(content(tmp_path, StudyInstanceUID="1.2", SOPInstanceUID="1.2.03"))
    assert (found.study, found.uid, found.manufacturer) == ("1.2", "1.2.03", "")


@pytest.mark.parametrize("field", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", ["../../../tmp/x", "1.", "/etc/passwd", "1.2\\3"])
def test_others_are_refused(tmp_path, field, value):
    with quiet():
        file = content(tmp_path, **{field: value})
    with pytest.raises(BadInstanceError):
        read_instance(file)


@settings(max_examples=60)
@given(st.integers(0, 700), st.integers(0, 255))
def test_damaged_files_are_read_or_refused(tmp_path_factory, place, value):
    file = bytearray(_sound(tmp_path_factory))
    file[place % len(file)] = value
    try:
        found = read_instance(bytes(file))
    except BadInstanceError:
        return
    assert {found.study, found.series, found.uid} == {
        checked_uid(uid, "UID") for uid in (found.study, found.series, found.uid)
    }


_KEPT: list[bytes] = []


def _sound(tmp_path_factory) -> bytes:
    if not _KEPT:
        _KEPT.append(content(tmp_path_factory.mktemp("sound")))
    return _KEPT[0]


def test_nothing_deflated_is_received():
    assert DeflatedExplicitVRLittleEndian not in _SYNTAXES
    assert len(_SYNTAXES) > 30
