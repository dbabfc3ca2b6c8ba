"""De-identify DICOM files: `deidentify`.

find files -> read -> refuse what cannot be made safe -> scrub -> write under numbers. Nothing that
a file says, and no name of a file or folder, reaches a path, a message or the result.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from monai_tumor.dicom.deidentified import Deidentification, DeidentifiedFile
from monai_tumor.dicom.files import MEDIA_DIRECTORY, Limits, Source, find, quiet, read_header
from monai_tumor.dicom.pixel_bytes import strip_pixels
from monai_tumor.dicom.profile import Option
from monai_tumor.dicom.pseudonyms import Pseudonyms, salt_of
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.scrub import Scrubber
from monai_tumor.errors import DicomError, MonaiTumorError
from monai_tumor.files import write_atomically

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
# Ultrasound (also retired), and visible light: cameras, endoscopes, microscopes.
_DRAWN_UPON = (
    "1.2.840.10008.5.1.4.1.1.3",
    "1.2.840.10008.5.1.4.1.1.6",
    "1.2.840.10008.5.1.4.1.1.77",
)
_SCREENS = ("SCREEN", "SAVE", "CAPTURE")
_DRAWN_UPON_MODALITIES = ("US", "IVUS", "ES", "XC", "GM", "SM", "DOC", "OT")


def deidentify(
    inputs: Iterable[Path | str] | Path | str,
    output: Path | str,
    *,
    options: Iterable[Option | str] = (),
    salt_file: Path | str | None = None,
    allow_burned_in: bool = False,
    limits: Limits | None = None,
    on_file: Callable[[int, int, int], None] | None = None,
) -> Deidentification:
    """What became of each file, in the order in which they were found.

    Follows the Basic Application Level Confidentiality Profile of DICOM PS3.15 Annex E; no claim is
    made that the result complies with any law. Faces in head scans and text in the pixels stay.

    Args:
        inputs: files, folders, zip archives or DICOMDIR files; one or several.
        output: folder to write into, which must be new or empty. Files are numbered:
            `patient-001/study-001/series-001/00001.dcm`.
        options: what to retain or clean beyond the Basic Profile; see `Option`.
        salt_file: file with the salt that new UIDs, IDs and dates depend on, made if need be; who
            has it can link old and new. Without it the salt is random and forgotten.
        allow_burned_in: take files too that may have text burned into their pixels.
        limits: bounds on untrusted input.
        on_file: called after each file with its number, that number and how many there are.

    Raises:
        RefusalError: nothing could be de-identified.
        DicomError: the options exclude each other, the output is not empty, the salt is no salt.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    chosen, folder = _options(options), Path(output)
    salt = None if salt_file is None else Path(salt_file)
    if salt is not None and salt.resolve().is_relative_to(folder.resolve()):
        raise DicomError(f"The salt {salt} would lie in the output; keep it apart from the files.")
    bounds = limits or Limits()
    run = _Run(folder, Scrubber(chosen, Pseudonyms(salt_of(salt))), allow_burned_in, bounds)
    with tempfile.TemporaryDirectory() as scratch:
        sources, done, directories = _find([Path(one) for one in given], Path(scratch), bounds)
        _make(folder)
        passed = 0
        for number, source in enumerate(sources, start=1):
            made = run.file(number, source)
            done += [made] if made else []
            passed += made is None
            if on_file is not None:
                on_file(number, number, len(sources))
    result = Deidentification(tuple(done), folder, chosen, run.patients, directories, passed)
    if not result.written:
        _raise_nothing(result, given)
    return result


def _options(options: Iterable[Option | str]) -> tuple[Option, ...]:
    given = list(options)
    try:
        chosen = {Option(one) for one in given}
    except ValueError:
        known = ", ".join(Option)
        raise DicomError(f"Unknown option among {given}; there are {known}.") from None
    if {Option.FULL_DATES, Option.MODIFIED_DATES} <= chosen:
        raise DicomError("Dates are either kept (full-dates) or shifted (modified-dates).")
    return tuple(option for option in Option if option in chosen)


def _find(
    inputs: Sequence[Path], scratch: Path, limits: Limits
) -> tuple[list[Source], list[DeidentifiedFile], int]:
    """The files in `inputs`, the inputs that were refused, and how many directories were seen."""
    found: dict[Path, Source] = {}
    refused = []
    directories = 0
    for path in inputs:
        if path.is_dir():
            directories += sum(1 for one in path.rglob("*") if one.name.upper() == "DICOMDIR")
        directories += path.is_file() and path.name.upper() == "DICOMDIR"
        try:
            with _silent():
                for source in find([path], scratch, limits):
                    found.setdefault(source.path, source)
        except RefusalError as error:
            refused.append(DeidentifiedFile(0, str(path), refused=error.reason))
    return list(found.values()), refused, directories


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as error:
        raise DicomError(f"Cannot write into {folder} ({error}); choose another folder.") from error
    if occupied:
        raise DicomError(f"{folder} is not empty; choose a new folder, so that no runs are mixed.")


def _raise_nothing(result: Deidentification, given: Sequence[Path | str]) -> None:
    where = ", ".join(map(str, given))
    if not result.refused:
        raise RefusalError(Reason.NOT_DICOM, f"No DICOM image in {where}.")
    first, count = result.refused[0], len(result.refused)
    more = f" (and {count - 1} more refused)" if count > 1 else ""
    raise RefusalError(first.refused or Reason.UNREADABLE, f"In {where}: {first}{more}")


@contextmanager
def _silent() -> Iterator[None]:
    """Hide what pydicom warns of and logs, which quotes values."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with quiet():
            yield
    finally:
        logger.setLevel(level)


@dataclass
class _Run:
    """Writes files into one folder, each patient, study and series under a number of its own."""

    folder: Path
    scrubber: Scrubber
    allow_burned_in: bool
    limits: Limits
    _numbers: dict[tuple[str, ...], int] = field(default_factory=dict)
    _counts: Counter[tuple[str, ...]] = field(default_factory=Counter)

    @property
    def patients(self) -> int:
        """How many patients were written."""
        return self._counts[()]

    def file(self, number: int, source: Source) -> DeidentifiedFile | None:
        """What became of one file; None where it is not DICOM and only lies in an input."""
        nameless = Source(source.path, f"file {number}", source.named)
        try:
            with _silent():
                ds = _read(nameless, self.limits)
                if ds is None:
                    return None
                _check(ds, self.allow_burned_in)
                place = [_identity(ds, "StudyInstanceUID"), _identity(ds, "SeriesInstanceUID")]
                place.insert(0, self.scrubber.scrub(ds))
                strip_pixels(ds)
                _renew_meta(ds)
                path = self._path(place)
                write_atomically(path, lambda file: dcmwrite(file, ds, enforce_file_format=True))
        except RefusalError as error:
            reason = error.reason
        except (RecursionError, MemoryError) as error:
            deep = isinstance(error, RecursionError)
            reason = Reason.NESTED_TOO_DEEP if deep else Reason.TOO_LARGE
        except MonaiTumorError:
            raise
        except Exception:  # pydicom converts values when first read, and raises what it likes
            reason = Reason.UNREADABLE
        else:
            return DeidentifiedFile(number, source.name, path=path)
        return DeidentifiedFile(number, source.name, refused=reason)

    def _path(self, place: Sequence[str]) -> Path:
        """`patient-001/study-001/series-001/00001.dcm`, counted in the order of coming."""
        path, key = self.folder, tuple[str, ...]()
        for level, one in zip(("patient", "study", "series"), place, strict=True):
            path /= f"{level}-{self._number(key, one):03d}"
            key = (*key, one)
        self._counts[key] += 1
        return path / f"{self._counts[key]:05d}.dcm"

    def _number(self, above: tuple[str, ...], one: str) -> int:
        if (*above, one) not in self._numbers:
            self._counts[above] += 1
            self._numbers[*above, one] = self._counts[above]
        return self._numbers[*above, one]


def _read(source: Source, limits: Limits) -> Dataset | None:
    """The whole of a file, or None where it is not DICOM."""
    header = read_header(source, limits)
    if header is None:
        return None
    if header.file_meta.get("MediaStorageSOPClassUID") == MEDIA_DIRECTORY:
        raise RefusalError(Reason.NOT_AN_IMAGE, f"{source.name} is a media directory.")
    return dcmread(source.path, force=True)


def _check(ds: Dataset, allow_burned_in: bool) -> None:
    """Refuse what is no image, and what may have text in its pixels unless that is allowed."""
    if not ds.get("Rows") or not any(keyword in ds for keyword in _PIXELS):
        raise RefusalError(Reason.NOT_AN_IMAGE, "A report, a document or another text.")
    if not _identity(ds, "SOPClassUID") or not _identity(ds, "SOPInstanceUID"):
        raise RefusalError(Reason.BAD_HEADER, "No SOP class or instance UID.")
    if allow_burned_in:
        return
    storage, kinds = _identity(ds, "SOPClassUID"), _identity(ds, "ImageType").upper()
    if _is_of(storage, _SECONDARY_CAPTURE) or "ConversionType" in ds:
        raise RefusalError(Reason.SECONDARY_CAPTURE, "A secondary capture.")
    in_bits = any(
        tag.group >> 8 == 0x60 and tag.element == 0x0102 and ds[tag].value
        for tag in list(ds.keys())
    )
    if (
        in_bits
        or _identity(ds, "BurnedInAnnotation").strip().upper() == "YES"
        or _is_of(storage, *_DRAWN_UPON)
        or _identity(ds, "Modality").strip().upper() in _DRAWN_UPON_MODALITIES
        or any(word in kinds for word in _SCREENS)
    ):
        raise RefusalError(Reason.BURNED_IN, "There may be text in its pixels.")


def _is_of(storage: str, *families: str) -> bool:
    """Whether a SOP class is one of `families` or stands below one: 7 and 7.1, not 77."""
    return any(f"{storage}.".startswith(f"{family}.") for family in families)


def _identity(ds: Dataset, keyword: str) -> str:
    return str(ds.get(keyword, "") or "")


def _renew_meta(ds: Dataset) -> None:
    """New meta information, of what stands in the data set alone, and an empty preamble."""
    old = ds.file_meta.get("TransferSyntaxUID")
    if old is None:
        implicit, little = ds.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        old = ImplicitVRLittleEndian if implicit else explicit
    if not UID(old).is_transfer_syntax or UID(old).is_private:
        raise RefusalError(Reason.UNDECODABLE, "A private transfer syntax.")
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(old)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.preamble = b"\0" * 128
    if not UID(old).is_implicit_VR:
        _state_vrs(ds)


def _state_vrs(ds: Dataset) -> None:
    """Give a VR to elements that were read without one: implicit parts of explicit files."""
    for tag in list(ds.keys()):
        if ds.get_item(tag).VR is None:
            _ = ds[tag]
        if ds.get_item(tag).VR == "SQ":
            for item in ds[tag].value:
                _state_vrs(item)
