"""From tissues to four MR contrasts: intensities, texture, vessels, bias field, blur, noise."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from scipy import ndimage

from monai_tumor.data.phantom.anatomy import Array, Shape, smooth_noise
from monai_tumor.labels import MODALITIES, Modality

Contrast = Literal["clinical", "random", "random_ordered"]

# What a voxel is made of, in this order: healthy tissue, tumour, then what surrounds the brain.
CSF, GM, WM, CORE, ENHANCING, OEDEMA, VESSEL, SKULL, SCALP = range(9)

# Mean intensity against white matter. Tumour against tissue as measured in BraTS 2021 and
# BraTS-Africa cases, healthy tissue as in the MNI152 template and textbooks.
_CLINICAL = {
    #                csf   gm    wm    core  enh   oedema vessel skull scalp
    Modality.T1N: (0.30, 0.74, 1.00, 0.55, 0.76, 0.68, 0.55, 0.15, 1.30),
    Modality.T1C: (0.30, 0.78, 1.00, 0.52, 1.60, 0.68, 1.75, 0.15, 1.35),
    Modality.T2W: (3.00, 1.50, 1.00, 2.70, 1.90, 2.10, 0.50, 0.15, 1.30),
    Modality.T2F: (0.30, 1.22, 1.00, 1.35, 1.65, 1.85, 0.60, 0.15, 1.10),
}


@dataclass(frozen=True)
class Scanner:
    """What the scanner does to the image; each is the largest that chance may choose.

    Attributes:
        bias: strength of the bias field (0.25: a fifth brighter here, darker there).
        noise: standard deviation of the noise against white matter, before Rician magnitude.
        thick: slices of one modality, in mm, that were interpolated to 1 mm afterwards, as most
            BraTS images were; 1 for none.
    """

    bias: float = 0.15
    noise: float = 0.04
    thick: float = 4.0


def intensities(contrast: Contrast, enhancement: bool, rng: np.random.Generator) -> Array:
    """Mean intensity of each tissue in each modality, white matter about 1.

    Clinical values vary as they do between scanners and tumours. The orders a radiologist relies
    on hold: on T2 and FLAIR oedema is brighter than grey and white matter, on T1c the rim is the
    brightest tissue.

    Args:
        contrast: "clinical"; "random" for any intensity for any tissue; "random_ordered" for
            random healthy tissue with the clinical order of tumour against it.
        enhancement: whether the tumour core's rim takes up contrast agent.
        rng: the source of chance.

    Returns:
        float32, [4 (modality), 9 (tissue)].
    """
    table = np.array([_CLINICAL[name] for name in MODALITIES])
    out = table * np.exp(rng.normal(0, 0.06, table.shape))
    out[2, CORE] *= rng.uniform(0.75, 1.2)
    out[3, CORE] *= rng.uniform(0.7, 1.35)
    out[1, ENHANCING] *= rng.uniform(0.8, 1.2)
    if contrast != "clinical":
        out = rng.uniform(0.1, 2.0, table.shape)
    if contrast != "random":
        tissue = out[:, (GM, WM)].max(1)
        for row in (2, 3):
            out[row, OEDEMA] = max(out[row, OEDEMA], tissue[row] * rng.uniform(1.25, 1.6))
        healthy = out[1, (CSF, GM, WM, CORE, OEDEMA)].max()
        out[1, ENHANCING] = max(out[1, ENHANCING], healthy * rng.uniform(1.22, 1.6))
    if not enhancement:
        # Non-enhancing tumour is solid: brighter on T1 than a necrotic core.
        out[:2, CORE] *= rng.uniform(1.1, 1.35)
    return np.asarray(out, np.float32)


def shares_of(maps: Array, core: Array, whole: Array, enhancing: Array, unit: float) -> Array:
    """What each voxel is made of, with soft borders (partial volume).

    Args:
        maps: float32, [>= 3 (csf, gm, wm, ...), X, Y, Z]: the healthy anatomy.
        core: bool, [X, Y, Z], tumour core.
        whole: bool, [X, Y, Z], whole tumour.
        enhancing: bool, [X, Y, Z], enhancing tumour.
        unit: mm of this grid for one mm of an adult head.

    Returns:
        float32, [6 (csf to oedema), X, Y, Z]; their sum is that of the healthy tissues.
    """
    out = np.zeros((6, *maps.shape[1:]), np.float32)
    out[:3] = maps[:3]
    if not whole.any():
        return out
    spots = np.argwhere(whole)
    box = tuple(
        slice(max(0, a - 4), b + 5) for a, b in zip(spots.min(0), spots.max(0), strict=True)
    )
    inside = (slice(None), *box)
    brain = out[inside].sum(0)
    soft = [
        ndimage.gaussian_filter(part[box].astype(np.float32), max(0.7 * unit, 0.35))
        for part in (core & ~enhancing, enhancing, whole & ~core)
    ]
    # Oedema is wettest near the tumour and leaves some of the tissue that it soaks visible.
    wetness = ndimage.gaussian_filter(whole[box].astype(np.float32), 4 * unit)
    soft[2] *= 0.55 + 0.4 * np.clip(2 * wetness - 0.6, 0, 1)
    tumour = np.stack(soft) * brain
    out[inside][:3] *= np.clip(1 - sum(soft), 0, 1)
    out[inside][3:] = tumour
    return out


def with_surroundings(
    shares: Array, unit: float, rng: np.random.Generator, *, skull: bool
) -> Array:
    """`shares` with veins, and with a head around the brain when `skull`.

    Returns:
        float32, [9 (csf to scalp), X, Y, Z].
    """
    out = np.zeros((9, *shares.shape[1:]), np.float32)
    out[:VESSEL] = shares
    if skull:
        # Shells of 3, 6 and 6 mm fill what the brain leaves free.
        outside = ndimage.distance_transform_edt(shares.sum(0) <= 0.5) / unit
        room = 1 - shares.sum(0)
        for tissue, low, high in ((CSF, 0, 3), (SKULL, 3, 9), (SCALP, 9, 15)):
            out[tissue] += room * ((outside > low) & (outside <= high))
    vein = _vessels(rng, out[CSF], unit)
    out[:VESSEL] *= 1 - vein
    out[VESSEL] = vein
    return out


def _vessels(rng: np.random.Generator, csf: Array, unit: float) -> Array:
    """float32, [X, Y, Z]: share that is vein: random tubes in the CSF, mostly at the surface.

    Two smooth fields are both near zero along curves; these are the veins.
    """
    shape: Shape = csf.shape
    cell = max(16 * unit, 3)
    tube = smooth_noise(rng, shape, cell) ** 2 + smooth_noise(rng, shape, cell) ** 2
    return np.asarray(np.exp(-tube / 0.03) * np.sqrt(csf), np.float32)


def scan(
    shares: Array,
    texture: Array,
    means: Array,
    unit: float,
    scanner: Scanner,
    rng: np.random.Generator,
) -> Array:
    """One noise-free image of one modality.

    Args:
        shares: float32, [tissue, X, Y, Z].
        texture: float32, [X, Y, Z], in units of white minus grey matter.
        means: float32, [tissue], of this modality.
        unit: mm of this grid for one mm of an adult head.
        scanner: bias and slice thickness.
        rng: the source of chance.

    Returns:
        float32, [X, Y, Z].
    """
    shape: Shape = texture.shape
    image = np.tensordot(means, shares, 1)
    image += (means[WM] - means[GM]) * texture * shares[:3].sum(0)
    # Tumour is mottled, its core in coarser and its rim in finer grain; tissue and oedema hardly.
    image *= 1 + (0.02 + 0.09 * shares[CORE]) * smooth_noise(rng, shape, max(5 * unit, 1.5))
    fine = 0.02 + 0.06 * shares[CORE] + 0.11 * shares[ENHANCING] + 0.03 * shares[OEDEMA]
    image *= 1 + fine * smooth_noise(rng, shape, max(2.5 * unit, 1.2))
    image *= np.exp(rng.uniform(0, scanner.bias) * smooth_noise(rng, shape, 70 * unit))
    thickness = rng.uniform(1, scanner.thick) * unit
    if rng.random() < 0.4 and thickness > 1.5:
        image = _thick(image, thickness, axis=int(rng.integers(3)))
    return ndimage.gaussian_filter(image, rng.uniform(0.0, 0.55))


def _thick(image: Array, thickness: float, axis: int) -> Array:
    """`image` as slices of `thickness` voxels along `axis`, interpolated back."""
    step = [thickness if a == axis else 1.0 for a in range(3)]
    slices = average(image, step)
    count, n = slices.shape[axis], image.shape[axis]
    at = np.clip((np.arange(n) + 0.5) / thickness - 0.5, 0, count - 1.001)
    low = at.astype(int)
    weight = (at - low).reshape([-1 if a == axis else 1 for a in range(3)]).astype(np.float32)
    high = np.minimum(low + 1, count - 1)
    return np.take(slices, low, axis) * (1 - weight) + np.take(slices, high, axis) * weight


def average(image: Array, step: list[float] | Array) -> Array:
    """Mean of `image` over boxes of `step` voxels, exactly, also where a box cuts a voxel.

    Args:
        image: float32, [X, Y, Z].
        step: edges of the boxes along each axis, in voxels.

    Returns:
        float32, [X / step, Y / step, Z / step], rounded down, at least 1 each.
    """
    for axis, edge in enumerate(step):
        if edge == 1:
            continue
        n = image.shape[axis]
        borders = np.minimum(np.arange(max(1, int(n / edge)) + 1) * edge, n)
        weights = np.zeros((len(borders) - 1, n), np.float32)
        for row, (start, stop) in enumerate(pairwise(borders)):
            cells = np.arange(n)
            weights[row] = np.clip(np.minimum(cells + 1, stop) - np.maximum(cells, start), 0, None)
        weights /= weights.sum(1, keepdims=True)
        image = np.moveaxis(np.tensordot(weights, image, (1, axis)), 0, axis)
    return np.ascontiguousarray(image)


def rician(image: Array, sigma: float, rng: np.random.Generator) -> Array:
    """Magnitude of `image` with Gaussian noise of `sigma` in both channels."""
    real = image + sigma * rng.standard_normal(image.shape, np.float32)
    return np.hypot(real, sigma * rng.standard_normal(image.shape, np.float32))
