"""The same study twice, or the same image under two subjects."""

import gzip
import zlib
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path

from monai_tumor.data.headers import UNREADABLE, gzip_trailer, is_gzip
from monai_tumor.data.problems import Problem, short
from monai_tumor.data.study import Study


def without_repeats(studies: Iterable[Study]) -> tuple[list[Study], list[Problem]]:
    """One study of each id, the first, and a problem for each further one."""
    kept: dict[str, Study] = {}
    problems = []
    for study in studies:
        first = kept.setdefault(study.study, study)
        if first is not study:
            message = (
                f"Study {study.study!r} is there twice: {first.images[0]} and {study.images[0]}."
                " Keep one."
            )
            problems.append(Problem(study.study, study.images[0], "repeated-study", message))
    return list(kept.values()), problems


def same_images(studies: Iterable[Study]) -> list[Problem]:
    """A problem for each study whose first image is, byte for byte, that of another subject.

    The checksum that every .nii.gz carries of its content makes this cheap, and where no file is
    packed a piece of each will do; equal checksums are confirmed by comparing the content.
    """
    studies = list(studies)
    whole = any(is_gzip(study.images[0]) for study in studies)
    first: dict[tuple[int, int], Study] = {}
    problems = []
    for study in studies:
        try:
            twin = first.setdefault(_fingerprint(study.images[0], whole), study)
            same = twin.subject != study.subject and _equal(twin.images[0], study.images[0])
        except UNREADABLE:
            continue  # `checks` reports unreadable files
        if same:
            message = (
                f"Subjects {twin.subject!r} and {study.subject!r} have the same image:"
                f" {short(twin.images[0])} and {short(study.images[0])}. Keep one."
            )
            problems.append(Problem(study.study, study.images[0], "same-image", message))
    return problems


def _fingerprint(path: Path, whole: bool) -> tuple[int, int]:
    """CRC-32 and size of the content; unless `whole`, the CRC-32 of its middle alone."""
    if is_gzip(path):
        return gzip_trailer(path)
    size = path.stat().st_size
    crc = 0
    with path.open("rb") as stream:
        if not whole:
            stream.seek(size // 2)
            return zlib.crc32(stream.read(1 << 16)), size
        while block := stream.read(1 << 22):
            crc = zlib.crc32(block, crc)
    return crc, size & 0xFFFFFFFF


def _equal(one: Path, other: Path) -> bool:
    if one.samefile(other):
        return True
    with _content(one) as first, _content(other) as second:
        while block := first.read(1 << 20):
            if block != second.read(1 << 20):
                return False
        return not second.read(1)


def _content(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")
