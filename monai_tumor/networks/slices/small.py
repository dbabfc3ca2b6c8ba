"""A small residual network that two CPU cores train from nothing."""

from collections.abc import Sequence

import torch
from torch import nn


class SmallResNet(nn.Module):
    """Residual network for grey slices of about 128 pixels; 1,240,516 parameters for four classes.

    Two strided convolutions bring the picture to a quarter of its side, where most of a ResNet's
    time would go; then stages of residual blocks, each at half the side of the one before. The last
    normalisation of each block starts at 0, so that the network begins shallow.

    Args:
        in_channels: 1 for grey.
        num_classes: outputs.
        widths: channels of each stage.
        blocks: residual blocks of each stage.
        dropout: probability, before the last layer.

    Shapes: [B, C, H, W] -> [B, num_classes]; any H and W of 16 or more.

    Source: He et al., Identity mappings in deep residual networks, 2016; Goyal et al., Accurate,
    large minibatch SGD, 2017, section 5.1 (blocks that start as the identity).
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 4,
        widths: Sequence[int] = (48, 96, 160),
        blocks: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        stem = [
            nn.Conv2d(in_channels, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, widths[0], 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        stages: list[nn.Module] = []
        before = widths[0]
        for number, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if number and block == 0 else 1
                stages.append(_Block(before, width, stride))
                before = width
        self.features = nn.Sequential(*stem, *stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of `x`."""
        pooled = torch.flatten(self.pool(self.features(x)), 1)
        return self.fc(self.dropout(pooled))


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside the identity, or beside a 1 x 1 where shapes differ."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(before, after, 1, bias=False),
                nn.BatchNorm2d(after),
            )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))
