"""What tells pictures apart, from one decoding of each file: hashes, and a small grey copy."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from monai_tumor.data.slices.items import LeftOut, SliceDataset, SliceItem
from monai_tumor.data.slices.pictures import decode, grey
from monai_tumor.dicom.slices import Recipe
from monai_tumor.errors import DicomError, ImageError, InputError

SIDE = 48  # pixels; enough to tell a slice from its neighbour, few enough to compare all with all
_FLAT = 1e-5  # standard deviation of grey in [0, 1] below which a picture shows nothing


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of a data set's slices, in the order of its items.

    Attributes:
        dataset: without the files that could not be decoded; those are in its `left_out`.
        files: SHA-256 of each file (and frame); equal where files are byte-identical.
        pixels: SHA-256 of each slice's decoded pixels.
        thumbs: 48 x 48 grey, its mean taken off, of length 1, so that the product of two rows is
            their correlation; float32, [slices, 2304]. A picture that shows nothing at all is 0
            and resembles none.
    """

    dataset: SliceDataset
    files: tuple[str, ...]
    pixels: tuple[str, ...]
    thumbs: NDArray[np.float32]


def fingerprint(
    dataset: SliceDataset,
    *,
    recipe: Recipe | None = None,
    on_read: Callable[[SliceItem, int, int], None] | None = None,
) -> Fingerprints:
    """Decode each slice once. Files that cannot be decoded are left out by name.

    Args:
        dataset: what to read.
        recipe: how a DICOM slice becomes a picture.
        on_read: called after each slice with it, its number from 1, and how many there are.

    Raises:
        InputError: no file can be decoded.
    """
    kept: list[SliceItem] = []
    left_out: list[LeftOut] = []
    files: list[str] = []
    pixels: list[str] = []
    thumbs: list[NDArray[np.float32]] = []
    for number, item in enumerate(dataset.items, 1):
        try:
            stored = decode(item.path, frame=item.frame, recipe=recipe)
            frame = b"" if item.frame is None else str(item.frame).encode()
            content = hashlib.sha256(item.path.read_bytes() + frame)
        except (ImageError, DicomError, OSError) as error:
            left_out.append(LeftOut(item.path, f"{item.path.parent.name}/{error}"))
        else:
            shape = f"{stored.dtype}{stored.shape}".encode()
            files.append(content.hexdigest())
            pixels.append(hashlib.sha256(shape + stored.tobytes()).hexdigest())
            thumbs.append(thumb(grey(stored)))
            kept.append(item)
        if on_read is not None:
            on_read(item, number, len(dataset))
    if not kept:
        first = f" The first reason: {left_out[0]}" if left_out else ""
        raise InputError(f"None of {len(dataset)} slices can be read.{first}")
    usable = dataset.with_items(kept, left_out)
    return Fingerprints(usable, tuple(files), tuple(pixels), np.stack(thumbs))


def thumb(pixels: NDArray[np.float32], side: int = SIDE) -> NDArray[np.float32]:
    """`pixels` made `side` x `side` by averaging areas, mean 0 and length 1; flat, [side * side].

    Both axes are squeezed to the same length, so that copies of other proportions still match.
    """
    small = Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX)
    flat = np.asarray(small, np.float32).ravel()
    flat = flat - flat.mean()
    length = float(np.linalg.norm(flat))
    if length < _FLAT * side:
        return np.zeros_like(flat)
    return np.asarray(flat / np.float32(length), np.float32)
