"""Figures of a data set; those of a training are in the bundle's own test."""

import json

import numpy as np
import pytest
from PIL import Image
from slice_pictures import make_set

from monai_tumor.cli import main
from monai_tumor.errors import InputError
from monai_tumor.services.figures import figures

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


def test_nothing_to_draw_is_said(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no scalars; feature maps, before and after: there"):
        figures(tmp_path / "run", tmp_path / "out")
