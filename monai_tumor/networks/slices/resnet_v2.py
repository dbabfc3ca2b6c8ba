"""ResNet50V2 (normalisation before convolution), which MONAI lacks, with timm's keys."""

from collections import OrderedDict

import torch
from torch import nn

_BLOCKS = (3, 4, 6, 3)


class ResNet50V2(nn.Module):
    """Pre-activation ResNet50, timm's `resnetv2_50`; 25,549,352 parameters for RGB, 1,000 classes.

    Args:
        in_channels: 3 as published.
        num_classes: 1000 as published.
        dropout: probability, before the last layer.

    Shapes: [B, C, H, W] -> [B, num_classes]; H and W of 32 or more.

    Source: He et al., Identity mappings in deep residual networks, 2016.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 1000, dropout: float = 0.0) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False),
                pool=nn.MaxPool2d(3, 2, padding=1),
            )
        )
        stages: list[nn.Module] = []
        before = 64
        for number, count in enumerate(_BLOCKS):
            after = 256 * 2**number
            blocks: OrderedDict[str, nn.Module] = OrderedDict()
            for block in range(count):
                stride = 2 if number and block == 0 else 1
                blocks[str(block)] = _Bottleneck(before, after, stride)
                before = after
            stages.append(nn.Sequential(OrderedDict(blocks=nn.Sequential(blocks))))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(before)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.ModuleDict({"fc": nn.Conv2d(before, num_classes, 1)})
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head["fc"].weight, 0, 0.01)  # type: ignore[arg-type]
        nn.init.zeros_(self.head["fc"].bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of `x`."""
        last = self.act(self.norm(self.stages(self.stem(x))))
        return torch.flatten(self.head["fc"](self.dropout(self.pool(last))), 1)


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1, each after its normalisation, beside the identity."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inner = after // 4
        self.downsample: nn.Module | None = None
        if stride > 1 or before != after:
            conv = nn.Conv2d(before, after, 1, stride, bias=False)
            self.downsample = nn.Sequential(OrderedDict(conv=conv))
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start = torch.relu(self.norm1(x))
        beside = x if self.downsample is None else self.downsample(start)
        inner = self.conv1(start)
        inner = self.conv2(torch.relu(self.norm2(inner)))
        return self.conv3(torch.relu(self.norm3(inner))) + beside
