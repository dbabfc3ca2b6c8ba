"""Segmentation and classification as functions: a study or a slice in, a typed result out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_tumor.inference.classifier import Classifier, ClassResult, classify
    from monai_tumor.inference.result import SegmentationResult
    from monai_tumor.inference.segmenter import Segmenter

_HOME = {
    "ClassResult": "classifier",
    "Classifier": "classifier",
    "SegmentationResult": "result",
    "Segmenter": "segmenter",
    "classify": "classifier",
}

__all__ = [
    "ClassResult",
    "Classifier",
    "SegmentationResult",
    "Segmenter",
    "classify",
]


def __getattr__(name: str) -> Any:
    """Load what one of the two needs, and not what the other does."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
