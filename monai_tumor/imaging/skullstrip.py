"""The brain in a head, found without a network, from all contrasts that are there.

Normalise each contrast and take out its bias field; what is as bright as brain in their mean, and
in T2 too, is tissue; a watershed parts the tissue around the middle of the head from that of
scalp, face and neck at the narrowest place (Segonne et al., NeuroImage 2004, do so before they fit
a surface); stalks are cut, sulci and ventricles closed. It knows adult heads, upright by their
affine. A trained network does better on patients; where masks matter, give one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial
from skimage import segmentation

from monai_tumor.errors import StudyError
from monai_tumor.imaging.morphology import (
    Floats,
    Mask,
    close,
    depth_inside,
    dilate,
    largest_piece,
)
from monai_tumor.imaging.orientation import reorient
from monai_tumor.imaging.registration import resample
from monai_tumor.imaging.volume import Volume, shrink
from monai_tumor.labels import Modality

_EDGE = 2.0  # mm, of the grid that the search runs on
_TISSUE = 0.6  # of the middle brain's brightness: between CSF (0.3) and grey matter (0.9) on T1
_T2_TISSUE = 0.54  # keeps muscle (0.5) out; on T2 brain is 0.8 and more
_SCALP_MM = 5.0  # nothing so near to the air is brain
_SULCI_MM = 8.0
_VOLUME_ML = (700.0, 2100.0)
_SYMMETRY = 0.78  # 19 patients: 0.81 to 0.97
_SOLIDITY = 0.75  # 19 patients: 0.81 to 0.87
_CUT = 0.1  # of a head's largest section; a nose or an ear is less
_BORDER = 0.01  # 19 patients: at most 0.0015


@dataclass(frozen=True)
class StripQuality:
    """What can be said of a brain mask without knowing the truth.

    Attributes:
        volume_ml: of the mask; adults have 1000 to 1800.
        symmetry: Dice of the mask with its mirror image, left for right.
        solidity: share of its convex hull that the mask fills; a leak leaves the hull empty.
        border: share of the mask that lies in the outermost voxels of the image.
        problems: what is wrong, a line each; empty for a mask that looks like a brain.
    """

    volume_ml: float
    symmetry: float
    solidity: float
    border: float
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the mask; that does not make it right."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.__dict__, "problems": list(self.problems), "ok": self.ok}

    def __str__(self) -> str:
        """One line."""
        text = f"brain mask of {self.volume_ml:.0f} mL"
        return f"{text}: {'; '.join(self.problems)}" if self.problems else f"{text}, plausible"


@dataclass(frozen=True)
class BrainMask:
    """A brain mask and what can be said of it.

    Attributes:
        mask: bool, [X, Y, Z], on the images' grid.
        quality: look at `quality.ok` before it is used.
    """

    mask: Mask
    quality: StripQuality


def strip(images: Mapping[Modality, Volume]) -> BrainMask:
    """The brain in a head.

    Args:
        images: one or more contrasts with the skull on, on one grid. T1 or FLAIR tell brain from
            CSF; with T2 alone the mask takes in the CSF around the brain.

    Raises:
        StudyError: no image, different grids, or images without contrast.
    """
    grid = _common_grid(images)
    small = {name: _upright(image) for name, image in images.items()}
    frame = _Frame.of(list(small.values()))
    tissue = _tissue({name: _flat(v.voxels, frame) for name, v in small.items()}, frame)
    brain = _without_stalks(_central(tissue, frame), frame)
    brain = close(brain, _SULCI_MM, frame.grid.spacing)
    soft = ndimage.gaussian_filter(brain.astype(np.float32), [1.5 / s for s in frame.grid.spacing])
    mask = resample(frame.grid.with_voxels(soft), grid) > 0.5
    quality = judge(mask, grid.affine)
    if cut := _cut_sides((frame.depth > 0) & (frame.reach < 1.3)):
        problem = f"the image cuts the head at its {', '.join(cut)}, where the mask is not reliable"
        quality = replace(quality, problems=(*quality.problems, problem))
    return BrainMask(mask, quality)


def judge(mask: NDArray[Any], affine: NDArray[np.float64]) -> StripQuality:
    """What can be said of a brain mask, [X, Y, Z], ours or another's."""
    volume = Volume(*reorient(mask.astype(np.float32), affine, "RAS"))
    small = shrink(volume, 4.0)
    inside = small.voxels > 0.5
    ml = float(mask.sum()) * volume.voxel_ml
    if inside.sum() < 50:
        return StripQuality(ml, 0.0, 0.0, 0.0, ("no brain was found",))
    total = float(mask.sum())
    faces = [mask.take(end, axis).sum() for axis in range(3) for end in (0, -1)]
    symmetry, solidity = _symmetry(inside), _solidity(inside)
    border = float(sum(faces)) / total
    problems = []
    low, high = _VOLUME_ML
    if not low <= ml <= high:
        problems.append(f"its volume is not that of a brain, {low:.0f} to {high:.0f} mL")
    if symmetry < _SYMMETRY:
        problems.append(f"left and right differ (Dice {symmetry:.2f})")
    if solidity < _SOLIDITY:
        problems.append(f"its shape is not compact (fills {solidity:.0%} of its hull)")
    if border > _BORDER:
        problems.append(f"the image's border cuts it ({border:.1%} of the mask lie there)")
    return StripQuality(ml, symmetry, solidity, border, tuple(problems))


@dataclass(frozen=True)
class _Frame:
    """Where things are in a head, on the grid of the search; axes run right, anterior, superior.

    Attributes:
        grid: its voxels do not matter.
        depth: mm below the surface of the head; 0 in air.
        middle: within 35 mm of where the middle of the brain must be.
        reach: 1 on an ellipsoid that holds any brain, less inside.
    """

    grid: Volume
    depth: Floats
    middle: Mask
    reach: Floats

    @classmethod
    def of(cls, images: list[Volume]) -> "_Frame":
        grid = images[0]
        spacing = np.array(grid.spacing)
        head = _head(images)
        area = np.asarray(head.sum((0, 1)) * spacing[0] * spacing[1])
        if not (area > 2000).any():
            raise StudyError("No head is to be seen in the images. Look at them.")
        top = int(np.nonzero(area > 2000)[0].max())
        upper = np.any(head[:, :, max(0, int(top - 100 / spacing[2])) : top + 1], axis=2)
        x, y = (np.nonzero(np.any(upper, axis=axis))[0] for axis in (1, 0))
        width, length = (x.max() - x.min()) * spacing[0], (y.max() - y.min()) * spacing[1]
        ends = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2, top - 0.52 * width / spacing[2]
        at = np.indices(head.shape, dtype=np.float32, sparse=True)
        away = [(at[k] - np.float32(ends[k])) * np.float32(spacing[k]) for k in range(3)]
        half = (width / 2, length / 2, 0.52 * width)
        middle = np.asarray(away[0] ** 2 + away[1] ** 2 + away[2] ** 2 < 35**2) & head
        if not middle.any():
            raise StudyError(
                "The images show too little of a head to find the brain in it; give a brain mask."
            )
        reach = sum((away[k] / np.float32(half[k])) ** 2 for k in range(3))
        return cls(
            grid=grid,
            depth=depth_inside(head, grid.spacing),
            middle=middle,
            reach=np.asarray(reach, np.float32),
        )


def _common_grid(images: Mapping[Modality, Volume]) -> Volume:
    if not images:
        raise StudyError("A skull strip needs at least one image; none is given.")
    first, *others = images.values()
    for other in others:
        if other.voxels.shape != first.voxels.shape or not np.allclose(
            other.affine, first.affine, atol=0.01
        ):
            raise StudyError("A skull strip needs images on one grid; bring them to one first.")
    return first


def _upright(image: Volume) -> Volume:
    return shrink(Volume(*reorient(image.voxels, image.affine, "RAS")), _EDGE)


def _head(images: list[Volume]) -> Mask:
    """What is no air, filled in each axial slice: a face has holes that open downwards."""
    total = np.zeros(images[0].voxels.shape, np.float32)
    for image in images:
        low, high = np.percentile(image.voxels, (5, 98))
        if not low < high:
            raise StudyError("An image is constant, so no brain can be found. Look at the file.")
        total += np.clip((image.voxels - low) / (high - low), 0, 1.5) / len(images)
    spacing = images[0].spacing
    blurred = ndimage.gaussian_filter(total, [2 / s for s in spacing])
    head = close(largest_piece(blurred > 0.12), 6.0, spacing)
    for level in range(head.shape[2]):
        head[:, :, level] = ndimage.binary_fill_holes(head[:, :, level])
    return head


def _flat(voxels: NDArray[Any], frame: _Frame) -> Floats:
    """One contrast with air 0, the middle of the brain about 1, and no bias field."""
    air = frame.depth == 0
    out = voxels - (np.median(voxels[air]) if air.any() else voxels.min())
    level = float(np.median(out[frame.middle]))
    if not level > 0:
        raise StudyError("An image is no brighter in the head than in the air. Look at the file.")
    out = out / level
    step = (slice(None, None, 3),) * 3  # the field is smooth: a coarse grid will do
    sigmas = [25 / (3 * s) for s in frame.grid.spacing]
    for _ in range(3):
        coarse = out[step]
        tissue = (coarse > 0.55) & (coarse < 1.6) & (frame.depth[step] > 10)
        weight = ndimage.gaussian_filter(tissue.astype(np.float32), sigmas) + 1e-3
        field = (ndimage.gaussian_filter(coarse * tissue, sigmas) + 1e-3) / weight
        out = out / _to_shape(field, out.shape)
    return np.asarray(out, np.float32)


def _to_shape(field: Floats, shape: tuple[int, ...]) -> Floats:
    """Every third voxel of a grid of `shape`, interpolated back onto it."""
    onto = Volume(np.empty(shape, np.float32), np.eye(4))
    coarse = Volume(np.pad(field, [(0, 1)] * 3, mode="edge"), np.diag([3.0, 3.0, 3.0, 1.0]))
    return resample(coarse, onto)


def _tissue(flat: Mapping[Modality, Floats], frame: _Frame) -> Mask:
    """What is as bright as brain and not too near to the air."""
    others = [image for name, image in flat.items() if name != Modality.T2W]
    bright = np.asarray(frame.depth > _SCALP_MM)
    if others:
        bright &= _blurred(np.mean(others, axis=0), frame) > _TISSUE
    if Modality.T2W in flat:
        bright &= _blurred(flat[Modality.T2W], frame) > _T2_TISSUE
    return bright


def _blurred(image: Floats, frame: _Frame) -> Floats:
    return np.asarray(ndimage.gaussian_filter(image, [0.5 / s for s in frame.grid.spacing]))


def _central(tissue: Mask, frame: _Frame) -> Mask:
    """The part of the tissue that floods from the middle of the head, not from its outside."""
    depth = depth_inside(tissue, frame.grid.spacing)
    core = np.zeros_like(tissue)
    for radius in (10, 8, 6, 5, 4, 3, 2):
        core = largest_piece(depth > radius, frame.middle)
        if core.sum() * frame.grid.voxel_ml > 150:
            break
    pieces, count = ndimage.label((depth > radius) & ~core)
    reach = ndimage.mean(frame.reach, pieces, np.arange(count + 1))
    elsewhere = (pieces > 0) & (np.asarray(reach)[pieces] > 0.9)
    seeds = np.where(elsewhere | (frame.depth < 8) | (frame.reach > 1), 2, 0)
    seeds[core & (frame.reach < 1)] = 1
    return np.asarray(segmentation.watershed(-depth, seeds * tissue, mask=tissue) == 1)


def _without_stalks(mask: Mask, frame: _Frame) -> Mask:
    """The mask without what hangs on it by less than 8 mm: nerves, vessels, the spinal cord."""
    spacing = frame.grid.spacing
    bulk = largest_piece(depth_inside(mask, spacing) > 4, frame.middle)
    return np.asarray(mask & dilate(bulk, 7.0, spacing))


def _cut_sides(head: Mask) -> list[str]:
    """Where a head goes on beyond the image, but for below, where it may.

    Args:
        head: without face and neck; axes run right, anterior, superior.
    """
    sides = (("left", "right"), ("back", "front"), ("", "top"))
    out = []
    for axis, names in enumerate(sides):
        areas = head.sum(tuple({0, 1, 2} - {axis}))
        ends = (areas[0], areas[-1])
        out += [n for n, end in zip(names, ends, strict=True) if n and end > _CUT * areas.max()]
    return out


def _symmetry(mask: Mask) -> float:
    """Dice of a mask with its mirror image, about the middle of its first axis."""
    x = np.nonzero(np.any(mask, axis=(1, 2)))[0]
    cut = mask[x.min() : x.max() + 1]
    return float((cut & cut[::-1]).sum() / cut.sum())


def _solidity(mask: Mask) -> float:
    """Share of the convex hull that a mask fills; both of voxels as cubes, nearly."""
    at = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    corners = np.concatenate([at + shift for shift in np.ndindex(2, 2, 2)])
    if (np.ptp(corners, axis=0) < 2).any():
        return 1.0
    return float(mask.sum() / spatial.ConvexHull(corners).volume)
