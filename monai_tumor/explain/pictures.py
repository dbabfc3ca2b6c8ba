"""Explanations as pictures, drawn with Pillow."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from monai_tumor.explain.maps import Explanation

_SIDE = 256
# Black, purple, orange, yellow: rises in lightness, so that it reads in grey too (Inferno's).
_COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)])


def explanation_picture(
    grey: NDArray[np.float32], explanation: Explanation, caption: str
) -> Image.Image:
    """The slice, the slice under its map, and under the map of shuffled weights, side by side.

    Args:
        grey: in [0, 1], [H, W].
        explanation: of the same slice.
        caption: what was said of it, one line.
    """
    columns = [
        (_enlarged(grey), "slice, as the network sees it"),
        (_overlay(grey, explanation.heat), explanation.method),
        (_overlay(grey, explanation.shuffled), "the same, weights shuffled"),
    ]
    sheet = Image.new("RGB", (3 * _SIDE + 16, _SIDE + 64), "black")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, (picture, words) in enumerate(columns):
        left = number * (_SIDE + 8)
        sheet.paste(picture, (left, 24))
        pen.text((left + 4, 4), words, "white", font)
    verdict = str(explanation).partition(": ")[2]
    pen.text((4, _SIDE + 28), caption, "white", font)
    pen.text((4, _SIDE + 45), verdict, (190, 190, 190), font)
    return sheet


def feature_picture(maps: NDArray[np.float32], columns: int = 8, side: int = 96) -> Image.Image:
    """Each channel of a convolution's output beside the others, each from its least to its most.

    Args:
        maps: [channels, rows, columns].
        columns: channels in a row.
        side: pixels of each.
    """
    rows = -(-len(maps) // columns)
    sheet = Image.new("L", (min(columns, len(maps)) * (side + 2), rows * (side + 2)))
    for number, one in enumerate(maps):
        spread = max(float(np.ptp(one)), 1e-12)
        grey = np.rint(255 * (one - one.min()) / spread).astype(np.uint8)
        small = Image.fromarray(grey).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(small, ((number % columns) * (side + 2), (number // columns) * (side + 2)))
    return sheet


def _enlarged(grey: NDArray[np.float32]) -> Image.Image:
    pixels = np.rint(255 * np.clip(grey, 0, 1)).astype(np.uint8)
    return Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).convert("RGB")


def _overlay(grey: NDArray[np.float32], heat: NDArray[np.float32]) -> Image.Image:
    places = np.linspace(0, 1, len(_COLOURS))
    colour = np.stack([np.interp(heat, places, c) for c in _COLOURS.T], axis=-1)
    share = 0.6 * heat[..., None]  # where there is no heat, the slice shows as it is
    mixed = (1 - share) * 255 * np.clip(grey, 0, 1)[..., None] + share * colour
    picture = Image.fromarray(np.rint(mixed).astype(np.uint8))
    return picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
