"""bfloat16 on CPUs that compute with it."""

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer

from monai_tumor.networks.precision import cpu_has_bf16


class AutocastInferer(Inferer):
    """Runs another inferer in bfloat16 where the input lies on a CPU that has it.

    MONAI's engines know mixed precision on CUDA alone; there this inferer does nothing and the
    engine's own `amp` is in charge. The output is float32 either way.

    Args:
        inferer: does the work: `SimpleInferer`, `SlidingWindowInferer`.
        enabled: False computes in float32.
    """

    def __init__(self, inferer: Inferer, enabled: bool = True) -> None:
        super().__init__()
        self.inferer = inferer
        self.enabled = enabled and cpu_has_bf16()

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """The inner inferer's output."""
        if inputs.device.type != "cpu" or not self.enabled:
            return self.inferer(inputs, network, *args, **kwargs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = self.inferer(inputs, network, *args, **kwargs)
        if isinstance(output, list | tuple):
            return [part.float() for part in output]
        return output.float()
