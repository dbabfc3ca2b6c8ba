"""Every command of the README runs, as it stands there."""

import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom.generator import Grid, classic, save_all
from pacs.peers import archive
from PIL import Image

from monai_tumor.cli import main
from monai_tumor.data.phantom import make_phantom, write_dicom_phantom, write_phantoms

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)

# What these commands do is done by others: `make` by CI itself, the installation by the wheel's
# test, and TensorBoard serves until it is stopped.
ELSEWHERE = ("make ", "pip install", "tensorboard ")
# Makes a training or a network small enough for a test.
SMALL = (
    " --window [32,32,32] --patch_size [32,32,32] --max_epochs 1 --num_samples 1"
    " --_meta_::network_def::init_filters 8"
)


def _commands() -> list[str]:
    lines = "".join(BLOCKS).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+#.*", "", line) for line in lines if line.strip()]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([\w-]+)", "".join(BLOCKS)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_commands_of_the_slices_page_run(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "slices.md").read_text(encoding="utf-8")
    random = np.random.default_rng(0)
    for folder in ("pictures/glioma", "pictures/none", "others/glioma_tumor", "others/none"):
        for number in range(20):
            path = tmp_path / folder / f"p{number:02d}_1.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (24, 24), np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    commands, _ = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    for line in commands.splitlines():
        assert main(shlex.split(line, comments=True)[1:]) == 0, capsys.readouterr()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(code, {})
    assert "no leak" in capsys.readouterr().out
    assert (tmp_path / "split.json").is_file()
    assert (tmp_path / "audit" / "twins.csv").is_file()


def test_commands_of_the_dicom_page_run(tmp_path, monkeypatch, capsys):
    """Each on its own study of four slices, one of which is a secondary capture."""
    page = (ROOT / "docs" / "dicom.md").read_text(encoding="utf-8")
    lines = "".join(re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)).splitlines()
    lines = [line for line in lines if "deidentify" in line]  # tests of `export` run its commands
    files = classic(Grid(count=4))
    files[3].SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    save_all(files, tmp_path / "study")
    monkeypatch.chdir(tmp_path)
    assert len(lines) == 3
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "monai-tumor"
        assert main(arguments) == (0 if "--allow-burned-in" in arguments else 3), line
        folder = tmp_path / arguments[arguments.index("-o") + 1]
        written = 4 if "--allow-burned-in" in arguments else 3
        assert len(list(folder.rglob("*.dcm"))) == written
        assert "Secret" not in capsys.readouterr().out


def scanner_commands(pacs: str) -> list[list[str]]:
    """The words of the DICOM page's commands from a scanner to the archive at `pacs`."""
    page = (ROOT / "docs" / "dicom.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    (block,) = [one for one in blocks if "phantoms" in one]
    lines = block.replace("\\\n", " ").replace("ORTHANC@pacs.example.org:4242", pacs).splitlines()
    return [shlex.split(line)[1:] for line in lines]


def test_commands_from_a_scanner_to_a_pacs_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with archive() as pacs:
        words = scanner_commands(str(pacs.node))
        assert [line[0] for line in words[-2:]] == ["segment", "pacs"]
        for line in words[:-2]:
            assert main(line) == 0, line
        assert {one.Modality for one in pacs.held.values()} == {"SEG", "SR", "OT"}
    assert len(list((tmp_path / "nifti").glob("*.nii.gz"))) == 4
    shapes = {nib.load(path).shape for path in (tmp_path / "nifti").glob("*.nii.gz")}
    assert shapes == {nib.load(tmp_path / "scanner/truth/PHANTOM_001_seg.nii.gz").shape}


@pytest.mark.slow
def test_commands_from_a_scanner_to_a_pacs_by_way_of_a_network_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with archive() as pacs:
        words = scanner_commands(str(pacs.node))
        for line in [words[0], *words[-2:]]:
            assert main(line) == 0, line
        assert {"SEG", "SR"} <= {one.Modality for one in pacs.held.values()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_training_of_the_slices_page_runs(tmp_path):
    page = (ROOT / "docs" / "slices.md").read_text(encoding="utf-8")
    _, script = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    random = np.random.default_rng(0)
    for name in ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"):
        (tmp_path / "sartaj" / name).mkdir(parents=True)
        for number in range(16):
            pixels = Image.fromarray(random.integers(0, 255, (6, 6), np.uint8)).resize((48, 48))
            pixels.save(tmp_path / "sartaj" / name / f"{number}.png")
    small = "--dataset_dir sartaj --size 84 --max_epochs 1 --validation 0.2 --test 0.2"
    run = _run(script.replace("--dataset_dir sartaj", small), tmp_path)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert (tmp_path / "runs" / "sartaj" / "report" / "report.html").is_file()
    assert (tmp_path / "runs" / "sartaj" / "figures" / "confusion.png").is_file()


def _run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In `folder`, by bash, until the first failure."""
    environment = {
        **os.environ,
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        ["bash", "-c", "set -euo pipefail\n" + script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=850,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_commands_of_the_readme_run(tmp_path):
    make = partial(make_phantom, size="small")
    studies = tmp_path / "studies"
    write_phantoms(studies, count=6, layout="brats2023", seed=1, make=make)
    case = sorted(studies.glob("BraTS*"))[0]
    (tmp_path / "case").mkdir()
    for role in ("t1n", "t1c", "t2w", "t2f"):
        file = case / f"{case.name}-{role}.nii.gz"
        (tmp_path / "case" / f"{role}.nii.gz").write_bytes(file.read_bytes())
    write_dicom_phantom(tmp_path / "scanner" / "study", make(7))
    random = np.random.default_rng(0)
    for name in ("tumour/1", "tumour/2", "none/1", "none/2"):
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (64, 64), np.uint8)).save(path)

    lines = []
    for command in _commands():
        if command.startswith(ELSEWHERE):
            continue
        small = SMALL if "run training" in command else ""
        refused = " || test $? = 3" if "classify" in command else ""  # noise is no slice
        lines.append(command + small + refused)
    assert len(lines) >= 10
    run = _run("\n".join(lines), tmp_path)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    runs = tmp_path / "runs"
    assert len(list((runs / "brats_segresnet" / "predictions").glob("*_seg.nii.gz"))) >= 6
    for name in ("brats_segresnet", "ema", "two_processes"):
        assert (runs / name / "checkpoints" / "model_best.pt").is_file(), name
    assert len(list((tmp_path / "results").glob("*_seg.nii.gz"))) == 6
    assert len(list((tmp_path / "one_study").glob("*_seg.nii.gz"))) == 1
    assert (tmp_path / "from_dicom" / "study_seg.nii.gz").is_file()
    assert len(list((tmp_path / "from_dicom" / "study" / "dicom").glob("*.dcm"))) >= 2
    assert len(list((tmp_path / "nifti").glob("*.nii.gz"))) == 4
    assert len(list((tmp_path / "sent_back").glob("study_*.dcm"))) == 5
    assert list((tmp_path / "shared").rglob("*.dcm"))
    assert (tmp_path / "corrected" / "report.html").is_file()
    assert len(list((tmp_path / "where_it_looked").glob("*.png"))) == 4
    assert (tmp_path / "scores" / "scores.json").is_file()
