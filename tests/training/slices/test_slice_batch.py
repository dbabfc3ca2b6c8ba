"""Batches and the loss of a slice classifier."""

import pytest
import torch

from monai_tumor.data.slices import Preparation
from monai_tumor.training.slices import Augment, PrepareBatch, SliceLoss
from monai_tumor.training.slices.figures import confusion_picture

STILL = {
    "flip": 0.0, "rotate": 0.0, "scale": 0.0, "shift": 0.0, "brightness": 0.0, "contrast": 0.0,
    "gamma": 0.0, "noise": 0.0, "erase": 0.0,
}  # fmt: skip


def batch(count=4, side=16) -> torch.Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(0))


def test_nothing_to_change_changes_nothing():
    torch.testing.assert_close(Augment(**STILL)(batch()), batch())


def test_mirrors_and_quarter_turns_move_pixels_and_lose_none():
    x = batch(64)
    mirrored = Augment(**STILL | {"flip": 1.0})(x)
    torch.testing.assert_close(mirrored, x.flip(3), atol=1e-5, rtol=0)
    down = Augment(**STILL | {"flip_rows": 1.0})(x)
    torch.testing.assert_close(down, x.flip(2), atol=1e-5, rtol=0)
    torch.manual_seed(0)
    turned = Augment(**STILL | {"quarter_turns": True})(x)
    ways = [torch.rot90(x, k, (2, 3)) for k in range(4)]
    errors = torch.stack([(turned - way).abs().amax(dim=(1, 2, 3)) for way in ways])
    assert errors.min(dim=0).values.max() < 1e-4
    assert len(set(errors.argmin(dim=0).tolist())) == 4


def test_axes_are_stretched_and_shifted_by_themselves():
    """A bright square in the middle: what moves, and how far at most."""
    torch.manual_seed(0)
    x = torch.zeros(200, 1, 40, 40)
    x[:, :, 16:24, 16:24] = 1
    across = Augment(**STILL | {"shift": 0.2, "shift_rows": 0.0, "stretch": 0.0})(x)
    assert torch.allclose(across.sum(dim=3), x.sum(dim=3), atol=1e-3)  # each row keeps its sum
    middle = (across.sum(dim=2)[:, 0] * torch.arange(40)).sum(dim=1) / 64
    assert 6.5 < (middle - 19.5).abs().max() <= 8.01
    wide = Augment(**STILL | {"stretch": 0.2})(x).sum(dim=(1, 2, 3)) / 64
    assert 1 / 1.2**2 - 0.05 < wide.min() < 0.8
    assert 1.3 < wide.max() < 1 / 0.8**2 + 0.1


def test_each_picture_by_its_own_numbers_within_bounds():
    torch.manual_seed(0)
    x = batch(1).repeat(8, 1, 1, 1)
    made = Augment()(x)
    assert made.shape == x.shape
    assert made.min() >= 0
    assert made.max() <= 1
    assert len({tuple(one.flatten().tolist()) for one in made}) == 8
    torch.manual_seed(0)
    assert torch.equal(made, Augment()(x))


def test_holes_are_black_and_at_most_a_ninth():
    torch.manual_seed(0)
    made = Augment(**STILL | {"erase": 1.0})(torch.ones(200, 1, 30, 30))
    shares = (made == 0).float().mean(dim=(1, 2, 3))
    assert set(made.unique().tolist()) == {0.0, 1.0}
    assert 0 < shares.mean() < shares.max() <= 1 / 9 + 0.01


def test_from_8_bits_to_what_the_network_sees():
    made = PrepareBatch(Preparation(size=16, mean=0.5, std=0.25))
    eight = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 16, 16)
    images, labels = made({"image": eight, "label": torch.tensor([0, 1])})
    assert images[:, 0, 0, 0].tolist() == [-2.0, 2.0]
    assert labels.tolist() == [0, 1]
    assert made({"image": eight})[1] is None


def test_loss_is_cross_entropy_and_of_one_logit_binary():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = torch.nn.functional.cross_entropy(
        logits, labels, torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.1
    )
    assert SliceLoss(0.1, [1, 2, 3])(logits, labels) == pytest.approx(float(expected))
    one, truth = torch.randn(4, 1), torch.tensor([0, 1, 1, 0])
    binary = torch.nn.functional.binary_cross_entropy_with_logits(one[:, 0], truth.float())
    assert SliceLoss()(one, truth) == pytest.approx(float(binary))


def test_confusion_is_drawn():
    picture = confusion_picture(torch.tensor([[5, 1], [0, 9]]).numpy(), ("a", "b"))
    assert picture.shape == (212, 312, 3)
    assert picture.std() > 10
