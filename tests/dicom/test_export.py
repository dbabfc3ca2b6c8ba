"""What is written back to DICOM, read by pydicom, highdicom, dciodvfy and dcmqi."""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import program
from pydicom import dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from dicom.generator import Grid, classic, mosaic, save, save_all
from dicom.masks import (
    GRIDS,
    TURNED,
    WEIGHTS,
    label_map,
    mask_on,
    points_in,
    points_of,
    series,
    shuffled,
)
from monai_tumor.dicom import KeyImage, NothingConvertedError, Reason, RefusalError, export
from monai_tumor.dicom.files import quiet
from monai_tumor.errors import DependencyError, SchemeError, StudyError
from monai_tumor.labels import Region

CODES = {2: "79654002", 1: "C81175", 4: "C113842"}  # FACTS: oedema, non-enhancing, enhancing


def draw(image, labels, affine):
    assert image.shape == labels.shape
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:10] = (255, 0, 7)
    return [KeyImage("axial", picture, ("L", "P")), KeyImage("coronal", picture, ("L", "F"))]


DIAMETERS = {Region.WT: (14.25, 9.5)}


@pytest.fixture(scope="module", params=[*GRIDS, "enhanced", "enhanced and tilted"])
def case(request, tmp_path_factory):
    """Source folder, mask and what was written for it."""
    name, tmp_path = request.param, tmp_path_factory.mktemp("case")
    if name.startswith("enhanced"):
        source = shuffled(tmp_path / "in", Grid(tilt=0.7 * ("tilted" in name)))
    else:
        source = series(tmp_path / "in", Grid(**GRIDS[name]), Manufacturer="Acme")
    mask = mask_on(source, tmp_path / "nifti")
    made = export(mask, source, tmp_path / "out", draw=draw, diameters=DIAMETERS)
    return name, source, mask, made


def test_every_voxel_is_where_the_mask_has_it(case):
    _, _, mask, made = case
    found = points_in(made.segmentation)
    assert made.exact
    assert set(found) == set(CODES.values())
    for value, code in CODES.items():
        expected = points_of(mask.labels, mask.affine, value)
        assert found[code] == pytest.approx(expected, abs=0.011)


def test_frames_refer_to_the_slices_they_lie_on(case):
    name, source, mask, made = case
    with quiet():
        images = [dcmread(path) for path in source.iterdir()]
    seg = highdicom.seg.segread(made.segmentation)
    assert {seg.FrameOfReferenceUID} == {image.FrameOfReferenceUID for image in images}
    number = {4: 3, 2: 2, 1: 1}
    numbered = np.vectorize(lambda v: number.get(v, 0))(mask.labels)
    if name.startswith("enhanced"):
        (image,) = images
        frames = image.PerFrameFunctionalGroupsSequence
        depth = [frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in frames]
        found = seg.get_pixels_by_source_frame(
            image.SOPInstanceUID,
            list(range(1, len(frames) + 1)),
            combine_segments=True,
            assert_missing_frames_are_empty=True,
        )
    else:
        normal = np.cross(*np.reshape(images[0].ImageOrientationPatient, (2, 3)).astype(float))
        depth = [float(np.dot(normal, image.ImagePositionPatient)) for image in images]
        found = seg.get_pixels_by_source_instance(
            [image.SOPInstanceUID for image in images],
            combine_segments=True,
            assert_missing_frames_are_empty=True,
        )
    assert np.array_equal(found[np.argsort(depth)].T, numbered)


def test_dciodvfy_has_no_errors(case):
    dciodvfy = program("dciodvfy", "apt-get install dicom3tools")
    for path in case[3].files:
        done = subprocess.run([dciodvfy, "-new", path], capture_output=True, text=True)
        said = [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line]
        assert said == [], path.name


def test_dcmqi_reads_the_mask_back(case, tmp_path):
    name, _, mask, made = case
    reader = program("segimage2itkimage", "pip install dcmqi")
    if name == "tilted backwards":
        pytest.skip("dcmqi cannot read frames that drift towards the first row (docs/dicom.md)")
    command = [reader, "--inputDICOM", made.segmentation, "--outputDirectory", tmp_path]
    subprocess.run([*command, "-t", "nii", "-p", "x"], check=True, capture_output=True)
    first = np.argwhere(mask.labels).min(axis=0)[2]  # dcmqi reads from the first frame that is set
    for number, value in ((1, 1), (2, 2), (3, 4)):
        image = nib.load(tmp_path / f"x-{number}.nii.gz")
        found = np.asarray(image.dataobj) > 0
        theirs = points_of(found, image.affine, True)
        if "tilted" in name:  # ITK has no shear: the voxels are right, dcmqi's affine is not
            inside = np.swapaxes(found, 0, 0)
            assert np.array_equal(
                inside, mask.labels[:, :, first : first + found.shape[2]] == value
            )
        else:
            assert theirs == pytest.approx(points_of(mask.labels, mask.affine, value), abs=0.011)


def test_report_has_the_volumes_and_shares_the_tracking(case):
    _, source, mask, made = case
    seg = dcmread(made.segmentation)
    report = highdicom.sr.srread(made.report)
    groups = {
        str(group.tracking_identifier): group
        for group in (
            *report.content.get_volumetric_roi_measurement_groups(),
            *report.content.get_image_measurement_groups(),
        )
    }
    voxel = abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    values = {
        "necrotic or non-enhancing core": {1},
        "oedema": {2},
        "enhancing tumour": {4},
        "TC": {1, 4},
        "WT": {1, 2, 4},
        "ET": {4},
    }
    assert set(groups) == set(values)
    for name, labels in values.items():
        (volume,) = groups[name].get_measurements(name=codes.SCT.Volume)
        assert volume.unit.value == "mL"
        expected = np.isin(mask.labels, list(labels)).sum() * voxel
        assert volume.value == pytest.approx(expected, abs=6e-4)
    (longest,) = groups["WT"].get_measurements(name=codes.SCT.LongAxis)
    (across,) = groups["WT"].get_measurements(name=codes.SCT.ShortAxis)
    assert (longest.value, across.value) == DIAMETERS[Region.WT]
    assert groups["TC"].get_measurements(name=codes.SCT.LongAxis) == []
    for segment in seg.SegmentSequence:
        group = groups[segment.TrackingID]
        assert group.tracking_uid == segment.TrackingUID
        assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert group.finding_type == highdicom.sr.CodedConcept.from_dataset(
            segment.SegmentedPropertyTypeCodeSequence[0]
        )
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    named = {
        item.ReferencedSOPInstanceUID
        for one in evidence.ReferencedSeriesSequence
        for item in one.ReferencedSOPSequence
    }
    with quiet():
        sources = {dcmread(path).SOPInstanceUID for path in source.iterdir()}
    assert named == {*sources, seg.SOPInstanceUID}


def test_patient_study_and_maker(case):
    _, source, _, made = case
    with quiet():
        image = dcmread(next(source.iterdir()))
    for path in made.files:
        file = dcmread(path)
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID"):
            assert file[keyword].value == image[keyword].value
        assert file.Manufacturer == "monai_tumor"
        assert file.SeriesInstanceUID != image.SeriesInstanceUID
        assert (file.ContentDate, file.ContentTime) == ("20260102", "030405.000678")
    assert len({dcmread(path).SeriesInstanceUID for path in made.files}) == 3
    assert len({dcmread(path).SeriesInstanceUID for path in made.key_images}) == 1


def test_segments_say_what_they_are_and_what_made_them(case):
    seg = dcmread(case[3].segmentation)
    assert seg.SegmentationType == "BINARY"
    assert seg.SegmentsOverlap == "NO"
    for segment in seg.SegmentSequence:
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert segment.AnatomicRegionSequence[0].CodeValue == "12738006"
        (made_by,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == ("brats_segresnet", "0.1.0")
        assert made_by.AlgorithmParameters == f"weights SHA-256={WEIGHTS}"
        assert segment.SegmentAlgorithmType == "AUTOMATIC"


def test_thickness_is_the_measured_distance(tmp_path):
    """The generator's files state 99 mm; the slices are 3 mm apart."""
    source = series(tmp_path / "in", Grid())
    made = export(mask_on(source, tmp_path / "nifti"), source, tmp_path / "out")
    (shared,) = dcmread(made.segmentation).SharedFunctionalGroupsSequence
    (measures,) = shared.PixelMeasuresSequence
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (3, 3)
    assert measures.PixelSpacing == [2, 1.5]


orientations = st.sampled_from([(1, 0, 0, 0, 1, 0), TURNED])
reordered = st.tuples(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([1, -1])] * 3))


@settings(max_examples=8, deadline=None)
@given(orientations, reordered, st.floats(-1, 1))
def test_a_mask_in_any_order_of_axes(orientation, order, tilt):
    axes, signs = order
    with tempfile.TemporaryDirectory() as folder:
        source = series(Path(folder) / "in", Grid(orientation=orientation, tilt=tilt, count=6))
        mask = mask_on(source, Path(folder) / "nifti")
        turn = np.column_stack([axes, np.array(signs)[list(axes)]])
        turned = nib.Nifti1Image(mask.labels, mask.affine).as_reoriented(turn)
        other = replace(mask, labels=np.asarray(turned.dataobj), affine=turned.affine)
        made = export(other, source, Path(folder) / "out")
        found = points_in(made.segmentation)
    for value, code in CODES.items():
        expected = points_of(mask.labels, mask.affine, value)
        assert found[code] == pytest.approx(expected, abs=0.011)


def test_the_same_mask_gives_the_same_bytes_and_another_does_not(tmp_path):
    source = series(tmp_path / "in", Grid())
    mask = mask_on(source, tmp_path / "nifti")
    first = export(mask, source, tmp_path / "a", draw=draw)
    again = export(mask, source, tmp_path / "b", draw=draw)
    assert len(first.files) == 4
    for one, other in zip(first.files, again.files, strict=True):
        assert one.read_bytes() == other.read_bytes()
    labels = mask.labels.copy()
    labels[5, 5, 5] = 0
    changed = export(replace(mask, labels=labels), source, tmp_path / "c", draw=draw)
    assert not set(first.uids.values()) & set(changed.uids.values())
    later = replace(mask, made=mask.made.replace(year=2027))
    assert not set(first.uids.values()) & set(export(later, source, tmp_path / "d").uids.values())


def test_files_of_ours_are_replaced_and_no_others(tmp_path):
    source = series(tmp_path / "in", Grid())
    mask = mask_on(source, tmp_path / "nifti")
    first = export(mask, source, tmp_path / "out")
    export(replace(mask, made=mask.made.replace(year=2027)), source, tmp_path / "out")
    assert dcmread(first.report).ContentDate == "20270102"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["case_seg.dcm", "case_sr.dcm"]
    first.report.write_text("a letter")
    before = first.segmentation.read_bytes()
    with pytest.raises(RefusalError, match="was not written by monai_tumor") as refused:
        export(mask, source, tmp_path / "out")
    assert refused.value.reason is Reason.NOT_OURS
    assert first.report.read_text() == "a letter"
    assert first.segmentation.read_bytes() == before


def test_without_tumour_there_is_a_report_of_nothing(tmp_path):
    source = series(tmp_path / "in", Grid())
    labels = np.zeros((10, 12, 7), np.uint8)
    made = export(mask_on(source, tmp_path / "nifti", labels), source, tmp_path / "out", draw=draw)
    assert made.segmentation is None
    assert made.files == (tmp_path / "out" / "case_sr.dcm",)
    assert "no tumour in the mask" in str(made)
    groups = highdicom.sr.srread(made.report).content.get_image_measurement_groups()
    assert [m.value for g in groups for m in g.get_measurements()] == [0] * 6


def test_a_tissue_that_is_absent_has_no_segment(tmp_path):
    source = series(tmp_path / "in", Grid())
    labels = np.where(label_map((10, 12, 7)) == 2, 0, label_map((10, 12, 7)))
    made = export(mask_on(source, tmp_path / "nifti", labels), source, tmp_path / "out")
    assert set(points_in(made.segmentation)) == {"C81175", "C113842"}
    assert made.tissues_ml["oedema"] == 0


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("ped2024", ["C113842", "C81175", "367643001", "79654002"]),
        ("brats2024", ["C81175", "79654002", "C113842", "CAVITY"]),
        ("msd", ["79654002", "C81175", "C113842"]),
    ],
)
def test_codes_of_other_schemes(scheme, expected, tmp_path):
    source = series(tmp_path / "in", Grid())
    labels = np.zeros((10, 12, 7), np.uint8)
    labels[:4, 2, 3] = range(1, 5)
    if scheme == "msd":
        labels[3, 2, 3] = 0
    made = export(
        mask_on(source, tmp_path / "nifti", labels, scheme=scheme, algorithm=None),
        source,
        tmp_path / "out",
    )
    segments = dcmread(made.segmentation).SegmentSequence
    assert [s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in segments] == expected
    assert [s.SegmentNumber for s in segments] == list(range(1, len(expected) + 1))
    assert {s.SegmentAlgorithmType for s in segments} == {"MANUAL"}


def test_resampled_when_asked(tmp_path):
    source = series(tmp_path / "in", Grid())
    mask = mask_on(source, tmp_path / "nifti")
    fine = np.repeat(np.repeat(np.repeat(mask.labels, 2, 0), 2, 1), 2, 2)
    affine = mask.affine @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] -= mask.affine[:3, :3] @ [0.25, 0.25, 0.25]
    finer = replace(mask, labels=fine, affine=affine)
    with pytest.raises(RefusalError) as refused:
        export(finer, source, tmp_path / "out")
    assert refused.value.reason is Reason.GRID_DIFFERS
    made = export(finer, source, tmp_path / "out", resample=True)
    assert not made.exact
    found = points_in(made.segmentation)
    for value, code in CODES.items():
        assert found[code] == pytest.approx(points_of(mask.labels, mask.affine, value), abs=0.011)


def test_malformed_values_of_the_patient_are_left_out_and_named(tmp_path):
    odd = {"PatientBirthDate": "19600000", "PatientAge": "0Y", "PatientSex": "?"}
    source = series(tmp_path / "in", Grid(), **odd)
    made = export(mask_on(source, tmp_path / "nifti"), source, tmp_path / "out", draw=draw)
    assert made.warnings == tuple(
        f"left out, as malformed in the source: {name}" for name in sorted(odd)
    )
    for path in made.files:
        file = dcmread(path)
        assert (file.PatientBirthDate, file.PatientSex, file.get("PatientAge")) == ("", "", None)
        assert file.PatientName == "Secret^Name"
    assert "0Y" not in str(made)


def _two_series(folder: Path) -> None:
    series(folder / "a", Grid())
    series(folder / "b", Grid())


def _missing(folder: Path) -> None:
    with quiet():
        files = classic(Grid())
        save_all(files[:3] + files[4:], folder)


def _without_frame_of_reference(folder: Path) -> None:
    with quiet():
        files = classic(Grid())
        for file in files:
            del file.FrameOfReferenceUID
        save_all(files, folder)


def _times(folder: Path) -> None:
    grid = Grid()
    with quiet():
        files = [f for t in (1, 2) for f in classic(grid, t * 700, TemporalPositionIdentifier=t)]
        save_all(files, folder)


def _phase(folder: Path) -> None:
    grid = Grid()
    kinds = (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])
    with quiet():
        save_all([f for n, k in enumerate(kinds) for f in classic(grid, n, ImageType=k)], folder)


def _mosaic(folder: Path) -> None:
    with quiet():
        save(mosaic(Grid()), folder / "0.dcm")


def _private_class(folder: Path) -> None:
    series(folder, Grid(), SOPClassUID="1.3.12.2.1107.5.9.1")


@pytest.mark.parametrize(
    ("build", "reason", "message"),
    [
        (_two_series, Reason.CHOOSE_SERIES, "holds 2 series"),
        (_missing, Reason.MISSING_SLICES, "1 slice"),
        (_without_frame_of_reference, Reason.NO_FRAME_OF_REFERENCE, "no frame of reference"),
        (_times, Reason.NOT_REFERENCEABLE, "one of 2 volumes over time"),
        (_phase, Reason.CHOOSE_SERIES, "makes 2 volumes, and 2 of them"),
        (_mosaic, Reason.NOT_REFERENCEABLE, "is a mosaic"),
        (lambda folder: folder.mkdir(), Reason.NO_SUCH_SERIES, "No series of images"),
        (lambda folder: None, Reason.NOT_FOUND, "No file or folder"),
        (_private_class, Reason.BAD_HEADER, "cannot be carried over"),
    ],
)
def test_refused_by_name(build, reason, message, tmp_path):
    mask = mask_on(series(tmp_path / "other", Grid()), tmp_path / "nifti")
    build(tmp_path / "in")
    with pytest.raises(RefusalError, match=message) as refused:
        export(mask, tmp_path / "in", tmp_path / "out")
    assert refused.value.reason is reason
    assert not isinstance(refused.value, NothingConvertedError)
    assert not (tmp_path / "out").exists()


def test_a_series_is_chosen_by_its_uid(tmp_path):
    one, two = Grid(), Grid(origin=(-20, -30, 40))
    series(tmp_path / "in" / "a", one)
    source = series(tmp_path / "in" / "b", two)
    mask = mask_on(source, tmp_path / "nifti")
    made = export(mask, tmp_path / "in", tmp_path / "out", series=two.uid)
    assert made.series_uid == two.uid
    with pytest.raises(RefusalError, match=r"No series '1\.2\.3\.4'"):
        export(mask, tmp_path / "in", tmp_path / "out", series="1.2.3.4")


def test_of_several_volumes_in_a_series_the_mask_chooses(tmp_path):
    """A scout across the volume under one series UID, as scanners store it."""
    grid = Grid()
    with quiet():
        scout = Grid(orientation=(0, 1, 0, 0, 0, -1), origin=(-5, -40, 30), count=1, uid=grid.uid)
        source = save_all(classic(grid), tmp_path / "volume")
        save_all([*classic(grid), *classic(scout)], tmp_path / "in")
    made = export(mask_on(source, tmp_path / "nifti"), tmp_path / "in", tmp_path / "out")
    assert made.exact


def test_results_do_not_go_among_the_source(tmp_path):
    source = series(tmp_path / "in", Grid())
    with pytest.raises(RefusalError, match="lies within the source"):
        export(mask_on(source, tmp_path / "nifti"), source, source / "results")


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.full((10, 12, 7), 3, np.uint8), SchemeError, r"\[3\] are not in scheme 'brats2021'"),
        (np.zeros((10, 12, 7)), StudyError, "must hold integers"),
        (np.zeros((10, 12), np.uint8), StudyError, "must hold integers"),
    ],
)
def test_what_is_no_label_map_is_refused(labels, error, message, tmp_path):
    source = series(tmp_path / "in", Grid())
    with pytest.raises(error, match=message):
        export(mask_on(source, tmp_path / "nifti", labels), source, tmp_path / "out")


@pytest.mark.parametrize("fault", ["shifted", "mirrored", "lost"])
def test_a_wrong_segmentation_is_not_written(fault, tmp_path, monkeypatch):
    from monai_tumor.dicom import seg

    right = seg._frames

    def wrong(job):
        frames = right(job)
        if fault == "lost":
            frames[3, 5, 4] = 0
            return frames
        return np.roll(frames, 1, axis=2) if fault == "shifted" else frames[:, :, ::-1].copy()

    monkeypatch.setattr(seg, "_frames", wrong)
    source = series(tmp_path / "in", Grid())
    with pytest.raises(RefusalError, match="disagrees with the mask") as refused:
        export(mask_on(source, tmp_path / "nifti"), source, tmp_path / "out")
    assert refused.value.reason is Reason.AUDIT_MISMATCH
    assert list((tmp_path / "out").iterdir()) == []


def test_without_highdicom_the_command_is_named(tmp_path, monkeypatch):
    source = series(tmp_path / "in", Grid())
    mask = mask_on(source, tmp_path / "nifti")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(DependencyError, match=r"pip install 'monai-tumor\[dicom\]'"):
        export(mask, source, tmp_path / "out")


def test_key_images_keep_their_pixels(case):
    picture = dcmread(case[3].key_images[0])
    assert picture.PatientOrientation == ["L", "P"]
    assert picture.BurnedInAnnotation == "NO"
    assert (picture.pixel_array[:10] == (255, 0, 7)).all()
    assert (picture.pixel_array[10:] == 0).all()


def test_results_in_words_and_json(case):
    made = case[3]
    said = made.as_dict()
    assert said["exact"] is True
    assert set(said["regions_ml"]) == {"WT", "TC", "ET"}
    assert said["sop_instance_uids"]["case_seg.dcm"] == dcmread(made.segmentation).SOPInstanceUID
    assert "voxel for voxel on series" in str(made)
    assert generate_uid(prefix=None) not in str(made)
