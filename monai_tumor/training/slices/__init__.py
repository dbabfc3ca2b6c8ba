"""Training of slice classifiers: batches, loss, scores, figures."""

from monai_tumor.training.slices.batch import Augment, PrepareBatch
from monai_tumor.training.slices.figures import ClassFigures
from monai_tumor.training.slices.loss import SliceLoss
from monai_tumor.training.slices.scores import (
    ClassMetrics,
    SaveClasses,
    SavePredictions,
    TrainingScores,
    classes_of_weights,
    temperature_of,
    threshold_of,
)

__all__ = [
    "Augment",
    "ClassFigures",
    "ClassMetrics",
    "PrepareBatch",
    "SaveClasses",
    "SavePredictions",
    "SliceLoss",
    "TrainingScores",
    "classes_of_weights",
    "temperature_of",
    "threshold_of",
]
