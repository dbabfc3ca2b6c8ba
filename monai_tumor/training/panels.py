"""Pictures of validation cases in TensorBoard: image, prediction and truth beside each other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import ArrayLike, NDArray
from torch.utils.tensorboard import SummaryWriter

from monai_tumor.errors import TrainingError
from monai_tumor.imaging.drawing import draw_panel, legend, stack, text
from monai_tumor.imaging.orientation import Plane, voxel_spacing
from monai_tumor.imaging.scene import scene

_LEAST_PX = 160  # of a slice's side, so that marks, caption and legend have room


def panel(
    image: ArrayLike,
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    *,
    affine: ArrayLike,
    slices: int = 3,
    panel_px: int = 260,
) -> NDArray[np.uint8]:
    """One case: a row for each axial slice; image, prediction and truth beside each other.

    The slices divide the true tumour into equal parts, so they stay the same from one epoch to
    the next; without a true tumour, the predicted one, else the volume.

    Args:
        image: one modality, [X, Y, Z]; 0 is background.
        prediction: regions, bool [3, X, Y, Z], in the order of `labels.REGIONS`.
        truth: regions, bool [3, X, Y, Z].
        affine: voxel index to mm, RAS, [4, 4].
        slices: how many rows.
        panel_px: pixels that the longest side of a slice gets.

    Returns:
        uint8, [H, W, 3].

    Raises:
        InputError: unequal grids, or an affine that cannot be used.
    """
    shown = scene(image, (prediction, truth), affine)
    sides = (np.array(shown.grey.shape) * voxel_spacing(shown.affine))[:2]
    scale = panel_px / float(sides.max())
    width, height = (max(int(np.ceil(side * scale)), _LEAST_PX) for side in sides)
    rows = []
    for index in shown.spread_indices(Plane.AXIAL, slices, segmentation=1):
        columns = []
        for name, segmentation in (("Image", None), ("Prediction", 0), ("Truth", 1)):
            view = shown.cut(Plane.AXIAL, index, segmentation)
            column = draw_panel(view, pixels_per_mm=scale, room=(width, height))
            text(column, (6, 24), name)
            columns.append(column)
        rows.append(stack(columns))
    return np.asarray(stack([*rows, legend(rows[0].width)], down=True))


class TumourPanels:
    """Write a picture of the first validation cases to TensorBoard after each validation.

    Attach it to a MONAI evaluator that decollates (the default). Of each item of the evaluator's
    output it reads "image" [C, X, Y, Z] (a MetaTensor; its affine gives the orientation), "pred"
    and "label" [3, X, Y, Z], regions after the threshold in the order of `labels.REGIONS`. Each
    case is drawn when it has been predicted and only the picture is kept.

    Args:
        summary_writer: where to write; without it, one for `log_dir` is opened when first needed.
        log_dir: folder of the TensorBoard log.
        channel: channel of the image to show; 1 is t1c and 3 is t2f in `labels.MODALITIES`.
        max_cases: how many cases; the validation set must keep its order.
        interval: write after every so many epochs.
        slices: axial slices of each case.
        tag: tags are `tag/0`, `tag/1`, ...
        global_step: the step to write at; by default the epoch that the trainer hands over.
    """

    def __init__(
        self,
        summary_writer: SummaryWriter | None = None,
        *,
        log_dir: str | Path | None = None,
        channel: int = 1,
        max_cases: int = 3,
        interval: int = 1,
        slices: int = 3,
        tag: str = "panels",
        global_step: Callable[[], int] | None = None,
    ) -> None:
        if (summary_writer is None) == (log_dir is None):
            raise TrainingError("TumourPanels needs either a summary_writer or a log_dir.")
        self._writer = summary_writer
        self._log_dir = log_dir
        self._channel = channel
        self._max_cases = max_cases
        self._interval = interval
        self._slices = slices
        self._tag = tag
        self._global_step = global_step
        self._pictures: list[NDArray[np.uint8]] = []

    def attach(self, engine: Engine) -> None:
        """Listen to the evaluator; in a distributed run, to the one of rank 0 only."""
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self._begin)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _begin(self) -> None:
        self._pictures = []

    def _draw(self, engine: Engine) -> None:
        if engine.state.epoch % self._interval:
            return
        items = engine.state.output
        if not isinstance(items, list):
            raise TrainingError(
                f"TumourPanels needs a list of cases, found {type(items).__name__}; "
                "leave `decollate` of the evaluator on."
            )
        for item in items[: self._max_cases - len(self._pictures)]:
            self._pictures.append(self._panel(item))

    def _panel(self, item: dict[str, Any]) -> NDArray[np.uint8]:
        image = item["image"]
        return panel(
            _numpy(image[self._channel]),
            _numpy(item["pred"] > 0),
            _numpy(item["label"] > 0),
            affine=_numpy(image.affine),
            slices=self._slices,
        )

    def _write(self, engine: Engine) -> None:
        step = self._global_step() if self._global_step else engine.state.epoch
        for number, picture in enumerate(self._pictures):
            if self._writer is None:
                self._writer = SummaryWriter(str(self._log_dir))
            self._writer.add_image(f"{self._tag}/{number}", picture, step, dataformats="HWC")
        if self._writer is not None:
            self._writer.flush()
        self._pictures = []


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    return torch.as_tensor(tensor).detach().cpu().numpy()
