"""Bars, curves and sheets of pictures, drawn with Pillow.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart. Names are
written in full: bars run across, so that twenty classes have room for theirs.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from monai_tumor.errors import InputError

Colour = tuple[int, int, int]
PALETTE: tuple[Colour, ...] = (
    (0x00, 0x72, 0xB2),  # blue
    (0xD5, 0x5E, 0x00),  # vermilion
    (0x00, 0x9E, 0x73),  # bluish green
    (0xCC, 0x79, 0xA7),  # reddish purple
    (0xE6, 0x9F, 0x00),  # orange
    (0x56, 0xB4, 0xE9),  # sky blue
)
_INK, _QUIET, _GRID = (0x20, 0x20, 0x20), (0x60, 0x60, 0x60), (0xDD, 0xDD, 0xDD)
_FINE = 2  # drawn so many times larger, then reduced: the anti-aliasing
_WIDTH, _MARGIN, _HEAD = 900, 24, 76
_TEXT, _TITLE = 16, 20


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Attributes:
        name: in the legend.
        x: rising, [points].
        y: [points].
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @property
    def drawable(self) -> bool:
        """Whether any point is finite."""
        return bool(np.isfinite(self.y).any())


class _Sheet:
    """White paper with a pen, in pixels of the finished picture."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._image = Image.new("RGB", (width * _FINE, height * _FINE), "white")
        self._pen = ImageDraw.Draw(self._image)
        self.text((_MARGIN, 26), title, points=_TITLE, anchor="lm")

    def text(
        self,
        place: tuple[float, float],
        words: str,
        *,
        colour: Colour = _INK,
        anchor: str = "mm",
        points: int = _TEXT,
    ) -> None:
        font = ImageFont.load_default(points * _FINE)
        self._pen.text(self._large(place), words, colour, font, anchor=anchor)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        large = [self._large(point) for point in points]
        self._pen.line(large, colour, round(width * _FINE), joint="curve")

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        if right > left:
            self._pen.rectangle((*self._large((left, top)), *self._large((right, bottom))), colour)

    def legend(self, names: Sequence[str]) -> None:
        left: float = _MARGIN
        for name, colour in zip(names, _colours(), strict=False):
            self.box(left, 48, left + 14, 62, colour)
            self.text((left + 20, 55), name, anchor="lm", colour=_QUIET)
            left += 44 + text_width(name)

    def finished(self) -> Image.Image:
        return self._image.reduce(_FINE)

    @staticmethod
    def _large(place: tuple[float, float]) -> tuple[float, float]:
        return place[0] * _FINE, place[1] * _FINE


def bar_chart(
    series: Mapping[str, Mapping[str, float]],
    *,
    title: str,
    most: float | None = None,
    digits: int = 0,
) -> Image.Image:
    """Bars across, a group a category, a bar a series, each with its number.

    Args:
        series: name -> category -> value, none below 0; a category that a series lacks has no bar.
        title: above it.
        most: value of the longest bar there can be; None is the largest there is.
        digits: of the numbers, after the point.
    """
    categories = [*dict.fromkeys(c for values in series.values() for c in values)]
    thick = 24 if len(series) == 1 else 20
    step = thick * len(series) + 16
    sheet = _Sheet(_WIDTH, _HEAD + step * len(categories) + _MARGIN, title)
    sheet.legend([*series])
    left = _MARGIN + max(text_width(name) for name in categories) + 12
    room = _WIDTH - left - _MARGIN - 70
    top = most or max(max(values.values(), default=0) for values in series.values()) or 1
    for row, category in enumerate(categories):
        start = _HEAD + row * step
        middle = start + thick * len(series) / 2
        sheet.text((left - 10, middle), category, anchor="rm")
        for number, (values, colour) in enumerate(zip(series.values(), _colours(), strict=False)):
            if category not in values:
                continue
            end = left + room * values[category] / top
            above = start + number * thick
            sheet.box(left, above, end, above + thick - 3, colour)
            shown = f"{values[category]:.{digits}f}"
            sheet.text((end + 6, above + thick / 2 - 1), shown, anchor="lm", colour=_QUIET)
    bottom = _HEAD + step * len(categories) - 12
    sheet.line([(left, _HEAD - 4), (left, bottom)], _INK, 1)
    return sheet.finished()


def line_chart(
    curves: Sequence[Curve],
    *,
    title: str,
    across: str,
    limits: tuple[float, float] | None = None,
    height: int = 520,
) -> Image.Image:
    """Curves over one axis, with a legend.

    Args:
        curves: in the order of the legend.
        title: above it, with what the upright axis shows.
        across: what the other axis shows.
        limits: of the upright axis; None is what the curves need.
        height: in pixels.

    A point that is not finite is left out, and a curve without any other.

    Raises:
        InputError: no curve has a finite point.
    """
    curves = [curve for curve in curves if curve.drawable]
    if not curves:
        raise InputError(f"No curve of {title!r} has a finite point; nothing can be drawn.")
    sheet = _Sheet(_WIDTH, height, title)
    sheet.legend([curve.name for curve in curves])
    xs = np.concatenate([curve.x for curve in curves])
    ys = np.concatenate([curve.y[np.isfinite(curve.y)] for curve in curves])
    ticks_x = _ticks(float(xs.min()), float(xs.max()))
    ticks_y = _ticks(*(limits or (float(ys.min()), float(ys.max()))))
    left, right = _MARGIN + 10 + max(text_width(f"{t:g}") for t in ticks_y), _WIDTH - _MARGIN
    top, bottom = _HEAD + 8, height - 62

    def place(x: float, y: float) -> tuple[float, float]:
        share = (x - ticks_x[0]) / (ticks_x[-1] - ticks_x[0])
        up = (y - ticks_y[0]) / (ticks_y[-1] - ticks_y[0])
        return left + share * (right - left), bottom - up * (bottom - top)

    for tick in ticks_y:
        _, y = place(ticks_x[0], tick)
        sheet.line([(left, y), (right, y)], _GRID, 1)
        sheet.text((left - 8, y), f"{tick:g}", anchor="rm", colour=_QUIET)
    for tick in ticks_x:
        x, _ = place(tick, ticks_y[0])
        sheet.text((x, bottom + 16), f"{tick:g}", colour=_QUIET)
    sheet.line([(left, top), (left, bottom), (right, bottom)], _INK, 1)
    sheet.text(((left + right) / 2, bottom + 42), across, colour=_QUIET)
    for curve, colour in zip(curves, _colours(), strict=False):
        shown = np.clip(curve.y, ticks_y[0], ticks_y[-1])
        points = [place(x, y) for x, y in zip(curve.x, shown, strict=True) if np.isfinite(y)]
        if len(points) == 1:
            ((x, y),) = points
            sheet.box(x - 4, y - 4, x + 4, y + 4, colour)
        else:
            sheet.line(points, colour, 2.5)
    return sheet.finished()


def picture_sheet(
    pictures: Sequence[tuple[Image.Image, str]], *, title: str, columns: int, side: int = 160
) -> Image.Image:
    """Pictures in rows, each with its words below.

    Args:
        pictures: each with its caption, row by row.
        title: above them.
        columns: pictures in a row.
        side: pixels of each.
    """
    step, rows = side + 12, -(-len(pictures) // columns)
    width = max(2 * _MARGIN + step * columns - 12, 2 * _MARGIN + round(1.3 * text_width(title)))
    sheet = _Sheet(width, 52 + rows * (step + 22) + 8, title)
    places = []
    for number, (_, words) in enumerate(pictures):
        left = _MARGIN + (number % columns) * step
        top = 52 + (number // columns) * (step + 22)
        places.append((left, top))
        sheet.text((left, top + side + 13), _short(words, side), anchor="lm", colour=_QUIET)
    made = sheet.finished()
    for (picture, _), place in zip(pictures, places, strict=True):
        made.paste(picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC), place)
    return made


def beside(pictures: Sequence[Image.Image], note: str = "") -> Image.Image:
    """Pictures side by side on white, with a note below, broken into lines."""
    width = sum(one.width for one in pictures)
    tall = max(one.height for one in pictures)
    letters = max(int(width / text_width("n") * 1.1), 20)
    lines = textwrap.wrap(note, letters)
    made = Image.new("RGB", (width, tall + 22 * len(lines) + (8 if lines else 0)), "white")
    left = 0
    for one in pictures:
        made.paste(one, (left, 0))
        left += one.width
    pen, font = ImageDraw.Draw(made), ImageFont.load_default(_TEXT)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, tall + 22 * number), line, _INK, font)
    return made


def titled(picture: Image.Image, title: str) -> Image.Image:
    """A picture, pixel by pixel as it is, under a title."""
    width = max(picture.width, round(1.3 * text_width(title))) + 2 * _MARGIN
    made = _Sheet(width, picture.height + 52 + _MARGIN, title).finished()
    made.paste(picture.convert("RGB"), (_MARGIN, 52))
    return made


def text_width(words: str, points: int = _TEXT) -> float:
    """Of a line of text, in pixels."""
    return float(ImageFont.load_default(points).getlength(words))


def _short(words: str, room: float) -> str:
    """`words`, cut in the middle where they are too long."""
    kept = words
    while text_width(kept) > room and len(words) > 8:
        words = words[: len(words) // 2] + words[len(words) // 2 + 1 :]
        kept = f"{words[: len(words) // 2]}...{words[len(words) // 2 :]}"
    return kept


def _colours() -> Iterator[Colour]:
    while True:
        yield from PALETTE


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, about five, that hold `low` and `high`."""
    spread = high - low or abs(high) or 1.0
    step = 10 ** np.floor(np.log10(spread / 4))
    step *= next(s for s in (1, 2, 2.5, 5, 10) if spread / (step * s) <= 5)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [round(float(n * step), 10) for n in np.arange(first, max(last, first + 1) + 1)]
