"""Programs that tests hold ours against."""

import os
import shutil
import sys
from pathlib import Path

import pytest


def program(name: str, install: str) -> str:
    """The path of a program: beside the interpreter, where pip puts them, or on the PATH.

    An environment that is not activated is not on the PATH. Without the program the test skips.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name, path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"{name} is not installed: {install}")
    return found
