"""The spool alone: what is complete, what is kept, what a crash leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monai_tumor.errors import InputError
from monai_tumor.pacs.instances import Instance
from monai_tumor.pacs.spool import FullError, Room, Spool, State
from pacs.peers import until

R, P, S, D, F = State


def one(number: int, study: str = "1.2", content: bytes = b"a") -> Instance:
    return Instance(study, "1.3", f"1.4.{number}", "", content)


def names(spool: Spool, state: State, study: str = "1.2") -> list[str]:
    return sorted(p.name for p in (spool.path(state, study) / "instances").glob("*"))


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path, Room(free_bytes=0))
    yield made
    made.close()


def test_complete_is_what_its_caller_left_in_due_form(spool):
    assert spool.store(one(1), "caller", 0.0)
    assert spool.claim(0) is None  # it is being sent
    spool.leave("1.2", "caller", in_due_form=True)
    assert spool.claim(60) is None  # not quiet for long enough
    assert spool.claim(0) == "1.2"
    assert names(spool, P) == ["1.4.1.dcm"]
    assert spool.claim(0) is None


def test_two_callers_of_one_study(spool):
    spool.store(one(1), "a", 0.0)
    spool.store(one(2), "b", 0.0)
    spool.leave("1.2", "a", in_due_form=True)
    assert spool.claim(0) is None
    spool.leave("1.2", "b", in_due_form=True)
    assert spool.claim(0) == "1.2"


def test_what_was_broken_off_waits_for_a_later_caller(spool):
    spool.store(one(1), "a", 0.0)
    spool.store(one(2), "b", 0.0)
    spool.leave("1.2", "a", in_due_form=False)
    spool.leave("1.2", "b", in_due_form=True)  # it was there before, so it is no repetition
    assert spool.claim(0) is None
    spool.store(one(1), "c", float("inf"))  # connected after the break
    spool.leave("1.2", "c", in_due_form=True)
    assert spool.claim(0) == "1.2"


def test_what_was_refused_is_not_complete(spool):
    spool.store(one(1), "a", 0.0)
    spool.refuse("1.2")
    spool.leave("1.2", "a", in_due_form=True)
    assert spool.claim(0) is None
    assert spool.give_up(60) == []
    assert spool.give_up(0) == ["1.2"]
    assert names(spool, F) == ["1.4.1.dcm"]


def test_a_restart_knows_what_was_broken_off(spool, tmp_path):
    spool.store(one(1), "a", 0.0)
    spool.store(one(1, "1.9"), "b", 0.0)
    spool.leave("1.9", "b", in_due_form=True)
    (tmp_path / "received" / "1.2" / "instances" / ".tmp-1-x").write_bytes(b"half")
    spool.close()  # as the end of its process does
    again = Spool(tmp_path, Room(free_bytes=0))
    assert names(again, R) == ["1.4.1.dcm"]
    assert again.claim(0) == "1.9"
    assert again.claim(0) is None
    again.close()


def test_a_kill_while_a_study_is_converted_leaves_a_folder_that_goes(spool, tmp_path):
    half = spool.folder / "processing" / "1.2" / "results" / ".tmp-converted"
    half.mkdir(parents=True)
    (half / "t1c.nii.gz").touch()
    (spool.folder / ".tmp-file").touch()
    spool.close()
    again = Spool(spool.folder, Room())
    assert not list(spool.folder.rglob(".tmp-*"))
    again.close()


def test_late_instances_wait_their_turn_and_then_join_the_others(spool):
    spool.store(one(1, content=b"old"), "a", 0.0)
    spool.store(one(2, content=b"old"), "a", 0.0)
    spool.leave("1.2", "a", in_due_form=True)
    spool.claim(0)
    assert not spool.store(one(1, content=b"old"), "b", 0.0)  # the very same: nothing to do
    assert spool.store(one(1, content=b"new"), "b", 0.0)
    assert spool.store(one(3), "b", 0.0)
    spool.leave("1.2", "b", in_due_form=True)
    assert spool.claim(0) is None  # the first is being processed
    spool.move("1.2", P, D)
    assert spool.claim(0) == "1.2"
    assert names(spool, P) == ["1.4.1.dcm", "1.4.2.dcm", "1.4.3.dcm"]
    assert (spool.path(P, "1.2") / "instances" / "1.4.1.dcm").read_bytes() == b"new"
    assert spool.studies(D) == []


def test_what_failed_is_tried_again_when_it_is_sent_again(spool):
    spool.store(one(1), "a", 0.0)
    spool.leave("1.2", "a", in_due_form=True)
    spool.claim(0)
    spool.move("1.2", P, F)
    assert spool.store(one(1), "b", 0.0)
    spool.leave("1.2", "b", in_due_form=True)
    assert spool.claim(0) == "1.2"


def test_it_is_bounded(tmp_path):
    spool = Spool(tmp_path, Room(studies=2, spool_bytes=100, instance_bytes=60, free_bytes=0))
    with pytest.raises(FullError, match="larger than is allowed"):
        spool.store(one(1, "1.1", b"x" * 61), "a", 0.0)
    spool.store(one(1, "1.1", b"x" * 50), "a", 0.0)
    spool.store(one(1, "1.2", b"x"), "a", 0.0)
    with pytest.raises(FullError, match="2 studies are waiting"):
        spool.store(one(1, "1.3", b"x"), "a", 0.0)
    with pytest.raises(FullError, match="the spool holds"):
        spool.store(one(2, "1.2", b"x" * 50), "a", 0.0)
    spool.leave("1.1", "a", in_due_form=True)
    assert spool.claim(0) == "1.1"
    spool.move("1.1", P, D)
    assert spool.store(one(2, "1.2", b"x" * 50), "a", 0.0)  # what is done makes room
    assert spool.studies(D) == []
    spool.close()


def test_a_full_disk_is_known_before_it_is_full(tmp_path):
    spool = Spool(tmp_path, Room(free_bytes=1 << 60))
    with pytest.raises(FullError, match="the disk is full"):
        spool.store(one(1), "a", 0.0)
    spool.close()


def test_done_and_failed_are_kept_for_a_time(tmp_path):
    spool = Spool(tmp_path, Room(free_bytes=0, keep_s=0.2))
    spool.store(one(1), "a", 0.0)
    spool.leave("1.2", "a", in_due_form=True)
    spool.claim(0)
    spool.move("1.2", P, D)
    assert spool.purge() == []
    until(lambda: spool.purge() == ["1.2"])
    assert spool.studies(D) == []
    spool.close()


def test_a_spool_is_of_one_process(spool, tmp_path):
    code = (
        "import sys; from pathlib import Path; from monai_tumor.pacs.spool import Room, Spool\n"
        "Spool(Path(sys.argv[1]), Room())"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert "Another process watches with" in done.stderr
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Choose another folder"):
        Spool(tmp_path / "file", Room())


def test_what_breaks_off_while_earlier_instances_are_processed_stays_apart(spool):
    spool.store(one(1), "a", 0.0)
    spool.leave("1.2", "a", in_due_form=True)
    spool.claim(0)
    spool.store(one(2), "b", 0.0)
    spool.leave("1.2", "b", in_due_form=False)
    assert spool.give_up(0) == []  # not before its turn
    spool.move("1.2", P, D)
    assert names(spool, D) == ["1.4.1.dcm"]
    assert spool.give_up(0) == ["1.2"]
    assert names(spool, F) == ["1.4.1.dcm", "1.4.2.dcm"]


def test_a_crash_while_half_a_study_is_given_up_makes_it_no_whole_one(spool, tmp_path, monkeypatch):
    spool.store(one(1), "a", 0.0)
    spool.leave("1.2", "a", in_due_form=False)

    def crash(self, target):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash)
        with pytest.raises(SystemExit):
            spool.give_up(0)
    spool.close()
    again = Spool(tmp_path, Room(free_bytes=0))
    assert again.claim(0) is None
    assert again.give_up(0) == ["1.2"]
    again.close()


@pytest.mark.skipif(os.name != "posix", reason="a file in the place of a folder")
def test_what_cannot_be_written_is_forgotten(spool, tmp_path):
    (tmp_path / "received" / "1.2").touch()
    with pytest.raises(InputError, match="Cannot write"):
        spool.store(one(1), "a", 0.0)
    spool.refuse("1.2")
    (tmp_path / "received" / "1.2").unlink()
    assert spool.give_up(0) == []
    assert spool.claim(0) is None
