"""The 2D networks: as large as published, with the keys that others use."""

import pytest
import torch
from torch import nn

from monai_tumor.errors import BundleError
from monai_tumor.networks import slices

# As torchvision, timm, Keras-free reports and MONAI's own papers state them; 1,000 classes of RGB.
PUBLISHED = {
    "densenet201": 20_013_928,
    "MobileNetV3Small": 2_542_856,
    "VGG19": 143_667_240,
    "resnet50": 25_557_032,
    "efficientnet_b0": 5_288_548,
    "ResNet50V2": 25_549_352,
}
SMALL = ("MobileNetV3Small", "efficientnet_b0", "SmallResNet", "PlainCNN")


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_many_parameters_as_published(name):
    with torch.device("meta"):
        network = getattr(slices, name)()
    assert count(network) == PUBLISHED[name]


def test_as_many_parameters_as_the_reports_state():
    assert count(slices.TanhCNN()) == 43_961
    assert count(slices.FourClassCNN()) == 4_447_044
    assert count(slices.SmallResNet()) == 1_240_516
    assert len([m for m in slices.PlainCNN(2).modules() if isinstance(m, nn.Conv2d)]) == 2
    assert len([m for m in slices.PlainCNN(6).modules() if isinstance(m, nn.Conv2d)]) == 6


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_of_grey_and_colour(name, channels):
    network = getattr(slices, name)(in_channels=channels, num_classes=5).eval()
    assert network(torch.rand(2, channels, 64, 64)).shape == (2, 5)


def test_sizes_of_the_reports():
    assert slices.TanhCNN()(torch.rand(2, 3, 128, 128)).shape == (2, 1)
    assert slices.TanhCNN(1, 3, size=64)(torch.rand(2, 1, 64, 64)).shape == (2, 3)
    assert slices.FourClassCNN(1).eval()(torch.rand(1, 1, 150, 150)).shape == (1, 4)
    with pytest.raises(BundleError, match="of 8 pixels are too small"):
        slices.TanhCNN(size=8)
    with pytest.raises(BundleError, match="2 or 6"):
        slices.PlainCNN(4)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("VGG19", ["features.34.weight", "classifier.6.bias"]),
        ("MobileNetV3Small", ["features.1.block.1.fc1.bias", "features.12.1.running_mean"]),
        ("MobileNetV3Small", ["features.4.block.3.0.weight", "classifier.3.weight"]),
        ("resnet50", ["layer1.0.downsample.1.running_var", "layer4.2.conv3.weight", "fc.bias"]),
        ("ResNet50V2", ["stem.conv.weight", "stages.3.blocks.0.downsample.conv.weight"]),
        ("ResNet50V2", ["stages.0.blocks.2.norm3.running_var", "norm.bias", "head.fc.weight"]),
    ],
)
def test_keys_are_those_of_torchvision_and_timm(name, keys):
    with torch.device("meta"):
        assert set(keys) <= set(getattr(slices, name)().state_dict())


def test_features_are_what_the_last_layer_sees():
    network = slices.SmallResNet(num_classes=3).eval()
    features, logits = slices.features_and_logits(network, torch.rand(2, 1, 32, 32))
    assert features.shape == (2, 160)
    torch.testing.assert_close(network.fc(features), logits)
    with pytest.raises(BundleError, match="does not end in a linear layer"):
        slices.head_of(nn.Conv2d(1, 1, 3))


def test_one_logit_is_two_classes():
    one = torch.tensor([[-1.5], [0.0], [2.0]])
    two = slices.class_logits(one)
    torch.testing.assert_close(two.softmax(1)[:, 1:], torch.sigmoid(one))
    loss = nn.functional.cross_entropy(two, torch.tensor([0, 1, 1]))
    expected = nn.functional.binary_cross_entropy_with_logits(one[:, 0], torch.tensor([0.0, 1, 1]))
    torch.testing.assert_close(loss, expected)
    assert slices.class_logits(two) is two


@pytest.mark.parametrize("name", SMALL)
def test_other_heads_and_frozen_backbones(name):
    network = slices.with_head(getattr(slices, name)(num_classes=3), dropout=0.5, norm=True)
    assert network.eval()(torch.rand(2, 1 if name == "SmallResNet" else 3, 64, 64)).shape == (2, 3)
    assert any(isinstance(m, nn.BatchNorm1d) for m in network.modules())
    groups = slices.rates_by_depth(network, 0.1, backbone=0.01)
    assert [group["lr"] for group in groups] == [0.1, pytest.approx(0.001)]
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    slices.frozen_backbone(network)
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert len(learning) == 4  # of the last layer and of the normalisation before it
    assert len(slices.rates_by_depth(network, 0.1)[1]["params"]) == 0
