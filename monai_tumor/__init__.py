"""Brain-tumour segmentation and slice classification as MONAI bundles.

Importing this package costs nothing: each public name and each room is loaded when it is first
used, so that `import monai_tumor` is all that a bundle's config has to import.
Research use only; not a medical device.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from monai_tumor.errors import MonaiTumorError
    from monai_tumor.inference import (
        Classifier,
        ClassResult,
        SegmentationResult,
        Segmenter,
        classify,
    )
    from monai_tumor.labels import SCHEMES, LabelScheme, Modality, Region
    from monai_tumor.services.opening import Preparation
    from monai_tumor.services.segment import segment

_HOME = {
    "SCHEMES": "labels",
    "ClassResult": "inference",
    "Classifier": "inference",
    "LabelScheme": "labels",
    "Modality": "labels",
    "MonaiTumorError": "errors",
    "Preparation": "services.opening",
    "Region": "labels",
    "SegmentationResult": "inference",
    "Segmenter": "inference",
    "classify": "inference",
    "segment": "services.segment",
}

_ROOMS = (
    "data",
    "explain",
    "imaging",
    "metrics",
    "networks",
    "paths",
    "provenance",
    "training",
    "transforms",
)

__all__ = [
    "SCHEMES",
    "ClassResult",
    "Classifier",
    "LabelScheme",
    "Modality",
    "MonaiTumorError",
    "Preparation",
    "Region",
    "SegmentationResult",
    "Segmenter",
    "__version__",
    "classify",
    "segment",
]


def __getattr__(name: str) -> Any:
    """Load a room, or a public name from the module that holds it."""
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
