"""A bundle is code: its configs call any function they name.

Those shipped here are trusted; any other folder runs only when the caller says that it may.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from monai_tumor.errors import BundleError
from monai_tumor.paths import BUNDLES

_CODE = ("$", "@", "%")  # a config's marks of an expression, a reference and a macro


def require_trust(paths: Sequence[Path], trust: bool) -> None:
    """Refuse what is not shipped.

    Raises:
        BundleError: one of `paths`, a bundle or an overlay, is not ours, and `trust` is not given.
    """
    for path in paths:
        if not trust and not is_shipped(path):
            raise BundleError(
                f"{path} is not shipped with monai_tumor, and a bundle is code: it can do whatever "
                "you can do. If you trust where it comes from, say so (trust=True, --trust)."
            )


def is_shipped(path: Path) -> bool:
    """Whether a folder is one of our bundles."""
    return path.parent == BUNDLES.resolve()


def require_no_code(options: Mapping[str, Any]) -> None:
    """Refuse what a config would run, or take from elsewhere, instead of taking it as it stands."""
    for key, value in options.items():
        for path, leaf in _leaves(value, key):
            names = path.replace("#", "::").split("::")
            if "_target_" in names or (isinstance(leaf, str) and leaf[:1] in _CODE):
                raise BundleError(
                    f"Option {path!r} is {leaf!r}, which a config runs as code or looks up; "
                    "if that is meant, say so (trust=True, --trust)."
                )


def members(parser: Any) -> set[str]:
    """The bundles that a config makes its network of, before anything of it is instantiated."""
    resolved = type(parser)(config=deepcopy(parser.get()))
    resolved.resolve_macro_and_relative_ids()
    found = set()
    for path, leaf in _leaves(resolved.get()):
        inside = {"members", "bundles"} & set(path.split("::"))
        if inside and isinstance(leaf, str) and leaf[:1] not in _CODE:
            found.add(leaf)
    return found


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Whatever is no dictionary and no list in `value`, with its id in a config."""
    if isinstance(value, Mapping):
        children: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    else:
        yield path, value
        return
    for key, child in children:
        yield from _leaves(child, f"{path}::{key}" if path else str(key))
