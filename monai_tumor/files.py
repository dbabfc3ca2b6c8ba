"""Files that are whole or not there."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, writer: Callable[[Path], None]) -> Path:
    """Let `writer` fill a temporary file beside `path`, then put it in place in one step.

    A reader sees the old file or the new one, never half of one; a failing writer leaves the old
    file whole and no temporary one behind.

    Args:
        path: the file to make or replace; its folder is made if need be.
        writer: called with the temporary path, which ends as `path` does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    descriptor, name = tempfile.mkstemp(
        prefix=f".{path.name[:40]}.", suffix=suffix, dir=path.parent
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        writer(temporary)
        _flush_to_disk(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8, atomically."""

    def writer(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    return write_atomically(path, writer)


def write_json(path: Path, data: Any) -> Path:
    """Write `data` as JSON that a person can read, atomically. NaN is not JSON and is refused."""
    return write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def safe_name(name: str) -> str:
    """`name` as a file name that stays in its folder: letters, digits, '.', '_' and '-' alone."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._") or "unnamed"


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
