"""Classify pictures and DICOM slices; what cannot be read is said and the rest goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor.data.slices import slices_to_classify
from monai_tumor.errors import DicomError, ImageError
from monai_tumor.files import safe_name, write_atomically, write_json
from monai_tumor.inference.classifier import Classifier, ClassResult
from monai_tumor.provenance import INTENDED_USE


@dataclass(frozen=True)
class ClassificationRun:
    """What came of a run.

    Attributes:
        results: one a slice.
        errors: file -> why it has no result.
        folder: of the explanations; None where none were asked for.
    """

    results: tuple[ClassResult, ...]
    errors: dict[str, str]
    folder: Path | None

    @property
    def complete(self) -> bool:
        """Whether every file was read, and none refused by the gate."""
        return not self.errors and all(result.label is not None for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "results": [result.as_dict() for result in self.results],
            "errors": dict(self.errors),
            "explanations": self.folder and str(self.folder),
        }

    def __str__(self) -> str:
        """A line a slice, then what could not be read."""
        lines = [str(result) for result in self.results]
        for result in self.results:
            if result.explanation is not None and not result.explanation.depends_on_weights:
                lines.append(f"{result.image.name}: {result.explanation}")
        lines += [f"{name}: error: {reason}" for name, reason in self.errors.items()]
        if self.results:
            for file in self.results[0].provenance["weights"]:
                lines.append(f"test scores of {file['file']}: {file['split']}")
        if self.folder is not None:
            lines.append(f"explanations: {self.folder}")
        return "\n".join([*lines, INTENDED_USE])


def classify_all(
    inputs: Sequence[Path],
    *,
    folder: Path | None = None,
    method: str = "gradcam",
    on_slice: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> ClassificationRun:
    """Classify every slice found.

    Args:
        inputs: pictures, DICOM files, folders of them, slice datalists.
        folder: gets `<name>.png` and `<name>.json` that say where the network looked; None does
            not explain.
        method: "gradcam", "gradcam++" or "occlusion".
        on_slice: called with a file's name, how many are done and how many there are.
        options: of `Classifier`.

    Raises:
        InputError: nothing to classify.
        BundleError: the bundle, its weights or a device cannot be used.
    """
    items = slices_to_classify(list(inputs))
    classifier = Classifier(**options)
    results: list[ClassResult] = []
    errors: dict[str, str] = {}
    for number, item in enumerate(items, 1):
        try:
            result = classifier(item, method=None if folder is None else method)
        except (ImageError, DicomError) as error:
            errors[str(item["image"])] = str(error)
        else:
            if folder is not None:
                _write(folder, number, result)
            results.append(result)
        if on_slice is not None:
            on_slice(Path(item["image"]).name, number, len(items))
    return ClassificationRun(tuple(results), errors, folder)


def _write(folder: Path, number: int, result: ClassResult) -> None:
    """The picture and what it says; numbered, since names repeat between folders."""
    start = folder / f"{number:04d}_{safe_name(result.image.stem)}"
    picture = result.picture
    assert picture is not None
    write_atomically(start.with_suffix(".png"), lambda temporary: picture.save(temporary))
    write_json(start.with_suffix(".json"), result.as_dict())
