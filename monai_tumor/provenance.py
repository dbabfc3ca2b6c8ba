"""What a result must say of how it was made, and how it is known by that."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from monai_tumor.errors import InputError
from monai_tumor.files import sha256

_PACKAGES = ("monai-tumor", "monai", "torch", "nibabel", "numpy", "pytorch-ignite", "pydicom")
REPORT_FORMAT = "monai_tumor report"
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


def result_record(beside: Path) -> Mapping[str, Any] | None:
    """What the JSON of a label map or report says, where it says that this is a result of ours.

    Truth of BraTS 2021 has the names of our results, and labels drawn by hand may: a file of such
    a name is ours only where this is not None.
    """
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    is_report = content.get("format") == REPORT_FORMAT
    return content if is_report or {"study", "label_scheme", "input"} <= content.keys() else None


def unfinished(study: str, input: str) -> dict[str, Any]:
    """What stands beside a label map while it is written: that it is ours, and not to be used."""
    return {"study": study, "label_scheme": None, "input": input, "unfinished": True}


def require_replaceable(path: Path, beside: Path) -> None:
    """Refuse to write over what is not a result of ours.

    Args:
        path: the label map or page to write.
        beside: its JSON.

    Raises:
        InputError: one of the two is there, and the JSON does not say that it is ours.
    """
    for file in (path, beside):
        if (file.exists() or file.is_symlink()) and result_record(beside) is None:
            raise InputError(
                f"{file} is there and is not a result of ours ({beside.name} does not say so); "
                "choose another output folder, or move it away."
            )
