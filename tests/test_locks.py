"""Locks on folders: one process at a time, none stale."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monai_tumor.errors import InputError
from monai_tumor.locks import LOCK, locked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
_HOLD = (
    "import sys, time; from pathlib import Path; from monai_tumor.locks import LOCK, locked\n"
    "with locked(Path(sys.argv[1]), 'works in'): print('in', flush=True); time.sleep(60)"
)


def test_a_second_one_is_refused_and_leaves_the_first_its_lock(tmp_path):
    with locked(tmp_path, "works in"):
        for _ in range(2):
            with (
                pytest.raises(InputError, match=rf"Another process \({os.getpid()}\) works in"),
                locked(tmp_path, "works in"),
            ):
                pytest.fail("two at once")
    with locked(tmp_path, "works in"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_no_lock(tmp_path):
    root = Path(__file__).resolve().parents[1]
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    with other, other.stdout as said:
        assert said.readline() == b"in\n"
        with pytest.raises(InputError, match=str(other.pid)), locked(tmp_path, "works in"):
            pytest.fail("two at once")
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert (tmp_path / LOCK).is_file()
    with locked(tmp_path, "works in"):
        pass


def test_a_full_disk_leaves_neither_lock_nor_folder(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "there").mkdir()
    monkeypatch.setattr(os, "write", full)
    for name in ("there", "new"):
        with (
            pytest.raises(InputError, match=f"Cannot write .*{name}: No space left on device"),
            locked(tmp_path / name, "works in"),
        ):
            pytest.fail("a lock without room for it")
    monkeypatch.undo()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["there"]


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    with locked(tmp_path / "out", "works in"):
        assert (tmp_path / "out").is_dir()
    assert not (tmp_path / "out").exists()
    with locked(tmp_path / "out", "works in"):
        (tmp_path / "out" / "result").touch()
    assert (tmp_path / "out" / "result").is_file()


def test_what_cannot_be_locked(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"Cannot write .*file: .*\. Choose another place\."),
        locked(tmp_path / "file", "works in"),
    ):
        pytest.fail("a file is no folder")
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="Cannot write"), locked(tmp_path, "works in"):
        pytest.fail("a link leads elsewhere")
    assert not (tmp_path / "elsewhere").exists()
