"""The one way from a file to the pixels of a slice: pictures of any mode, and DICOM.

What goes wrong elsewhere is settled here: palette indices are looked up, transparency is laid on
black, a camera's rotation is undone, deep pixels are scaled and not cut off, and a small file that
claims a huge picture is refused before it is decoded.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from monai_tumor.dicom.files import Limits
from monai_tumor.dicom.slices import Recipe, read_slice
from monai_tumor.errors import ImageError

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
_DICOM = frozenset({".dcm", ".dicom", ".ima"})
# Only these decoders run, whatever the ending says. Some cameras' JPEG opens as MPO.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP")
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION = 0x0112  # Exif
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601, as Pillow


def read_picture(
    path: Path | str,
    *,
    channels: int = 1,
    frame: int | None = None,
    recipe: Recipe | None = None,
    limits: Limits | None = None,
) -> NDArray[np.float32]:
    """Pixels in [0, 1], float32 [channels, rows, columns].

    Eight bits are divided by 255; deeper pixels run from their smallest to their largest value, as
    those of a DICOM slice without a window do.

    Args:
        path: JPEG, PNG, TIFF, BMP or DICOM.
        channels: 1 for grey (colour becomes BT.601 luma), 3 for RGB (grey is repeated).
        frame: which frame of a multi-frame DICOM file, from 1.
        recipe: how a DICOM slice becomes a picture.
        limits: bounds on untrusted input.

    Raises:
        ImageError: the picture is corrupt, too large, of another format or of several pages.
        DicomError: the DICOM file cannot be shown.
    """
    if channels not in (1, 3):
        raise ImageError(f"channels is {channels}; give 1 (grey) or 3 (RGB).")
    stored = decode(path, frame=frame, recipe=recipe, limits=limits)
    if channels == 1:
        return grey(stored)[None]
    pixels = _unit(stored)
    if pixels.ndim == 2:
        return np.repeat(pixels[None], 3, axis=0)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def decode(
    path: Path | str,
    *,
    frame: int | None = None,
    recipe: Recipe | None = None,
    limits: Limits | None = None,
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Pixels as stored: uint8, or float32 in [0, 1] where deeper; [rows, columns], or [..., 3].

    Colour whose channels are all equal comes as grey, so that a grey picture has the same pixels
    however it was saved. Arguments and errors as for `read_picture`.
    """
    path = Path(path)
    if is_dicom(path):
        return read_slice(path, recipe, frame=frame, limits=limits).pixels
    if frame is not None:
        raise ImageError(f"{path.name} has no frame {frame}: it is no DICOM file.")
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            _check(path, opened, (limits or Limits()).frame_pixels)
            opened.load()
            return _pixels(path, opened)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path.name} claims too large a picture: {error}") from error
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {path}; check the name.") from error
    except Exception as error:  # Pillow raises what it likes on a malformed file
        reason = " ".join(str(error).split()).replace(str(path), path.name)[:200]
        raise ImageError(
            f"{path.name} cannot be read as JPEG, PNG, TIFF or BMP ({reason}). Replace it."
        ) from error


def grey(stored: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Grey in [0, 1], [rows, columns], of what `decode` gives."""
    pixels = _unit(stored)
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels @ _LUMA)


def is_dicom(path: Path) -> bool:
    """Whether `path` is a DICOM file by its ending or, where that says nothing, its preamble."""
    suffix = path.suffix.lower()
    if suffix in _DICOM:
        return True
    if suffix in PICTURES or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _unit(stored: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    if stored.dtype == np.uint8:
        return stored.astype(np.float32) / np.float32(255)
    return stored.astype(np.float32, copy=False)


def _check(path: Path, opened: Image.Image, most: int) -> None:
    width, height = opened.size
    if width * height > most:
        raise ImageError(
            f"{path.name} claims {width} x {height} pixels, more than {most}; it is not decoded."
            " Make it smaller if you trust it."
        )
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format != "MPO":
        raise ImageError(f"{path.name} holds {frames} pictures. Save each as a file of its own.")
    # Pillow 13 turns an uncompressed TIFF twice on loading, and a compressed one rightly.
    turned = opened.format == "TIFF" and opened.getexif().get(_ORIENTATION, 1) != 1
    if turned and opened.info.get("compression") == "raw":
        raise ImageError(f"{path.name} is an uncompressed TIFF turned by a tag. Save it upright.")


def _pixels(path: Path, image: Image.Image) -> NDArray[np.uint8] | NDArray[np.float32]:
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP:
        return _scaled(path, np.asarray(image, np.float64))
    if image.has_transparency_data or image.mode in ("LA", "La", "PA", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"))
    pixels = np.asarray(image.convert("RGB"))
    first = pixels[..., 0]
    if np.array_equal(first, pixels[..., 1]) and np.array_equal(first, pixels[..., 2]):
        return np.ascontiguousarray(first)
    return pixels


def _scaled(path: Path, values: NDArray[np.float64]) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise ImageError(f"{path.name} holds values that are not finite. Replace it.")
    low, high = values.min(), values.max()
    return np.asarray((values - low) / max(high - low, 1e-12), np.float32)
