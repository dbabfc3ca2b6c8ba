"""Networks that MONAI lacks."""

from typing import TYPE_CHECKING

from monai_tumor import lazy

if TYPE_CHECKING:
    from monai_tumor.networks.dropout import with_dropout
    from monai_tumor.networks.ensemble import MeanEnsemble, disagreement, ensemble_of, member
    from monai_tumor.networks.start import start_shallow

__getattr__ = lazy.names(
    __name__,
    {
        "MeanEnsemble": "ensemble",
        "disagreement": "ensemble",
        "ensemble_of": "ensemble",
        "member": "ensemble",
        "start_shallow": "start",
        "with_dropout": "dropout",
    },
)

__all__ = [
    "MeanEnsemble",
    "disagreement",
    "ensemble_of",
    "member",
    "start_shallow",
    "with_dropout",
]
