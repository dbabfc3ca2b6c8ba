"""What a classifier said of slices, kept so that it can be scored again and again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_tumor.errors import InputError
from monai_tumor.files import write_json

FORMAT = "monai-tumor slice predictions"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Predictions:
    """Logits and truth of slices.

    Attributes:
        logits: float64 [slices, classes].
        labels: the true classes' numbers, [slices].
        classes: their names.
        names: of the slices, such as paths; empty where not known.
        groups: what belongs together in the bootstrap, one a slice; empty where each stands alone.
        leaks: whether a twin of the slice was learnt from, [slices]; None where not known.
        neighbours: class of the most alike slice learnt from, [slices]; None where not known.
        columns: subgroups: a table's column -> a value each, "" where it says none.
        frames: of multi-frame DICOM files, from 1, None for other slices; empty where none is.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    names: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    leaks: NDArray[np.bool_] | None = None
    neighbours: NDArray[np.int64] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frames: tuple[int | None, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        count = len(self.labels)
        if self.logits.shape != (count, len(self.classes)) or not count:
            raise InputError(
                f"Predictions of {count} slices and {len(self.classes)} classes need logits of that"
                f" shape; these have {self.logits.shape}."
            )
        if not np.isfinite(self.logits).all():
            raise InputError("Some logits are not finite; the network or its weights are damaged.")
        own = (self.names, self.groups, self.leaks, self.neighbours, self.frames)
        beside = (*own, *self.columns.values())
        if any(one is not None and len(one) not in (0, count) for one in beside):
            raise InputError(
                "Names, groups, leaks, neighbours, columns or frames are not those of"
                f" {count} slices."
            )

    def __len__(self) -> int:
        """How many slices."""
        return len(self.labels)

    @property
    def places(self) -> tuple[tuple[str, int | None], ...]:
        """Name and frame of each slice, which tell it from all others; empty without names."""
        return (*zip(self.names, self.frames or (None,) * len(self.names), strict=True),)

    @classmethod
    def of_items(
        cls,
        logits: NDArray[np.float64],
        labels: NDArray[np.int64],
        classes: Sequence[str],
        items: Sequence[Mapping[str, Any]],
    ) -> "Predictions":
        """With what a data set's items know: "image", "frame", "group", "leaks" and so on."""

        def known(key: str) -> bool:
            return bool(items) and all(key in item for item in items)

        return cls(
            logits,
            labels,
            tuple(classes),
            tuple(str(item["image"]) for item in items) if known("image") else (),
            tuple(str(item["group"]) for item in items) if known("group") else (),
            np.array([item["leaks"] for item in items], bool) if known("leaks") else None,
            np.array([i["neighbour"] for i in items], np.int64) if known("neighbour") else None,
            {
                name: tuple(str(item.get("columns", {}).get(name, "")) for item in items)
                for name in dict.fromkeys(n for item in items for n in item.get("columns", {}))
            },
            tuple(item.get("frame") for item in items) if any("frame" in i for i in items) else (),
        )

    def only(self, chosen: NDArray[Any]) -> "Predictions":
        """Those of some slices: their numbers, or whether each is meant, [slices]."""
        kept = np.arange(len(self))[chosen].tolist()

        def of(values: Sequence[str]) -> tuple[str, ...]:
            return tuple(values[n] for n in kept) if values else ()

        return Predictions(
            self.logits[kept],
            self.labels[kept],
            self.classes,
            of(self.names),
            of(self.groups),
            None if self.leaks is None else self.leaks[kept],
            None if self.neighbours is None else self.neighbours[kept],
            {name: of(values) for name, values in self.columns.items()},
            tuple(self.frames[n] for n in kept) if self.frames else (),
        )

    def save(self, path: Path, facts: Mapping[str, Any] | None = None) -> Path:
        """Write it as JSON, with `facts` beside it; returns the path."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "classes": list(self.classes),
            "names": list(self.names),
            "frames": list(self.frames),
            "groups": list(self.groups),
            "labels": self.labels.tolist(),
            "logits": np.round(self.logits, 6).tolist(),
            "leaks": None if self.leaks is None else self.leaks.tolist(),
            "neighbours": None if self.neighbours is None else self.neighbours.tolist(),
            "columns": {name: list(values) for name, values in self.columns.items()},
            "facts": dict(facts or {}),
        }
        write_json(path, content)
        return path

    @classmethod
    def load(cls, path: Path | str) -> tuple["Predictions", dict[str, Any]]:
        """What `save` wrote, and the facts beside it.

        Raises:
            InputError: no such file, or it is none of `save`.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read as predictions: {error}.") from None
        made = content if isinstance(content, dict) else {}
        if made.get("format") != FORMAT or made.get("format_version") != FORMAT_VERSION:
            raise InputError(f"{path} holds no slice predictions; make it with an evaluation.")
        try:
            return cls._of_content(made), dict(made["facts"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is a damaged file of slice predictions ({type(error).__name__}: {error});"
                " make it again with an evaluation."
            ) from None

    @classmethod
    def _of_content(cls, content: Mapping[str, Any]) -> "Predictions":
        return cls(
            np.array(content["logits"], np.float64).reshape(-1, len(content["classes"])),
            np.array(content["labels"], np.int64),
            tuple(content["classes"]),
            tuple(content["names"]),
            tuple(content["groups"]),
            None if content["leaks"] is None else np.array(content["leaks"], bool),
            None if content["neighbours"] is None else np.array(content["neighbours"], np.int64),
            {name: tuple(values) for name, values in content.get("columns", {}).items()},
            tuple(content.get("frames", ())),
        )


def combined(members: Sequence[Predictions], weights: Sequence[float] | None = None) -> Predictions:
    """The ensemble: the weighted mean of the members' probabilities, as logits.

    Args:
        members: of the same slices, in the same order.
        weights: one a member, such as `accuracy_weights` or `stacking_weights` of their
            validation, never of what is scored; None counts all alike.

    Returns:
        as the first member; a slice leaks where any member learnt from its twin, which is not known
        where it is not known of every member.

    Raises:
        InputError: no member, or of other slices or classes.
    """
    chances = _chances(members)
    shares = np.ones(len(members)) if weights is None else np.asarray(weights, np.float64)
    mean = np.tensordot(shares / shares.sum(), chances, axes=1)
    known = [one.leaks for one in members if one.leaks is not None]
    leaks = np.logical_or.reduce(known) if len(known) == len(members) else None
    return replace(members[0], logits=np.log(np.maximum(mean, 1e-12)), leaks=leaks)


def joined(folds: Sequence[Predictions]) -> Predictions:
    """What the members of a cross-validation said of the slices that each did not learn from.

    Args:
        folds: of one network, a fold each.

    Returns:
        all slices, in the order of their names and frames; without what depends on the fold:
        leaks and neighbours.

    Raises:
        InputError: a slice is in two folds, or is not named.
    """
    places = [place for one in folds for place in one.places]
    if len(set(places)) < sum(map(len, folds)) or len({one.classes for one in folds}) > 1:
        raise InputError("These predictions are not of the folds of one cross-validation.")
    whole = Predictions(
        np.concatenate([one.logits for one in folds]),
        np.concatenate([one.labels for one in folds]),
        folds[0].classes,
        tuple(name for name, _ in places),
        tuple(group for one in folds for group in one.groups),
        frames=tuple(frame for _, frame in places),
    )
    order = sorted(range(len(places)), key=lambda n: (places[n][0], places[n][1] or 0))
    return whole.only(np.array(order))


def accuracy_weights(validation: Sequence[Predictions]) -> list[float]:
    """Each member's accuracy on validation slices."""
    return [float((one.logits.argmax(axis=1) == one.labels).mean()) for one in validation]


def stacking_weights(validation: Sequence[Predictions], steps: int = 200) -> list[float]:
    """The members' shares, of sum 1, whose mean probability fits the validation slices best.

    Found by expectation maximisation of a mixture, whose likelihood has one maximum.
    """
    chances = _chances(validation)
    truth = validation[0].labels
    said = np.maximum(chances[:, np.arange(len(truth)), truth], 1e-12)  # [members, slices]
    shares = np.full(len(validation), 1 / len(validation))
    for _ in range(steps):
        shares = (shares[:, None] * said / (shares @ said)).mean(axis=1)
    return [float(share) for share in shares]


def probabilities(logits: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """Softmax of `logits` / `temperature`, [slices, classes]."""
    scaled = logits / temperature
    raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def decide(chances: NDArray[np.float64], threshold: float | None = None) -> NDArray[np.int64]:
    """Each slice's class, by number, [slices].

    Args:
        chances: probabilities, [slices, classes].
        threshold: from which the second of two classes is called; None takes the most likely.
    """
    if threshold is None:
        return np.asarray(chances.argmax(axis=1), np.int64)
    return (chances[:, 1] >= threshold).astype(np.int64)


def require_threshold(threshold: Any, classes: Sequence[str]) -> None:
    """Refuse a threshold that `decide` cannot use; None is none.

    Raises:
        InputError: there are not two classes, or it is no number from 0 to 1.
    """
    if threshold is None:
        return
    if len(classes) != 2:
        raise InputError(f"A threshold is for two classes; there are {len(classes)}.")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise InputError(f"The threshold is {threshold!r}; give a number from 0 to 1.")
    if not 0 <= threshold <= 1:
        raise InputError(f"The threshold is {threshold}; give a number from 0 to 1.")


def _chances(members: Sequence[Predictions]) -> NDArray[np.float64]:
    """[members, slices, classes]."""
    if not members:
        raise InputError("An ensemble needs at least one member's predictions.")
    first = members[0]
    for one in members[1:]:
        same = np.array_equal(one.labels, first.labels) and one.places == first.places
        if not same or one.classes != first.classes:
            raise InputError("The members' predictions are of other slices or classes.")
    return np.stack([probabilities(one.logits) for one in members])
