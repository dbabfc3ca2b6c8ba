"""Training that is killed, and training on data that is not a number."""

import re
import subprocess
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import (
    command_line,
    configs,
    environment,
    monai_bundle,
    phantoms,
    succeeded,
    training,
    weights_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BUNDLE = "brats_segresnet"
DROPOUT = {"_meta_::network_def::dropout_prob": 0.2}  # random numbers within the network too
EPOCHS = 60
KILLS = 10


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantoms(tmp_path_factory.mktemp("data"), "brats2021", count=3)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


def _epoch(folder: Path) -> int:
    """The newest epoch whose checkpoint is whole; -1 if there is none."""
    return max((int(p.stem[-5:]) for p in folder.glob("checkpoints/epoch_*.json")), default=-1)


def _kill_in_training(command: list[str], folder: Path, log: Path, delay: float) -> None:
    """Start, wait until it has come an epoch further, let `delay` seconds pass, kill -9."""
    before, patience = max(_epoch(folder), 0), time.monotonic() + 120
    with log.open("w") as sink:
        process = subprocess.Popen(
            command, cwd=folder.parent, env=environment(), stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        while _epoch(folder) <= before:
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < patience, log.read_text()[-3000:]
            time.sleep(0.01)
        time.sleep(delay)
        assert process.poll() is None, "it finished before it could be killed"
    finally:
        process.kill()
        process.wait(timeout=60)


def test_killed_ten_times_ends_in_the_same_weights(data: Path, tmp_path: Path) -> None:
    files = configs(BUNDLE, "train", "ema", "modality_dropout")
    common = training(BUNDLE, data, max_epochs=EPOCHS, val_interval=20, cache_rate=1.0, **DROPOUT)
    options = {name: common | {"output_dir": name} for name in ("whole", "killed")}
    succeeded(monai_bundle("run", cwd=tmp_path, files=files, options=options["whole"]))
    command = command_line("run", files=files, options=options["killed"])
    reached = [0]
    for number, delay in enumerate(np.random.default_rng(20).uniform(0.0, 0.8, KILLS)):
        log = tmp_path / f"{number}.log"
        _kill_in_training(command, tmp_path / "killed", log, float(delay))
        assert number == 0 or f"resumed after epoch {reached[-1]} from" in log.read_text()
        reached.append(_epoch(tmp_path / "killed"))
    assert reached == sorted(set(reached))  # each came further
    output = succeeded(monai_bundle("run", cwd=tmp_path, files=files, options=options["killed"]))
    assert f"training, epoch {EPOCHS}/{EPOCHS}" in output

    last = f"checkpoints/epoch_{EPOCHS:05d}.pt"
    whole, killed = (weights_of(tmp_path / name / last) for name in ("whole", "killed"))
    assert {"network", "optimizer", "lr_schedule", "ema"} <= set(whole["objects"])
    assert _equal(whole, killed)
    best = (weights_of(tmp_path / n / "checkpoints/model_best.pt") for n in ("whole", "killed"))
    assert _equal(*best)
    first = weights_of(tmp_path / "whole" / f"checkpoints/epoch_{EPOCHS - 1:05d}.pt")
    assert not _equal(first["objects"]["network"], whole["objects"]["network"])
    assert not list(tmp_path.glob("killed/checkpoints/.tmp-*"))


def test_nan_in_a_file_is_named(data: Path, tmp_path: Path) -> None:
    for study in data.iterdir():
        (tmp_path / "data" / study.name).mkdir(parents=True)
        for file in study.iterdir():
            image = nib.load(file)
            voxels = np.asarray(image.dataobj)
            if "flair" in file.name:
                voxels = voxels.astype(np.float32)
                voxels[20:24, 20:24, 20:24] = np.nan
            target = tmp_path / "data" / study.name / file.name
            nib.save(nib.Nifti1Image(voxels, image.affine), target)
    options = training(BUNDLE, tmp_path / "data", max_epochs=1)
    done = monai_bundle("run", cwd=tmp_path, files=configs(BUNDLE, "train"), options=options)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    last = done.stderr.rstrip().splitlines()[-1]
    assert re.fullmatch(
        r"error: Study 'BraTS2021_0000\d': 64 voxels of t2f are not finite \(NaN or inf\)\. "
        r"Mend the file, or leave the study out: monai-tumor split --on-bad skip\.",
        last,
    )


def _spoiling(folder: Path, prob: float) -> list[str]:
    """The config of a training whose images become NaN with a probability."""
    overlay = folder / "spoil.yaml"
    overlay.write_text(
        "augment_more:\n- _target_: monai.transforms.RandCoarseDropoutd\n  keys: image\n"
        f"  holes: 1\n  spatial_size: 8\n  fill_value: .nan\n  prob: {prob}\n"
    )
    return [*configs(BUNDLE, "train"), str(overlay)]


def test_rare_nan_is_rescued(data: Path, tmp_path: Path) -> None:
    options = training(BUNDLE, data, max_epochs=8, val_interval=8)
    files = _spoiling(tmp_path, 0.12)
    output = succeeded(monai_bundle("run", cwd=tmp_path, files=files, options=options))
    assert "the loss was nan; the learning rate is now 0.0" in output
    state = weights_of(tmp_path / "runs" / BUNDLE / "checkpoints" / "epoch_00008.pt")
    assert all(torch.isfinite(t).all() for t in state["objects"]["network"].values())
    assert 1 <= state["objects"]["guard"]["rescues"] <= 3


def test_constant_nan_stops_in_one_line(data: Path, tmp_path: Path) -> None:
    options = training(BUNDLE, data, max_epochs=8)
    done = monai_bundle("run", cwd=tmp_path, files=_spoiling(tmp_path, 1.0), options=options)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("error: Training was not finite 4 times (last in epoch ")
