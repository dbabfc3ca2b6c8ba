"""Slices with tumour contours, drawn with Pillow.

Everything stands on black, as on a viewer, so a picture reads the same on a white and a dark page.
Contours have a colour of Okabe and Ito's palette, which colour-blind readers can tell apart, and a
black rim, so that they show on any grey. Where two regions end at the same voxels both lines still
show: ET runs along the inside of its edge, TC along the outside, and WT shows beyond TC.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from monai_tumor.imaging.contours import contours
from monai_tumor.imaging.scene import Slice
from monai_tumor.labels import REGIONS, Region

Picture = Image.Image
Colour = tuple[int, int, int]

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)
QUIET: Colour = (190, 190, 190)
PURPLE: Colour = (0xCC, 0x79, 0xA7)  # reddish; seen on bright enhancement, where white is not
COLOURS: dict[Region, Colour] = {
    Region.ET: (0xE6, 0x9F, 0x00),  # orange
    Region.TC: (0x56, 0xB4, 0xE9),  # sky blue; the palette's darker blue drowns in dark tissue
    Region.WT: (0x00, 0x9E, 0x73),  # bluish green
}
NAMES = {
    Region.ET: "ET enhancing tumour",
    Region.TC: "TC tumour core",
    Region.WT: "WT whole tumour",
}
# Of each line the distance outward from the region's edge and the width, in pixels; drawn in order.
LINES = {Region.WT: (1.3, 2.6), Region.TC: (0.7, 1.4), Region.ET: (-0.6, 1.2)}
DIAMETER = 1.8  # pixels, of a measured diameter, which is purple
RIM = 0.6  # pixels of black on either side of a line
BAND = (24, 46, 24, 34)  # pixels left, above, right and below a slice in its panel, for the marks
FINE = 4  # drawn so many times larger, then reduced: the anti-aliasing
RESEARCH_USE = "Research use only. Not for diagnosis."

_BARS = ((20.0, "2 cm"), (5.0, "5 mm"), (1.0, "1 mm"))


def draw_slice(view: Slice, *, pixels_per_mm: float) -> Picture:
    """The slice alone, in its true proportions, with its contours and diameters, nothing else.

    Returns:
        RGB; its width and height are the slice's in mm times `pixels_per_mm`.
    """
    rows, columns = view.grey.shape
    width = max(round(columns * view.pixel_mm[0] * pixels_per_mm), 1)
    height = max(round(rows * view.pixel_mm[1] * pixels_per_mm), 1)
    grey = Image.fromarray(np.ascontiguousarray(view.grey))
    large = grey.resize((width * FINE, height * FINE), Image.Resampling.BICUBIC).convert("RGB")
    scale = np.array([large.width / columns, large.height / rows])
    pen = ImageDraw.Draw(large)
    if view.regions is not None:
        strokes = []
        for region, (offset, line) in LINES.items():
            for curve in contours(view.regions[REGIONS.index(region)]):
                strokes.append((_outward(curve * scale, offset * FINE), COLOURS[region], line))
        for curve, _, line in strokes:
            _stroke(pen, curve, BLACK, line + 2 * RIM)
        for curve, colour, line in strokes:
            _stroke(pen, curve, colour, line)
    for ends in view.lines:
        for colour, line in ((BLACK, DIAMETER + 2 * RIM), (PURPLE, DIAMETER)):
            pen.line([*map(tuple, (ends + 0.5) * scale)], colour, round(line * FINE))
    return large.reduce(FINE)


def draw_panel(view: Slice, *, pixels_per_mm: float, room: tuple[int, int]) -> Picture:
    """The slice in the middle of a black panel, with orientation marks, caption and scale bar.

    Args:
        view: what to show.
        pixels_per_mm: how large.
        room: width and height for the slice, in pixels; `BAND` is added around it.

    Returns:
        RGB.
    """
    picture = draw_slice(view, pixels_per_mm=pixels_per_mm)
    return frame(picture, view, pixels_per_mm=pixels_per_mm, room=room)


def frame(picture: Picture, view: Slice, *, pixels_per_mm: float, room: tuple[int, int]) -> Picture:
    """A picture of (a part of) a slice in a panel; arguments and result as of `draw_panel`."""
    before, above, after, below = BAND
    width, height = room[0] + before + after, room[1] + above + below
    panel = Image.new("RGB", (width, height), BLACK)
    corner = (before + (room[0] - picture.width) // 2, above + (room[1] - picture.height) // 2)
    panel.paste(picture, corner)
    middle = (before + room[0] // 2, above + room[1] // 2)
    left, right, top, bottom = view.plane.marks
    text(panel, (6, middle[1]), left, anchor="lm", points=16)
    text(panel, (width - 6, middle[1]), right, anchor="rm", points=16)
    text(panel, (middle[0], above - 4), top, anchor="mb", points=16)
    text(panel, (middle[0], height - below + 6), bottom, anchor="mt", points=16)
    text(panel, (6, 5), view.caption)
    _scale_bar(panel, pixels_per_mm)
    return panel


def legend(width: int) -> Picture:
    """A strip that names the contours and says that this is for research only.

    Returns:
        RGB, [width] wide; two lines high where one does not hold it all.
    """
    strip = Image.new("RGB", (width, 52), BLACK)
    x = 8
    for region in (Region.ET, Region.TC, Region.WT):
        ImageDraw.Draw(strip).line((x, 14, x + 22, 14), COLOURS[region], 3)
        x = 16 + text(strip, (x + 28, 14), NAMES[region], anchor="lm")
    room = text(None, (0, 0), RESEARCH_USE) + x <= width - 8
    if room:
        text(strip, (width - 8, 14), RESEARCH_USE, anchor="rm", fill=QUIET)
        return strip.crop((0, 0, width, 28))
    text(strip, (8, 38), RESEARCH_USE, anchor="lm", fill=QUIET)
    return strip


def text(
    picture: Picture | None,
    at: tuple[int, int],
    words: str,
    *,
    anchor: str = "la",
    points: int = 13,
    fill: Colour = WHITE,
) -> int:
    """Write on a picture, or only measure where it is None.

    Returns:
        x, in pixels, where the words end.
    """
    font = _font(points)
    if picture is not None:
        pen = ImageDraw.Draw(picture)
        pen.text(at, words, fill, font, anchor=anchor, stroke_width=1, stroke_fill=BLACK)
    return at[0] + round(font.getlength(words))


def stack(pictures: Sequence[Picture], *, down: bool = False, gap: int = 0) -> Picture:
    """The pictures beside each other, or below each other, on black."""
    widths, heights = [p.width for p in pictures], [p.height for p in pictures]
    gaps = gap * (len(pictures) - 1)
    size = (max(widths), sum(heights) + gaps) if down else (sum(widths) + gaps, max(heights))
    out = Image.new("RGB", size, BLACK)
    at = 0
    for picture in pictures:
        out.paste(picture, (0, at) if down else (at, 0))
        at += (picture.height if down else picture.width) + gap
    return out


def _outward(curve: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """The closed curve moved away from what it encloses (into a hole, where it encloses one)."""
    ring = curve[:-1]
    along = np.roll(ring, -1, 0) - np.roll(ring, 1, 0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    moved = ring + distance * along[:, ::-1] * (1, -1)
    return np.vstack([moved, moved[:1]])


def _stroke(
    pen: ImageDraw.ImageDraw, curve: NDArray[np.float64], colour: Colour, width: float
) -> None:
    # Two points more than closed, so that the joint at the start is drawn as the others are.
    points = [*map(tuple, curve), *map(tuple, curve[1:3])]
    pen.line(points, colour, round(width * FINE), joint="curve")


def _scale_bar(panel: Picture, pixels_per_mm: float) -> None:
    """The longest of the bars that fits."""
    for length, name in _BARS:
        pixels = round(length * pixels_per_mm)
        if 8 <= pixels <= panel.width // 3:
            right, y = panel.width - 12, panel.height - 12
            pen = ImageDraw.Draw(panel)
            pen.rectangle((right - pixels - 1, y - 2, right + 1, y + 2), BLACK)
            pen.rectangle((right - pixels, y - 1, right, y + 1), WHITE)
            text(panel, (right - pixels // 2, y - 5), name, anchor="mb")
            return


@cache
def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that no font of the machine is needed."""
    return ImageFont.load_default(points)
