"""Which studies there are in files, folders and archives, by headers alone."""

import io
import logging
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from monai_tumor.dicom.files import (
    DAMAGED,
    FIRST_TAGS,
    Limits,
    OnRefused,
    find,
    quiet,
    read_header,
    text_of,
    unpack,
)
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.results import MANUFACTURER
from monai_tumor.files import printable

_LOG = logging.getLogger(__name__)
_HEAD = 1 << 18  # bytes of a member of an archive, in which its study stands
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_TAGS = ["StudyInstanceUID", "Manufacturer"]
_LAST = Tag("StudyInstanceUID")


@dataclass(frozen=True)
class DicomStudy:
    """The files of one study, with those beside them that do not say which study they are of.

    Attributes:
        uid: study instance UID; empty where no file names one.
        folder: that all of them lie in; an archive counts as one.
        files: plain ones.
        packed: archive -> numbers of its members.
    """

    uid: str
    folder: Path
    files: tuple[Path, ...]
    packed: Mapping[Path, tuple[int, ...]]

    def unpacked(self, scratch: Path, limits: Limits | None = None) -> tuple[Path, ...]:
        """All of them as plain files; what archives hold is unpacked into `scratch`, made if need.

        Raises:
            RefusalError: an archive is damaged, too large, or larger than the disk has room for.
        """
        if self.packed:
            scratch.mkdir(parents=True, exist_ok=True)
        bounds = limits or Limits()
        return self.files + tuple(
            source.path
            for archive, members in self.packed.items()
            for source in unpack(archive, scratch, bounds, frozenset(members))
        )


def find_dicom_studies(
    path: Path,
    limits: Limits | None = None,
    on_refused: OnRefused | None = None,
) -> list[DicomStudy]:
    """Every study at or below `path`, in the order of their folders. Nothing is unpacked.

    What this package wrote itself (results that lie beside their images) is passed over. A file
    that does not say which study it is of may be a slice of any beside it, and goes with each.

    Args:
        path: a file, a folder, a zip archive or a DICOMDIR; below a folder also archives.
        limits: bounds on what is read.
        on_refused: told of an archive or folder below `path` that cannot be read.

    Raises:
        RefusalError: it does not exist, is unsafe or too large, or a file that is not DICOM.
    """
    found: dict[str, list[_Instance]] = {}
    for one in _instances(path, limits or Limits(), on_refused):
        found.setdefault(one.uid, []).append(one)
    unclear = found.pop("", [])
    if not found:
        return [_study("", unclear)] if unclear else []
    places = {uid: {one.place.parent for one in group} for uid, group in found.items()}
    for one in unclear:
        beside = [uid for uid, folders in places.items() if one.place.parent in folders]
        for uid in beside:
            found[uid].append(one)
        if not beside:
            _LOG.warning("%s: not used: it names no study", printable(one.place, 300))
    return sorted((_study(*one) for one in found.items()), key=lambda s: (s.folder, s.uid))


@dataclass(frozen=True)
class _Instance:
    """A file or, with a number, a member of an archive; `place` is where it seems to lie."""

    uid: str
    path: Path
    place: Path
    member: int | None = None


def _study(uid: str, instances: list[_Instance]) -> DicomStudy:
    packed: dict[Path, list[int]] = {}
    for one in instances:
        if one.member is not None:
            packed.setdefault(one.path, []).append(one.member)
    return DicomStudy(
        uid,
        Path(os.path.commonpath([one.place.parent for one in instances])),
        tuple(one.path for one in instances if one.member is None),
        {archive: tuple(members) for archive, members in packed.items()},
    )


def _instances(path: Path, limits: Limits, on_refused: OnRefused | None) -> Iterator[_Instance]:
    for source in find([path], None, limits, on_refused):
        if source.archive:
            try:
                yield from list(_members(source.path, limits))
            except RefusalError as error:
                if on_refused is None or path.is_file():
                    raise
                on_refused(source.path, error)
            continue
        try:
            header = read_header(source, limits)
        except RefusalError as error:
            if error.reason is Reason.NOT_DICOM:
                raise
            header = Dataset()  # converting it will say what is wrong
        if header is not None and text_of(header, "Manufacturer") != MANUFACTURER:
            yield _Instance(text_of(header, "StudyInstanceUID"), source.path, source.path)


def _members(archive: Path, limits: Limits) -> Iterator[_Instance]:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            if len(members) > limits.files:
                raise RefusalError(
                    Reason.TOO_LARGE, f"{archive.name} holds {len(members)} files; unpack it."
                )
            for number, member in enumerate(members):
                if member.is_dir():
                    continue
                with opened.open(member) as file:
                    header = _peek(file.read(min(member.file_size, _HEAD)))
                if header is not None and text_of(header, "Manufacturer") != MANUFACTURER:
                    name = PurePosixPath(member.filename.replace("\\", "/"))
                    parts = [part for part in name.parts if part not in ("/", "..")]
                    place = archive.with_suffix("").joinpath(*parts)
                    uid = text_of(header, "StudyInstanceUID")
                    yield _Instance(uid, archive, place, number)
    except DAMAGED as error:
        raise RefusalError(
            Reason.UNREADABLE, f"{archive.name} cannot be unpacked ({error}); unpack it yourself."
        ) from error


def _peek(head: bytes) -> Dataset | None:
    """What the first bytes of a file say; empty where that is not clear, None if not DICOM."""
    has_preamble = head[128:132] == b"DICM"
    if not has_preamble and head[:2] not in FIRST_TAGS:
        return None
    try:
        with quiet():
            header: Dataset = (
                _inflated(head)
                if _DEFLATED in head[:1024]
                else dcmread(
                    io.BytesIO(head), stop_before_pixels=True, force=True, specific_tags=_TAGS
                )
            )
            known = len(header) > 0
    except Exception:  # pydicom raises nearly any class on a malformed or cut file
        known, header = False, Dataset()
    return header if known or has_preamble else None


def _inflated(head: bytes) -> Dataset:
    """The elements up to the study's UID of a deflated data set, of which the beginning is there.

    Raises:
        Exception: they cannot be read.
    """
    start = 144 + int.from_bytes(head[140:144], "little")  # after the length of group 2
    part = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head[start:], _HEAD)
    return read_dataset(
        io.BytesIO(part),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: tag > _LAST,  # noqa: ARG005
    )
