"""Several processes that train together, several networks that segment together."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import (
    configs,
    monai_bundle,
    phantoms,
    same_weights,
    succeeded,
    tiny,
    training,
    weights_of,
)

from monai_tumor.networks import member

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MEMBERS = ("brats_segresnet", "brats_unetr")
WHOLE = [64, 64, 64]  # covers a small phantom: one window, no stitching


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantoms(tmp_path_factory.mktemp("data"), "brats2021", count=4)


@pytest.mark.parametrize("bundle", ["brats_segresnet", "brats_unetr", "brats_ensemble"])
def test_two_processes_train_one_network(bundle: str, data: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "keep_ranks.yaml"
    overlay.write_text(
        "+finalize:\n"
        "- \"$torch.save(@network_def.state_dict(), @output_dir + '/rank%d.pt' % @rank)\"\n"
    )
    files = [*configs(bundle, "train", "multi_gpu_train"), str(overlay)]
    options = training(bundle, data, validation=0.5)
    output = succeeded(
        monai_bundle(
            "run", "training", cwd=tmp_path, files=files, options=options, processes=2, timeout=400
        )
    )
    assert output.count("training, epoch 2/2: loss") == 1  # one process talks
    folder = tmp_path / "runs" / bundle
    assert same_weights(folder / "rank0.pt", folder / "rank1.pt")
    saved = weights_of(folder / "checkpoints" / "epoch_00002.pt")["objects"]["network"]
    rank0 = weights_of(folder / "rank0.pt")
    assert all(torch.equal(saved[key], rank0[key]) for key in rank0)

    alone = configs(bundle, "train", "evaluate")
    succeeded(monai_bundle("run", "evaluating", cwd=tmp_path, files=alone, options=options))
    scores = json.loads((folder / "evaluation" / "scores.json").read_text())
    assert len(scores["cases"]) == 2


# -- ensembles


def _member_weights(bundle: str, path: Path, seed: int) -> Path:
    """Random weights of a full-sized member, scaled so that it draws something."""
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(member(bundle, WHOLE).state_dict(), path)
    return path


def _segment(folder: Path, bundle: str, data: Path, name: str, **more: object):
    options = {"input": str(data / "BraTS2021_00001"), "window": WHOLE, "amp": False}
    options |= {"output_dir": str(folder / name)} | more
    return monai_bundle("run", cwd=folder, files=configs(bundle, "inference"), options=options)


def _mask(folder: Path, name: str, postfix: str = "seg") -> nib.Nifti1Image:
    return nib.load(folder / name / f"BraTS2021_00001_{postfix}.nii.gz")


def test_ensemble_takes_its_members_runs(data: Path, tmp_path: Path) -> None:
    for seed, bundle in enumerate(MEMBERS):
        _member_weights(bundle, tmp_path / f"runs/{bundle}/checkpoints/model_best.pt", seed)
    done = _segment(tmp_path, "brats_ensemble", data, "out", disagreement=True)
    output = succeeded(done)
    for bundle in MEMBERS:
        assert f"runs/{bundle}/checkpoints/model_best.pt (SHA-256 " in output
    source = nib.load(data / "BraTS2021_00001" / "BraTS2021_00001_t1.nii.gz")
    for postfix, dtype in (("seg", np.uint8), ("disagreement", np.float32)):
        image = _mask(tmp_path, "out", postfix)
        assert image.get_data_dtype() == dtype
        assert image.shape == source.shape
        assert np.array_equal(image.affine, source.affine)
    differ = np.asarray(_mask(tmp_path, "out", "disagreement").dataobj)
    assert 0 < differ.max() <= 0.5
    assert differ.min() >= 0
    succeeded(_segment(tmp_path, "brats_ensemble", data, "turns", in_turn=True))
    together, turns = (np.asarray(_mask(tmp_path, n).dataobj) for n in ("out", "turns"))
    assert np.array_equal(together, turns)

    shutil.rmtree(tmp_path / "runs" / "brats_unetr")
    done = _segment(tmp_path, "brats_ensemble", data, "none")
    assert done.returncode != 0
    last = done.stderr.rstrip().splitlines()[-1]
    # Then the shipped ones are found, which were trained with another window.
    assert last.startswith("error: ")
    assert "brats_unetr/models/model.safetensors was trained with window [80, 96, 80]" in last
    assert not (tmp_path / "none").exists()


def test_ensemble_of_folds(data: Path, tmp_path: Path) -> None:
    bundle = "brats_segresnet"
    folds = [str(_member_weights(bundle, tmp_path / f"fold{n}.pt", n)) for n in (0, 1)]
    twice = {"members": [bundle, bundle], "disagreement": True}
    succeeded(_segment(tmp_path, "brats_ensemble", data, "two", weights=folds, **twice))
    assert np.asarray(_mask(tmp_path, "two", "disagreement").dataobj).max() > 0

    # The same fold twice is that fold alone, and agrees with itself.
    same = [folds[0], folds[0]]
    succeeded(_segment(tmp_path, "brats_ensemble", data, "same", weights=same, **twice))
    succeeded(_segment(tmp_path, bundle, data, "alone", weights=folds[0]))
    assert np.asarray(_mask(tmp_path, "same", "disagreement").dataobj).max() == 0
    alone, same_mask = (np.asarray(_mask(tmp_path, n).dataobj) for n in ("alone", "same"))
    assert alone.any()
    assert np.array_equal(alone, same_mask)
    assert not np.array_equal(alone, np.asarray(_mask(tmp_path, "two").dataobj))


def test_ensemble_with_too_few_weights_is_refused(data: Path, tmp_path: Path) -> None:
    weights = str(_member_weights(MEMBERS[0], tmp_path / "w.pt", 0))
    done = _segment(tmp_path, "brats_ensemble", data, "out", weights=[weights])
    assert done.returncode != 0
    last = done.stderr.rstrip().splitlines()[-1]
    assert last == "error: 1 files of weights for a network with 2 members; give one file a member."


def test_tiny_options_are_the_bundles_own(tmp_path: Path) -> None:
    """An option of these tests that no bundle knows would test nothing."""
    from monai.bundle import ConfigParser

    for bundle in MEMBERS:
        parser = ConfigParser()
        parser.read_config(configs(bundle, "train"))
        parser.read_meta(str(Path(configs(bundle, "train")[0]).with_name("metadata.json")))
        assert all(key in parser for key in training(bundle, tmp_path) if key in tiny(bundle))
