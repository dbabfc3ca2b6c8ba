"""Segmentation and classification as functions: a study or a slice in, a typed result out."""

from typing import TYPE_CHECKING

from monai_tumor import lazy

if TYPE_CHECKING:
    from monai_tumor.inference.classifier import Classifier, ClassResult, classify
    from monai_tumor.inference.result import SegmentationResult
    from monai_tumor.inference.segmenter import Segmenter

__getattr__ = lazy.names(
    __name__,
    {
        "ClassResult": "classifier",
        "Classifier": "classifier",
        "SegmentationResult": "result",
        "Segmenter": "segmenter",
        "classify": "classifier",
    },
)

__all__ = [
    "ClassResult",
    "Classifier",
    "SegmentationResult",
    "Segmenter",
    "classify",
]
