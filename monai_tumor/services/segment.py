"""Segment one study or a folder of thousands; what fails is said and the rest goes on."""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor.dicom import Exported
from monai_tumor.errors import DependencyError, DicomError, InputError, MonaiTumorError, StudyError
from monai_tumor.files import write_json
from monai_tumor.inference import SegmentationResult, Segmenter
from monai_tumor.labels import Region
from monai_tumor.report.study_report import write_report
from monai_tumor.services.export import export_mask
from monai_tumor.services.opening import OpenedStudy, Preparation, open_study, require_usable
from monai_tumor.services.segmentation_run import SegmentationPlan, SegmentationRun, Written
from monai_tumor.services.sources import Source, find_sources

_LOG = logging.getLogger(__name__)
_SCRATCH = ".tmp-converted"
OnStudy = Callable[[str, int, int], None]


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


def segment(
    study: Path | str | Mapping[str, Path | str],
    *,
    bundle: str | Path = "brats_ensemble",
    modalities: str | None = None,
    probabilities: bool = False,
    preparation: Preparation | None = None,
    **options: Any,
) -> SegmentationResult:
    """One study, segmented in memory: `segment("BraTS-GLI-00001-000").save("results")`.

    Args:
        study: a folder of a BraTS study or of DICOM series, an archive of these, or one 4D file;
            or four files, `{"t1n": ..., "t1c": ..., "t2w": ..., "t2f": ...}`.
        bundle: whose network.
        modalities: channel order of a 4D file that lies beside no dataset.json.
        probabilities: keep them in the result.
        preparation: what may be done to images on several grids, or with the skull on.
        options: of `Segmenter`, which to make once where there are many studies.

    Raises:
        InputError: not one study, or one that cannot be used.
        StudyError: the study cannot be read or prepared.
        BundleError: as `Segmenter`.
    """
    roles, inputs = None, []
    if isinstance(study, Mapping):
        roles = {role: Path(path) for role, path in study.items()}
    else:
        inputs = [Path(study)]
    with tempfile.TemporaryDirectory() as scratch:
        sources = find_sources(inputs, roles, Path(scratch), modalities=modalities)
        names = [*(source.name for source in sources.found), *sources.errors]
        if len(names) != 1:
            raise InputError(
                f"{study} holds {len(names)} studies ({', '.join(names[:3])}, ...); give one, or "
                "use monai_tumor.services.segment.segment_all for many."
            )
        if sources.errors:
            raise InputError(sources.errors[names[0]])
        opened = open_study(sources.found[0], Path(scratch) / "study", preparation or Preparation())
        return Segmenter(bundle, **options)(opened.item, probabilities=probabilities)


def plan(
    inputs: Sequence[Path],
    *,
    roles: Mapping[str, Path] | None = None,
    modalities: str | None = None,
    series: Mapping[str, str] | None = None,
    preparation: Preparation | None = None,
) -> SegmentationPlan:
    """What `segment_all` would segment; arguments as there. Nothing is kept on disk.

    Raises:
        InputError: nothing to segment.
    """
    preparation = preparation or Preparation()
    with tempfile.TemporaryDirectory() as scratch:
        sources = find_sources(inputs, roles, Path(scratch), modalities=modalities, series=series)
        errors = dict(sources.errors)
        for source in sources.found:
            try:
                require_usable(source.study)
            except StudyError as error:
                errors[source.name] = " ".join(str(error).split())
    usable = tuple(source for source in sources.found if source.name not in errors)
    return SegmentationPlan(usable, preparation, errors)


@dataclass(frozen=True)
class _Task:
    """A study to segment, and a digest of what was asked for."""

    source: Source
    request: str

    @property
    def name(self) -> str:
        return self.source.name


def segment_all(
    inputs: Sequence[Path],
    output: Path,
    *,
    roles: Mapping[str, Path] | None = None,
    modalities: str | None = None,
    series: Mapping[str, str] | None = None,
    bundle: str | Path | Segmenter = "brats_ensemble",
    preparation: Preparation | None = None,
    outputs: Outputs | None = None,
    resume: bool = False,
    on_study: OnStudy | None = None,
    **options: Any,
) -> SegmentationRun:
    """Segment every study found; while one is in the network, the next is read, the last written.

    Writes `<study>_seg.nii.gz` and a JSON for each; in a folder `<study>` its report, DICOM
    objects and what became of its images; and `errors.json` where some failed. At most three
    studies are in memory, however many there are. Studies of the same name get names of their own,
    numbered in the order found.

    Args:
        inputs: study folders, trees of them, 4D files, datalists; DICOM folders and archives.
        output: made if need be; nothing is written elsewhere.
        roles: or four files, "t1n", "t1c", "t2w" and "t2f".
        modalities: channel order of 4D files that lie beside no dataset.json.
        series: modality -> UID or converted name of the DICOM series to take for it.
        bundle: whose network; or a `Segmenter` that is loaded already.
        preparation: what may be done to images on several grids, or with the skull on.
        outputs: what to write.
        resume: leave alone what an earlier run with the same options and files has finished.
        on_study: called with a study's name, how many are done and how many there are.
        options: of `Segmenter`, where one is to be loaded.

    Raises:
        InputError: nothing to segment, or the output lies among the inputs.
        BundleError: the bundle, its weights or a device cannot be used.
    """
    preparation, outputs = preparation or Preparation(), outputs or Outputs()
    output = Path(output).absolute()
    scratch = output / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    try:
        sources = find_sources(inputs, roles, scratch, modalities=modalities, series=series)
        _require_apart(output, sources.found)
        segmenter = bundle if isinstance(bundle, Segmenter) else Segmenter(bundle, **options)
        asked = {**segmenter.provenance, "preparation": preparation, "outputs": outputs}
        tasks = [_Task(source, _digest(source, asked)) for source in sources.found]
        kept = [task for task in tasks if resume and _is_done(task, output)]
        waiting = [task for task in tasks if task not in kept]
        done: dict[str, Written] = {}
        errors, seen = dict(sources.errors), len(kept)
        _write_errors(output, errors)
        for task, result in _Pipeline(segmenter, output, preparation, outputs).run(waiting):
            seen += 1
            if isinstance(result, Written):
                done[task.name] = result
            else:
                errors[task.name] = result
                _write_errors(output, errors)
                _LOG.warning("%s: %s", task.name, result)
            if on_study is not None:
                on_study(task.name, seen, len(tasks))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return SegmentationRun(output, done, tuple(task.name for task in kept), errors)


def _require_apart(output: Path, sources: Sequence[Source]) -> None:
    for source in sources:
        image = source.study.images[0].resolve()
        if source.origin is None and image.parent in (
            output.resolve(),
            output.resolve() / source.name,
        ):
            raise InputError(
                f"Results would go to {output}, beside the input {image.name}; "
                "choose another folder with -o."
            )
        if source.origin is not None and (output.resolve() / source.name).is_relative_to(
            source.origin.path.resolve()
        ):
            raise InputError(
                f"Results would go to {output}, among the DICOM files of {source.origin.path}; "
                "choose another folder with -o."
            )


def _digest(source: Source, request: Mapping[str, Any]) -> str:
    """Of what was asked for and of the files as they are now."""
    if source.origin is None:
        stamps = {str(path.absolute()): _stamp(path) for path in source.study.images}
    else:  # its images were converted just now
        stamps = {
            one.series_uid: [one.path.stat().st_size if one.path else 0]
            for one in source.origin.series.values()
        }
    asked = json.dumps([request, stamps], sort_keys=True, default=str)
    return hashlib.sha256(asked.encode()).hexdigest()


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []  # reading it will say what is wrong
    return [status.st_size, status.st_mtime_ns]


def _is_done(task: _Task, output: Path) -> bool:
    """Whether its JSON, which is written last, says that the same was asked for."""
    beside = output / f"{task.name}_seg.json"
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    whole = (output / f"{task.name}_seg.nii.gz").is_file()  # it was renamed once it was whole
    return whole and isinstance(content, dict) and content.get("request") == task.request


@dataclass(frozen=True)
class _Pipeline:
    """Reading, the network and writing, each in its own thread."""

    segmenter: Segmenter
    output: Path
    preparation: Preparation
    outputs: Outputs

    def run(self, tasks: Sequence[_Task]) -> Iterator[tuple[_Task, Written | str]]:
        """Each task with what was written, or with the line that says why nothing was."""
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            reading = [reader.submit(self._read, task) for task in tasks[:1]]
            writing: list[tuple[_Task, Future[Written]]] = []
            for number, task in enumerate(tasks):
                read = _outcome(reading.pop(0))
                reading += [
                    reader.submit(self._read, following)
                    for following in tasks[number + 1 : number + 2]
                ]
                if isinstance(read, str):
                    yield task, read
                    continue
                opened, prepared = read
                try:
                    predicted = self.segmenter.predict(prepared)
                except MonaiTumorError as error:
                    yield task, _one_line(error)
                    continue
                if writing:
                    earlier, future = writing.pop()
                    yield earlier, _outcome(future)
                writing.append((task, writer.submit(self._write, task, opened, predicted)))
            for earlier, future in writing:
                yield earlier, _outcome(future)

    def _read(self, task: _Task) -> tuple[OpenedStudy, dict[str, Any]]:
        folder = self.output / task.name
        opened = open_study(task.source, folder, self.preparation)
        return opened, self.segmenter.prepare(opened.item)

    def _write(self, task: _Task, opened: OpenedStudy, predicted: Mapping[str, Any]) -> Written:
        """All files of a study; the JSON beside its label map comes last."""
        folder = self.output / task.name
        result = self.segmenter.finish(predicted, probabilities=self.outputs.probabilities)
        more = {} if opened.prepared is None else {"prepared": opened.prepared.as_dict()}
        if self.outputs.report:
            write_report(
                folder,
                result.report,
                images=opened.shown,
                labels=result.label_map,
                affine=result.affine,
            )
        path = result.save(self.output, task.name, **more)
        exported, notes = self._export(path, opened, result)
        record = result.as_dict() | more | {"request": task.request}
        write_json(self.output / f"{task.name}_seg.json", record)
        return Written(
            path,
            result.volumes_ml,
            result.flags,
            folder if self.outputs.report else None,
            exported,
            notes,
        )

    def _export(
        self, path: Path, opened: OpenedStudy, result: SegmentationResult
    ) -> tuple[Exported | None, tuple[str, ...]]:
        origin = opened.source.origin
        if origin is None or not self.outputs.dicom:
            return None, ()
        target = next(s for s in origin.series.values() if s.path == result.reference)
        crosses: dict[Region, tuple[float, float]] = {}
        if result.measures.enhancing:
            largest = result.measures.enhancing[0]
            crosses[Region.ET] = largest.longest_mm, largest.perpendicular_mm
        try:
            exported = export_mask(
                path,
                origin.path,
                self.output / opened.source.name / "dicom",
                diameters=crosses,
                series=target.series_uid,
            )
        except (DicomError, DependencyError) as error:
            return None, (f"no DICOM was written: {' '.join(str(error).split())}",)
        return exported, exported.warnings


def _outcome(future: Future[Any]) -> Any:
    """Its result; the message, in one line, of an error that concerns this study alone."""
    try:
        return future.result()
    except (MonaiTumorError, OSError) as error:
        return _one_line(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _write_errors(output: Path, errors: Mapping[str, str]) -> None:
    path = output / "errors.json"
    if errors:
        write_json(path, dict(errors))
    else:
        path.unlink(missing_ok=True)
