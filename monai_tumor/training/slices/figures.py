"""Confusion matrix and precision-recall curves of each validation in TensorBoard."""

from collections.abc import Sequence

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch.utils.tensorboard import SummaryWriter

from monai_tumor.metrics.classification import confusion
from monai_tumor.metrics.predictions import probabilities

_CELL, _MARGIN = 76, 150


class ClassFigures:
    """Writes `confusion`, a picture, and `PR/<class>`, a curve each, after each validation.

    Args:
        writer: where to; None writes nothing.
        interval: epochs between pictures.
    """

    def __init__(self, writer: SummaryWriter | None, interval: int = 1) -> None:
        self.writer = writer
        self.interval = interval

    def attach(self, engine: Engine) -> None:
        """Write after each validation; to be attached after the metric."""
        if self.writer is not None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        assert self.writer is not None
        found, step = engine.state.predictions, engine.state.epoch
        if step % self.interval:
            return
        chances = probabilities(found.logits)
        counts = confusion(found.labels, chances.argmax(axis=1), len(found.classes))
        picture = confusion_picture(counts, found.classes)
        self.writer.add_image("confusion", picture, step, dataformats="HWC")
        for number, name in enumerate(found.classes):
            truth = found.labels == number
            self.writer.add_pr_curve(f"PR/{name}", truth, chances[:, number], step)
        self.writer.flush()


def confusion_picture(counts: NDArray[np.int64], classes: Sequence[str]) -> NDArray[np.uint8]:
    """Rows are the truth, columns what was said; darker is a larger share of the row.

    Returns:
        uint8 [H, W, 3].
    """
    side = _CELL * len(classes)
    picture = Image.new("RGB", (_MARGIN + side + 10, _MARGIN // 3 + side + 10), "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row, name in enumerate(classes):
        top = _MARGIN // 3 + row * _CELL
        pen.text((6, top + _CELL // 2), name[:19], "black", font, anchor="lm")
        pen.text((_MARGIN + row * _CELL + _CELL // 2, 36), name[:11], "black", font, anchor="mm")
        for column in range(len(classes)):
            left, share = _MARGIN + column * _CELL, float(shares[row, column])
            shade = round(255 - 190 * share)
            box = (left, top, left + _CELL - 2, top + _CELL - 2)
            pen.rectangle(box, (shade, shade, 255 if share else shade))
            ink = "white" if share > 0.6 else "black"
            middle = (left + _CELL // 2, top + _CELL // 2)
            pen.text(middle, str(counts[row, column]), ink, font, anchor="mm")
    pen.text((6, 14), "rows: truth; columns: what was said", "black", font, anchor="lm")
    return np.asarray(picture)
