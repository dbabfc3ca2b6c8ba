"""How to stay within a given memory: never by another window, which would change the result.

The need is estimated as what is held anyway, the weights, and for each window at once the bytes of
the largest layer's input and output times a factor. On a CPU the resident memory grew, during one
window of the bundle's size, by so many MB, or so many times that layer:

    network       float32        bfloat16
    SegResNet-16  223  (2.8)     117  (3.0)
    UNETR         193  (2.2)     173  (3.9)
    SwinUNETR                   1454  (3.0)

OpenVINO took less (SegResNet-16 in bfloat16: 60 MB). On CUDA nothing was measured.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import nn

from monai_tumor.errors import BundleError

_FACTOR = 4.0
_HELD = {  # bytes beside network and windows
    # Measured, 240x240x155: libraries 0.52 GB, reading one study 0.29, writing another 0.25.
    "cpu": 1_100_000_000,
    "cuda": 600_000_000,  # context and convolutions' workspace: a guess
}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE)
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


@dataclass(frozen=True)
class MemoryPlan:
    """How windows go through a network.

    Attributes:
        windows: how many at once.
        stitching: where their outputs are put together: "device", the network's own, or "cpu".
        in_turn: whether an ensemble has one member at a time on the device.
        reduced: what had to be given up on the way, one line each.
    """

    windows: int = 1
    stitching: str = "device"
    in_turn: bool = False
    reduced: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "windows": self.windows,
            "stitching": self.stitching,
            "in_turn": self.in_turn,
            "reduced": list(self.reduced),
        }

    def smaller(self) -> "MemoryPlan | None":
        """Half the windows at once, then stitching on the CPU, then nothing more to give up."""
        if self.windows > 1:
            half = self.windows // 2
            line = f"out of memory: {half} instead of {self.windows} windows at once"
            return replace(self, windows=half, reduced=(*self.reduced, line))
        if self.stitching != "cpu":
            line = "out of memory: windows are stitched on the CPU"
            return replace(self, stitching="cpu", reduced=(*self.reduced, line))
        return None


@dataclass(frozen=True)
class Need:
    """Bytes that segmenting takes.

    Attributes:
        held: whatever the plan.
        weights: of all members.
        member: of the largest member.
        window: for each window at once.
        stitched: of the outputs put together.
    """

    held: int
    weights: int
    member: int
    window: int
    stitched: int

    def total(self, plan: MemoryPlan) -> int:
        """On the device, by `plan`."""
        weights = self.member if plan.in_turn else self.weights
        stitched = self.stitched if plan.stitching == "device" else 0
        return self.held + weights + plan.windows * self.window + stitched


def bytes_of(size: int | str) -> int:
    """A size in bytes: 4000000000, "4GB", "3.5 GiB", "512M".

    Raises:
        BundleError: not a size.
    """
    found = _SIZE.fullmatch(str(size).strip())
    if found is None or float(found[1]) == 0:
        raise BundleError(f"Memory of {size!r} is not a size; give one such as 4GB or 512MB.")
    number, unit, binary = found[1], found[2].upper(), found[3]
    scale = 1024 ** ("KMGT".index(unit) + 1) if binary and unit else _UNITS[unit]
    return int(float(number) * scale)


def need_of(
    network: nn.Module,
    shape: Sequence[int],
    device: torch.device,
    precision: torch.dtype | None,
    stitched: Sequence[int],
) -> Need:
    """What segmenting with `network` takes, estimated; nothing is computed.

    Args:
        network: with its weights, in PyTorch.
        shape: of one window, (C, X, Y, Z).
        device: that computes.
        precision: of autocast; None for float32.
        stitched: shape of all outputs together and of their weights, such as (4, X, Y, Z).
    """
    members = list(getattr(network, "members", [network]))
    sizes = [sum(p.numel() * p.element_size() for p in m.parameters()) for m in members]
    width = 4 if precision is None else precision.itemsize
    window = max(_largest_layer(member, (1, *shape)) for member in members) * width
    return Need(
        held=_HELD["cpu" if device.type == "cpu" else "cuda"],
        weights=sum(sizes),
        member=max(sizes),
        window=int(_FACTOR * window),
        stitched=4 * prod(stitched),
    )


def plan_within(budget: int, need: Need, start: MemoryPlan, device: torch.device) -> MemoryPlan:
    """The plan that does most at once within `budget` bytes.

    Windows at once come down first, from those of `start`; then the members of an ensemble follow
    each other and the outputs are stitched on the CPU. Both help on a GPU alone: beside a CPU there
    is no other memory.

    Raises:
        BundleError: one window does not fit; the message says what would.
    """
    plans = [replace(start, windows=start.windows >> n) for n in range(start.windows.bit_length())]
    if device.type != "cpu":
        one = plans[-1]
        plans += [replace(one, in_turn=True)] if need.weights > need.member else []
        plans += [replace(plans[-1], stitching="cpu")]
    for plan in plans:
        if need.total(plan) <= budget:
            return plan
    raise BundleError(
        f"One window of this bundle takes about {_gb(need.total(plans[-1]))} and "
        f"{_gb(budget)} are allowed; its size is never changed, since results would. Allow more "
        "with --max-memory, leave --precision at auto, or choose a smaller bundle."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on a GPU, in PyTorch's CPU allocator, in OpenVINO, in NumPy."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(w in str(error) for w in _OUT_OF_MEMORY)


def _largest_layer(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Values in the largest input and output of one layer, by a run without numbers."""
    sizes: list[int] = []

    def note(_: nn.Module, given: Any, made: Any) -> None:
        tensors = [t for t in (*given, made) if isinstance(t, torch.Tensor)]
        sizes.append(sum(tensor.numel() for tensor in tensors))

    layers = [m for m in network.modules() if not list(m.children())]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            torch.func.functional_call(
                network, _on_meta(network), (torch.empty(shape, device="meta"),)
            )
    finally:
        for hook in hooks:
            hook.remove()
    return max(sizes)


def _on_meta(network: nn.Module) -> dict[str, torch.Tensor]:
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: tensor.to("meta") for name, tensor in state.items()}


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
