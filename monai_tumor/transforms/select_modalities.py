"""Put the channels of an image into a network's order."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from monai_tumor.errors import StudyError
from monai_tumor.labels import MODALITIES, modality


class SelectModalitiesd(MapTransform):
    """Channels [C, X, Y, Z] in the order `order`, whatever order the files came in.

    The item says what it holds: `item["modalities"]` names each channel (any alias that
    `monai_tumor.labels.modality` knows). MSD stores FLAIR first, a zoo bundle may want T1c first.

    Args:
        keys: images to reorder.
        order: modalities that the network expects, in channel order.
        source: key under which the item names its own channels.

    Raises:
        StudyError: a modality is missing, or names and channels differ in number.
    """

    def __init__(
        self,
        keys: KeysCollection,
        order: Sequence[str] = MODALITIES,
        source: str = "modalities",
    ) -> None:
        super().__init__(keys)
        self.order = tuple(modality(name) for name in order)
        self.source = source

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with its channels in order."""
        item = dict(data)
        have = [modality(name) for name in item[self.source]]
        study = item.get("study", "?")
        missing = [m for m in self.order if m not in have]
        if missing:
            raise StudyError(
                f"Study {study!r} has no {', '.join(missing)} image; found {', '.join(have)}. "
                "Add the file, or choose a bundle that does not need it."
            )
        for key in self.key_iterator(item):
            image = item[key]
            if image.shape[0] != len(have):
                raise StudyError(
                    f"Study {study!r}: {len(have)} modalities named ({', '.join(have)}), "
                    f"but the image has {image.shape[0]} channels. Correct the list of modalities."
                )
            if have != list(self.order):  # taking channels out copies them
                item[key] = image[[have.index(m) for m in self.order]]
        item[self.source] = list(self.order)
        return item
