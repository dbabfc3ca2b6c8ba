"""Where in a slice a classifier looked: Grad-CAM, Grad-CAM++, occlusion, feature maps.

A map is a hint, no proof. One check is always made, that of Adebayo et al. (Sanity checks for
saliency maps, 2018): with the network's weights shuffled the map must become another; one that
stays shows the picture's edges, not what the network learnt.
"""

import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn
from torch.nn import functional

from monai_tumor.errors import BundleError
from monai_tumor.networks.slices import class_logits

Method = Literal["gradcam", "gradcam++", "occlusion"]
METHODS = get_args(Method)
# Network -> the last layer that still has a place for each part of the picture.
LAYERS: Mapping[str, str] = {
    "DenseNet201": "class_layers.relu",
    "EfficientNetBN": "_conv_head",
    "FourClassCNN": "features",
    "MobileNetV3Small": "features",
    "PlainCNN": "features",
    "ResNet": "layer4",
    "ResNet50V2": "norm",
    "SmallResNet": "features",
    "TanhCNN": "features.4",
    "VGG19": "features",
}
CHANGED = 0.5  # rank correlation below which the map of shuffled weights counts as another


@dataclass(frozen=True)
class Explanation:
    """Where a classifier looked.

    Attributes:
        method: "gradcam", "gradcam++" or "occlusion".
        layer: whose activations; "" for occlusion.
        class_number: whose logit.
        heat: float32 [H, W] in [0, 1]; all 0 where nothing speaks for the class.
        shuffled: the same with the network's weights shuffled.
        similarity: rank correlation of the two, -1 to 1; 0 where one of them is all alike.
    """

    method: Method
    layer: str
    class_number: int
    heat: NDArray[np.float32]
    shuffled: NDArray[np.float32]
    similarity: float

    @property
    def depends_on_weights(self) -> bool:
        """Whether the map becomes another with shuffled weights."""
        return self.similarity < CHANGED

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; without the maps."""
        return {
            "method": self.method,
            "layer": self.layer,
            "class": self.class_number,
            "similarity_with_shuffled_weights": round(self.similarity, 4),
            "depends_on_weights": self.depends_on_weights,
        }

    def __str__(self) -> str:
        """One line."""
        verdict = "depends" if self.depends_on_weights else "DOES NOT DEPEND"
        return (
            f"{self.method}: the map {verdict} on what the network learnt (rank correlation with"
            f" that of shuffled weights {self.similarity:.2f})"
        )


class _Classes(nn.Module):
    """A network with one logit a class, and nothing done in place."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = deepcopy(network).to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
        for module in self.network.modules():
            if getattr(module, "inplace", False):
                module.inplace = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [B, C]."""
        return class_logits(self.network(x))


def explain(
    network: nn.Module,
    image: torch.Tensor,
    class_number: int,
    method: Method = "gradcam",
    *,
    layer: str | None = None,
    seed: int = 0,
) -> Explanation:
    """Where `network` looked for a class.

    Args:
        network: a classifier of slices; it is copied and stays as it is.
        image: what the network sees, [1, C, H, W].
        class_number: whose logit.
        method: "gradcam", "gradcam++", or "occlusion", which is some hundred times slower.
        layer: whose activations; by default that of `LAYERS`.
        seed: of the shuffling.

    Raises:
        BundleError: unknown method, or a network without a known layer.
    """
    if method not in METHODS:
        raise BundleError(f"Unknown method {method!r}; choose of {', '.join(METHODS)}.")
    name = "" if method == "occlusion" else layer or layer_of(network)
    image = image.contiguous()
    heat = _map(_Classes(network), image, class_number, method, name)
    shuffled = _map(_Classes(_shuffled(network, seed)), image, class_number, method, name)
    return Explanation(method, name, class_number, heat, shuffled, _alike(heat, shuffled))


def layer_of(network: nn.Module) -> str:
    """The layer to look at, from `LAYERS`.

    Raises:
        BundleError: the network is not in it.
    """
    kind = type(network).__name__
    if kind not in LAYERS:
        raise BundleError(
            f"No layer of {kind} is known to explain it by; name one, or use occlusion."
        )
    return LAYERS[kind]


@torch.no_grad()
def feature_maps(network: nn.Module, image: torch.Tensor) -> dict[str, NDArray[np.float32]]:
    """What each convolution makes of a picture: name -> [channels, rows, columns].

    Args:
        network: any.
        image: what it sees, [1, C, H, W].
    """
    found: dict[str, NDArray[np.float32]] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, made: torch.Tensor) -> None:  # noqa: ARG001
            found[name] = made[0].float().cpu().numpy()

        return hook

    hooks = [
        module.register_forward_hook(keep(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        network.eval()(image)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _map(
    network: _Classes, image: torch.Tensor, number: int, method: Method, layer: str
) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's own, of hooks
        from monai.visualize import GradCAM, GradCAMpp, OcclusionSensitivity

        if method == "occlusion":
            side = max(image.shape[-1] // 8, 4)
            occlude = OcclusionSensitivity(network, mask_size=side, n_batch=32, verbose=False)
            with torch.no_grad():
                whole = torch.softmax(network(image), dim=1)[0, number]
                made = (whole - occlude(image)[0][:, number : number + 1]).clamp_min(0)
        else:
            kind = GradCAM if method == "gradcam" else GradCAMpp
            wanted = image.detach().clone().requires_grad_()  # frozen layers have gradients too
            made = kind(network, f"network.{layer}").compute_map(wanted, class_idx=number)
    made = torch.as_tensor(made).detach().float()
    made = functional.interpolate(made, image.shape[2:], mode="bilinear", align_corners=False)
    heat = np.asarray(made[0, 0].cpu().numpy(), np.float32)
    spread = float(heat.max() - heat.min())
    return (heat - heat.min()) / spread if spread > 1e-12 else np.zeros_like(heat)


@torch.no_grad()
def _shuffled(network: nn.Module, seed: int) -> nn.Module:
    """A copy in which the numbers within each tensor of weights have changed places."""
    copy = deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    for parameter in copy.parameters():
        order = torch.randperm(parameter.numel(), generator=generator)
        flat = parameter.detach().cpu().reshape(-1)[order]
        parameter.copy_(flat.reshape(parameter.shape).to(parameter.device))
    return copy


def _alike(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(stats.spearmanr(one.ravel(), other.ravel()).statistic)
