from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from small_training import ITEMS, training

from monai_tumor.training.gradients import ClipGradients, steps_now


class CountSteps:
    """Which iterations the optimiser really steps in, and which `steps_now` says."""

    def __init__(self):
        self.stepped, self.said, self.norms, self.recorded = [], [], [], []

    def attach(self, engine):
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._say)

    def _start(self, engine):
        def before_step(optimizer, args, kwargs):
            self.stepped.append(engine.state.iteration)
            gradients = [p.grad.flatten() for p in engine.network.parameters()]
            self.norms.append(float(torch.cat(gradients).norm()))
            self.recorded.append(engine.state.gradient_norm)

        engine.optimizer.register_step_pre_hook(before_step)

    def _say(self, engine):
        if steps_now(engine):
            self.said.append(engine.state.iteration)


@pytest.mark.parametrize("accumulation_steps", [1, 2, 3, ITEMS, 7])
def test_steps_now_is_monais_own_rule(tmp_path, accumulation_steps):
    count = CountSteps()
    training(
        tmp_path,
        max_epochs=2,
        accumulation_steps=accumulation_steps,
        validate=None,
        handlers=[count],
    ).trainer.run()
    assert count.stepped == count.said
    assert ITEMS in count.stepped


def test_steps_now_where_the_length_of_an_epoch_is_not_known():
    def at(iteration):
        state = SimpleNamespace(epoch_length=None, iteration=iteration)
        return steps_now(SimpleNamespace(state=state, accumulation_steps=2))

    assert [at(i) for i in (1, 2, 3, 4)] == [False, True, False, True]


@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_the_gradient_at_each_step_is_bounded_and_its_size_on_record(tmp_path, accumulation_steps):
    options = {
        "max_epochs": 1,
        "accumulation_steps": accumulation_steps,
        "validate": None,
        "patience": 0,
    }
    free, bound = CountSteps(), CountSteps()
    training(tmp_path / "a", max_norm=float("inf"), handlers=[free], **options).trainer.run()
    training(tmp_path / "b", max_norm=0.01, handlers=[bound], **options).trainer.run()
    assert free.norms == pytest.approx(free.recorded, rel=1e-5)
    assert max(bound.norms) <= 0.01 * (1 + 1e-5)
    assert bound.recorded[0] == pytest.approx(free.recorded[0])  # measured before the clip
    assert bound.recorded[0] > 0.01


def test_under_mixed_precision_gradients_are_unscaled_first():
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0]) * 1024
    optimizer = torch.optim.SGD([weight], lr=1.0)

    def unscale(given):
        assert given is optimizer
        weight.grad /= 1024

    engine = SimpleNamespace(
        amp=True,
        scaler=SimpleNamespace(unscale_=unscale),
        optimizer=optimizer,
        accumulation_steps=1,
        state=SimpleNamespace(iteration=1, epoch_length=4),
    )
    ClipGradients(2.5)._clip(engine)
    assert engine.state.gradient_norm == pytest.approx(5.0)
    assert weight.grad.tolist() == pytest.approx([1.5, 2.0], rel=1e-5)
