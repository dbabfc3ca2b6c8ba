"""Other last layers for a network, and training that leaves most of it as it was."""

from typing import Any

from torch import nn

from monai_tumor.networks.slices.features import head_of


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
    made = nn.Sequential(*layers, head)
    if isinstance(owner, nn.Sequential | nn.ModuleDict):
        owner._modules[last] = made
    else:
        setattr(owner, last, made)
    return network


def frozen_backbone(network: nn.Module) -> nn.Module:
    """`network`, only whose last layer learns; statistics of normalisations still follow.

    Args:
        network: changed in place.
    """
    _, head = head_of(network)
    own = {id(parameter) for parameter in head.parameters()}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in own)
    return network


def rates_by_depth(
    network: nn.Module, learning_rate: float, backbone: float = 0.1
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: the last layer at `learning_rate`, the rest slower.

    Args:
        network: whose parameters.
        learning_rate: of the last layer.
        backbone: what the rate of all others is multiplied by.
    """
    _, head = head_of(network)
    own = {id(parameter) for parameter in head.parameters()}
    rest = [p for p in network.parameters() if id(p) not in own and p.requires_grad]
    return [
        {"params": rest, "lr": learning_rate * backbone},
        {"params": list(head.parameters()), "lr": learning_rate},
    ]
