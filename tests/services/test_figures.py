"""Figures of a data set; those of a training are in the bundle's own test."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from slice_pictures import make_set
from torch.utils.tensorboard import SummaryWriter

from monai_tumor.cli import main
from monai_tumor.errors import InputError
from monai_tumor.metrics.predictions import Predictions
from monai_tumor.services.figures import _of_test_side, figures

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")


def pixels(path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_a_data_set_is_drawn(tmp_path, capsys):
    data = make_set(tmp_path / "set", 4)
    (data / "Training" / "corner" / "0.png").write_bytes(b"no picture")
    assert main(["figures", str(data), "-o", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {*found["files"]} == {"samples", "grid", "classes", "augmented"}
    assert pixels(found["files"]["samples"]).shape[1] > 5 * 160
    again = figures(data, tmp_path / "again")
    assert again.files["samples"].read_bytes() == (tmp_path / "out" / "samples.png").read_bytes()


def test_each_preset_shows_its_own_augmentation(tmp_path):
    """The tanh CNN's report changes nothing; the EfficientNet's turns by up to 90 degrees."""
    data = make_set(tmp_path / "set", 4)
    assert "augmented" not in figures(data, tmp_path, overlays=["presets/tanh_mri"]).files
    turned = figures(data, tmp_path, overlays=["presets/efficientnet_mri"]).files["augmented"]
    rows = [pixels(turned)[52 + n * 178 :][:144] for n in range(3)]
    assert np.abs(rows[0].astype(int) - rows[1]).mean() > 10
    assert np.abs(rows[1].astype(int) - rows[2]).mean() > 10


def test_a_data_set_of_damaged_pictures_is_drawn_without_augmentation(tmp_path):
    data = make_set(tmp_path / "set", 2)
    for path in data.rglob("*.png"):
        path.write_bytes(b"no picture")
    made = figures(data, tmp_path / "out")
    assert {*made.files} == {"samples", "grid", "classes"}
    assert made.left_out == ("augmented: all 6 pictures that were drawn are damaged",)


def test_curves_without_a_finite_value_are_left_out(tmp_path):
    with SummaryWriter(tmp_path / "run" / "tensorboard") as writer:
        for step in range(300):
            writer.add_scalar("training/loss", np.nan, step)
            writer.add_scalar("validation/log_loss", 1 / (1 + step), step)
            writer.add_scalar("learning_rate", np.nan, step)
            writer.add_scalar("loss", np.nan if step % 2 else 0.5, step)
    made = figures(tmp_path / "run", tmp_path / "out")
    assert {*made.files} == {"curve_loss", "steps_loss"}
    assert {*made.left_out[:2]} == {
        "curve of training/loss: no value is finite", "curve of learning_rate: no value is finite",
    }  # fmt: skip


def test_there_is_no_picture_beyond_the_test_side():
    names = ("a.png", "b.png", "c.png")
    test = Predictions(np.zeros((3, 2)), np.zeros(3, np.int64), ("a", "b"), names)
    found = [_of_test_side(test, number) for number in (1, 3, None)]
    assert found == [(Path("a.png"), None), (Path("c.png"), None), (Path("c.png"), None)]
    for number in (-1, 0, 4):
        with pytest.raises(InputError, match=f"no picture {number} on .*; give --image 1 to 3"):
            _of_test_side(test, number)


def test_nothing_to_draw_is_said(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no scalars; feature maps, before and after: there"):
        figures(tmp_path / "run", tmp_path / "out")
