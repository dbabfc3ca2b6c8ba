"""Files into series: one record for every slice, and why a series cannot be used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from monai_tumor.dicom.files import Limits, Source, quiet, read_header
from monai_tumor.dicom.frames import slices_of
from monai_tumor.dicom.headers import integer, value_of
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.records import Slice
from monai_tumor.dicom.series import Repair


@dataclass
class Series:
    """What was read of one series.

    Attributes:
        uid: series instance UID; empty for files that belong to none.
        header: of its first file.
        slices: in the order found.
        refusal: why it cannot be used as a whole.
        source: the file that was refused, of files that belong to no series.
        warnings: what a reader should know.
    """

    uid: str
    header: Dataset
    slices: list[Slice]
    refusal: RefusalError | None = None
    source: Source | None = None
    warnings: tuple[str, ...] = ()


def read_series(
    sources: Sequence[Source],
    wanted: str | None,
    limits: Limits,
    repair: Iterable[Repair] = (),
) -> list[Series]:
    """Every series in `sources`, or those of the UID `wanted`, by series number.

    One file that cannot be placed refuses its whole series, since a volume would lack a slice; a
    file that is no image stands by itself.
    """
    mend = frozenset(repair)
    found: dict[str, Series] = {}
    broken: list[Series] = []
    for source in sources:
        header = Dataset()
        uid = ""
        try:
            read = read_header(source, limits)
            if read is None:
                continue
            header, uid = read, _uid(source, read)
            if wanted is not None and uid and uid != wanted:
                continue
            slices = slices_of(source, header, limits)
            if not uid:
                raise RefusalError(Reason.BAD_HEADER, f"{source.name} has no series instance UID.")
        except RefusalError as error:
            if not uid or error.reason is Reason.NOT_AN_IMAGE:
                broken.append(Series(uid, header, [], error, source))
                continue
            one = found.setdefault(uid, Series(uid, header, []))
            one.refusal = one.refusal or error
        else:
            found.setdefault(uid, Series(uid, header, [])).slices.extend(slices)
    _suspect(found.values(), broken, mend)
    ordered = sorted(found.values(), key=lambda one: (_number(one.header), one.uid))
    # Files that belong to no series are no answer to a question for one.
    return ordered if wanted is not None else ordered + broken


def _suspect(found: Iterable[Series], broken: Sequence[Series], mend: frozenset[Repair]) -> None:
    """Refuse series that may lack a slice: a file in their folder cannot be read at all."""
    bad = [
        one.source
        for one in broken
        if one.source and one.refusal and one.refusal.reason is not Reason.NOT_AN_IMAGE
    ]
    if not bad:
        return
    for one in found:
        folders = {each.source.path.parent for each in one.slices}
        beside = next((source for source in bad if source.path.parent in folders), None)
        if beside is None:
            continue
        if Repair.UNREADABLE in mend:
            one.warnings = (*one.warnings, "a file beside this series cannot be read")
        else:
            one.refusal = one.refusal or RefusalError(
                Reason.UNREADABLE,
                f"{beside.name} lies beside this series, cannot be read, and may be one of "
                "its slices; fetch it again, or ask for the repair 'unreadable'.",
            )


def _uid(source: Source, header: Dataset) -> str:
    try:
        with quiet():
            return str(value_of(header, "SeriesInstanceUID") or "")
    except Exception as error:  # pydicom converts values when first read
        raise RefusalError(
            Reason.BAD_HEADER, f"{source.name} has a malformed series instance UID ({error})."
        ) from error


def _number(header: Dataset) -> int:
    with quiet():
        try:
            return integer(header, "SeriesNumber") or 0
        except Exception:  # a malformed number only costs the order
            return 0
