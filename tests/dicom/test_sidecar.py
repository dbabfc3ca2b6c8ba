import json

import nibabel as nib
import numpy as np
import pytest

from dicom.generator import Grid, classic, enhanced, header, put_pixels, save, save_all
from monai_tumor.dicom import NothingConvertedError, Reason, RefusalError, Repair, convert
from monai_tumor.errors import DicomError

PROTECTED = ("Secret", "SECRET-ID", "19600102", "20200101", "Hospital", "M0ther")


def one(folder, files, **how):
    save_all(files, folder / "in")
    (made,) = convert(folder / "in", folder / "out", **how)
    return made, json.loads(made.sidecar.read_text())


def person(**tags):
    return tags | {
        "InstitutionName": "Hospital",
        "PatientSex": "F",
        "OtherPatientIDs": "M0ther",
        "AcquisitionDate": "20200101",
        "AcquisitionTime": "101112.5",
    }


def test_bids_names_and_units(tmp_path):
    tags = {"EchoTime": 12.5, "RepetitionTime": 550, "InversionTime": 900, "FlipAngle": 8}
    tags |= {"MagneticFieldStrength": 3, "ContrastBolusAgent": "Gadovist", "Manufacturer": "X"}
    made, fields = one(tmp_path, classic(Grid(), **tags))
    assert fields["EchoTime"] == 0.0125
    assert fields["RepetitionTime"] == 0.55
    assert fields["InversionTime"] == 0.9
    assert fields["FlipAngle"] == 8
    assert fields["ImageType"] == ["ORIGINAL", "PRIMARY", "M"]
    assert fields["ContrastBolusIngredient"] == "Gadovist"
    assert fields["ConversionSoftware"] == "monai_tumor"
    assert fields["Conversion"]["role"] == "t1c" == str(made.role.modality)
    assert fields["Conversion"]["stack"]["gap_mm"] == {"min": 3.0, "max": 3.0}
    assert fields["Conversion"]["audit"]["passed"] is True
    assert fields["Conversion"]["audit"]["slices"] == 7


def test_bids_names_from_functional_groups(tmp_path):
    frames = [(k, {"echo": 80.0}) for k in range(7)]
    _, fields = one(tmp_path, [enhanced(Grid(), frames[::-1])])
    assert fields["EchoTime"] == 0.08
    assert fields["Conversion"]["slices"]["frame"] == [[7, 6, 5, 4, 3, 2, 1]]


def test_slices_name_their_instances(tmp_path):
    files = classic(Grid())
    _, fields = one(tmp_path, files)
    assert fields["Conversion"]["slices"] == {
        "place": list(range(7)),
        "sop_instance_uid": [[ds.SOPInstanceUID for ds in files]],
    }


def test_repairs_and_what_was_left_out_are_recorded(tmp_path):
    files = classic(Grid())
    made, fields = one(tmp_path, files[:3] + files[4:], repair=[Repair.MISSING])
    assert made.repairs == ("1 missing slice(s) interpolated",)
    assert fields["Conversion"]["repairs"] == ["1 missing slice(s) interpolated"]
    assert fields["Conversion"]["slices"]["place"] == [0, 1, 2, 4, 5, 6]
    assert "interpolated slices: 3" in fields["Conversion"]["warnings"]


def test_no_patient_fields_unless_asked(tmp_path):
    files = classic(Grid(), **person())
    made, _ = one(tmp_path, files)
    everything = made.sidecar.read_text() + made.path.name + str(made) + json.dumps(made.as_dict())
    everything += str(nib.load(made.path).header)
    assert not [word for word in PROTECTED if word in everything]
    (kept,) = convert(tmp_path / "in", tmp_path / "kept", keep_identity=True)
    fields = json.loads(kept.sidecar.read_text())
    assert fields["PatientID"] == "SECRET-ID"
    assert fields["PatientName"] == "Secret^Name"
    assert fields["InstitutionName"] == "Hospital"


def test_bids_layout(tmp_path):
    study = {"StudyInstanceUID": "1.2.3"}
    descriptions = {1: "t1 pre", 2: "t1 gd", 3: "t2 tse", 4: "flair", 5: "flair", 6: "adc map"}
    for number, description in descriptions.items():
        tags = {"SeriesNumber": number, "SeriesDescription": description} | study
        save_all(classic(Grid(), **tags), tmp_path / "in" / str(number))
    save_all(classic(Grid(), PatientID="another"), tmp_path / "in" / "other")
    made = convert(tmp_path / "in", tmp_path / "out", bids=True)
    assert len(made) == 7
    files = sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.gz")
    )
    assert files == [
        "sub-01/ses-01/anat/sub-01_ses-01_FLAIR.nii.gz",
        "sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz",
        "sub-01/ses-01/anat/sub-01_ses-01_T2w.nii.gz",
        "sub-01/ses-01/anat/sub-01_ses-01_ce-gadolinium_T1w.nii.gz",
        "sub-01/ses-01/anat/sub-01_ses-01_run-2_FLAIR.nii.gz",
        "sub-01/ses-01/other/sub-01_ses-01_006_adc_map.nii.gz",
        "sub-02/ses-01/anat/sub-02_ses-01_T1w.nii.gz",
    ]
    about = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert about["BIDSVersion"]


def test_times(tmp_path):
    files, grid = [], Grid()
    for n in range(3):
        tags = {"TemporalPositionIdentifier": n + 1, "AcquisitionTime": f"10000{2 * n}.25"}
        files += classic(grid, 700 * n, **tags)
    made, fields = one(tmp_path, files)
    assert fields["VolumeTiming"] == [0, 2, 4]
    assert nib.load(made.path).header.get_zooms()[3] == 2.0
    assert nib.load(made.path).header.get_xyzt_units() == ("mm", "sec")
    assert len(fields["Conversion"]["slices"]["sop_instance_uid"]) == 3


def test_integers_stay_integers(tmp_path):
    kinds = {}
    for number, (name, how) in enumerate(
        {
            "int16": {},
            "uint16": {"offset": 50000},
            "int32": {"offset": 9e6, "bits": 32},
            "float32": {"rescale": lambda k: (0.5, 0.0)},
        }.items()
    ):
        save_all(classic(Grid(), SeriesNumber=number + 1, **how), tmp_path / name)
        (made,) = convert(tmp_path / name, tmp_path / "out")
        kinds[name] = str(nib.load(made.path).get_data_dtype())
    assert kinds == {name: name for name in kinds}


def test_equal_input_gives_equal_bytes(tmp_path):
    save_all(classic(Grid()), tmp_path / "in")
    made = [convert(tmp_path / "in", tmp_path / name)[0] for name in ("a", "b")]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    assert made[0].sidecar.read_bytes() == made[1].sidecar.read_bytes()


def test_other_readers_agree_on_the_affine(tmp_path):
    made, _ = one(tmp_path, classic(Grid(orientation=(0, 1, 0, 0, 0, -1))))
    image = nib.load(made.path)
    assert np.allclose(image.get_sform(), image.get_qform(), atol=1e-4)
    assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 1
    assert image.header["pixdim"][1:4] == pytest.approx([1.5, 2, 3])


@pytest.mark.parametrize("planar", [0, 1])
def test_colour(tmp_path, planar):
    grid = Grid(shape=(4, 6))
    files = []
    for k, ds in enumerate(classic(grid, PhotometricInterpretation="RGB", SamplesPerPixel=3)):
        r, c = np.indices(grid.shape)
        colors = np.stack([10 * r, 20 * c, np.full_like(r, 30 * k)], -1)
        ds.PlanarConfiguration = planar
        put_pixels(ds, np.moveaxis(colors, -1, 0) if planar else colors, 8)
        files.append(ds)
    made, _ = one(tmp_path, files)
    data = np.asanyarray(nib.load(made.path).dataobj)
    assert data.dtype.names == ("R", "G", "B")
    assert data[5, 3, 6].tolist() == (30, 100, 180)
    assert data["G"][:, 0, 0].tolist() == [0, 20, 40, 60, 80, 100]


def test_palette(tmp_path):
    files = classic(Grid(shape=(4, 6)), PhotometricInterpretation="PALETTE COLOR")
    for k, ds in enumerate(files):
        put_pixels(ds, np.arange(24).reshape(4, 6) + k, 8)
        for name, factor in (("Red", 1), ("Green", 2), ("Blue", 3)):
            setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
            table = (np.arange(256) * factor % 256 * 257).astype("<u2").tobytes()
            setattr(ds, f"{name}PaletteColorLookupTableData", table)
    made, _ = one(tmp_path, files)
    data = np.asanyarray(nib.load(made.path).dataobj)
    assert data[5, 3, 2].tolist() == (25, 50, 75)


def test_only_the_series_asked_for(tmp_path):
    first, second = Grid(uid="1.2.10"), Grid(uid="1.2.20")
    save_all(classic(first) + classic(second, 50), tmp_path / "in")
    (made,) = convert(tmp_path / "in", tmp_path / "out", series="1.2.20")
    assert made.series_uid == "1.2.20"
    with pytest.raises(RefusalError) as refused:
        convert(tmp_path / "in", tmp_path / "out", series="1.2.30")
    assert refused.value.reason is Reason.NO_SUCH_SERIES


def test_results_as_text_and_json(tmp_path):
    made, _ = one(tmp_path, classic(Grid()))
    assert str(made) == (
        "004_ax_t1.nii.gz: 10 x 12 x 7, regular, t1n: 't1' in the description, no contrast agent; "
        "448 pixels of 7 slices found in their place"
    )
    json.dumps(made.as_dict())
    files = classic(Grid())
    save_all(files[:3] + files[4:], tmp_path / "gap")
    with pytest.raises(NothingConvertedError, match=r"1 slice\(s\) are missing among 6") as refused:
        convert(tmp_path / "gap", tmp_path / "out2")
    (entry,) = refused.value.refusals
    assert entry.as_dict()["refused"] == "missing-slices"
    assert str(entry).startswith("refused: 1 slice(s) are missing")
    assert not list((tmp_path / "out2").iterdir())


def test_unknown_repair(tmp_path):
    with pytest.raises(DicomError, match="there are missing, variable, incomplete, unreadable"):
        convert(tmp_path, tmp_path / "out", repair=["everything"])


def test_spacing_that_the_header_contradicts_is_remarked(tmp_path):
    files = classic(Grid(), SpacingBetweenSlices=1.5)  # every second slice, say, was left out
    made, _ = one(tmp_path, files)
    assert "slices are 3.000 mm apart, the header says 1.500 mm" in made.warnings


def test_a_broken_file_beside_can_be_allowed(tmp_path):
    save_all(classic(Grid()), tmp_path / "in")
    (ds,) = classic(Grid(count=1))
    bad = save(ds, tmp_path / "in" / "bad.dcm")
    bad.write_bytes(bad.read_bytes()[:400])
    with pytest.raises(NothingConvertedError):
        convert(tmp_path / "in", tmp_path / "out")
    made = convert(tmp_path / "in", tmp_path / "out", repair=["unreadable"])
    assert [one.refused for one in made] == [None, Reason.UNREADABLE]
    assert made[0].warnings == ("a file beside this series cannot be read",)


def test_header_of_a_grid_is_not_enough(tmp_path):
    ds = header(Grid())
    put_pixels(ds, np.zeros((12, 10)))
    save(ds, tmp_path / "in" / "x.dcm")
    with pytest.raises(NothingConvertedError) as refused:
        convert(tmp_path / "in", tmp_path / "out")
    assert refused.value.reason is Reason.NO_POSITION


def test_a_series_asked_for_is_refused_beside_an_unreadable_file(tmp_path):
    save_all(classic(Grid(uid="1.2.10")), tmp_path / "in")
    (ds,) = classic(Grid(count=1))
    bad = save(ds, tmp_path / "in" / "bad.dcm")
    bad.write_bytes(bad.read_bytes()[:400])
    with pytest.raises(NothingConvertedError) as refused:
        convert(tmp_path / "in", tmp_path / "out", series="1.2.10")
    assert refused.value.reason is Reason.UNREADABLE
    assert [one.series_uid for one in refused.value.refusals] == ["1.2.10"]


def test_values_beyond_integers_and_float32(tmp_path):
    made, _ = one(tmp_path, classic(Grid(), RescaleSlope="1.5e37", RescaleIntercept=0))
    image = nib.load(made.path)
    assert image.get_data_dtype() == np.float64
    # The first pixel lies at (-20, -30, -10) mm: stored 4000 - 60 - 150 - 70.
    assert np.asanyarray(image.dataobj)[0, 0, 0] == 1.5e37 * 3720
