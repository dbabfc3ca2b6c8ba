"""DICOM in, NIfTI out: what became of each series."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor.dicom import ConvertedSeries, convert


@dataclass(frozen=True)
class Conversion:
    """What became of each series.

    Attributes:
        series: converted and refused ones.
    """

    series: tuple[ConvertedSeries, ...]

    @property
    def refused(self) -> tuple[ConvertedSeries, ...]:
        """Those not converted; each says why."""
        return tuple(one for one in self.series if one.refused)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"series": [one.as_dict() for one in self.series]}

    def __str__(self) -> str:
        """A line or a few for each series, and how many of each kind."""
        done = len(self.series) - len(self.refused)
        count = f"{done} series converted and audited, {len(self.refused)} refused"
        return "\n".join([*map(str, self.series), count])


def convert_all(inputs: Sequence[Path], output: Path, **options: Any) -> Conversion:
    """Convert every DICOM series in `inputs`.

    Args:
        inputs: files, folders, zip archives, DICOMDIR.
        output: folder to write.
        **options: for `monai_tumor.dicom.convert`.

    Raises:
        DicomError: nothing could be converted.
    """
    return Conversion(tuple(convert(inputs, output, **options)))
