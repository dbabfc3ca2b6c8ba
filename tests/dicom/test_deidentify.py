"""Files in, de-identified files out: planted identifiers, unchanged geometry, refusals."""

import json
import logging
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom.generator import ENHANCED_MR, Grid, classic, enhanced, oblique, save, save_all
from monai_tumor.cli import main
from monai_tumor.dicom import Option, Reason, RefusalError, convert, deidentify
from monai_tumor.dicom.files import quiet
from monai_tumor.errors import DicomError, InputError

SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]
IN_TEXT = """
    PatientName PatientID OtherPatientNames OtherPatientIDs PatientBirthName PatientMotherBirthName
    PatientAddress PatientTelephoneNumbers PatientComments AdditionalPatientHistory Occupation
    MilitaryRank EthnicGroup IssuerOfPatientID AccessionNumber ReferringPhysicianName
    ReferringPhysicianAddress PerformingPhysicianName OperatorsName NameOfPhysiciansReadingStudy
    PhysiciansOfRecord RequestingPhysician InstitutionName InstitutionAddress
    InstitutionalDepartmentName StationName StudyDescription SeriesDescription ProtocolName StudyID
    ImageComments DeviceSerialNumber RequestedProcedureDescription PerformedProcedureStepDescription
    PerformedProcedureStepID CurrentPatientLocation ReasonForStudy MedicalAlerts
    DerivationDescription ContrastBolusAgent PatientReligiousPreference RequestingService
    ClinicalTrialSubjectID ClinicalTrialProtocolID SequenceName
""".split()  # noqa: SIM905
IN_DATES = "PatientBirthDate StudyDate SeriesDate AcquisitionDate ContentDate LastMenstrualDate"


class Plants:
    """Plants an identifier of its own in each place, all with one stem."""

    def __init__(self) -> None:
        self.planted: list[str] = []

    def text(self) -> str:
        self.planted.append(f"Zorb{len(self.planted):02d}lax")
        return self.planted[-1]

    def uid(self) -> str:
        self.planted.append(f"1.2.826.0.99.{len(self.planted)}.777")
        return self.planted[-1]

    def date(self) -> str:
        self.planted.append(f"1953{len(self.planted) % 12 + 1:02d}{len(self.planted) % 28 + 1:02d}")
        return self.planted[-1]


def plant(ds: Dataset, plants: Plants) -> None:
    """Identifiers in the data set of `ds`: plain, nested, private, unknown, in bytes."""
    name = plants.text()
    for keyword in IN_TEXT:
        setattr(ds, keyword, plants.text())
    ds.SequenceName = f"tfl {name}"
    ds.PatientName = name
    for keyword in IN_DATES.split():
        setattr(ds, keyword, plants.date())
    ds.StudyInstanceUID, ds.SeriesInstanceUID = plants.uid(), plants.uid()
    ds.SOPInstanceUID, ds.FrameOfReferenceUID = plants.uid(), plants.uid()
    ds.DeviceUID, ds.TargetFrameOfReferenceUID = plants.uid(), plants.uid()

    reference, coded, deep = Dataset(), Dataset(), Dataset()
    reference.ReferencedSOPInstanceUID, reference.PatientName = plants.uid(), plants.text()
    ds.SourceImageSequence = Sequence([reference])
    coded.CodeValue, coded.CodeMeaning = "1", f"seen by {name}"
    coded.LongCodeValue = plants.text()
    deep.PersonName, deep.InstitutionName = plants.text(), plants.text()
    deep.private_block(0x0099, plants.text(), create=True).add_new(1, "LO", plants.text())
    coded.ConceptNameCodeSequence = Sequence([deep])
    ds.ProcedureCodeSequence = Sequence([coded])
    request = Dataset()
    request.RequestedProcedureID = plants.text()
    ds.RequestAttributesSequence = Sequence([request])
    ds.OriginalAttributesSequence = Sequence([copy_of(reference, plants)])
    voice = Dataset()
    voice.MultiplexGroupLabel = plants.text()
    ds.WaveformSequence = Sequence([voice])

    block = ds.private_block(0x0029, plants.text(), create=True)
    block.add_new(0x01, "UN", plants.text().encode() + b" ")
    inner = Dataset()
    inner.PatientName = plants.text()
    block.add_new(0x02, "SQ", Sequence([inner]))
    overlay = {0x0010: ("US", 12), 0x0011: ("US", 10), 0x0040: ("CS", "G"), 0x0050: ("SS", [1, 1])}
    overlay |= {0x0100: ("US", 1), 0x0102: ("US", 0), 0x0022: ("LO", plants.text())}
    overlay |= {0x1500: ("LO", plants.text()), 0x4000: ("LT", plants.text())}
    overlay |= {0x3000: ("OW", plants.text().encode() + b"\0" * 7)}
    for number, (vr, value) in overlay.items():
        ds.add_new(0x60020000 | number, vr, value)
    ds.add_new(0x50000030, "SH", plants.text())
    ds.add_new(0x50003000, "OW", plants.text().encode() + b" ")
    ds.add_new(0xFFFCFFFC, "OB", plants.text().encode() + b" ")
    ds.add(DataElement(0x00081234, "LO", plants.text()))  # no element of the standard
    ds.add(DataElement(0x00180087, "DS", "1.5"))
    ds.PixelData = ds.PixelData + plants.text().encode() + b" "


def copy_of(item: Dataset, plants: Plants) -> Dataset:
    copy = Dataset()
    copy.update(item)
    copy.PatientID = plants.text()
    return copy


def write(ds: Dataset, path: Path, syntax, plants: Plants) -> None:
    """Write `ds` with identifiers in its preamble and meta information too."""
    save(ds, path, syntax)
    again = dcmread(path)
    again.preamble = plants.text().encode().ljust(128, b"\0")
    again.file_meta.SourceApplicationEntityTitle = plants.text()
    again.file_meta.SendingApplicationEntityTitle = plants.text()
    again.file_meta.ImplementationVersionName = plants.text()
    again.file_meta.PrivateInformationCreatorUID = plants.uid()
    again.file_meta.PrivateInformation = plants.text().encode() + b" "
    dcmwrite(path, again, enforce_file_format=True)


def content(path: Path) -> bytes:
    """The bytes of a file, and what a deflated data set holds."""
    raw = path.read_bytes()
    if DeflatedExplicitVRLittleEndian.encode() in raw[:400]:
        (length,) = struct.unpack("<I", raw[140:144])
        raw += zlib.decompress(raw[144 + length :], -zlib.MAX_WBITS)
    return raw


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda s: s.name.split(" ", 1)[0] + s.name[-12:])
@pytest.mark.parametrize("options", [[], [o for o in Option if o != Option.FULL_DATES]], ids=len)
def test_planted_identifiers_appear_nowhere(syntax, options, tmp_path, capsys, caplog):
    plants = Plants()
    ds = classic(Grid(count=1))[0]
    plant(ds, plants)
    folder, name, twin = plants.text(), plants.text(), plants.text()
    source = tmp_path / "in" / folder / f"{name}.dcm"
    write(ds, source, syntax, plants)
    (source.parent / "DICOMDIR").write_bytes(source.read_bytes())
    (source.parent / f"{twin}.txt").write_text("notes")
    (source.parent / f"{twin}.dcm").write_bytes(source.read_bytes()[:1500])
    assert len(plants.planted) >= 85
    before = content(source) + str(source).encode() + twin.encode()
    kept_by_option = {"EthnicGroup", "DeviceSerialNumber", "StationName"}
    missing = [p for p in plants.planted if p.encode() not in before]
    # Overwritten above: the names that two tests share.
    assert len(missing) <= 4, missing

    out = tmp_path / "out"
    arguments = ["deidentify", str(tmp_path / "in"), "-o", str(out), "--json"]
    for option in options:
        arguments += ["--option", option]
    with caplog.at_level(logging.DEBUG):
        assert main(arguments) == 3
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["directories_left_out"] == 1
    assert result["not_dicom"] == 1
    (written,) = [p for p in out.rglob("*") if p.is_file()]
    assert str(written.relative_to(out)) == "patient-001/study-001/series-001/00001.dcm"
    haystack = content(written) + str(written.relative_to(out)).encode()
    said = printed.out + printed.err + caplog.text
    said = said.replace(str(tmp_path), "").encode()
    retained = set()
    if options:
        retained = {str(ds[k].value) for k in kept_by_option}
        retained |= {str(ds[k].value) for k in ("InstitutionName", "InstitutionAddress")}
        retained |= {str(ds[k].value) for k in ("InstitutionalDepartmentName", "DeviceUID")}
        retained |= {p for p in plants.planted if p.startswith("1.2.826")}
        retained |= {str(ds.ProcedureCodeSequence[0].ConceptNameCodeSequence[0].InstitutionName)}
    leaks = [p for p in plants.planted if p not in retained and p.encode() in haystack]
    assert leaks == []
    assert [p for p in plants.planted if p.encode() in said] == []
    if not options:
        assert b"zorb" not in haystack.lower()
        assert b"zorb" not in said.lower()
    after = dcmread(written)
    assert after.file_meta.TransferSyntaxUID == syntax
    with quiet():  # the source has an identifier after its pixels
        assert np.array_equal(after.pixel_array, dcmread(source).pixel_array)


def voxels(folder: Path, out: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    made = convert(folder, out)
    assert all(one.refused is None for one in made), [one.message for one in made]
    images = [nib.load(one.path) for one in made]
    return [(np.asarray(image.dataobj), image.affine) for image in images]


def four_dimensional() -> Dataset:
    order = [(k, {"time": t + 1, "offset": 500 * t}) for k in (2, 0, 1) for t in (1, 0)]
    return enhanced(Grid(count=3), order)


CASES = {
    "oblique": lambda: classic(Grid(orientation=oblique(0.2, 0.3, 0.1))),
    "tilted": lambda: classic(Grid(tilt=1.0)),
    "slopes": lambda: classic(Grid(), rescale=lambda k: (0.5 + k, 100.0)),
    "signed": lambda: classic(Grid(), signed=True),
    "enhanced 4D": lambda: [four_dimensional()],
    "echoes": lambda: [
        ds
        for number, echo in enumerate((10, 90))
        for ds in classic(ECHOES, 600 * number, EchoTime=echo)
    ],
}
ECHOES = Grid()


IN_WHICH = [
    *((case, ImplicitVRLittleEndian) for case in CASES),
    *(("oblique", s) for s in SYNTAXES),
]


@pytest.mark.parametrize(("case", "syntax"), IN_WHICH)
def test_geometry_and_values_are_unchanged(case, syntax, tmp_path):
    save_all(CASES[case](), tmp_path / "in", syntax)
    deidentify(tmp_path / "in", tmp_path / "out")
    before = voxels(tmp_path / "in", tmp_path / "before")
    after = voxels(tmp_path / "out", tmp_path / "after")
    assert len(before) == len(after) >= 1
    for (values, affine), (new_values, new_affine) in zip(before, after, strict=True):
        assert np.array_equal(values, new_values)
        assert np.array_equal(affine, new_affine)


def test_files_of_one_patient_stay_together_and_keep_their_references(tmp_path):
    grid = Grid(count=3)
    files = classic(grid)
    second = classic(Grid(count=2, study=grid.study))
    for ds in second:
        reference = Dataset()
        reference.ReferencedSOPClassUID = ds.SOPClassUID
        reference.ReferencedSOPInstanceUID = files[0].SOPInstanceUID
        ds.ReferencedImageSequence = Sequence([reference])
    other = classic(Grid(count=1), PatientID="OTHER")
    save_all(files, tmp_path / "in" / "a")
    save_all(second, tmp_path / "in" / "b")
    save_all(other, tmp_path / "in" / "c")
    salt = tmp_path / "salt"
    result = deidentify(tmp_path / "in", tmp_path / "out", salt_file=salt)
    assert result.patients == 2
    places = [
        str(p.relative_to(tmp_path / "out")) for p in sorted((tmp_path / "out").rglob("*.dcm"))
    ]
    assert places == [
        *(f"patient-001/study-001/series-001/0000{n}.dcm" for n in (1, 2, 3)),
        *(f"patient-001/study-001/series-002/0000{n}.dcm" for n in (1, 2)),
        "patient-002/study-001/series-001/00001.dcm",
    ]
    new = [dcmread(tmp_path / "out" / place) for place in places]
    uids = {ds.SOPInstanceUID for ds in new}
    assert len(uids) == 6
    assert all(ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID for ds in new)
    referenced = {ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID for ds in new[3:5]}
    assert len(referenced) == 1
    assert referenced < {ds.SOPInstanceUID for ds in new[:3]}
    assert len({ds.PatientID for ds in new}) == 2
    assert len({ds.StudyInstanceUID for ds in new[:5]}) == 1

    deidentify(tmp_path / "in", tmp_path / "again", salt_file=salt)
    assert {dcmread(p).SOPInstanceUID for p in (tmp_path / "again").rglob("*.dcm")} == uids
    deidentify(tmp_path / "in", tmp_path / "else")
    assert not {dcmread(p).SOPInstanceUID for p in (tmp_path / "else").rglob("*.dcm")} & uids


def burned(**tags) -> Dataset:
    return classic(Grid(count=1), **tags)[0]


def in_bits() -> Dataset:
    ds = burned()
    ds.add_new(0x60000102, "US", 12)
    return ds


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: burned(BurnedInAnnotation="YES"), Reason.BURNED_IN),
        (lambda: burned(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), Reason.SECONDARY_CAPTURE),
        (lambda: burned(ConversionType="WSD"), Reason.SECONDARY_CAPTURE),
        (lambda: burned(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]), Reason.BURNED_IN),
        (lambda: burned(SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1"), Reason.BURNED_IN),
        (lambda: burned(Modality="US"), Reason.BURNED_IN),
        (in_bits, Reason.BURNED_IN),
    ],
)
def test_what_may_have_names_in_its_pixels_is_refused_unless_asked_for(made, reason, tmp_path):
    save(made(), tmp_path / "in" / "a.dcm")
    save(classic(Grid(count=1))[0], tmp_path / "in" / "b.dcm")
    result = deidentify(tmp_path / "in", tmp_path / "out")
    assert [one.refused for one in result.files] == [reason, None]
    assert "faces in head scans" in str(result)
    allowed = deidentify(tmp_path / "in", tmp_path / "allowed", allow_burned_in=True)
    assert not allowed.refused


@pytest.mark.parametrize(
    "storage",
    [
        "1.2.840.10008.5.1.4.1.1.30",  # parametric map: not 3
        "1.2.840.10008.5.1.4.1.1.66.4",  # segmentation: not 6
        "1.2.840.10008.5.1.4.1.1.481.2",  # dose
        "1.2.840.10008.5.1.4.1.1.128",  # PET
    ],
)
def test_classes_whose_number_only_begins_alike_are_taken(storage, tmp_path):
    save(burned(SOPClassUID=storage), tmp_path / "a.dcm")
    assert deidentify(tmp_path / "a.dcm", tmp_path / "out").written


def test_a_segmentation_keeps_its_references_and_loses_its_words(tmp_path):
    ds = burned(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG")
    segment, kind = Dataset(), Dataset()
    kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning = "1", "SCT", "Edema"
    segment.SegmentNumber, segment.SegmentLabel = 1, "Zorblax oedema"
    segment.SegmentDescription, segment.TrackingID = "of Zorblax", "Zorblax 1"
    segment.TrackingUID = "1.2.3.4"
    segment.SegmentedPropertyTypeCodeSequence = Sequence([kind])
    ds.SegmentSequence = Sequence([segment])
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "SEG", "by Zorblax", "Zorblax"
    series, instance = Dataset(), Dataset()
    series.SeriesInstanceUID = ds.SeriesInstanceUID
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = ds.SOPClassUID, "1.2.3"
    series.ReferencedInstanceSequence = Sequence([instance])
    ds.ReferencedSeriesSequence = Sequence([series])
    save(ds, tmp_path / "a.dcm")
    (one,) = deidentify(tmp_path / "a.dcm", tmp_path / "out").written
    assert b"Zorblax" not in one.path.read_bytes()
    after = dcmread(one.path)
    assert after.ReferencedSeriesSequence[0].SeriesInstanceUID == after.SeriesInstanceUID
    assert after.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Edema"
    assert after.SegmentSequence[0].TrackingUID.startswith("2.25.")


@pytest.mark.parametrize(
    "name", ["test-SR.dcm", "rtstruct.dcm", "waveform_ecg.dcm", "rtplan.dcm", "reportsi.dcm"]
)
def test_reports_and_plans_are_refused(name, tmp_path):
    with pytest.raises(RefusalError, match="not-an-image") as caught:
        deidentify(get_testdata_file(name), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_an_encapsulated_document_is_refused(tmp_path):
    ds = burned(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1")
    del ds.PixelData
    ds.EncapsulatedDocument = b"%PDF Zorblax"
    save(ds, tmp_path / "a.dcm")
    with pytest.raises(RefusalError, match="not-an-image"):
        deidentify(tmp_path / "a.dcm", tmp_path / "out")


def test_zip_archives_and_directories(tmp_path):
    path = save(burned(), tmp_path / "Zorblax.dcm")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(path, "../Zorblax/Zorblax.dcm")
    result = deidentify(tmp_path / "in.zip", tmp_path / "out")
    assert len(result.written) == 1
    assert "Zorblax" not in str(result) + json.dumps(result.as_dict())
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4 broken")
    with pytest.raises(RefusalError) as caught:
        deidentify(tmp_path / "bad.zip", tmp_path / "other")
    assert "\n" not in str(caught.value)


def test_the_output_is_a_new_folder_apart_from_the_salt(tmp_path):
    path = save(burned(), tmp_path / "a.dcm")
    with pytest.raises(DicomError, match="would lie in the output"):
        deidentify(path, tmp_path / "out", salt_file=tmp_path / "out" / "salt")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(DicomError, match="not empty"):
        deidentify(path, tmp_path / "out")
    with pytest.raises(DicomError, match="Cannot write into"):
        deidentify(path, path)
    with pytest.raises(DicomError, match="either kept"):
        deidentify(path, tmp_path / "new", options=["full-dates", "modified-dates"])
    with pytest.raises(DicomError, match="there are full-dates, modified-dates, uids"):
        deidentify(path, tmp_path / "new", options=["everything"])


def test_a_full_disk_is_an_error_and_leaves_no_part(tmp_path, monkeypatch):
    path = save(burned(), tmp_path / "a.dcm")

    def full(*args, **kwargs):
        args[0].write_bytes(b"part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["monai_tumor.dicom.deidentify"], "dcmwrite", full)
    with pytest.raises(InputError, match="No space left"):
        deidentify(path, tmp_path / "out")
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_progress(tmp_path):
    save_all(classic(Grid(count=3)), tmp_path / "in")
    steps = []
    deidentify(tmp_path / "in", tmp_path / "out", on_file=lambda *step: steps.append(step))
    assert steps == [(1, 1, 3), (2, 2, 3), (3, 3, 3)]


def test_enhanced_functional_groups_are_cleaned_at_every_frame(tmp_path):
    ds = four_dimensional()
    assert ds.SOPClassUID == ENHANCED_MR
    for frame in ds.PerFrameFunctionalGroupsSequence:
        frame.FrameContentSequence[0].FrameComments = "Zorblax"
    result = deidentify(save(ds, tmp_path / "a.dcm"), tmp_path / "out")
    raw = result.written[0].path.read_bytes()
    assert b"Zorblax" not in raw
    assert b"20200101" not in raw
