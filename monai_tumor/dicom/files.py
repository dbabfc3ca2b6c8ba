"""Find and read DICOM files safely: folders, single files, zip archives, DICOMDIR.

Names, sizes and nesting inside an input are not trusted. An archive's members are written under
names of our own, links that lead out of an input are not followed, and every size is bounded
before anything is allocated.
"""

import lzma
import shutil
import warnings
import zipfile
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from pydicom import Dataset, dcmread

from monai_tumor.dicom.bombs import has_more_items, inflates_beyond
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.files import printable

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_LOOKED_AT = 1000  # files, to see whether a folder holds DICOM
# What `zipfile` raises on an archive that is damaged, encrypted or packed in an unknown way.
DAMAGED = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
)
_LARGE_ZIP = 1 << 30  # bytes unpacked, below which an archive as a whole may be packed well


@dataclass(frozen=True)
class Limits:
    """Bounds on untrusted input.

    Attributes:
        files: how many files one call looks at.
        folder_depth: how deep folders may nest below an input.
        file_bytes: the size of one file.
        zip_bytes: what one archive may unpack to.
        zip_ratio: how much larger than its packed form a member of over 1 MiB may be.
        zip_whole_ratio: the same of an archive of over 1 GiB.
        inflated_bytes: what a deflated file may inflate to.
        items: of sequences in one file; an empty one has 8 bytes, and takes a kilobyte of memory.
        frame_pixels: rows times columns of one frame.
        frames: frames in one file.
        volume_bytes: decoded size of one series.
    """

    files: int = 200_000
    folder_depth: int = 32
    file_bytes: int = 4 << 30
    zip_bytes: int = 16 << 30
    zip_ratio: int = 1000
    zip_whole_ratio: int = 200
    inflated_bytes: int = 512 << 20
    items: int = 200_000
    frame_pixels: int = 1 << 26
    frames: int = 65_536
    volume_bytes: int = 8 << 30


@dataclass(frozen=True)
class Source:
    """A file that may be DICOM.

    Attributes:
        path: where its bytes lie.
        name: how messages and sidecars call it: the path below its input, or inside its archive.
        named: the user gave this very file, so that it not being DICOM is an error.
        archive: it is a zip archive, whose members are the files.
    """

    path: Path
    name: str
    named: bool = False
    archive: bool = False


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's remarks on odd headers; what matters is checked and refused by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


OnRefused = Callable[[Path, RefusalError], None]


def find(
    inputs: Iterable[Path],
    scratch: Path | None,
    limits: Limits,
    on_refused: OnRefused | None = None,
) -> list[Source]:
    """Every file of `inputs` that may be DICOM, in a stable order, each once.

    Args:
        inputs: files, folders, zip archives, DICOMDIR files.
        scratch: an empty folder that archives are unpacked into; the caller removes it. Without
            one an archive is a file like the others.
        limits: bounds on what is read.
        on_refused: told of a folder below an input that cannot be read; the rest goes on.

    Raises:
        RefusalError: an input does not exist, cannot be read, is unsafe or too large.
    """
    found: dict[Path, Source] = {}
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            sources = _walk(path.resolve(), path.resolve(), scratch, limits, 0, on_refused)
        elif path.is_file():
            sources = _file(path, scratch, limits)
        else:
            raise RefusalError(
                Reason.NOT_FOUND, f"No file or folder {str(given)!r}; give one that exists."
            )
        for source in sources:
            found.setdefault(source.path, source)
            if len(found) > limits.files:
                raise RefusalError(
                    Reason.TOO_LARGE, f"Over {limits.files} files; convert in smaller parts."
                )
    return list(found.values())


def looks_like_dicom(path: Path) -> bool:
    """Whether `path` is an archive, a DICOM file, or a folder with one such below it.

    A quick look: files without a preamble are known by a name that ends in .dcm or .ima.
    """
    files = (p for p in path.rglob("*") if _is_file(p)) if path.is_dir() else (path,)
    return any(
        p.suffix.lower() in (".dcm", ".ima", ".zip") or _has_preamble(p)
        for p in islice(files, _LOOKED_AT)
    )


def _is_file(path: Path) -> bool:
    """`path.is_file()`, and False where nobody may look."""
    try:
        return path.is_file()
    except OSError:
        return False


def _file(path: Path, scratch: Path | None, limits: Limits) -> Iterator[Source]:
    if zipfile.is_zipfile(path) and not _has_preamble(path):
        yield from _archive(path, path.name, scratch, limits)
    elif path.suffix.lower() == ".zip" and not _has_preamble(path):
        raise RefusalError(
            Reason.UNREADABLE, f"{path.name} is no whole zip archive; fetch it again."
        )
    elif path.name.upper() == "DICOMDIR" or _is_media_directory(path):
        yield from _dicomdir(path.resolve(), limits)
    else:
        yield Source(path.resolve(), path.name, named=True)


def _walk(
    folder: Path,
    root: Path,
    scratch: Path | None,
    limits: Limits,
    depth: int,
    on_refused: OnRefused | None,
) -> Iterator[Source]:
    if depth > limits.folder_depth:
        raise RefusalError(
            Reason.NESTED_TOO_DEEP, f"Folders nest over {limits.folder_depth} deep in {root.name}/."
        )
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        why = f"Folder {folder} cannot be read: {error.strerror}. Mend its permissions."
        refusal = RefusalError(Reason.UNREADABLE, why)
        if on_refused is None or folder == root:
            raise refusal from error
        on_refused(folder, refusal)
        return
    for path in entries:
        try:
            kind = _kind(path, root)
        except OSError as error:
            why = f"{path} cannot be looked at: {error.strerror}. Mend its permissions."
            refusal = RefusalError(Reason.UNREADABLE, why)
            if on_refused is None:
                raise refusal from error
            on_refused(path, refusal)
            continue
        if kind == "folder":
            yield from _walk(path, root, scratch, limits, depth + 1, on_refused)
        elif kind == "archive":
            yield from _archive(path, str(path.relative_to(root)), scratch, limits)
        elif kind == "file":
            yield Source(path.resolve(), str(path.relative_to(root)))


def _kind(path: Path, root: Path) -> Literal["folder", "archive", "file"] | None:
    """What an entry of a folder is; None for what is left alone.

    Raises:
        OSError: nobody may look.
    """
    if path.is_symlink() and not _target(path).is_relative_to(root):
        return None
    if path.is_dir():
        return None if path.is_symlink() else "folder"
    if path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
        return "archive"
    left = path.name.upper() == "DICOMDIR" or path.name.lower().endswith((".nii", ".nii.gz"))
    return "file" if path.is_file() and not left else None


def _target(link: Path) -> Path:
    """Where a link leads; the root of all files where that is nowhere, or not for us to know."""
    try:
        return link.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: to itself
        return Path(link.anchor)


def _archive(path: Path, name: str, scratch: Path | None, limits: Limits) -> Iterator[Source]:
    if scratch is None:
        yield Source(path.resolve(), name, archive=True)
    else:
        yield from unpack(path, scratch, limits)


def unpack(
    archive: Path, scratch: Path, limits: Limits, wanted: Container[int] | None = None
) -> Iterator[Source]:
    """The members of `archive`, written to a new folder in `scratch` as 0.dcm, 1.dcm, ...

    Their names decide no path, and a link becomes a plain file that holds its target's name.

    Args:
        archive: a zip file.
        scratch: a folder; the caller removes it.
        limits: bounds on what is unpacked.
        wanted: numbers of the members to unpack, in the order of the archive, since two may have
            one name; all without it.

    Raises:
        RefusalError: the archive is damaged, too large, or larger than the disk has room for.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [
                m
                for number, m in enumerate(opened.infolist())
                if not m.is_dir() and (wanted is None or number in wanted)
            ]
            _check_sizes(archive, members, limits)
            needed, free = sum(m.file_size for m in members), shutil.disk_usage(scratch).free
            if needed > free:
                raise RefusalError(
                    Reason.TOO_LARGE,
                    f"{archive.name} unpacks to {needed / 1e9:.1f} GB; {free / 1e9:.1f} GB are "
                    f"free at {scratch}.",
                )
            target = scratch / f"zip{len(list(scratch.iterdir()))}"
            target.mkdir()
            for number, member in enumerate(members):
                path = target / f"{number}.dcm"
                with opened.open(member) as packed_file, path.open("wb") as unpacked:
                    shutil.copyfileobj(packed_file, unpacked, 1 << 20)
                if Path(member.filename).name.upper() != "DICOMDIR":
                    yield Source(path, f"{archive.name}:{member.filename}")
    except DAMAGED as error:
        raise RefusalError(
            Reason.UNREADABLE, f"{archive.name} cannot be unpacked ({error}); unpack it yourself."
        ) from error


def _check_sizes(archive: Path, members: Sequence[zipfile.ZipInfo], limits: Limits) -> None:
    """Check what an archive says of itself, which `zipfile` holds it to when it unpacks.

    Raises:
        RefusalError: it would unpack to too much.
    """
    if len(members) > limits.files:
        raise RefusalError(
            Reason.TOO_LARGE, f"{archive.name} holds {len(members)} files; unpack it."
        )
    packed = total = 0
    for member in members:
        size = max(member.compress_size, 1)
        packed, total = packed + size, total + member.file_size
        if (
            total > limits.zip_bytes
            or member.file_size > limits.file_bytes
            or (member.file_size > 1 << 20 and member.file_size > limits.zip_ratio * size)
        ):
            raise RefusalError(
                Reason.TOO_LARGE,
                f"{archive.name} unpacks to more than is allowed at {member.filename!r}.",
            )
    if total > _LARGE_ZIP and total > limits.zip_whole_ratio * packed:
        raise RefusalError(
            Reason.TOO_LARGE,
            f"{archive.name} has {packed >> 20} MiB and unpacks to {total >> 20} MiB; if that is "
            "right, unpack it yourself.",
        )


def _dicomdir(path: Path, limits: Limits) -> Iterator[Source]:
    header = read_header(Source(path, path.name, named=True), limits)
    records = header.get("DirectoryRecordSequence") if header is not None else None
    if not records:
        raise RefusalError(
            Reason.UNREADABLE, f"{path.name} lists no files; give the folder instead."
        )
    for record in records:
        parts = _listed(record)
        if not parts:
            continue
        name = "/".join(parts)
        try:
            target = path.parent.joinpath(*parts).resolve()
            is_file = target.is_file()
        except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, links in a circle
            raise RefusalError(
                Reason.UNSAFE_PATH, f"{path.name} lists {name!r}, which is no name of a file."
            ) from error
        if not target.is_relative_to(path.parent):
            raise RefusalError(
                Reason.UNSAFE_PATH, f"{path.name} points outside its folder: {name!r}."
            )
        if not is_file:
            raise RefusalError(
                Reason.NOT_FOUND,
                f"{path.name} lists {name!r}, which is not there; copy the whole disc, "
                "or give the folder to convert what there is.",
            )
        yield Source(target, name)


def _listed(record: Dataset) -> list[str]:
    """The parts of the path that a directory record lists; none where it lists no file."""
    with quiet():
        try:
            parts = record.get("ReferencedFileID") or []
        except Exception as error:  # pydicom converts values when first read
            raise RefusalError(
                Reason.UNREADABLE, f"A record of the DICOMDIR cannot be read ({error})."
            ) from error
    return [parts] if isinstance(parts, str) else [str(part) for part in parts]


def _has_preamble(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _is_media_directory(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(400)
    return head[128:132] == b"DICM" and MEDIA_DIRECTORY.encode() in head


# Group 0002 or 0008 with a small element number, little or big endian: a file without preamble.
FIRST_TAGS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")


def read_header(source: Source, limits: Limits) -> Dataset | None:
    """The header of `source` up to its pixels, or None where the file is not DICOM.

    Raises:
        RefusalError: it is DICOM and too large, too deep or unreadable, or it was named by the
            user and is not DICOM.
    """
    try:
        size = source.path.stat().st_size
        with source.path.open("rb") as file:
            head = file.read(1024)
            has_preamble = head[128:132] == b"DICM"
            if not has_preamble and head[:2] not in FIRST_TAGS:
                _not_dicom(source)
                return None
            if size > limits.file_bytes:
                raise RefusalError(Reason.TOO_LARGE, f"{source.name} is {size >> 20} MiB.")
            file.seek(0)
            with quiet():
                if inflates_beyond(source.path, head, limits.inflated_bytes):
                    raise RefusalError(
                        Reason.TOO_LARGE,
                        f"{source.name} inflates to over {limits.inflated_bytes >> 20} MiB.",
                    )
                if has_more_items(source.path, head, limits.items):
                    raise RefusalError(
                        Reason.TOO_LARGE,
                        f"{source.name} has over {limits.items} items of sequences.",
                    )
                header = dcmread(file, stop_before_pixels=True, force=True)
                known = "SOPClassUID" in header or "MediaStorageSOPClassUID" in header.file_meta
    except RefusalError:
        raise
    except RecursionError as error:
        raise RefusalError(
            Reason.NESTED_TOO_DEEP, f"{source.name} nests its sequences too deep to read."
        ) from error
    except Exception as error:  # pydicom raises nearly any class on a malformed file
        if not has_preamble:
            _not_dicom(source)
            return None
        raise RefusalError(
            Reason.UNREADABLE, f"{source.name} is DICOM but cannot be read ({error})."
        ) from error
    if not known and not has_preamble:
        _not_dicom(source)
        return None
    return header


def _not_dicom(source: Source) -> None:
    """Raise if the user gave this very file; others are passed by."""
    if source.named:
        raise RefusalError(Reason.NOT_DICOM, f"{source.name} is not a DICOM file.")


def text_of(header: Dataset, keyword: str) -> str:
    """An element as one printable line; empty where it is not there or cannot be decoded."""
    with quiet():
        try:
            return printable(header.get(keyword, "") or "")
        except Exception:  # undecodable text only costs the name
            return ""
