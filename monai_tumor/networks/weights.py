"""Files of weights, read so that nothing in them is executed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from monai_tumor.errors import BundleError
from monai_tumor.files import sha256


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a `.safetensors` file or a plain torch checkpoint, on the CPU.

    A checkpoint may hold the tensors themselves or a dictionary with them under "network",
    "model" or "state_dict". Nothing in it is executed. Where a `.json` of the same name records
    a SHA-256, the file must match it.

    Raises:
        BundleError: no such file, another hash than recorded, or not a file of weights.
    """
    path = Path(path)
    if not path.is_file():
        raise BundleError(f"No weights at {path}; name a file with --weights.")
    require_recorded_hash(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BundleError(
            f"{path} is not a file of weights that can be loaded safely ({type(error).__name__}). "
            "Give a .safetensors file or a checkpoint of plain tensors."
        ) from error
    for key in ("network", "model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(torch.is_tensor(v) for v in content.values()):
        raise BundleError(f"{path} holds no dictionary of tensors; give a state dict.")
    return content


def record_beside(path: Path) -> dict[str, Any]:
    """What the `.json` of the same name says; nothing where there is none.

    Raises:
        BundleError: it is not JSON.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{beside} is not JSON ({error}); remove or mend it.") from None
    return record if isinstance(record, dict) else {}


def settings_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options that weights were trained with, from the JSON beside them."""
    options = record.get("options")
    settings = options.get("settings") if isinstance(options, dict) else None
    return settings if isinstance(settings, dict) else {}


def classes_of(record: Mapping[str, Any], path: Path) -> list[str] | None:
    """The classes, in order, of weights of slices; None where their record says nothing of them.

    Raises:
        BundleError: they are no text; `path` is named in the message.
    """
    classes = settings_of(record).get("classes")
    if classes is None:
        return None
    if not isinstance(classes, str):
        raise BundleError(
            f"The record beside {path} names classes that are no text ({type(classes).__name__}); "
            "mend it, or train the weights again."
        )
    return classes.split(", ")


def require_recorded_hash(path: Path) -> None:
    """Refuse weights that are not those that the `.json` of the same name records, if it does.

    Raises:
        BundleError: the SHA-256 differs.
    """
    record = record_beside(path)
    if "sha256" in record and record["sha256"] != sha256(path):
        raise BundleError(
            f"{path} is not the file that {path.stem}.json records (SHA-256 differs): "
            "it is damaged or was replaced. Fetch or train it again."
        )
