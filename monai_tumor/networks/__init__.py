"""Networks that MONAI lacks."""

from monai_tumor.networks.dropout import with_dropout
from monai_tumor.networks.ensemble import MeanEnsemble, disagreement, ensemble_of, member
from monai_tumor.networks.start import start_shallow

__all__ = [
    "MeanEnsemble",
    "disagreement",
    "ensemble_of",
    "member",
    "start_shallow",
    "with_dropout",
]
