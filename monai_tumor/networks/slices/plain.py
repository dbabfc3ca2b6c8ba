"""Convolutions one after the other: the networks that published reports trained from nothing."""

from itertools import pairwise

import torch
from torch import nn

from monai_tumor.errors import BundleError


class TanhCNN(nn.Module):
    """Two tanh convolutions and three linear layers; 43,961 parameters for RGB and one output.

    A report of a tumour-or-healthy classifier: 128 x 128 RGB in [0, 1], one logit. (Its text gives
    the second convolution 6 channels and a kernel of 6; only 16 and 5 give its own 256 features.)

    Args:
        in_channels: 3 as published.
        num_classes: outputs; one logit stands for two classes, as published.
        size: rows and columns of the input.

    Shapes: [B, C, size, size] -> [B, num_classes].
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 1, size: int = 128) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5),
            nn.Tanh(),
            nn.AvgPool2d(2, stride=5),
            nn.Conv2d(6, 16, 5),
            nn.Tanh(),
            nn.AvgPool2d(2, stride=5),
        )
        self.classifier = nn.Sequential(
            nn.Linear(_flat(self.features, in_channels, size), 120),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of `x`."""
        return self.classifier(torch.flatten(self.features(x), 1))


class FourClassCNN(nn.Module):
    """Nine ReLU convolutions, two layers of 512; 4,447,044 parameters for 150 x 150 RGB.

    A report of a four-class classifier of brain MRI with a web page.

    Args:
        in_channels: 3 as published.
        num_classes: 4 as published.
        size: rows and columns of the input.
        dropout: probability.

    Shapes: [B, C, size, size] -> [B, num_classes].
    """

    def __init__(
        self, in_channels: int = 3, num_classes: int = 4, size: int = 150, dropout: float = 0.3
    ) -> None:
        super().__init__()

        def pool() -> list[nn.Module]:
            return [nn.MaxPool2d(2), nn.Dropout(dropout)]

        self.features = nn.Sequential(
            *_convolutions(in_channels, 32, 64),
            *pool(),
            *_convolutions(64, 64, 64),
            nn.Dropout(dropout),
            *pool(),
            *_convolutions(64, 128, 128, 128),
            *pool(),
            *_convolutions(128, 128, 256),
            *pool(),
        )
        self.classifier = nn.Sequential(
            nn.Linear(_flat(self.features, in_channels, size), 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(512, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of `x`."""
        return self.classifier(torch.flatten(self.features(x), 1))


class PlainCNN(nn.Module):
    """Two or six ReLU convolutions, a layer of 128: a report's baselines trained from nothing.

    The report gives the number of convolutions and no widths; 32 and 64, or 32, 64 and 128 twice
    each, with a maximum over 2 x 2 after each (each pair of six), are assumed.

    Args:
        convolutions: 2 or 6.
        in_channels: of the input.
        num_classes: 4 as published.

    Shapes: [B, C, H, W] -> [B, num_classes]; H and W of 32 or more.

    Raises:
        BundleError: another number of convolutions.
    """

    def __init__(self, convolutions: int = 2, in_channels: int = 3, num_classes: int = 4) -> None:
        super().__init__()
        if convolutions not in (2, 6):
            raise BundleError(f"PlainCNN has 2 or 6 convolutions, not {convolutions}.")
        each = convolutions == 6
        widths = (32, 64, 128) if each else (32, 64)
        layers: list[nn.Module] = []
        for width in widths:
            layers += _convolutions(in_channels, *(width, width) if each else (width,))
            layers.append(nn.MaxPool2d(2))
            in_channels = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(in_channels, 128), nn.ReLU(), nn.Linear(128, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of `x`."""
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


def _convolutions(*channels: int) -> list[nn.Module]:
    """3 x 3 without padding, each with a ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3), nn.ReLU()]
    return layers


@torch.no_grad()
def _flat(features: nn.Module, in_channels: int, size: int) -> int:
    """How many numbers `features` makes of a picture."""
    try:
        return int(features(torch.zeros(1, in_channels, size, size)).numel())
    except RuntimeError:
        raise BundleError(f"Pictures of {size} pixels are too small for this network.") from None
