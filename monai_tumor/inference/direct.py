"""A bundle's inference without MONAI, whose import takes longer than a study.

`recipe` reads a bundle's config and metadata as data, and knows one recipe: that of the bundles
shipped. Where a config says anything else it gives None, and MONAI does what the config says. The
network is one that an earlier run made by MONAI and kept (`backends.kept_network`); a brain larger
than one window takes MONAI's sliding window.

The steps are those of MONAI 1.6, in its order and rounding, so that both ways give the same label
map bit for bit; `tests/inference/test_direct.py` holds that.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from monai_tumor import provenance
from monai_tumor.bundles.trust import is_shipped
from monai_tumor.errors import SchemeError, StudyError
from monai_tumor.imaging.images import Images, read_images
from monai_tumor.imaging.intensities import normalise_brain
from monai_tumor.imaging.orientation import reorient
from monai_tumor.imaging.resampling import to_spacing
from monai_tumor.inference.backends import (
    backend_versions,
    choose,
    keep_network,
    kept_network,
)
from monai_tumor.inference.parts import Parts, Prepared
from monai_tumor.labels import modality
from monai_tumor.networks.weights import require_recorded_hash
from monai_tumor.paths import bundle_dir
from monai_tumor.training.weights import find_weights, require_prepared

_KEYS = {"keys": "image"}
_MARGIN = 2
# The parts of an inference.yaml that decide what is computed, as they stand in the bundles shipped.
_KNOWN: dict[str, Any] = {
    "imports": ["$import torch", "$import monai", "$import monai_tumor"],
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "modalities": "$list(@_meta_::network_data_format::inputs::image::channel_def.values())",
    "window": "%_meta_::window",
    "spacing": "%_meta_::spacing",
    "sw_batch_size": 1,
    "tta": False,
    "amp": True,
    "memory_format": (
        "$torch.channels_last_3d if @device.type == 'cpu' else torch.contiguous_format"
    ),
    "network_def": "%_meta_::network_def",
    "network": "$@network_def.to(@device, memory_format=@memory_format)",
    "load": [
        {"_target_": "monai_tumor.transforms.LoadStudyd", **_KEYS},
        {"_target_": "monai_tumor.transforms.SelectModalitiesd", **_KEYS, "order": "@modalities"},
        {"_target_": "monai.transforms.Orientationd", **_KEYS, "axcodes": "RAS", "labels": None},
        {
            "_target_": "monai.transforms.Spacingd",
            **_KEYS,
            "pixdim": "@spacing",
            "mode": "bilinear",
            "dtype": "$torch.float32",
        },
        {"_target_": "monai_tumor.transforms.NormalizeBraind", **_KEYS},
        {
            "_target_": "monai.transforms.CropForegroundd",
            **_KEYS,
            "source_key": "brain",
            "margin": _MARGIN,
            "allow_smaller": True,
        },
    ],
    "keep": [{"_target_": "monai.transforms.SelectItemsd", "keys": ["image", "study"]}],
    "preprocessing": {
        "_target_": "monai.transforms.Compose",
        "transforms": "$@load + @keep",
    },
    "inferer": {
        "_target_": "monai_tumor.training.FlipInferer",
        "inferer": {
            "_target_": "monai_tumor.training.AutocastInferer",
            "inferer": {
                "_target_": "monai.inferers.SlidingWindowInferer",
                "roi_size": "@window",
                "sw_batch_size": "@sw_batch_size",
                "overlap": "@overlap",
                "mode": "gaussian",
            },
            "enabled": "@amp",
        },
        "enabled": "@tta",
    },
    "prepared": {
        "spacing": "@spacing",
        "window": "@window",
        "preprocessing": "$', '.join(type(transform).__name__ for transform in @load)",
    },
    "provenance": {
        "_target_": "monai_tumor.provenance.record",
        "bundle": "%_meta_::bundle",
        "bundle_version": "%_meta_::version",
        "weights": "@weights",
        "window": "@prepared#window",
        "spacing": "@prepared#spacing",
        "preprocessing": "@prepared#preprocessing",
        "overlap": "@overlap",
        "tta": "@tta",
        "min_lesion_ml": "@min_lesion_ml",
        "min_et_ml": "@min_et_ml",
    },
}
_OF_ENSEMBLES: dict[str, Any] = {
    "members": "%_meta_::members",
    "member_weights": None,
    "in_turn": False,
    "disagreement": False,
}
_ENSEMBLE = {
    "_target_": "monai_tumor.networks.ensemble_of",
    "bundles": "@members",
    "window": "@window",
    "weights": "@member_weights",
    "in_turn": "@in_turn",
    "with_disagreement": "@disagreement",
}
_WEIGHTS = "$monai_tumor.training.find_weights(@bundle_root, @run_dir{})"
_RUN_DIR = "$'./runs/' + @_meta_::bundle"


@dataclass(frozen=True)
class Recipe:
    """What a bundle's config and metadata say of its inference.

    Attributes:
        folder: of the bundle.
        name: in its metadata, like the version.
        version: see there.
        window: voxels that the network sees at once.
        spacing: of these voxels, mm.
        overlap: of neighbouring windows.
        modalities: input channels in order.
        members: bundles of an ensemble.
        networks: the network of the bundle, or of each member, as metadata define it.
    """

    folder: Path
    name: str
    version: str
    window: tuple[int, ...]
    spacing: tuple[float, ...]
    overlap: float
    modalities: tuple[str, ...]
    members: tuple[str, ...]
    networks: tuple[Mapping[str, Any], ...]

    def weights(self, given: Path | str | None) -> tuple[Path, ...]:
        """The files to load: the one that is given, else those that the config finds.

        Raises:
            BundleError: there are none, they are damaged, or they were trained on images prepared
                otherwise.
        """
        run_dir = f"./runs/{self.name}"
        found = find_weights(self.folder, run_dir, self.members) if given is None else str(given)
        files = [found] if isinstance(found, str) else found
        for path in map(Path, files):
            require_prepared(path, self._prepared)
            require_recorded_hash(path)
        return tuple(map(Path, files))

    @property
    def _prepared(self) -> dict[str, Any]:
        steps = [step["_target_"].rpartition(".")[2] for step in _KNOWN["load"]]
        return {
            "spacing": list(self.spacing),
            "window": list(self.window),
            "preprocessing": ", ".join(steps),
        }

    def record(self, weights: Sequence[Path], **options: Any) -> dict[str, Any]:
        """The provenance, as the config makes it."""
        given: Any = weights[0] if len(weights) == 1 else list(weights)
        facts = self._prepared | {"overlap": self.overlap, "tta": False} | options
        return provenance.record(self.name, self.version, given, **facts)

    def key(self, record: Mapping[str, Any], backend: str) -> str:
        """SHA-256 of all that the network is made of: definition, weights, window, versions."""
        made_of = {
            "networks": self.networks,
            "window": self.window,
            "weights": [one["sha256"] for one in record["weights"]],
            "backend": backend,
            "versions": backend_versions(backend),
        }
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()

    def parts(
        self, network: nn.Module, weights: Sequence[Path], record: Mapping[str, Any]
    ) -> Parts:
        """All that a `Segmenter` needs.

        Args:
            network: as `backends.kept_network` gives it.
            weights: as above.
            record: as above.
        """
        return Parts(
            device=torch.device("cpu"),
            window=self.window,
            spacing=self.spacing,
            modalities=self.modalities,
            provenance=record,
            weights=tuple(weights),
            network=network.eval(),
            prepare=self.prepare,
            infer=self.infer,
        )

    def prepare(self, item: Mapping[str, Any]) -> Prepared:
        """A study on the network's grid, as the config's transforms bring it there.

        Raises:
            StudyError: it cannot be read, or lacks a modality.
        """
        study = str(item.get("study", "?"))
        have = [modality(name).value for name in item["modalities"]]
        images = item["image"]
        if not isinstance(images, Images):
            paths = [images] if isinstance(images, str | Path) else images
            repairs = str(item.get("repairs") or "").split(",")
            images = read_images(paths, study, have, repairs)
        voxels = _in_order(images.voxels, have, self.modalities, study)
        turned, affine = reorient(voxels, images.affine, "RAS")
        whole = torch.from_numpy(np.ascontiguousarray(turned))
        resampled, affine = to_spacing(whole, affine, self.spacing)
        values, brain = normalise_brain(resampled.numpy(), self.modalities, study)
        box, affine = _box(brain, affine)
        return Prepared(
            torch.from_numpy(values[(slice(None), *box)]),
            torch.from_numpy(affine),
            torch.from_numpy(images.affine),
            images.voxels.shape[1:],
        )

    def infer(self, image: torch.Tensor, network: nn.Module) -> torch.Tensor:
        """[1, 4, X, Y, Z] to [1, C, X, Y, Z], by one window, or by MONAI's sliding window."""
        size = image.shape[2:]
        if any(n > most for n, most in zip(size, self.window, strict=True)):
            from monai.inferers import SlidingWindowInferer  # seconds, which few brains need

            slide = SlidingWindowInferer(
                self.window, sw_batch_size=1, overlap=self.overlap, mode="gaussian"
            )
            return torch.as_tensor(slide(image, network))
        before = [(most - n) // 2 for n, most in zip(size, self.window, strict=True)]
        after = [m - n - b for n, m, b in zip(size, self.window, before, strict=True)]
        pads = [pad for pair in zip(reversed(before), reversed(after), strict=True) for pad in pair]
        share = _gaussian(self.window)
        output = network(functional.pad(image, pads)).mul_(share).float() / share
        inside = [slice(b, b + n) for b, n in zip(before, size, strict=True)]
        return torch.as_tensor(output[(slice(None), slice(None), *inside)])


@dataclass(frozen=True)
class Made:
    """A network of a recipe with its weights, as an earlier run may have kept it.

    Attributes:
        recipe: of its bundle.
        weights: files, one a member.
        record: the provenance.
        backend: "torch" or "openvino".
    """

    recipe: Recipe
    weights: tuple[Path, ...]
    record: Mapping[str, Any]
    backend: str

    @classmethod
    def of(
        cls,
        bundle: str | Path,
        weights: Path | str | None,
        backend: str,
        trust: bool,
        **options: Any,
    ) -> "Made | None":
        """Whatever is known before the network is made; None where MONAI must do it all.

        Args:
            bundle: see `recipe`, like `trust`.
            weights: a file, or None for what the config finds.
            backend: as it is asked for; see `backends.choose`.
            trust: see there.
            options: for the provenance.

        Raises:
            BundleError: no such bundle or backend, or weights that do not fit.
            DependencyError: OpenVINO is asked for and not installed.
        """
        known = recipe(bundle, trust=trust)
        if known is None:
            return None
        chosen = choose(backend, torch.device("cpu"))
        files = known.weights(weights)
        if not all(path.is_file() for path in files):
            return None
        return cls(known, files, known.record(files, **options), chosen)

    def kept(self, *, bf16: bool, cache: Path | None) -> Parts | None:
        """All that a `Segmenter` needs, where the network was kept."""
        network = kept_network(
            self._shape,
            self.backend,
            self._key,
            members=len(self.recipe.networks),
            bf16=bf16,
            cache=cache,
        )
        if network is None:
            return None
        return self.recipe.parts(network, self.weights, self.record)

    def keep(self, network: nn.Module, *, cache: Path | None) -> None:
        """Keep a network that MONAI made, for later runs."""
        keep_network(network, self._shape, self.backend, self._key, cache=cache)

    @property
    def _shape(self) -> tuple[int, ...]:
        return (len(self.recipe.modalities), *self.recipe.window)

    @property
    def _key(self) -> str:
        return self.recipe.key(self.record, self.backend)


def recipe(bundle: str | Path, *, trust: bool = False) -> Recipe | None:
    """What a bundle says of its inference; None where that is not the recipe known here.

    Args:
        bundle: a shipped one by name, any other by its folder.
        trust: whether one that is not shipped may run.

    Raises:
        BundleError: no such bundle.
    """
    folder = bundle_dir(str(bundle))
    if not (trust or is_shipped(folder)):
        return None
    try:
        text = (folder / "configs" / "inference.yaml").read_text(encoding="utf-8")
        config = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        meta = _metadata(folder)
        channels = meta["network_data_format"]["inputs"]["image"]["channel_def"]
        members = tuple(meta.get("members", ()))
        if members and (len(members) == 1 or meta["network_def"] != _ENSEMBLE):
            return None
        folders = [bundle_dir(name) for name in members] or [folder]
        known = _KNOWN | (_OF_ENSEMBLES if members else {})
        known |= {"weights": _WEIGHTS.format(", @members" if members else ""), "run_dir": _RUN_DIR}
        if any(config[name] != value for name, value in known.items()):
            return None
        of_members = [_metadata(one) for one in folders]
        if any(one["spacing"] != meta["spacing"] for one in of_members):
            return None
        networks = tuple(one["network_def"] for one in of_members)
        made = Recipe(
            folder=folder,
            name=meta["bundle"],
            version=meta["version"],
            window=tuple(meta["window"]),
            spacing=tuple(map(float, meta["spacing"])),
            overlap=config["overlap"],
            modalities=tuple(modality(name).value for name in channels.values()),
            members=members,
            networks=networks,
        )
    except (OSError, yaml.YAMLError, SchemeError, ValueError, KeyError, TypeError, AttributeError):
        return None  # MONAI will say what is wrong
    plain = all(map(_is_plain, networks))
    shipped = all(trust or is_shipped(one) for one in folders)
    return made if plain and shipped else None


def _is_plain(network: Mapping[str, Any]) -> bool:
    """Whether a network is MONAI's and its definition says all: no code, no other reference."""
    options = {name: value for name, value in network.items() if value != "@window"}
    made_by = str(options.pop("_target_", ""))
    text = json.dumps(options)
    return made_by.startswith("monai.") and not set(text) & set("$@%") and "_target_" not in text


def _metadata(folder: Path) -> dict[str, Any]:
    text = (folder / "configs" / "metadata.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _in_order(
    voxels: NDArray[np.float32], have: Sequence[str], order: Sequence[str], study: str
) -> NDArray[np.float32]:
    """Channels in the order that the network expects."""
    missing = [name for name in order if name not in have]
    if missing:
        raise StudyError(
            f"Study {study!r} has no {', '.join(missing)} image; found {', '.join(have)}. "
            "Add the file, or choose a bundle that does not need it."
        )
    if len(voxels) != len(have):
        raise StudyError(
            f"Study {study!r}: {len(have)} modalities named ({', '.join(have)}), "
            f"but the image has {len(voxels)} channels. Correct the list of modalities."
        )
    if list(have) == list(order):
        return voxels
    return voxels[[have.index(name) for name in order]]


def _box(
    brain: NDArray[np.bool_], affine: NDArray[np.float64]
) -> tuple[tuple[slice, ...], NDArray[np.float64]]:
    """The brain's box with a margin, within the image, and the affine of what it cuts out."""
    box = []
    for axis, size in enumerate(brain.shape):
        others = tuple(other for other in range(3) if other != axis)
        places = np.flatnonzero(brain.any(axis=others))
        start, stop = int(places[0]) - _MARGIN, int(places[-1]) + _MARGIN + 1
        box.append(slice(max(start, 0), min(stop, size)))
    moved = np.eye(4)
    moved[:3, 3] = [one.start for one in box]
    return tuple(box), affine @ moved


def _gaussian(window: Sequence[int]) -> torch.Tensor:
    """MONAI's weights of a window: with one window alone they cancel, but for how they round."""
    share = torch.ones(())
    for size in window:
        places = torch.arange(-(size - 1) / 2, (size - 1) / 2 + 1, dtype=torch.float32)
        share = share[..., None] * torch.exp(places**2 / (-2 * (0.125 * size) ** 2))
    return share.clamp(min=max(float(share.min()), 1e-3))
