"""Segmentation as a function: a study in, a typed result out."""

from monai_tumor.inference.result import SegmentationResult
from monai_tumor.inference.segmenter import Segmenter, segment

__all__ = ["SegmentationResult", "Segmenter", "segment"]
