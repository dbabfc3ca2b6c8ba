"""Networks for 2D slices: those of published systems, and a small one to train from nothing.

Each takes `in_channels` and `num_classes` and returns logits [B, num_classes] of [B, C, H, W].
Their state-dict keys are torchvision's or timm's, so that published weights load.
"""

from monai_tumor.networks.slices.features import class_logits, features_and_logits, head_of
from monai_tumor.networks.slices.from_monai import densenet201, efficientnet_b0, resnet50
from monai_tumor.networks.slices.heads import frozen_backbone, rates_by_depth, with_head
from monai_tumor.networks.slices.mobilenet import MobileNetV3Small
from monai_tumor.networks.slices.plain import FourClassCNN, PlainCNN, TanhCNN
from monai_tumor.networks.slices.pretrained import Pretrained, load_pretrained
from monai_tumor.networks.slices.resnet_v2 import ResNet50V2
from monai_tumor.networks.slices.small import SmallResNet
from monai_tumor.networks.slices.vgg import VGG19

__all__ = [
    "VGG19",
    "FourClassCNN",
    "MobileNetV3Small",
    "PlainCNN",
    "Pretrained",
    "ResNet50V2",
    "SmallResNet",
    "TanhCNN",
    "class_logits",
    "densenet201",
    "efficientnet_b0",
    "features_and_logits",
    "frozen_backbone",
    "head_of",
    "load_pretrained",
    "rates_by_depth",
    "resnet50",
    "with_head",
]
