"""A label map into DICOM, beside the series it was made on: `export`.

source series -> its volume and grid -> the mask on its slices -> SEG, SR, key images -> written,
the SEG checked against the mask. What cannot be placed is refused by name; see `docs/dicom.md`.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from monai_tumor.dicom.anchor import find_anchor, headers
from monai_tumor.dicom.files import Limits, Source, find, quiet, read_header
from monai_tumor.dicom.pixels import Reader
from monai_tumor.dicom.placing import Grid, onto, place
from monai_tumor.dicom.reasons import Reason, RefusalError
from monai_tumor.dicom.results import MANUFACTURER, Job, KeyImage, Mask
from monai_tumor.errors import DependencyError, SchemeError, StudyError
from monai_tumor.files import safe_name, write_atomically
from monai_tumor.labels import Region, Tissue, scheme

Draw = Callable[[NDArray[Any], NDArray[Any], NDArray[np.float64]], Sequence[KeyImage]]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        series_uid: of the source series.
        segmentation: the SEG; None where the mask holds no tumour.
        report: the SR.
        key_images: the pictures.
        uids: SOP instance UID of each written file, by its name.
        exact: the mask was taken over voxel for voxel; nothing was resampled.
        regions_ml: volumes, mL, of WT, TC and ET.
        tissues_ml: volumes, mL, of each tissue of the scheme.
        warnings: what a reader should know.
    """

    series_uid: str
    segmentation: Path | None
    report: Path
    key_images: tuple[Path, ...]
    uids: dict[str, str]
    exact: bool
    regions_ml: dict[Region, float]
    tissues_ml: dict[Tissue, float]
    warnings: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All that was written."""
        first = () if self.segmentation is None else (self.segmentation,)
        return (*first, self.report, *self.key_images)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "series_uid": self.series_uid,
            "segmentation": self.segmentation and str(self.segmentation),
            "report": str(self.report),
            "key_images": [str(path) for path in self.key_images],
            "sop_instance_uids": self.uids,
            "exact": self.exact,
            "regions_ml": {str(k): round(v, 3) for k, v in self.regions_ml.items()},
            "tissues_ml": {str(k): round(v, 3) for k, v in self.tissues_ml.items()},
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        """The files, the volumes and the warnings, a line each."""
        volumes = ", ".join(f"{k} {v:.2f} mL" for k, v in self.regions_ml.items())
        how = "voxel for voxel" if self.exact else "resampled"
        lines = [*map(str, self.files), f"{volumes}; {how} on series {self.series_uid}"]
        if self.segmentation is None:
            lines.append("no tumour in the mask: no segmentation was written")
        return "\n".join([*lines, *(f"note: {one}" for one in self.warnings)])


def export(
    mask: Mask,
    source: Iterable[Path | str] | Path | str,
    output: Path | str,
    *,
    series: str | None = None,
    resample: bool = False,
    diameters: Mapping[Region, tuple[float, float]] | None = None,
    draw: Draw | None = None,
    limits: Limits | None = None,
) -> Exported:
    """The written SEG, SR and key images of a label map, which refer to the series of `source`.

    The same mask exported again, onto the same series by the same software, gives the same bytes
    under the same UIDs.

    Args:
        mask: the label map; where its voxels lie decides where they go.
        source: files, folders, zip archives or DICOMDIR files that hold the series.
        output: folder to write into; not within the source. Only files that were written by this
            function are replaced.
        series: UID of the series, where the source holds several.
        resample: where mask and series have different voxels, take the nearest.
        diameters: longest and perpendicular diameter, mm, of the largest lesion of each region.
        draw: makes key images of (image, labels, affine): two arrays [X, Y, Z] on one grid at
            right angles, and its voxel-to-mm matrix, RAS; not called where there is no tumour.
        limits: bounds on untrusted input.

    Raises:
        RefusalError: the series cannot be converted, cannot be referred to, or does not fit the
            mask; or the written SEG disagrees with the mask.
        SchemeError: the mask holds values that its scheme does not know.
        DependencyError: highdicom is not installed.
    """
    _require_highdicom()
    _check_labels(mask)
    bounds = limits or Limits()
    given = [Path(one) for one in ([source] if isinstance(source, str | Path) else source)]
    folder = Path(output)
    _require_apart(folder, given)
    with tempfile.TemporaryDirectory() as scratch, Reader() as reader:
        sources = find(given, Path(scratch), bounds)
        x, y, z = mask.labels.shape
        grid = Grid((x, y, z), np.asarray(mask.affine, dtype=np.float64))
        anchor = find_anchor(sources, series, grid, reader, bounds)
        images, notes = headers(anchor, bounds)
        placed = place(mask.labels, grid, anchor.grid, resample)
        job = Job(
            mask=mask,
            placed=placed,
            anchor=anchor,
            headers=images,
            diameters=dict(diameters or {}),
            warnings=(*anchor.warnings, *placed.warnings, *notes),
        )
        pictures: Sequence[KeyImage] = ()
        if draw is not None and job.segments:
            pictures = draw(*_straight(job, reader, bounds))
    return _write(job, pictures, folder)


def _require_highdicom() -> None:
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            "Writing DICOM SEG and SR needs highdicom: pip install 'monai-tumor[dicom]'."
        ) from error


def _check_labels(mask: Mask) -> None:
    if mask.labels.ndim != 3 or mask.labels.dtype.kind not in "biu":
        raise StudyError(
            f"A mask must hold integers [X, Y, Z]; found shape {mask.labels.shape} and type "
            f"{mask.labels.dtype}."
        )
    unknown = scheme(mask.scheme).unknown_values(int(v) for v in np.unique(mask.labels))
    if unknown:
        raise SchemeError(
            f"Label values {unknown} are not in scheme {mask.scheme!r}; state the right scheme."
        )


def _require_apart(folder: Path, given: Sequence[Path]) -> None:
    """Refuse to write among the source's files: they would be read as a part of it next time."""
    for one in given:
        if one.is_dir() and folder.resolve().is_relative_to(one.resolve()):
            raise RefusalError(
                Reason.UNSAFE_PATH,
                f"{folder} lies within the source {one}; choose another folder to write into.",
            )


def _straight(
    job: Job, reader: Reader, limits: Limits
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Image, labels and affine on a grid at right angles: the series' own unless it is sheared."""
    image, grid = job.anchor.image(reader, limits)
    same = grid.shape == job.placed.grid.shape and np.allclose(
        grid.affine, job.placed.grid.affine, rtol=0, atol=1e-6
    )
    labels = job.placed.labels if same else onto(job.placed.labels, job.placed.grid, grid)
    return image, labels, grid.affine


def _write(job: Job, pictures: Sequence[KeyImage], folder: Path) -> Exported:
    """Make every instance first, then write each whole; the SEG only once it is checked."""
    from monai_tumor.dicom.captures import capture
    from monai_tumor.dicom.report import report
    from monai_tumor.dicom.seg import audit, segmentation

    name = safe_name(job.mask.name)
    try:
        with quiet():
            seg = segmentation(job) if job.segments else None
            made: dict[Path, Dataset] = {} if seg is None else {folder / f"{name}_seg.dcm": seg}
            made[folder / f"{name}_sr.dcm"] = report(job, seg)
            for number, picture in enumerate(pictures, start=1):
                path = folder / f"{name}_key_{safe_name(picture.name)}.dcm"
                made[path] = capture(job, picture, number)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        # highdicom copies and checks the source's elements, and says so by any of these.
        raise RefusalError(
            Reason.BAD_HEADER, f"The series' headers cannot be carried over: {error}."
        ) from error
    for path in made:
        _require_ours(path)
    for path, instance in made.items():

        def save(temporary: Path, instance: Dataset = instance) -> None:
            with quiet():
                instance.save_as(temporary, enforce_file_format=True)
                if instance is seg:
                    audit(temporary, job)

        write_atomically(path, save)
    paths = list(made)
    return Exported(
        series_uid=job.anchor.uid,
        segmentation=None if seg is None else paths.pop(0),
        report=paths.pop(0),
        key_images=tuple(paths),
        uids={path.name: str(instance.SOPInstanceUID) for path, instance in made.items()},
        exact=job.placed.exact,
        regions_ml=job.regions_ml,
        tissues_ml=job.tissues_ml,
        warnings=job.warnings,
    )


def _require_ours(path: Path) -> None:
    """Refuse to replace a file that was not written here.

    Raises:
        RefusalError: it was not.
    """
    if not path.exists() and not path.is_symlink():
        return
    try:
        header = read_header(Source(path, path.name), Limits()) if path.is_file() else None
    except RefusalError:
        header = None
    if header is None or header.get("Manufacturer") != MANUFACTURER:
        raise RefusalError(
            Reason.NOT_OURS,
            f"{path} is there and was not written by monai_tumor; choose another folder, or move "
            "it away.",
        )
