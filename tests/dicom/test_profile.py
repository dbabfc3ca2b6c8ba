"""The table of PS3.15 E.1-1 as shipped, against pydicom's dictionary and rows read by hand."""

import csv
import hashlib
from importlib.resources import files

import pytest
from pydicom.datadict import (
    DicomDictionary,
    dictionary_keyword,
    dictionary_VR,
    private_dictionary_VR,
)

from monai_tumor.dicom.profile import (
    CODES,
    EDITION,
    Action,
    Option,
    action,
    basic_action,
    safe_private,
    table,
)

# Elements of the standard that pydicom 3.0.2 does not know yet.
NEW = {
    *range(0x00081301, 0x00081305),
    *range(0x00100011, 0x00100017),
    *range(0x00100041, 0x00100048),
    *(0x00102162, 0x0040A034, 0x0040A035, 0x0040B034, 0x0040B036),
    *(0x0040B03B, 0x0040B03F, 0x0040E012, 0x3004007F),
}
# Of "<tag> <basic action>" in the order of tags, from PyMedPhys' copy of edition 2026d.
BASIC_ACTIONS = "09f639744a9e8494429c5953abc358e030d3c9da8b96c3bbe0fa57302472c67b"


def test_every_row_is_an_element_of_the_dictionary():
    for tag, row in table().items():
        if tag in DicomDictionary:
            assert dictionary_keyword(tag) == row.keyword
        else:
            assert tag in NEW, f"{tag:08X} {row.keyword}"


def test_rows_of_the_file():
    text = files("monai_tumor.dicom").joinpath("confidentiality.csv").read_text()
    lines = list(csv.DictReader(text.splitlines()))
    assert len(lines) == 657
    assert len({line["tag"] for line in lines}) == len(lines)
    assert [line["tag"] for line in lines] == sorted(line["tag"] for line in lines)
    assert len(table()) == 653
    whole_groups = {line["tag"]: line["basic"] for line in lines if "x" in line["tag"]}
    assert whole_groups == {"50xxxxxx": "X", "60xx3000": "X", "60xx4000": "X"}
    for line in lines:
        assert set(line.values()) - {line["tag"], line["keyword"], line["basic"]} <= {"", "K", "C"}


def test_basic_actions_are_those_of_the_edition():
    assert EDITION == "2026d"
    lines = "\n".join(f"{tag:08X} {row.basic}" for tag, row in sorted(table().items()))
    assert hashlib.sha256(lines.encode()).hexdigest() == BASIC_ACTIONS


def test_options_follow_the_kind_of_element():
    """Columns go by value representation, with these exceptions: a shifted cell would be seen."""
    known = {tag: row for tag, row in table().items() if tag in DicomDictionary}
    vrs = {tag: dictionary_VR(tag) for tag in known}
    dates = {Option.FULL_DATES: "K", Option.MODIFIED_DATES: "C"}
    dated = {t for t, row in known.items() if dates.items() <= row.options.items()}
    timed = {t for t, vr in vrs.items() if vr in ("DA", "DT", "TM")}
    # Zone, frame origin, certified; not: birth date and time, GPS time.
    assert dated - timed == {0x00080201, 0x00340007, 0x04000310}
    assert timed - dated == {0x00100030, 0x00100032, 0x00160077}
    kept = {t for t, row in known.items() if row.options.get(Option.UIDS) == "K"}
    uids = {t for t, vr in vrs.items() if vr == "UI"}
    references = {0x00081110, 0x00081111, 0x00081120, 0x00081140, 0x00082112}
    assert kept - uids == references
    assert uids - kept == {0x0040A124, 0x04000100}  # a UID in a report, of a signature
    titles = {t for t, vr in vrs.items() if vr == "AE"}
    assert {known[t].options[Option.DEVICE] for t in titles} == {"C"}


# Read from the standard by eye.
BY_HAND = [
    (0x00100010, "PN", "Z", {}),
    (0x00100020, "LO", "Z/D", {}),
    (0x00100030, "DA", "Z", {}),
    (0x00101010, "AS", "X", {Option.PATIENT: "K"}),
    (0x00080020, "DA", "Z", {Option.FULL_DATES: "K", Option.MODIFIED_DATES: "C"}),
    (0x0008103E, "LO", "X", {Option.DESCRIPTORS: "C"}),
    (0x00181030, "LO", "X/D", {Option.DESCRIPTORS: "C"}),
    (0x00080080, "LO", "X/Z/D", {Option.INSTITUTION: "K"}),
    (0x00081010, "SH", "X/Z/D", {Option.DEVICE: "K"}),
    (0x00181002, "UI", "U", {Option.UIDS: "K", Option.DEVICE: "K"}),
    (0x00081140, "SQ", "X/Z/U*", {Option.UIDS: "K"}),
    (0x00400275, "SQ", "X", {Option.DESCRIPTORS: "C"}),
    (0x00181200, "DA", "X", dict.fromkeys((Option.FULL_DATES, Option.DEVICE), "K")
     | {Option.MODIFIED_DATES: "C"}),
    (0x00080055, "AE", "X", {Option.DEVICE: "C"}),
    (0x0040A124, "UI", "U", {}),
    (0x00420011, "OB", "D", {}),
]  # fmt: skip


@pytest.mark.parametrize(("tag", "vr", "basic", "options"), BY_HAND)
def test_rows_read_by_hand(tag, vr, basic, options):
    assert table()[tag].basic == basic
    assert dict(table()[tag].options) == options


@pytest.mark.parametrize(
    ("tag", "vr", "options", "expected"),
    [
        (0x00100010, "PN", set(Option), Action.EMPTY),
        (0x00101010, "AS", (), Action.REMOVE),
        (0x00101010, "AS", (Option.PATIENT,), Action.KEEP),
        (0x00080020, "DA", (), Action.EMPTY),
        (0x00080020, "DA", (Option.MODIFIED_DATES,), Action.SHIFT),
        (0x00080020, "DA", (Option.FULL_DATES,), Action.KEEP),
        (0x00080023, "DA", (), Action.DUMMY),
        (0x00180010, "LO", (), Action.EMPTY),
        (0x0008103E, "LO", (Option.DESCRIPTORS,), Action.CLEAN),
        (0x00400275, "SQ", (Option.DESCRIPTORS,), Action.REMOVE),
        (0x00080055, "AE", (Option.DEVICE,), Action.REMOVE),
        (0x00081140, "SQ", (), Action.REFERENCES),
        (0x0020000E, "UI", (), Action.UID),
        (0x0020000E, "UI", (Option.UIDS,), Action.KEEP),
        (0x00081072, "SQ", (), Action.REMOVE),
        (0x00080082, "SQ", (), Action.EMPTY),
        (0x00080080, "LO", (), Action.DUMMY),
        (0x00080201, "SH", (Option.MODIFIED_DATES,), Action.REMOVE),
    ],
)
def test_actions(tag, vr, options, expected):
    assert action(table()[tag], vr, options) is expected


def test_every_basic_action_is_understood():
    for row in table().values():
        assert basic_action(row, "LO") in Action
        assert basic_action(row, "SQ") in Action


def test_codes_are_those_of_cid_7050():
    assert sorted(code for code, _ in CODES.values()) == [str(n) for n in range(113105, 113113)]


def test_safe_private_numbers_have_the_vr_that_pydicom_knows():
    assert len(safe_private()) == 55
    unlike = {
        (creator, group, element): vr
        for (creator, group, element), vr in safe_private().items()
        if private_dictionary_VR(group << 16 | 0x1000 | element, creator) != vr
    }
    assert unlike == {("ELSCINT1", 0x01F1, 0x26): "DS"}  # FD in pydicom, DS in the standard
