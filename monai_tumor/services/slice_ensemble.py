"""Several classifiers' predictions as one, weighted by what they say of validation slices."""

from collections.abc import Sequence
from dataclasses import dataclass

from monai_tumor.errors import InputError
from monai_tumor.metrics.predictions import (
    Predictions,
    accuracy_weights,
    combined,
    joined,
    stacking_weights,
)

WAYS = ("mean", "accuracy", "stacking")


@dataclass(frozen=True)
class Ensemble:
    """What its members say together.

    Attributes:
        test: of the test side.
        validation: of slices that no member which is asked about them learnt from.
        weights: one a member.
    """

    test: Predictions
    validation: Predictions
    weights: tuple[float, ...]


def ensemble_of(
    tests: Sequence[Predictions],
    validations: Sequence[Predictions],
    networks: Sequence[str],
    way: str = "mean",
) -> Ensemble:
    """The ensemble of some classifiers.

    Where all validate on the same slices, their weights come from these. Where they are the folds
    of a cross-validation, of one network or several, each network is judged by what its folds say
    of the slices they did not learn from, all together, and its folds share its weight.

    Args:
        tests: what each says of the test side, which is the same for all.
        validations: what each says of its own validation side.
        networks: of each, by name.
        way: "mean"; or weighted by "accuracy"; or by "stacking", the mixture that fits best.

    Raises:
        InputError: unknown way; members of other slices; validation sides that are neither the same
            nor whole cross-validations of one split.
    """
    if way not in WAYS:
        raise InputError(f"Unknown ensemble {way!r}; choose of {', '.join(WAYS)}.")
    if len(tests) == 1:
        return Ensemble(tests[0], validations[0], ())
    same = all(one.places == validations[0].places for one in validations)
    kinds = [*range(len(tests))] if same else [*map([*dict.fromkeys(networks)].index, networks)]
    parts = [[v for v, k in zip(validations, kinds, strict=True) if k == kind] for kind in {*kinds}]
    known = [*validations] if same else [joined(folds) for folds in parts]
    if any(one.places != known[0].places for one in known):
        raise InputError(
            "The members validate on other slices, and are no whole cross-validations of one split;"
            " give every fold of every network, or members of one split."
        )
    shares = [1.0] * len(known)
    if way == "accuracy":
        shares = accuracy_weights(known)
    elif way == "stacking":
        shares = stacking_weights(known)
    weights = tuple(shares[kind] / kinds.count(kind) for kind in kinds)
    return Ensemble(combined(tests, weights), combined(known, shares), weights)
