import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_studies import LPS, RAS, SHAPE, brats, head, label_map, msd, write

from monai_tumor.data.checks import check_study
from monai_tumor.data.headers import looks_whole, read_header
from monai_tumor.data.studies import find_studies
from monai_tumor.data.study import Study
from monai_tumor.imaging.grids import distance_mm

CASE = "BraTS2021_00003"
OBLIQUE = np.array(
    [[0.8, -0.6, 0, 10], [0.6, 0.8, 0, -20], [0, 0, 1.5, 5], [0, 0, 0, 1]], dtype=float
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return brats(tmp_path, CASE)


def at(folder: Path, word: str) -> Path:
    return folder / f"{folder.name}_{word}.nii.gz"


def found(folder: Path, *, voxels: bool = True) -> list[tuple[str, str, str | None]]:
    (study,) = find_studies(folder).studies
    return [(p.kind, p.message, p.repair) for p in check_study(study, voxels=voxels)]


def write_forms(path: Path, sform: np.ndarray, qform: np.ndarray) -> None:
    """The image at `path` again, with these two affines in its header."""
    image = nib.Nifti1Image(np.asanyarray(nib.load(path).dataobj), sform)
    image.set_sform(sform, 1)
    image.set_qform(qform, 1)
    nib.save(image, path)


def moved(affine: np.ndarray, millimetres: float) -> np.ndarray:
    out = affine.copy()
    out[0, 3] += millimetres
    return out


@pytest.mark.parametrize("affine", [LPS, RAS, OBLIQUE])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_sound_studies(tmp_path, affine, ending):
    assert found(brats(tmp_path, CASE, affine=affine, ending=ending)) == []


def test_sound_4d_studies(tmp_path):
    for study in find_studies(msd(tmp_path)).studies:
        assert check_study(study) == []


def test_unequal_shapes(folder):
    write(at(folder, "t2"), head(1, (8, 9, 6)))
    expected = (
        f"{CASE}/{CASE}_t2.nii.gz has shape (8, 9, 6), but {CASE}_t1.nii.gz has (8, 9, 7)."
        " Resample it."
    )
    assert found(folder) == [("shape", expected, None)]
    assert found(folder, voxels=False) == [("shape", expected, None)]


def test_a_label_on_another_grid(folder):
    write(at(folder, "seg"), label_map()[:-1])
    expected = (
        f"{CASE}/{CASE}_seg.nii.gz has shape (7, 9, 7), but {CASE}_t1.nii.gz has (8, 9, 7)."
        " Resample it."
    )
    assert found(folder) == [("shape", expected, None)]


@pytest.mark.parametrize(
    ("millimetres", "kind", "ending", "repair"),
    [
        (0.005, None, "", None),
        (0.05, "affine", " off {0}_t1.nii.gz, which is rounding.", "affine"),
        (
            3.0,
            "affine",
            " off {0}_t1.nii.gz (orientation LPS, there LPS). Resample it, or give it the right"
            " affine.",
            None,
        ),
    ],
)
@pytest.mark.parametrize("word", ["flair", "seg"])
def test_affines_that_differ(folder, word, millimetres, kind, ending, repair):
    data = label_map() if word == "seg" else head(9)
    write(at(folder, word), data, moved(LPS, millimetres))
    if kind is None:
        assert found(folder) == []
        return
    start = f"{CASE}/{CASE}_{word}.nii.gz: the affine puts it {millimetres:g} mm"
    assert found(folder) == [(kind, start + ending.format(CASE), repair)]


def test_a_flipped_label(folder):
    write(at(folder, "seg"), label_map(), RAS)
    # The far corner of 8x9 voxels lies at -7, -8 here and at +7, +8 there: hypot(14, 16) mm.
    assert found(folder) == [
        (
            "affine",
            f"{CASE}/{CASE}_seg.nii.gz: the affine puts it 21.3 mm off {CASE}_t1.nii.gz"
            " (orientation RAS, there LPS). Resample it, or give it the right affine.",
            None,
        )
    ]


def test_distance_is_that_of_the_farthest_corner():
    turned = RAS.copy()
    turned[0, 0] = 1.01
    assert distance_mm(RAS, turned, SHAPE) == pytest.approx(0.07)


def test_a_label_whose_qform_is_right(folder):
    write_forms(at(folder, "seg"), moved(LPS, 30), LPS)
    assert found(folder) == [
        (
            "affine",
            f"{CASE}/{CASE}_seg.nii.gz: the affine puts it 30 mm off {CASE}_t1.nii.gz, though its"
            " qform agrees.",
            "affine",
        )
    ]


def test_a_conflict_of_forms_that_the_other_files_settle(folder):
    write_forms(at(folder, "t2"), LPS, moved(LPS, 30))
    (study,) = find_studies(folder).studies
    (problem,) = check_study(study)
    assert problem.is_note
    assert str(problem) == (
        f"note: {CASE}/{CASE}_t2.nii.gz: qform and sform disagree by 30 mm; the sform agrees with"
        " the study's other files and is used."
    )


def test_a_conflict_of_forms_in_every_file(folder):
    for path in folder.iterdir():
        write_forms(path, LPS, RAS)
    problems = found(folder)
    assert len(problems) == 5
    assert problems[0] == (
        "form-conflict",
        f"{CASE}/{CASE}_t1.nii.gz: qform and sform disagree by 21.3 mm, so readers disagree where"
        " it lies. Write the right one into both.",
        None,
    )


def test_no_orientation_at_all(folder):
    for path in folder.iterdir():
        image = nib.Nifti1Image(np.asanyarray(nib.load(path).dataobj), None)
        nib.save(image, path)
    assert found(folder) == [
        (
            "no-orientation",
            f"{CASE}/{CASE}_t1.nii.gz does not say how it is oriented; LAS is assumed.",
            None,
        )
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_in_the_background_can_be_repaired(folder, value):
    data = head(1)
    data[0, 0, 0] = data[0, 1, 0] = value
    write(at(folder, "t1ce"), data)
    message = f"{CASE}/{CASE}_t1ce.nii.gz has 2 voxels that are NaN or infinite"
    assert found(folder) == [("nan", f"{message}, all in background.", "nan")]
    assert found(folder, voxels=False) == []


def test_nan_inside_the_head(folder):
    data = head(1)
    data[3, 3, 3] = np.nan
    write(at(folder, "t1ce"), data)
    message = f"{CASE}/{CASE}_t1ce.nii.gz has 1 voxels that are NaN or infinite"
    assert found(folder) == [("nan", f"{message}, some inside the head. Replace it.", None)]


def test_nan_under_a_labelled_tumour(folder):
    data, label = head(1), label_map()
    data[0, 0, 0], label[0, 0, 0] = np.nan, 1
    write(at(folder, "t1ce"), data)
    write(at(folder, "seg"), label)
    assert [(kind, repair) for kind, _, repair in found(folder)] == [("nan", None)]


def test_nan_in_a_channel_of_a_4d_image(tmp_path):
    root = msd(tmp_path / "Task01", training=1, test=0)
    path = root / "imagesTr" / "BRATS_001.nii.gz"
    data = nib.load(path).get_fdata()
    data[3, 3, 3, 2] = np.nan
    write(path, data)
    (study,) = find_studies(root).studies
    assert [p.message for p in check_study(study)] == [
        "imagesTr/BRATS_001.nii.gz channel 2 (t1c) has 1 voxels that are NaN or infinite, some"
        " inside the head. Replace it."
    ]


@pytest.mark.parametrize("value", [0, 7])
def test_an_empty_image(folder, value):
    write(at(folder, "flair"), np.full(SHAPE, value, np.int16))
    message = f"{CASE}/{CASE}_flair.nii.gz is empty: every voxel is {value}. Replace it."
    assert found(folder) == [("empty", message, None)]


def test_an_image_of_nan_only(folder):
    write(at(folder, "flair"), np.full(SHAPE, np.nan, np.float32))
    assert [kind for kind, _, _ in found(folder)] == ["nan", "empty"]


def test_unknown_label_values(folder):
    write(at(folder, "seg"), label_map((1, 2, 3)))
    assert found(folder) == [
        (
            "label-values",
            f"{CASE}/{CASE}_seg.nii.gz has label values [3], unknown in scheme 'brats2021' (0, 1,"
            " 2, 4). If the labels are in another scheme, state it (schemes with these values: msd,"
            " brats2023, brats2024, ped2024).",
            None,
        )
    ]
    assert found(folder, voxels=False) == []


def test_label_values_of_no_scheme(folder):
    write(at(folder, "seg"), label_map((1, 9)))
    ((_, message, _),) = found(folder)
    assert message.endswith("has label values [9], unknown in scheme 'brats2021' (0, 1, 2, 4).")


@pytest.mark.parametrize(("value", "text"), [(1.5, "1.5"), (np.nan, "nan")])
def test_labels_that_are_not_whole(folder, value, text):
    label = label_map().astype(np.float32)
    label[2, 2, 2] = value
    write(at(folder, "seg"), label)
    assert found(folder) == [
        (
            "label-not-whole",
            f"{CASE}/{CASE}_seg.nii.gz holds values that are not whole, such as {text}. Labels must"
            " not be interpolated: resample with nearest neighbour.",
            None,
        )
    ]


def test_whole_labels_may_be_stored_as_floats(folder):
    write(at(folder, "seg"), label_map().astype(np.float64))
    assert found(folder) == []


def test_no_tumour_is_worth_a_note(folder):
    write(at(folder, "seg"), label_map(()))
    (study,) = find_studies(folder).studies
    (problem,) = check_study(study)
    assert problem.is_note
    assert str(problem) == f"note: {CASE}/{CASE}_seg.nii.gz has no tumour: every voxel is 0."


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        ((8, 9, 7, 2), "dimension", "has shape (8, 9, 7, 2); a 3D image is needed here."),
        ((8, 9), "dimension", "has shape (8, 9); a 3D image is needed here."),
        ((1, 1, 1), "one-voxel", "has shape (1, 1, 1); a volume is needed."),
        ((8, 9, 1), "one-voxel", "has shape (8, 9, 1); a volume is needed."),
    ],
)
def test_wrong_dimensions(folder, shape, kind, message):
    write(at(folder, "t1"), np.ones(shape, np.float32))
    assert found(folder) == [(kind, f"{CASE}/{CASE}_t1.nii.gz {message}", None)]


def test_wrong_number_of_channels(tmp_path):
    root = msd(tmp_path / "Task01", training=1, test=0)
    write(root / "imagesTr" / "BRATS_001.nii.gz", np.ones((*SHAPE, 3), np.float32))
    (study,) = find_studies(root).studies
    assert [p.message for p in check_study(study)] == [
        "imagesTr/BRATS_001.nii.gz has 3 channels, but 4 modalities are named. State the modalities"
        " it holds."
    ]


def test_a_modality_that_no_channel_holds(tmp_path):
    path = write(tmp_path / "x.nii.gz", np.ones((*SHAPE, 2), np.float32))
    (study,) = find_studies(path, modalities="t1n,t2f").studies
    assert [p.message for p in check_study(study)] == [
        "Study 'x' has no t1c and no t2w image; it has t1n, t2f. Name all four modalities, or leave"
        " the study out."
    ]
    two = Study("x", (path, path), (*study.modalities, "t1c", "t2w"), None, None, "loose")
    assert check_study(two)[0].message == (
        "Study 'x' has 2 files for 4 modalities. Give one file a modality, or one 4D file."
    )


@pytest.mark.parametrize("voxels", [True, False])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_file_cut_short(tmp_path, ending, voxels):
    folder = brats(tmp_path, CASE, ending=ending)
    path = folder / f"{CASE}_t2{ending}"
    path.write_bytes(path.read_bytes()[:-200])
    ((kind, message, repair),) = found(folder, voxels=voxels)
    assert (kind, repair) == ("unreadable", None)
    assert message.startswith(f"{CASE}/{CASE}_t2{ending} is not a readable NIfTI file: ")
    assert message.endswith(". Fetch it again.")


def test_a_gzip_of_two_members_is_whole(folder):
    path = at(folder, "t2")
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    assert not looks_whole(path, read_header(path))
    assert found(folder, voxels=False) == []


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b", bytes(400)])
def test_a_file_that_is_not_nifti(folder, content):
    at(folder, "t1ce").write_bytes(content)
    ((kind, message, _),) = found(folder)
    assert kind == "unreadable"
    assert message.startswith(f"{CASE}/{CASE}_t1ce.nii.gz is not a readable NIfTI file: ")


def test_a_link_to_nothing(folder):
    at(folder, "t1ce").unlink()
    at(folder, "t1ce").symlink_to("nowhere")
    assert found(folder) == [
        (
            "unreadable",
            f"{CASE}/{CASE}_t1ce.nii.gz is not there, or is a link to nothing. Fetch it again.",
            None,
        )
    ]


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_an_affine_without_volume(folder, bad):
    path = at(folder, "seg")
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<f", content, 320, bad)  # srow_z[2] of the NIfTI-1 header
    path.write_bytes(gzip.compress(bytes(content)))
    assert found(folder) == [
        (
            "affine",
            f"{CASE}/{CASE}_seg.nii.gz: the affine is singular or not finite. Convert the file"
            " again.",
            None,
        )
    ]


@pytest.mark.parametrize("layout", ["2021/BraTS2021_00003", "original"])
def test_real_studies(real_data, layout):
    for study in find_studies(real_data / "brats" / layout).studies:
        assert check_study(study) == []
