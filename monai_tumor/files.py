"""Files written whole or not at all, and text that is safe in names and messages."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from monai_tumor.errors import InputError


def write_atomically(path: Path, writer: Callable[[Path], object]) -> None:
    """Have `writer` write a temporary file beside `path`, then put it in the place of `path`.

    A reader sees the old file or the new one, never a part: the data is on the disk before the
    name changes. When `writer` fails, the old file stays and the temporary one is removed.

    Args:
        path: the file to make or replace; folders that it lacks are made.
        writer: writes the path it is given, which has the ending of `path`, because
            `nibabel.save` and others choose the format by it.

    Raises:
        InputError: the file cannot be written there.
        Exception: whatever else `writer` raises.
    """
    temporary = path.with_name(f".tmp-{secrets.token_hex(6)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(temporary)
        _sync(temporary)
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"Cannot write {path}: {reason}. Choose another place.") from error
    finally:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)
    if os.name == "posix":  # elsewhere a folder cannot be opened to be synchronised
        _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically; see `write_atomically`.

    What UTF-8 does not have, the bytes of a file name in another encoding say, stands there as
    `\\udcff`, which JSON reads back.
    """

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")

    write_atomically(path, write)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically; see `write_atomically`.

    Raises:
        ValueError: `content` holds NaN or infinity, which JSON does not have.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def safe_name(name: str) -> str:
    """`name` as a file name that stays in its folder: letters, digits, '.', '_' and '-' alone."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._") or "unnamed"


def printable(text: object, longest: int = 64) -> str:
    """What others wrote, such as a DICOM header, as one line for a message, a JSON or a page.

    Control characters become "?", and what is longer than `longest` characters is cut.
    """
    line = "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))
    return line if len(line) <= longest else line[: longest - 3] + "..."


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
