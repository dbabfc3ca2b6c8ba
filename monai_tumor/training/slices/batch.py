"""From 8 bits in memory to what the network sees, a whole batch at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from typing import Any, Protocol

import torch
from torch.nn import functional


class Prepares(Protocol):
    """What `data.slices.Preparation` does with a batch."""

    def unit(self, batch: torch.Tensor) -> torch.Tensor:
        """8 bits to [0, 1]."""

    def normalised(self, batch: torch.Tensor) -> torch.Tensor:
        """[0, 1] to what the network sees."""


@dataclass(frozen=True)
class Augment:
    """Random changes of a batch in [0, 1], [B, C, H, W], each picture by its own numbers.

    One resampling for all that moves pixels, on the whole batch: on two cores hundreds of times
    as fast as a transform for each picture and change. What comes in from outside is black.

    Attributes:
        flip: probability of mirroring left and right.
        flip_rows: of mirroring top and bottom.
        quarter_turns: turn by 0, 90, 180 or 270 degrees.
        rotate: at most so many degrees either way.
        scale: at most so much larger or smaller, as a share.
        stretch: likewise, each axis by itself; None is a third of `scale`.
        shift: at most so far, as a share of the side.
        shift_rows: likewise up and down; None is `shift`.
        brightness: at most so much added to all pixels.
        contrast: at most so much stretched or flattened around the mean, as a share.
        gamma: at most so much curved, as a share.
        noise: standard deviation of noise, at most.
        erase: probability of blanking a rectangle of up to a third of each side.
    """

    flip: float = 0.5
    flip_rows: float = 0.0
    quarter_turns: bool = False
    rotate: float = 15.0
    scale: float = 0.1
    stretch: float | None = None
    shift: float = 0.06
    shift_rows: float | None = None
    brightness: float = 0.1
    contrast: float = 0.2
    gamma: float = 0.2
    noise: float = 0.02
    erase: float = 0.25

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """The batch, changed; in [0, 1] again."""
        moved = self._moved(batch)
        return self._erased(self._recoloured(moved))

    def _moved(self, batch: torch.Tensor) -> torch.Tensor:
        count = len(batch)

        def up_to(most: float) -> torch.Tensor:
            return (torch.rand(count, device=batch.device) * 2 - 1) * most

        def signs(probability: float) -> torch.Tensor:
            flipped = torch.rand(count, device=batch.device) < probability
            return torch.where(flipped, -1.0, 1.0)

        angle = up_to(self.rotate) * (pi / 180)
        if self.quarter_turns:
            angle = angle + torch.randint(0, 4, (count,), device=batch.device) * (pi / 2)
        stretch = self.scale / 3 if self.stretch is None else self.stretch
        shift_rows = self.shift if self.shift_rows is None else self.shift_rows
        size = 1 + up_to(self.scale)
        across = size * (1 + up_to(stretch)) * signs(self.flip)
        down = size * (1 + up_to(stretch)) * signs(self.flip_rows)
        cos, sin = torch.cos(angle), torch.sin(angle)
        rows = [
            torch.stack([cos * across, -sin * down, up_to(2 * self.shift)], dim=1),
            torch.stack([sin * across, cos * down, up_to(2 * shift_rows)], dim=1),
        ]
        grid = functional.affine_grid(torch.stack(rows, dim=1), list(batch.shape), False)
        return functional.grid_sample(batch, grid, padding_mode="zeros", align_corners=False)

    def _recoloured(self, batch: torch.Tensor) -> torch.Tensor:
        def up_to(most: float) -> torch.Tensor:
            return (torch.rand(len(batch), 1, 1, 1, device=batch.device) * 2 - 1) * most

        mean = batch.mean(dim=(1, 2, 3), keepdim=True)
        changed = (batch - mean) * (1 + up_to(self.contrast)) + mean + up_to(self.brightness)
        changed = changed.clamp(0, 1)
        if self.gamma:
            changed = changed.clamp_min(1e-6) ** (1 + up_to(self.gamma))
        if self.noise:
            strength = up_to(self.noise).abs()
            changed = changed + strength * torch.randn_like(changed[:, :1])
        return changed.clamp(0, 1)

    def _erased(self, batch: torch.Tensor) -> torch.Tensor:
        if not self.erase:
            return batch
        count, _, height, width = batch.shape

        def band(length: int, shape: tuple[int, ...]) -> torch.Tensor:
            place = torch.arange(length, device=batch.device).view(1, -1) / length
            start = torch.rand(count, 1, device=batch.device)
            extent = torch.rand(count, 1, device=batch.device) / 3
            return ((place >= start) & (place < start + extent)).view(shape)

        chosen = torch.rand(count, 1, 1, 1, device=batch.device) < self.erase
        hole = band(height, (count, 1, height, 1)) & band(width, (count, 1, 1, width)) & chosen
        return batch.masked_fill(hole, 0.0)


class PrepareBatch:
    """`prepare_batch` of MONAI's engines: 8 bits to what the network sees.

    Args:
        preparation: `data.slices.Preparation`.
        augment: random changes of pictures in [0, 1]; None changes nothing.
        memory_format: of the images.
    """

    def __init__(
        self,
        preparation: Prepares,
        augment: Augment | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.preparation = preparation
        self.augment = augment
        self.memory_format = memory_format

    def __call__(
        self,
        batch: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **more: Any,  # noqa: ARG002  (of MONAI's interface)
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Images, float32 [B, C, H, W], and labels [B], None where there are none."""
        images = batch["image"].to(device=device, non_blocking=non_blocking)
        images = self.preparation.unit(torch.as_tensor(images))
        if self.augment is not None:
            images = self.augment(images)
        images = self.preparation.normalised(images).contiguous(memory_format=self.memory_format)
        label = batch.get("label")
        if label is None:
            return images, None
        return images, label.to(device=device, non_blocking=non_blocking)
