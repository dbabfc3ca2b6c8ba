"""The methods before networks, for one grey slice: denoise, threshold, strip the skull, cluster.

scikit-image has the filters and thresholds; k-means of intensities and fuzzy c-means (Bezdek, 1981)
are a few lines on the sorted intensities. These show and teach; they find bright regions, not
tumours, and no result of the toolkit rests on them.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, measure, restoration, segmentation, transform
from skimage.morphology import disk, isotropic_closing, isotropic_erosion, isotropic_opening

from monai_tumor.errors import ImageError

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]
Stripping = Literal["contour", "histogram", "threshold"]

# In parts of the shorter side: by how much tissue is opened at most to part brain and scalp, and
# how thick scalp and skull may be.
_WIDEST = 0.04
_ON_RIM = 0.05  # of the head's rim, that a brain parted from the scalp may cover
_FRAME = 0.015
_WORKING = 256  # pixels of the longer side on which a skull is stripped
_MOST_STEPS = 300
_SETTLED = 1e-5  # of a centre, in units of the picture's range


@dataclass(frozen=True)
class RegionMeasure:
    """Size and place of a region.

    Attributes:
        pixels: how many.
        area: mm2, or None where the pixel spacing is not known.
        share: of the head's pixels, or of the picture's where no head is given.
        centre: row and column of its centroid.
        box: first row, first column, and the row and column after the last.
        diameter: longest distance between two of its pixels' outlines (maximum Feret diameter), in
            pixels, or in mm where the spacing is known.
    """

    pixels: int
    area: float | None
    share: float
    centre: tuple[float, float]
    box: tuple[int, int, int, int]
    diameter: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "centre": list(self.centre), "box": list(self.box)}

    def __str__(self) -> str:
        """One line."""
        unit = "px" if self.area is None else "mm"
        size = f"{self.pixels} px" if self.area is None else f"{self.area:.0f} mm2"
        return (
            f"{size} ({100 * self.share:.1f}%), centre row {self.centre[0]:.0f} column"
            f" {self.centre[1]:.0f}, {self.diameter:.0f} {unit} across"
        )


def denoise(
    slice_: Grey, method: Literal["median", "gaussian", "nlm"] = "median", strength: float = 1.0
) -> Grey:
    """The slice with less noise, [rows, columns].

    Args:
        slice_: grey in [0, 1], [rows, columns].
        method: median of a disk, Gaussian, or non-local means with the noise it estimates.
        strength: radius or standard deviation in pixels; for "nlm" a factor of the noise.

    Raises:
        ImageError: not a finite 2D picture, another method, or a strength of 0 or less.
    """
    _check(slice_)
    if strength <= 0:
        raise ImageError(f"strength is {strength}; give more than 0.")
    if method == "median":
        done = ndimage.median_filter(slice_, footprint=disk(max(1, round(strength))))
    elif method == "gaussian":
        done = filters.gaussian(slice_, sigma=strength)
    elif method == "nlm":
        noise = _noise(slice_)
        done = restoration.denoise_nl_means(
            slice_, patch_size=5, patch_distance=6, h=0.8 * strength * noise, sigma=noise
        )
    else:
        raise ImageError(f"Unknown method {method!r}; choose median, gaussian or nlm.")
    return np.asarray(done, np.float32)


def otsu(slice_: Grey, classes: int = 2, mask: Mask | None = None) -> tuple[float, ...]:
    """The thresholds between `classes` intensities that part them best (Otsu, 1979; multi-Otsu).

    Args:
        slice_: grey, [rows, columns].
        classes: 2 to 5; one threshold fewer is returned.
        mask: only these pixels count.

    Raises:
        ImageError: not a finite 2D picture, or fewer intensities than classes.
    """
    _check(slice_)
    values = slice_ if mask is None else slice_[mask]
    if not 2 <= classes <= 5:
        raise ImageError(f"classes is {classes}; give 2 to 5.")
    if np.unique(values).size < classes:
        raise ImageError(f"The slice has fewer than {classes} intensities; there is no threshold.")
    if classes == 2:
        return (float(filters.threshold_otsu(values)),)
    # 64 bins: the search over all thresholds of 5 classes grows with their fourth power.
    return tuple(float(t) for t in filters.threshold_multiotsu(values, classes, nbins=64))


def head(slice_: Grey) -> Mask:
    """The head without the background: the largest thing above Otsu's threshold, holes filled."""
    (threshold,) = otsu(slice_)
    slice_ = slice_.copy()
    frame = max(1, round(_FRAME * min(slice_.shape)))
    for edge in (slice_, slice_.T, slice_[::-1], slice_.T[::-1]):
        edge[:frame] = 0  # a frame drawn around the picture is no head
    # Dark tissue lies below the threshold of bright fat against air: half of it still is not air.
    bright = isotropic_closing(slice_ > threshold / 2, 3)
    return _largest(ndimage.binary_fill_holes(bright))  # filled first: a scalp is a ring


def strip_skull(slice_: Grey, method: Stripping = "histogram") -> Mask:
    """Where the brain is in an axial slice, roughly; bool, [rows, columns].

    Args:
        slice_: grey in [0, 1], [rows, columns].
        method: how tissue is told from bone: "threshold" takes what is above half of Otsu's;
            "histogram" drops the darkest and the brightest intensities of the head (multi-Otsu),
            bone and fat; "contour" lets an outline inside the head settle (morphological
            Chan-Vese). Tissue is then opened until brain and scalp part; bits of scalp that touch
            the brain stay, least with "histogram".

    Raises:
        ImageError: not a finite 2D picture, another method, or nothing is left.
    """
    _check(slice_)
    shrink = min(1.0, _WORKING / max(slice_.shape))
    if shrink < 1:
        shape = tuple(max(8, round(n * shrink)) for n in slice_.shape)
        small = np.asarray(transform.resize(slice_, shape, anti_aliasing=True), np.float32)
        return np.asarray(
            transform.resize(strip_skull(small, method), slice_.shape, order=0), np.bool_
        )
    inside = head(slice_)
    most = max(3, round(_WIDEST * min(slice_.shape)))
    if method == "threshold":
        tissue = inside & (slice_ > otsu(slice_)[0] / 2)
    elif method == "histogram":
        low, high = otsu(slice_, 3, mask=inside)
        tissue = inside & (slice_ > low / 2) & (slice_ < (high + 1) / 2)
    elif method == "contour":
        core = isotropic_erosion(inside, most)
        tissue = segmentation.morphological_chan_vese(
            np.where(inside, slice_, 0), num_iter=30, init_level_set=core, smoothing=1
        ).astype(bool)
        tissue &= core
    else:
        raise ImageError(f"Unknown method {method!r}; choose contour, histogram or threshold.")
    piece = _parted(tissue, inside, most)
    if not piece.any():
        raise ImageError("No brain was found in the slice; is it an axial slice of a head?")
    return np.asarray(ndimage.binary_fill_holes(isotropic_closing(piece, most)) & inside)


def _parted(tissue: Mask, inside: Mask, most: int) -> Mask:
    """The largest piece of `tissue`, opened just so far that it leaves the rim of the head."""
    rim = inside & ~isotropic_erosion(inside, 4)
    piece = np.zeros_like(tissue)
    for radius in range(1, most + 1):
        opened = _largest(isotropic_opening(tissue, radius))
        if not opened.any():
            break
        piece = opened
        if (piece & rim).sum() <= _ON_RIM * rim.sum():
            break
    return piece


@dataclass(frozen=True)
class Clusters:
    """Intensities in groups.

    Attributes:
        labels: 0 outside the mask, else 1 for the darkest group and so on; int32, [rows, columns].
        centres: intensity of each group, from dark to bright.
        memberships: of each pixel in each group, sum 1 (0 outside the mask); float32,
            [groups, rows, columns].
    """

    labels: NDArray[np.int32]
    centres: tuple[float, ...]
    memberships: NDArray[np.float32]


def k_means(slice_: Grey, groups: int = 4, mask: Mask | None = None) -> Clusters:
    """Intensities in `groups` by k-means (Lloyd), started at evenly spread quantiles."""
    return _clusters(slice_, groups, mask, fuzziness=None)


def fuzzy_c_means(
    slice_: Grey, groups: int = 4, mask: Mask | None = None, fuzziness: float = 2.0
) -> Clusters:
    """Intensities in `groups` by fuzzy c-means (Bezdek, 1981).

    Args:
        slice_: grey, [rows, columns].
        groups: 2 or more.
        mask: only these pixels count.
        fuzziness: exponent, above 1; near 1 it becomes k-means.

    Raises:
        ImageError: not a finite 2D picture, fewer intensities than groups, or another exponent.
    """
    if not fuzziness > 1:
        raise ImageError(f"fuzziness is {fuzziness}; give more than 1.")
    return _clusters(slice_, groups, mask, fuzziness)


def brightest_region(clusters: Clusters) -> Mask:
    """The largest connected piece of the brightest group: in T1 after contrast, a candidate."""
    return _largest(clusters.labels == len(clusters.centres))


def measure_region(
    region: Mask, *, spacing: tuple[float, float] | None = None, within: Mask | None = None
) -> RegionMeasure:
    """Size and place of a region.

    Args:
        region: [rows, columns].
        spacing: mm between rows and between columns.
        within: what its share refers to, such as the head.

    Raises:
        ImageError: the region is empty.
    """
    if not region.any():
        raise ImageError("The region is empty; there is nothing to measure.")
    whole = region.size if within is None else int(within.sum())
    (one,) = measure.regionprops(region.astype(np.uint8), spacing=spacing or (1.0, 1.0))
    rows, columns = np.nonzero(region)
    box = one.bbox
    pixels = int(region.sum())
    return RegionMeasure(
        pixels=pixels,
        area=None if spacing is None else pixels * spacing[0] * spacing[1],
        share=pixels / max(whole, 1),
        centre=(float(rows.mean()), float(columns.mean())),
        box=(int(box[0]), int(box[1]), int(box[2]), int(box[3])),
        diameter=float(one.feret_diameter_max),
    )


def _clusters(slice_: Grey, groups: int, mask: Mask | None, fuzziness: float | None) -> Clusters:
    _check(slice_)
    inside = np.ones(slice_.shape, bool) if mask is None else mask
    values, counts = np.unique(slice_[inside].astype(np.float64), return_counts=True)
    if groups < 2 or values.size < groups:
        raise ImageError(
            f"Cannot make {groups} groups of {values.size} intensities; give 2 or more, and no"
            " more than there are."
        )
    spread = values[-1] - values[0]
    # Of the values there are and not of the pixels: half of a slice may be one value.
    centres = np.quantile(values, (np.arange(groups) + 0.5) / groups)
    for _ in range(_MOST_STEPS):
        weights = _memberships(values, centres, fuzziness) ** (fuzziness or 1) * counts
        total = weights.sum(axis=1)
        moved = np.where(total > 0, weights @ values / np.maximum(total, 1e-300), centres)
        settled = np.abs(moved - centres).max() <= _SETTLED * spread
        centres = np.sort(moved)
        if settled:
            break
    shares = _memberships(slice_[inside].astype(np.float64), centres, fuzziness)
    labels = np.zeros(slice_.shape, np.int32)
    labels[inside] = shares.argmax(axis=0) + 1
    memberships = np.zeros((groups, *slice_.shape), np.float32)
    memberships[:, inside] = shares
    return Clusters(labels, tuple(float(c) for c in centres), memberships)


def _memberships(
    values: NDArray[np.float64], centres: NDArray[np.float64], fuzziness: float | None
) -> NDArray[np.float64]:
    """[groups, values]; for k-means 1 for the nearest centre."""
    distances = np.abs(values[None] - centres[:, None])
    if fuzziness is None:
        return (distances.argmin(axis=0)[None] == np.arange(len(centres))[:, None]).astype(float)
    distances = np.maximum(distances, 1e-12)
    # Divided by the nearest distance first, so that no power overflows.
    relative = (distances / distances.min(axis=0)) ** (-2 / (fuzziness - 1))
    return np.asarray(relative / relative.sum(axis=0))


def _largest(mask: Mask) -> Mask:
    labels = measure.label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(labels == sizes.argmax() + 1) if sizes.size else np.zeros_like(mask)


def _noise(slice_: Grey) -> float:
    """Standard deviation of the noise (Immerkaer, 1996), from a mask that edges hardly pass."""
    mask = np.outer((1, -2, 1), (1, -2, 1))
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(ndimage.convolve(slice_, mask)).mean())


def _check(slice_: Grey) -> None:
    if slice_.ndim != 2 or min(slice_.shape) < 8:
        raise ImageError(f"The slice has shape {slice_.shape}; give [rows, columns], 8 or more.")
    if not np.isfinite(slice_).all():
        raise ImageError("The slice holds values that are not finite. Replace it.")
