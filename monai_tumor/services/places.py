"""The files of one study's result in the output folder: replaced together, or not at all.

They are made in a folder of their own and moved to their places when all are whole. The JSON beside
the label map lists them: what it lists is ours, may be replaced, and is no input of a later run.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from monai_tumor.errors import InputError
from monai_tumor.files import printable, write_json
from monai_tumor.provenance import result_record, unfinished

# What may lie in the folder of a study.
_LONGEST = 255  # bytes of a file's name on the file systems in use
_PARTS = ("report.html", "report.json", "dicom", "images", "prepared")


@dataclass(frozen=True)
class Place:
    """Where the result of a study belongs.

    Attributes:
        output: folder of all results.
        name: of the study; its files are `<name>_...` and those in `<name>/`.
    """

    output: Path
    name: str

    @property
    def label_map(self) -> Path:
        """`<name>_seg.nii.gz`."""
        return self.output / f"{self.name}_seg.nii.gz"

    @property
    def record(self) -> Path:
        """`<name>_seg.json`."""
        return self.output / f"{self.name}_seg.json"

    @property
    def folder(self) -> Path:
        """`<name>/`, of all but label map, probabilities and JSON."""
        return self.output / self.name

    @property
    def is_whole(self) -> bool:
        """Whether a result is there with all the files that its JSON lists."""
        record = result_record(self.record)
        if record is None or record.get("unfinished"):
            return False
        return all((self.output / file).is_file() for file in self.listed(record))

    def holds(self, request: str) -> bool:
        """Whether the result of this request is there, and lacks nothing that was asked for."""
        record = result_record(self.record) or {}
        same = record.get("request") == request and not record.get("not_written")
        return same and self.is_whole

    def require_free(self, files: Iterable[str] = (), key: str | None = None) -> None:
        """Refuse a place that holds what is not ours, or that leads elsewhere.

        Args:
            files: that are to be put there, relative to `output`.
            key: of the study; None where it has none.

        Raises:
            InputError: the result of another study of that name is there; a file is there that the
                JSON of a result does not list; or a folder is a link that leads out of `output`.
        """
        record = result_record(self.record)
        other = None if record is None or key is None else record.get("study_key")
        if other not in (None, key):
            raise InputError(
                f"{self.record} is the result of another study named {self.name} "
                f"({printable(other, 300)}; this one is {printable(key, 300)}); choose another "
                "output folder, or move it away."
            )
        ours = set(self.listed(record)) if record is not None else set()
        wanted = {self.label_map.name, self.record.name, *files}
        for file in sorted(wanted - ours):
            path = self.output / file
            if path == self.record and record is not None:
                continue
            if path.exists() or path.is_symlink():
                raise InputError(
                    f"{path} is there and is not of an earlier result ({self.record.name} does not "
                    "list it); choose another output folder, or move it away."
                )
        root = self.output.resolve()
        for path in {self.folder, *((self.output / file).parent for file in wanted)}:
            if path.exists() and not path.is_dir():
                raise InputError(
                    f"{path} is a file, and is to be a folder; choose another output folder, or "
                    "move it away."
                )
            if not path.resolve().is_relative_to(root):
                raise InputError(
                    f"{path} leads to {path.resolve()}, out of {self.output}; remove the link, or "
                    "choose another output folder."
                )

    def put(self, made: Path, record: Mapping[str, Any]) -> None:
        """Put the files below `made` in the place of all that an earlier result left.

        The JSON says "unfinished" until the last of them is there.

        Args:
            made: a folder on the same disk, laid out as `output` is; its parent is for our use.
            record: what the JSON is to say.

        Raises:
            InputError: as `require_free`; nothing was changed.
            OSError: a file cannot be moved.
        """
        files = sorted(path.relative_to(made).as_posix() for path in _files(made))
        key = record.get("study_key")
        self.require_free(files, key)
        earlier = result_record(self.record)
        before = [] if earlier is None else self.listed(earlier)
        mark = unfinished(str(record["study"]), str(record["input"]))
        begun, done = made.with_name("begun.json"), made.with_name("done.json")
        write_json(begun, mark | {"files": sorted({*before, *files}), "study_key": key})
        write_json(done, {**record, "files": files})
        begun.replace(self.record)  # from here on names alone change, which needs no room
        for file in before:
            if file not in files:
                (self.output / file).unlink(missing_ok=True)
        for file in files:
            (self.output / file).parent.mkdir(parents=True, exist_ok=True)
            (made / file).replace(self.output / file)
        done.replace(self.record)
        for folder in {(self.output / file).parent for file in before} - {self.output}:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def listed(self, record: Mapping[str, Any]) -> list[str]:
        """The files that a record lists, those that could be this study's; nothing else is trusted.

        One without a list, of a bundle's own command, is of the label map alone.
        """
        files = record.get("files")
        if not isinstance(files, list):
            return [self.label_map.name]
        return [file for file in files if isinstance(file, str) and self._may_be_ours(file)]

    def _may_be_ours(self, file: str) -> bool:
        parts = PurePosixPath(file).parts
        if any(len(part.encode(errors="surrogatepass")) > _LONGEST for part in parts):
            return False
        if not parts or ".." in parts or PurePosixPath(file).is_absolute():
            return False
        if len(parts) == 1:
            return file in (self.label_map.name, f"{self.name}_prob.nii.gz")
        if parts[0] != self.name or parts[1] not in _PARTS:
            return False
        try:
            (self.output / file).resolve()
            folder = (self.output / file).parent.resolve()
        except ValueError:  # no name of a file
            return False
        return folder.is_relative_to(self.output.resolve())


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def emptied(folder: Path) -> Path:
    """`folder`, made anew; what a run that was killed left there is gone.

    Raises:
        InputError: it cannot be made.
    """
    try:
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
    except OSError as error:
        raise InputError(
            f"Cannot write {folder}: {error.strerror or error}. Choose another place."
        ) from error
    return folder
