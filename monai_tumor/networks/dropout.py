"""Dropout for networks that are defined without it."""

from monai.networks.nets.segresnet import SegResNet
from torch import nn


def with_dropout(network: nn.Module, probability: float) -> nn.Module:
    """`network`, each SegResNet in it with dropout of whole channels after its first convolution.

    As if built with `dropout_prob`; other networks stay as they are. The weights keep their names.

    Args:
        network: changed in place; may hold SegResNets, as an ensemble does.
        probability: of a channel to become 0.
    """
    for part in [part for part in network.modules() if isinstance(part, SegResNet)]:
        part.dropout_prob = probability
        part.dropout = nn.Dropout3d(probability)
    return network
