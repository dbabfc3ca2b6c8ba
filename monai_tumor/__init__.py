"""Brain-tumour segmentation and slice classification as MONAI bundles.

Importing this package costs nothing: each public name is loaded when it is first used.
Research use only; not a medical device.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from monai_tumor.errors import MonaiTumorError
    from monai_tumor.labels import SCHEMES, LabelScheme, Modality, Region

_HOME = {
    "SCHEMES": "labels",
    "LabelScheme": "labels",
    "Modality": "labels",
    "MonaiTumorError": "errors",
    "Region": "labels",
}

__all__ = ["SCHEMES", "LabelScheme", "Modality", "MonaiTumorError", "Region", "__version__"]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that holds it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
