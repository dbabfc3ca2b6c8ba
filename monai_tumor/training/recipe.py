"""What a folder of results was made of, so that nothing made otherwise passes for it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_tumor.errors import TrainingError
from monai_tumor.files import sha256, write_json

FILE = "recipe.json"


def claim(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Note in `folder` what it is made of; a folder that is empty or absent is new.

    Args:
        folder: of a training that may be interrupted and go on.
        recipe: JSON-ready; all that the result depends on.

    Raises:
        TrainingError: it was made of something else, or it is not known of what.
    """
    path, wanted = folder / FILE, json.loads(json.dumps(dict(recipe)))
    if not path.is_file() and not any(folder.glob("*")):
        write_json(path, wanted)
    found = _read(path)
    other = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if other:
        raise TrainingError(
            f"{folder} was made otherwise ({', '.join(other)} differ from its {FILE}); give another"
            " --out, or remove it."
        )


def contents(path: Path) -> str:
    """A digest of the names and sizes of all files below a folder, or of what a file holds."""
    if path.is_file():
        return sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{file.relative_to(path).as_posix()} {file.stat().st_size}" for file in files]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}
