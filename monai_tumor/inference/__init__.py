"""A bundle that is loaded once and segments study after study."""

from monai_tumor.inference.result import SegmentationResult
from monai_tumor.inference.segmenter import Segmenter

__all__ = ["SegmentationResult", "Segmenter"]
