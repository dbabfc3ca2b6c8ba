"""Names of output files. Header text becomes part of a name, never of a path."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom import Dataset

from monai_tumor.dicom.files import quiet
from monai_tumor.dicom.headers import integer
from monai_tumor.dicom.roles import Role
from monai_tumor.files import write_json
from monai_tumor.labels import Modality

_LONGEST = 60
_BIDS = {
    Modality.T1N: ("", "T1w"),
    Modality.T1C: ("_ce-gadolinium", "T1w"),
    Modality.T2W: ("", "T2w"),
    Modality.T2F: ("", "FLAIR"),
}


def safe(text: str) -> str:
    """`text` as part of a file name: ASCII letters, digits, `-` and `_`; at most 60 of them."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9-]+", "_", plain).strip("_-")[:_LONGEST].strip("_-")


def stem(number: int | None, description: str, label: Iterable[str]) -> str:
    """`004_t1_mprage_e2` of series number, description and what tells it within its series."""
    parts = ["" if number is None else f"{max(number, 0):03d}", safe(description)]
    parts += [safe(part) for part in label]
    return "_".join(part for part in parts if part) or "series"


class Layout:
    """Gives each volume a path below one folder, and no path twice."""

    def __init__(self, folder: Path, bids: bool, keep_identity: bool):
        self._folder = folder
        self._bids = bids
        self._keep_identity = keep_identity
        self._subjects: dict[str, str] = {}
        self._sessions: dict[str, dict[str, str]] = {}

    def path(self, header: Dataset, label: Sequence[str], role: Role) -> Path:
        """A `.nii.gz` path that is not taken yet."""
        with quiet():
            if self._bids:
                return self._bids_path(header, label, role)
            number, description = (
                integer(header, "SeriesNumber"),
                _text(header, "SeriesDescription"),
            )
        return _free(self._folder, stem(number, description, label), "")

    def _bids_path(self, header: Dataset, label: Sequence[str], role: Role) -> Path:
        identity = _text(header, "PatientID") or _text(header, "StudyInstanceUID")
        own = safe(identity).replace("_", "").replace("-", "") if self._keep_identity else ""
        subject = self._subjects.setdefault(identity, own or f"{len(self._subjects) + 1:02d}")
        studies = self._sessions.setdefault(subject, {})
        session = studies.setdefault(_text(header, "StudyInstanceUID"), f"{len(studies) + 1:02d}")
        name = f"sub-{subject}_ses-{session}"
        folder = self._folder / f"sub-{subject}" / f"ses-{session}"
        self._describe_dataset()
        if role.modality is None:
            number, description = (
                integer(header, "SeriesNumber"),
                _text(header, "SeriesDescription"),
            )
            return _free(folder / "other", f"{name}_{stem(number, description, label)}", "")
        contrast, suffix = _BIDS[role.modality]
        part = "".join(safe(one).replace("-", "").replace("_", "") for one in label)
        name += f"_acq-{part}" if part else ""
        return _free(folder / "anat", name + contrast, f"_{suffix}")

    def _describe_dataset(self) -> None:
        """The file that makes a folder a BIDS data set; other series are outside the standard."""
        self._folder.mkdir(parents=True, exist_ok=True)
        about = self._folder / "dataset_description.json"
        if not about.exists():
            write_json(about, {"Name": "converted by monai_tumor", "BIDSVersion": "1.10.0"})
            (self._folder / ".bidsignore").write_text("**/other/\n")


def _text(header: Dataset, keyword: str) -> str:
    try:
        return str(header.get(keyword, "") or "")
    except Exception:  # undecodable text only costs the name
        return ""


def _free(folder: Path, stem_: str, suffix: str) -> Path:
    """`<stem><suffix>.nii.gz` in `folder`, numbered where that is taken."""
    number = 1
    while True:
        run = "" if number == 1 else f"_run-{number}" if suffix else f"_{number}"
        path = folder / f"{stem_}{run}{suffix}.nii.gz"
        if not path.exists() and not path.is_symlink():
            return path
        number += 1
