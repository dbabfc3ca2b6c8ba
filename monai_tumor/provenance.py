"""What a result must say of how it was made."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from monai_tumor.files import sha256

_PACKAGES = ("monai-tumor", "monai", "torch", "nibabel", "numpy", "pytorch-ignite", "pydicom")
INTENDED_USE = "Research use only. Not a medical device; not for diagnosis."


def versions() -> dict[str, str]:
    """Package -> installed version, and Python's."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if package == "monai-tumor":
                from monai_tumor import __version__

                found[package] = __version__
    return found


def record(
    bundle: str,
    bundle_version: str,
    weights: Path | str | Sequence[Path | str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """What stands beside each result: bundle, weights and their hash, versions, options.

    Args:
        bundle: its name.
        bundle_version: from its metadata.
        weights: file that was loaded, or one a member; None where there are none.
        options: what was chosen, as JSON-ready values.
    """
    files = [] if weights is None else [weights] if isinstance(weights, str | Path) else weights
    return {
        "bundle": bundle,
        "bundle_version": bundle_version,
        "weights": [{"file": Path(f).name, "sha256": sha256(Path(f))} for f in files],
        "options": options,
        "versions": versions(),
        "intended_use": INTENDED_USE,
    }
