"""MONAI's own 2D networks, made as they were published."""

from monai.networks.nets import DenseNet201, EfficientNetBN, ResNet
from monai.networks.nets import resnet50 as monai_resnet50
from torch import nn


def densenet201(in_channels: int = 3, num_classes: int = 1000, dropout: float = 0.0) -> DenseNet201:
    """DenseNet201; 20,013,928 parameters for RGB and 1,000 classes.

    Source: Huang et al., Densely connected convolutional networks, 2017.
    """
    return DenseNet201(
        spatial_dims=2, in_channels=in_channels, out_channels=num_classes, dropout_prob=dropout
    )


def resnet50(in_channels: int = 3, num_classes: int = 1000) -> ResNet:
    """ResNet50; 25,557,032 parameters for RGB and 1,000 classes.

    MONAI's defaults are those of a 3D network: another stride, and biases beside normalisations.

    Source: He et al., Deep residual learning for image recognition, 2016, with the stride in the
    3 x 3 convolution.
    """
    return monai_resnet50(
        spatial_dims=2,
        n_input_channels=in_channels,
        num_classes=num_classes,
        conv1_t_stride=2,
        bias_downsample=False,
    )


def efficientnet_b0(
    in_channels: int = 3, num_classes: int = 1000, dropout: float = 0.2
) -> EfficientNetBN:
    """EfficientNet-B0; 5,288,548 parameters for RGB and 1,000 classes.

    It pads as TensorFlow does, so weights that were trained with even padding start a little off.

    Args:
        in_channels: 3 as published.
        num_classes: 1000 as published.
        dropout: probability, before the last layer.

    Source: Tan and Le, EfficientNet, 2019.
    """
    network = EfficientNetBN(
        "efficientnet-b0",
        spatial_dims=2,
        in_channels=in_channels,
        num_classes=num_classes,
        pretrained=False,
    )
    network._dropout = nn.Dropout(dropout)
    network.set_swish(memory_efficient=False)  # so that it can be exported and explained
    return network
