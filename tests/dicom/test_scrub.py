"""One data set, scrubbed: random ones against the table, and the rules beyond it."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset
from pydicom.datadict import DicomDictionary, dictionary_VR, tag_for_keyword
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from monai_tumor.dicom import Option, RefusalError
from monai_tumor.dicom.profile import table
from monai_tumor.dicom.pseudonyms import Pseudonyms
from monai_tumor.dicom.scrub import Scrubber, patient_of

NAME = "Zorblax"
VALUES = {
    "DA": "19530417", "TM": "112233", "DT": "19530417112233", "UI": "1.2.826.99.1", "DS": "1.5",
    "IS": "7", "AS": "067Y", "US": 3, "SS": -3, "UL": 3, "SL": -3, "FL": 1.5, "FD": 1.5, "SV": 1,
    "UV": 1, "AT": 0x00100010, "UR": "http://zorblax", "CS": "ZORBLAX", "AE": "ZORBLAX",
}  # fmt: skip
BYTES = ("OB", "OW", "OF", "OD", "OL", "OV", "UN")
# Sequences that no rule removes: items live on in them.
KEPT_SEQUENCES = ("SharedFunctionalGroupsSequence", "ReferencedImageSequence", "VOILUTSequence")
TAGS = sorted(
    tag
    for tag in {*table(), *DicomDictionary}
    if tag in DicomDictionary and tag >> 16 > 0x0006 and DicomDictionary[tag][0] != "NONE"
)


def element(tag: int) -> DataElement:
    vr = dictionary_VR(tag).split(" or ")[0]
    if vr == "SQ":
        item = Dataset()
        item.PatientName, item.CodeMeaning = NAME, "plain"
        return DataElement(tag, vr, [item])
    return DataElement(tag, vr, b"Zorblax!" if vr in BYTES else VALUES.get(vr, NAME))


@st.composite
def data_sets(draw, depth: int = 0) -> Dataset:
    ds = Dataset()
    listed = st.sampled_from([t for t in TAGS if t in table()])
    for tag in draw(st.lists(st.one_of(listed, st.sampled_from(TAGS)), max_size=20)):
        ds[tag] = element(tag)
    if draw(st.booleans()):
        group = draw(st.sampled_from([0x0009, 0x0019, 0x7FE1, 0x6001]))
        block = ds.private_block(group, draw(st.sampled_from([NAME, "SIEMENS MR HEADER"])), True)
        block.add_new(draw(st.integers(1, 255)), "LO", NAME)
    if depth < 3 and draw(st.booleans()):
        keyword = draw(st.sampled_from(KEPT_SEQUENCES))
        setattr(ds, keyword, Sequence([draw(data_sets(depth + 1))]))
    return ds


def every(ds: Dataset):
    for item in ds:
        yield item
        if item.VR == "SQ":
            for inner in item.value:
                yield from every(inner)


def scrubber(*options: Option) -> Scrubber:
    return Scrubber(options, Pseudonyms(b"s" * 32))


@given(data_sets())
@settings(max_examples=60, deadline=None)
def test_nothing_that_the_table_removes_survives_and_no_name_either(ds):
    scrubber().scrub(ds)
    for found in every(ds):
        assert not found.tag.is_private
        row = table().get(found.tag)
        if row is not None:
            assert row.basic != "X", row.keyword
        if row is not None and row.basic == "Z" and found.keyword != "PatientName":
            assert not found.value, row.keyword
        if row is not None and row.basic == "D" and found.VR not in ("SQ", "UI"):
            assert NAME.lower() not in str(found.value).lower(), row.keyword
        if found.VR == "PN":
            assert NAME not in str(found.value)
        assert "19530417" not in str(found.value)
        assert "1.2.826.99.1" not in str(found.value)


@given(data_sets(), st.sets(st.sampled_from(sorted(Option)), max_size=4))
@settings(max_examples=40, deadline=None)
def test_twice_is_once(ds, options):
    if Option.FULL_DATES in options:
        options -= {Option.MODIFIED_DATES}
    dates = options & {Option.MODIFIED_DATES}  # which go on moving
    work = scrubber(*(options - dates), Option.UIDS)
    work.scrub(ds)
    again = copy.deepcopy(ds)
    work.scrub(again)
    for keyword in ("PatientName", "PatientID"):  # pseudonyms of pseudonyms
        again[keyword] = ds[keyword]
    differing = [e.tag for e in ds if again.get(e.tag) != e and e.VR not in ("UI", "SQ")]
    assert differing == []
    assert [e.tag for e in every(again)] == [e.tag for e in every(ds)]


def test_what_was_done_is_recorded():
    ds = Dataset()
    ds.DeidentificationMethod = NAME
    scrubber(Option.MODIFIED_DATES, Option.PATIENT).scrub(ds)
    assert ds.PatientIdentityRemoved == "YES"
    assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [(c.CodeValue, c.CodingSchemeDesignator) for c in ds.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), ("113107", "DCM"), ("113108", "DCM")]
    assert NAME not in str(ds)
    for options, word in (((), "REMOVED"), ((Option.FULL_DATES,), "UNMODIFIED")):
        scrubber(*options).scrub(ds)
        assert ds.LongitudinalTemporalInformationModified == word


def test_uids_stay_consistent_from_file_to_file():
    one, other, instance, frame = Dataset(), Dataset(), generate_uid(), generate_uid()
    one.SOPInstanceUID, one.FrameOfReferenceUID = instance, frame
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    reference.ReferencedSOPInstanceUID = instance
    other.SourceImageSequence = Sequence([reference])
    other.TargetFrameOfReferenceUID = frame  # not in the table
    work = scrubber()
    work.scrub(one)
    work.scrub(other)
    item = other.SourceImageSequence[0]
    assert item.ReferencedSOPInstanceUID == one.SOPInstanceUID != instance
    assert item.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.4"
    assert other.TargetFrameOfReferenceUID == one.FrameOfReferenceUID != frame


def dated(patient: str, date: str = "20200301") -> Dataset:
    ds = Dataset()
    ds.PatientID, ds.StudyDate, ds.StudyTime = patient, date, "101112.5"
    ds.AcquisitionDateTime = date + "101112"
    ds.PatientBirthDate = "19530417"
    return ds


def test_dates_of_a_patient_move_together():
    first, later, other = dated("A"), dated(" A", "20200401"), dated("B")
    work = scrubber(Option.MODIFIED_DATES)
    for ds in (first, later, other):
        work.scrub(ds)
    days = Pseudonyms(b"s" * 32).days("A")
    import datetime

    expected = datetime.date(2020, 3, 1) - datetime.timedelta(days)
    assert first.StudyDate == f"{expected:%Y%m%d}"
    assert later.StudyDate == f"{expected + datetime.timedelta(31):%Y%m%d}"
    assert first.AcquisitionDateTime == f"{expected:%Y%m%d}101112"
    assert first.StudyTime == "101112.5"
    assert other.StudyDate != first.StudyDate
    assert not first.PatientBirthDate


def test_text_in_the_place_of_a_date_is_not_kept():
    ds = Dataset()
    ds.add(DataElement("StudyDate", "DA", NAME, validation_mode=0))
    ds.add(DataElement("AcquisitionDate", "DA", "20200101-20200202", validation_mode=0))
    scrubber(Option.FULL_DATES).scrub(ds)
    assert not ds.StudyDate
    assert not ds.AcquisitionDate


def test_options_keep_what_they_say_and_no_more():
    def made() -> Dataset:
        ds = Dataset()
        ds.PatientAge, ds.PatientSex, ds.PatientWeight, ds.Allergies = "067Y", "F", "70", NAME
        ds.StationName, ds.DeviceSerialNumber, ds.StationAETitle = "MR7", "12345", "AE7"
        ds.InstitutionName, ds.InstitutionAddress = "Hospital", "Street 5"
        ds.SeriesDescription = "Ax T1 FLAIR Dr Zorblax 4711 post"
        ds.StudyDescription = "Zorblax 1953"
        return ds

    ds = made()
    scrubber(Option.PATIENT).scrub(ds)
    assert (ds.PatientAge, ds.PatientSex, ds.PatientWeight) == ("067Y", "F", 70)
    assert "Allergies" not in ds
    assert ds.StationName == ds.InstitutionName == "ANONYMIZED"
    assert "SeriesDescription" not in ds

    ds = made()
    scrubber(Option.DEVICE, Option.INSTITUTION, Option.DESCRIPTORS).scrub(ds)
    assert (ds.StationName, ds.DeviceSerialNumber, ds.InstitutionAddress) == (
        "MR7",
        "12345",
        "Street 5",
    )
    assert "PatientAge" not in ds
    assert not ds.PatientSex
    assert "StationAETitle" not in ds
    assert ds.SeriesDescription == "Ax T1 FLAIR post"
    assert "StudyDescription" not in ds


def test_safe_private_numbers_alone():
    ds = Dataset()
    mr = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    mr.add_new(0x0C, "IS", "1000")
    mr.add_new(0x0D, "CS", "DIRECTIONAL")
    mr.add_new(0x0E, "FD", [0.1, 0.2, 0.3])
    ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", b"Zorblax!")
    ds.private_block(0x0021, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "5")
    scrubber(Option.SAFE_PRIVATE).scrub(ds)
    kept = [e for e in ds if e.tag.is_private]
    assert [(e.tag.group, e.tag.element) for e in kept] == [
        (0x0019, 0x0010),
        (0x0019, 0x100C),
        (0x0019, 0x100E),
    ]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("RequestingService", NAME),
        ("SegmentDescription", NAME),
        ("ContentDescription", NAME),
        ("PatientBirthDateInAlternativeCalendar", "1953"),
        ("ScheduledStudyStartDate", "19530417"),
        ("ReviewerName", NAME),
        ("TextValue", NAME),
        ("DeviceID", "X1"),
        ("EncryptedContent", b"Zorblax!"),
        ("HPGLDocument", b"Zorblax!"),
        ("GantryID", "G1"),
    ],
)
def test_what_may_name_somebody_goes_though_the_table_may_not_list_it(keyword, value):
    ds = Dataset()
    setattr(ds, keyword, value)
    scrubber().scrub(ds)
    assert not ds.get(keyword)


def test_a_segment_keeps_a_label_since_it_must_have_one():
    ds = Dataset()
    ds.SegmentLabel = "tumour of Zorblax"
    scrubber().scrub(ds)
    assert ds.SegmentLabel == "ANONYMIZED"


def test_words_of_the_own_name_go_wherever_they_stand():
    ds = Dataset()
    ds.PatientName, ds.PatientID = "O'Zorblax^Mary Ann", "MRN 0815-471155"
    ds.SequenceName, ds.ConvolutionKernel, ds.BodyPartExamined = "tfl_MARY", "H40s", "HEAD"
    ds.SoftwareVersions = ["a", "b 471155"]
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "1", "as Mary said"
    ds.ProcedureCodeSequence = Sequence([code])
    assert patient_of(ds).words == {"zorblax", "mary", "ann", "mrn", "471155"}
    scrubber().scrub(ds)
    assert "SequenceName" not in ds
    assert "SoftwareVersions" not in ds
    assert "CodeMeaning" not in ds.ProcedureCodeSequence[0]
    assert ds.ConvolutionKernel == "H40s"
    assert ds.BodyPartExamined == "HEAD"


def test_patients_without_an_id_are_told_apart_by_name_or_study():
    with_name, with_study = Dataset(), Dataset()
    with_name.PatientName = "Zorblax^A"
    with_study.StudyInstanceUID = "1.2.3"
    names = [scrubber().scrub(ds) for ds in (with_name, with_study)]
    assert len(set(names)) == 2
    assert with_study.PatientID == with_study.PatientName == names[1]


def test_nested_too_deep_is_refused():
    ds = top = Dataset()
    for _ in range(40):
        inner = Dataset()
        ds.SharedFunctionalGroupsSequence = Sequence([inner])
        ds = inner
    with pytest.raises(RefusalError, match="nested-too-deep"):
        scrubber().scrub(top)


def test_the_tables_own_keywords_can_all_be_scrubbed_at_once():
    ds = Dataset()
    for tag in TAGS:
        ds[tag] = element(tag)
    scrubber().scrub(ds)
    assert ds.PatientIdentityRemoved == "YES"
    assert {e.keyword for e in ds if e.VR in ("ST", "LT", "UT", "AE", "UR")} == {
        row.keyword
        for tag, row in table().items()
        if tag in DicomDictionary
        and dictionary_VR(tag) in ("ST", "LT", "UT", "AE", "UR")
        and row.basic in ("D", "Z", "X/Z", "Z/D", "X/D", "X/Z/D")
    }
    assert tag_for_keyword("PixelData") in ds
