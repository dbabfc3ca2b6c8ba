"""Read the files of a study."""

from collections.abc import Hashable, Mapping
from copy import deepcopy
from typing import Any

from monai.config import KeysCollection
from monai.transforms import LoadImage, MapTransform

from monai_tumor.errors import StudyError


class LoadStudyd(MapTransform):
    """Paths to images [C, X, Y, Z], float32: four 3D files, one 4D file, or one label map.

    MONAI's `LoadImage` does the reading. A copy of it serves each call, because its
    `NibabelReader` remembers the files it is at: threads that share one (`CacheDataset` with
    `num_workers`) exchange their images.

    Args:
        keys: paths, or lists of paths whose images become channels.
        allow_missing_keys: an item may lack one, as an unlabelled study does its label.

    Raises:
        StudyError: a file cannot be read, or the files of one study differ in grid.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self._load = LoadImage(reader="NibabelReader", image_only=True, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with images in place of paths."""
        item = dict(data)
        for key in self.key_iterator(item):
            try:
                item[key] = deepcopy(self._load)(item[key])
            except Exception as error:
                names = item[key] if isinstance(item[key], str) else ", ".join(map(str, item[key]))
                raise StudyError(
                    f"Study {item.get('study', '?')!r}: cannot read {names} "
                    f"({_last_line(error)}). Look at it with monai-tumor inspect."
                ) from error
        return item


def _last_line(error: BaseException) -> str:
    """The last line of an error's own words; MONAI puts whole tracebacks before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
