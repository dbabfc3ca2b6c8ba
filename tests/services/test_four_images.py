"""The four images of a DICOM study, and what its headers may say."""

import re

import pytest
from dicom.generator import Grid, classic, save_all

from monai_tumor.dicom import DicomStudy
from monai_tumor.errors import StudyError
from monai_tumor.services.four_images import four_images
from monai_tumor.services.sources import Found, find_sources

EVIL = "t1 <b>\x1b[31mred\nnext line " + "long " * 30
ROLES = {
    "t1n": EVIL,
    "t1c": "t1 post gd\u202e evil",
    "t2w": "t2 tse",
    "t2f": "flair",
}


def scan(folder, roles):
    study = Grid().study
    for role in roles:
        files = classic(Grid(count=3, study=study))
        for one in files:
            one.add_new(0x0008103E, "UT", roles[role])
        save_all(files, folder / role)
    (found,) = find_sources([folder]).found
    return found


@pytest.mark.filterwarnings("ignore")
def test_text_of_headers_is_one_printable_line(tmp_path):
    source = four_images(scan(tmp_path / "in", ROLES), tmp_path / "scratch")
    said = source.as_dict()["images"]
    assert said["t1n"].startswith("t1 <b>?[31mred next line long")
    assert "t1 post gd? evil" in said["t1c"]
    assert len(said["t1n"].split(" (")[0]) == 64
    assert all(text.isprintable() for text in said.values())
    assert len(str(source).splitlines()) == 5
    beside = source.origin.series["t1n"].sidecar.read_text()
    assert "\\u001b" not in beside
    assert "red next line" in beside


@pytest.mark.filterwarnings("ignore")
def test_text_of_headers_in_a_refusal(tmp_path):
    found = scan(tmp_path / "in", {"t1n": EVIL})
    with pytest.raises(StudyError, match="has no t1c") as refused:
        four_images(found, tmp_path / "scratch")
    assert re.sub(r"[^\x20-\x7e]", "", str(refused.value)) == str(refused.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("uids", [("1.2.3", "1.2.4"), ("", "")])
def test_series_of_two_patients_are_no_study(tmp_path, uids):
    """As files without a study UID, or a study of which an archive's members say nothing."""
    for uid, roles in zip(uids, (("t1n", "t1c"), ("t2w", "t2f")), strict=True):
        for role in roles:
            files = classic(Grid(count=3, study=uid or None))
            for one in files:
                one.add_new(0x0008103E, "UT", {**ROLES, "t1n": "t1"}[role])
                one.StudyInstanceUID = uid
            save_all(files, tmp_path / "in" / role)
    found = DicomStudy("", tmp_path / "in", tuple((tmp_path / "in").glob("*/*")), {})
    scratch = tmp_path / "scratch"
    with pytest.raises(StudyError, match="perhaps of several patients"):
        four_images(Found("S", found, tmp_path / "in"), scratch)
