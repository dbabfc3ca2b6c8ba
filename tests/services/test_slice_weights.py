"""Weights to ship: what is refused at once. The rest is in the bundle's own test."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from slice_pictures import make_set

from monai_tumor.data.slices import slice_facts
from monai_tumor.errors import BundleError, InputError
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


def test_the_script_exports_with_the_split_it_trains_with(data, monkeypatch):
    spec = importlib.util.spec_from_file_location("train_slices", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "train_slices", script)
    spec.loader.exec_module(script)
    options = {"split_seed": 1, "similar": 0.9, "validation": 0.2, "max_epochs": 3}
    plan = script.Plan(data, data, 1, "small_resnet", ("other",), (), "", options)
    assert plan.split("groups") == {
        "test": 0.2, "allow_leak": False, "exclude": ["other"],
        "seed": 1, "similar": 0.9, "validation": 0.2,
    }  # fmt: skip
    given = plan.common("groups", 7)
    assert (given["seed"], given["split_seed"], given["exclude"]) == (7, 1, ["other"])
    assert (given["validation"], given["max_epochs"]) == (0.2, 3)
