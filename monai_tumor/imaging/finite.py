"""Images whose voxels are numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from monai_tumor.errors import StudyError


def require_finite(values: np.ndarray[Any, Any], names: Sequence[str], study: str) -> None:
    """Raise where an image of a study holds NaN or infinity.

    Args:
        values: float, [C, X, Y, Z].
        names: of the channels.
        study: whose they are.

    Raises:
        StudyError: names the channel and counts its voxels.
    """
    for index, channel in enumerate(values):
        with np.errstate(invalid="ignore"):  # inf - inf
            total = channel.sum(dtype=np.float64)
        if not np.isfinite(total):
            bad = int((~np.isfinite(channel)).sum())
            raise StudyError(
                f"Study {study!r}: {bad} voxels of {names[index]} are not finite (NaN or inf). "
                "Mend the file, or leave the study out: monai-tumor split --on-bad skip."
            )
