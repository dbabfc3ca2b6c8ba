"""Stored pixels of slices, and what they measure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset

from monai_tumor.dicom.decode import RGB, Pixels, Worker, decode, read_dataset
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
            self._dataset = read_dataset(one.source)
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

    Integers stay integers wherever every slope and intercept is whole; else float32.

    Args:
        stored: [columns, rows, n] stored values, Fortran order.
        slices: [n], whose rescale applies.
    """
    if stored.dtype == RGB or stored.dtype.kind == "f":
        scales = {(s.pixels.slope, s.pixels.intercept) for s in slices}
        return stored if scales == {(1.0, 0.0)} or stored.dtype == RGB else _scaled(stored, slices)
    scales = {(s.pixels.slope, s.pixels.intercept) for s in slices}
    whole = all(a.is_integer() and b.is_integer() and abs(a) < 1e6 for a, b in scales)
    if not whole:
        return _scaled(stored, slices)
    if scales == {(1.0, 0.0)}:
        values = stored
    else:
        values = np.empty(stored.shape, np.int64, order="F")
        for n, one in enumerate(slices):
            values[..., n] = stored[..., n] * np.int64(one.pixels.slope)
            values[..., n] += int(one.pixels.intercept)
    low, high = int(values.min()), int(values.max())
    first = (np.uint8,) if stored.dtype == np.uint8 else ()
    for kind in (*first, np.int16, np.uint16, np.int32, np.uint32):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return values.astype(kind, order="F", copy=False)
    return values.astype(np.float64, order="F")


def _scaled(stored: Pixels, slices: Sequence[Slice]) -> Pixels:
    out = np.empty(stored.shape, np.float32, order="F")
    for n, one in enumerate(slices):
        out[..., n] = stored[..., n] * one.pixels.slope + one.pixels.intercept
    return out
