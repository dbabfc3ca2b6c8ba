"""Small sets of slices for tests."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage


def texture(seed: int, shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    """A picture unlike that of any other seed: smooth noise, uint8."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, 3, mode="wrap")
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return np.rint(255 * smooth).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    """Write a picture; folders that are lacking are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def folders(root: Path, count: int = 6, classes=("glioma", "none"), splits=("",)) -> Path:
    """`count` pictures a class and side, all different: [split/]class/n.png."""
    seed = 0
    for split in splits:
        for label in classes:
            for number in range(count):
                save(root / split / label / f"{number}.png", texture(seed))
                seed += 1
    return root
