"""Study after study, three at once: one is read, one is in the network, one is written."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from monai_tumor.dicom import Exported
from monai_tumor.errors import DependencyError, DicomError, MonaiTumorError
from monai_tumor.files import printable
from monai_tumor.inference import SegmentationResult, Segmenter
from monai_tumor.labels import Region
from monai_tumor.report.study_report import write_report
from monai_tumor.services.export import export_mask
from monai_tumor.services.four_images import four_images
from monai_tumor.services.opening import OpenedStudy, Preparation, open_study
from monai_tumor.services.places import Place
from monai_tumor.services.segmentation_run import Failure, Written
from monai_tumor.services.sources import Found

_LOG = logging.getLogger(__name__)
_LONGEST = 2000  # characters of a message


@dataclass(frozen=True)
class Outputs:
    """What to write beside the label map.

    Attributes:
        report: report.html and report.json.
        dicom: SEG, SR and key images, of a study that came as DICOM.
        probabilities: `<study>_prob.nii.gz`.
    """

    report: bool = True
    dicom: bool = True
    probabilities: bool = False


@dataclass(frozen=True)
class Task:
    """A study to segment, and a digest of what was asked for."""

    found: Found
    request: str

    @property
    def name(self) -> str:
        """Of the study."""
        return self.found.name


@dataclass(frozen=True)
class Pipeline:
    """Reading, the network and writing, each in its own thread.

    Attributes:
        segmenter: the network.
        output: folder of all results.
        scratch: a folder on the same disk; each study has one of its own in it, while it lasts.
        preparation: what may be done to the images.
        outputs: what to write.
        series: modality -> DICOM series to take for it.
    """

    segmenter: Segmenter
    output: Path
    scratch: Path
    preparation: Preparation
    outputs: Outputs
    series: Mapping[str, str]

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Written | Failure]]:
        """Each task with what was written, or with why nothing was; in the order given."""
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            reading = [reader.submit(self._read, task) for task in tasks[:1]]
            writing: list[tuple[Task, Future[Written]]] = []
            for number, task in enumerate(tasks):
                read = attempt(task.name, reading.pop(0).result)
                reading += [
                    reader.submit(self._read, following)
                    for following in tasks[number + 1 : number + 2]
                ]
                predicted = read
                if not isinstance(read, Failure):
                    opened, prepared = read
                    predicted = attempt(task.name, partial(self.segmenter.predict, prepared))
                while writing:
                    earlier, future = writing.pop()
                    yield earlier, self._ended(earlier, attempt(earlier.name, future.result))
                if isinstance(predicted, Failure):
                    yield task, self._ended(task, predicted)
                else:
                    writing.append((task, writer.submit(self._write, task, opened, predicted)))
            for earlier, future in writing:
                yield earlier, self._ended(earlier, attempt(earlier.name, future.result))

    def _ended(self, task: Task, result: Any) -> Any:
        shutil.rmtree(self.scratch / task.name, ignore_errors=True)
        return result

    def _made(self, task: Task) -> Path:
        """The folder in which the result of a study is made, laid out as the output is."""
        return self.scratch / task.name / "made"

    def _read(self, task: Task) -> tuple[OpenedStudy, dict[str, Any]]:
        report = [f"{task.name}/report.{kind}" for kind in ("html", "json") if self.outputs.report]
        Place(self.output, task.name).require_free(report, task.found.key)
        source = four_images(task.found, self.scratch / task.name, self.series)
        opened = open_study(source, self._made(task) / task.name, self.preparation)
        return opened, self.segmenter.prepare(opened.item)

    def _write(self, task: Task, opened: OpenedStudy, predicted: Mapping[str, Any]) -> Written:
        """All files of a study, first where they are made, then in their place."""
        place, made = Place(self.output, task.name), Place(self._made(task), task.name)
        result = self.segmenter.finish(predicted, probabilities=self.outputs.probabilities)
        more = {} if opened.prepared is None else {"prepared": opened.prepared.as_dict()}
        result.save(made.output, task.name, **more)
        if self.outputs.report:
            write_report(
                made.folder,
                result.report,
                images=opened.shown,
                labels=result.label_map,
                affine=result.affine,
            )
        not_written: dict[str, str] = {}
        exported = None
        if opened.source.origin is not None and self.outputs.dicom:
            try:
                exported = _export(made, opened, result)
            except (DicomError, DependencyError) as error:
                not_written["dicom"] = printable(error, _LONGEST)
        made.record.unlink()
        asked = {"study_key": task.found.key, "request": task.request}
        record = result.as_dict() | more | asked | {"not_written": not_written}
        place.put(made.output, record)
        return Written(
            place.label_map,
            result.volumes_ml,
            result.flags,
            place.folder if self.outputs.report else None,
            None if exported is None else _moved(exported, made.output, place.output),
            () if exported is None else exported.warnings,
            not_written,
        )


def _export(made: Place, opened: OpenedStudy, result: SegmentationResult) -> Exported:
    origin = opened.source.origin
    assert origin is not None
    target = next(s for s in origin.series.values() if s.path == result.reference)
    crosses: dict[Region, tuple[float, float]] = {}
    if result.measures.enhancing:
        largest = result.measures.enhancing[0]
        crosses[Region.ET] = largest.longest_mm, largest.perpendicular_mm
    return export_mask(
        made.label_map,
        origin.files,
        made.folder / "dicom",
        diameters=crosses,
        series=target.series_uid,
    )


def _moved(exported: Exported, old: Path, new: Path) -> Exported:
    """The same, with its files where they lie now."""

    def there(path: Path) -> Path:
        return new / path.relative_to(old)

    first = exported.segmentation
    return replace(
        exported,
        segmentation=None if first is None else there(first),
        report=there(exported.report),
        key_images=tuple(map(there, exported.key_images)),
    )


def attempt(name: str, step: Callable[[], Any]) -> Any:
    """What `step` gives, or the `Failure` of the study `name`, for which it was taken.

    What no user can mend is a failure of this study also, and no reason for the others to wait for
    a new release; its traceback goes to the log.
    """
    try:
        return step()
    except (MonaiTumorError, OSError, MemoryError) as error:
        return Failure(printable(str(error) or type(error).__name__, _LONGEST))
    except Exception as error:
        _LOG.exception("%s: a defect", name)
        return Failure(
            printable(f"{type(error).__name__}: {error} (a defect; the log has more)", _LONGEST),
            is_defect=True,
        )
