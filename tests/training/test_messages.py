import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import monai_tumor
from monai_tumor.errors import BundleError, MonaiTumorError, StudyError
from monai_tumor.training import messages
from monai_tumor.training.messages import find_cause

ROOT = Path(monai_tumor.__file__).parents[1]
# The module by its file: the package around it would load torch and MONAI each time.
START = f"""
import runpy
from monai_tumor.errors import *
one_line_errors = runpy.run_path({messages.__file__!r})["one_line_errors"]
one_line_errors()
"""
WORKER = """
import torch
class Bad(torch.utils.data.Dataset):
    def __len__(self): return 1
    def __getitem__(self, index):
        try:
            raise StudyError("Study 'P1' has no t2f image; found t1n. Add it.")
        except StudyError as error:
            raise RuntimeError("applying transform <Load object>") from error
list(torch.utils.data.DataLoader(Bad(), num_workers=1))
"""


def run(code, start=START):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", start + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("raise BundleError('No weights at a; name a file.')", "No weights at a; name a file."),
        (
            """
            try:
                raise StudyError("Study 'P1' is empty.")
            except StudyError as error:
                raise RuntimeError("applying transform") from error
            """,
            "Study 'P1' is empty.",
        ),
        (
            """
            try:
                raise SchemeError("Which?")
            except SchemeError:
                raise ValueError("while handling")
            """,
            "Which?",
        ),
        (WORKER, "Study 'P1' has no t2f image; found t1n. Add it."),
    ],
)
def test_one_line_and_an_exit_code(code, line):
    assert run(code) == (1, f"error: {line}\n")


def test_twice_is_once():
    assert run("one_line_errors()\nraise InputError('bad')") == (1, "error: bad\n")


@pytest.mark.parametrize("code", ["1 / 0", "raise KeyboardInterrupt", "import sys; sys.exit(3)"])
def test_everything_else_is_reported_as_before(code):
    with_hook, without = run(code), run(code, start="")
    assert with_hook[0] == without[0] != 0
    assert with_hook[1].splitlines()[-1:] == without[1].splitlines()[-1:]
    assert with_hook[1].count("Traceback") == without[1].count("Traceback")


def test_the_cause_among_others():
    inner = StudyError("a")
    outer = RuntimeError("b")
    outer.__cause__ = ValueError("c")
    outer.__cause__.__context__ = inner
    assert find_cause(outer) is inner
    assert find_cause(inner) is inner
    assert find_cause(ValueError("x")) is None
    assert find_cause(None) is None
    circle = ValueError("y")
    circle.__cause__ = RuntimeError("z")
    circle.__cause__.__cause__ = circle
    assert find_cause(circle) is None


def test_the_cause_in_a_workers_traceback():
    text = (
        "Caught RuntimeError in worker 0.\n  File\nmonai_tumor.errors.BundleError: No 'x'.\n\nmore"
    )
    found = find_cause(RuntimeError(text))
    assert type(found) is BundleError
    assert str(found) == "No 'x'."
    strange = find_cause(RuntimeError("monai_tumor.errors.OtherError: y"))
    assert type(strange) is MonaiTumorError
