"""The last layer of any of these networks, what goes into it, and what comes out of it."""

import torch
from torch import nn

from monai_tumor.errors import BundleError


class Head(nn.Sequential):
    """What `heads.with_head` puts in the last layer's place: dropout and more, then that layer."""


def head_of(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Name and module of the last layer, which makes the logits.

    Raises:
        BundleError: the network does not end in a linear layer or a 1 x 1 convolution.
    """
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    if layers:
        name, last = layers[-1]
        if isinstance(last, nn.Linear) or last.kernel_size == (1, 1):
            return name, last
    raise BundleError(
        f"{type(network).__name__} does not end in a linear layer, so it is no classifier of ours."
    )


def head_name(network: nn.Module) -> str:
    """Name of all that is not the published network's: the last layer, or the `Head` around it.

    Raises:
        BundleError: as `head_of`.
    """
    name, _ = head_of(network)
    owner = name.rpartition(".")[0]
    return owner if isinstance(network.get_submodule(owner), Head) else name


def features_and_logits(network: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What goes into the last layer, [B, F], and the logits of the classes, [B, C].

    Args:
        network: in any mode; best `eval`.
        x: [B, channels, H, W].
    """
    seen: list[torch.Tensor] = []
    _, head = head_of(network)
    hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        logits = network(x)
    finally:
        hook.remove()
    return torch.flatten(seen[0], 1), class_logits(logits)


def class_logits(output: torch.Tensor) -> torch.Tensor:
    """One logit a class, [B, C]; a single logit, [B, 1], becomes those of two classes, [B, 2].

    The first class then has the logit 0, so that softmax gives what the sigmoid of the one logit
    gives, and cross-entropy what binary cross-entropy gives.
    """
    if output.shape[1] > 1:
        return output
    return torch.cat([torch.zeros_like(output), output], dim=1)
