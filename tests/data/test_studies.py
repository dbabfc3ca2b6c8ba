import gzip
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from small_studies import LPS, RAS, brats, head, label_map, msd, write

from monai_tumor.data.problems import Problem, refuse
from monai_tumor.data.studies import find_studies
from monai_tumor.data.study import Study, parse_modalities, study_from_files
from monai_tumor.errors import InputError, SchemeError, StudyError

ORDER = ("t1n", "t1c", "t2w", "t2f")


def messages(path, **options) -> list[str]:
    return [str(p) for p in find_studies(path, **options).problems]


def test_a_tree_of_every_layout(tmp_path):
    msd(tmp_path / "Task01_BrainTumour")
    brats(tmp_path / "HGG", "BraTS19_CBICA_AAB_1")
    brats(tmp_path / "LGG", "BraTS20_Training_002", ending=".nii")
    brats(tmp_path / "deep" / "er", "BraTS2021_00003")
    brats(tmp_path, "BraTS-GLI-00005-000", labels=(1, 2, 3), affine=RAS)
    brats(tmp_path, "BraTS-GLI-00005-001", labels=None, affine=RAS)
    brats(tmp_path, "BraTS-GLI-02062-100", labels=(1, 2, 3, 4), ending=".nii")
    found = find_studies(tmp_path)
    assert found.problems == ()
    assert [(s.study, s.subject, s.layout, s.scheme, s.label is None) for s in found.studies] == [
        ("BRATS_001", "BRATS_001", "msd", "msd", False),
        ("BRATS_002", "BRATS_002", "msd", "msd", False),
        ("BRATS_003", "BRATS_003", "msd", "msd", True),
        ("BraTS-GLI-00005-000", "BraTS-GLI-00005", "brats2023", "brats2023", False),
        ("BraTS-GLI-00005-001", "BraTS-GLI-00005", "brats2023", "brats2023", True),
        ("BraTS-GLI-02062-100", "BraTS-GLI-02062", "brats2024", "brats2024", False),
        ("BraTS19_CBICA_AAB_1", "CBICA_AAB", "brats2020", "brats2021", False),
        ("BraTS2021_00003", "BraTS2021_00003", "brats2021", "brats2021", False),
        ("BraTS20_Training_002", "BraTS20_Training_002", "brats2020", "brats2021", False),
    ]
    assert found.studies[0].modalities == ("t2f", "t1n", "t1c", "t2w")
    last = found.studies[-1]
    assert last.modalities == ORDER
    folder = tmp_path / "LGG" / "BraTS20_Training_002"
    assert last.images == tuple(
        folder / f"BraTS20_Training_002_{word}.nii" for word in ("t1", "t1ce", "t2", "flair")
    )


def test_one_study_folder(tmp_path):
    found = find_studies(brats(tmp_path, "BraTS2021_00003"))
    assert [s.study for s in found.studies] == ["BraTS2021_00003"]


def test_the_label_of_brats20_training_355(tmp_path):
    folder = brats(tmp_path, "BraTS20_Training_355", labels=None, ending=".nii")
    label = write(folder / "W39_1998.09.19_Segm.nii", label_map())
    assert find_studies(tmp_path).studies[0].label == label


def test_folders_named_like_files(tmp_path):
    folder = brats(tmp_path, "BraTS2021_00621", ending=".nii")
    for path in list(folder.iterdir()):
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / "00000057_brain.nii").write_bytes(content)
    (study,) = find_studies(tmp_path).studies
    assert study.study == "BraTS2021_00621"
    assert study.images[3] == folder / "BraTS2021_00621_flair.nii" / "00000057_brain.nii"


def test_plain_names_are_found_but_their_scheme_must_be_stated(tmp_path):
    for number, word in enumerate(("t1", "t1ce", "t2", "flair")):
        write(tmp_path / "P012" / f"{word}.nii.gz", head(number))
    found = find_studies(tmp_path)
    assert found.problems == ()
    assert (found.studies[0].study, found.studies[0].layout) == ("P012", "named")
    write(tmp_path / "P012" / "seg.nii.gz", label_map())
    assert messages(tmp_path) == [
        "The label scheme of study 'P012' (layout 'named') cannot be known from its name."
        " State it, such as scheme='brats2023'."
    ]
    assert messages(tmp_path, scheme="brats2021") == []


@pytest.mark.parametrize("case", ["BraTS-PED-00001-000", "BraTS-XYZ-00001-000"])
def test_a_scheme_that_must_be_stated(tmp_path, case):
    brats(tmp_path, case)
    (problem,) = find_studies(tmp_path).problems
    assert problem.kind == "scheme"
    assert problem.message.startswith(f"The label scheme of study {case!r} (layout 'brats-")
    found = find_studies(tmp_path, scheme="ped2024")
    assert found.problems == ()
    assert found.studies[0].scheme == "ped2024"
    with pytest.raises(SchemeError, match="Unknown label scheme 'brats'"):
        find_studies(tmp_path, scheme="brats")


def test_a_scheme_that_contradicts_the_layout_is_taken_and_said(tmp_path, caplog):
    brats(tmp_path, "BraTS-GLI-00005-000", labels=(1, 2, 3))
    brats(tmp_path, "BraTS-GLI-00006-000", labels=(1, 2, 3))
    brats(tmp_path, "BraTS-GLI-00007-000", labels=None)
    brats(tmp_path, "BraTS-XYZ-00001-000")
    found = find_studies(tmp_path, scheme="msd")
    assert {s.scheme for s in found.studies} == {"msd"}
    assert caplog.messages == [
        "The labels of 2 studies (BraTS-GLI-00005-000 and so on) are read by scheme 'msd' as "
        "asked, though their layout stands for 'brats2023'."
    ]
    caplog.clear()
    find_studies(tmp_path, scheme="brats2023")
    find_studies(tmp_path)
    assert caplog.messages == []


def test_men_rt_has_one_modality_and_its_own_label(tmp_path):
    write(tmp_path / "BraTS-MEN-RT-0003-1" / "BraTS-MEN-RT-0003-1_t1c.nii.gz", head(1))
    write(tmp_path / "BraTS-MEN-RT-0003-1" / "BraTS-MEN-RT-0003-1_gtv.nii.gz", label_map((1,)))
    assert messages(tmp_path) == [
        "Study 'BraTS-MEN-RT-0003-1' has no t1n (T1) and no t2w (T2) and no t2f (FLAIR) image;"
        " found t1c in BraTS-MEN-RT-0003-1/. Add BraTS-MEN-RT-0003-1_t1n.nii.gz,"
        " BraTS-MEN-RT-0003-1_t2w.nii.gz, BraTS-MEN-RT-0003-1_t2f.nii.gz, or leave the study out."
    ]


@pytest.mark.parametrize(
    ("case", "file", "missing"),
    [
        ("BraTS2021_00003", "BraTS2021_00003_flair.nii.gz", "t2f (FLAIR)"),
        ("BraTS-SSA-00007-000", "BraTS-SSA-00007-000-t1c.nii.gz", "t1c (contrast-enhanced T1)"),
    ],
)
def test_a_missing_modality(tmp_path, case, file, missing):
    (brats(tmp_path, case) / file).unlink()
    found = find_studies(tmp_path)
    assert found.studies == ()
    rest = ", ".join(m for m in ORDER if m != missing.split()[0])
    assert found.problems[0].message == (
        f"Study {case!r} has no {missing} image; found {rest} in {case}/. Add {file}, or leave the"
        " study out."
    )


def test_two_files_for_one_modality(tmp_path):
    folder = brats(tmp_path, "BraTS2021_00003")
    write(folder / "BraTS2021_00003_t1ce.nii", head(1))
    assert messages(tmp_path) == [
        "Study 'BraTS2021_00003' has two files for its t1c: BraTS2021_00003_t1ce.nii and"
        " BraTS2021_00003_t1ce.nii.gz in BraTS2021_00003/. Keep one."
    ]


def test_a_study_that_is_there_twice(tmp_path):
    one = brats(tmp_path / "a", "BraTS2021_00003")
    two = brats(tmp_path / "b", "BraTS2021_00003")
    name = "BraTS2021_00003_t1.nii.gz"
    found = find_studies(tmp_path)
    assert len(found.studies) == 1
    assert [p.message for p in found.problems] == [
        f"Study 'BraTS2021_00003' is there twice: {one / name} and {two / name}. Keep one."
    ]


@pytest.mark.parametrize("unpack", [False, True])
def test_the_same_image_under_two_subjects(tmp_path, unpack):
    one = brats(tmp_path, "BraTS2021_00003")
    two = brats(tmp_path, "BraTS2021_00004")
    source = one / "BraTS2021_00003_t1.nii.gz"
    target = two / "BraTS2021_00004_t1.nii.gz"
    if unpack:
        target.unlink()
        target = target.with_suffix("")
        target.write_bytes(gzip.decompress(source.read_bytes()))
    else:  # packed differently, so that the files differ but not their content
        target.write_bytes(gzip.compress(gzip.decompress(source.read_bytes()), 1))
    assert messages(tmp_path) == [
        "Subjects 'BraTS2021_00003' and 'BraTS2021_00004' have the same image:"
        f" BraTS2021_00003/{source.name} and BraTS2021_00004/{target.name}. Keep one."
    ]


def test_the_same_image_in_a_tree_without_packed_files(tmp_path):
    for case in ("BraTS2021_00003", "BraTS2021_00004", "BraTS2021_00005"):
        folder = brats(tmp_path, case, ending=".nii")
        write(folder / f"{case}_t1.nii", head(5 if case.endswith("5") else 1))
    assert messages(tmp_path) == [
        "Subjects 'BraTS2021_00003' and 'BraTS2021_00004' have the same image:"
        " BraTS2021_00003/BraTS2021_00003_t1.nii and BraTS2021_00004/BraTS2021_00004_t1.nii. Keep"
        " one."
    ]


def test_two_time_points_of_one_subject_may_share_an_image(tmp_path):
    for case in ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001"):
        folder = brats(tmp_path, case, labels=None)
        write(folder / f"{case}-t1n.nii.gz", head(1))
    assert messages(tmp_path) == []


def test_equal_checksums_are_not_yet_equal_images(tmp_path):
    for case, byte in (("BraTS2021_00003", b"a"), ("BraTS2021_00004", b"b")):
        path = brats(tmp_path, case) / f"{case}_t1.nii.gz"
        path.write_bytes(gzip.compress(byte)[:-8] + b"12345678")
    assert messages(tmp_path) == []


def test_a_linked_folder_is_read_once(tmp_path):
    folder = brats(tmp_path / "store", "BraTS2021_00003")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "case").symlink_to(folder)
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    assert [s.study for s in find_studies(tmp_path / "data").studies] == ["BraTS2021_00003"]
    assert find_studies(tmp_path).problems == ()


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    brats(tmp_path, "BraTS2021_00003")
    closed = brats(tmp_path, "BraTS2021_00004")
    scandir = os.scandir

    def refusing(path):
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = find_studies(tmp_path)
    assert [s.study for s in found.studies] == ["BraTS2021_00003"]
    assert [p.message for p in found.problems] == [
        f"Folder {closed} cannot be read: Permission denied. Mend its permissions."
    ]


def test_msd_files_that_are_not_there(tmp_path):
    root = msd(tmp_path / "Task01", test=2)
    (root / "labelsTr" / "BRATS_001.nii.gz").unlink()
    shutil.rmtree(root / "imagesTs")
    found = find_studies(root)
    assert [s.study for s in found.studies] == ["BRATS_002"]
    assert [str(p) for p in found.problems] == [
        "note: Task01/dataset.json lists 2 test images that are not there.",
        "Task01/dataset.json lists labelsTr/BRATS_001.nii.gz, which is not there; add it or unlist"
        " it.",
    ]


def test_a_4d_file_takes_its_modalities_from_the_dataset_above(tmp_path):
    root = msd(tmp_path)
    (study,) = find_studies(root / "imagesTs" / "BRATS_003.nii.gz").studies
    assert study.modalities == ("t2f", "t1n", "t1c", "t2w")
    assert study.label is None
    (study,) = find_studies(root / "imagesTr" / "BRATS_001.nii.gz").studies
    assert study.label == root / "labelsTr" / "BRATS_001.nii.gz"
    assert len(find_studies(root / "imagesTr").studies) == 2
    assert len(find_studies(root / "dataset.json").studies) == 3


def test_a_loose_4d_file_needs_its_modalities(tmp_path):
    source = msd(tmp_path / "x", training=1, test=0) / "imagesTr" / "BRATS_001.nii.gz"
    path = Path(shutil.copy(source, tmp_path / "BRATS_001.nii.gz"))
    shutil.rmtree(tmp_path / "x")
    expected = (
        f"{tmp_path.name}/BRATS_001.nii.gz has 4 channels, and which is which modality is not"
        " known. State them in channel order, such as modalities='t2f,t1n,t1c,t2w'."
    )
    assert messages(path) == [expected]
    assert messages(tmp_path) == [expected]
    (study,) = find_studies(path, modalities="FLAIR, T1w, t1gd, T2w").studies
    assert study.modalities == ("t2f", "t1n", "t1c", "t2w")
    assert (study.study, study.layout) == ("BRATS_001", "loose")


def test_files_that_say_nothing(tmp_path):
    brats(tmp_path, "BraTS2021_00003")
    path = write(tmp_path / "mask" / "atlas.nii.gz", head(5))
    (tmp_path / "mask" / "broken.nii.gz").write_bytes(b"not an image")
    found = [re.sub(r"file: .*\.", "file: WHY.", m, count=1) for m in messages(tmp_path)]
    assert found == [
        "note: mask/atlas.nii.gz is 3D and its name says no modality; not used.",
        "mask/broken.nii.gz is not a readable NIfTI file: WHY.",
    ]
    assert messages(path) == [
        "mask/atlas.nii.gz is 3D; give the folder of its study, or four files (t1n, t1c, t2w, t2f)."
    ]


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match=r"There is nothing at .*/gone; give a folder, a NIfTI"):
        find_studies(tmp_path / "gone")
    with pytest.raises(StudyError, match=r"No study found in .*: expected MSD Task01"):
        find_studies(tmp_path)
    text = tmp_path / "x.txt"
    text.touch()
    with pytest.raises(InputError, match=r"x.txt is neither a folder, a NIfTI file nor a datalist"):
        find_studies(text)
    listing = tmp_path / "x.json"
    listing.write_text("[]")
    with pytest.raises(StudyError, match=r'is not a datalist: it has no "training", "validation"'):
        find_studies(listing)


def test_four_files_of_any_name(tmp_path):
    files = {m: write(tmp_path / f"scan{i}.nii.gz", head(i)) for i, m in enumerate(ORDER)}
    study = study_from_files(**files)
    assert study.images == tuple(files.values())
    assert (study.study, study.scheme, study.layout) == ("scan0", None, "loose")
    with pytest.raises(StudyError) as caught:
        study_from_files(t1n=files["t1n"], t2w=files["t2w"])
    assert str(caught.value) == (
        "No t1c (contrast-enhanced T1) image is given; given are t1n, t2w. Give all of t1n, t1c,"
        " t2w, t2f."
    )
    with pytest.raises(StudyError, match=r"There is no file .*/gone\.nii; give the path"):
        study_from_files(**{**files, "t2f": tmp_path / "gone.nii"})


def test_four_files_of_a_brats_folder(tmp_path):
    folder = brats(tmp_path, "BraTS-GLI-00005-001")
    study = study_from_files(**{m: folder / f"BraTS-GLI-00005-001-{m}.nii.gz" for m in ORDER})
    assert (study.study, study.subject) == ("BraTS-GLI-00005-001", "BraTS-GLI-00005")
    assert study.layout == "brats2023"


def test_items_come_back_as_studies(tmp_path):
    msd(tmp_path / "Task01", training=1)
    brats(tmp_path, "BraTS-GLI-00005-001", labels=None)
    for study in find_studies(tmp_path).studies:
        assert Study.from_item(study.as_item()) == study
        assert Study.from_item(study.as_item(tmp_path), tmp_path) == study
    item = study.as_item(tmp_path)
    assert item == {
        "subject": "BraTS-GLI-00005",
        "study": "BraTS-GLI-00005-001",
        "image": [f"BraTS-GLI-00005-001/BraTS-GLI-00005-001-{m}.nii.gz" for m in ORDER],
        "modalities": list(ORDER),
        "layout": "brats2023",
        "scheme": "brats2023",
    }


def test_items_of_other_tools(tmp_path):
    folder = brats(tmp_path, "BraTS2021_00003")
    images = sorted(str(p) for p in folder.glob("*.nii.gz") if "seg" not in p.name)
    study = Study.from_item({"image": images})
    assert study.modalities == ("t2f", "t1n", "t1c", "t2w")
    assert (study.subject, study.scheme) == ("BraTS2021_00003", "brats2021")
    root = msd(tmp_path / "Task01")
    study = Study.from_item("imagesTr/BRATS_001.nii.gz", root)
    assert (study.layout, study.scheme, study.modalities[0]) == ("msd", "msd", "t2f")
    with pytest.raises(StudyError, match=r"X\.nii: which channel is which modality is not known"):
        Study.from_item({"image": "a/X.nii"})
    with pytest.raises(StudyError, match=r"Datalist item {'img': 1} needs \"image\": a path or"):
        Study.from_item({"img": 1})


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (5, 'Datalist item 5 needs "image": a path or a list of paths.'),
        ({"image": []}, "Datalist item {'image': []} needs \"image\": a path or a list of paths."),
        ({"image": "x.nii", "label": 3}, "Datalist item of x.nii has 3 for 'label'; give text."),
        (
            {"image": "x.nii", "modalities": [1]},
            "Datalist item of x.nii has [1] for 'modalities'; give text.",
        ),
    ],
)
def test_items_that_are_none(item, message):
    with pytest.raises(StudyError) as caught:
        Study.from_item(item)
    assert str(caught.value) == message


def test_a_datalist_of_another_tool(tmp_path):
    root = msd(tmp_path / "Task01")
    listing = root / "mine.json"
    listing.write_text(json.dumps({"training": [{"image": "imagesTr/BRATS_001.nii.gz"}]}))
    found = find_studies(listing)
    assert found.root == root
    assert [s.study for s in found.studies] == ["BRATS_001"]


def test_modalities_are_named_once():
    assert parse_modalities(None) is None
    with pytest.raises(SchemeError, match="A modality stands twice in t1n, t1n; name each"):
        parse_modalities("t1,T1w")


def test_refusing_says_how_many_more():
    one, two, three = (Problem(s, None, "nan", f"{s} is bad.") for s in ("a", "a", "b"))
    for problems, expected in (
        ([one], "a is bad."),
        ([one, two], "a is bad. (1 more problem)"),
        ([one, two, three], "a is bad. (2 more problems, in 1 other study)"),
    ):
        with pytest.raises(StudyError) as caught:
            refuse(problems)
        assert str(caught.value) == expected


def test_orientation_has_no_say_in_the_scheme(tmp_path):
    brats(tmp_path, "BraTS2021_00003", affine=RAS)
    brats(tmp_path, "BraTS-SSA-00007-000", affine=LPS)
    assert [s.scheme for s in find_studies(tmp_path).studies] == ["brats2023", "brats2021"]


def test_real_studies(real_data):
    found = find_studies(real_data / "brats")
    assert len(found.studies) == 19
    assert {s.layout for s in found.studies} == {"brats2021", "brats2023"}
    assert all(s.label is not None for s in found.studies)
    assert found.problems == ()
