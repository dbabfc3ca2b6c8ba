"""Presets of published systems: what they state, and that each trains."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
import pytest
import torch
from bundle_runs import configs
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from monai_tumor import bundles
from monai_tumor.errors import BundleError, InputError, TrainingError
from monai_tumor.networks import slices
from monai_tumor.paths import BUNDLES
from monai_tumor.training import ReduceOnPlateau

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")
BUNDLE = "slice_classifier"
CONFIGS = BUNDLES / BUNDLE / "configs"
PRESETS = sorted(path.stem for path in (CONFIGS / "presets").glob("*.yaml"))
TUMOURS = ("glioma", "meningioma", "notumor", "pituitary")
# Folders of each data set, as it is published.
FOLDERS = {
    "tanh_mri": TUMOURS,
    "tanh_ct": ("Bengin cases", "Malignant cases", "Normal cases"),
    "sartaj": ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"),
    "efficientnet_mri": TUMOURS,
    "two_convolutions_mri": TUMOURS,
    "six_convolutions_mri": TUMOURS,
    "yes_no": ("no", "yes"),
}
CANCERS = {
    "all": 4, "brain": 3, "breast": 2, "cervical": 5, "kidney": 2, "lung_colon": 5, "lymphoma": 3,
    "oral": 2,
}  # fmt: skip
FOLDERS |= {f"cancer_{name}": tuple("abcde"[:count]) for name, count in CANCERS.items()}
SMALLEST = {"tanh_mri": 48, "tanh_ct": 48, "sartaj": 84, "six_convolutions_mri": 48}
SLOW = {"yes_no", "cancer_oral"}  # of a hundred megabytes; the first's network is in its twin too


def _picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6), np.uint8)
    return Image.fromarray(coarse).resize((32, 32), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Iterator[Any]:
    """Preset -> a folder of pictures in the classes of its data set, ten a class."""
    root = tmp_path_factory.mktemp("presets")

    def make(classes: tuple[str, ...]) -> Path:
        folder = root / "-".join(classes)
        for number, name in enumerate(classes):
            for n in range(10 if not folder.joinpath(name).exists() else 0):
                side = "Testing" if n < 2 else "Training"
                place = folder / side / name if classes is TUMOURS else folder / name
                place.mkdir(parents=True, exist_ok=True)
                _picture(100 * number + n).save(place / f"{n}.jpg")
        return folder

    return lambda preset: make(FOLDERS[preset.removesuffix("_as_published")])


def stated(preset: str, *more: str) -> monai.bundle.ConfigParser:
    parser = monai.bundle.ConfigParser()
    own = [str(CONFIGS / f"{name}.yaml") for name in (f"presets/{preset}", *more)]
    parser.read_config([*configs(BUNDLE, "train"), *own])
    return parser


ADAM = {
    "optimizer::_target_": "torch.optim.Adam",
    "weight_decay": 0.0,
    "averaged_network": "@network",
}
PLATEAU = {"lr_schedule::_target_": "monai_tumor.training.ReduceOnPlateau"}
TANH = {
    "network_name": "tanh_cnn", "size": 128, "channels": 3, "mean": 0.0, "std": 1.0,
    "class_count": 2, "test": 0.2, "split_seed": 42, "batch_size": 32, "learning_rate": 1e-4,
    "max_gradient_norm": 1.0, "lr_schedule::factor": 0.1, "lr_schedule::patience": 5,
    "max_epochs": 400, "val_interval": 10, "threshold": 0.5, "label_smoothing": 0.0, **PLATEAU,
}  # fmt: skip
NOT_SEEN = {"test_validates": False, "grouped": True, "allow_leak": False}
REUSED = {"test_validates": True, "grouped": False, "allow_leak": True}
BY_SLICE = {"test_validates": False, "grouped": False, "allow_leak": True}
SARTAJ = {
    "network_name": "four_class_cnn", "size": 150, "channels": 3, "class_count": 4, "test": 0.1,
    "split_seed": 101, "validation": 0.1, "max_epochs": 20,
    "lr_schedule::_target_": "torch.optim.lr_scheduler.ConstantLR",
}  # fmt: skip
FOUR = {
    "size": 224, "class_count": 4, "validation": 0.2, "split_seed": 28, "batch_size": 32,
    "max_epochs": 50, "lr_schedule::metric": "validation/accuracy", "lr_schedule::mode": "max",
    "lr_schedule::factor": 0.3, "lr_schedule::patience": 2, "lr_schedule::threshold": 1e-4,
    "augment::rotate": 90.0, "augment::stretch": 0.2, "augment::scale": 0.0,
    "augment::shift": 0.2, "augment::shift_rows": 0.0, "augment::flip": 0.0, **PLATEAU,
}  # fmt: skip
EFFICIENT = FOUR | {"network_name": "efficientnet_b0", "network_def::dropout": 0.5}
YES_NO = {
    "network_name": "resnet50_norm_head", "size": 224, "channels": 3, "class_count": 2,
    "network_def::dropout": 0.5, "network_def::norm": True, "learning_rate": 1e-4,
    "batch_size": 16, "max_epochs": 10, "test": 0.2, "split_seed": 11,
}  # fmt: skip
CANCER = {
    "size": 224, "learning_rate": 0.01, "lr_schedule::metric": "validation/accuracy",
    "lr_schedule::factor": 0.5, "lr_schedule::patience": 5, "lr_schedule::min_lr": 1e-3,
    "frozen_backbone": True, **NOT_SEEN, **PLATEAU,
}  # fmt: skip
# Worked out by hand from the reports' own statements, not from the files.
STATED = {
    "tanh_mri": TANH | NOT_SEEN | {"validation": 0.1},
    "tanh_mri_as_published": TANH | REUSED,
    "tanh_ct": TANH | NOT_SEEN | {"validation": 0.1, "similar": 0.75},
    "tanh_ct_as_published": TANH | REUSED,
    "sartaj": SARTAJ | NOT_SEEN,
    "sartaj_as_published": SARTAJ | BY_SLICE,
    "efficientnet_mri": EFFICIENT | NOT_SEEN | {"test": 0.2},
    "efficientnet_mri_as_published": EFFICIENT | BY_SLICE | {"test": None},
    "two_convolutions_mri": FOUR | NOT_SEEN | {"network_def::convolutions": 2, "pretrained": None},
    "two_convolutions_mri_as_published": FOUR | BY_SLICE | {"test": None},
    "six_convolutions_mri": FOUR | NOT_SEEN | {"network_def::convolutions": 6, "pretrained": None},
    "six_convolutions_mri_as_published": FOUR | BY_SLICE | {"test": None},
    "yes_no": YES_NO | NOT_SEEN | {"endings": None},
    "yes_no_as_published": YES_NO | REUSED | {"endings": [".jpg"]},
    **{f"cancer_{name}": CANCER | {"class_count": count} for name, count in CANCERS.items()},
}


@pytest.mark.parametrize("preset", PRESETS)
def test_states_what_the_report_states(preset):
    parser = stated(preset)
    for key, value in (STATED[preset] | ADAM).items():
        assert parser[key] == value, key


def test_there_is_a_preset_for_each_system_and_data_set_and_it_is_listed():
    assert set(PRESETS) == set(STATED)
    listed = bundles.describe(BUNDLE).overlays
    assert {f"presets/{preset}" for preset in PRESETS} < set(listed)
    assert "transfer/frozen_backbone" in listed
    assert "yes_no_as_published" in str(bundles.describe(BUNDLE))


@pytest.mark.parametrize("preset", PRESETS)
def test_has_the_network_of_its_overlay(preset):
    parser = stated(preset)
    name = parser["network_name"]
    overlay = monai.bundle.ConfigParser.load_config_file(str(CONFIGS / f"networks/{name}.yaml"))
    for key in ("size", "channels", "mean", "std"):
        assert parser[key] == overlay[key]
    assert parser["network_def"] | overlay["network_def"] == parser["network_def"]


@pytest.mark.parametrize(
    "preset", [pytest.param(p, marks=[pytest.mark.slow] if p in SLOW else []) for p in PRESETS]
)
def test_trains(preset, pictures, tmp_path):
    """A step of the preset's own optimiser and schedule, on pictures as small as its network takes.

    The eight of one report differ in their classes alone; one runs with the network it names, the
    others with the smallest of the four.
    """
    name = preset.removesuffix("_as_published")
    cancer = name.startswith("cancer_") and name != "cancer_oral"
    bundles.run(
        BUNDLE, "training",
        overlays=[f"presets/{preset}", *(["networks/mobilenet_v3_small"] if cancer else [])],
        dataset_dir=pictures(preset), output_dir=tmp_path, size=SMALLEST.get(name, 32),
        max_epochs=1, pretrained="", similar=0.999 if name == "tanh_ct" else None,
    )  # fmt: skip
    record = json.loads((tmp_path / "checkpoints" / "model_best.json").read_text())
    leak = record["split"]["leak"]
    assert leak["allowed"] == preset.endswith("_as_published")
    assert leak["test_validates"] == STATED[preset]["test_validates"]
    settings = record["options"]["settings"]
    assert settings["learning_rate"] == STATED[preset].get("learning_rate", 1e-3)
    assert len(settings["classes"].split(", ")) == STATED[preset]["class_count"]
    if preset.startswith("tanh"):
        assert settings["classes"] == "healthy, tumour"  # the second is what a threshold is for
    assert "stage" not in json.dumps(record).lower()


@pytest.mark.parametrize("network", ["densenet201", "mobilenet_v3_small", "vgg19", "resnet50_v2"])
def test_the_four_networks_of_a_cancer_follow_its_preset(network):
    parser = stated("cancer_cervical", f"networks/{network}")
    parser.read_meta(str(CONFIGS / "metadata.json"))
    parser["classes"] = [*"abcde"]
    assert (parser["network_name"], parser["frozen_backbone"]) == (network, True)
    with torch.device("meta"):
        made = parser.get_parsed_content("network_def")
    size = int(parser["size"])
    assert made.eval()(torch.zeros(1, 3, size, size, device="meta")).shape == (1, 5)


def test_a_folder_of_other_classes_is_refused(pictures, tmp_path):
    with pytest.raises(InputError, match=r"has 2 classes \(no, yes\), this recipe is for 5"):
        bundles.run(
            BUNDLE, "training", overlays=["presets/cancer_cervical"], pretrained="",
            dataset_dir=pictures("yes_no"), output_dir=tmp_path,
        )  # fmt: skip


def test_weights_that_a_preset_starts_from_are_named_with_their_source(
    pictures, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"No weights at .*download.pytorch.org") as error:
        bundles.run(
            BUNDLE, "training", overlays=["presets/yes_no"], dataset_dir=pictures("yes_no"),
            output_dir=tmp_path, size=32,
        )  # fmt: skip
    assert "resnet50-11ad3fa6.pth" in str(error.value)


def test_a_reused_test_side_is_a_leak_that_must_be_allowed(pictures, tmp_path):
    with pytest.raises(TrainingError, match="the test side was validated on"):
        bundles.run(
            BUNDLE, "training", dataset_dir=pictures("yes_no"), output_dir=tmp_path, test=0.2,
            test_validates=True,
        )  # fmt: skip


# -- transfer


def _weights(path: Path, network: nn.Module) -> Path:
    torch.manual_seed(3)
    state = {
        key: torch.rand(value.shape) * 0.1 + 0.01 if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    save_file(state, path)
    return path


@pytest.mark.parametrize(
    ("overlay", "moved"), [("frozen_backbone", False), ("discriminative_rates", True)]
)
def test_published_weights_are_kept_or_learn_slower(overlay, moved, pictures, tmp_path):
    """In grey, so that the three colours of the file's first convolution are summed."""
    file = _weights(tmp_path / "published.safetensors", slices.MobileNetV3Small(3, 1000))
    options = {
        "dataset_dir": pictures("yes_no"), "test": 0.2, "validation": 0.2, "size": 32,
        "channels": 1, "mean": 0.0, "std": 1.0, "pretrained": file, "max_epochs": 1,
        "learning_rate": 0.01, "batch_size": 4, "amp": False,
        "weight_decay": 0.0,
    }  # fmt: skip
    bundles.run(
        BUNDLE, "training", output_dir=tmp_path / "run", **options,
        overlays=["networks/mobilenet_v3_small", f"transfer/{overlay}"],
    )  # fmt: skip
    before = slices.MobileNetV3Small(1, 2)
    assert slices.load_pretrained(before, file).grey_stem
    path = tmp_path / "run" / "checkpoints" / "epoch_00001.pt"
    after = torch.load(path, weights_only=True)["objects"]["network"]
    steps = {
        key: float((after[key] - value).detach().abs().max())
        for key, value in before.named_parameters()
        if not key.startswith("classifier.3.")
    }
    if not moved:
        assert set(steps.values()) == {0.0}
        return
    # Adam's first steps are as long as the rate; three of them, on a cosine that falls from it.
    assert 0.5 * 0.001 < max(steps.values()) < 3.5 * 0.001
    settings = json.loads(path.with_suffix(".json").read_text())["options"]["settings"]
    assert "colours summed into grey" in settings["pretrained"]


# -- the schedule that follows a validation


class _Engine:
    """An evaluator whose validations a test makes."""

    def __init__(self) -> None:
        from ignite.engine import Engine

        self.engine = Engine(lambda engine, batch: None)

    def validate(self, **metrics: float) -> None:
        self.engine.state.metrics = metrics
        self.engine.run([0], max_epochs=1)


def test_the_rate_falls_when_a_figure_no_longer_improves():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], lr=1.0)
    made = _Engine()
    schedule = ReduceOnPlateau(
        optimizer, made.engine, "accuracy", mode="max", factor=0.5, patience=1
    )
    schedule.attach(made.engine)
    seen = []
    for accuracy in (0.5, 0.6, 0.6, 0.6, 0.7):
        made.validate(accuracy=accuracy)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5]
    torch.save(schedule.state_dict(), "/dev/null")
    again = ReduceOnPlateau(optimizer, made.engine, "accuracy", mode="max")
    again.load_state_dict(schedule.state_dict())
    assert (again.best, again.patience, again.evaluator) == (0.7, 1, made.engine)


def test_a_schedule_without_its_figure_says_which_there_are():
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1.0)
    made = _Engine()
    ReduceOnPlateau(optimizer, made.engine, "f2").attach(made.engine)
    with pytest.raises(TrainingError, match="No metric 'f2' to follow; there are accuracy, f1"):
        made.validate(accuracy=0.5, f1=0.4)
