"""Where a network looked."""

import numpy as np
import pytest
import torch
from torch import nn

from monai_tumor.errors import BundleError
from monai_tumor.explain import LAYERS, explain, explanation_picture, feature_maps, feature_picture
from monai_tumor.networks import slices

MADE = {
    "DenseNet201": "densenet201",
    "EfficientNetBN": "efficientnet_b0",
    "ResNet": "resnet50",
}
SIZES = {"TanhCNN": 128, "FourClassCNN": 150}


class Corner(nn.Module):
    """Class 1 is the brightness of the first quarter; its weights hold nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, 1, bias=False)
        self.features.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        self.fc = nn.Linear(512, 2)
        self.fc.weight.data.zero_()
        weights = torch.zeros(2, 16, 16)
        weights[0, :8, :8] = 0.05
        self.fc.weight.data[1] = weights.flatten()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x).flatten(1))


def make(kind: str) -> nn.Module:
    """The network for grey and two classes; VGG19 without most of its 140 million weights."""
    if kind != "VGG19":
        return getattr(slices, MADE.get(kind, kind))(in_channels=1, num_classes=2).eval()
    with torch.device("meta"):
        network = slices.VGG19(1, 2)
    network.classifier = nn.Linear(512 * 49, 2)
    network.features.to_empty(device="cpu")
    for parameter in network.features.parameters():
        nn.init.normal_(parameter, 0.01, 0.05)
    return network.eval()


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *((kind, "gradcam") for kind in LAYERS),
        ("SmallResNet", "gradcam++"),
        ("TanhCNN", "gradcam++"),
    ],
)
def test_every_network_has_a_layer_that_works(kind, method):
    side = SIZES.get(kind, 64)
    torch.manual_seed(0)
    network = make(kind)
    assert type(network).__name__ == kind
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = explain(network, torch.rand(1, 1, side, side), 1, method)
    assert found.heat.shape == (side, side)
    assert 0 <= found.heat.min() <= found.heat.max() <= 1
    assert -1 <= found.similarity <= 1
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(m._forward_hooks or m._backward_hooks for m in network.modules())


def test_occlusion_finds_what_the_class_depends_on():
    torch.manual_seed(0)
    found = explain(Corner().eval(), torch.rand(1, 1, 16, 16) + 0.2, 1, "occlusion")
    assert found.heat[:8, :8].mean() > 5 * found.heat[8:, 8:].mean()
    assert "rank correlation" in str(found)
    assert found.as_dict()["method"] == "occlusion"


def test_a_map_that_shuffling_does_not_change_is_called_so():
    class Edges(nn.Module):
        """No weights at all before the last layer: the map is the picture."""

        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Identity()
            self.fc = nn.Linear(1, 2)
            self.fc.weight.data = torch.ones(2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.features(x).mean(dim=(2, 3)))

    found = explain(Edges(), torch.rand(1, 1, 16, 16), 1, layer="features")
    assert found.similarity == pytest.approx(1.0)
    assert not found.depends_on_weights
    assert "DOES NOT DEPEND" in str(found)


def test_mistakes_are_named():
    with pytest.raises(BundleError, match="Unknown method 'lime'"):
        explain(slices.TanhCNN(1), torch.rand(1, 1, 128, 128), 0, "lime")
    with pytest.raises(BundleError, match="No layer of Corner is known"):
        explain(Corner(), torch.rand(1, 1, 16, 16), 0)


def test_feature_maps_of_every_convolution():
    network = slices.TanhCNN(1)
    x = torch.rand(1, 1, 128, 128)
    maps = feature_maps(network, x)
    assert {name: one.shape for name, one in maps.items()} == {
        "features.0": (6, 124, 124),
        "features.3": (16, 21, 21),
    }
    np.testing.assert_allclose(maps["features.0"], network.features[0](x)[0].detach(), atol=1e-6)
    assert feature_picture(maps["features.3"], columns=8, side=20).size == (176, 44)


def test_the_picture_shows_slice_map_and_shuffled_map():
    found = explain(Corner().eval(), torch.rand(1, 1, 16, 16) + 0.2, 1, layer="features")
    picture = explanation_picture(np.full((16, 16), 0.5, np.float32), found, "tumour, 90%")
    assert picture.size == (784, 320)
    assert np.ptp(np.asarray(picture.crop((0, 24, 256, 280)))) == 0
    assert np.ptp(np.asarray(picture.crop((264, 24, 520, 280)))) > 0
