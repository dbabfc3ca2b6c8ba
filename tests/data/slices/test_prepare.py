"""From a file to what a network sees."""

import numpy as np
import pytest
import torch
from PIL import Image

from monai_tumor.data.slices import Preparation, SlicePictures
from monai_tumor.errors import InputError


def test_grey_is_resized_and_rounded_to_8_bits(tmp_path):
    halves = np.repeat(np.array([[0, 100]], np.uint8), 20, axis=1).repeat(60, axis=0)
    Image.fromarray(halves).save(tmp_path / "a.png")
    read = Preparation(size=16).read(tmp_path / "a.png")
    assert (read.shape, read.dtype) == ((1, 16, 16), np.uint8)
    assert read[0, :, :6].max() == 0
    assert set(read[0, :, 10:].ravel()) == {100}


def test_of_its_own_size_a_picture_stays_as_it_is(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (24, 24), np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(Preparation(size=24).read(tmp_path / "a.png")[0], grey)


def test_colour_and_grey_for_a_colour_network(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / "a.png")
    Image.fromarray(colour[..., 0]).save(tmp_path / "b.png")
    made = Preparation(size=16, channels=3, mean=[0.5, 0.5, 0.25], std=0.5)
    assert np.array_equal(made.read(tmp_path / "a.png"), np.moveaxis(colour, -1, 0))
    assert made.read(tmp_path / "b.png").shape == (1, 16, 16)
    batch = torch.from_numpy(made.read(tmp_path / "b.png")[None])
    seen = made.normalised(made.unit(batch))
    assert seen.shape == (1, 3, 16, 16)
    expected = (colour[..., 0] / 255 - 0.25) / 0.5
    np.testing.assert_allclose(seen[0, 2].numpy(), expected, atol=1e-6)
    items = [{"image": tmp_path / "b.png", "label": 1}]
    found = SlicePictures(items, made)[0]
    assert found["image"].shape == (3, 16, 16)
    assert (found["label"], found["index"]) == (1, 0)


def test_what_is_beyond_the_memory_is_read_each_time(tmp_path):
    for n in range(3):
        Image.fromarray(np.full((8, 8), 50 * n, np.uint8)).save(tmp_path / f"{n}.png")
    items = [{"image": tmp_path / f"{n}.png"} for n in range(3)]
    whole, none = (SlicePictures(items, Preparation(size=8), share=s) for s in (0.5, 0.0))
    (tmp_path / "2.png").unlink()
    assert int(whole[2]["image"].max()) == 100
    assert int(none[1]["image"].max()) == 50
    with pytest.raises(InputError, match=r"no file .*2\.png"):
        none[2]


def test_the_recipe_survives_json_and_refuses_nonsense():
    made = Preparation(size=32, channels=3, mean=(0.1, 0.2, 0.3), window="lung")
    assert Preparation(**made.as_dict()) == made
    assert str(Preparation()) == "128 x 128 grey, mean 0.0, std 1.0, window file"
    with pytest.raises(InputError, match="mean has 2 numbers for 3 channels"):
        Preparation(channels=3, mean=(0.1, 0.2))
    with pytest.raises(InputError, match="4 pixels and 2 channels"):
        Preparation(size=4, channels=2)
