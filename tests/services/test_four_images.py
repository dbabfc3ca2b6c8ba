"""The four images of a DICOM study, and what its headers may say."""

import re

import pytest
from dicom.generator import Grid, classic, save_all

from monai_tumor.errors import StudyError
from monai_tumor.services.four_images import four_images
from monai_tumor.services.sources import find_sources

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
