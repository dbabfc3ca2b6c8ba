"""Why a classifier says what it says, and whether it should say anything at all."""

from monai_tumor.explain.gate import Discriminant, Gate, Verdict, fit_gate
from monai_tumor.explain.maps import LAYERS, METHODS, Explanation, explain, feature_maps
from monai_tumor.explain.pictures import explanation_picture, feature_picture

__all__ = [
    "LAYERS",
    "METHODS",
    "Discriminant",
    "Explanation",
    "Gate",
    "Verdict",
    "explain",
    "explanation_picture",
    "feature_maps",
    "feature_picture",
    "fit_gate",
]
