"""Small sets of pictures whose class can be learnt, for tests of the slice classifier."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

CLASSES = ("corner", "middle")


def picture(seed: int, label: int, side: int = 48) -> np.ndarray:
    """Smooth noise, unlike that of any other seed, with a bright disc where the class says."""
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(side, side)), 2, mode="wrap")
    grey = 60 + 40 * (noise - noise.mean()) / noise.std()
    centre = (side / 2, side / 2) if label else (side / 5, side / 5)
    rows, columns = np.mgrid[:side, :side]
    inside = np.hypot(rows - centre[0], columns - centre[1]) < side / 7
    return np.clip(grey + 140 * inside, 0, 255).astype(np.uint8)


def make_set(root: Path, count: int = 20, splits=("Training", "Testing"), leak: int = 0) -> Path:
    """`count` pictures a class and side; `leak` of them lie on both sides, the same bytes."""
    for number, split in enumerate(splits):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for n in range(count):
                repeated = n < leak
                seed = n + 1000 * label + (0 if repeated else 100_000 * (number + 1))
                Image.fromarray(picture(seed, label)).save(folder / f"{n}.png")
    return root
