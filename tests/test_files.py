import json
import re

import pytest

from monai_tumor.errors import InputError
from monai_tumor.files import printable, write_atomically, write_json, write_text


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "scores.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": [2, None]})
    assert json.loads(path.read_text()) == {"a": [2, None]}
    assert [p.name for p in path.parent.iterdir()] == ["scores.json"]


def test_the_writer_sees_the_ending_and_the_same_folder(tmp_path):
    seen = []

    def writer(temporary):
        seen.append(temporary)
        temporary.write_bytes(b"x")

    write_atomically(tmp_path / "mask.nii.gz", writer)
    assert seen[0].parent == tmp_path
    assert seen[0].name.endswith("mask.nii.gz")
    assert (tmp_path / "mask.nii.gz").read_bytes() == b"x"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failing_writer_leaves_the_old_file_whole_and_nothing_else(tmp_path, error):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"old")

    def half(temporary):
        temporary.write_bytes(b"ne")
        raise error("the disk went away")

    with pytest.raises(error, match="the disk went away"):
        write_atomically(path, half)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_not_a_number_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "scores.json"
    write_text(path, "old")
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        write_json(path, {"dice": float("nan")})
    assert path.read_text() == "old"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    for path, reason in [
        (tmp_path / "file" / "scores.csv", "File exists"),
        (tmp_path, "Is a directory"),
    ]:
        expected = f"Cannot write {path}: {reason}. Choose another place."
        with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
            write_text(path, "x")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert not list(tmp_path.parent.glob(".tmp-*"))


def test_a_name_in_another_encoding_is_read_back(tmp_path):
    write_json(tmp_path / "names.json", {"file": "T\udcffmor.nii"})
    assert json.loads((tmp_path / "names.json").read_bytes()) == {"file": "T\udcffmor.nii"}


def test_what_others_wrote_is_one_printable_line():
    assert printable("t1\n\t<b> \x1b[0m\u202e Gehirn\x00 脑") == "t1 <b> ?[0m? Gehirn? 脑"
    assert printable("x" * 65) == "x" * 61 + "..."
    assert printable("x" * 64) == "x" * 64
    assert printable(7, longest=1) == "7"
