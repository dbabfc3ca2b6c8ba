"""The loss of a slice classifier."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from monai_tumor.networks.slices import class_logits


class SliceLoss(nn.Module):
    """Cross-entropy of the classes; of a single logit it is binary cross-entropy.

    Args:
        smoothing: share of the truth that is spread over all classes.
        weights: one a class; None counts all alike.

    Shapes: logits [B, C] or [B, 1], labels [B] -> a number.
    """

    def __init__(self, smoothing: float = 0.0, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.weights = None if weights is None else [float(w) for w in weights]

    def forward(self, output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of a batch."""
        logits = class_logits(output)
        weights = None if self.weights is None else logits.new_tensor(self.weights)
        return functional.cross_entropy(
            logits.float(), labels.long().view(-1), weights, label_smoothing=self.smoothing
        )
