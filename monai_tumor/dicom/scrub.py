"""De-identify one data set, in place: the table of PS3.15 E.1-1, and what it does not list.

Beyond the table, and stricter: whatever could name a person and that no option retains is removed,
namely names, free text, dates, private and unknown elements, curves and overlays as whole groups,
everything else about patient, visit and order, and elements that hold a word of the patient's own
name or ID.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement, empty_value_for_VR
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence
from pydicom.tag import BaseTag

from monai_tumor import __version__
from monai_tumor.dicom.profile import (
    BASIC,
    CODES,
    EDITION,
    Action,
    Option,
    action,
    basic_action,
    safe_private,
    table,
)
from monai_tumor.dicom.pseudonyms import Pseudonyms, shifted
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.vocabulary import known_words

_DEEPEST = 24
_DUMMY_TEXT = "ANONYMIZED"
_DUMMIES: dict[str, Any] = {
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "AS": "000Y",
    "DS": "0",
    "IS": "0",
    "UR": "urn:none",
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), _DUMMY_TEXT),
    **dict.fromkeys(("OB", "UN"), b"\0\0"),
}
_TIMES = ("DA", "DT", "TM")
_NAMING = ("PN", "LT", "ST", "UT", "UC", "UR", "AE", "AS", "UN")
_WORDS = ("LO", "SH", "UC", "CS")
_TEXTS = (*_WORDS, "PN", "LT", "ST", "UT", "UR", "AE")
_NUMBERS = re.compile(rb"[-+0-9.eE \\\0]*")
_CONTROL = re.compile(rb"[\x00-\x1a\x1c-\x1f]")  # not escape, which switches character sets
_AGE = re.compile(r"[0-9]{3}[DWMY]")
_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "AT": 4, "SV": 8, "UV": 8}
_GROUPS_OF_FILES = (0x0000, 0x0002, 0x0004, 0x0006)  # commands, meta information, directories
# Patient, order, visit, waveforms and voices, signatures and encrypted originals, results: what the
# table does not list of these is not kept.
_GROUPS_NOT_KEPT = frozenset({0x0010, 0x0032, 0x0038, 0x003A, 0x0400, 0x4008, 0x5400})
_DESCRIBING = re.compile(
    "Description|Comment|Label|Explanation|Notes|OrderNumber|Identification|Location|DeviceID"
    "|ConfidentialityCode|DeidentificationMethod"
)
_BYTES_KEPT_IN = (0x0028, 0x0066, 0x7FE0)  # palettes and tables, surfaces, pixels
# Read by every decoder and viewer; a word of a name in them is a coincidence.
_STRUCTURE = frozenset(
    {
        "SpecificCharacterSet",
        "ImageType",
        "Modality",
        "PatientPosition",
        "PhotometricInterpretation",
    }
)
_OF_THE_PATIENT = (
    "PatientName",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
)


@dataclass(frozen=True)
class Patient:
    """Whose data set it is.

    Attributes:
        key: what tells patients apart in the input; never written.
        words: parts of the names and IDs, in small letters; never written.
    """

    key: str
    words: frozenset[str]


def patient_of(ds: Dataset) -> Patient:
    """Whose data set this is: by patient ID, else by name and birth date, else by study."""
    identity = _text(ds, "PatientID").strip()
    name = f"{_text(ds, 'PatientName')} {_text(ds, 'PatientBirthDate')}".strip()
    key = identity or name or _text(ds, "StudyInstanceUID") or _text(ds, "SOPInstanceUID")
    words: set[str] = set()
    for keyword in _OF_THE_PATIENT:
        words |= _parts(_text(ds, keyword))
    return Patient(key, frozenset(words))


def _parts(text: str) -> set[str]:
    """The words of `text` that may name somebody: 3 letters or more, or 5 digits or more."""
    words = {word for word in re.split(r"[\W_]+", text.lower()) if len(word) > 2}
    return {word for word in words if not word.isdigit() or len(word) > 4}


class Scrubber:
    """De-identifies data sets with one choice of options and one salt."""

    def __init__(self, options: Collection[Option], pseudonyms: Pseudonyms):
        self._options = frozenset(options)
        self._pseudonyms = pseudonyms

    def scrub(self, ds: Dataset) -> str:
        """De-identify `ds` in place; returns the pseudonym of its patient.

        Raises:
            RefusalError: sequences nest too deep.
        """
        patient = patient_of(ds)
        self._walk(ds, patient, 0)
        pseudonym = self._pseudonyms.patient(patient.key)
        ds.PatientName = ds.PatientID = pseudonym
        self._record(ds)
        return pseudonym

    def _record(self, ds: Dataset) -> None:
        """Say what was done, as PS3.15 E.1.1 asks."""
        methods = [BASIC, *(CODES[option] for option in Option if option in self._options)]
        items = []
        for value, meaning in methods:
            item = Dataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
            items.append(item)
        ds.PatientIdentityRemoved = "YES"
        ds.DeidentificationMethod = [f"monai_tumor {__version__}", f"DICOM PS3.15 {EDITION}"]
        ds.DeidentificationMethodCodeSequence = DicomSequence(items)
        ds.LongitudinalTemporalInformationModified = (
            "UNMODIFIED"
            if Option.FULL_DATES in self._options
            else "MODIFIED"
            if Option.MODIFIED_DATES in self._options
            else "REMOVED"
        )

    def _walk(self, ds: Dataset, patient: Patient, depth: int) -> None:
        if depth > _DEEPEST:
            raise RefusalError(Reason.NESTED_TOO_DEEP, f"Sequences nest over {_DEEPEST} deep.")
        self._private(ds)
        for tag in list(ds.keys()):
            if not tag.is_private:
                self._element(ds, tag, patient, depth)

    def _private(self, ds: Dataset) -> None:
        """Remove private elements, but for safe numbers where they are to be retained."""
        kept: set[BaseTag] = set()
        if Option.SAFE_PRIVATE in self._options:
            for tag in [t for t in ds.keys() if t.is_private and t.element > 0xFF]:  # noqa: SIM118
                creator = BaseTag(tag.group << 16 | tag.element >> 8)
                owner = _text(ds, creator).strip()
                vr = safe_private().get((owner, tag.group, tag.element & 0xFF))
                if vr is not None and _is_number(ds, tag, vr):
                    kept |= {tag, creator}
        for tag in list(ds.keys()):
            if tag.is_private and tag not in kept:
                del ds[tag]

    def _element(self, ds: Dataset, tag: BaseTag, patient: Patient, depth: int) -> None:
        unknown = not dictionary_has_tag(tag) and tag not in table()
        if unknown or tag.group in _GROUPS_OF_FILES:
            del ds[tag]
            return
        vr = _vr(ds, tag)
        row = table().get(tag)
        done = self._beyond(tag, vr) if row is None else action(row, vr, self._options)
        self._do(done, ds, tag, vr, patient, depth)

    def _beyond(self, tag: BaseTag, vr: str) -> Action:
        """What to do with an element that the table does not list."""
        if tag.group in _GROUPS_NOT_KEPT or tag.group >> 8 in (0x50, 0x60) or tag.element == 0:
            return Action.REMOVE
        if vr == "UI":
            return Action.KEEP if Option.UIDS in self._options else Action.UID
        if vr in _TIMES:
            if Option.FULL_DATES in self._options:
                return Action.KEEP
            return Action.SHIFT if Option.MODIFIED_DATES in self._options else Action.REMOVE
        if keyword_for_tag(tag) == "SegmentLabel":  # of type 1 in a segmentation
            return Action.DUMMY
        if vr in ("LO", "SH") and _DESCRIBING.search(keyword_for_tag(tag)):
            return Action.EMPTY  # some are of type 2
        if vr in _NAMING:
            return Action.REMOVE
        if vr[0] == "O" and tag.group not in _BYTES_KEPT_IN:
            return Action.REMOVE
        return Action.KEEP

    def _do(
        self, done: Action, ds: Dataset, tag: BaseTag, vr: str, patient: Patient, depth: int
    ) -> None:
        if done is Action.REMOVE:
            del ds[tag]
        elif done is Action.EMPTY:
            ds[tag] = DataElement(tag, vr, [] if vr == "SQ" else empty_value_for_VR(vr))
        elif done is Action.DUMMY:
            self._dummy(ds, tag, vr)
        elif vr == "SQ":
            items = ds[tag].value
            if isinstance(items, DicomSequence):
                for item in items:
                    self._walk(item, patient, depth + 1)
            else:
                del ds[tag]
        elif vr == "UI":
            self._uids(ds, tag, keep=done is Action.KEEP)
        elif done is Action.SHIFT or (done is Action.KEEP and vr in _TIMES):
            days = 0 if done is Action.KEEP else self._pseudonyms.days(patient.key)
            self._dates(ds, tag, vr, days)
        elif done is Action.CLEAN:
            cleaned = known_words(_text(ds, tag), patient.words)
            if cleaned:
                ds[tag] = DataElement(tag, vr, cleaned)
            else:
                self._fall_back(ds, tag, vr)
        elif not _is_sound(ds, tag, vr) or self._names(ds, tag, vr, patient):
            self._fall_back(ds, tag, vr)

    def _fall_back(self, ds: Dataset, tag: BaseTag, vr: str) -> None:
        """What the Basic Profile does with an element whose value cannot be kept."""
        row = table().get(tag)
        done = Action.REMOVE if row is None else basic_action(row, vr)
        if done is Action.DUMMY:
            self._dummy(ds, tag, vr)
        elif done is Action.EMPTY:
            ds[tag] = DataElement(tag, vr, empty_value_for_VR(vr))
        else:
            del ds[tag]

    def _dummy(self, ds: Dataset, tag: BaseTag, vr: str) -> None:
        if vr == "UI":
            self._uids(ds, tag, keep=False)
        elif vr == "SQ":
            ds[tag] = DataElement(tag, vr, _dummy_items(tag))
        elif vr in _DUMMIES:
            ds[tag] = DataElement(tag, vr, _DUMMIES[vr])
        else:
            ds[tag] = DataElement(tag, vr, empty_value_for_VR(vr))

    def _uids(self, ds: Dataset, tag: BaseTag, keep: bool) -> None:
        old = _values(ds, tag)
        if keep and all(re.fullmatch(r"[0-9.]{0,64}", uid) for uid in old):
            return
        ds[tag] = DataElement(tag, "UI", [self._pseudonyms.uid(uid) for uid in old])

    def _dates(self, ds: Dataset, tag: BaseTag, vr: str, days: int) -> None:
        new = [shifted(value, vr, days) if value else "" for value in _values(ds, tag)]
        if None in new:
            self._fall_back(ds, tag, vr)
        else:
            ds[tag] = DataElement(tag, vr, new)

    def _names(self, ds: Dataset, tag: BaseTag, vr: str, patient: Patient) -> bool:
        """Whether a kept element holds a word of the patient's own name or ID."""
        if vr not in _WORDS or keyword_for_tag(tag) in _STRUCTURE:
            return False
        return not patient.words.isdisjoint(_parts(_text(ds, tag)))


def _vr(ds: Dataset, tag: BaseTag) -> str:
    """The VR an element has by the dictionary; where that leaves a choice, the one stated."""
    stated = ds.get_item(tag).VR or "UN"
    known = dictionary_VR(tag) if dictionary_has_tag(tag) else stated
    if "or" in known:
        return stated if stated in known.split(" or ") else known.split(" or ")[0]
    return known


def _is_sound(ds: Dataset, tag: BaseTag, vr: str) -> bool:
    """Whether an element to be kept holds what its VR allows: no text in the place of numbers."""
    if ds.get_item(tag).VR == "UN":
        _ = ds[tag]  # has pydicom read it by the VR that it knows
    element = ds.get_item(tag)
    if element.VR in ("UN", "SQ") or (element.VR in _TEXTS and vr not in _TEXTS):
        return False
    if vr == "AS":
        return _AGE.fullmatch(_text(ds, tag).strip()) is not None
    raw = element.value or b"" if isinstance(element, RawDataElement) else None
    if vr in ("DS", "IS"):  # where pydicom has read it, it is numbers
        return raw is None or _NUMBERS.fullmatch(raw) is not None
    # A length gone wrong makes one value of many elements.
    if vr in _SIZES:
        count = element.VM if raw is None else len(raw) // _SIZES[vr]
        most = dictionary_VM(tag)
        return not most.isdigit() or count <= int(most)
    text = _text(ds, tag).encode(errors="replace") if raw is None and vr in _WORDS else raw or b""
    return vr not in _WORDS or _CONTROL.search(text.rstrip(b"\0 ")) is None


def _is_number(ds: Dataset, tag: BaseTag, vr: str) -> bool:
    """Whether a private element holds numbers of `vr`."""
    element = ds.get_item(tag)
    if element.VR not in (None, vr):
        return False
    if vr in ("DS", "IS"):
        return _NUMBERS.fullmatch(bytes(element.value or b"")) is not None
    return True


def _values(ds: Dataset, tag: BaseTag) -> list[str]:
    value = ds[tag].value
    return [str(v or "") for v in (value if isinstance(value, MultiValue | list) else [value])]


def _text(ds: Dataset, tag: str | BaseTag) -> str:
    """An element's values as text; empty where there are none."""
    if tag not in ds:
        return ""
    value = ds[tag].value
    values = value if isinstance(value, MultiValue | list) else [value]
    return " ".join("" if v is None else str(v) for v in values)


def _dummy_items(tag: BaseTag) -> list[Dataset]:
    if not keyword_for_tag(tag).endswith("CodeSequence"):
        return []
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = "ANON", "99ANON"
    item.CodeMeaning = _DUMMY_TEXT
    return [item]
