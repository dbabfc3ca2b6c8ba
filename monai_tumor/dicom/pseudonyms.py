"""New UIDs, patient numbers and dates: the same for the same input and salt, and no way back."""

import datetime
import hashlib
import hmac
import re
import secrets
import uuid
from pathlib import Path

from pydicom.config import IGNORE
from pydicom.uid import UID

from monai_tumor.errors import DicomError
from monai_tumor.files import write_text

_LEAST_SALT = 16
_DAYS = (366, 3650)
_DATE_TIME = re.compile(r"(\d{8})(\d{0,6}(?:\.\d{1,6})?(?:[+-]\d{4})?)", re.ASCII)
_TIME = re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?", re.ASCII)


class Pseudonyms:
    """What replaces UIDs, patients and dates.

    Args:
        salt: at least 16 random bytes. Who has them can link old and new; without them nobody can.
    """

    def __init__(self, salt: bytes):
        if len(salt) < _LEAST_SALT:
            raise DicomError(f"A salt of {len(salt)} bytes can be guessed; use 32 random ones.")
        self._salt = salt

    def uid(self, old: str) -> str:
        """A UID under 2.25 (PS3.5 B.2) for `old`; registered ones, such as classes, stay."""
        if not old or UID(old, validation_mode=IGNORE).name != old:
            return old
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', old)[:16], version=4).int}"

    def patient(self, key: str) -> str:
        """A name and ID for the patient known by `key`."""
        return f"ANON-{self._digest('patient', key)[:6].hex().upper()}"

    def days(self, key: str) -> int:
        """By how many days this patient's dates move into the past: one to ten years."""
        low, high = _DAYS
        return low + int.from_bytes(self._digest("days", key)[:8], "big") % (high - low + 1)

    def _digest(self, kind: str, text: str) -> bytes:
        message = f"{kind}\0{text}".encode("utf-8", "surrogateescape")
        return hmac.new(self._salt, message, hashlib.sha256).digest()


def shifted(value: str, vr: str, days: int) -> str | None:
    """A DA, TM or DT value `days` earlier, or None where it is no such value.

    Whole days are taken off, so a time of day stays as it is; 0 only checks the value.
    """
    if vr == "TM":
        return value if _TIME.fullmatch(value) else None
    found = _DATE_TIME.fullmatch(value)
    if found is None or (vr == "DA" and found[2]):
        return None
    try:
        old = datetime.datetime.strptime(found[1], "%Y%m%d").date()
        return f"{old - datetime.timedelta(days=days):%Y%m%d}".rjust(8, "0") + found[2]
    except (ValueError, OverflowError):
        return None


def salt_of(path: Path | None) -> bytes:
    """The salt kept in `path`, which is made where it does not exist; a random one without a path.

    Raises:
        DicomError: the file holds no salt.
        InputError: it cannot be written.
    """
    if path is None:
        return secrets.token_bytes(32)
    if not path.exists():
        write_text(path, secrets.token_hex(32) + "\n")
        path.chmod(0o600)
    try:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise DicomError(
            f"{path} holds no salt (64 hexadecimal digits); name a file to be made, or the one "
            "that an earlier run made."
        ) from error
