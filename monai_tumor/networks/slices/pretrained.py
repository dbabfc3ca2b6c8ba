"""Published weights from a file, whichever of the common key layouts it has."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_tumor.errors import BundleError
from monai_tumor.files import sha256
from monai_tumor.networks.slices.features import head_name
from monai_tumor.networks.slices.layouts import LAYOUTS, Layout
from monai_tumor.networks.weights import read_weights

_UNCOUNTED = "num_batches_tracked"  # of normalisations; old files lack it
_OWN = Layout("own", lambda key: key)
DOWNLOAD = "download"  # in place of a file
_URL = "https://download.pytorch.org/models/"
_TORCHVISION: Mapping[str, str] = {
    "DenseNet201": "densenet201-c1103571.pth",
    "MobileNetV3Small": "mobilenet_v3_small-047dcff4.pth",
    "VGG19": "vgg19-dcbb9e9d.pth",
    "ResNet": "resnet50-11ad3fa6.pth",
    "EfficientNetBN": "efficientnet_b0_rwightman-7f5810bc.pth",
}


@dataclass(frozen=True)
class Pretrained:
    """What was loaded.

    Attributes:
        file: its name.
        sha256: of the file.
        layout: whose key layout it has: "own", "torchvision", ....
        tensors: how many were loaded.
        left_out: keys of the network that keep their random weights: a last layer of other classes.
        grey_stem: whether the first convolution's three colours were summed into grey.
    """

    file: str
    sha256: str
    layout: str
    tensors: int
    left_out: tuple[str, ...]
    grey_stem: bool

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"left_out": list(self.left_out)}

    def __str__(self) -> str:
        """One line."""
        rest = f"; left out: {', '.join(self.left_out)}" if self.left_out else ""
        grey = ", colours summed into grey" if self.grey_stem else ""
        return (
            f"{self.file} (SHA-256 {self.sha256}): {self.tensors} tensors in the layout of"
            f" {self.layout}{grey}{rest}"
        )


def load_pretrained(network: nn.Module, path: str | Path) -> Pretrained:
    """Load published weights into `network`; returns what was loaded.

    The last layer is left as it is where the file's has another number of classes. The first
    convolution takes the sum over colours where the network is for grey: the same as a grey
    picture shown to all three. Normalisations that were trained with another epsilon get their
    running variance moved by the difference, so that they compute the same.

    Args:
        network: one of `monai_tumor.networks.slices`.
        path: `.safetensors`, or a checkpoint that `torch.load(weights_only=True)` takes; "download"
            fetches torchvision's into torch's own cache, once; each time it must have its hash.

    Raises:
        BundleError: no such file, one that cannot be read or fetched safely, or of another network.
    """
    path = _fetched(network) if str(path) == DOWNLOAD else Path(path)
    if not path.is_file():
        raise BundleError(f"No weights at {path}; {_where(network)}")
    given = read_weights(path)
    given = {key.removeprefix("module."): value for key, value in given.items()}
    own = network.state_dict()
    head = head_name(network)
    layouts = (_OWN, *LAYOUTS.get(type(network).__name__, ()))
    wanted = [key for key in own if not (key.endswith(_UNCOUNTED) or key.startswith(f"{head}."))]
    layout = max(layouts, key=lambda one: sum(one.key(key) in given for key in wanted))
    missing = [key for key in wanted if layout.key(key) not in given]
    if missing:
        raise BundleError(
            f"{path} belongs to another network than {type(network).__name__}: {len(missing)} of"
            f" {len(wanted)} tensors are missing, such as {layout.key(missing[0])}."
            f" {_where(network)}"
        )
    loaded: dict[str, torch.Tensor] = {}
    grey = False
    for key in (key for key in own if layout.key(key) in given):
        tensor = given[layout.key(key)]
        fitted = _fitted(tensor, own[key])
        if fitted is not None:
            loaded[key] = fitted
            grey |= tensor.ndim == 4 and tensor.shape[1] == 3 and own[key].shape[1] == 1
        elif not key.startswith(f"{head}."):
            raise BundleError(
                f"{path} belongs to another network than {type(network).__name__}: {key} is"
                f" {list(tensor.shape)}, not {list(own[key].shape)}. {_where(network)}"
            )
    network.load_state_dict(loaded, strict=False)
    if layout.eps is not None:
        _match_epsilon(network, layout.eps)
    left = tuple(k for k in own if k not in loaded and not k.endswith(_UNCOUNTED))
    return Pretrained(path.name, sha256(path), layout.name, len(loaded), left, grey)


def _fetched(network: nn.Module) -> Path:
    """Torchvision's file for `network`, whose name holds the beginning of its SHA-256."""
    name = _TORCHVISION.get(type(network).__name__)
    if name is None:
        raise BundleError(f"Nothing to download: {_where(network)}")
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    prefix = path.stem.rpartition("-")[2]
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(_URL + name, str(path), prefix, progress=False)
        except (OSError, RuntimeError) as error:  # no network or place; another hash
            raise BundleError(f"{name} cannot be downloaded ({error}); {_where(network)}") from None
    if not sha256(path).startswith(prefix):
        raise BundleError(
            f"{path} is damaged or was replaced (its SHA-256 does not begin with {prefix}); remove"
            " it, and it is fetched again."
        )
    return path


def _fitted(given: torch.Tensor, own: torch.Tensor) -> torch.Tensor | None:
    """`given` in the shape of `own`: as it is, its colours summed, a 1 x 1 kernel flattened."""
    if given.ndim == 4 == own.ndim and given.shape[1] == 3 and own.shape[1] == 1:
        given = given.sum(dim=1, keepdim=True)
    if given.shape != own.shape and given.numel() == own.numel() and len(given) == len(own):
        given = given.reshape(own.shape)
    return given.to(own.dtype) if given.shape == own.shape else None


def _match_epsilon(network: nn.Module, eps: float) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            module.running_var += eps - module.eps


def _where(network: nn.Module) -> str:
    """Which file is expected, and where it can be had."""
    return _FILES.get(
        type(network).__name__,
        f"nobody publishes weights of {type(network).__name__}; give a file trained here.",
    )


def _published(name: str, timm: str) -> str:
    return (
        f"expected is torchvision's {name} ({_URL}{name}) or a"
        f" .safetensors file of timm's {timm} (https://huggingface.co/timm)."
    )


_TIMM = {
    "DenseNet201": "densenet201",
    "MobileNetV3Small": "mobilenetv3_small_100",
    "VGG19": "vgg19",
    "ResNet": "resnet50",
    "EfficientNetBN": "efficientnet_b0",
}
_FILES: Mapping[str, str] = {
    **{network: _published(_TORCHVISION[network], timm) for network, timm in _TIMM.items()},
    "ResNet50V2": (
        "expected is a .safetensors file of timm's resnetv2_50 (https://huggingface.co/timm)."
    ),
}
