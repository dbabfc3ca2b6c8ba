"""Segment one study or a folder of thousands; what fails is said and the rest goes on."""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_tumor.data.study import Study
from monai_tumor.dicom import DicomStudy
from monai_tumor.errors import InputError, MonaiTumorError, SchemeError
from monai_tumor.files import printable, write_json
from monai_tumor.labels import modality
from monai_tumor.locks import locked
from monai_tumor.services.four_images import four_images
from monai_tumor.services.opening import Preparation, open_study, require_usable
from monai_tumor.services.pipeline import Outputs, Pipeline, Task
from monai_tumor.services.places import Place, emptied
from monai_tumor.services.segmentation_run import SegmentationPlan, SegmentationRun, Written
from monai_tumor.services.sources import Found, find_sources

if TYPE_CHECKING:
    from monai_tumor.inference import SegmentationResult, Segmenter

__all__ = ["Outputs", "plan", "segment", "segment_all"]

_LOG = logging.getLogger(__name__)
_SCRATCH = ".tmp-segment"  # in the output: all is made there, and moved when whole
OnStudy = Callable[[str, int, int], None]


def segment(
    study: Path | str | Mapping[str, Path | str],
    *,
    bundle: str | Path = "brats_ensemble",
    modalities: str | None = None,
    probabilities: bool = False,
    preparation: Preparation | None = None,
    **options: Any,
) -> "SegmentationResult":
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
    sources = find_sources(inputs, roles, modalities=modalities)
    names = [*(found.name for found in sources.found), *sources.errors]
    if len(names) != 1:
        raise InputError(
            f"{study} holds {len(names)} studies ({', '.join(names[:3])}, ...); give one, or "
            "use monai_tumor.services.segment.segment_all for many."
        )
    if sources.errors:
        raise InputError(sources.errors[names[0]])
    with tempfile.TemporaryDirectory() as scratch:
        source = four_images(sources.found[0], Path(scratch))
        opened = open_study(source, Path(scratch) / "study", preparation or Preparation())
        return _segmenter(bundle, options)(opened.item, probabilities=probabilities)


def plan(
    inputs: Sequence[Path],
    *,
    roles: Mapping[str, Path] | None = None,
    modalities: str | None = None,
    section: str | None = None,
    series: Mapping[str, str] | None = None,
    preparation: Preparation | None = None,
) -> SegmentationPlan:
    """What `segment_all` would segment; arguments as there. Nothing is kept on disk.

    Raises:
        InputError: nothing to segment.
    """
    _require_known(series or {})
    sources = find_sources(inputs, roles, modalities=modalities, section=section)
    usable, errors = [], dict(sources.errors)
    for found in sources.found:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                source = four_images(found, Path(scratch), series)
                require_usable(source.study)
            except InputError as error:
                errors[found.name] = printable(error, 2000)
            else:
                usable.append(source)
    return SegmentationPlan(tuple(usable), preparation or Preparation(), errors)


def segment_all(
    inputs: Sequence[Path],
    output: Path,
    *,
    roles: Mapping[str, Path] | None = None,
    modalities: str | None = None,
    section: str | None = None,
    series: Mapping[str, str] | None = None,
    bundle: "str | Path | Segmenter" = "brats_ensemble",
    preparation: Preparation | None = None,
    outputs: Outputs | None = None,
    resume: bool = False,
    on_study: OnStudy | None = None,
    **options: Any,
) -> SegmentationRun:
    """Segment every study found; while one is in the network, the next is read, the last written.

    Writes `<study>_seg.nii.gz` and a JSON for each; in a folder `<study>` its report, DICOM
    objects and what became of its images; and `errors.json` where some failed in this run. At most
    three studies are in memory, however many there are. Studies of one name are told apart by the
    folders that they lie in.

    A study's files take the place of its earlier ones together, once all are whole, and of nothing
    else; where the study fails, the earlier ones stay and its error says so.

    Args:
        inputs: study folders, trees of them, 4D files, datalists; DICOM folders and archives.
        output: made if need be; nothing is written elsewhere. One run at a time.
        roles: or four files, "t1n", "t1c", "t2w" and "t2f".
        modalities: channel order of 4D files that lie beside no dataset.json.
        section: of datalists; see `find_sources`.
        series: modality -> UID or converted name of the DICOM series to take for it.
        bundle: whose network; or a `Segmenter` that is loaded already.
        preparation: what may be done to images on several grids, or with the skull on.
        outputs: what to write.
        resume: leave alone what an earlier run with the same options and files has finished, with
            all that is asked for.
        on_study: called with a study's name, how many are done and how many there are.
        options: of `Segmenter`, where one is to be loaded.

    Raises:
        InputError: nothing to segment, the output lies among the inputs or cannot be written, or
            another run is at work there.
        MonaiTumorError: why the first input cannot be read, where none can.
        BundleError: the bundle, its weights or a device cannot be used.
    """
    preparation, outputs = preparation or Preparation(), outputs or Outputs()
    output = Path(output).absolute()
    _require_known(series or {})
    sources = find_sources(inputs, roles, modalities=modalities, section=section)
    _require_apart(output, sources.found)
    request = {"preparation": preparation.request(), "outputs": asdict(outputs)}
    done: dict[str, Written] = {}
    defects: list[str] = []
    with locked(output, "segments into"):
        scratch = emptied(output / _SCRATCH)
        pipeline = Pipeline(output, scratch, preparation, outputs, series or {})
        try:
            with ThreadPoolExecutor(1) as reader:  # while PyTorch is imported, which takes as long
                ahead = [] if resume else sources.found[:1]
                opened = {found.name: reader.submit(pipeline.open, found) for found in ahead}
                segmenter = _segmenter(bundle, options)
            request |= {"segmenter": segmenter.provenance, "series": dict(series or {})}
            tasks = [Task(found, _digest(found, request)) for found in sources.found]
            kept = {t.name for t in tasks if resume and Place(output, t.name).holds(t.request)}
            waiting = [task for task in tasks if task.name not in kept]
            errors = _Errors(output, sources.errors)
            results = pipeline.run(segmenter, waiting, opened)
            for number, (task, result) in enumerate(results, start=len(kept) + 1):
                if isinstance(result, Written):
                    done[task.name] = result
                else:
                    errors.add(task.name, result.message)
                    defects += [task.name] if result.is_defect else []
                if on_study is not None:
                    on_study(task.name, number, len(tasks))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    names = tuple(task.name for task in tasks if task.name in kept)
    return SegmentationRun(output, done, names, errors.lines, tuple(defects))


def _segmenter(bundle: "str | Path | Segmenter", options: Mapping[str, Any]) -> "Segmenter":
    """Its import is PyTorch's, so it stands where something else can be done meanwhile."""
    from monai_tumor.inference import Segmenter

    return bundle if isinstance(bundle, Segmenter) else Segmenter(bundle, **options)


class _Errors:
    """`errors.json`: why studies of this run have no result, as far as it has come."""

    def __init__(self, output: Path, first: Mapping[str, str]) -> None:
        self._output = output
        self.lines: dict[str, str] = {}
        path = output / "errors.json"
        if path.is_file() and not _is_errors(path):
            raise InputError(
                f"{path} is there and is not of an earlier run; choose another output folder, or "
                "move it away."
            )
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"Cannot replace {output / 'errors.json'}: {error.strerror}. Choose another place."
            ) from error
        for name, message in first.items():
            self.add(name, message)

    def add(self, name: str, message: str) -> None:
        """A study that failed; an earlier result of it that stays is named."""
        if Place(self._output, name).is_whole:
            message = f"{message} [its earlier result was left as it is]"
        self.lines[name] = message
        _LOG.warning("%s: %s", name, message)
        try:
            write_json(self._output / "errors.json", self.lines)
        except MonaiTumorError as error:  # a full disk, say, of which this is no news
            _LOG.warning("%s", error)


def _is_errors(path: Path) -> bool:
    """Whether a file says of studies why they failed, as an earlier run leaves it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and all(isinstance(why, str) for why in content.values())


def _require_known(series: Mapping[str, str]) -> None:
    """Refuse, before anything is read, roles that no series can have.

    Raises:
        InputError: a role is unknown, or one is named twice.
    """
    try:
        roles = [modality(role) for role in series]
    except SchemeError as error:
        raise InputError(f"A series was named for no role: {error}") from error
    if len(set(roles)) < len(roles):
        raise InputError(f"Two series were named for one role ({', '.join(series)}); name one.")


def _require_apart(output: Path, sources: Sequence[Found]) -> None:
    """Refuse to write beside an image, or among DICOM files."""
    here = output.resolve()
    for found in sources:
        if isinstance(found.study, Study):
            image = found.study.images[0].resolve()
            if image.parent in (here, here / found.name):
                raise InputError(
                    f"Results would go to {output}, beside the input {image.name}; "
                    "choose another folder with -o."
                )
        elif (here / found.name).is_relative_to(found.given.resolve()):
            raise InputError(
                f"Results would go to {output}, among the DICOM files of {found.given}; "
                "choose another folder with -o."
            )


def _digest(found: Found, request: Mapping[str, Any]) -> str:
    """Of what was asked for and of the files as they are now."""
    study = found.study
    if isinstance(study, DicomStudy):
        about = [study.uid, *(f"{path}: {names}" for path, names in study.packed.items())]
        files = [*study.files, *study.packed]
    else:
        about, files = [str(name) for name in study.modalities], list(study.images)
    stamps = {str(path.absolute()): _stamp(path) for path in files}
    asked = json.dumps([request, about, stamps], sort_keys=True, default=str)
    return hashlib.sha256(asked.encode(errors="surrogateescape")).hexdigest()


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []  # reading it will say what is wrong
    return [status.st_size, status.st_mtime_ns]
