"""Every bundle with every bundle command, each in a process of its own."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import (
    NAMES,
    configs,
    monai_bundle,
    phantoms,
    succeeded,
    tiny,
    training,
    weights_of,
    window,
    workflow,
)

from monai_tumor.data import make_datalist
from monai_tumor.files import sha256
from monai_tumor.paths import BUNDLES, SCHEMA

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TRACED = ("brats_swin_unetr", "brats_ensemble")  # these cannot be scripted


@dataclass(frozen=True)
class Trained:
    bundle: str
    folder: Path  # where the commands ran
    weights: Path
    data: Path


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two epochs through `run training`, in a folder that is not the bundle's."""
    folder = tmp_path_factory.mktemp(request.param)
    data = phantoms(folder / "data", "brats2021", count=3)
    files = configs(request.param, "train")
    # A shallow start would say "nowhere" after two epochs, and masks be equal for being empty.
    options = training(request.param, data, shallow_start=False)
    output = succeeded(
        monai_bundle("run", "training", cwd=folder, files=files, options=options, timeout=400)
    )
    assert "training, epoch 2/2: loss" in output
    checkpoints = folder / "runs" / request.param / "checkpoints"
    assert (checkpoints / "epoch_00002.pt").is_file()
    assert not any((BUNDLES / request.param).rglob("*.pt"))
    return Trained(request.param, folder, checkpoints / "model_best.pt", data)


def _error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0, done.stdout[-2000:]
    return done.stderr.rstrip().splitlines()[-1]


def test_plain_run_goes_on_and_ends(trained: Trained) -> None:
    options = training(trained.bundle, trained.data)
    files = configs(trained.bundle, "train")
    for path in trained.weights.parent.glob("epoch_00002.*"):  # as if stopped after epoch 1
        path.unlink()
    output = succeeded(monai_bundle("run", cwd=trained.folder, files=files, options=options))
    assert "resumed after epoch 1" in output
    assert "training, epoch 2/2: loss" in output
    assert "training, epoch 1/" not in output
    output = succeeded(monai_bundle("run", cwd=trained.folder, files=files, options=options))
    assert "this training is complete: there is nothing left to do" in output
    assert "training, epoch" not in output


def test_another_schedule_or_split_is_refused(trained: Trained) -> None:
    files, cwd = configs(trained.bundle, "train"), trained.folder
    options = training(trained.bundle, trained.data)
    done = monai_bundle("run", cwd=cwd, files=files, options=options | {"max_epochs": 3})
    assert "was trained with max_epochs 2, this run has max_epochs 3. Go on" in _error(done)
    done = monai_bundle("run", cwd=cwd, files=files, options=options | {"folds": 3, "fold": 1})
    assert "was trained with folds None, fold 0, this run has folds 3, fold 1. C" in _error(done)
    files = configs(trained.bundle, "train", "evaluate")
    options |= {"folds": 3, "fold": 2}
    done = monai_bundle("run", "evaluating", cwd=cwd, files=files, options=options)
    assert "this run has folds 3, fold 2: it may have seen the cases to score" in _error(done)


def test_evaluating_scores_the_best_weights(trained: Trained) -> None:
    files = configs(trained.bundle, "train", "evaluate")
    options = training(trained.bundle, trained.data)
    succeeded(monai_bundle("run", "evaluating", cwd=trained.folder, files=files, options=options))
    folder = trained.folder / "runs" / trained.bundle / "evaluation"
    scores = json.loads((folder / "scores.json").read_text())
    assert len(scores["cases"]) == 1
    assert scores["made_by"]["weights"][0]["sha256"] == sha256(trained.weights)
    assert (folder / "scores.csv").is_file()
    assert (folder / "scores.md").is_file()
    (mask,) = folder.glob("*_seg.nii.gz")
    assert set(np.unique(nib.load(mask).dataobj)) <= {0, 1, 2, 3}


def _segment(trained: Trained, name: str, **given: object) -> dict[str, nib.Nifti1Image]:
    """Run inference.yaml alone; study -> label map."""
    output_dir = trained.folder / name
    options = tiny(trained.bundle, weights=str(trained.weights), output_dir=str(output_dir))
    files = configs(trained.bundle, "inference")
    options |= {key: str(v) if isinstance(v, Path) else v for key, v in given.items()}
    succeeded(monai_bundle("run", cwd=trained.folder, files=files, options=options))
    return {p.name.removesuffix("_seg.nii.gz"): nib.load(p) for p in output_dir.glob("*.nii.gz")}


def test_same_study_gives_same_mask_whichever_way_it_comes(trained: Trained) -> None:
    make_datalist(trained.data, validation=0.34).save(trained.folder / "list.json")
    study = trained.data / "BraTS2021_00001"
    paths = {m: study / f"BraTS2021_00001_{m}.nii.gz" for m in ("t1", "t1ce", "t2", "flair")}
    four = [nib.load(paths[m]) for m in ("flair", "t1", "t1ce", "t2")]
    stacked = np.stack([np.asarray(image.dataobj) for image in four], axis=-1)
    nib.save(nib.Nifti1Image(stacked, four[0].affine), trained.folder / "four.nii.gz")

    (by_folder,) = _segment(trained, "folder", input=study).values()
    (by_files,) = _segment(
        trained,
        "files",
        t1n=paths["t1"],
        t1c=paths["t1ce"],
        t2w=paths["t2"],
        t2f=paths["flair"],
    ).values()
    (by_4d,) = _segment(
        trained,
        "one",
        input=trained.folder / "four.nii.gz",
        input_modalities=["FLAIR", "T1w", "T1gd", "T2w"],
    ).values()
    by_datalist = _segment(trained, "datalist", input=trained.folder / "list.json")
    assert len(by_datalist) == 1

    mask = np.asarray(by_folder.dataobj)
    assert mask.any()
    for image in (by_folder, by_files, by_4d):
        assert image.get_data_dtype() == np.uint8
        assert image.shape == four[0].shape
        assert np.array_equal(image.affine, four[0].affine)
        assert np.array_equal(np.asarray(image.dataobj), mask)


def test_msd_file_keeps_its_own_grid(trained: Trained) -> None:
    if not (trained.folder / "msd").is_dir():
        phantoms(trained.folder / "msd", "msd", count=1, unlabelled=1)
    source = trained.folder / "msd" / "imagesTs" / "BRATS_002.nii.gz"
    (image,) = _segment(trained, "msd_out", input=source, output_scheme="msd").values()
    assert image.shape == nib.load(source).shape[:3]
    assert np.array_equal(image.affine, nib.load(source).affine)
    record = json.loads((trained.folder / "msd_out" / "BRATS_002_seg.json").read_text())
    assert record["label_scheme"] == "msd"


def test_verify_commands_pass(trained: Trained) -> None:
    meta = str(BUNDLES / trained.bundle / "configs" / "metadata.json")
    options = {"meta_file": meta, "filepath": str(SCHEMA)}
    output = succeeded(monai_bundle("verify_metadata", cwd=trained.folder, options=options))
    assert "metadata is verified with no error" in output
    # As it stands, at the bundle's own window: no option is needed.
    files = configs(trained.bundle, "inference")
    output = succeeded(
        monai_bundle(
            "verify_net_in_out",
            "network_def",
            cwd=trained.folder,
            files=files,
            options={"meta_file": meta, "device": "cpu"},
        )
    )
    assert "data shape of network is verified with no error" in output


def _export(trained: Trained, command: str, target: Path, **more: object) -> None:
    options = tiny(trained.bundle) | {
        "filepath": str(target),
        "ckpt_file": str(trained.weights),
        "meta_file": str(BUNDLES / trained.bundle / "configs" / "metadata.json"),
        "input_shape": [1, 4, *window(trained.bundle)],
    }
    files = configs(trained.bundle, "inference")
    succeeded(
        monai_bundle(
            command, "network_def", cwd=trained.folder, files=files, options=options | more
        )
    )


def _input_and_output(trained: Trained) -> tuple[torch.Tensor, torch.Tensor]:
    options = tiny(trained.bundle)
    made = workflow(configs(trained.bundle, "inference"), options, "infer")
    network = made.parser.get_parsed_content("network_def").eval()
    network.load_state_dict(weights_of(trained.weights))
    image = torch.randn(1, 4, *window(trained.bundle), generator=torch.manual_seed(0))
    with torch.no_grad():
        return image, network(image)


@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated and says so often
def test_torchscript_export_computes_the_same(trained: Trained) -> None:
    target = trained.folder / "model.ts"
    _export(trained, "ckpt_export", target, use_trace=trained.bundle in TRACED)
    image, expected = _input_and_output(trained)
    with torch.no_grad():
        found = torch.jit.load(target)(image)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_onnx_export_computes_the_same(trained: Trained) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    target = trained.folder / "model.onnx"
    _export(trained, "onnx_export", target)
    image, expected = _input_and_output(trained)
    session = runtime.InferenceSession(target, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-3)
