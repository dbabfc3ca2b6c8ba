"""Segment one study or a folder of thousands; what fails is said and the rest goes on."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor.data.checks import check_study
from monai_tumor.data.datalist import Datalist
from monai_tumor.data.problems import Problem
from monai_tumor.data.studies import find_studies
from monai_tumor.data.study import Study, study_from_files
from monai_tumor.errors import InputError, MonaiTumorError
from monai_tumor.files import safe_name, write_json
from monai_tumor.inference.segmenter import Segmenter

_LOG = logging.getLogger(__name__)
OnStudy = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SegmentationRun:
    """What came of a run.

    Attributes:
        output: where the results lie.
        done: study -> label map that was written.
        kept: studies that an earlier run had finished (`resume`).
        errors: study -> one line that says why it has no result.
    """

    output: Path
    done: Mapping[str, Path]
    kept: tuple[str, ...]
    errors: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether every study has a result."""
        return not self.errors

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "output": str(self.output),
            "done": {study: str(path) for study, path in self.done.items()},
            "kept": list(self.kept),
            "errors": dict(self.errors),
        }

    def __str__(self) -> str:
        """One line a result or error, then the sum."""
        lines = [f"{study}: {path}" for study, path in self.done.items()]
        lines += [f"{study}: error: {reason}" for study, reason in self.errors.items()]
        kept = f", {len(self.kept)} were there already" if self.kept else ""
        left = f", {len(self.errors)} failed (errors.json)" if self.errors else ""
        return "\n".join([*lines, f"{len(self.done)} segmented{kept}{left}: {self.output}"])


@dataclass(frozen=True)
class _Task:
    """A study to segment, what its files are called, and a digest of what was asked for."""

    study: Study
    name: str
    item: Mapping[str, Any]
    request: str


def segment_all(
    inputs: Sequence[Path],
    output: Path,
    *,
    roles: Mapping[str, Path] | None = None,
    modalities: str | None = None,
    bundle: str | Path = "brats_ensemble",
    probabilities: bool = False,
    resume: bool = False,
    on_study: OnStudy | None = None,
    **options: Any,
) -> SegmentationRun:
    """Segment every study found; while one is in the network, the next is read, the last written.

    Writes `<study>_seg.nii.gz` and a JSON for each, and `errors.json` where some failed. At most
    three studies are in memory, however many there are. Studies of the same name get names of their
    own, numbered in the order found.

    Args:
        inputs: study folders, trees of them, 4D files, datalists.
        output: made if need be; nothing is written elsewhere.
        roles: or four files, "t1n", "t1c", "t2w" and "t2f".
        modalities: channel order of 4D files that lie beside no dataset.json.
        bundle: whose network.
        probabilities: write `<study>_prob.nii.gz` too.
        resume: leave alone what an earlier run with the same options and files has finished.
        on_study: called with a study's name, how many are done and how many there are.
        options: of `Segmenter`.

    Raises:
        InputError: nothing to segment, or the output lies among the inputs.
        BundleError: the bundle, its weights or a device cannot be used.
    """
    studies, errors = _studies(inputs, roles, modalities)
    output = Path(output).absolute()
    _require_apart(output, studies)
    segmenter = Segmenter(bundle, **options)
    tasks = _tasks(studies, {**segmenter.provenance, "probabilities": probabilities})
    kept = [task for task in tasks if resume and _is_done(task, output)]
    waiting = [task for task in tasks if task not in kept]
    done: dict[str, Path] = {}
    total, seen = len(tasks), len(kept)
    for task, result in _pipeline(segmenter, waiting, output, probabilities):
        seen += 1
        if isinstance(result, Path):
            done[task.name] = result
        else:
            errors[task.name] = result
            _LOG.warning("%s: %s", task.name, result)
        if on_study is not None:
            on_study(task.name, seen, total)
    _write_errors(output, errors)
    return SegmentationRun(output, done, tuple(task.name for task in kept), errors)


def _studies(
    inputs: Sequence[Path], roles: Mapping[str, Path] | None, modalities: str | None
) -> tuple[list[Study], dict[str, str]]:
    """The studies that can be used, and study -> why another cannot."""
    if bool(inputs) == bool(roles):
        raise InputError(
            "Give either folders, datalists or 4D files, or all of t1n, t1c, t2w, t2f."
        )
    found: list[Study] = [study_from_files(**dict(roles))] if roles else []
    problems: list[Problem] = []
    for source in inputs:
        path = Path(source)
        if path.suffix == ".json" and path.name != "dataset.json":
            listed = Datalist.load(path)
            found += listed.test or listed.validation or listed.training
        else:
            inventory = find_studies(path, modalities=modalities)
            found += inventory.studies
            problems += [p for p in inventory.problems if p.kind not in ("scheme", "same-image")]
    errors: dict[str, str] = {}
    for problem in problems:
        if not problem.is_note:
            errors.setdefault(problem.study or str(problem.file), str(problem))
    usable = [study for study in found if study.study not in errors]
    if not usable and not errors:
        raise InputError(
            f"No study in {', '.join(map(str, inputs))}; look with monai-tumor inspect."
        )
    return usable, errors


def _require_apart(output: Path, studies: Sequence[Study]) -> None:
    for study in studies:
        if study.images[0].absolute().parent == output:
            raise InputError(
                f"Results would go to {output}, beside the input {study.images[0].name}; "
                "choose another folder with -o."
            )


def _tasks(studies: Sequence[Study], request: Mapping[str, Any]) -> list[_Task]:
    """One a study, each with a name of its own."""
    tasks: list[_Task] = []
    used: set[str] = set()
    for study in studies:
        stem = name = safe_name(study.study)
        number = 1
        while name.lower() in used:  # a file system may not tell upper from lower case
            number += 1
            name = f"{stem}_{number}"
        used.add(name.lower())
        files = [str(path.absolute()) for path in study.images]
        item = study.as_item() | {"image": files if len(files) > 1 else files[0]}
        item.pop("label", None)
        stamps = {path: _stamp(Path(path)) for path in files}
        asked = json.dumps([request, stamps], sort_keys=True, default=str)
        digest = hashlib.sha256(asked.encode()).hexdigest()
        tasks.append(_Task(study, name, item, digest))
    return tasks


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


def _pipeline(
    segmenter: Segmenter, tasks: Sequence[_Task], output: Path, probabilities: bool
) -> Iterator[tuple[_Task, Path | str]]:
    """Each task with its label map, or with the line that says why there is none."""

    def read(task: _Task) -> Any:
        problems = [p for p in check_study(task.study, voxels=False) if not p.is_note]
        if problems:
            raise InputError(str(problems[0]))
        return segmenter.prepare(task.item)

    def write(task: _Task, predicted: Any) -> Path:
        result = segmenter.finish(predicted, probabilities=probabilities)
        return result.save(output, task.name, request=task.request)

    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        reading = [reader.submit(read, task) for task in tasks[:1]]
        writing: list[tuple[_Task, Future[Path]]] = []
        for number, task in enumerate(tasks):
            prepared = _outcome(reading.pop(0))
            reading += [
                reader.submit(read, following) for following in tasks[number + 1 : number + 2]
            ]
            if isinstance(prepared, str):
                yield task, prepared
                continue
            predicted = segmenter.predict(prepared)
            if writing:
                earlier, future = writing.pop()
                yield earlier, _outcome(future)
            writing.append((task, writer.submit(write, task, predicted)))
        for earlier, future in writing:
            yield earlier, _outcome(future)


def _outcome(future: Future[Any]) -> Any:
    """Its result; the message, in one line, of an error that concerns this study alone."""
    try:
        return future.result()
    except (MonaiTumorError, OSError) as error:
        return " ".join(str(error).split())


def _write_errors(output: Path, errors: Mapping[str, str]) -> None:
    path = output / "errors.json"
    if errors:
        write_json(path, dict(errors))
    else:
        path.unlink(missing_ok=True)
