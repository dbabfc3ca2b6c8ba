"""One phantom: anatomy, tumour and contrast put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from monai_tumor.data.phantom import anatomy
from monai_tumor.data.phantom import contrast as mri
from monai_tumor.data.phantom import tumour as growth
from monai_tumor.data.phantom.anatomy import Anatomy, Array, Shape
from monai_tumor.data.phantom.contrast import Contrast, Scanner
from monai_tumor.data.phantom.tumour import TumourOptions
from monai_tumor.errors import InputError
from monai_tumor.labels import Region, to_labels, to_regions

Size = Literal["brain", "brats", "small"]
_SHAPES: dict[str, Shape] = {
    "brain": (160, 192, 160),
    "brats": (240, 240, 155),
    "small": (48, 56, 40),
}
_HEAD_SHAPE = (208, 240, 192)  # of "brain" with its skull on
_SMALLEST = 24
_INT16_MAX = 32767
_SCHEME = "brats2023"


@dataclass(frozen=True)
class Phantom:
    """A study whose truth is known.

    Attributes:
        name: the subject.
        images: float32, [4 (t1n, t1c, t2w, t2f), X, Y, Z]; 0 outside the brain, or with the
            skull on, noise there. On an arbitrary scale like a scanner's, at most 32767.
        label: uint8, [X, Y, Z], values of `scheme`; `labels.convert_labels` gives others.
        brain: bool, [X, Y, Z]: what a perfect skull strip finds.
        affine: float64, [4, 4]: voxel to world in mm, axes RAS, the middle of the grid at 0.
        scheme: name of the label scheme, brats2023.
        parameters: seed, options and volumes, JSON-ready.
    """

    name: str
    images: Array
    label: Array
    brain: Array
    affine: Array
    scheme: str
    parameters: dict[str, Any]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Edges of a voxel in mm."""
        x, y, z = np.diag(self.affine)[:3]
        return float(x), float(y), float(z)

    def volumes(self) -> dict[str, float]:
        """Millilitres of each region."""
        masks = to_regions(self.label, self.scheme, tuple(Region))
        voxel = float(np.prod(self.spacing)) / 1000
        return {
            region.value: round(float(mask.sum()) * voxel, 3)
            for region, mask in zip(Region, masks, strict=True)
        }

    def as_dict(self) -> dict[str, Any]:
        """What describes the phantom, JSON-ready; no voxels."""
        return {
            "name": self.name,
            "shape": list(self.label.shape),
            "spacing_mm": list(self.spacing),
            "label_scheme": self.scheme,
            "volumes_ml": self.volumes(),
            **self.parameters,
        }

    def __str__(self) -> str:
        """One line: name, grid, volumes."""
        grid = " x ".join(str(n) for n in self.label.shape)
        sizes = ", ".join(f"{name} {ml:g} mL" for name, ml in self.volumes().items())
        spacing = " x ".join(f"{edge:g}" for edge in self.spacing)
        return f"{self.name}: {grid} voxels of {spacing} mm; {sizes}"


def make_phantom(
    seed: int,
    *,
    size: Size | Shape = "brain",
    spacing: float | Sequence[float] = 1.0,
    tumour: bool | TumourOptions = True,
    contrast: Contrast = "clinical",
    scanner: Scanner | None = None,
    skull: bool = False,
) -> Phantom:
    """A phantom study; the same arguments give the same voxels.

    Args:
        seed: the source of all chance.
        size: "brain" is MNI152 anatomy in 160 x 192 x 160 mm, "brats" the same in BraTS's
            240 x 240 x 155 mm; both need the extra `phantom`. "small" is a geometric brain of
            48 x 56 x 40 mm (a doll's, in mm), made in milliseconds; a shape asks for one of
            that size.
        spacing: of the result in mm, one number or three; coarser voxels are averages of the 1 mm
            grid that everything grows on.
        tumour: False for none, or what to grow. An adult-sized one has 20 to 150 mL.
        contrast: "clinical"; "random", where each tissue has any intensity in each modality; or
            "random_ordered", the same but oedema still bright on T2 and FLAIR, the rim on T1c.
        scanner: bias field, noise and slice thickness.
        skull: keep a head around the brain: CSF, skull and scalp.

    Raises:
        InputError: a seed, size, spacing, contrast or number of foci that cannot be made.
        DependencyError: real anatomy was asked for and nilearn is missing.
    """
    step = _checked_spacing(spacing)
    _check(seed, contrast)
    source, shape = _source(size, skull)
    scanner = scanner or Scanner()
    # A stream for each stage, so that the anatomy does not hang on the contrast asked for.
    planning, bending, growing, imaging = np.random.default_rng(seed).spawn(4)
    plan = None
    if tumour:
        options = tumour if isinstance(tumour, TumourOptions) else TumourOptions()
        plan = growth.plan(source, options, planning)
    maps, places = anatomy.bend(source, shape, plan.masses if plan else [], bending)
    regions = (np.zeros(shape, bool),) * 3
    if plan:
        regions = growth.grow(maps[:3], places, plan, source.unit, growing)
    brain = _mostly(maps[:3].sum(0) > 0.5, step)
    core, whole, enhancing = (brain & _mostly(part, step) for part in regions)
    shares = mri.shares_of(maps, *regions, source.unit)
    shares = mri.with_surroundings(shares, source.unit, imaging, skull=skull)
    means = mri.intensities(contrast, plan is None or plan.enhancement, imaging)
    keep = np.ones_like(brain) if skull else brain
    images = []
    for row in means:
        clean = mri.scan(shares, maps[3], row, source.unit, scanner, imaging)
        images.append(_acquired(mri.average(clean, step), keep, scanner.noise, imaging))
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = (step - shape) / 2
    return Phantom(
        name=f"Phantom{seed:05d}",
        images=np.stack(images),
        label=np.asarray(to_labels(core, whole, enhancing, _SCHEME)),
        brain=brain,
        affine=affine,
        scheme=_SCHEME,
        parameters={
            "seed": seed,
            "contrast": contrast,
            "skull": skull,
            "foci": len(places),
            "necrosis": bool(plan and plan.necrosis),
            "enhancement": bool(plan and plan.enhancement),
        },
    )


def _checked_spacing(spacing: float | Sequence[float]) -> Array:
    step = np.broadcast_to(np.asarray(spacing, float), 3) if np.size(spacing) in (1, 3) else None
    if step is None or not ((step >= 0.5) & (step <= 10)).all():
        raise InputError(
            f"A phantom cannot have a spacing of {spacing}; give one number or three, "
            "each from 0.5 to 10 mm."
        )
    return step


def _check(seed: int, contrast: str) -> None:
    if seed < 0:
        raise InputError(f"A phantom cannot have the seed {seed}; give 0 or more.")
    if contrast not in get_args(Contrast):
        known = ", ".join(get_args(Contrast))
        raise InputError(f"Unknown phantom contrast {contrast!r}; choose one of {known}.")


def _source(size: Size | Shape, skull: bool) -> tuple[Anatomy, Shape]:
    """The anatomy to bend, and the shape of the 1 mm grid to put it on."""
    if isinstance(size, str):
        if size not in _SHAPES:
            raise InputError(
                f"Unknown phantom size {size!r}; choose one of {', '.join(_SHAPES)}, or a shape."
            )
        shape = _SHAPES[size]
        if size != "small":
            return anatomy.mni152(), _HEAD_SHAPE if skull and size == "brain" else shape
    else:
        shape = size
        if len(shape) != 3 or min(shape) < _SMALLEST:
            raise InputError(
                f"A phantom cannot have the shape {size}; give three numbers of voxels, "
                f"each at least {_SMALLEST}."
            )
    # The head takes up to 15 mm around an adult's brain of 160 mm: a fifth of the grid.
    inner = tuple(round(0.8 * n) for n in shape) if skull else shape
    return anatomy.geometric(inner), shape


def _mostly(mask: Array, step: Array) -> Array:
    """bool: where at least half of a coarse voxel is in `mask`."""
    return np.asarray(mri.average(mask.astype(np.float32), step) > 0.5)


def _acquired(image: Array, keep: Array, noise: float, rng: np.random.Generator) -> Array:
    """`image` with noise of at most `noise`, on a scale by chance, 0 where it is not kept."""
    scale = np.exp(rng.uniform(np.log(150), np.log(2500)))
    sigma = rng.uniform(min(0.01, noise), noise)
    out = np.zeros_like(image)
    out[keep] = np.clip(scale * mri.rician(image[keep], sigma, rng), 0, _INT16_MAX)
    return out
