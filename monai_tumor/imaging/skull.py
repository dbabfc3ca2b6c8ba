"""Whether an image still shows the skull."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from monai_tumor.imaging.morphology import Mask, close, depth_inside, largest_piece
from monai_tumor.imaging.volume import Volume, shrink
from monai_tumor.labels import Modality

# The 76 skull-stripped images of 19 patients have 1270 to 1900 mL and a layer 0.85 as bright as
# the surface or more; 9 phantoms with their skull have from 2640 mL, and 0.09 to 0.86.
_LEAST_ML = 500.0
_BRAIN_ML = 2300.0
_DARK_LAYER = 0.72
_EDGE = 3.0


@dataclass(frozen=True)
class SkullFinding:
    """Which images show the skull.

    Attributes:
        with_skull: those that do.
        without_skull: those that do not.
        reason: one line on the images that do; on all of them where none does.
    """

    with_skull: tuple[Modality, ...]
    without_skull: tuple[Modality, ...]
    reason: str

    @property
    def found(self) -> bool:
        """Whether any image shows the skull."""
        return bool(self.with_skull)

    def __bool__(self) -> bool:
        """As `found`."""
        return self.found

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "found": self.found,
            "with_skull": [str(m) for m in self.with_skull],
            "without_skull": [str(m) for m in self.without_skull],
            "reason": self.reason,
        }

    def __str__(self) -> str:
        """The reason."""
        return self.reason


def has_skull(images: Mapping[Modality, Volume]) -> SkullFinding:
    """Which of `images` still show the skull, judged by two signs, either of which will do.

    What stands out from the air is larger than a brain; or bone, a dark layer about 10 mm below
    the surface, lies around what is inside. Both are signs of adult heads; of less than half a
    litre nothing is said.

    Where some images do, one whose air is not all of one value does too: nobody took it off there.

    Args:
        images: each on any grid.
    """
    signs = {name: _sign(image) for name, image in images.items()}
    if any(signs.values()):
        for name, image in images.items():
            if not signs[name] and not _is_masked(image):
                signs[name] = "its air is not masked, and other images show the skull"
    with_skull = tuple(name for name, sign in signs.items() if sign)
    if with_skull:
        reason = "; ".join(f"{name}: {signs[name]}" for name in with_skull)
    else:
        reason = "no image shows more than a brain, or a dark layer of bone below its surface"
    return SkullFinding(with_skull, tuple(n for n in images if n not in with_skull), reason)


def outline(image: Volume, share: float = 0.1) -> Volume:
    """What stands out from the air, in one piece without holes, on a grid of about 3 mm.

    Args:
        image: a head or a brain.
        share: of the way from air to the bright end of the values, above which it is no air.

    Returns:
        voxels: bool, [X / a, Y / b, Z / c].
    """
    small = shrink(image, _EDGE)
    return small.with_voxels(_stands_out(small, _air(small), share))


def _sign(image: Volume) -> str:
    """What speaks for a skull; "" for nothing."""
    small = shrink(image, _EDGE)
    voxels, air = small.voxels, _air(small)
    head = _stands_out(small, air)
    box = _box(head)
    voxels, head = voxels[box], head[box]
    ml = float(head.sum()) * small.voxel_ml
    if ml > _BRAIN_ML:
        return f"what stands out from the air measures {ml:.0f} mL, more than a brain"
    depth = depth_inside(head, small.spacing)
    layers = [(depth > low) & (depth <= low + 3) for low in (4, 7, 10, 13)] + [depth > 25]
    if ml < _LEAST_ML or not all(layer.any() for layer in layers):
        return ""
    surface, *below, inside = (float(np.median(voxels[layer])) - air for layer in layers)
    ratio = min(below) / max(min(surface, inside), 1e-6)
    if ratio < _DARK_LAYER:
        return f"a layer as dark as bone ({ratio:.2f} of what lies around it) is below the surface"
    return ""


def _is_masked(image: Volume) -> bool:
    """Whether a third of the image has exactly one value, as what was cut away has."""
    sample = image.voxels[::3, ::3, ::3]
    return bool(np.unique(sample, return_counts=True)[1].max() > sample.size / 3)


def _stands_out(image: Volume, air: float, share: float = 0.1) -> Mask:
    bright = image.voxels[image.voxels > air]
    high = float(np.percentile(bright, 99)) if bright.size else air + 1
    blurred = ndimage.gaussian_filter(image.voxels, [1.5 / edge for edge in image.spacing])
    piece = largest_piece(blurred > air + share * (high - air))
    box = _box(piece)
    piece[box] = close(piece[box], 6.0, image.spacing)
    return piece


def _box(mask: Mask, margin: int = 3) -> tuple[slice, ...]:
    """The part of the grid that holds a mask, and a margin where there is room."""
    found = ndimage.find_objects(mask.view(np.uint8)) or [tuple(slice(0, n) for n in mask.shape)]
    return tuple(slice(max(0, s.start - margin), s.stop + margin) for s in found[0])


def _air(image: Volume) -> float:
    """The value of the air: the median of the image's four sides (a neck may fill the bottom)."""
    v = image.voxels
    return float(np.median(np.concatenate([s.ravel() for s in (v[0], v[-1], v[:, 0], v[:, -1])])))
