"""Test-time flips."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import torch
from monai.inferers import Inferer

_EDGE = 1e-6


class FlipInferer(Inferer):
    """The mean over mirrored copies of the input of another inferer's probabilities, as logits.

    Args:
        inferer: does the work.
        axes: spatial axes to mirror along, alone and together: three give eight passes.
        enabled: False runs `inferer` alone.
    """

    def __init__(
        self, inferer: Inferer, axes: Sequence[int] = (0, 1, 2), enabled: bool = True
    ) -> None:
        super().__init__()
        self.inferer = inferer
        chosen = axes if enabled else ()
        self.flips = [c for n in range(len(chosen) + 1) for c in combinations(chosen, n)]

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Logits [B, C, *spatial] of the mean probability."""
        if len(self.flips) == 1:
            return self.inferer(inputs, network, *args, **kwargs)
        total: Any = 0
        for flip in self.flips:
            dims = [axis + 2 for axis in flip]
            logits = self.inferer(torch.flip(inputs, dims), network, *args, **kwargs)
            total = total + torch.sigmoid(torch.flip(logits.float(), dims))
        return torch.logit(total / len(self.flips), eps=_EDGE)
