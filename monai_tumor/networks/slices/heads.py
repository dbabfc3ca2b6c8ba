"""Other last layers for a network, and training that leaves most of it as it was."""

from typing import Any

from torch import nn

from monai_tumor.networks.slices.features import Head, head_name, head_of


def with_head(network: nn.Module, dropout: float = 0.5, norm: bool = False) -> nn.Module:
    """`network`, its last layer preceded by dropout and, if `norm`, batch normalisation.

    Args:
        network: changed in place; one that ends in a linear layer.
        dropout: probability.
        norm: normalise each feature over the batch, after the dropout.
    """
    name, head = head_of(network)
    layers: list[nn.Module] = [nn.Dropout(dropout)]
    if isinstance(head, nn.Linear):
        layers += [nn.BatchNorm1d(head.in_features)] if norm else []
    else:
        layers += [nn.BatchNorm2d(head.in_channels)] if norm else []
    parent, _, last = name.rpartition(".")
    owner = network.get_submodule(parent)
    made = Head(*layers, head)
    if isinstance(owner, nn.Sequential | nn.ModuleDict):
        owner._modules[last] = made
    else:
        setattr(owner, last, made)
    return network


def frozen_backbone(network: nn.Module) -> nn.Module:
    """`network`, only whose head learns; statistics of normalisations still follow.

    Args:
        network: changed in place.
    """
    own = {id(parameter) for parameter in _head(network).parameters()}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in own)
    return network


def rates_by_depth(
    network: nn.Module, learning_rate: float, backbone: float = 0.1
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: the head at `learning_rate`, the rest slower.

    Args:
        network: whose parameters.
        learning_rate: of the head: the last layer, and what `with_head` put before it.
        backbone: what the rate of all others is multiplied by.
    """
    head = _head(network)
    own = {id(parameter) for parameter in head.parameters()}
    rest = [p for p in network.parameters() if id(p) not in own and p.requires_grad]
    return [
        {"params": list(head.parameters()), "lr": learning_rate},
        {"params": rest, "lr": learning_rate * backbone},
    ]


def _head(network: nn.Module) -> nn.Module:
    return network.get_submodule(head_name(network))
