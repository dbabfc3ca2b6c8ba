"""A tumour of one patient in the brain of another."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import convert_to_tensor
from scipy import ndimage


class RandCarveMixd(Randomizable, MapTransform):
    """With probability `prob`, the tumour of another study is put into [C, X, Y, Z].

    The donor's whole tumour and a rim of up to `margin` voxels are carved out, flipped left to
    right half of the time, and put at the same place of the recipient's brain box, where both have
    brain. Image and region masks change alike; the recipient's own tumour stays where it is not
    covered.

    Args:
        keys: the image, then its region masks.
        donors: items to take tumours from.
        load: turns a donor into what `keys` hold here; called once a donor, when first needed.
        whole_tumour: channel of the region masks to carve by.
        margin: largest rim, in voxels.
        prob: for each item.

    Source: Zhang et al., CarveMix, NeuroImage 2023, https://arxiv.org/abs/2108.06883; the place
    relative to the brain's box and the flip are ours.
    """

    def __init__(
        self,
        keys: KeysCollection,
        donors: Sequence[Mapping[Hashable, Any]],
        load: Callable[[Any], Mapping[Hashable, Any]],
        whole_tumour: int = 1,
        margin: int = 3,
        prob: float = 0.3,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.donors = donors
        self.load = load
        self.whole_tumour = whole_tumour
        self.margin = margin
        self.prob = prob
        self._loaded: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item, with a second tumour or as it was."""
        item = dict(data)
        mixed, flip = self.R.random() < self.prob, self.R.random() < 0.5
        number, rim = self.R.randint(len(self.donors)), self.R.randint(self.margin + 1)
        if mixed:
            image_key, label_key = self.keys
            donor = self._donor(number)
            if flip:
                donor = (donor[0].flip(1), donor[1].flip(1))
            item[image_key], item[label_key] = self._mix(
                item[image_key], item[label_key], *donor, rim
            )
        return item

    def _donor(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and masks of a donor, cut to its brain."""
        if number not in self._loaded:
            loaded = self.load(self.donors[number])
            image, masks = (convert_to_tensor(loaded[key]) for key in self.keys)
            box = (slice(None), *_brain_box(image))
            self._loaded[number] = image[box].half().cpu(), masks[box].bool().cpu()
        return self._loaded[number]

    def _mix(
        self,
        image: torch.Tensor,
        masks: torch.Tensor,
        donor: torch.Tensor,
        donor_masks: torch.Tensor,
        rim: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        carved = donor_masks[self.whole_tumour].numpy()
        if rim:
            carved = ndimage.binary_dilation(carved, iterations=rim)
        here, there = _aligned(_brain_box(image), image.shape[1:], carved.shape)
        take = torch.from_numpy(carved)[there] & donor[(slice(None), *there)].any(0)
        take = take.to(image.device) & image[(slice(None), *here)].any(0)
        image, masks = image.clone(), masks.clone()
        for target, source in ((image, donor), (masks, donor_masks)):
            part = target[(slice(None), *here)]
            part[:, take] = source[(slice(None), *there)].to(part.device, part.dtype)[:, take]
        return image, masks


def _brain_box(image: torch.Tensor) -> tuple[slice, ...]:
    """Where `image` [C, X, Y, Z] is not 0; all of it if nowhere."""
    brain = image.any(0)
    box = []
    for axis in range(3):
        places = brain.any(dim=tuple({0, 1, 2} - {axis})).nonzero().flatten()
        box.append(slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(None))
    return tuple(box)


def _aligned(
    box: tuple[slice, ...], shape: Sequence[int], donor: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of a recipient and a donor that put the donor's middle on that of `box`."""
    here, there = [], []
    for part, size, donor_size in zip(box, shape, donor, strict=True):
        start, stop, _ = part.indices(size)
        offset = (start + stop - donor_size) // 2
        low, high = max(offset, 0), min(offset + donor_size, size)
        here.append(slice(low, high))
        there.append(slice(low - offset, high - offset))
    return tuple(here), tuple(there)
