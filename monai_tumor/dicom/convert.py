"""DICOM series to audited NIfTI files with sidecars: `convert`.

find files -> one record per slice -> volumes -> stored pixels -> measured values -> write ->
audit -> sidecar. What cannot be converted correctly is refused by name; see `docs/dicom.md`.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_tumor import __version__
from monai_tumor.dicom import names, nifti
from monai_tumor.dicom.assemble import assemble
from monai_tumor.dicom.audit import Audit, audit
from monai_tumor.dicom.converted import ConvertedSeries, NothingConvertedError
from monai_tumor.dicom.files import Limits, find, quiet, read_header, text_of
from monai_tumor.dicom.gradients import gradient_table
from monai_tumor.dicom.headers import groups_of
from monai_tumor.dicom.pixels import Reader
from monai_tumor.dicom.reading import Series, read_series
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.records import Slice
from monai_tumor.dicom.roles import classify
from monai_tumor.dicom.series import Repair, Volume, volumes
from monai_tumor.dicom.sidecar import describe
from monai_tumor.errors import DicomError
from monai_tumor.files import write_json, write_text


@dataclass(frozen=True)
class Options:
    """How to convert; see `convert`."""

    bids: bool = False
    resample: bool = False
    keep_identity: bool = False
    repair: frozenset[Repair] = frozenset()
    limits: Limits = field(default_factory=Limits)


def convert(
    inputs: Iterable[Path | str] | Path | str,
    output: Path | str,
    *,
    bids: bool = False,
    resample: bool = False,
    series: str | None = None,
    keep_identity: bool = False,
    repair: Iterable[Repair | str] = (),
    limits: Limits | None = None,
    on_series: Callable[[str, int, int], None] | None = None,
) -> list[ConvertedSeries]:
    """One entry for each file written and each series refused, in the order of series numbers.

    Every written file has been read back and checked, pixel by sampled pixel, against the position
    and orientation of the slices it came from.

    Args:
        inputs: files, folders, zip archives or DICOMDIR files; one or several.
        output: folder to write into; it is made if need be. Existing files are never overwritten.
        bids: lay the files out as BIDS asks, subjects numbered unless `keep_identity`.
        resample: put sheared stacks (gantry tilt) on a grid at right angles instead of keeping the
            shear in the affine.
        series: convert only the series with this instance UID.
        keep_identity: write who, where and when into the sidecars.
        repair: what may be mended instead of refused; see `Repair`.
        limits: bounds on untrusted input.
        on_series: called with the UID of each series that is done, its number and how many there
            are, for a progress bar.

    Raises:
        NothingConvertedError: nothing could be converted; it carries every refusal.
        RefusalError: an input does not exist, is unsafe or too large, or holds no DICOM.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    try:
        mend = frozenset(Repair(one) for one in repair)
    except ValueError:
        known = ", ".join(Repair)
        raise DicomError(f"Unknown repair among {list(repair)}; there are {known}.") from None
    options = Options(bids, resample, keep_identity, mend, limits or Limits())
    with tempfile.TemporaryDirectory() as scratch:
        sources = find([Path(one) for one in given], Path(scratch), options.limits)
        found = read_series(sources, series, options.limits, options.repair)
        if not found:
            raise RefusalError(
                Reason.NOT_DICOM if series is None else Reason.NO_SUCH_SERIES,
                f"No DICOM in {', '.join(map(str, given))}."
                if series is None
                else f"No series {series!r} in {', '.join(map(str, given))}.",
            )
        folder = Path(output)
        _make(folder)
        with Reader() as reader:
            writer = _Writer(folder, options, reader)
            made = []
            for number, one in enumerate(found, start=1):
                made += writer.series(one)
                if on_series is not None:
                    on_series(one.uid, number, len(found))
    if all(entry.path is None for entry in made):
        raise NothingConvertedError(tuple(made))
    return made


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DicomError(f"Cannot write into {folder} ({error}); choose another folder.") from error


class _Writer:
    """Writes the volumes of series into one folder, no two under one name."""

    def __init__(self, folder: Path, options: Options, reader: Reader):
        self._folder = folder
        self._options = options
        self._layout = names.Layout(folder, options.bids, options.keep_identity)
        self._reader = reader

    def series(self, one: Series) -> list[ConvertedSeries]:
        """What became of one series."""
        plain = ConvertedSeries(
            one.uid,
            text_of(one.header, "SeriesDescription"),
            warnings=one.warnings,
            study_uid=text_of(one.header, "StudyInstanceUID"),
        )
        if one.refusal is not None:
            return [_refused(plain, one.refusal)]
        made = []
        for volume in volumes(one.slices, self._reader.same, self._options.repair):
            try:
                if isinstance(volume, RefusalError):
                    raise volume
                made.append(self._volume(one, volume, plain))
            except RefusalError as error:
                made.append(_refused(plain, error))
        return made

    def _volume(self, one: Series, volume: Volume, plain: ConvertedSeries) -> ConvertedSeries:
        with quiet():
            fields = _fields(volume.first, self._options)
        role = classify(fields)
        made = assemble(volume, self._reader, self._options.limits, self._options.resample)
        step, timing = _timing(volume)
        path = self._layout.path(one.header, volume.label, role)
        path.parent.mkdir(parents=True, exist_ok=True)
        checked: Audit
        checked, has_qform = nifti.write(
            path, made.data, made.affine, step, lambda file: audit(file, made.samples)
        )
        warnings = [*plain.warnings, *volume.warnings, *made.warnings, *_remarks(volume, fields)]
        if not has_qform:
            warnings.append("sheared: only the sform holds the affine, the qform is left out")
        sidecar = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
        repairs = (*volume.repairs, *made.repairs)
        _write_gradients(path, volume, made.affine)
        write_json(
            sidecar,
            fields
            | ({"VolumeTiming": timing} if timing else {})
            | {
                "ConversionSoftware": "monai_tumor",
                "ConversionSoftwareVersion": __version__,
                "SeriesInstanceUID": one.uid,
                "Conversion": {
                    "stack": volume.stack.as_dict(),
                    "axis": volume.axis,
                    "role": role.modality and str(role.modality),
                    "role_reason": role.reason,
                    "repairs": list(repairs),
                    "left_out": list(volume.dropped),
                    "warnings": warnings,
                    "audit": checked.as_dict(),
                    "slices": _origins(volume),
                },
            },
        )
        return replace(
            plain,
            role=role,
            path=path,
            sidecar=sidecar,
            shape=tuple(made.data.shape),
            spacing=tuple(float(s) for s in np.linalg.norm(made.affine[:3, :3], axis=0)),
            stack=str(volume.stack),
            repairs=repairs,
            warnings=tuple(warnings),
            audit=checked,
        )


def _write_gradients(path: Path, volume: Volume, affine: NDArray[np.float64]) -> None:
    """Write `.bval` and `.bvec` beside a 4D file whose volumes have b-values, and directions."""
    of_volumes = [point[0].traits.diffusion for point in volume.points]
    known = [one for one in of_volumes if one is not None]
    if len(known) < 2 or len(known) < len(of_volumes) or all(len(one) < 4 for one in known):
        return
    stem = path.name.removesuffix(".nii.gz")
    for ending, text in zip((".bval", ".bvec"), gradient_table(known, affine), strict=True):
        write_text(path.with_name(stem + ending), text)


def _refused(plain: ConvertedSeries, error: RefusalError) -> ConvertedSeries:
    return replace(plain, refused=error.reason, message=str(error))


def _fields(first: Slice, options: Options) -> dict[str, Any]:
    header = read_header(first.source, options.limits)
    if header is None:
        raise RefusalError(Reason.UNREADABLE, f"{first.source.name} changed while it was read.")
    try:
        return describe(groups_of(header, first.pixels.frame), options.keep_identity)
    except Exception as error:  # pydicom converts values when first read
        raise RefusalError(
            Reason.BAD_HEADER, f"{first.source.name} has a malformed header ({error})."
        ) from error


def _timing(volume: Volume) -> tuple[float, list[float]]:
    """Seconds between volumes (0 where unknown or uneven), and when each began."""
    times = [min((s.time for s in p if s.time is not None), default=None) for p in volume.points]
    known = [t for t in times if t is not None]
    if volume.axis != "time" or len(known) != len(times):
        return 0.0, []
    steps = np.diff(known)
    if steps.min() <= 0:
        return 0.0, []
    timing = [round(t - known[0], 6) for t in known]
    even = float(np.median(steps))
    return (even if np.abs(steps - even).max() <= 0.02 * even else 0.0), timing


def _remarks(volume: Volume, fields: dict[str, Any]) -> list[str]:
    notes = []
    gaps, stated = volume.stack.gaps, fields.get("SpacingBetweenSlices")
    if stated and gaps and abs(np.median(gaps) - abs(stated)) > 0.05 * abs(stated):
        notes.append(
            f"slices are {np.median(gaps):.3f} mm apart, the header says {abs(stated):.3f} mm"
        )
    if fields.get("PhotometricInterpretation") == "MONOCHROME1":
        notes.append("MONOCHROME1: values are as measured, low ones are meant to be shown bright")
    return notes


def _origins(volume: Volume) -> dict[str, Any]:
    """Which instance, frame and tile each slice came from, by time and along the third axis."""
    flat = [one for point in volume.points for one in point]
    out: dict[str, Any] = {
        "place": list(volume.stack.index),
        "sop_instance_uid": [[one.uid for one in point] for point in volume.points],
    }
    if any(one.pixels.frame for one in flat):
        out["frame"] = [[one.pixels.frame + 1 for one in point] for point in volume.points]
    if any(one.pixels.corner != (0, 0) for one in flat):
        out["tile_corner"] = [[list(one.pixels.corner) for one in p] for p in volume.points]
    if any(one.traits.diffusion for one in flat):
        out["diffusion"] = [list(point[0].traits.diffusion or ()) for point in volume.points]
    return out
