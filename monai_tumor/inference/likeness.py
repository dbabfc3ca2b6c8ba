"""Whether images look like those that a network was trained on."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from monai_tumor.imaging.quality import Flag, Severity
from monai_tumor.labels import MODALITIES

_PERCENTILES = (10, 50, 90)
_MARGIN = 0.5  # of the range seen in training, on either side of it
_LEAST_MARGIN = 0.25  # where training saw one case, or cases all alike
_SHOWN = 3

Ranges = Mapping[str, Sequence[float]]


def appearance(image: NDArray[np.float32]) -> dict[str, float]:
    """What a study looks like, in numbers that a scanner's scale does not change.

    Args:
        image: [4 (t1n, t1c, t2w, t2f), X, Y, Z], normalised as for the network, 0 outside the
            brain.

    Returns:
        of each modality the percentiles 10, 50 and 90, in standard deviations; of each pair the
        correlation. Empty where there is no brain.
    """
    brain = image.any(axis=0)
    if np.count_nonzero(brain) < 2:
        return {}
    values = image[:, brain].astype(np.float64)
    out = {}
    for name, row in zip(MODALITIES, np.percentile(values, _PERCENTILES, axis=1).T, strict=True):
        for share, value in zip(_PERCENTILES, row, strict=True):
            out[f"{name} percentile {share}"] = round(float(value), 4)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = np.asarray(np.nan_to_num(np.corrcoef(values)))
    for (i, one), (j, other) in combinations(enumerate(MODALITIES), 2):
        out[f"correlation of {one} and {other}"] = round(float(correlations[i, j]), 4)
    return out


def ranges(appearances: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """The least and greatest of each number over the studies of a training."""
    names = appearances[0] if appearances else ()
    return {
        name: [min(a[name] for a in appearances), max(a[name] for a in appearances)]
        for name in names
    }


def check_likeness(image: NDArray[np.float32], seen: Ranges) -> tuple[Flag, ...]:
    """A flag where a study looks unlike those that the network was trained on.

    Args:
        image: as for `appearance`.
        seen: as `ranges` gives them, from the record beside the weights; may be empty.
    """
    found = []
    for name, value in appearance(image).items():
        if name not in seen:
            continue
        low, high = seen[name]
        margin = max(_MARGIN * (high - low), _LEAST_MARGIN)
        beyond = max(low - value, value - high) / margin
        if beyond > 1:
            found.append((beyond, f"{name} is {value:.2f} (in training {low:.2f} to {high:.2f})"))
    if not found:
        return ()
    found.sort(reverse=True)
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    words = "; ".join(words for _, words in found[:_SHOWN])
    return (
        Flag(
            "unlike-training",
            Severity.WARNING,
            f"The images look unlike those of the training: {words}{more}.",
            "Make sure that each file is the modality it is called and shows a brain without "
            "skull; else expect errors.",
        ),
    )
