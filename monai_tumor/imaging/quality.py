"""What may make a segmentation wrong, found in the images and in the mask itself.

Each check is cheap, independent of an image's scale, and says what it found in numbers. None of
them proves anything: a flag is a reason to look.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any

import numpy as np
from nibabel import orientations
from numpy.typing import ArrayLike, NDArray
from skimage.registration import phase_cross_correlation

from monai_tumor.errors import InputError
from monai_tumor.imaging.components import split_components
from monai_tumor.imaging.measure import LEAST_LESION_ML, THICK_MM
from monai_tumor.imaging.orientation import check_affine, voxel_spacing
from monai_tumor.imaging.skull import SkullFinding, has_skull
from monai_tumor.imaging.volume import Volume
from monai_tumor.labels import MODALITIES, Modality, Region
from monai_tumor.labels import scheme as label_scheme

_Volume = NDArray[np.float32]

# RANO takes slices of up to 5 mm (`THICK_MM`); from here on a 1 mm network sees mostly
# interpolation, and small lesions fall between slices.
NOTABLE_MM = 3.0
# Registered modalities of 18 BraTS cases: 0 mm. One cell of the coarse grid is 2 mm of rounding.
SHIFT_MM = 3.0
# Edges of registered modalities correlate 0.73 or more in those cases; 0.40 to 0.52 when one is
# moved by 5 mm, 0.60 to 0.70 when it is turned by 6 degrees.
LEAST_EDGE_CORRELATION = 0.6
# Different contrasts of 18 BraTS cases correlate up to 0.94 in the brain; the same one, saved
# twice, 1.
LEAST_DUPLICATE = 0.995

_COARSE_MM = 2.0  # cells for alignment


class Severity(StrEnum):
    """How much a flag matters."""

    NOTE = "note"  # worth knowing
    WARNING = "warning"  # the result may be wrong


@dataclass(frozen=True)
class Flag:
    """One reason to look twice.

    Attributes:
        name: a short word, for counting and for programs.
        severity: how much it matters.
        found: one sentence: what was found, with numbers.
        advice: one sentence: what to do.
    """

    name: str
    severity: Severity
    found: str
    advice: str

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {
            "name": self.name,
            "severity": self.severity.value,
            "found": self.found,
            "advice": self.advice,
        }

    def __str__(self) -> str:
        """Such as `warning: skull: Air is ... Strip the skull ...`."""
        return f"{self.severity}: {self.name}: {self.found} {self.advice}"


def check_images(
    images: Mapping[Modality, ArrayLike], affine: ArrayLike, skull: SkullFinding | None = None
) -> tuple[Flag, ...]:
    """What is doubtful about the images of a study; nothing is if it is empty.

    Args:
        images: modality -> [X, Y, Z], all on one grid; those that there are.
        affine: voxel index to mm, RAS, [4, 4].
        skull: what `has_skull` said of them, where it was asked before.

    Raises:
        InputError: an image is not a volume or on another grid, or the affine cannot be used.
    """
    affine = check_affine(affine)
    volumes = {m: np.asarray(images[m], dtype=np.float32) for m in MODALITIES if m in images}
    shapes = {volume.shape for volume in volumes.values()}
    if len(shapes) > 1 or any(len(shape) != 3 or 0 in shape for shape in shapes):
        raise InputError(
            f"Images of one study must be [X, Y, Z] on one grid, found shapes {sorted(shapes)}; "
            "resample them onto one."
        )
    if skull is None:
        solid = {m: v for m, v in volumes.items() if min(v.shape) > 1}
        skull = has_skull({m: Volume(v, affine) for m, v in solid.items()})
    return (
        *_thick_slices(affine),
        *_duplicates(volumes),
        *_misaligned(volumes, affine),
        *_skull(skull),
    )


def check_mask(labels: ArrayLike, affine: ArrayLike, scheme: str) -> tuple[Flag, ...]:
    """What is doubtful about a label map; nothing is if it is empty.

    Args:
        labels: integers, [X, Y, Z].
        affine: voxel index to mm, RAS, [4, 4].
        scheme: how to read them.

    Raises:
        InputError: the affine cannot be used.
        SchemeError: no such scheme.
    """
    affine = check_affine(affine)
    values = np.asarray(labels)
    regions = label_scheme(scheme).regions
    whole = np.isin(values, regions[Region.WT])
    if not whole.any():
        found = f"No voxel of {values.size} is tumour."
        advice = "Make sure that the study is whole and in order; then no tumour was found in it."
        return (Flag("empty-mask", Severity.WARNING, found, advice),)
    enhancing = np.isin(values, regions[Region.ET])
    flags = [*_border(whole, affine), *_islands(whole, affine)]
    if not enhancing.any():
        voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
        flags.append(
            Flag(
                "empty-et",
                Severity.NOTE,
                f"No enhancing tumour in {whole.sum() * voxel_ml:.1f} mL of tumour.",
                "Compare t1c with t1n; not every tumour enhances.",
            )
        )
    return tuple(flags)


def _thick_slices(affine: NDArray[np.float64]) -> list[Flag]:
    spacing = voxel_spacing(affine)
    worst = max(spacing)
    if worst <= NOTABLE_MM:
        return []
    size = " x ".join(f"{s:.3g}" for s in spacing)
    found = f"Voxels of {size} mm: slices are {worst:.3g} mm apart."
    if worst > THICK_MM:
        advice = f"Use a series of at most {THICK_MM:g} mm, as RANO asks; volumes are rough here."
        return [Flag("thick-slices", Severity.WARNING, found, advice)]
    advice = "Use a thinner series if there is one; small lesions may be missed here."
    return [Flag("thick-slices", Severity.NOTE, found, advice)]


def _duplicates(volumes: Mapping[Modality, _Volume]) -> list[Flag]:
    flags = []
    samples = {name: _sample(volume) for name, volume in volumes.items()}
    head = np.any([values != _commonest(values)[0] for values in samples.values()], axis=0)
    for one, other in combinations(samples, 2):
        alike = _correlation(samples[one][head], samples[other][head])
        if alike >= LEAST_DUPLICATE:
            found = f"{one} and {other} look like one image: they correlate {alike:.4f}."
            advice = "Make sure that each modality has its own file."
            flags.append(Flag("duplicate-modality", Severity.WARNING, found, advice))
    return flags


def _misaligned(volumes: Mapping[Modality, _Volume], affine: NDArray[np.float64]) -> list[Flag]:
    """Edges of each modality against those of the first of t1c, t1n, ...: moved, or unlike."""
    order = sorted(volumes, key=lambda m: m is not Modality.T1C)
    edges = {}
    for name in order:
        coarse, spacing = _coarse(volumes[name], affine, _COARSE_MM)
        if min(coarse.shape) < 4:
            return []
        edges[name] = _edges(coarse, spacing)
    flags = []
    for name in order[1:]:
        fixed, moving = edges[order[0]], edges[name]
        if not fixed.any() or not moving.any():
            continue
        shift, _, _ = phase_cross_correlation(fixed, moving, normalization=None)
        apart = float(np.linalg.norm(shift * spacing))
        alike = _correlation(fixed.ravel(), moving.ravel())
        if apart > SHIFT_MM or alike < LEAST_EDGE_CORRELATION:
            found = (
                f"{name} lies about {apart:.0f} mm from {order[0]}, and their edges correlate "
                f"{alike:.2f} (aligned images: 0 mm and over {LEAST_EDGE_CORRELATION:g})."
            )
            advice = "Look at both on one another, and register them before segmenting."
            flags.append(Flag("misaligned", Severity.WARNING, found, advice))
    return flags


def _skull(finding: SkullFinding) -> list[Flag]:
    if not finding:
        return []
    advice = "Strip the skull before segmenting; the networks have seen brains alone."
    return [Flag("skull", Severity.WARNING, f"The skull is on: {finding.reason}.", advice)]


def _border(whole: NDArray[np.bool_], affine: NDArray[np.float64]) -> list[Flag]:
    axcodes = orientations.aff2axcodes(affine)
    opposite = dict(zip("RLAPSI", "LRPAIS", strict=True))
    faces = []
    for axis, code in enumerate(axcodes):
        for index, side in ((0, opposite[code]), (-1, code)):
            count = int(np.take(whole, index, axis).sum())
            if count:
                faces.append(f"{side} ({count} voxels)")
    if not faces:
        return []
    found = f"The tumour reaches the edge of the volume: {', '.join(faces)}."
    advice = "Part of it may lie outside; volumes are at least what is given."
    return [Flag("border", Severity.WARNING, found, advice)]


def _islands(whole: NDArray[np.bool_], affine: NDArray[np.float64]) -> list[Flag]:
    spacing = voxel_spacing(affine)
    parts = split_components(whole, min_ml=0, spacing=spacing)
    voxel_ml = float(np.prod(spacing)) / 1000
    sizes = np.array([part.sum() * voxel_ml for _, part in parts])
    tiny = sizes[sizes < LEAST_LESION_ML - 1e-9]
    if not len(tiny):
        return []
    larger = len(sizes) - len(tiny)
    islands = "island has" if len(tiny) == 1 else "islands have"
    found = (
        f"{len(tiny)} {islands} less than {LEAST_LESION_ML:g} mL, together {tiny.sum():.3f} mL; "
        f"{larger} larger {'lesion is' if larger == 1 else 'lesions are'} left."
    )
    advice = "Look at them; specks are often false, and they are not counted as lesions."
    return [Flag("tiny-islands", Severity.NOTE, found, advice)]


def _sample(volume: _Volume) -> _Volume:
    """At most a few hundred thousand voxels, evenly spread."""
    steps = [max(1, round(size / 80)) for size in volume.shape]
    return volume[:: steps[0], :: steps[1], :: steps[2]]


def _commonest(volume: NDArray[Any]) -> tuple[float, float]:
    """The value that most voxels have, and their share."""
    values, counts = np.unique(volume, return_counts=True)
    best = int(counts.argmax())
    return float(values[best]), float(counts[best] / volume.size)


def _correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Pearson's, 0 where one does not vary."""
    if one.size < 2 or not one.std() or not other.std():
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _coarse(
    volume: _Volume, affine: NDArray[np.float64], cell_mm: float
) -> tuple[_Volume, NDArray[np.float64]]:
    """Means over cells of about `cell_mm`, and the size of a cell in mm."""
    spacing = np.array(voxel_spacing(affine))
    steps = np.minimum(np.maximum(np.rint(cell_mm / spacing), 1), volume.shape).astype(int)
    for axis, step in enumerate(steps.tolist()):
        if step > 1:
            along = np.moveaxis(volume, axis, 0)
            stop = len(along) // step * step
            means = sum(along[n:stop:step] for n in range(step)) / step
            volume = np.moveaxis(means, 0, axis)
    return volume, spacing * steps


def _edges(volume: _Volume, spacing: NDArray[np.float64]) -> _Volume:
    """The length of the gradient of an image whose percentiles 2 and 99 are 0 and 1, centred."""
    low, high = np.percentile(volume, (2, 99))
    if high <= low:
        return np.zeros_like(volume)
    slopes = np.gradient(np.clip((volume - low) / (high - low), 0, 1), *spacing)
    length = np.sqrt(sum(slope**2 for slope in slopes))
    return np.asarray(length - length.mean(), dtype=np.float32)
