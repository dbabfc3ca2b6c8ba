"""Bundles run in this process, one that is not ours among them."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bundle_runs import phantoms, random_weights, tiny, training
from zoo import zoo_bundle, zoo_study

from monai_tumor import bundles
from monai_tumor.errors import BundleError, StudyError
from monai_tumor.files import sha256
from monai_tumor.labels import convert_labels

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantoms(tmp_path_factory.mktemp("data"), "brats2021", count=2)


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


def test_zoo_bundle_gets_its_channels_in_its_own_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = zoo_bundle(tmp_path)
    files, boxes = zoo_study(tmp_path)
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
    files, _ = zoo_study(tmp_path)
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
