"""Several segmentation networks as one."""

import json
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from monai_tumor.errors import BundleError, SchemeError
from monai_tumor.labels import MODALITIES, REGIONS, modality
from monai_tumor.paths import bundle_dir

_EDGE = 1e-6


class MeanEnsemble(nn.Module):
    """The weighted mean of its members' probabilities, given back as logits.

    Being one `nn.Module`, it trains, loads, verifies and exports as any network does. In training
    mode it returns each member's logits instead, so that a loss over the list trains each member
    as if it were alone: the gradient of one never reaches another.

    Args:
        members: networks with the same input and output; each returns logits [B, C, *spatial].
        weights: one a member, of any positive scale; equal if None.
        in_turn: keep one member at a time on the device of the input, the others in CPU memory,
            where they are made and `to` leaves them. For inference alone.
        with_disagreement: append `disagreement` as C more channels of the output.

    Shapes: [B, C_in, *spatial] -> [B, C or 2 C, *spatial].

    Raises:
        BundleError: no member, or weights that do not fit; at a training step, `in_turn`.
    """

    def __init__(
        self,
        members: Sequence[nn.Module],
        weights: Sequence[float] | None = None,
        in_turn: bool = False,
        with_disagreement: bool = False,
    ) -> None:
        super().__init__()
        if not members:
            raise BundleError("An ensemble needs at least one member; name its bundles.")
        shares = [1.0] * len(members) if weights is None else [float(w) for w in weights]
        if len(shares) != len(members) or not all(0 < s < inf for s in shares):
            raise BundleError(
                f"An ensemble of {len(members)} members got weights {shares}; "
                "give one positive number a member."
            )
        self.members = nn.ModuleList(members)
        self.shares = [share / sum(shares) for share in shares]
        self.in_turn = in_turn
        self.with_disagreement = with_disagreement

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """This module, moved or converted; `in_turn` takes the memory format alone.

        `forward` moves such members. The memory format decides how convolutions round, so without
        it an ensemble in turn would differ from the same one together.
        """
        if not self.in_turn:
            return super().to(*args, **kwargs)
        kept = {name: value for name, value in kwargs.items() if name == "memory_format"}
        return super().to(**kept) if kept else self

    def probabilities(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Each member's probabilities, [B, C, *spatial], float32."""
        outputs = []
        for network in self.members:
            if self.in_turn:
                network.to(x.device)
            outputs.append(torch.sigmoid(network(x).float()))
            if self.in_turn:
                network.to("cpu")
        return outputs

    def forward(self, x: torch.Tensor) -> Any:
        """Logits of the mean probability; in training mode a list of the members' logits."""
        if self.training:
            if self.in_turn:
                raise BundleError(
                    "An ensemble cannot train with its members in turn on the device; "
                    "leave in_turn false, or train the members one by one."
                )
            return [network(x) for network in self.members]
        probabilities = self.probabilities(x)
        mean = self.shares[0] * probabilities[0]
        for share, probability in zip(self.shares[1:], probabilities[1:], strict=True):
            mean = mean + share * probability
        logits = torch.logit(mean, eps=_EDGE)
        if not self.with_disagreement:
            return logits
        return torch.cat([logits, disagreement(probabilities)], dim=1)


def disagreement(probabilities: Sequence[torch.Tensor]) -> torch.Tensor:
    """Standard deviation between members, [B, C, *spatial], from 0 (they agree) to 0.5."""
    return torch.stack(tuple(probabilities)).std(dim=0, correction=0)


def ensemble_of(
    bundles: Sequence[str],
    window: Sequence[int],
    weights: Sequence[float] | None = None,
    in_turn: bool = False,
    with_disagreement: bool = False,
) -> MeanEnsemble:
    """The ensemble of several bundles' networks, or of one bundle's folds (its name repeated).

    Args:
        bundles: shipped bundles by name, others by folder.
        window: size in voxels that networks of a fixed input size (UNETR) are built for.
        weights: as in `MeanEnsemble`, like the two that follow.
        in_turn: see there.
        with_disagreement: see there.

    Raises:
        BundleError: as `member`, no member at all, or members of different spacing.
    """
    spacings = {name: _metadata(name)[1].get("spacing") for name in bundles}
    for name, spacing in spacings.items():
        if spacing != spacings[bundles[0]]:
            raise BundleError(
                f"Member {name!r} sees voxels of {spacing} mm, {bundles[0]!r} of "
                f"{spacings[bundles[0]]} mm; an ensemble's members need the same spacing."
            )
    members = [member(name, window) for name in bundles]
    return MeanEnsemble(members, weights, in_turn, with_disagreement)


def member(bundle: str, window: Sequence[int]) -> nn.Module:
    """The network of another bundle, without weights, as that bundle's metadata defines it.

    The network definition stands once, in the member's own `metadata.json`; "@window" in it
    becomes `window`.

    Raises:
        BundleError: no such bundle, its metadata defines no network that stands by itself, or its
            channels are not `MODALITIES` and `REGIONS` in this order.
    """
    path, metadata = _metadata(bundle)
    definition = metadata.get("network_def")
    if not isinstance(definition, dict) or "_target_" not in definition:
        raise BundleError(f"{path} has no network_def with a _target_; it cannot be a member.")
    arguments = {
        key: list(window) if value == "@window" else value
        for key, value in definition.items()
        if key != "_target_"
    }
    open_ends = [v for v in arguments.values() if isinstance(v, str) and v[:1] in ("@", "$", "%")]
    if open_ends:
        raise BundleError(
            f"The network_def of {path} refers to {open_ends[0]}; a member's may refer to @window "
            "alone, so this bundle cannot be a member."
        )
    _require_channels(bundle, metadata)
    from monai.utils import instantiate  # seconds, which those who make no network do not wait

    return instantiate(definition["_target_"], "default", **arguments)


def _metadata(bundle: str) -> tuple[Path, dict[str, Any]]:
    """The metadata file of a bundle, and what it says."""
    path = bundle_dir(bundle) / "configs" / "metadata.json"
    return path, json.loads(path.read_text(encoding="utf-8"))


def _require_channels(bundle: str, metadata: Mapping[str, Any]) -> None:
    """Refuse a member that reads or writes its channels in another order than every other."""
    for kind, name, standard in (("inputs", "image", MODALITIES), ("outputs", "pred", REGIONS)):
        try:
            channels = metadata["network_data_format"][kind][name]["channel_def"]
            found = [str(channels[key]) for key in sorted(channels, key=int)]
        except (KeyError, TypeError, ValueError, AttributeError):
            found = []
        if [_our_name(channel) for channel in found] != list(standard):
            raise BundleError(
                f"Member {bundle!r} has {kind} {', '.join(found) or 'that its metadata omits'}; "
                f"an ensemble's members need {', '.join(standard)}."
            )


def _our_name(channel: str) -> str:
    try:
        return modality(channel)
    except SchemeError:
        return channel
