"""What is found in the inputs of `segment`; no network, and images of a few voxels."""

import errno
import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from dicom.generator import Grid, classic, save_all

from monai_tumor.dicom import DicomStudy, RefusalError
from monai_tumor.errors import InputError, StudyError
from monai_tumor.services.sources import find_sources


def make_study(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    for role in ("t1n", "t1c", "t2w", "t2f"):
        image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
        nib.save(image, folder / f"{name}-{role}.nii.gz")
    return folder


@pytest.fixture
def tree(tmp_path):
    """Two sites, each with a study of one name."""
    for site in ("berlin", "paris"):
        make_study(tmp_path / "in" / site / "S", "S")
    make_study(tmp_path / "in" / "paris" / "T", "T")
    return tmp_path / "in"


def found(sources):
    return [one.name for one in sources.found]


def test_studies_of_one_name_in_one_tree(tree):
    sources = find_sources([tree])
    assert found(sources) == ["berlin_S", "paris_S", "T"]
    assert sources.errors == {}
    assert found(find_sources([tree / "berlin", tree / "paris"])) == ["berlin_S", "paris_S", "T"]
    assert found(find_sources([tree / "paris"])) == ["S", "T"]
    assert found(find_sources([tree / "paris", tree / "paris" / "T"])) == ["S", "T"]  # given twice


def test_errors_of_studies_of_one_name_have_names_of_their_own(tree):
    for site in ("berlin", "paris"):
        (tree / site / "S" / "S-t2f.nii.gz").unlink()
    (tree / "berlin" / "S" / "S-t1n.nii.gz").unlink()
    sources = find_sources([tree])
    assert found(sources) == ["T"]
    assert sorted(sources.errors) == ["berlin_S", "paris_S"]
    assert "no t1n (T1) and no t2f" in sources.errors["berlin_S"]
    make_study(tree / "berlin" / "S", "S")  # mended, it keeps its name
    assert found(find_sources([tree])) == ["berlin_S", "T"]


@pytest.fixture
def closed(monkeypatch):
    """A folder that may not be read, also where root runs the tests."""

    def close(folder):
        def closing(look):
            def guarded(path="."):
                if str(path) == str(folder):
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
                return look(path)

            return guarded

        monkeypatch.setattr(os, "scandir", closing(os.scandir))
        monkeypatch.setattr(os, "listdir", closing(os.listdir))

    return close


def test_a_folder_that_cannot_be_read_is_one_error_and_keeps_nothing_else_out(tree, closed):
    save_all(classic(Grid(count=2)), tree / "scanner")
    closed(tree / "paris" / "T")
    sources = find_sources([tree])
    assert found(sources) == ["berlin_S", "paris_S", "in"]  # DICOM of one study
    assert list(sources.errors) == ["T"]
    assert f"Folder {tree / 'paris' / 'T'} cannot be read: Permission den" in sources.errors["T"]
    with pytest.raises(InputError, match=rf"Cannot read {tree / 'paris' / 'T'}: Permission denied"):
        find_sources([tree / "paris" / "T"])


def test_a_relative_path_names_the_study_after_its_folder(tree, monkeypatch):
    monkeypatch.chdir(tree / "paris" / "T")
    assert found(find_sources(["."])) == ["T"]
    save_all(classic(Grid(count=2)), tree / "scan")
    monkeypatch.chdir(tree / "scan")
    assert found(find_sources(["."])) == ["scan"]


def test_dicom_beside_nifti(tree):
    save_all(classic(Grid(count=2)), tree / "paris" / "scan")
    sources = find_sources([tree / "paris"])
    assert found(sources) == ["S", "T", "paris"]
    scan = sources.found[2].study
    assert isinstance(scan, DicomStudy)
    assert scan.folder == tree / "paris" / "scan"


def test_dicom_that_cannot_be_read_beside_nifti(tree, monkeypatch):
    def refuse(path, on_refused):
        raise RefusalError("too-large", "Over 200000 files; convert in smaller parts.")

    monkeypatch.setattr("monai_tumor.services.sources.find_dicom_studies", refuse)
    sources = find_sources([tree / "paris"])
    assert found(sources) == ["S", "T"]
    assert "was not read: Over 200000 files" in sources.errors["paris"]
    (tree / "empty").mkdir()
    with pytest.raises(RefusalError, match="Over 200000 files"):
        find_sources([tree / "empty"])


def test_several_dicom_studies_are_called_after_their_folders(tmp_path):
    for place in ("p1/DICOM", "p2/DICOM", "p3"):
        save_all(classic(Grid(count=2)), tmp_path / "disc" / place)
    names = ["p1_DICOM", "p2_DICOM", "p3"]
    assert found(find_sources([tmp_path / "disc"])) == names
    shutil.make_archive(str(tmp_path / "sent"), "zip", tmp_path / "disc")
    assert found(find_sources([tmp_path / "sent.zip"])) == names
    shutil.make_archive(str(tmp_path / "one"), "zip", tmp_path / "disc" / "p3")
    assert found(find_sources([tmp_path / "one.zip"])) == ["one"]


def test_two_dicom_studies_in_one_heap(tmp_path):
    for start in (0, 100):
        save_all(classic(Grid(count=2)), tmp_path / str(start))
        for number, file in enumerate(sorted((tmp_path / str(start)).iterdir())):
            (tmp_path / "heap").mkdir(exist_ok=True)
            file.rename(tmp_path / "heap" / f"{start + number}.dcm")
    names = found(find_sources([tmp_path / "heap"]))
    assert len(set(names)) == 2
    assert all(name.startswith("heap_") for name in names)


def test_an_archive_without_dicom(tree, tmp_path):
    shutil.make_archive(str(tmp_path / "nifti"), "zip", tree)
    with pytest.raises(StudyError, match=r"No images in .*nifti\.zip; give DICOM, NIfTI"):
        find_sources([tmp_path / "nifti.zip"])


@pytest.fixture
def datalist(tree):
    def item(study, label=None):
        files = [str(study / f"{study.name}-{r}.nii.gz") for r in ("t1n", "t1c", "t2w", "t2f")]
        name = f"{study.parent.name}-{study.name}"
        more = {"label": label, "scheme": "brats2023"} if label else {}
        return {"image": files, "subject": name, "study": name, **more}

    content = {
        "training": [item(tree / "berlin" / "S", "x.nii")],
        "validation": [item(tree / "paris" / "S", "x.nii")],
        "test": [item(tree / "paris" / "T")],
    }
    path = tree / "list.json"
    path.write_text(json.dumps(content))
    return path


def test_the_section_of_a_datalist_is_said_and_can_be_chosen(datalist, caplog):
    assert found(find_sources([datalist])) == ["paris-T"]
    assert "test (1), validation (1), training (1): test is taken; --section" in caplog.text
    caplog.clear()
    assert found(find_sources([datalist], section="training")) == ["berlin-S"]
    assert caplog.text == ""


def test_a_section_that_is_not_there(datalist):
    content = json.loads(datalist.read_text())
    del content["test"], content["validation"]
    datalist.write_text(json.dumps(content))
    assert found(find_sources([datalist])) == ["berlin-S"]
    with pytest.raises(StudyError, match=r"has no studies for test; it has training \(1\)\."):
        find_sources([datalist], section="test")
    with pytest.raises(InputError, match="A section is of a datalist, and none is given"):
        find_sources([datalist.parent], section="test")


def test_inputs_that_cannot_be_read(tree, tmp_path):
    sources = find_sources([tmp_path / "a" / "gone", tree / "paris", tmp_path / "b" / "gone"])
    assert found(sources) == ["S", "T"]
    assert sorted(sources.errors) == ["a_gone", "b_gone"]
    with pytest.raises(InputError, match=r"There is nothing at .*a/gone"):
        find_sources([tmp_path / "a" / "gone", tmp_path / "b" / "gone"])


HOSTILE = (
    '["\\u0000"]',
    '["S/images/\\u0000"]',
    '["\\ud800"]',
    "[" * 100_000,
    '["S/S-t1n.nii.gz", "../S/S-t1c.nii.gz"]',
)


@pytest.mark.parametrize("files", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_record_hides_no_study(tree, files):
    (tree / "paris" / "S_seg.json").write_text(
        f'{{"study": "S", "label_scheme": null, "input": "x", "files": {files}}}'
    )
    assert found(find_sources([tree / "paris"])) == ["S", "T"]


def test_a_damaged_archive_keeps_nothing_else_out(tmp_path):
    for name in ("a", "b"):
        save_all(classic(Grid(count=2)), tmp_path / "in" / name)
    shutil.make_archive(str(tmp_path / "in" / "c"), "zip", tmp_path / "in" / "a")
    archive = tmp_path / "in" / "c.zip"
    content = bytearray(archive.read_bytes())
    content[60:300] = b"\xff" * 240  # within the first member
    archive.write_bytes(content)
    sources = find_sources([tmp_path / "in"])
    assert found(sources) == ["a", "b"]
    assert "c.zip cannot be unpacked" in sources.errors["c"]
    with pytest.raises(RefusalError, match=r"c.zip cannot be unpacked"):
        find_sources([archive])
