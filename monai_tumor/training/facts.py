"""Whether two trainings are the same, told in words."""

from collections.abc import Mapping
from typing import Any

# Options that lead to the same studies, read alike, make the same split.
_SPLIT = ("studies", "label_schemes")


def other_split(trained: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """How the split of a training differs from this run's; "" if not, or if one is not known.

    Args:
        trained: `monai_tumor.data.split_facts`, as a checkpoint or its JSON records them.
        now: those of this run.
    """
    if not trained or not now or all(trained.get(key) == now.get(key) for key in _SPLIT):
        return ""
    options = {key: value for key, value in now.items() if key not in _SPLIT}
    return difference(trained, options) or difference(trained, now)


def difference(trained: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """Such as "trained with fold 0, this run has fold 1"; "" where nothing of `now` differs."""
    if not trained or not now:
        return ""
    keys = [key for key in now if trained.get(key) != now[key]]
    if not keys:
        return ""
    before, after = (", ".join(f"{key} {of.get(key)}" for key in keys) for of in (trained, now))
    return f"trained with {before}, this run has {after}"
