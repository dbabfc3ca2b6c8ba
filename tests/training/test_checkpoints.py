import hashlib
import json
import logging
import re

import pytest
import torch
from ignite.engine import Engine, Events
from small_training import Network, training

from monai_tumor.errors import TrainingError
from monai_tumor.training import Checkpoints, load_weights, newest_checkpoint


class PowerCutError(Exception):
    pass


class CutAt:
    """Ends the run in the middle of an epoch."""

    def __init__(self, iteration):
        self.iteration = iteration

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=self.iteration), self._cut)

    def _cut(self, engine):
        raise PowerCutError


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def flip_a_byte(path, at=200):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def bare(folder, network=None, **options):
    """Checkpoints on an engine that does nothing, to drive by hand."""
    network = network or torch.nn.Linear(2, 1)
    engine = Engine(lambda engine, batch: None)
    kept = Checkpoints(folder, {"network": network}, network, **options)
    kept.attach(engine)
    return engine, kept


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_workers": 2},
        {"accumulation_steps": 2},
        {"ema": True},
        {"ema": True, "accumulation_steps": 3, "validate": 2, "interval": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("iteration", [3, 13])
def test_a_run_that_was_cut_ends_bit_equal_to_one_that_was_not(tmp_path, options, iteration):
    whole = training(tmp_path / "whole", **options)
    whole.trainer.run()
    cut = training(tmp_path / "cut", handlers=[CutAt(iteration)], **options)
    with pytest.raises(PowerCutError):
        cut.trainer.run()
    resumed = training(tmp_path / "cut", **options)
    torch.manual_seed(99)  # whatever the new process drew before
    resumed.trainer.run()

    expected, found = whole.state(), resumed.state()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[k], found[k]) for k in expected)
    assert resumed.schedule.state_dict() == whole.schedule.state_dict()
    assert resumed.rate == whole.rate
    assert resumed.trainer.state.iteration == whole.trainer.state.iteration == 20
    assert resumed.checkpoints.best_metric == whole.checkpoints.best_metric > 0
    assert resumed.checkpoints.best_epoch == whole.checkpoints.best_epoch > 0
    assert names(tmp_path / "cut") == names(tmp_path / "whole")
    first = torch.load(tmp_path / "whole" / "model_best.pt", weights_only=True)
    second = torch.load(tmp_path / "cut" / "model_best.pt", weights_only=True)
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_the_training_does_learn_and_draw(tmp_path):
    """Else the test above would hold for a training that does nothing."""
    short = training(tmp_path / "a", max_epochs=1)
    before = short.state()
    short.trainer.run()
    after = short.state()
    assert not torch.equal(before["network.layers.0.weight"], after["network.layers.0.weight"])


def test_the_last_three_and_the_best_stay(tmp_path):
    training(tmp_path, max_epochs=5).trainer.run()
    assert names(tmp_path) == [
        *(f"epoch_0000{n}.{e}" for n in (3, 4, 5) for e in ("json", "pt")),
        "model_best.json",
        "model_best.pt",
    ]


def test_interval_and_keep_and_the_last_epoch(tmp_path):
    training(tmp_path, max_epochs=5, interval=2, keep=2, validate=None).trainer.run()
    assert [n for n in names(tmp_path) if n.endswith(".pt")] == [
        "epoch_00004.pt",
        "epoch_00005.pt",
        "model_best.pt",
    ]


def test_the_record_beside_each(tmp_path):
    training(tmp_path, max_epochs=1, record={"bundle": "b"}).trainer.run()
    for name, more in (("epoch_00001", set()), ("model_best", {"metric"})):
        record = json.loads((tmp_path / f"{name}.json").read_text())
        digest = hashlib.sha256((tmp_path / f"{name}.pt").read_bytes()).hexdigest()
        assert record["sha256"] == digest
        assert (record["epoch"], record["bundle"]) == (1, "b")
        assert set(record) == {"sha256", "epoch", "bundle"} | more


def test_a_save_that_fails_leaves_the_old_file_whole(tmp_path, monkeypatch):
    engine, kept = bare(tmp_path)
    engine.state.epoch, engine.state.iteration = 1, 5
    kept.save(engine)
    before = (tmp_path / "epoch_00001.pt").read_bytes()

    def disk_full(content, path):
        path.write_bytes(b"half")
        raise RuntimeError("no space left")

    engine.state.epoch = 2
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", disk_full)
        with pytest.raises(RuntimeError, match="no space left"):
            kept.save(engine)
    assert names(tmp_path) == ["epoch_00001.json", "epoch_00001.pt"]
    assert (tmp_path / "epoch_00001.pt").read_bytes() == before
    assert newest_checkpoint(tmp_path).name == "epoch_00001.pt"


def damage_byte(folder):
    flip_a_byte(folder / "epoch_00002.pt")


def damage_short(folder):
    path = folder / "epoch_00002.pt"
    path.write_bytes(path.read_bytes()[:100])


def damage_no_record(folder):
    (folder / "epoch_00002.json").unlink()


def damage_record(folder):
    (folder / "epoch_00002.json").write_text('{"sha2')


def damage_other_record(folder):
    (folder / "epoch_00002.json").write_text("[]")


@pytest.mark.parametrize(
    "damage",
    [damage_byte, damage_short, damage_no_record, damage_record, damage_other_record],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog, damage):
    whole = training(tmp_path, max_epochs=2, validate=None)
    whole.trainer.run()
    damage(tmp_path)
    again = training(tmp_path, max_epochs=2, validate=None)
    with caplog.at_level(logging.INFO, logger="monai_tumor"):
        again.trainer.run()
    assert caplog.messages[:2] == [
        "checkpoint epoch_00002.pt is not whole; the one before it is used",
        f"resumed after epoch 1 from {tmp_path / 'epoch_00001.pt'}",
    ]
    expected, found = whole.state(), again.state()
    assert all(torch.equal(expected[k], found[k]) for k in expected)


def test_no_whole_checkpoint_at_all(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "none") is None
    (tmp_path / "epoch_00001.pt").write_bytes(b"x")
    assert newest_checkpoint(tmp_path) is None


def test_epochs_are_told_apart_by_number_of_digits_too(tmp_path):
    engine, kept = bare(tmp_path, keep=5)
    for epoch in (9, 10, 100, 11):
        engine.state.epoch, engine.state.iteration = epoch, epoch
        kept.save(engine)
    assert newest_checkpoint(tmp_path).name == "epoch_00100.pt"


def test_a_finished_run_is_not_run_again(tmp_path):
    training(tmp_path, max_epochs=2).trainer.run()
    again = training(tmp_path, max_epochs=2)
    seen = []
    again.trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: seen.append(1))
    again.trainer.run()
    assert seen == []
    longer = training(tmp_path, max_epochs=3)
    longer.trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: seen.append(1))
    longer.trainer.run()
    assert len(seen) == 5


def test_starting_anew_forgets_the_run_before(tmp_path):
    training(tmp_path, max_epochs=5, validate=None).trainer.run()
    new = training(tmp_path, max_epochs=2, validate=None, resume=False)
    new.trainer.run()
    assert [n for n in names(tmp_path) if n.startswith("epoch") and n.endswith("pt")] == [
        "epoch_00000.pt",
        "epoch_00001.pt",
        "epoch_00002.pt",
    ]
    elsewhere = training(tmp_path / "other", max_epochs=2, validate=None)
    elsewhere.trainer.run()
    expected, found = elsewhere.state(), new.state()
    assert all(torch.equal(expected[k], found[k]) for k in expected)


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    left = tmp_path / ".tmp-0011aabb-epoch_00007.pt"
    left.write_bytes(b"half")
    training(tmp_path, max_epochs=1, validate=None).trainer.run()
    assert not left.exists()


def test_a_rank_that_is_not_the_main_one_loads_and_never_writes(tmp_path):
    engine, _ = bare(tmp_path, active=False)
    engine.run([1], max_epochs=2)
    assert names(tmp_path) == []
    main, _ = bare(tmp_path, torch.nn.Linear(2, 1))
    main.run([1, 1], max_epochs=2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    network = torch.nn.Linear(2, 1)
    engine, _ = bare(tmp_path, network, active=False)
    engine.run([1, 1], max_epochs=4)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    saved = torch.load(tmp_path / "epoch_00002.pt", weights_only=True)
    assert torch.equal(network.weight, saved["objects"]["network"]["weight"])
    assert engine.state.iteration == 8


def test_a_checkpoint_of_another_network(tmp_path):
    training(tmp_path, max_epochs=1, validate=None).trainer.run()
    expected = (
        f"{tmp_path / 'epoch_00001.pt'} is of another network or optimiser (Error(s) in loading "
        "state_dict for Network). Choose another --output_dir, or start anew with --resume False."
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(expected)}$"):
        training(tmp_path, max_epochs=2, validate=None, width=5).trainer.run()


def test_a_checkpoint_without_an_average(tmp_path):
    training(tmp_path, max_epochs=1, validate=None).trainer.run()
    with pytest.raises(TrainingError, match=r"another network or optimiser \(it holds no ema\)\."):
        training(tmp_path, max_epochs=2, validate=None, ema=True).trainer.run()


FOLD = {"fold": 0, "studies": "4 + 2 (aa)"}
OTHER = {"fold": 1, "studies": "4 + 2 (bb)"}


def test_another_fold_does_not_go_on_from_this_one(tmp_path):
    training(tmp_path, max_epochs=1, split=FOLD).trainer.run()
    assert json.loads((tmp_path / "model_best.json").read_text())["split"] == FOLD
    expected = (
        f"{tmp_path / 'epoch_00001.pt'} was trained with fold 0, this run has fold 1. "
        "Choose another --output_dir, or start anew with --resume False."
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(expected)}$"):
        training(tmp_path, max_epochs=1, split=OTHER).trainer.run()
    training(tmp_path, max_epochs=1, split=OTHER, resume=False).trainer.run()
    assert json.loads((tmp_path / "model_best.json").read_text())["split"] == OTHER


def test_another_schedule_does_not_go_on(tmp_path):
    short = {"max_epochs": 1, "learning_rate": 0.01}
    training(tmp_path, max_epochs=1, schedule=short).trainer.run()
    expected = (
        f"{tmp_path / 'epoch_00001.pt'} was trained with max_epochs 1, this run has max_epochs 3. "
        "Go on with the same, start anew with --resume False, or train on from its weights with "
        "--initial_weights in another --output_dir."
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(expected)}$"):
        training(tmp_path, max_epochs=3, schedule=short | {"max_epochs": 3}).trainer.run()


def test_a_complete_training_says_so(tmp_path, caplog):
    training(tmp_path, max_epochs=1).trainer.run()
    with caplog.at_level(logging.INFO, logger="monai_tumor"):
        training(tmp_path, max_epochs=1).trainer.run()
    assert caplog.messages == [
        f"resumed after epoch 1 from {tmp_path / 'epoch_00001.pt'}",
        "this training is complete: there is nothing left to do",
    ]


class Counter:
    """Stands for a gradient scaler."""

    def __init__(self, scale):
        self.scale = scale

    def state_dict(self):
        return {"scale": self.scale}

    def load_state_dict(self, state):
        self.scale = state["scale"]


def test_the_engines_scaler_is_kept_too(tmp_path):
    first, _ = bare(tmp_path)
    first.scaler = Counter(2.0**13)
    first.run([1], max_epochs=1)
    second, _ = bare(tmp_path)
    second.scaler = Counter(2.0**16)
    second.run([1], max_epochs=1)
    assert second.scaler.scale == 2.0**13


def judge(metrics, network):
    """An evaluator whose metric in epoch n is `metrics[n]`; an epoch not named is not validated."""
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.key_metric_name = "Dice/mean"

    def validate(engine):
        network.weight.data.fill_(engine.state.epoch)
        if engine.state.epoch in metrics:
            evaluator.state.epoch = engine.state.epoch
            evaluator.state.metrics["Dice/mean"] = metrics[engine.state.epoch]

    return evaluator, validate


def run_judged(folder, metrics, epochs):
    network = torch.nn.Linear(2, 1)
    evaluator, validate = judge(metrics, network)
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(Events.EPOCH_COMPLETED, validate)
    kept = Checkpoints(folder, {"network": network}, network, evaluator=evaluator)
    kept.attach(engine)
    engine.run([1], max_epochs=epochs)
    best = torch.load(folder / "model_best.pt", weights_only=True)
    return kept, float(best["weight"][0, 0])


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        ({1: 0.2, 2: 0.6, 3: 0.4}, 2),
        ({1: 0.2, 2: 0.2, 3: 0.2}, 1),
        ({1: 0.5}, 1),  # epochs 2 and 3 are not validated: the old figure does not make them best
        ({3: 0.1}, 3),
        ({1: float("nan"), 2: 0.3, 3: float("nan")}, 2),
        ({1: 0.4, 2: float("nan"), 3: 0.2}, 1),
    ],
)
def test_the_evaluators_metric_chooses_the_best(tmp_path, metrics, best):
    kept, weight = run_judged(tmp_path, metrics, epochs=3)
    assert weight == best
    assert kept.best_epoch == best
    assert kept.best_metric == metrics[best]
    assert json.loads((tmp_path / "model_best.json").read_text())["epoch"] == best


@pytest.mark.parametrize("metrics", [{1: float("nan")}, {}])
def test_without_a_best_the_last_weights_are_kept_and_it_is_said(tmp_path, caplog, metrics):
    with caplog.at_level(logging.WARNING, logger="monai_tumor"):
        kept, weight = run_judged(tmp_path, metrics, epochs=3)
    assert (weight, kept.best_epoch) == (3, 0)
    record = json.loads((tmp_path / "model_best.json").read_text())
    assert (record["metric"], record["epoch"]) == (None, 3)
    assert caplog.messages == [
        f"no epoch was validated with a score: {tmp_path / 'model_best.pt'} holds the last "
        "weights, not the best"
    ]


def test_the_best_metric_survives_a_restart(tmp_path):
    run_judged(tmp_path, {1: 0.6}, epochs=1)
    kept, weight = run_judged(tmp_path, {2: 0.5}, epochs=2)
    assert (weight, kept.best_metric, kept.best_epoch) == (1, 0.6, 1)
    kept, weight = run_judged(tmp_path, {3: 0.7}, epochs=3)
    assert (weight, kept.best_metric, kept.best_epoch) == (3, 0.7, 3)


def test_without_an_evaluator_the_last_is_the_best(tmp_path):
    network = torch.nn.Linear(2, 1)
    engine, kept = bare(tmp_path, network)
    engine.run([1], max_epochs=3)
    assert kept.best_epoch == 3


def test_the_best_weights_are_the_averaged_ones_and_load(tmp_path):
    run = training(tmp_path, max_epochs=2, ema=True, validate=None)
    run.trainer.run()
    fresh = Network()
    load_weights(fresh, tmp_path / "model_best.pt")
    average = run.ema.ema_model.state_dict()
    assert all(torch.equal(v, average[k]) for k, v in fresh.state_dict().items())
    assert not torch.equal(fresh.layers[0].weight, run.network.layers[0].weight)


def test_an_object_that_is_none_is_left_out(tmp_path):
    network = torch.nn.Linear(2, 1)
    kept = Checkpoints(tmp_path, {"network": network, "ema": None}, network)
    assert set(kept.objects) == {"network"}


def test_nothing_to_go_back_to(tmp_path):
    engine, kept = bare(tmp_path)
    with pytest.raises(TrainingError, match=rf"^No checkpoint in {re.escape(str(tmp_path))} to go"):
        kept.restore_weights(engine)


def test_going_back_leaves_the_count_of_epochs(tmp_path):
    network = torch.nn.Linear(2, 1)
    engine, kept = bare(tmp_path, network)
    engine.run([1], max_epochs=2)
    saved = network.weight.detach().clone()
    with torch.no_grad():
        network.weight.fill_(torch.nan)
    engine.state.epoch = 9
    kept.restore_weights(engine)
    assert torch.equal(network.weight, saved)
    assert engine.state.epoch == 9
