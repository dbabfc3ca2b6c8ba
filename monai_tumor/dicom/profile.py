"""What DICOM PS3.15 asks of a de-identifier, element by element: the table and its options.

`confidentiality.csv` is Table E.1-1 of PS3.15, edition 2026d (D replace with a dummy, Z empty,
X remove, K keep, C clean, U replace the UID; options by column). All 653 elements, their actions
and options are those of that edition as PyMedPhys carries it (Apache licence), which a test holds;
the actions also those of 2026c in dicom-anonymizer 2.1.0 (BSD licence), where one row was not yet.
`safe_private.csv` holds those numbers of Table E.3.10-1 (private attributes known to be safe) that
matter in MR, CT and PET.
"""

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType

EDITION = "2026d"
BASIC = ("113100", "Basic Application Confidentiality Profile")


class Option(StrEnum):
    """What may be retained or cleaned beyond the Basic Profile; PS3.15 E.3."""

    FULL_DATES = "full-dates"
    MODIFIED_DATES = "modified-dates"
    UIDS = "uids"
    DEVICE = "device"
    INSTITUTION = "institution"
    PATIENT = "patient"
    DESCRIPTORS = "descriptors"
    SAFE_PRIVATE = "safe-private"


# Code values and meanings of PS3.16 CID 7050.
CODES: Mapping[Option, tuple[str, str]] = MappingProxyType(
    {
        Option.DESCRIPTORS: ("113105", "Clean Descriptors Option"),
        Option.FULL_DATES: (
            "113106",
            "Retain Longitudinal Temporal Information Full Dates Option",
        ),
        Option.MODIFIED_DATES: (
            "113107",
            "Retain Longitudinal Temporal Information Modified Dates Option",
        ),
        Option.PATIENT: ("113108", "Retain Patient Characteristics Option"),
        Option.DEVICE: ("113109", "Retain Device Identity Option"),
        Option.UIDS: ("113110", "Retain UIDs Option"),
        Option.SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
        Option.INSTITUTION: ("113112", "Retain Institution Identity Option"),
    }
)


class Action(Enum):
    """What to do with one element."""

    KEEP = "keep"
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "replace with a dummy value"
    UID = "replace the UID"
    REFERENCES = "keep the sequence, replace the UIDs in it"
    SHIFT = "shift the date"
    CLEAN = "keep the words that are known"


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        keyword: of the element.
        basic: the Basic Profile's action as the table writes it, such as `X/Z/D`.
        options: the action under each option that has one.
    """

    keyword: str
    basic: str
    options: Mapping[Option, str]


@cache
def table() -> Mapping[int, Row]:
    """Tag -> row; without the rows for curves, overlays and private elements, whole groups here."""
    rows = {}
    text = files("monai_tumor.dicom").joinpath("confidentiality.csv").read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        if "x" in line["tag"] or line["tag"] == "private":
            continue
        columns = {option: line[option.replace("-", "_")] for option in Option}
        chosen = {option: done for option, done in columns.items() if done}
        rows[int(line["tag"], 16)] = Row(line["keyword"], line["basic"], MappingProxyType(chosen))
    return MappingProxyType(rows)


@cache
def safe_private() -> Mapping[tuple[str, int, int], str]:
    """Creator, group and last byte of the element -> VR, of private numbers known to be safe."""
    text = files("monai_tumor.dicom").joinpath("safe_private.csv").read_text(encoding="utf-8")
    return MappingProxyType(
        {
            (line["creator"], int(line["group"], 16), int(line["element"], 16)): line["vr"]
            for line in csv.DictReader(text.splitlines())
        }
    )


# Which of the alternatives of a compound action is taken. The standard lets it depend on the type
# that the element has in its IOD; these are right for every type short of 1, and right for type 1
# wherever a dummy is among the alternatives and can be made.
_BASIC = MappingProxyType(
    {
        "X": Action.REMOVE,
        "Z": Action.EMPTY,
        "X/Z": Action.EMPTY,
        "D": Action.DUMMY,
        "X/D": Action.DUMMY,
        "X/Z/D": Action.DUMMY,
        "U": Action.UID,
        "X/Z/U*": Action.REFERENCES,
    }
)
_TIMES = ("DA", "DT", "TM")


def basic_action(row: Row, vr: str) -> Action:
    """The action of the Basic Profile alone, for an element of this VR."""
    if vr == "SQ" and row.basic in ("X/D", "X/Z/D"):
        return Action.REMOVE if row.basic == "X/D" else Action.EMPTY
    if row.basic == "Z/D":
        return Action.DUMMY if vr in _TIMES else Action.EMPTY
    return _BASIC[row.basic]


def action(row: Row, vr: str, options: Collection[Option]) -> Action:
    """The action for an element, given its row and the options that were chosen.

    Where an option says "clean" and there is nothing here that could (station and AE names, free
    text about the patient, structured content), the basic action is taken.
    """
    chosen = {option: row.options[option] for option in options if option in row.options}
    if "K" in chosen.values():
        return Action.KEEP
    if Option.MODIFIED_DATES in chosen and vr in _TIMES:
        return Action.SHIFT
    if Option.DESCRIPTORS in chosen and vr in ("LO", "SH", "ST", "LT", "UT", "UC"):
        return Action.CLEAN
    return basic_action(row, vr)
