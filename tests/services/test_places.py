"""The files of a result: all replaced or none, and nothing that is not ours."""

import json
from pathlib import Path

import pytest

from monai_tumor.errors import InputError
from monai_tumor.services.places import Place, emptied

RECORD = {"study": "S", "label_scheme": "brats2023", "input": "t1c.nii", "request": "1"}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "out").mkdir()
    return Place(tmp_path / "out", "S")


def made(tmp_path, *files, content="new"):
    folder = tmp_path / "made"
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content)
    return folder


def files(place):
    below = (path for path in place.output.rglob("*") if not path.is_dir())
    return sorted(path.relative_to(place.output).as_posix() for path in below)


def test_all_of_an_earlier_result_goes(place, tmp_path):
    place.put(made(tmp_path, "S_seg.nii.gz", "S_prob.nii.gz", "S/dicom/a.dcm"), RECORD)
    assert place.holds("1")
    (place.folder / "mine.txt").write_text("mine")
    place.put(made(tmp_path, "S_seg.nii.gz", "S/report.json"), RECORD | {"request": "2"})
    assert files(place) == ["S/mine.txt", "S/report.json", "S_seg.json", "S_seg.nii.gz"]
    assert json.loads(place.record.read_text())["files"] == ["S/report.json", "S_seg.nii.gz"]
    assert place.holds("2")
    assert not place.holds("1")
    assert not place.folder.joinpath("dicom").exists()


@pytest.mark.parametrize("moves", range(5))
def test_killed_while_it_is_moved(place, tmp_path, monkeypatch, moves):
    """Then the record is of an unfinished result of ours, which the next one replaces."""
    place.put(made(tmp_path, "S_seg.nii.gz", "S/dicom/old.dcm", content="old"), RECORD)
    replace, done = Path.replace, []

    def killed(self, target):
        if place.output in target.parents:
            if len(done) == moves:
                raise KeyboardInterrupt
            done.append(target)
        return replace(self, target)

    new = ("S_seg.nii.gz", "S/report.html", "S/report.json")
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        place.put(made(tmp_path, *new), RECORD | {"request": "2"})
    monkeypatch.undo()
    assert place.holds("1") is (moves == 0)
    assert not place.holds("2")
    place.put(made(tmp_path, *new), RECORD | {"request": "2"})
    assert place.holds("2")
    assert files(place) == ["S/report.html", "S/report.json", "S_seg.json", "S_seg.nii.gz"]


def test_a_failure_before_the_first_move_changes_nothing(place, tmp_path, monkeypatch):
    place.put(made(tmp_path, "S_seg.nii.gz", content="old"), RECORD)

    def full(path, content):
        raise InputError("No space left on device")

    monkeypatch.setattr("monai_tumor.services.places.write_json", full)
    with pytest.raises(InputError):
        place.put(made(tmp_path, "S_seg.nii.gz"), RECORD | {"request": "2"})
    assert place.holds("1")
    assert place.label_map.read_text() == "old"


def test_what_is_not_ours_stays(place, tmp_path):
    place.label_map.write_text("drawn by hand")
    with pytest.raises(InputError, match=r"S_seg\.nii\.gz is there and is not of an earlier"):
        place.put(made(tmp_path, "S_seg.nii.gz"), RECORD)
    place.record.write_text('{"EchoTime": 0.1}')
    place.label_map.unlink()
    with pytest.raises(InputError, match=r"S_seg\.json is there and is not of an earlier"):
        place.put(made(tmp_path, "S_seg.nii.gz"), RECORD)
    place.record.unlink()
    place.put(made(tmp_path, "S_seg.nii.gz"), RECORD)
    (place.folder).mkdir()
    (place.folder / "report.html").write_text("mine")
    with pytest.raises(InputError, match=r"report\.html is there"):
        place.put(made(tmp_path, "S_seg.nii.gz", "S/report.html"), RECORD)
    assert (place.folder / "report.html").read_text() == "mine"


def test_a_record_is_trusted_with_nothing_but_its_study(place, tmp_path):
    mine = [place.output / "T_seg.nii.gz", tmp_path / "secret", place.output / "errors.json"]
    for path in mine:
        path.write_text("mine")
    (place.output / "S").mkdir()
    (place.output / "S" / "link").symlink_to(tmp_path)
    named = ["T_seg.nii.gz", "../secret", str(tmp_path / "secret"), "errors.json", "S/link/secret"]
    named += ["S/images/" + "a" * 300, "S/images/\ud800", "S/images/\0"]
    (place.output / "S" / "images").mkdir()
    place.record.write_text(json.dumps(RECORD | {"files": [*named, 7]}))
    place.put(made(tmp_path, "S_seg.nii.gz"), RECORD)
    assert all(path.read_text() == "mine" for path in mine)


def test_nothing_is_written_through_a_link(place, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    place.folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="out of"):
        place.put(made(tmp_path, "S/report.html", "S_seg.nii.gz"), RECORD)
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_result_of_a_bundle_s_own_command_may_be_replaced(place, tmp_path):
    place.label_map.write_text("old")
    place.record.write_text(json.dumps(RECORD))
    place.put(made(tmp_path, "S_seg.nii.gz"), RECORD)
    assert place.label_map.read_text() == "new"


def test_a_folder_is_emptied_and_no_link_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "scratch").symlink_to(tmp_path / "kept")
    for _ in range(2):
        folder = emptied(tmp_path / "scratch")
        assert folder.is_dir()
        assert not folder.is_symlink()
        (folder / "left").touch()
    assert (tmp_path / "kept" / "file").is_file()
    with pytest.raises(InputError, match="Cannot write"):
        emptied(tmp_path / "kept" / "file" / "below")


def test_a_file_where_a_folder_is_to_be(place, tmp_path):
    place.put(made(tmp_path, "S_seg.nii.gz"), RECORD)
    place.folder.write_text("mine")
    with pytest.raises(InputError, match="is a file, and is to be a folder"):
        place.put(made(tmp_path, "S_seg.nii.gz", "S/report.html"), RECORD | {"request": "2"})
    assert place.holds("1")


def test_another_study_of_the_name_replaces_nothing(place, tmp_path):
    ours, theirs = RECORD | {"study_key": "a/S"}, RECORD | {"study_key": "b/S"}
    place.put(made(tmp_path, "S_seg.nii.gz", content="ours"), ours)
    with pytest.raises(InputError, match=r"S_seg\.json is the result of another study named S"):
        place.put(made(tmp_path, "S_seg.nii.gz"), theirs)
    with pytest.raises(InputError, match=r"\(a/S; this one is b/S\)"):
        place.require_free((), "b/S")
    assert place.label_map.read_text() == "ours"
    place.put(made(tmp_path, "S_seg.nii.gz"), ours)
    assert json.loads(place.record.read_text())["study_key"] == "a/S"
