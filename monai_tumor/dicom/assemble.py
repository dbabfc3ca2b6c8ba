"""The voxels of a volume, where they lie, and what an audit of the written file must find."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_tumor.dicom.audit import Samples, sample
from monai_tumor.dicom.decode import RGB
from monai_tumor.dicom.files import Limits
from monai_tumor.dicom.geometry import Floats, Kind, affine
from monai_tumor.dicom.pixels import Reader, measured
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.resample import fill, grid_samples, onto, regular_grid
from monai_tumor.dicom.series import Volume

_LONGEST = 32767  # what NIfTI can count along one axis


@dataclass(frozen=True)
class Assembled:
    """A volume ready to be written.

    Attributes:
        data: measured values, [columns, rows, slices] or with times behind.
        affine: RAS mm, [4, 4].
        samples: what an audit of the written file must find.
        repairs: what was mended.
        warnings: what a reader should know.
    """

    data: NDArray[Any]
    affine: Floats
    samples: list[Samples]
    repairs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def assemble(volume: Volume, reader: Reader, limits: Limits, resample: bool) -> Assembled:
    """The voxels of `volume`, where they lie, and samples to audit them by.

    Raises:
        RefusalError: a slice cannot be decoded, or slices differ in kind.
    """
    rng = np.random.default_rng(0)
    flat = [(t, one) for t, point in enumerate(volume.points) for one in point]
    rows, columns = volume.first.plane.shape
    samples: list[Samples] = []
    kind = reader.stored(volume.first).dtype
    too_many = max(rows, columns, *(len(p) for p in volume.points), len(volume.points)) > _LONGEST
    if too_many or rows * columns * len(flat) * kind.itemsize > limits.volume_bytes:
        raise RefusalError(
            Reason.TOO_LARGE, f"{len(flat)} slices of {rows} x {columns} are too many."
        )
    stored = np.empty((columns, rows, len(flat)), kind, order="F")
    for n, (t, one) in enumerate(flat):
        pixels = reader.stored(one)
        if pixels.dtype != stored.dtype:
            raise RefusalError(
                Reason.UNSUPPORTED_PIXELS,
                f"{one.source.name} stores {pixels.dtype}, others of its series {stored.dtype}.",
            )
        stored[:, :, n] = pixels.T
        samples.append(sample(one, pixels, t, rng))
    data = measured(stored, [one for _, one in flat])
    shape = (columns, rows, len(volume.points[0]), len(volume.points))
    return _mend(volume, data.reshape(shape, order="F"), samples, reader, resample)


def _mend(
    volume: Volume, data: NDArray[Any], samples: list[Samples], reader: Reader, resample: bool
) -> Assembled:
    stack, planes = volume.stack, [one.plane for one in volume.points[0]]
    repairs: list[str] = []
    warnings: list[str] = []
    if stack.kind is Kind.MISSING:
        _only_grey(data, volume)
        data = fill(data, stack)
        repairs.append(f"{stack.missing} missing slice(s) interpolated")
        places = [p for p in range(stack.index[-1] + 1) if p not in stack.index]
        warnings.append(f"interpolated slices: {', '.join(map(str, places))}")
        if resample and stack.sheared:
            raise RefusalError(
                Reason.MISSING_SLICES,
                f"{volume.first.source.name}: a sheared stack with missing slices cannot be "
                "resampled; convert without --resample.",
            )
    step, note = step_of(volume)
    warnings += note
    transform = affine(planes[0], step)
    if stack.kind is Kind.VARIABLE or (stack.sheared and resample):
        _only_grey(data, volume)
        grid = regular_grid(planes)
        whole = data.dtype.kind in "iu"
        data, transform = onto(grid, data, planes), grid.affine
        rng = np.random.default_rng(0)
        samples = [
            noted
            for t, point in enumerate(volume.points)
            for noted in grid_samples(grid, point, reader.stored, t, rng, whole)
        ]
        what = "uneven spacing" if stack.kind is Kind.VARIABLE else "shear"
        repairs.append(f"{what} resampled onto slices {grid.gap:.4f} mm apart")
    if data.shape[3] == 1:
        data = data[..., 0]
    return Assembled(data, transform, samples, tuple(repairs), tuple(warnings))


def _only_grey(data: NDArray[Any], volume: Volume) -> None:
    if data.dtype == RGB:
        raise RefusalError(
            Reason.UNSUPPORTED_PIXELS,
            f"{volume.first.source.name} is in colour, which is not interpolated.",
        )


def step_of(volume: Volume) -> tuple[Floats, list[str]]:
    """LPS mm from slice to slice, [3], and what a reader should know of it.

    For a single slice it is its thickness, as no position can tell.
    """
    one = volume.first
    if volume.stack.kind is not Kind.SINGLE:
        return np.asarray(volume.stack.step), []
    if one.thickness is not None and one.thickness > 0:
        return one.plane.normal * one.thickness, []
    return one.plane.normal, ["one slice of unknown thickness: 1 mm is written"]
