"""TimeBudget, on a clock that goes on only when a step or a validation is taken."""

import json
import re

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import Engine, Events
from small_training import training
from torch import nn

from monai_tumor.errors import TrainingError
from monai_tumor.training import Attach, Checkpoints, TimeBudget

BOUND = 100_000


class Clock:
    now = 1234.5

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("monai_tumor.training.time_budget.time.monotonic", made)
    return made


class Run:
    """A training of five steps an epoch; one for each second, unless `seconds` says otherwise."""

    def __init__(self, clock, minutes, folder=None, validation=0.0, interval=1, **options):
        self.clock, self.validation = clock, validation
        self.network = nn.Linear(1, 1)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.5)
        self.budget = TimeBudget(self.optimizer, minutes, **options)
        self.rates, self.bounds, self.seconds = [], [], 1.0
        self.engine = Engine(self._step)
        self.budget.attach(self.engine)
        self.engine.add_event_handler(Events.EPOCH_COMPLETED, self._validate)
        if folder is not None:
            objects = {"network": self.network, "lr_schedule": self.budget}
            objects["optimizer"] = self.optimizer
            Checkpoints(folder, objects, self.network, interval=interval).attach(self.engine)

    def _step(self, engine, batch):
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.bounds.append(engine.state.max_epochs)
        self.clock.now += self.seconds

    def _validate(self, engine):
        self.clock.now += self.validation

    def __call__(self, bound=BOUND):
        start = self.clock.now
        self.engine.run(range(5), max_epochs=bound)
        self.took = self.clock.now - start
        return self


# -- the rate


@pytest.mark.parametrize(
    ("share", "rate"),
    [  # worked out by hand; 0.5 ** 0.9 is 0.535887
        (0.0, 0.01),
        (0.02, 0.2),
        (0.05, 0.5),
        (0.1, 1.0),
        (0.55, 0.535887),
        (1.0, 0.0),
        (1.1, 0.0),
    ],
)
def test_rises_and_falls(share, rate):
    budget = TimeBudget(torch.optim.SGD([torch.zeros(1)], lr=1.0), 1, warm_up=0.1)
    assert budget.rate(share) == pytest.approx(rate, abs=1e-6)


def test_without_a_warm_up_and_with_another_power():
    budget = TimeBudget(torch.optim.SGD([torch.zeros(1)], lr=1.0), 1, warm_up=0, power=2)
    assert [budget.rate(share) for share in (0.0, 0.5, 0.75)] == [1.0, 0.25, 0.0625]


def test_the_rate_follows_the_clock(clock):
    """100 steps of a second in 100 s, whatever an epoch is; the first knows of no time spent."""
    rates = Run(clock, 100 / 60, warm_up=0.1, power=1.0)().rates
    assert len(rates) == 100
    assert rates[0] == pytest.approx(0.5 * 0.01)
    assert rates[5] == pytest.approx(0.5 * 0.5)
    assert rates[10] == pytest.approx(0.5)
    assert rates[55] == pytest.approx(0.5 * 0.5)
    assert rates[99] == pytest.approx(0.5 / 90)


def test_each_group_of_weights_keeps_its_own_rate(clock):
    weights = [{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.3)]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    engine = Engine(lambda engine, batch: setattr(clock, "now", clock.now + 30))
    TimeBudget(optimizer, 1, warm_up=0, power=1.0).attach(engine)
    engine.run(range(2), max_epochs=1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.15])


# -- how many epochs


@pytest.mark.parametrize(
    ("seconds", "epochs"),
    [(60, 12), (62, 12), (63, 13), (5, 1), (7, 1), (8, 2), (1, 1)],
)
def test_ends_with_the_epoch_nearest_to_the_end(clock, seconds, epochs):
    """Epochs of five seconds."""
    run = Run(clock, seconds / 60)()
    assert run.engine.state.epoch == epochs
    assert run.took == 5 * epochs
    assert run.engine.state.max_epochs == epochs


def test_the_plan_is_known_from_the_second_epoch_on(clock):
    assert Run(clock, 1)().bounds == [BOUND] * 5 + [12] * 55


@pytest.mark.parametrize(("bound", "epochs"), [(1, 1), (7, 7), (12, 12), (13, 12)])
def test_no_more_epochs_than_asked_for(clock, bound, epochs):
    assert Run(clock, 1)(bound).engine.state.epoch == epochs


def test_validation_counts(clock):
    """Five seconds of steps and five of validation: six times in a minute."""
    run = Run(clock, 1, validation=5.0)()
    assert (run.engine.state.epoch, run.took) == (6, 60)


def test_the_plan_follows_the_speed(clock):
    """15 s for three epochs, then four times as slow: 20 s an epoch; 115 s is nearest to 120."""
    run = Run(clock, 2)

    @run.engine.on(Events.EPOCH_COMPLETED(once=3))
    def slower():
        run.seconds = 4.0

    assert run().engine.state.epoch == 8
    assert run.took == 115
    assert run.bounds[5] == 24


def test_time_that_a_slow_epoch_overran_ends_the_run_with_it(clock, tmp_path):
    """The machine stands still for an hour: its epoch is the last, and is kept."""
    run = Run(clock, 1, tmp_path, interval=1000)

    @run.engine.on(Events.ITERATION_COMPLETED(once=7))
    def stand_still():
        clock.now += 3600

    assert run().engine.state.epoch == 2
    kept = sorted(path.name for path in tmp_path.glob("*.pt"))
    assert kept == ["epoch_00000.pt", "epoch_00002.pt", "model_best.pt"]


# -- a run that goes on


def interrupted(clock, folder, epoch, minutes=1):
    """A run that stopped within an epoch."""
    run = Run(clock, minutes, folder, validation=0.0)

    @run.engine.on(Events.ITERATION_COMPLETED(once=5 * epoch + 2))
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    return run


def written(folder):
    """When each file was written; the lock on the folder apart."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("[!.]*")}


def test_time_spent_counts_and_time_between_does_not(clock, tmp_path):
    interrupted(clock, tmp_path, 4)
    clock.now += 1_000_000
    run = Run(clock, 1, tmp_path)()
    assert run.engine.state.epoch == 12
    assert run.took == 60 - 20  # the two steps of the fifth epoch are done again
    assert run.budget.spent == 60
    assert run.bounds == [12] * 40
    assert run.rates[0] == pytest.approx(0.5 * run.budget.rate(20 / 60))


def test_a_complete_run_does_nothing_more(clock, tmp_path):
    """Nor where it ended two seconds before its time, as the nearest epoch did."""
    for name, minutes, epochs in (("exact", 1, 12), ("rounded", 62 / 60, 12)):
        first = Run(clock, minutes, tmp_path / name)()
        assert first.engine.state.epoch == epochs
        files = written(tmp_path / name)
        clock.now += 1000
        again = Run(clock, minutes, tmp_path / name)()
        assert again.rates == []
        assert again.took == 0
        assert torch.equal(again.network.weight, first.network.weight)
        assert written(tmp_path / name) == files


def test_the_checkpoint_says_how_many_epochs_there_were(clock, tmp_path):
    Run(clock, 1, tmp_path, interval=1000)()
    assert json.loads((tmp_path / "epoch_00012.json").read_text())["epoch"] == 12


def test_lowered_rates_are_remembered(clock, tmp_path):
    run = interrupted(clock, tmp_path, 4)
    budget = TimeBudget(run.optimizer, 1)
    budget.base_lrs = [0.125]
    other = TimeBudget(run.optimizer, 1)
    other.load_state_dict(budget.state_dict())
    assert other.base_lrs == [0.125]


# -- with others


@pytest.mark.filterwarnings("ignore:Detected call of")
def test_a_rescue_lowers_the_rate_for_good(tmp_path):
    """`NonFiniteGuard` halves the rates that a schedule starts from, ours like torch's."""
    calls = []

    def loss(output, label):
        calls.append(1)
        error = nn.functional.mse_loss(output, label)
        return error * float("nan") if len(calls) == 3 else error

    made = training(tmp_path, loss=loss, max_epochs=2, validate=None)
    budget = TimeBudget(made.optimizer, 60, warm_up=0)
    made.checkpoints.objects["lr_schedule"] = budget
    Attach(budget).attach(made.trainer)
    rates = []

    @made.trainer.on(Events.ITERATION_COMPLETED)
    def look():
        rates.append(made.rate)

    @made.trainer.on(Events.EPOCH_COMPLETED)
    def enough():
        made.trainer.state.max_epochs = 2

    made.trainer.run()
    assert made.guard.rescues == 1
    assert budget.base_lrs == [0.005]
    assert rates == pytest.approx([0.01] * 2 + [0.005] * 8, rel=0.05)


def test_processes_follow_the_clock_of_the_first(clock, monkeypatch):
    """Else they would plan different numbers of epochs, and wait for each other for ever."""
    first = iter(range(1, 1000))

    def broadcast(spent, src):
        assert (src, spent.dtype) == (0, torch.float64)
        return torch.full_like(spent, 2.0 * next(first))

    monkeypatch.setattr(idist, "broadcast", broadcast)
    run = Run(clock, 1)()
    # Seven looks at the clock an epoch, two seconds apart on the first process: 14 s.
    assert run.engine.state.epoch == 4
    assert run.budget.spent == 56


# -- mistakes


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"minutes": 0}, "Cannot train for 0 minutes; give --minutes above 0."),
        ({"minutes": -5}, "Cannot train for -5 minutes; give --minutes above 0."),
        ({"minutes": 1, "warm_up": 1.0}, "The rate cannot rise over 1.0 of the time; "
         "give --warm_up from 0 up to 1."),
        ({"minutes": 1, "warm_up": -0.1}, "The rate cannot rise over -0.1 of the time; "
         "give --warm_up from 0 up to 1."),
    ],
)  # fmt: skip
def test_no_time_to_train_in(options, expected):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    with pytest.raises(TrainingError, match=f"^{re.escape(expected)}$"):
        TimeBudget(optimizer, **options)
