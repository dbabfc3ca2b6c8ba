import logging
import re
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from small_training import training
from torch import nn

from monai_tumor.errors import TrainingError
from monai_tumor.training import guard


class SpoilLoss:
    """Mean squared error, but `value` at the calls named, counted from 1."""

    def __init__(self, calls, value=float("nan")):
        self.calls = set(calls)
        self.value = value
        self.count = 0

    def __call__(self, prediction, label):
        self.count += 1
        loss = nn.functional.mse_loss(prediction, label)
        return loss * self.value if self.count in self.calls else loss


class SpoilGradient(SpoilLoss):
    """The loss stays finite; its gradient does not."""

    def __call__(self, prediction, label):
        self.count += 1
        loss = nn.functional.mse_loss(prediction, label)
        if self.count in self.calls:
            loss.register_hook(lambda gradient: gradient * self.value)
        return loss


class Watch:
    """The learning rate after each iteration, and whether all weights were finite."""

    def __init__(self):
        self.rates, self.finite = [], []

    def attach(self, engine):
        engine.add_event_handler(Events.STARTED, self._start)

    def _start(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note)  # so after the guard

    def _note(self, engine):
        self.rates.append(engine.optimizer.param_groups[0]["lr"])
        tensors = engine.network.state_dict().values()
        self.finite.append(all(bool(torch.isfinite(t).all()) for t in tensors))


def constant(epoch):
    return 1.0


def run(folder, loss, **options):
    watch = Watch()
    made = training(folder, loss=loss, handlers=[watch], validate=None, **options)
    made.trainer.run()
    return made, watch


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_state_of_the_last_checkpoint_comes_back(tmp_path, value):
    """The only NaN is in the last iteration, so what comes out is epoch 2's end, rate halved."""
    made, watch = run(tmp_path, SpoilLoss([15], value), max_epochs=3, decay=constant)
    reference, _ = run(tmp_path / "r", SpoilLoss([]), max_epochs=2, decay=constant)
    expected, found = reference.state(), made.state()
    assert all(torch.equal(expected[k], found[k]) for k in expected)
    assert watch.rates == [0.01] * 14 + [0.005]
    assert all(watch.finite)
    assert made.guard.rescues == 1


def test_a_rescue_before_the_first_epoch_is_done(tmp_path):
    _, watch = run(tmp_path, SpoilLoss([1]), max_epochs=1, decay=constant)
    assert watch.rates == [0.005] * 5
    assert all(watch.finite)


def test_each_rescue_lowers_once_also_with_checkpoints_in_between(tmp_path):
    made, watch = run(tmp_path, SpoilLoss([2, 4, 8]), max_epochs=3, decay=constant)
    assert watch.rates == [0.01] + [0.005] * 2 + [0.0025] * 4 + [0.00125] * 8
    assert all(watch.finite)
    assert made.schedule.base_lrs == [0.00125]
    assert made.optimizer.param_groups[0]["initial_lr"] == 0.00125


@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("decay", [None, lambda epoch: 0.5**epoch])
def test_the_schedule_goes_on_from_where_it_is(tmp_path, interval, decay):
    """Rates are the undisturbed ones, halved: a checkpoint three epochs old turns nothing back."""
    options = {"max_epochs": 4, "decay": decay}
    _, calm = run(tmp_path / "calm", SpoilLoss([]), **options)
    _, watch = run(tmp_path / "spoiled", SpoilLoss([12]), interval=interval, **options)
    expected = [rate * (1 if n < 11 else 0.5) for n, rate in enumerate(calm.rates)]
    assert watch.rates == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_a_resumed_run_keeps_the_lower_rate_and_the_count(tmp_path):
    run(tmp_path, SpoilLoss([3, 4]), max_epochs=2, decay=constant)
    made, watch = run(tmp_path, SpoilLoss([2]), max_epochs=3, decay=constant)
    assert made.guard.rescues == 3
    assert watch.rates[-1] == 0.00125
    with pytest.raises(TrainingError):
        run(tmp_path, SpoilLoss([1]), max_epochs=4, decay=constant)


def test_gives_up_after_patience_with_one_clear_line(tmp_path, caplog):
    expected = (
        "Training was not finite 3 times (last in epoch 2: the loss was nan), though the learning "
        "rate was lowered each time. Look for NaN in the data (monai-tumor inspect), or lower "
        "--learning_rate."
    )
    with (
        caplog.at_level(logging.WARNING, logger="monai_tumor"),
        pytest.raises(TrainingError, match=f"^{re.escape(expected)}$"),
    ):
        run(tmp_path, SpoilLoss([2, 6, 7]), max_epochs=4, patience=2, decay=constant)
    assert [r.getMessage() for r in caplog.records if r.name == "monai_tumor.training.guard"] == [
        "the loss was nan; the learning rate is now 0.005",
        "the loss was nan; the learning rate is now 0.0025",
    ]


def test_gradients_that_were_accumulating_are_dropped_with_the_batch(tmp_path):
    """NaN in the first of three steps must not reach the weights with the third."""
    made, watch = run(tmp_path, SpoilLoss([1]), max_epochs=1, accumulation_steps=3)
    assert all(watch.finite)
    assert made.guard.rescues == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_a_number_counts_too(tmp_path, caplog, value):
    with caplog.at_level(logging.WARNING, logger="monai_tumor.training.guard"):
        made, watch = run(tmp_path, SpoilGradient([5], value), max_epochs=2, decay=constant)
    found = [r.getMessage() for r in caplog.records if r.name == "monai_tumor.training.guard"]
    assert found == ["the norm of the gradient was nan; the learning rate is now 0.005"]
    assert made.guard.rescues == 1
    assert all(watch.finite)
    assert watch.rates == [0.01] * 4 + [0.005] * 6


def test_a_calm_training_is_left_alone(tmp_path):
    made, watch = run(tmp_path, SpoilLoss([]), max_epochs=2, decay=constant)
    assert made.guard.rescues == 0
    assert watch.rates == [0.01] * 10


def test_an_optimiser_without_a_schedule(tmp_path):
    made = training(tmp_path, loss=SpoilLoss([2, 3]), validate=None, max_epochs=1)
    del made.checkpoints.objects["lr_schedule"]
    for group in made.optimizer.param_groups:
        del group["initial_lr"]
    made.schedule.step = lambda *_: None
    made.trainer.run()
    assert made.rate == 0.0025
    assert "initial_lr" not in made.optimizer.param_groups[0]


def test_one_process_alone_makes_all_go_back(tmp_path, monkeypatch, caplog):
    """In a distributed run the flag is the greatest over the processes."""
    seen = []

    def all_reduce(flag, op):
        seen.append(op)
        flag.fill_(1.0 if len(seen) == 3 else float(flag))

    distributed = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        all_reduce=all_reduce,
        ReduceOp=torch.distributed.ReduceOp,
    )
    torch_of_two = SimpleNamespace(tensor=torch.tensor, distributed=distributed)
    monkeypatch.setattr(guard, "torch", torch_of_two)
    made, watch = run(tmp_path, SpoilLoss([]), max_epochs=1, decay=constant)
    assert made.guard.rescues == 1
    assert "the loss of another process was not finite; the learning rate is now 0.005" in (
        caplog.messages
    )
    assert watch.rates == [0.01] * 2 + [0.005] * 3
    assert set(seen) == {torch.distributed.ReduceOp.MAX}
