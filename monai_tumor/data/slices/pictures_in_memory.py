"""Slices decoded once, at the size a network takes, so that reading never keeps it waiting."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from numpy.typing import NDArray

from monai_tumor.data.slices.prepare import Preparation


class SlicePictures(Dataset):
    """Slices as "image", uint8 [C, size, size], and "label", a number; with "index", their place.

    All are decoded when this is made, by several threads, as far as `share` of the free memory
    goes; what lies beyond it is decoded each time.

    Args:
        data: items as `training_items` gives: "image" (a path) and perhaps "label" and "frame".
        preparation: how to decode them.
        transform: of each item, after it; such as random transforms of MONAI's for "image".
        share: of the memory that is free now.
        workers: threads.

    Raises:
        ImageError: a picture cannot be read.
        DicomError: likewise.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        preparation: Preparation,
        transform: Callable[[Any], Any] | None = None,
        share: float = 0.4,
        workers: int = 4,
    ) -> None:
        super().__init__(data, transform)
        self.preparation = preparation
        each = preparation.channels * preparation.size**2
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
        kept = list(data)[: int(share * free / each)]
        with ThreadPoolExecutor(workers) as pool:
            self._pictures = list(pool.map(self._read, kept))

    def _read(self, item: Mapping[str, Any]) -> NDArray[np.uint8]:
        return self.preparation.read(Path(item["image"]), item.get("frame"))

    def __getitem__(self, index: int) -> Any:
        """One slice."""
        item = self.data[index]
        known = index < len(self._pictures)
        pixels = self._pictures[index] if known else self._read(item)
        pixels = np.repeat(pixels, self.preparation.channels // len(pixels), axis=0)
        found = {"image": torch.from_numpy(pixels), "index": index}
        if "label" in item:
            found["label"] = int(item["label"])
        return found if self.transform is None else self.transform(found)
