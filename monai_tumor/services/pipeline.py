"""Study after study, three at once: one is read, one is in the network, one is written."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_tumor.dicom import Exported
from monai_tumor.errors import DependencyError, DicomError, MonaiTumorError
from monai_tumor.files import printable
from monai_tumor.labels import Region
from monai_tumor.report.study_report import write_report
from monai_tumor.services.export import export_mask
from monai_tumor.services.four_images import four_images
from monai_tumor.services.opening import OpenedStudy, Preparation, open_study
from monai_tumor.services.places import Place
from monai_tumor.services.segmentation_run import Failure, Written
from monai_tumor.services.sources import Found

if TYPE_CHECKING:
    from monai_tumor.inference import SegmentationResult, Segmenter

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
        output: folder of all results.
        scratch: a folder on the same disk; each study has one of its own in it, while it lasts.
        preparation: what may be done to the images.
        outputs: what to write.
        series: modality -> DICOM series to take for it.
    """

    output: Path
    scratch: Path
    preparation: Preparation
    outputs: Outputs
    series: Mapping[str, str]

    def open(self, found: Found) -> OpenedStudy:
        """A study in memory; this needs no network, and may be done before there is one.

        Raises:
            InputError: a report would be written over what is not ours.
            StudyError, DicomError: it cannot be read or prepared.
        """
        report = [f"{found.name}/report.{kind}" for kind in ("html", "json") if self.outputs.report]
        Place(self.output, found.name).require_free(report, found.key)
        source = four_images(found, self.scratch / found.name, self.series)
        return open_study(source, self._made(found.name) / found.name, self.preparation)

    def run(
        self,
        segmenter: "Segmenter",
        tasks: Sequence[Task],
        opened: dict[str, Future[OpenedStudy]],
    ) -> Iterator[tuple[Task, Written | Failure]]:
        """Each task with what was written, or with why nothing was; in the order given.

        Args:
            segmenter: the network.
            tasks: studies.
            opened: those that `open` is at work on already, by name; each is taken out.
        """

        def read(task: Task) -> tuple[OpenedStudy, dict[str, Any]]:
            ahead = opened.pop(task.name, None)
            study = self.open(task.found) if ahead is None else ahead.result()
            return study, segmenter.prepare(study.item)

        def write(task: Task, study: OpenedStudy, predicted: Mapping[str, Any]) -> Written:
            result = segmenter.finish(predicted, probabilities=self.outputs.probabilities)
            return self._write(task, study, result)

        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            reading = [reader.submit(read, task) for task in tasks[:1]]
            writing: list[tuple[Task, Future[Written]]] = []
            for number, task in enumerate(tasks):
                ready = attempt(task.name, reading.pop(0).result)
                reading += [
                    reader.submit(read, following) for following in tasks[number + 1 : number + 2]
                ]
                predicted = ready
                if not isinstance(ready, Failure):
                    study, prepared = ready
                    predicted = attempt(task.name, partial(segmenter.predict, prepared))
                while writing:
                    earlier, future = writing.pop()
                    yield earlier, self._ended(earlier, attempt(earlier.name, future.result))
                if isinstance(predicted, Failure):
                    yield task, self._ended(task, predicted)
                else:
                    writing.append((task, writer.submit(write, task, study, predicted)))
            for earlier, future in writing:
                yield earlier, self._ended(earlier, attempt(earlier.name, future.result))

    def _ended(self, task: Task, result: Any) -> Any:
        shutil.rmtree(self.scratch / task.name, ignore_errors=True)
        return result

    def _made(self, name: str) -> Path:
        """The folder in which the result of a study is made, laid out as the output is."""
        return self.scratch / name / "made"

    def _write(self, task: Task, opened: OpenedStudy, result: "SegmentationResult") -> Written:
        """All files of a study, first where they are made, then in their place."""
        place, made = Place(self.output, task.name), Place(self._made(task.name), task.name)
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


def _export(made: Place, opened: OpenedStudy, result: "SegmentationResult") -> Exported:
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
