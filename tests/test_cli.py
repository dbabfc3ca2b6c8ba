"""The command line as a user types it: output, exit codes, messages."""

import io
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from monai_tumor.cli import COMMANDS, main
from monai_tumor.cli.steps import Steps
from monai_tumor.data.phantom import make_phantom, write_phantoms


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "studies"
    make = partial(make_phantom, size="small")
    write_phantoms(folder, count=5, layout="brats2023", seed=1, make=make)
    return folder


def test_inspect_prints_what_was_understood(studies, capsys):
    assert main(["inspect", str(studies)]) == 0
    out = capsys.readouterr().out
    assert "studies     5, 5 with a label" in out
    assert "5 x brats2023" in out


def test_inspect_as_json(studies, capsys):
    assert main(["inspect", str(studies), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["studies"]) == 5


def test_inspect_of_a_bad_study_exits_with_3(studies, tmp_path, capsys):
    case = next(studies.iterdir())
    copy = tmp_path / case.name
    copy.mkdir()
    for file in case.glob("*.nii.gz"):
        if "-t2f" not in file.name:
            (copy / file.name).write_bytes(file.read_bytes())
    assert main(["inspect", str(tmp_path)]) == 3
    assert "t2f" in capsys.readouterr().out


def test_split_writes_a_datalist(studies, tmp_path, capsys):
    path = tmp_path / "datalist.json"
    assert main(["split", str(studies), "-o", str(path), "--validation", "0.4"]) == 0
    content = json.loads(path.read_text())
    assert len(content["training"]) == 3
    assert len(content["validation"]) == 2
    assert "brats2023" in capsys.readouterr().out


def test_evaluate_and_compare(studies, tmp_path, capsys):
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    for case in studies.iterdir():
        if case.is_dir():
            truth = nib.load(case / f"{case.name}-seg.nii.gz")
            eroded = np.asarray(truth.dataobj).copy()
            eroded[::2] = 0
            image = nib.Nifti1Image(eroded.astype(np.uint8), truth.affine)
            nib.save(image, predictions / f"{case.name}.nii.gz")
    command = ["evaluate", str(predictions), str(studies), "--scheme", "brats2023"]
    assert main([*command, "-o", str(tmp_path / "a")]) == 0
    assert "WT" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "scores.csv",
        "scores.json",
        "scores.md",
    }
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "a")]) == 0
    assert "Dice" in capsys.readouterr().out


def test_report_and_compare(studies, tmp_path, capsys):
    case = next(path for path in studies.iterdir() if path.is_dir())
    mask = case / f"{case.name}-seg.nii.gz"
    command = ["report", str(case), str(mask), "--scheme", "brats2023"]
    assert main([*command, "-o", str(tmp_path / "a")]) == 0
    assert "sum of products of measurable lesions" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"report.html", "report.json"}
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "a"), "--json"]) == 0
    changes = json.loads(capsys.readouterr().out)["changes"]
    assert {change["absolute"] for change in changes} == {0}


def test_phantoms(tmp_path, capsys):
    target = tmp_path / "made"
    assert main(["phantoms", "-o", str(target), "--count", "2", "--size", "small"]) == 0
    assert capsys.readouterr().out.strip() == f"2 phantom studies in {target}, layout brats2023"
    assert len(list(target.glob("*/*.nii.gz"))) == 10


def test_bundles_are_listed_and_found(capsys):
    assert main(["bundles"]) == 0
    out = capsys.readouterr().out
    for name in ("brats_segresnet", "brats_unetr", "brats_swin_unetr", "brats_ensemble"):
        assert name in out
    assert main(["bundles", "brats_unetr", "--path"]) == 0
    assert (Path(capsys.readouterr().out.strip()) / "configs" / "train.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["inspect", "nowhere"], 4, "nowhere"),
        (["bundles", "brats_vnet"], 5, "No bundle 'brats_vnet'; shipped are brats_ensemble"),
        (["compare", "a", "b"], 4, "a"),
        (["evaluate", "a", "b", "--scheme", "msd"], 4, "a"),
        (["report", "a", "b", "--scheme", "msd", "-o", "out"], 4, "a"),
        (["phantoms", "-o", "file/in", "--count", "1", "--size", "small"], 4, "Cannot write file"),
        (["phantoms", "-o", "file/in", "--count", "0", "--layout", "msd"], 4, "Cannot write file"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    arguments, code, message, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert COMMANDS[command].help.split()[0] in capsys.readouterr().out


def test_wrong_usage_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "a", "b"])
    assert stop.value.code == 2
    assert "--scheme" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["", "-o", "out"], ["in", "-o", ""]])
def test_an_empty_path_is_not_the_working_folder(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["segment", *arguments])
    assert stop.value.code == 2
    assert "a path cannot be empty" in capsys.readouterr().err


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_until_all_is_done(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := _Terminal())
    with Steps("making phantoms") as steps:
        steps.advance("one", 1, 2)
        assert sys.stderr is not terminal  # a bar keeps what is printed above itself
        steps.advance("two", 2, 2)
        assert sys.stderr is terminal
        shown = terminal.getvalue()
        assert "making phantoms" in shown
        steps.advance("three", 3, 2)
    assert terminal.getvalue() == shown


def test_no_progress_elsewhere(capsys):
    with Steps("making phantoms") as steps:
        steps.advance("one", 1, 2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("result", "left_out"),
    [
        (SimpleNamespace(complete=True), False),
        (SimpleNamespace(complete=False), True),
    ],
)
def test_a_split_that_is_not_complete_exits_with_3(result, left_out):
    assert COMMANDS["split"].left_out(result) is left_out


def test_interrupted(monkeypatch, capsys, tmp_path):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_tumor.services.inspect.inspect", interrupt)
    assert main(["inspect", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["segment", "x", "-o", "y", "--series", "t1c=A", "--series", "t1c=B"], "--series"),
        (["pacs", "find", "A@127.0.0.1:1", "-k", "PatientID=A", "-k", "PatientID=B"], "-k"),
    ],
)
def test_two_values_for_one_key_are_refused_in_one_line(command, said, capsys):
    assert main(command) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said} was given for '")
    assert "twice, 'A' and 'B'; give one." in line


@pytest.mark.parametrize("given", ["", "t1c", "=A", "t1c="])
def test_half_a_pair_is_refused(given, capsys):
    assert main(["segment", "x", "-o", "y", "--series", given]) == 4
    assert capsys.readouterr().err == f"error: --series takes ROLE=UID, found {given!r}.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
def test_a_result_that_cannot_be_printed_is_one_line(tmp_path):
    make_phantom_study = [sys.executable, "-m", "monai_tumor.cli", "phantoms", "--count", "1"]
    command = [*make_phantom_study, "--size", "small", "-o", str(tmp_path / "out")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: The work is done, but its result cannot be printed: No space")


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys, monai_tumor.cli as c\n"
        "try: c.main(['--version'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'monai', 'numpy', 'nibabel') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert out.stdout.splitlines()[-1] == "[]", out


def test_a_name_in_another_encoding_is_printed(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="utf-8"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(shown, encoding="utf-8"))
    assert main(["inspect", "T\udcffmor"]) == 4
    sys.stderr.flush()
    assert b"T\\udcffmor" in shown.getvalue()
