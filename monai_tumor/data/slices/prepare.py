"""How a slice becomes what a network sees: one recipe, which travels with the weights."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from monai_tumor.data.slices.pictures import read_picture
from monai_tumor.dicom.files import Limits
from monai_tumor.dicom.slices import Recipe
from monai_tumor.errors import InputError


@dataclass(frozen=True)
class Preparation:
    """The recipe: read, resize to a square, round to 8 bits, subtract `mean`, divide by `std`.

    Both axes are squeezed to the same length, as the published systems do. The 8 bits are what a
    training keeps in memory, so everything else rounds to them too.

    Attributes:
        size: rows and columns of the square.
        channels: 1 for grey, 3 for colour (grey is repeated).
        mean: of grey in [0, 1], taken off; or one number a channel.
        std: divided by after that; or one number a channel.
        window: of DICOM slices, as `dicom.slices.Recipe`.
        allow_secondary: likewise.
    """

    size: int = 128
    channels: int = 1
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    window: str = "file"
    allow_secondary: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be; lists become tuples."""
        for name in ("mean", "std"):
            value = getattr(self, name)
            if isinstance(value, list | tuple):
                object.__setattr__(self, name, tuple(float(v) for v in value))
                if len(value) != self.channels:
                    raise InputError(
                        f"{name} has {len(value)} numbers for {self.channels} channels; give one"
                        " each, or one for all."
                    )
        if self.channels not in (1, 3) or self.size < 8:
            raise InputError(
                f"Slices of {self.size} pixels and {self.channels} channels cannot be made; give a"
                " size of 8 or more, and 1 or 3 channels."
            )

    def read(
        self, path: Path | str, frame: int | None = None, limits: Limits | None = None
    ) -> NDArray[np.uint8]:
        """The square picture, uint8 [channels, size, size]; grey has one channel even for colour.

        Args:
            path: JPEG, PNG, TIFF, BMP or DICOM.
            frame: of a multi-frame DICOM file, from 1.
            limits: bounds on untrusted input.

        Raises:
            ImageError: as `read_picture`.
            DicomError: likewise.
        """
        recipe = Recipe(self.window, self.allow_secondary)
        pixels = read_picture(
            path, channels=self.channels, frame=frame, recipe=recipe, limits=limits
        )
        if self.channels == 3 and (pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all():
            pixels = pixels[:1]
        return self.resized(pixels)

    def resized(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Pixels in [0, 1], [C, rows, columns], as uint8 [C, size, size]; large ones averaged."""
        square = (self.size, self.size)
        small = [Image.fromarray(c).resize(square, Image.Resampling.BILINEAR) for c in pixels]
        grey = np.stack([np.asarray(one, np.float32) for one in small])
        return np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)

    def unit(self, batch: torch.Tensor) -> torch.Tensor:
        """A batch of `read` as float32 in [0, 1], [B, channels, size, size]."""
        return batch.expand(-1, self.channels, -1, -1).float() / 255

    def normalised(self, batch: torch.Tensor) -> torch.Tensor:
        """What the network sees, of a batch in [0, 1]."""
        mean, std = (
            torch.as_tensor(v, dtype=batch.dtype, device=batch.device).reshape(1, -1, 1, 1)
            for v in (self.mean, self.std)
        )
        return (batch - mean) / std

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; `Preparation(**d)` is the way back."""
        lists = {k: list(v) for k, v in asdict(self).items() if isinstance(v, tuple)}
        return asdict(self) | lists

    def __str__(self) -> str:
        """All that must be the same in training and use, in one line."""
        colour = "grey" if self.channels == 1 else "colour"
        return (
            f"{self.size} x {self.size} {colour}, mean {self.mean}, std {self.std}, window"
            f" {self.window}"
        )
