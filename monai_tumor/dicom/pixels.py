"""Stored pixels of slices, and what they measure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from monai_tumor.dicom.decode import DECODED_WITH, RGB, Pixels, Worker, decode, read_dataset
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.records import Slice


class Reader:
    """Reads slices' stored pixels; keeps the last file, as a file's frames come in a row.

    Used with `with`, which ends the decoders that run in a process of their own.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._dataset = Dataset()
        self._worker = Worker()
        self._frame: tuple[int, Pixels] | None = None

    def __enter__(self) -> "Reader":
        """The reader."""
        self._worker.__enter__()
        return self

    def __exit__(self, *what: object) -> None:
        """End the decoders' process."""
        self._worker.__exit__(*what)

    def stored(self, one: Slice) -> Pixels:
        """The stored values of one slice, [rows, columns]; colour as dtype `RGB`.

        Raises:
            RefusalError: the file is cut short, or no decoder here can read it.
        """
        if one.source.path != self._path:
            self._dataset = read_dataset(one.source, DECODED_WITH)
            self._path, self._frame = one.source.path, None
        if self._frame is None or self._frame[0] != one.pixels.frame:
            frame = decode(self._dataset, one.source, one.pixels.frame, self._worker)
            self._frame = (one.pixels.frame, frame)
        (top, left), (rows, columns) = one.pixels.corner, one.plane.shape
        tile = self._frame[1][top : top + rows, left : left + columns]
        if tile.shape != (rows, columns):
            raise RefusalError(
                Reason.UNDECODABLE, f"{one.source.name} decodes to {self._frame[1].shape} pixels."
            )
        return tile

    def same(self, one: Slice, other: Slice) -> bool:
        """Whether two slices hold the same stored pixels."""
        return bool(np.array_equal(self.stored(one).copy(), self.stored(other)))


def measured(stored: Pixels, slices: Sequence[Slice]) -> Pixels:
    """Measured values: stored x slope + intercept, slice by slice, in the smallest fitting type.

    Integers stay integers wherever every slope and intercept is whole; else they are float32.

    Args:
        stored: [columns, rows, n] stored values, Fortran order.
        slices: [n], whose rescale applies.
    """
    scales = [(one.pixels.slope, one.pixels.intercept) for one in slices]
    plain = set(scales) == {(1.0, 0.0)}
    if stored.dtype == RGB or (plain and stored.dtype.kind == "f"):
        return stored
    if stored.dtype.kind == "f" or not all(a.is_integer() and b.is_integer() for a, b in scales):
        return _scaled(stored, scales)
    ends = [
        sorted(int(value) * int(a) + int(b) for value in (one.min(), one.max()))
        for one, (a, b) in zip(np.moveaxis(stored, -1, 0), scales, strict=True)
    ]
    kind = _smallest(min(e[0] for e in ends), max(e[1] for e in ends), stored.dtype)
    if plain:
        return stored.astype(kind, order="F", copy=False)
    out = np.empty(stored.shape, kind, order="F")
    wide = np.float64 if kind is np.float64 else np.int64
    for n, (slope, intercept) in enumerate(scales):
        out[..., n] = stored[..., n].astype(wide) * wide(slope) + wide(intercept)
    return out


def _smallest(low: int, high: int, stored: np.dtype[Any]) -> Any:
    """The type for whole numbers from `low` to `high`.

    Bytes stay bytes, int16 comes before uint16, and what fits no integer type is float64.
    """
    for kind in ((np.uint8,) if stored == np.uint8 else ()) + _INTEGERS:
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return kind
    return np.float64


_INTEGERS: tuple[Any, ...] = (np.int16, np.uint16, np.int32, np.uint32)


def _scaled(stored: Pixels, scales: Sequence[tuple[float, float]]) -> Pixels:
    out = np.empty(stored.shape, np.float32, order="F")
    for n, (slope, intercept) in enumerate(scales):
        out[..., n] = stored[..., n] * slope + intercept
    return out
