"""Weights to ship: what is refused at once. The rest is in the bundle's own test."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from slice_pictures import CLASSES, make_set

from monai_tumor.data.slices import slice_facts
from monai_tumor.errors import BundleError, InputError, TrainingError
from monai_tumor.inference import classify
from monai_tumor.services.slice_weights import export_slice_weights, slices_of_others

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train_slices.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "set", 12)


@pytest.mark.parametrize("trained", ["seed 0", "not recorded"])
def test_a_split_other_than_the_trainings_is_refused(data, trained, tmp_path):
    """Its validation side would have slices that were trained on."""
    split = slice_facts(data, validation=0.25) if trained == "seed 0" else {}
    settings = {"classes": "corner, middle"}
    record = {"options": {"settings": settings}, "split": split}
    (tmp_path / "model_best.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=r"was trained on .*, these options give 18 \+ 6 \+ 24"):
        export_slice_weights(
            tmp_path / "model_best.pt", tmp_path, dataset_dir=data,
            split={"validation": 0.25, "seed": 1}, licence="made by a test",
        )  # fmt: skip


def test_other_kinds_are_looked_at_first(data, tmp_path):
    found = slices_of_others([data])
    assert {side: len(items) for side, items in found["set"].items()} == {
        "train": 32, "validation": 0, "test": 16,
    }  # fmt: skip
    few = make_set(tmp_path / "few", 2)
    with pytest.raises(InputError, match="slices to fit a gate"):
        slices_of_others([few])
    with pytest.raises(InputError, match="absent"):
        slices_of_others([tmp_path / "absent"])
    again = make_set(tmp_path / "set", 12)
    with pytest.raises(InputError, match="another 'set'; rename the folder"):
        slices_of_others([data, again])
    with pytest.raises(InputError, match="another 'validation'"):
        slices_of_others([again.rename(tmp_path / "validation")])


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_slices", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_slices"] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["train_slices"]


def some_plan(script, data, out, **more):
    given = {
        "minutes": 1.0, "network": "small_resnet", "preset": None, "exclude": (), "others": (),
        "licence": "made by a test", "options": {"size": 32, "max_epochs": 2},
    }  # fmt: skip
    return script.Plan(data=data, out=out, **given | more)


def test_the_script_exports_with_the_split_it_trains_with(script, data):
    options = {"split_seed": 1, "similar": 0.9, "validation": 0.2, "max_epochs": 3}
    plan = some_plan(script, data, data, exclude=("other",), options=options)
    wanted = {
        "test": 0.2, "allow_leak": False, "exclude": ["other"],
        "seed": 1, "similar": 0.9, "validation": 0.2,
    }  # fmt: skip
    split = plan.split("groups")
    assert {key: split[key] for key in wanted} == wanted
    assert "dataset_dir" not in split
    given = plan.common("groups", 7)
    assert (given["seed"], given["split_seed"], given["exclude"]) == (7, 1, ["other"])
    assert (given["validation"], given["max_epochs"]) == (0.2, 3)


def test_a_preset_brings_its_split_and_its_name(script, data):
    plan = some_plan(script, data, data, preset="tanh_ct", minutes=None)
    split = plan.split("preset")
    assert (split["test"], split["similar"], split["seed"]) == (0.2, 0.75, 42)
    assert split["rename"]["Normal cases"] == "healthy"
    assert plan.shipped == ("preset", "tanh_ct")
    assert plan.overlays == plan.training_overlays == ["presets/tanh_ct"]
    timed = some_plan(script, data, data, preset="tanh_ct")
    assert timed.training_overlays == ["presets/tanh_ct", "time_budget"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "give --minutes, or a --preset"),
        (["--preset", "tanh_ct", "--network", "vgg19"], "leave out --network and --splits"),
        (["--preset", "tanh_ct", "--splits", "groups"], "leave out --network and --splits"),
    ],
)
def test_the_script_says_what_does_not_go_together(script, monkeypatch, capsys, more, said):
    command = ["train_slices.py", "--data", "d", "--out", "o", "--licence", "x", *more]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        script.main()
    assert said in capsys.readouterr().err


def test_a_training_is_trusted_only_where_all_is_as_it_was(script, tmp_path, monkeypatch):
    data = make_set(tmp_path / "set", 12)
    runs = []
    monkeypatch.setattr(script.bundles, "run", lambda *given, **options: runs.append(given[1]))
    monkeypatch.setattr(script, "evaluate_slices", lambda *given, **options: "scores")

    def train(name="groups", **more):
        script.train(some_plan(script, data, tmp_path / "out", **more), name, 0)

    train()
    train()
    assert runs == ["training", "evaluating", "evaluating"]
    with pytest.raises(TrainingError, match=r"groups/0 was made otherwise \(minutes differ from"):
        train(minutes=2.0)
    with pytest.raises(TrainingError, match=r"\(max_epochs differ from its recipe\.json\)"):
        train(options={"size": 32, "max_epochs": 3})
    with pytest.raises(TrainingError, match=r"otherwise \(amp, configs differ"):
        train(network="two_convolutions", options={"size": 32, "max_epochs": 2, "amp": False})
    with pytest.raises(TrainingError, match=r"otherwise \(studies, validation differ"):
        train(options={"size": 32, "max_epochs": 2, "validation": 0.3})
    (data / "Training" / CLASSES[0] / "0.png").rename(data / "Training" / CLASSES[0] / "z.png")
    with pytest.raises(TrainingError, match=r"otherwise \(data differ"):
        train()
    (data / "Training" / CLASSES[0] / "z.png").rename(data / "Training" / CLASSES[0] / "0.png")
    (tmp_path / "out" / "groups" / "0" / "recipe.json").unlink()
    with pytest.raises(TrainingError, match="made otherwise"):
        train()
    assert len(runs) == 3


def test_a_preset_is_trained_and_exported_under_its_name(script, tmp_path, monkeypatch, capsys):
    """The tanh CNN on pictures by chance, two epochs: the weights come with all they need."""
    monkeypatch.setattr("monai_tumor.metrics.classification.REPLICATES", 20)
    data, out = make_set(tmp_path / "set", 24), tmp_path / "out"
    command = ["train_slices.py", "--data", str(data), "--out", str(out), "--preset", "tanh_ct"]
    command += ["--licence", "made by a test", "--seeds", "0"]
    for option in ("max_epochs=2", "similar=0.999", "size=64"):
        command += ["--option", option]
    monkeypatch.setattr(sys, "argv", command)
    script.main()
    record = json.loads((out / "tanh_ct.json").read_text())
    assert record["options"]["settings"]["network"] == "tanh_cnn"
    assert record["classes"] == list(CLASSES)
    assert record["threshold"] == 0.5  # the preset states it
    assert record["gate"]["file"] == "tanh_ct_gate.safetensors"
    assert (out / "tanh_ct_gate.safetensors").is_file()
    picture = data / "Testing" / CLASSES[0] / "3.png"
    (found,) = classify(picture, weights=out / "tanh_ct.safetensors")
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.verdict is not None
    script.main()  # at once: nothing is trained again
    assert capsys.readouterr().out.count("its own epochs") == 1
