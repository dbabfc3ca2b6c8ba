"""Networks that MONAI lacks."""

from monai_tumor.networks.ensemble import MeanEnsemble, disagreement, ensemble_of, member

__all__ = ["MeanEnsemble", "disagreement", "ensemble_of", "member"]
