"""The script that trains the weights: what it trusts of an earlier run."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from monai_tumor.errors import TrainingError

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "train_weights.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_weights"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["train_weights"]


@pytest.fixture
def plan(script, tmp_path):
    made = script.Plan(tmp_path / "data", tmp_path / "out", minutes=10, jobs=1)
    made.out.mkdir()
    write_list(made, ["a", "b"])
    return made


def write_list(plan, studies):
    content = {"training": [{"study": name} for name in studies], "validation": []}
    plan.datalist("all").write_text(json.dumps(content))


def test_a_stage_is_trusted_only_where_all_is_as_it_was(script, plan, monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(script, "monai_bundle", lambda *given: trained.append(given))
    (weights := tmp_path / "model.pt").write_bytes(b"weights")
    stage = script.Stage("fine", 0.5, {"learning_rate": "2e-3"})

    def run(plan=plan, stage=stage):
        script.run(plan, "brats_segresnet", "all", stage, plan.out / "fine", weights)

    run()
    run()
    assert len(trained) == 1
    with pytest.raises(TrainingError, match=r"fine was made otherwise \(learning_rate differ from"):
        run(stage=script.Stage("fine", 0.5, {"learning_rate": "1e-3"}))
    with pytest.raises(TrainingError, match="minutes differ"):
        run(plan=script.Plan(plan.data, plan.out, minutes=20, jobs=1))
    write_list(plan, ["a", "c"])
    with pytest.raises(TrainingError, match="studies differ"):
        run()
    write_list(plan, ["a", "b"])
    weights.write_bytes(b"others")
    with pytest.raises(TrainingError, match="initial_weights differ"):
        run()
    (plan.out / "fine" / "recipe.json").unlink()
    with pytest.raises(TrainingError, match="made otherwise"):
        run()
    assert len(trained) == 1


def test_other_data_is_refused(script, plan):
    plan.data.mkdir()
    (plan.data / "a.nii").write_bytes(b"123")
    first = script.contents(plan.data)
    script.claim(plan.out / "made", {"studies": first})
    script.claim(plan.out / "made", {"studies": first})
    (plan.data / "b.nii").write_bytes(b"1")
    with pytest.raises(TrainingError, match="studies differ"):
        script.claim(plan.out / "made", {"studies": script.contents(plan.data)})


def test_a_study_that_fails_is_an_error(script, plan, monkeypatch):
    loaded = SimpleNamespace(validation_items=lambda fold: [{"image": ["in/a/t1n.nii"]}])
    monkeypatch.setattr(script.Datalist, "load", lambda path: loaded)
    given = []

    class Run:
        complete = False

        def __str__(self):
            return "a: error: no t2f"

    monkeypatch.setattr(script, "segment_all", lambda *args, **more: given.append(args) or Run())
    with pytest.raises(SystemExit, match=r"(?s)fold 1: .* not segmented.*a: error: no t2f"):
        script.segment_left_out(plan, "brats_segresnet", "1", Path("model.pt"))
    assert given == [([Path("in/a")], plan.out / "brats_segresnet" / "left_out")]
