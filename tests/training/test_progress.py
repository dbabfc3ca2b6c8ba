import contextlib
import io
import logging
import re
import threading

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from small_training import CPU, evaluator, items, training

from monai_tumor.training import ShowProgress

_SECONDS = r" \(\d+\.\d s\)$"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@contextlib.contextmanager
def on_a_terminal():
    with contextlib.redirect_stderr(Terminal()) as stream:
        yield stream


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, logger="monai_tumor.training.progress")
    return lambda: [r.getMessage() for r in caplog.records if r.name.endswith("progress")]


def test_plain_lines_where_there_is_no_terminal(tmp_path, lines, capsys):
    made = training(tmp_path, max_epochs=2, handlers=[ShowProgress("training")])
    ShowProgress("validation").attach(made.checkpoints.evaluator)
    made.trainer.run()
    found = lines()
    loss = float(made.trainer.state.output["loss"].detach())
    assert len(found) == 4
    assert re.match(r"training, epoch 1/2: loss \d\.\d{4}" + _SECONDS, found[0])
    assert re.match(rf"training, epoch 2/2: loss {loss:.4f}" + _SECONDS, found[2])
    dice = made.checkpoints.evaluator.state.metrics["Dice/mean"]
    assert re.match(rf"validation: 2 studies, Dice/.*Dice/mean {dice:.4f}" + _SECONDS, found[3])
    assert "HD95" not in found[3]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize(
    ("count", "batch_size", "decollate", "said"),
    [(6, 1, True, "6 studies"), (5, 2, True, "5 studies"), (3, 2, False, "3 studies"),
     (1, 1, True, "1 study")],
)  # fmt: skip
def test_an_evaluator_says_how_many_studies(lines, count, batch_size, decollate, said):
    engine = SupervisedEvaluator(
        device=CPU,
        val_data_loader=DataLoader(Dataset(items(count)), batch_size=batch_size),
        network=torch.nn.Identity(),
        inferer=SimpleInferer(),
        val_handlers=[ShowProgress("segmenting")],
        decollate=decollate,
    )
    engine.run()
    engine.run()  # counts anew
    assert len(lines()) == 2
    assert all(re.match(f"segmenting: {said}{_SECONDS}", line) for line in lines())


def test_a_bar_on_a_terminal(lines):
    engine = evaluator(torch.nn.Conv3d(4, 3, 1), val_handlers=[ShowProgress("segmenting")])
    with on_a_terminal() as terminal:
        engine.run()
    assert "segmenting" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
    assert len(lines()) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_no_bar_is_left_after_an_exception(lines, error):
    handler = ShowProgress("segmenting")
    engine = evaluator(torch.nn.Conv3d(4, 3, 1), val_handlers=[handler])

    def fail(engine):
        assert handler._bar is not None
        raise error("stop")

    engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), fail)
    with on_a_terminal() as terminal, pytest.raises(error, match=r"^stop$"):
        engine.run()
    assert handler._bar is None
    for thread in threading.enumerate():  # nor is what redraws it
        if "rich" in type(thread).__module__:
            thread.join(timeout=5)
            assert not thread.is_alive()
    shown = terminal.getvalue()
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0  # the cursor is back
    assert lines() == []


def test_a_bar_of_validation_within_a_training(tmp_path):
    """Two bars at once would raise; each ends before the next begins."""
    made = training(tmp_path, max_epochs=2, handlers=[ShowProgress("training")])
    ShowProgress("validation").attach(made.checkpoints.evaluator)
    with on_a_terminal() as terminal:
        made.trainer.run()
    assert "training, epoch 2/2" in terminal.getvalue()
    assert "validation" in terminal.getvalue()
    assert "loss " in terminal.getvalue()


def test_inactive_ranks_say_nothing(lines):
    handlers = [ShowProgress("segmenting", active=False)]
    with on_a_terminal() as terminal:
        evaluator(torch.nn.Conv3d(4, 3, 1), val_handlers=handlers).run()
    assert terminal.getvalue() == ""
    assert lines() == []
