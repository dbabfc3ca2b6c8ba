"""MobileNetV3-Small, which MONAI lacks, with torchvision's state-dict keys."""

from functools import partial
from typing import NamedTuple

import torch
from torch import nn

_Norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class Row(NamedTuple):
    """One block of table 2 in the paper: kernel, channels within and out, excitation, swish."""

    kernel: int
    inner: int
    out: int
    excites: bool
    swish: bool
    stride: int


ROWS = (
    Row(3, 16, 16, True, False, 2),
    Row(3, 72, 24, False, False, 2),
    Row(3, 88, 24, False, False, 1),
    Row(5, 96, 40, True, True, 2),
    Row(5, 240, 40, True, True, 1),
    Row(5, 240, 40, True, True, 1),
    Row(5, 120, 48, True, True, 1),
    Row(5, 144, 48, True, True, 1),
    Row(5, 288, 96, True, True, 2),
    Row(5, 576, 96, True, True, 1),
    Row(5, 576, 96, True, True, 1),
)


class MobileNetV3Small(nn.Module):
    """MobileNetV3-Small; 2,542,856 parameters for RGB and 1,000 classes.

    Args:
        in_channels: 3 as published.
        num_classes: 1000 as published.
        dropout: probability, before the last layer.

    Shapes: [B, C, H, W] -> [B, num_classes]; H and W of 32 or more.

    Source: Howard et al., Searching for MobileNetV3, 2019.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 1000, dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(in_channels, 16, 3, 2, act=nn.Hardswish)]
        before = 16
        for row in ROWS:
            layers.append(_Inverted(before, row))
            before = row.out
        layers.append(_convolution(before, 576, 1, act=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(576, 1024),
            nn.Hardswish(inplace=True),
            nn.Dropout(dropout, inplace=True),
            nn.Linear(1024, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of `x`."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def _convolution(
    before: int,
    after: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    act: type[nn.Module] | None = None,
) -> nn.Sequential:
    """Convolution, normalisation, activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        _Norm(after),
    ]
    if act is not None:
        layers.append(act(inplace=True))
    return nn.Sequential(*layers)


class _Inverted(nn.Module):
    """Widen, look at each channel by itself, excite, narrow."""

    def __init__(self, before: int, row: Row) -> None:
        super().__init__()
        act = nn.Hardswish if row.swish else nn.ReLU
        layers: list[nn.Module] = []
        if row.inner != before:
            layers.append(_convolution(before, row.inner, 1, act=act))
        layers.append(
            _convolution(row.inner, row.inner, row.kernel, row.stride, row.inner, act=act)
        )
        if row.excites:
            layers.append(_Excite(row.inner, _eighths(row.inner / 4)))
        layers.append(_convolution(row.inner, row.out, 1))
        self.block = nn.Sequential(*layers)
        self.adds = row.stride == 1 and before == row.out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x) if self.adds else self.block(x)


class _Excite(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squeezed = self.activation(self.fc1(self.avgpool(x)))
        return x * self.scale_activation(self.fc2(squeezed))


def _eighths(channels: float) -> int:
    """The multiple of 8 next to `channels`, not less than 90% of it."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near
