"""Which studies lie in a folder or archive, without unpacking or converting one."""

import shutil
import warnings
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom.generator import Grid, classic, save_all
from monai_tumor.dicom import RefusalError, find_dicom_studies
from monai_tumor.dicom.results import MANUFACTURER


@pytest.fixture
def two(tmp_path):
    """Two studies of two slices each, in folders of their own."""
    grids = {name: Grid(count=2) for name in ("a", "b")}
    for name, grid in grids.items():
        save_all(classic(grid), tmp_path / "in" / name)
    return tmp_path / "in", [grids["a"].study, grids["b"].study]


def test_studies_of_a_folder(two):
    folder, uids = two
    (folder / "a" / "notes.txt").write_text("no DICOM")
    (folder / "a" / "t1.nii.gz").write_bytes(b"\x08\x00 no DICOM either")
    found = find_dicom_studies(folder)
    assert [study.uid for study in found] == uids
    assert [study.folder for study in found] == [folder / "a", folder / "b"]
    assert [len(study.files) for study in found] == [2, 2]
    assert found[0].unpacked(folder / "scratch") == found[0].files
    assert not (folder / "scratch").exists()


def test_studies_of_an_archive(two, tmp_path):
    folder, uids = two
    shutil.make_archive(str(tmp_path / "sent"), "zip", folder)
    found = find_dicom_studies(tmp_path / "sent.zip")
    assert [study.uid for study in found] == uids
    assert [study.folder for study in found] == [tmp_path / "sent" / n for n in ("a", "b")]
    files = found[1].unpacked(tmp_path / "scratch")
    assert [dcmread(file).StudyInstanceUID for file in files] == [uids[1]] * 2
    assert all(file.is_relative_to(tmp_path / "scratch") for file in files)
    shutil.copy(tmp_path / "sent.zip", folder)
    assert len(find_dicom_studies(folder)) == 2  # the archive holds the same two


def test_a_file_that_names_no_study_goes_with_those_beside_it(two):
    folder, uids = two
    (folder / "b" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    found = {study.uid: study for study in find_dicom_studies(folder)}
    assert len(found[uids[0]].files) == 2
    assert folder / "b" / "broken.dcm" in found[uids[1]].files


def test_files_that_all_name_no_study_are_one(tmp_path):
    files = classic(Grid(count=2))
    for one in files:
        del one.StudyInstanceUID
    save_all(files, tmp_path)
    (found,) = find_dicom_studies(tmp_path)
    assert found.uid == ""
    assert len(found.files) == 2


def test_our_own_results_are_no_studies(two):
    folder, uids = two
    files = classic(Grid(count=1))
    files[0].Manufacturer = MANUFACTURER
    save_all(files, folder / "results")
    assert [study.uid for study in find_dicom_studies(folder)] == uids


def test_names_in_an_archive_lead_nowhere(two, tmp_path):
    folder, _ = two
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.write(next((folder / "a").iterdir()), "../../evil/1.dcm")
    (found,) = find_dicom_studies(tmp_path / "evil.zip")
    assert found.folder == tmp_path / "evil" / "evil"
    (file,) = found.unpacked(tmp_path / "scratch")
    assert file.is_relative_to(tmp_path / "scratch")


def test_members_of_one_name_are_kept_apart(two, tmp_path):
    folder, uids = two
    with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
        for name in ("a", "b"):
            for number, file in enumerate(sorted((folder / name).iterdir())):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of the name that is there already
                    archive.write(file, f"IMAGES/{number}")
    found = {study.uid: study for study in find_dicom_studies(tmp_path / "sent.zip")}
    for uid in uids:
        files = found[uid].unpacked(tmp_path / uid)
        assert [dcmread(file).StudyInstanceUID for file in files] == [uid] * 2


def test_deflated_members_of_an_archive_are_known_by_their_study(two, tmp_path):
    folder, uids = two
    for file in folder.rglob("*"):
        if file.is_file():
            one = dcmread(file)
            one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
            one.save_as(file, enforce_file_format=True)
            file.rename(folder / f"{file.parent.name}{file.name}")
    shutil.make_archive(str(tmp_path / "sent"), "zip", folder)
    found = {study.uid: study for study in find_dicom_studies(tmp_path / "sent.zip")}
    assert sorted(found) == sorted(uids)
    for uid in uids:
        files = found[uid].unpacked(tmp_path / uid)
        assert [dcmread(file).StudyInstanceUID for file in files] == [uid] * 2


def test_an_archive_larger_than_the_disk(two, tmp_path, monkeypatch):
    folder, _ = two
    shutil.make_archive(str(tmp_path / "sent"), "zip", folder)
    (found, _) = find_dicom_studies(tmp_path / "sent.zip")
    usage = namedtuple("usage", "total used free")(10, 9, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RefusalError, match=r"sent\.zip unpacks to 0\.0 GB; 0\.0 GB are free"):
        found.unpacked(tmp_path / "scratch")


def test_what_is_no_dicom(tmp_path):
    (tmp_path / "notes.txt").write_text("no DICOM")
    assert find_dicom_studies(tmp_path) == []
    with pytest.raises(RefusalError, match="not a DICOM file"):
        find_dicom_studies(tmp_path / "notes.txt")
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as archive:
        archive.writestr("notes.txt", "no DICOM")
    assert find_dicom_studies(tmp_path / "cut.zip") == []


def test_an_archive_that_was_cut_short(two, tmp_path):
    folder, _ = two
    whole = Path(shutil.make_archive(str(tmp_path / "sent"), "zip", folder))
    whole.write_bytes(whole.read_bytes()[:1000])
    with pytest.raises(RefusalError, match=r"sent\.zip is no whole zip archive; fetch it again"):
        find_dicom_studies(whole)
