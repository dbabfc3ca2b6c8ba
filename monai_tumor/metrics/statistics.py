"""How sure a mean is, and whether two models differ: intervals and paired tests over cases."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan
from typing import Any

import numpy as np
from scipy import stats

_CONFIDENCE = 0.95
_RESAMPLES = 9999


@dataclass(frozen=True)
class Mean:
    """A mean over cases with its 95% bootstrap interval.

    Attributes:
        mean: NaN without cases.
        low: lower end; NaN with fewer than two cases, which tell nothing about spread.
        high: upper end; likewise.
        n: cases that have a value.
    """

    mean: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The fields, ready for JSON; None for NaN."""
        return _json_ready(self)


@dataclass(frozen=True)
class Paired:
    """Two models on the same cases: what the second has over the first.

    Attributes:
        median: median of the differences (second minus first).
        low: lower end of its 95% bootstrap interval; NaN with fewer than two cases.
        high: upper end; likewise.
        p: two-sided Wilcoxon signed-rank test, pairs without a difference left out; 1 where no
            pair differs.
        p_holm: `p` after Holm's correction over the regions compared.
        n: cases.
        n_differ: cases that differ.
    """

    median: float
    low: float
    high: float
    p: float
    p_holm: float
    n: int
    n_differ: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The fields, ready for JSON; None for NaN."""
        return _json_ready(self)


def bootstrap_mean(values: Sequence[float], *, seed: int = 0) -> Mean:
    """The mean of `values` and its 95% interval (percentile bootstrap, 9,999 resamples of cases).

    Args:
        values: one a case; NaN stands for a case without a value and is left out.
        seed: of the resampling; the same seed gives the same interval.
    """
    known = np.asarray([value for value in values if not isnan(value)], float)
    if not len(known):
        return Mean(nan, nan, nan, 0)
    low, high = _interval(known, np.mean, seed)
    return Mean(float(known.mean()), low, high, len(known))


def compare_paired(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], *, seed: int = 0
) -> list[Paired]:
    """One paired comparison for each family member (region), corrected by Holm over them.

    Args:
        first: [member][case], scores of the first model.
        second: [member][case], scores of the second on the same cases in the same order.
        seed: of the bootstrap.

    Raises:
        ValueError: the two are not of one shape, there are no cases, or a score is NaN.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.shape != b.shape or a.ndim != 2 or not a.shape[1]:
        raise ValueError(f"Paired scores need one shape [member, case]: {a.shape} and {b.shape}.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("Paired scores must be finite.")
    differences = np.round(b - a, 12)  # so that rounding neither breaks ties nor makes differences
    p_values = [_wilcoxon(row) for row in differences]
    return [
        Paired(
            float(np.median(row)),
            *_interval(row, np.median, seed),
            p=p,
            p_holm=corrected,
            n=len(row),
            n_differ=int(np.count_nonzero(row)),
        )
        for row, p, corrected in zip(differences, p_values, holm(p_values), strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """`p_values` after Holm's step-down correction (1979), in the order given."""
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _interval(values: Any, statistic: Any, seed: int) -> tuple[float, float]:
    if len(values) < 2:
        return nan, nan
    if np.ptp(values) == 0:  # spared the rounding of each resample
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,),
        statistic,
        confidence_level=_CONFIDENCE,
        n_resamples=_RESAMPLES,
        batch=1000,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(result.low), float(result.high)


def _wilcoxon(differences: Any) -> float:
    if not np.any(differences):
        return 1.0
    return float(stats.wilcoxon(differences[differences != 0]).pvalue)


def _json_ready(record: Mean | Paired) -> dict[str, float | int | None]:
    return {name: None if isnan(value) else value for name, value in asdict(record).items()}
