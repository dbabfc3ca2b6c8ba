import os
import re
import subprocess
import sys

import pytest
from small_training import training

from monai_tumor.errors import InputError, TrainingError
from monai_tumor.training.lock import FolderLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
HOLD = """
import sys
from pathlib import Path
from monai_tumor.training.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has locked `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_training_in_one_folder_is_refused_until_the_first_is_killed(tmp_path, holder):
    half = tmp_path / ".tmp-0011aabb-epoch_00007.pt"
    half.write_bytes(b"half")
    expected = (
        f"Another training (process {holder.pid}) is at work in {tmp_path}. "
        "Wait for it to end, or choose another --output_dir."
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(expected)}$"):
        training(tmp_path, max_epochs=1).trainer.run()
    assert half.exists()  # the other's, at work on it
    holder.kill()  # -9
    holder.wait()
    training(tmp_path, max_epochs=1).trainer.run()
    assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    assert not half.exists()


def test_others_come_in_when_it_is_released(tmp_path):
    lock = FolderLock(tmp_path / "new")
    lock.acquire()
    command = [sys.executable, "-c", HOLD, str(tmp_path / "new")]

    def other():
        return subprocess.run(command, input="", capture_output=True, text=True, check=False)

    assert f"Another training (process {os.getpid()}) is at work" in other().stderr
    lock.release()
    lock.release()
    assert other().stdout == "held\n"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    lock = FolderLock(tmp_path / "file" / "checkpoints")
    with pytest.raises(InputError, match=r"^Cannot write .*/\.lock: .*\. Choose another place\.$"):
        lock.acquire()
