"""Find, describe, trust and run bundles; a zoo bundle that is not ours."""

import json
import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runs import NAMES, phantoms, random_weights, tiny, training

from monai_tumor import bundles
from monai_tumor.errors import BundleError, StudyError
from monai_tumor.files import sha256
from monai_tumor.labels import convert_labels
from monai_tumor.paths import CONFIGS

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantoms(tmp_path_factory.mktemp("data"), "brats2021", count=2)


def test_shipped_bundles_are_found_by_name() -> None:
    assert set(NAMES) <= set(bundles.bundle_names())
    assert bundles.bundle_names() == sorted(bundles.bundle_names())


def test_describe_states_what_the_metadata_states() -> None:
    info = bundles.describe("brats_segresnet")
    assert info.modalities == ("t1n", "t1c", "t2w", "t2f")
    assert info.regions == ("TC", "WT", "ET")
    assert info.window == (80, 96, 80)
    assert info.shipped
    assert json.loads(json.dumps(info.as_dict()))["name"] == "brats_segresnet"
    assert "input    t1n, t1c, t2w, t2f; window 80 x 96 x 80 voxels" in str(info)


def test_describe_hashes_the_weights(tmp_path: Path) -> None:
    folder = zoo_bundle(tmp_path)
    info = bundles.describe(folder)
    assert info.weights == folder / "models" / "model.pt"
    # coreutils' sha256sum is the reference; hashlib reads the same bytes.
    import hashlib

    assert info.weights_sha256 == hashlib.sha256(info.weights.read_bytes()).hexdigest()
    assert info.modalities == ("t1c", "t1n", "t2w", "t2f")
    assert info.window == ()
    assert not info.shipped


def test_describe_refuses_what_is_no_metadata(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text('{"version": "1.0"}')
    with pytest.raises(BundleError, match=r"metadata.json is not the metadata of a bundle \(KeyE"):
        bundles.describe(tmp_path)


def test_unknown_bundle_names_those_there_are() -> None:
    with pytest.raises(BundleError, match=r"No bundle 'brats'; shipped are .*brats_segresnet"):
        bundles.describe("brats")


def test_evaluation_follows_the_overlays() -> None:
    files = bundles.config_files("brats_unetr", "evaluating", ["ema", CONFIGS / "msd.yaml"])
    assert [f.name for f in files] == ["train.yaml", "ema.yaml", "msd.yaml", "evaluate.yaml"]
    assert all(f.is_absolute() for f in files)


def test_our_inference_needs_no_overlay() -> None:
    files = bundles.config_files("brats_unetr", "inference")
    assert [f.name for f in files] == ["inference.yaml"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_epoch": 2}, r"has no option 'max_epoch'; did you mean 'max_epochs'\?"),
        ({"zzz": 2}, r"has no option 'zzz'; see the top of its config files"),
        ({"workflow": "train"}, r"Unknown workflow 'train'; choose one of training, evaluating"),
        ({"overlays": ["fast"]}, r"No overlay 'fast'; there are .*smoke"),
    ],
)
def test_mistakes_are_named(options: dict, message: str, data: Path) -> None:
    options = {"workflow": "training"} | options
    with pytest.raises(BundleError, match=message):
        bundles.run("brats_segresnet", options.pop("workflow"), dataset_dir=data, **options)


def test_overlay_of_someone_else_needs_trust(tmp_path: Path, data: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("max_epochs: 1\n")
    with pytest.raises(BundleError, match=r"mine.yaml is not shipped.*a bundle is code.*--trust"):
        bundles.run("brats_segresnet", "training", overlays=[overlay], dataset_dir=data)
    assert bundles.config_files("brats_segresnet", "training", [overlay], trust=True)[1] == overlay


_MARK = "$open('ran', 'w').close()"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"seed": _MARK}, ("seed", _MARK)),
        ({"device": _MARK}, ("device", _MARK)),
        ({"window": [32, 32, _MARK]}, ("window::2", _MARK)),
        ({"loss": {"a": (_MARK,)}}, ("loss::a::0", _MARK)),
        ({"output_dir": "@imports"}, ("output_dir", "@imports")),
        ({"loss": "%/tmp/x.yaml::loss"}, ("loss", "%/tmp/x.yaml::loss")),
        ({"loss": {"_target_": "os.abort"}}, ("loss::_target_", "os.abort")),
        ({"loss#_target_": "os.abort"}, ("loss#_target_", "os.abort")),
    ],
)
def test_option_that_is_code_needs_trust(
    options: dict, found: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = (
        f"Option {found[0]!r} is {found[1]!r}, which a config runs as code or looks up; "
        "if that is meant, say so (trust=True, --trust)."
    )
    with pytest.raises(BundleError, match=f"^{re.escape(expected)}$"):
        bundles.run("brats_segresnet", "training", **options)
    assert not (tmp_path / "ran").exists()


def test_path_is_taken_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may be called like an expression; as an absolute path it is none."""
    monkeypatch.chdir(tmp_path)
    Path("$1 + 1").mkdir()
    with pytest.raises(StudyError, match=re.escape(f"No study found in {tmp_path}/$1 + 1: ")):
        bundles.run("brats_segresnet", "training", dataset_dir=Path("$1 + 1"))


@pytest.mark.parametrize("key", ["members", "_meta_::members", "_meta_::network_def::bundles"])
def test_member_of_someone_else_needs_trust_wherever_it_is_named(key: str, tmp_path: Path) -> None:
    root = zoo_bundle(tmp_path)
    with pytest.raises(BundleError, match="zoo is not shipped with monai_tumor"):
        bundles.run("brats_ensemble", "inference", input=tmp_path, **{key: [str(root)]})


def test_trains_evaluates_and_segments_in_process(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hook = sys.excepthook
    options = training("brats_segresnet", data, max_epochs=1, validation=0.5)
    trained = bundles.run("brats_segresnet", "training", overlays=["dice_ce"], **options)
    assert (trained.output_dir / "checkpoints" / "model_best.pt").is_file()
    evaluated = bundles.run("brats_segresnet", "evaluating", **options)
    scores = json.loads((evaluated.output_dir / "scores.json").read_text())
    assert len(scores["cases"]) == 1
    assert scores["made_by"]["bundle"] == "brats_segresnet"
    assert scores["made_by"]["weights"] == [
        {
            "file": "model_best.pt",
            "sha256": sha256(trained.output_dir / "checkpoints/model_best.pt"),
        }
    ]
    made = bundles.run(
        "brats_segresnet", "inference", input=data, device="cpu", **tiny("brats_segresnet")
    )
    assert sorted(p.name for p in made.output_dir.glob("*.nii.gz")) == [
        "BraTS2021_00001_seg.nii.gz",
        "BraTS2021_00002_seg.nii.gz",
    ]
    assert str(made).startswith("brats_segresnet, inference: results in ")
    assert sys.excepthook is hook


def test_refusal_comes_through_as_itself(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="No study found in"):
        bundles.run("brats_segresnet", "training", dataset_dir=tmp_path)


# -- a bundle of the model zoo's structure


def zoo_bundle(folder: Path) -> Path:
    """A bundle built like MONAI's brats_mri_segmentation, whose network shows its channels.

    Its output is TC where channel 0 is bright, WT where any channel is, ET where channel 3 is.
    """
    root = folder / "zoo"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    channels = {"0": "T1c", "1": "T1", "2": "T2", "3": "FLAIR"}
    tensor = {
        "type": "image",
        "format": "magnitude",
        "num_channels": 4,
        "spatial_shape": ["8*n", "8*n", "8*n"],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": channels,
    }
    regions = {"0": "tumor core", "1": "whole tumor", "2": "enhancing tumor"}
    pred = tensor | {"num_channels": 3, "channel_def": regions}
    meta = {
        "version": "0.4.0",
        "task": "Multimodal Brain Tumor segmentation",
        "network_data_format": {"inputs": {"image": tensor}, "outputs": {"pred": pred}},
    }
    (root / "configs" / "metadata.json").write_text(json.dumps(meta))
    (root / "configs" / "inference.json").write_text(json.dumps(_zoo_inference()))
    network = torch.nn.Conv3d(4, 3, 1)
    with torch.no_grad():
        network.weight.zero_()
        network.weight[0, 0] = 1.0
        network.weight[1, 1:3] = 1.0
        network.weight[2, 3] = 1.0
        network.bias.fill_(-1.5)
    torch.save({"model": network.state_dict()}, root / "models" / "model.pt")
    return root


def _zoo_inference() -> dict:
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": "/workspace/zoo",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/workspace/data",
        "data_list_file_path": "$@bundle_root + '/configs/datalist.json'",
        "test_datalist": "$monai.data.load_decathlon_datalist(@data_list_file_path)",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "torch.nn.Conv3d",
            "in_channels": 4,
            "out_channels": 3,
            "kernel_size": 1,
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {
                    "_target_": "NormalizeIntensityd",
                    "keys": "image",
                    "nonzero": True,
                    "channel_wise": True,
                },
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@test_datalist", "transform": "@preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 4,
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [240, 240, 160],
            "sw_batch_size": 1,
            "overlap": 0.5,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
                {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": True,
        },
        "run": ["$@evaluator.run()"],
    }


def _zoo_study(folder: Path) -> tuple[dict[str, Path], np.ndarray]:
    """Four images, each bright in a box of its own; their boxes as a label map by modality."""
    boxes = np.zeros((20, 24, 16), np.uint8)
    affine = np.array([[0, -1.0, 0, 5], [1.0, 0, 0, -7], [0, 0, 1.0, 3], [0, 0, 0, 1]])
    files = {}
    noise = np.random.default_rng(0)
    for number, name in enumerate(("t1n", "t1c", "t2w", "t2f"), start=1):
        image = noise.uniform(90, 110, boxes.shape).astype(np.float32)
        image[[0, -1]] = 0
        box = (slice(4 * number - 2, 4 * number), slice(3, 9), slice(2 * number, 2 * number + 5))
        image[box] = 1000
        boxes[box] = number
        files[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(image, affine), files[name])
    return files, boxes


def test_zoo_bundle_needs_trust(tmp_path: Path) -> None:
    root = zoo_bundle(tmp_path)
    with pytest.raises(BundleError, match="zoo is not shipped with monai_tumor, and a bundle is"):
        bundles.run(root, "inference", input=tmp_path)
    with pytest.raises(BundleError, match="zoo is not shipped"):
        bundles.run("brats_ensemble", "inference", input=tmp_path, members=[str(root)])


def test_zoo_bundle_gets_its_channels_in_its_own_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = zoo_bundle(tmp_path)
    files, boxes = _zoo_study(tmp_path)
    made = bundles.run(root, "inference", trust=True, **files)
    assert made.output_dir == Path("runs/zoo/predictions")
    (path,) = made.output_dir.glob("*_seg.nii.gz")
    result, source = nib.load(path), nib.load(files["t1n"])
    labels = np.asarray(result.dataobj)
    assert labels.dtype == np.uint8
    assert np.array_equal(result.affine, source.affine)
    # T1c arrived in channel 0 (TC: necrosis), T1 and T2 in 1 and 2 (WT: oedema), FLAIR in 3 (ET).
    expected = np.zeros_like(boxes)
    expected[(boxes == 1) | (boxes == 3)] = 2
    expected[boxes == 2] = 1
    expected[boxes == 4] = 3
    assert np.array_equal(labels, expected)
    assert set(np.unique(convert_labels(labels, "brats2023", "msd"))) == {0, 1, 2, 3}
    record = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert record["bundle"] == "zoo"
    assert record["label_scheme"] == "brats2023"


def test_zoo_bundle_reads_a_4d_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = zoo_bundle(tmp_path)
    files, _ = _zoo_study(tmp_path)
    order = ("t2f", "t1n", "t1c", "t2w")
    images = [nib.load(files[name]) for name in order]
    stacked = np.stack([np.asarray(image.dataobj) for image in images], axis=-1)
    nib.save(nib.Nifti1Image(stacked, images[0].affine), tmp_path / "four.nii.gz")
    bundles.run(root, "inference", trust=True, output_dir=tmp_path / "three", **files)
    bundles.run(
        root,
        "inference",
        trust=True,
        input=tmp_path / "four.nii.gz",
        input_modalities=list(order),
        output_dir=tmp_path / "four",
    )
    (three,) = (tmp_path / "three").glob("*.nii.gz")
    (four,) = (tmp_path / "four").glob("*.nii.gz")
    assert np.array_equal(np.asarray(nib.load(three).dataobj), np.asarray(nib.load(four).dataobj))


def test_ensemble_takes_members_by_option(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = [random_weights("brats_ensemble", tmp_path / "w.pt")]
    options = tiny("brats_ensemble") | {"members": ["brats_segresnet"], "weights": weights}
    with pytest.raises(BundleError, match="belongs to another network"):
        bundles.run("brats_ensemble", "inference", input=data, **options)
