"""What a `Segmenter` needs of a bundle, and how MONAI makes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_tumor.bundles import load
from monai_tumor.training.messages import find_cause
from monai_tumor.training.weights import load_weights, require_prepared


@dataclass(frozen=True)
class Prepared:
    """A study on the network's grid.

    Attributes:
        image: float32, [4, X, Y, Z], normalised and cropped.
        affine: float64, [4, 4], of this grid: voxel index to mm.
        source_affine: of the study's own grid.
        source_shape: of the study's own grid.
    """

    image: torch.Tensor
    affine: torch.Tensor
    source_affine: torch.Tensor
    source_shape: tuple[int, ...]


@dataclass(frozen=True)
class Parts:
    """What a bundle's config says of its inference.

    Attributes:
        device: that computes.
        window: voxels that the network sees at once.
        spacing: of these voxels, mm.
        modalities: input channels in order.
        provenance: bundle, weights, versions, options.
        weights: files, one a member.
        network: in evaluation mode, with its weights.
        prepare: an item to a study on the network's grid.
        infer: [1, 4, X, Y, Z] and a network to [1, C, X, Y, Z].
        sliding: where windows at once and the device of stitching are set; None where there is
            one window at once, stitched where it is computed.
    """

    device: torch.device
    window: tuple[int, ...]
    spacing: tuple[float, ...]
    modalities: tuple[str, ...]
    provenance: Mapping[str, Any]
    weights: tuple[Path, ...]
    network: nn.Module
    prepare: Callable[[Mapping[str, Any]], Prepared]
    infer: Callable[[torch.Tensor, nn.Module], torch.Tensor]
    sliding: Any = None


def from_monai(bundle: str | Path, **options: Any) -> Parts:
    """By the bundle's config, as `python -m monai.bundle run` reads it.

    Raises:
        BundleError: see `monai_tumor.bundles.load`; or weights that do not fit.
    """
    parts = load(bundle, input="", **options)
    network = parts["network"].eval()
    files = parts["weights"]
    files = [files] if isinstance(files, str) else list(files)
    for path in files:
        require_prepared(path, parts["prepared"])
    load_weights(network, files if len(files) > 1 else files[0])
    inferer = parts["inferer"]
    return Parts(
        device=parts["device"],
        window=tuple(parts["window"]),
        spacing=tuple(parts["spacing"]),
        modalities=tuple(parts["modalities"]),
        provenance=parts["provenance"],
        weights=tuple(map(Path, files)),
        network=network,
        prepare=_Preparing(parts["preprocessing"]),
        infer=inferer,
        sliding=_sliding_window(inferer),
    )


@dataclass(frozen=True)
class _Preparing:
    """A bundle's preprocessing."""

    transforms: Callable[[dict[str, Any]], Mapping[str, Any]]

    def __call__(self, item: Mapping[str, Any]) -> Prepared:
        try:
            image = self.transforms(dict(item))["image"]
        except Exception as error:  # MONAI wraps what a transform refuses
            cause = find_cause(error)
            if cause is None or cause is error:
                raise
            raise cause from error
        return Prepared(
            image.as_tensor(),
            image.affine,
            torch.as_tensor(image.meta["original_affine"], dtype=torch.float64),
            tuple(int(n) for n in image.meta["spatial_shape"]),
        )


def _sliding_window(inferer: Any) -> Any:
    """The innermost of inferers that wrap each other, which cuts windows and stitches."""
    while hasattr(inferer, "inferer"):
        inferer = inferer.inferer
    return inferer
