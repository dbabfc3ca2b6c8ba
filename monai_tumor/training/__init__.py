"""Handlers and inferers for training, named by what they do."""

from typing import TYPE_CHECKING

from monai_tumor import lazy

if TYPE_CHECKING:
    from monai_tumor.training.attach import Attach
    from monai_tumor.training.autocast import AutocastInferer
    from monai_tumor.training.average import AverageWeights
    from monai_tumor.training.checkpoints import Checkpoints, newest_checkpoint
    from monai_tumor.training.curves import TrainingCurves, ValidationCurves, summary_writer
    from monai_tumor.training.flips import FlipInferer
    from monai_tumor.training.gradients import ClipGradients
    from monai_tumor.training.guard import NonFiniteGuard
    from monai_tumor.training.messages import one_line_errors
    from monai_tumor.training.panels import TumourPanels
    from monai_tumor.training.plateau import ReduceOnPlateau
    from monai_tumor.training.progress import ShowProgress
    from monai_tumor.training.scores import RegionMetrics, SaveScores
    from monai_tumor.training.seeds import SeedEpochs
    from monai_tumor.training.time_budget import TimeBudget
    from monai_tumor.training.weights import (
        LoadWeights,
        find_weights,
        load_weights,
        weights_file,
    )

__getattr__ = lazy.names(
    __name__,
    {
        "Attach": "attach",
        "AutocastInferer": "autocast",
        "AverageWeights": "average",
        "Checkpoints": "checkpoints",
        "ClipGradients": "gradients",
        "FlipInferer": "flips",
        "LoadWeights": "weights",
        "NonFiniteGuard": "guard",
        "ReduceOnPlateau": "plateau",
        "RegionMetrics": "scores",
        "SaveScores": "scores",
        "SeedEpochs": "seeds",
        "ShowProgress": "progress",
        "TimeBudget": "time_budget",
        "TrainingCurves": "curves",
        "TumourPanels": "panels",
        "ValidationCurves": "curves",
        "find_weights": "weights",
        "load_weights": "weights",
        "newest_checkpoint": "checkpoints",
        "one_line_errors": "messages",
        "summary_writer": "curves",
        "weights_file": "weights",
    },
)

__all__ = [
    "Attach",
    "AutocastInferer",
    "AverageWeights",
    "Checkpoints",
    "ClipGradients",
    "FlipInferer",
    "LoadWeights",
    "NonFiniteGuard",
    "ReduceOnPlateau",
    "RegionMetrics",
    "SaveScores",
    "SeedEpochs",
    "ShowProgress",
    "TimeBudget",
    "TrainingCurves",
    "TumourPanels",
    "ValidationCurves",
    "find_weights",
    "load_weights",
    "newest_checkpoint",
    "one_line_errors",
    "summary_writer",
    "weights_file",
]
