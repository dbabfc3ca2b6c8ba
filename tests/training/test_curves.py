import time

import pytest
import torch
from ignite.engine import Engine, Events
from small_training import ITEMS, evaluator, training
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from monai_tumor.training import TrainingCurves, ValidationCurves, summary_writer

EACH_ITERATION = {"loss", "learning_rate", "gradient_norm", "throughput/samples_per_second"}
EACH_VALIDATION = {"Dice/mean"} | {
    f"{score}/{region}"
    for score in ("Dice", "HD95", "lesion-wise Dice")
    for region in ("TC", "WT", "ET")
}


class Seen:
    """What the trainer had at each iteration, gathered apart from the curves."""

    def __init__(self, delay=0.0):
        self.loss, self.rate, self.norm = [], [], []
        self.delay = delay

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, lambda e: time.sleep(self.delay))

    def _note(self, engine):
        self.loss.append(float(engine.state.output["loss"].detach()))
        self.norm.append(engine.state.gradient_norm)
        self.rate.append(engine.optimizer.param_groups[0]["lr"])


def read(folder):
    log = EventAccumulator(str(folder))
    log.Reload()
    return log


@pytest.fixture
def written(tmp_path):
    """A training of two epochs with every curve."""
    writer = summary_writer(tmp_path / "log")
    made = training(tmp_path / "checkpoints", max_epochs=2)
    judge = made.checkpoints.evaluator
    ValidationCurves(writer).attach(judge)
    seen = Seen()
    seen.attach(made.trainer)
    chosen = {"bundle": "brats_unetr", "learning_rate": 0.01, "tta": True, "window": [8, 8, 8]}
    TrainingCurves(writer, chosen, judge).attach(made.trainer)
    made.trainer.run()
    writer.close()
    return read(tmp_path / "log"), seen, judge


def test_tags_and_values(written):
    log, seen, judge = written
    assert set(log.Tags()["scalars"]) >= EACH_ITERATION | EACH_VALIDATION
    for tag, values in (
        ("loss", seen.loss),
        ("learning_rate", seen.rate),
        ("gradient_norm", seen.norm),
    ):
        assert [event.step for event in log.Scalars(tag)] == list(range(1, 2 * ITEMS + 1))
        assert [event.value for event in log.Scalars(tag)] == pytest.approx(values, rel=1e-6)
    for tag in EACH_VALIDATION:
        events = log.Scalars(tag)
        assert [event.step for event in events][:2] == [1, 2]
        assert events[-1].value == pytest.approx(judge.state.metrics[tag])


def test_an_hparams_entry_holds_what_was_chosen(written):
    log, _, _ = written
    content = log.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    chosen = HParamsPluginData.FromString(content).session_start_info.hparams
    assert chosen["bundle"].string_value == "brats_unetr"
    assert chosen["learning_rate"].number_value == 0.01
    assert chosen["tta"].number_value == 1  # torch writes a bool as a number
    assert chosen["window"].string_value == "[8, 8, 8]"
    content = log.summary_metadata["_hparams_/experiment"].plugin_data.content
    shown = HParamsPluginData.FromString(content).experiment.metric_infos
    assert {info.name.tag for info in shown} == EACH_VALIDATION
    assert "_hparams_/session_end_info" in log.summary_metadata


def test_throughput_counts_samples_and_the_wait_for_them(tmp_path):
    writer = summary_writer(tmp_path / "log")
    made = training(tmp_path / "c", max_epochs=1, validate=None)
    TrainingCurves(writer).attach(made.trainer)
    Seen(delay=0.05).attach(made.trainer)
    made.trainer.run()
    writer.close()
    speeds = [event.value for event in read(tmp_path / "log").Scalars(
        "throughput/samples_per_second"
    )]  # fmt: skip
    assert len(speeds) == ITEMS
    # Two crops a step, and at least 0.05 s for each.
    assert all(0 < speed <= 2 / 0.05 for speed in speeds)


def test_without_a_gradient_norm_there_is_no_such_curve(tmp_path):
    writer = summary_writer(tmp_path)
    engine = Engine(lambda engine, batch: {"loss": torch.tensor(2.0), "image": torch.zeros(3, 1)})
    engine.optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    TrainingCurves(writer).attach(engine)
    engine.run([0])
    writer.close()
    log = read(tmp_path)
    assert EACH_ITERATION - set(log.Tags()["scalars"]) == {"gradient_norm"}
    assert log.Scalars("learning_rate")[0].value == 0.5


def test_a_rank_that_does_not_write(tmp_path):
    assert summary_writer(tmp_path / "log", active=False) is None
    made = training(tmp_path / "c", max_epochs=1)
    TrainingCurves(None, {"a": 1}).attach(made.trainer)
    ValidationCurves(None).attach(made.checkpoints.evaluator)
    made.trainer.run()
    assert not (tmp_path / "log").exists()


def test_an_evaluation_by_itself_writes_one_point(tmp_path):
    writer = summary_writer(tmp_path)
    judge = evaluator(torch.nn.Conv3d(4, 3, 1))
    ValidationCurves(writer).attach(judge)
    judge.run()
    writer.close()
    log = read(tmp_path)
    assert set(log.Tags()["scalars"]) == EACH_VALIDATION
    assert all(len(log.Scalars(tag)) == 1 for tag in EACH_VALIDATION)
