"""How others name the tensors of the same networks.

Each layout is a function from our key to theirs. It is written down, not guessed from the order of
a file, because `.safetensors` files keep no order.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from monai_tumor.networks.slices.mobilenet import ROWS


class Layout(NamedTuple):
    """The keys of one library.

    Attributes:
        name: of the library.
        key: from our key to its.
        eps: epsilon of its normalisations, where it is not ours.
    """

    name: str
    key: Callable[[str], str]
    eps: float | None = None


def _renamed(*rules: tuple[str, str]) -> Callable[[str], str]:
    """The first pattern that matches a key, replaced; a key that none matches stays."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def key(own: str) -> str:
        for pattern, replacement in compiled:
            if pattern.match(own):
                return pattern.sub(replacement, own)
        return own

    return key


def _prefixed(prefixes: Mapping[str, str]) -> Callable[[str], str]:
    """A key whose longest known prefix, up to a dot, is replaced."""

    def key(own: str) -> str:
        start, _, last = own.rpartition(".")
        return f"{prefixes.get(start, start)}.{last}"

    return key


# -- MobileNetV3-Small: torchvision's keys are ours


def _mobilenet_timm() -> dict[str, str]:
    prefixes = {
        "features.0.0": "conv_stem",
        "features.0.1": "bn1",
        "features.12.0": "blocks.5.0.conv",
        "features.12.1": "blocks.5.0.bn1",
        "classifier.0": "conv_head",
        "classifier.3": "classifier",
    }
    stages = (1, 2, 3, 2, 3)
    places = [(stage, block) for stage, count in enumerate(stages) for block in range(count)]
    before = 16
    for number, (row, place) in enumerate(zip(ROWS, places, strict=True), 1):
        theirs = f"blocks.{place[0]}.{place[1]}"
        parts = [("conv_dw", "bn1"), ("conv_pw", "bn2")]
        if row.inner != before:
            parts = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        names: list[tuple[str, ...]] = [*parts]
        if row.excites:
            names.insert(len(names) - 1, ("se.conv_reduce", "se.conv_expand"))
        for inner, pair in enumerate(names):
            excites = pair[0].startswith("se.")
            ours = ("fc1", "fc2") if excites else ("0", "1")
            for mine, other in zip(ours, pair, strict=True):
                prefixes[f"features.{number}.block.{inner}.{mine}"] = f"{theirs}.{other}"
        before = row.out
    return prefixes


# -- EfficientNet-B0: ours are MONAI's, which follow lukemelas's with a number more

_REPEATS = (1, 2, 2, 3, 3, 4, 1)
_OURS: tuple[str, ...] = (
    "_expand_conv",
    "_bn0",
    "_depthwise_conv",
    "_bn1",
    "_se_reduce",
    "_se_expand",
)
_OURS += ("_project_conv", "_bn2")
_TORCHVISION = ("0.0", "0.1", "1.0", "1.1", "2.fc1", "2.fc2", "3.0", "3.1")
_TORCHVISION_FIRST = ("", "", "0.0", "0.1", "1.fc1", "1.fc2", "2.0", "2.1")
_TIMM = ("conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn3")
_TIMM_FIRST = ("", "", "conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2")


def _efficientnet(timm: bool) -> dict[str, str]:
    ends = ("_conv_stem", "_bn0", "_conv_head", "_bn1", "_fc")
    theirs: tuple[str, ...] = (
        "features.0.0",
        "features.0.1",
        "features.8.0",
        "features.8.1",
        "classifier.1",
    )
    if timm:
        theirs = ("conv_stem", "bn1", "conv_head", "bn2", "classifier")
    prefixes = dict(zip(ends, theirs, strict=True))
    number = 0
    for stage, repeats in enumerate(_REPEATS):
        for block in range(repeats):
            start = f"blocks.{stage}.{block}" if timm else f"features.{stage + 1}.{block}.block"
            first = _TIMM_FIRST if timm else _TORCHVISION_FIRST
            later = _TIMM if timm else _TORCHVISION
            for ours, other in zip(_OURS, later if stage else first, strict=True):
                prefixes[f"_blocks.{stage}.{number}.{ours}"] = f"{start}.{other}"
            number += 1
    return prefixes


# -- all

_DENSE = (r"(.*denselayer\d+)\.layers\.(norm|conv)(\d)\.", r"\1.\2\3.")
_DENSE_OLD = (r"(.*denselayer\d+)\.layers\.(norm|conv)(\d)\.", r"\1.\2.\3.")
_DENSE_HEAD = (r"class_layers\.out\.", "classifier.")

LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    "DenseNet201": (
        Layout("torchvision", _renamed(_DENSE, _DENSE_HEAD)),
        Layout("old torchvision", _renamed(_DENSE_OLD, _DENSE_HEAD)),
    ),
    "MobileNetV3Small": (Layout("timm", _prefixed(_mobilenet_timm()), eps=1e-5),),
    "VGG19": (
        Layout(
            "timm",
            _prefixed(
                {
                    "classifier.0": "pre_logits.fc1",
                    "classifier.3": "pre_logits.fc2",
                    "classifier.6": "head.fc",
                }
            ),
        ),
    ),
    "EfficientNetBN": (
        Layout("torchvision", _prefixed(_efficientnet(timm=False)), eps=1e-5),
        Layout("timm", _prefixed(_efficientnet(timm=True)), eps=1e-5),
        Layout("lukemelas", _renamed((r"_blocks\.\d+\.", "_blocks."))),
    ),
}
