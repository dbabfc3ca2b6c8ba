"""The slice classifier's bundle: states what it must, trains, goes on, evaluates, classifies."""

import csv
import inspect
import json
import math
import re
import shutil
from functools import partial
from itertools import pairwise
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import torch
from bundle_runs import configs, workflow
from PIL import Image
from safetensors.torch import load_file, save_file
from slice_pictures import CLASSES, make_set

from monai_tumor import bundles
from monai_tumor.cli import main
from monai_tumor.data.slices import Preparation
from monai_tumor.errors import BundleError, TrainingError
from monai_tumor.files import sha256
from monai_tumor.inference import Classifier, classify
from monai_tumor.metrics.predictions import Predictions
from monai_tumor.networks.slices import TanhCNN
from monai_tumor.paths import BUNDLES, SCHEMA
from monai_tumor.services.evaluate_slices import CLEAN, WHOLE, evaluate_slices
from monai_tumor.services.figures import figures
from monai_tumor.services.slice_weights import export_slice_weights

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")
BUNDLE = "slice_classifier"
HERE = BUNDLES / BUNDLE
NETWORKS = sorted(path.stem for path in (HERE / "configs" / "networks").glob("*.yaml"))
SPLIT = {"validation": 0.25, "allow_leak": True}
TINY = {
    "size": 32, "batch_size": 16, "max_epochs": 4, "amp": False,
    "_meta_::network_def::widths": [8, 16], "_meta_::network_def::blocks": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """24 slices a class and side, 4 of them on both sides."""
    return make_set(tmp_path_factory.mktemp("slices") / "set", 24, leak=4)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """A training's folder, with predictions of both sides."""
    out = tmp_path_factory.mktemp("run")
    options = {"dataset_dir": data, "output_dir": out, **SPLIT, **TINY}
    bundles.run(BUNDLE, "training", **options)
    for side in ("test", "validation"):
        bundles.run(BUNDLE, "evaluating", side=side, **options)
    return out


# -- what it states


def test_metadata_passes_the_shipped_schema():
    meta = str(HERE / "configs" / "metadata.json")
    monai.bundle.verify_metadata(
        meta_file=meta, filepath=str(SCHEMA), hash_val=sha256(SCHEMA), hash_type="sha256"
    )


def test_has_the_files_of_a_zoo_bundle():
    for name in ("train.yaml", "evaluate.yaml", "inference.yaml", "multi_gpu_train.yaml"):
        assert (HERE / "configs" / name).is_file()
    for name in ("configs/logging.conf", "docs/README.md", "docs/data_license.txt", "LICENSE"):
        assert (HERE / name).is_file()


def test_network_takes_and_gives_what_the_metadata_says():
    shape = "_meta_::network_data_format::inputs::image::spatial_shape"
    monai.bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(HERE / "configs" / "metadata.json"),
        config_file=configs(BUNDLE, "inference"),
        device="cpu",
        **{shape: [64, 64]},
    )


def test_train_and_inference_see_slices_alike():
    def values(name: str) -> dict:
        read = monai.bundle.ConfigParser.load_config_file(configs(BUNDLE, name)[0])
        keys = ("size", "channels", "mean", "std", "dicom_window", "preparation", "network_name")
        return {key: read[key] for key in keys}

    assert values("train") == values("inference")


@pytest.mark.parametrize("name", NETWORKS)
def test_overlay_makes_its_network_in_both(name):
    overlay = HERE / "configs" / "networks" / f"{name}.yaml"
    for first in ("train", "inference"):
        parser = monai.bundle.ConfigParser()
        parser.read_config([*configs(BUNDLE, first), str(overlay)])
        parser.read_meta(str(HERE / "configs" / "metadata.json"))
        parser["classes"] = ["a", "b", "c"]
        assert parser["network_name"] == name
        with torch.device("meta"):
            network = parser.get_parsed_content("network_def")
        prepared = parser.get_parsed_content("preparation")
        x = torch.zeros(2, prepared.channels, prepared.size, prepared.size, device="meta")
        assert network.to("meta").eval()(x).shape == (2, 3)


def test_readme_names_only_options_that_there_are():
    readme = (HERE / "docs" / "README.md").read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", readme, flags=re.DOTALL))
    commands = [c for c in blocks.replace("\\\n", " ").splitlines() if "-m monai.bundle" in c]
    assert len(commands) >= 7
    for command in commands:
        verb = command.split("-m monai.bundle ")[1].split()[0]
        stems = re.findall(r"configs/((?:\w+/)?\w+)\.yaml", command)
        parser = monai.bundle.ConfigParser()
        if stems:
            parser.read_config([str(HERE / "configs" / f"{stem}.yaml") for stem in stems])
        known = {*inspect.signature(getattr(monai.bundle, verb)).parameters, *(parser.config or {})}
        assert set(re.findall(r"--(\w+)", command.split("-m monai.bundle ")[1])) <= known, command


# -- what it does


def test_training_states_every_property(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"dataset_dir": str(data), **SPLIT, **TINY}
    made = workflow(configs(BUNDLE, "train"), options, "train")
    assert not made.check_properties()
    assert len(made.train_dataset) == 36
    assert len(made.val_dataset) == 12


def test_a_leaking_split_is_refused_in_one_line(data, tmp_path):
    with pytest.raises(TrainingError, match="This split leaks") as error:
        bundles.run(BUNDLE, "training", dataset_dir=data, output_dir=tmp_path, **TINY)
    assert "\n" not in str(error.value)


def test_what_a_run_leaves(trained):
    record = json.loads((trained / "checkpoints" / "model_best.json").read_text())
    assert record["split"]["classes"] == list(CLASSES)
    assert record["split"]["leak"]["allowed"] is True
    assert record["options"]["settings"]["network"] == "small_resnet"
    assert record["options"]["settings"]["preprocessing"].startswith("32 x 32 grey")
    test, facts = Predictions.load(trained / "evaluation" / "test.json")
    assert len(test) == 48
    assert test.leaks.sum() == 8
    assert facts["made_by"]["weights"][0]["file"] == "model_best.pt"


def test_a_run_that_was_cut_ends_as_one_that_was_not(data, tmp_path):
    options = {"dataset_dir": data, **SPLIT, **TINY, "max_epochs": 2, "seed": 4}
    for name in ("whole", "cut"):
        bundles.run(BUNDLE, "training", output_dir=tmp_path / name, **options)
    for left in ("epoch_00002.pt", "epoch_00002.json", "model_best.pt", "model_best.json"):
        (tmp_path / "cut" / "checkpoints" / left).unlink()
    bundles.run(BUNDLE, "training", output_dir=tmp_path / "cut", **options)
    files = [tmp_path / name / "checkpoints" / "epoch_00002.pt" for name in ("whole", "cut")]
    states = [torch.load(file, weights_only=True)["objects"] for file in files]
    for part in ("network", "ema"):
        pairs = zip(states[0][part].values(), states[1][part].values(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_report_shows_baseline_leak_and_both_figures(trained, tmp_path):
    folder = trained / "evaluation"
    found = evaluate_slices([folder / "test.json"], [folder / "validation.json"], output=tmp_path)
    assert [*found.scores] == [WHOLE, CLEAN, "validation"]
    assert found.scores[WHOLE].leaking == pytest.approx(8 / 48)
    assert found.scores[CLEAN].count == 40
    assert "LEAKING SPLIT" in str(found)
    page = (tmp_path / "report.html").read_text()
    for words in ("LEAKING SPLIT", "nearest neighbour", "16.7%", "Research use only", WHOLE):
        assert words in page
    assert "<script" not in page
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["scores"][WHOLE]["slices"] == 48
    ensemble = evaluate_slices(
        [folder / "test.json"] * 2, [folder / "validation.json"] * 2, ensemble="stacking"
    )
    assert "LEAKING SPLIT" in ensemble.stamp
    assert ensemble.weights == pytest.approx((0.5, 0.5))
    accuracy = ensemble.scores[WHOLE].figures["accuracy"].value
    assert accuracy == found.scores[WHOLE].figures["accuracy"].value


def test_command_line_scores_an_ensemble(trained, tmp_path, capsys):
    runs = [str(trained)] * 2
    assert main(["score", *runs, "--ensemble", "accuracy", "-o", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    validation, _ = Predictions.load(trained / "evaluation" / "validation.json")
    accuracy = (validation.logits.argmax(axis=1) == validation.labels).mean()
    assert found["ensemble_weights"] == pytest.approx([accuracy, accuracy])
    assert "LEAKING SPLIT" in found["leak"]
    assert (tmp_path / "report.html").is_file()
    assert main(["score", *runs, "--threshold", "0.9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["threshold"] == 0.9


@pytest.fixture(scope="module")
def shipped(data, trained, tmp_path_factory) -> Path:
    """Weights as a bundle ships them; and a bundle whose network is as small as they are."""
    out = tmp_path_factory.mktemp("shipped")
    narrow = _narrow_bundle(out / "narrow")
    noisy = _noise(out / "noisy")
    made = export_slice_weights(
        trained / "checkpoints" / "model_best.pt", narrow / "models",
        dataset_dir=data, split=SPLIT, licence="made by a test", bundle=str(narrow), trust=True,
        others=[noisy],
    )  # fmt: skip
    assert made.record["data_licence"] == "made by a test"
    assert made.record["split"]["dataset_dir"] == "set"
    assert made.record["gate"]["refused"]["validation"] <= 0.1
    assert made.record["gate"]["refused"]["noisy"] == 1.0
    assert 0 < made.record["threshold"] < 1
    assert f"threshold {made.record['threshold']:.3f}" in str(made)
    assert "% of test" in str(made)
    return narrow


def _noise(root: Path) -> Path:
    """Thirty pictures of another kind, in two classes."""
    random = np.random.default_rng(0)
    for number in range(30):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (48, 48), np.uint8)).save(path)
    return root


def _narrow_bundle(folder: Path) -> Path:
    """A copy of the bundle that is not shipped, with the network of `TINY`."""
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("model*"))
    path = folder / "configs" / "metadata.json"
    meta = json.loads(path.read_text())
    meta["network_def"] |= {"widths": [8, 16], "blocks": 1}
    path.write_text(json.dumps(meta))
    return folder


def test_a_training_is_drawn(trained, shipped, tmp_path):
    made = figures(trained, tmp_path, image=2, bundle=shipped, trust=True)
    assert {*made.files} >= {
        "curve_loss", "curve_accuracy", "steps_loss", "steps_learning_rate", "confusion",
        "features_00_input", "features_01_features.0", "sensitivity_specificity",
    }  # fmt: skip
    convolutions = [name for name in made.files if name.startswith("features_")]
    assert len(convolutions) == 1 + 7  # the input; two of the stem, two a block, a shortcut
    assert not made.left_out
    assert "LEAKING SPLIT" in str(made)
    with Image.open(made.files["confusion"]) as opened:
        assert opened.width > 600
    other = figures(trained, tmp_path / "b", image=3, bundle=shipped, trust=True)
    name = "features_01_features.0"
    assert made.files[name].read_bytes() != other.files[name].read_bytes()
    assert made.files["confusion"].read_bytes() == other.files["confusion"].read_bytes()


def test_python_and_bundle_give_the_same_probabilities(data, shipped, tmp_path):
    folder = data / "Testing" / "corner"
    python = classify(folder, bundle=shipped, trust=True)
    assert len(python) == 24
    bundles.run(
        str(shipped), "inference", input=folder, output_dir=tmp_path, size=32,
        classes=list(CLASSES), weights=shipped / "models" / "model.safetensors", trust=True,
    )  # fmt: skip
    with (tmp_path / "predictions.csv").open() as table:
        rows = list(csv.DictReader(table))
    made_by = json.loads((tmp_path / "predictions.json").read_text())["made_by"]
    assert "LEAKING SPLIT" in made_by["options"]["split"]
    for result, row in zip(python, rows, strict=True):
        assert "LEAKING SPLIT" in result.as_dict()["made_by"]["weights"][0]["split"]
        assert Path(row["image"]) == result.image
        for name in CLASSES:
            assert float(row[name]) == pytest.approx(result.probabilities[name], abs=1e-6)


def test_command_line_python_and_bundle_give_the_same_probabilities(data, tmp_path, capsys):
    """With weights by chance, of a network whose one logit stands for two classes."""
    weights, seen = chance(tmp_path, None)
    network = TanhCNN(size=64)
    network.load_state_dict(load_file(weights))
    folder = data / "Testing" / "middle"
    assert main(["classify", str(folder), "--weights", str(weights), "--json"]) == 0
    command = [one["probabilities"] for one in json.loads(capsys.readouterr().out)["results"]]
    python = [one.probabilities for one in classify(folder, weights=weights)]
    options = {**seen, "classes": list(CLASSES), "weights": weights, "output_dir": tmp_path}
    bundles.run(BUNDLE, "inference", overlays=["networks/tanh_cnn"], input=folder, **options)
    with (tmp_path / "predictions.csv").open() as table:
        bundle = [{name: float(row[name]) for name in CLASSES} for row in csv.DictReader(table)]
    assert len(command) == len(python) == len(bundle) == 24
    assert len({one["corner"] for one in command}) == 24
    picture = Preparation(**seen).read(sorted(folder.glob("*.png"))[0])
    with torch.inference_mode():
        pixels = torch.from_numpy(picture[None]).expand(1, 3, 64, 64).float() / 255
        logit = float(network.double()(pixels.double()))
    assert command[0]["middle"] == pytest.approx(1 / (1 + math.exp(-logit / 1.7)), abs=1e-5)
    for three in zip(command, python, bundle, strict=True):
        for name in CLASSES:
            values = [one[name] for one in three]
            assert max(values) - min(values) <= 1e-6


def chance(folder: Path, threshold: object) -> tuple[Path, dict]:
    """Weights by chance, of a network whose one logit stands for two classes; what it sees."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = TanhCNN(size=64)
    with torch.no_grad():
        network.classifier[-1].weight.mul_(40)  # so that the probabilities differ
    weights = folder / "chance.safetensors"
    save_file(network.state_dict(), weights)
    seen = {"size": 64, "channels": 3, "mean": 0.0, "std": 1.0}
    settings = {"network": "tanh_cnn", "classes": ", ".join(CLASSES), **seen}
    settings["preprocessing"] = str(Preparation(**seen))
    record = {"options": {"settings": settings}, "temperature": 1.7, "sha256": sha256(weights)}
    weights.with_suffix(".json").write_text(json.dumps(record | {"threshold": threshold}))
    return weights, seen


def test_threshold_of_the_record_decides_everywhere(data, tmp_path, capsys):
    """It lies between the probabilities of the second class, so that it changes some answers."""
    folder = data / "Testing" / "middle"
    weights, seen = chance(tmp_path, None)
    plain = classify(folder, weights=weights)
    assert {one.threshold for one in plain} == {None}
    assert all(one.label == max(one.probabilities, key=one.probabilities.get) for one in plain)
    second = sorted(one.probabilities[CLASSES[1]] for one in plain)
    between = [(low + high) / 2 for low, high in pairwise(second)]
    threshold = max((between[5], between[-6]), key=lambda cut: abs(cut - 0.5))

    weights, seen = chance(tmp_path, threshold)
    python = classify(folder, weights=weights)
    wanted = [CLASSES[one.probabilities[CLASSES[1]] >= threshold] for one in plain]
    assert [one.label for one in python] == wanted != [one.label for one in plain]
    assert f"; {CLASSES[1]} from {100 * threshold:.1f}% on)" in str(python[0])
    assert python[0].provenance["weights"][0]["threshold"] == threshold
    both = classify(folder, weights=[weights, chance(tmp_path / "other", None)[0]])
    assert both[0].threshold == pytest.approx((threshold + 0.5) / 2)

    assert main(["classify", str(folder), "--weights", str(weights), "--json"]) == 0
    command = json.loads(capsys.readouterr().out)["results"]
    assert [one["class"] for one in command] == wanted
    assert command[0]["threshold"] == {"class": CLASSES[1], "from": threshold}

    options = {**seen, "classes": list(CLASSES), "weights": weights, "output_dir": tmp_path}
    bundles.run(BUNDLE, "inference", overlays=["networks/tanh_cnn"], input=folder, **options)
    written = json.loads((tmp_path / "predictions.json").read_text())
    assert [row["class"] for row in written["slices"]] == wanted
    assert written["threshold"] == threshold


@pytest.mark.parametrize("threshold", [1.5, -0.1, "0.4", True, float("nan")])
def test_a_threshold_that_is_none_is_refused(data, threshold, tmp_path):
    weights, _ = chance(tmp_path, threshold)
    with pytest.raises(BundleError, match=r"chance.safetensors cannot be used: The threshold is"):
        classify(data / "Testing" / "middle" / "0.png", weights=weights)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gate": "gate.safetensors"}, "names no gate that can be loaded"),
        ({"gate": {"file": "../gate.safetensors", "sha256": "0"}}, "names no gate that can be"),
        ({"options": {"settings": {"classes": ["a", "b"]}}}, "classes that are no text"),
    ],
)
def test_a_damaged_record_is_one_line(data, change, said, tmp_path):
    weights, _ = chance(tmp_path, 0.5)
    path = weights.with_suffix(".json")
    record = json.loads(path.read_text())
    settings = record["options"]["settings"] | change.get("options", {}).get("settings", {})
    path.write_text(json.dumps(record | change | {"options": {"settings": settings}}))
    with pytest.raises(BundleError, match=said):
        classify(data / "Testing" / "middle" / "0.png", weights=weights)


def test_weights_are_chosen_by_name_everywhere(data, tmp_path, monkeypatch, capsys):
    """Of a bundle that brings several; its default network is another than theirs."""
    bundle = tmp_path / "several"
    shutil.copytree(HERE, bundle, ignore=shutil.ignore_patterns("model*.*"))
    made, seen = chance(tmp_path, 0.6)
    for name in ("tanh_ct", "tanh_mri"):
        shutil.copy(made, bundle / "models" / f"{name}.safetensors")
        shutil.copy(made.with_suffix(".json"), bundle / "models" / f"{name}.json")
    save_file({"mean": torch.zeros(1)}, bundle / "models" / "tanh_ct_gate.safetensors")
    folder = data / "Testing" / "middle"
    python = classify(folder, bundle=bundle, weights="tanh_ct", trust=True)
    assert python[0].provenance["weights"][0]["file"] == "tanh_ct.safetensors"
    assert python[0].threshold == 0.6

    trusting = partial(Classifier, trust=True)
    monkeypatch.setattr("monai_tumor.services.classify.Classifier", trusting)
    words = ["classify", str(folder), "--bundle", str(bundle), "--weights"]
    assert main([*words, "tanh_ct", "--json"]) == 0
    command = json.loads(capsys.readouterr().out)["results"]

    options = {"size": seen["size"], "weights": "tanh_ct", "output_dir": tmp_path, "trust": True}
    tanh = ["networks/tanh_cnn"]
    bundles.run(str(bundle), "inference", overlays=tanh, input=folder, **options)
    written = json.loads((tmp_path / "predictions.json").read_text())["slices"]
    assert len(python) == len(command) == len(written) == 24
    for one, two, three in zip(python, command, written, strict=True):
        assert one.label == two["class"] == three["class"]
        for name in CLASSES:
            values = [one.probabilities[name], two["probabilities"][name], three[name]]
            assert max(values) - min(values) <= 1e-6

    for name in ("tanh_us", ""):
        assert main([*words, name]) == 5
        assert f"no weights named {name!r}; there are tanh_ct, tanh_mri" in capsys.readouterr().err
    with pytest.raises(BundleError, match=r"no weights named 'tanh'; there are tanh_ct, tanh_mri"):
        bundles.run(str(bundle), "inference", input=folder, **options | {"weights": "tanh"})
    with pytest.raises(BundleError, match="trained with network tanh_cnn, this run has small_res"):
        bundles.run(str(bundle), "inference", input=folder, **options)
    with pytest.raises(BundleError, match=r"No weights at .*/tanh_ct"):
        classify(folder, bundle=bundle, weights=bundle / "tanh_ct", trust=True)
    assert main(["bundles", str(bundle)]) == 0
    assert "  by name  tanh_ct, tanh_mri\n" in capsys.readouterr().out
    assert bundles.describe(BUNDLE).weights_names[0] == "model"


def test_command_line_says_class_gate_and_where_it_looked(
    data, shipped, tmp_path, monkeypatch, capsys
):
    classifier = Classifier(shipped, trust=True)
    monkeypatch.setattr("monai_tumor.services.classify.Classifier", lambda **_: classifier)
    picture = data / "Testing" / "middle" / "9.png"
    noise = tmp_path / "noise.png"
    Image.effect_noise((48, 48), 90).save(noise)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    inputs = [str(picture), str(noise), str(tmp_path / "broken.png")]
    assert main(["classify", *inputs, "--json", "--explain", str(tmp_path / "why")]) == 3
    found = json.loads(capsys.readouterr().out)
    results = found["results"]
    assert results[0]["image"] == str(picture)
    assert results[0]["probabilities"].keys() == set(CLASSES)
    assert results[1]["class"] is None
    assert results[1]["gate"]["accepted"] is False
    assert [*found["errors"]] == [inputs[2]]
    assert (tmp_path / "why" / "0001_9.png").is_file()
    assert results[0]["explanation"]["method"] == "gradcam"
    main(["classify", str(picture)])
    out = capsys.readouterr().out
    assert "Research use only" in out
    assert "LEAKING SPLIT, results are too good: 16.7% of 48 test slices" in out
    assert "stage" not in out.lower()


def test_weights_of_other_settings_are_refused(data, shipped, tmp_path):
    with pytest.raises(BundleError, match="was trained with preprocessing 32 x 32"):
        bundles.run(
            str(shipped), "inference", input=data / "Testing", output_dir=tmp_path, trust=True,
            classes=list(CLASSES), weights=shipped / "models" / "model.safetensors",
        )  # fmt: skip


def test_an_ensemble_is_the_mean_of_its_members(data, shipped):
    weights = shipped / "models" / "model.safetensors"
    picture = data / "Testing" / "corner" / "7.png"
    one, both = (
        Classifier(shipped, weights=files, trust=True)(picture)
        for files in (weights, [weights, weights])
    )
    assert both.probabilities == pytest.approx(one.probabilities)
    assert len(both.provenance["weights"]) == 2
