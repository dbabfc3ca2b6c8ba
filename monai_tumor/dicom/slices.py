"""The one way from a DICOM file to a 2D picture for a classifier.

stored -> measured (rescale or modality table) -> window -> MONOCHROME1 inverted -> grey in [0, 1].
The recipe travels with a classifier's weights, so that training, command line and page feed it the
same picture. Window formulas: DICOM PS3.3 C.11.2.1.2.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from monai_tumor.dicom.decode import RGB, Worker, decode, read_dataset
from monai_tumor.dicom.files import Limits, Source, quiet, read_header
from monai_tumor.dicom.frames import check_image
from monai_tumor.dicom.headers import groups_of, integer, look_up
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.records import pixels_of
from monai_tumor.errors import DicomError

# Centre and width, HU.
WINDOWS = MappingProxyType(
    {"lung": (-600.0, 1500.0), "brain": (40.0, 80.0), "bone": (400.0, 1800.0)}
)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Recipe:
    """How a slice becomes a picture.

    Attributes:
        window: `file` takes the file's own window or table, or else the range of its values; a name
            of `WINDOWS`; or `range`, from the smallest to the largest value.
        allow_secondary: take secondary captures (screen shots) and burned-in annotation too.
    """

    window: str = "file"
    allow_secondary: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `Recipe(**d)` is the way back."""
        return asdict(self)


@dataclass(frozen=True)
class Picture:
    """A slice as a classifier sees it.

    Attributes:
        pixels: float32 in [0, 1], [rows, columns]; low is dark.
        spacing: mm between rows and between columns, or None where the file does not say.
        window: centre and width that were applied, or None.
        recipe: how it was made.
    """

    pixels: NDArray[np.float32]
    spacing: tuple[float, float] | None
    window: tuple[float, float] | None
    recipe: Recipe

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without the pixels."""
        return {
            "shape": list(self.pixels.shape),
            "spacing": self.spacing and list(self.spacing),
            "window": self.window and list(self.window),
            "recipe": self.recipe.as_dict(),
        }

    def __str__(self) -> str:
        """One line."""
        rows, columns = self.pixels.shape
        shown = (
            "no window" if self.window is None else f"window {self.window[0]:g}/{self.window[1]:g}"
        )
        return f"{rows} x {columns} slice, {shown}"


def read_slice(
    path: Path | str,
    recipe: Recipe | None = None,
    *,
    frame: int | None = None,
    limits: Limits | None = None,
) -> Picture:
    """The picture that a DICOM file, or one frame of it, shows.

    Args:
        path: the file.
        recipe: how to make it; the defaults of `Recipe` where not given.
        frame: which frame of a multi-frame file, from 1.
        limits: bounds on untrusted input.

    Raises:
        RefusalError: it is no DICOM image; a frame must be chosen; it is a secondary capture or has
            burned-in annotation and the recipe does not allow that; or its values are not finite.
    """
    made, bounds = recipe or Recipe(), limits or Limits()
    if made.window not in ("file", "range", *WINDOWS):
        known = ", ".join(("file", "range", *WINDOWS))
        raise DicomError(f"Unknown window {made.window!r}; choose of {known}.")
    source = Source(Path(path), Path(path).name, named=True)
    if not source.path.is_file():
        raise RefusalError(Reason.NOT_FOUND, f"No file {source.path.name!r}.")
    header = read_header(source, bounds)
    if header is None:
        raise RefusalError(Reason.NOT_DICOM, f"{source.name} is not a DICOM file.")
    try:
        with quiet():
            check_image(source, header, bounds)
            _check_kind(source, header, made)
            return _picture(source, header, made, _frame(source, header, frame))
    except RefusalError:
        raise
    except RecursionError as error:
        raise RefusalError(
            Reason.NESTED_TOO_DEEP, f"{source.name} nests its sequences too deep to read."
        ) from error
    except Exception as error:  # pydicom converts values when first read, and raises what it likes
        raise RefusalError(
            Reason.BAD_HEADER, f"{source.name} has a malformed header ({error})."
        ) from error


def _check_kind(source: Source, header: Dataset, recipe: Recipe) -> None:
    if recipe.allow_secondary:
        return
    if str(header.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE):
        raise RefusalError(
            Reason.SECONDARY_CAPTURE,
            f"{source.name} is a secondary capture, no scanner's image; allow it if you mean it.",
        )
    if str(header.get("BurnedInAnnotation", "")).upper() == "YES":
        raise RefusalError(
            Reason.BURNED_IN, f"{source.name} has text burned into it; allow it if you mean it."
        )


def _frame(source: Source, header: Dataset, frame: int | None) -> int:
    count = integer(header, "NumberOfFrames") or 1
    if frame is None and count > 1:
        raise RefusalError(
            Reason.CHOOSE_FRAME, f"{source.name} has {count} frames; choose one from 1 to {count}."
        )
    number = 1 if frame is None else frame
    if not 1 <= number <= count:
        raise RefusalError(Reason.CHOOSE_FRAME, f"{source.name} has no frame {number}, of {count}.")
    return number - 1


def _picture(source: Source, header: Dataset, recipe: Recipe, frame: int) -> Picture:
    dataset = read_dataset(source)
    with Worker() as worker:
        stored = decode(dataset, source, frame, worker)
    groups = groups_of(header, frame)
    spacing = look_up(groups, "PixelSpacing")
    sides = (float(spacing[0]), float(spacing[1])) if spacing is not None else None
    if stored.dtype == RGB:
        grey = sum(stored[c] * np.float64(w) for c, w in zip("RGB", _LUMA, strict=True)) / 255.0
        return Picture(np.asarray(grey, np.float32), sides, None, recipe)
    if "ModalityLUTSequence" in dataset:
        values = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    else:
        scale = pixels_of(source, dataset, groups, frame)
        values = stored.astype(np.float64) * scale.slope + scale.intercept
    if not np.isfinite(values).all():
        raise RefusalError(Reason.BAD_RESCALE, f"{source.name} has values that are not finite.")
    window = WINDOWS.get(recipe.window) or (_own(groups) if recipe.window == "file" else None)
    if window is not None:
        function = look_up(groups, "VOILUTFunction") if recipe.window == "file" else None
        shown = windowed(values, window, str(function or "LINEAR"))
    elif recipe.window == "file" and "VOILUTSequence" in dataset:
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        shown = apply_voi(np.rint(values).astype(np.int64), dataset) / (2.0**bits - 1)
    else:
        low, high = _range(values, stored, dataset)
        shown = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        shown = 1.0 - shown
    return Picture(np.ascontiguousarray(shown, np.float32), sides, window, recipe)


def _own(groups: Sequence[Dataset]) -> tuple[float, float] | None:
    """The file's first window; None where it has none that can be applied."""
    numbers = []
    for keyword in ("WindowCenter", "WindowWidth"):
        value = look_up(groups, keyword)
        several = [value] if isinstance(value, str | float | int) else list(value or ())
        numbers.append(float(several[0]) if several else float("nan"))
    return (numbers[0], numbers[1]) if np.isfinite(numbers).all() and numbers[1] >= 1 else None


def windowed(
    values: NDArray[np.float64], window: tuple[float, float], function: str = "LINEAR"
) -> NDArray[np.float64]:
    """`values` through a window (centre, width), in [0, 1]."""
    center, width = window
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(-4.0 * (values - center) / width)))
    if function == "LINEAR_EXACT":
        shown = (values - center) / width + 0.5
    else:
        shown = (values - (center - 0.5)) / max(width - 1.0, 1e-12) + 0.5
    return np.clip(shown, 0.0, 1.0)


def _range(
    values: NDArray[np.float64], stored: NDArray[Any], dataset: Dataset
) -> tuple[float, float]:
    """Smallest and largest value, without the padding around the image."""
    padding = dataset.get("PixelPaddingValue")
    inside = values if padding is None else values[stored != padding]
    inside = inside if inside.size else values
    return float(inside.min()), float(inside.max())
