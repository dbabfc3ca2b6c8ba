"""VGG19, which MONAI lacks, with torchvision's state-dict keys."""

import torch
from torch import nn

_WIDTHS = (64, 64, 0, 128, 128, 0, *(256,) * 4, 0, *(512,) * 4, 0, *(512,) * 4, 0)  # 0: maximum


class VGG19(nn.Module):
    """VGG19 without batch normalisation; 143,667,240 parameters for RGB and 1,000 classes.

    Args:
        in_channels: 3 as published.
        num_classes: 1000 as published.
        dropout: probability, in the classifier.

    Shapes: [B, C, H, W] -> [B, num_classes]; H and W of 32 or more.

    Source: Simonyan and Zisserman, Very deep convolutional networks, 2014, configuration E.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in _WIDTHS:
            if not width:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            in_channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of `x`."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
