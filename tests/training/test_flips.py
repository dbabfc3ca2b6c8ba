import pytest
import torch
from monai.inferers import SimpleInferer, SlidingWindowInferer

from monai_tumor.training import FlipInferer

AXES = [(), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4)]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv3d(2, 3, 3, padding=1), torch.nn.Tanh())


@pytest.fixture
def image():
    return torch.rand(1, 2, 6, 7, 8, generator=torch.Generator().manual_seed(1))


def test_is_the_mean_of_probabilities_over_manual_flips(network, image):
    with torch.no_grad():
        output = FlipInferer(SimpleInferer())(image, network)
        manual = [torch.sigmoid(network(image.flip(a)).flip(a)) if a else network(image).sigmoid()
                  for a in AXES]  # fmt: skip
    assert torch.allclose(output.sigmoid(), torch.stack(manual).mean(0), atol=1e-6)
    assert not torch.allclose(output, network(image), atol=1e-3)


@pytest.mark.parametrize("axes", AXES[1:])
def test_a_mirrored_input_gives_the_mirrored_output(network, image, axes):
    inferer = FlipInferer(SlidingWindowInferer((6, 7, 8), mode="gaussian"))
    with torch.no_grad():
        straight, mirrored = inferer(image, network), inferer(image.flip(axes), network)
    assert torch.allclose(mirrored.flip(axes), straight, atol=1e-5)


def test_fewer_axes(network, image):
    inferer = FlipInferer(SimpleInferer(), axes=[0])
    assert inferer.flips == [(), (0,)]
    with torch.no_grad():
        a, b = network(image).sigmoid(), network(image.flip(2)).flip(2).sigmoid()
        assert torch.allclose(inferer(image, network).sigmoid(), (a + b) / 2, atol=1e-6)


def test_disabled_is_the_inner_inferer_untouched(network, image):
    output = FlipInferer(SimpleInferer(), enabled=False)(image, network)
    assert torch.equal(output, network(image))


def test_certain_probabilities_stay_finite_and_on_their_side():
    output = FlipInferer(SimpleInferer())(torch.tensor([[[[[500.0, -500.0]]]]]), lambda x: x)
    assert torch.isfinite(output).all()
    constant = FlipInferer(SimpleInferer())(torch.full((1, 1, 2, 2, 2), -500.0), lambda x: x)
    assert (constant < -10).all()


def test_half_precision_becomes_float32(image):
    output = FlipInferer(SimpleInferer())(image, lambda x: x.bfloat16())
    assert output.dtype is torch.float32
