"""What bundles there are, and what each is, by its metadata alone; nothing of it is run."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor.bundles.trust import is_shipped
from monai_tumor.errors import BundleError, SchemeError
from monai_tumor.files import sha256
from monai_tumor.labels import modality
from monai_tumor.paths import BUNDLES, bundle_dir, weights_names

_WEIGHTS = ("model.safetensors", "model.pt")


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle is, read from its metadata; nothing of it was run.

    Attributes:
        name: of its folder.
        folder: where it lies.
        version: of the bundle.
        task: in its own words.
        shipped: whether it is one of ours, and thus trusted.
        window: voxels its network sees at once; empty where any size will do.
        modalities: input channels in order, by our names where they are known.
        regions: output channels in order, in its own words.
        weights: file it brings; None where it brings none.
        weights_sha256: of that file.
        weights_names: of all weights that it brings with a record, to be chosen by name.
        members: bundles whose weights an ensemble takes, where it brings none of its own and each
            of them has some.
        eval_metrics: figures its authors state.
        overlays: configs that it brings to be listed after its own, such as "networks/vgg19".
    """

    name: str
    folder: Path
    version: str
    task: str
    shipped: bool
    window: tuple[int, ...]
    modalities: tuple[str, ...]
    regions: tuple[str, ...]
    weights: Path | None
    weights_sha256: str | None
    members: tuple[str, ...]
    eval_metrics: Mapping[str, Any]
    overlays: tuple[str, ...] = ()
    weights_names: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "version": self.version,
            "task": self.task,
            "shipped": self.shipped,
            "window": list(self.window),
            "modalities": list(self.modalities),
            "regions": list(self.regions),
            "weights": None if self.weights is None else str(self.weights),
            "weights_sha256": self.weights_sha256,
            "weights_names": list(self.weights_names),
            "members": list(self.members),
            "eval_metrics": dict(self.eval_metrics),
            "overlays": list(self.overlays),
        }

    def __str__(self) -> str:
        """A few lines of plain text."""
        window = " x ".join(str(n) for n in self.window) or "any"
        weights = "none; train it first"
        if self.members:
            weights = f"those of {', '.join(self.members)}"
        if self.weights is not None:
            weights = f"{self.weights.name} (SHA-256 {self.weights_sha256})"
        scores = ", ".join(f"{k} {v}" for k, v in self.eval_metrics.items()) or "none stated"
        lines = [
            f"{self.name} {self.version}: {self.task}",
            f"  input    {', '.join(self.modalities)}; window {window} voxels",
            f"  output   {', '.join(self.regions)}",
            f"  weights  {weights}",
            f"  scores   {scores}",
        ]
        if len(self.weights_names) > 1:
            lines.insert(4, f"  by name  {', '.join(self.weights_names)}")
        folders = dict.fromkeys(name.partition("/")[0] for name in self.overlays)
        for folder in folders:
            names = [n.partition("/")[2] for n in self.overlays if n.startswith(f"{folder}/")]
            text = f"  {folder:<8} {', '.join(names)}"
            lines.append(textwrap.fill(text, 100, subsequent_indent=11 * " "))
        return "\n".join(lines)


@dataclass(frozen=True)
class Catalogue:
    """Several bundles."""

    bundles: tuple[BundleInfo, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"bundles": [bundle.as_dict() for bundle in self.bundles]}

    def __str__(self) -> str:
        """Each bundle in a few lines."""
        return "\n\n".join(str(bundle) for bundle in self.bundles)


def catalogue(bundle: str | Path | None = None) -> Catalogue:
    """One bundle, or all that are shipped.

    Raises:
        BundleError: as `describe`.
    """
    names = bundle_names() if bundle is None else [bundle]
    return Catalogue(tuple(describe(name) for name in names))


def bundle_names() -> list[str]:
    """The shipped bundles, sorted."""
    return sorted(path.parents[1].name for path in BUNDLES.glob("*/configs/metadata.json"))


def describe(bundle: str | Path) -> BundleInfo:
    """What `bundle` is, from its metadata alone; no trust is needed.

    Args:
        bundle: a shipped one by name, any other by its folder.

    Raises:
        BundleError: no such bundle, or its metadata lacks what every bundle states.
    """
    folder = bundle_dir(str(bundle))
    path = folder / "configs" / "metadata.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        image = meta["network_data_format"]["inputs"]["image"]
        output = meta["network_data_format"]["outputs"]["pred"]
        version, task = str(meta["version"]), str(meta["task"])
        channels, regions = _in_order(image["channel_def"]), _in_order(output["channel_def"])
        shape = meta.get("window", image["spatial_shape"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{path} is not the metadata of a bundle ({type(error).__name__}: {error}). "
            "Check it with: python -m monai.bundle verify_metadata."
        ) from error
    files = (folder / "models" / name for name in _WEIGHTS)
    weights = next((file for file in files if file.is_file()), None)
    return BundleInfo(
        name=folder.name,
        folder=folder,
        version=version,
        task=task,
        shipped=is_shipped(folder),
        window=tuple(shape) if all(isinstance(n, int) for n in shape) else (),
        modalities=tuple(_our_name(name) for name in channels),
        regions=regions,
        weights=weights,
        weights_sha256=None if weights is None else sha256(weights),
        members=() if weights else _with_weights(meta.get("members", ())),
        eval_metrics=meta.get("eval_metrics", {}),
        overlays=tuple(
            file.relative_to(path.parent).with_suffix("").as_posix()
            for file in sorted(path.parent.glob("*/*.yaml"))
        ),
        weights_names=weights_names(folder),
    )


def _with_weights(members: Sequence[str]) -> tuple[str, ...]:
    """The members, if each has weights; else none."""
    have = [any((bundle_dir(m) / "models" / name).is_file() for name in _WEIGHTS) for m in members]
    return tuple(members) if all(have) else ()


def _in_order(channels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(str(channels[key]) for key in sorted(channels, key=int))


def _our_name(channel: str) -> str:
    try:
        return modality(channel).value
    except SchemeError:
        return channel
