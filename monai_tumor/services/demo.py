"""From nothing to a segmented and scored brain tumour, with data that is made on the spot."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.errors import BundleError
from monai_tumor.paths import bundle_dir
from monai_tumor.report.pictures import save_overlay
from monai_tumor.services.evaluate import Evaluation, evaluate

BUNDLE = "brats_ensemble"
_SCHEME = "brats2023"
_SEED = 2  # the shipped weights were trained on phantoms of other seeds


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Attributes:
        folder: everything lies below it.
        study: the phantom.
        label_map: its segmentation.
        picture: that, over the image, beside the truth.
        evaluation: its scores.
        command: the bundle command that was run, ready to paste.
    """

    folder: Path
    study: Path
    label_map: Path
    picture: Path
    evaluation: Evaluation
    command: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "folder": str(self.folder),
            "study": str(self.study),
            "label_map": str(self.label_map),
            "picture": str(self.picture),
            "evaluation": self.evaluation.as_dict(),
            "command": self.command,
        }

    def __str__(self) -> str:
        """Scores, where to look, what to try next."""
        return "\n".join(
            [
                "",
                "One phantom study, of a tumour that the network never saw:",
                "",
                str(self.evaluation),
                "",
                f"picture      {self.picture}",
                f"label map    {self.label_map}",
                f"study        {self.study}",
                "",
                "Phantoms are easier than patients: these figures say that all works, no more.",
                "",
                "Next: look at your own studies, then segment them.",
                "  monai-tumor inspect FOLDER",
                "  monai-tumor segment FOLDER -o results",
            ]
        )


def demo(folder: Path | str, *, on_step: Callable[[str], None] | None = None) -> Demo:
    """Make a phantom study, segment it with the weights that are shipped, score and draw it.

    The segmentation is a plain `python -m monai.bundle` command in a process of its own; its output
    goes to this one's.

    Args:
        folder: made if need be; gets `data/`, `predictions/` and `overlay.png`.
        on_step: called with a line that says what comes next.

    Raises:
        BundleError: the segmentation failed; it has said why.
        DependencyError: the anatomy of the phantoms is not installed.
    """
    folder = Path(folder).resolve()
    say = on_step or _say_nothing
    say(f"Making a phantom study in {folder / 'data'}")
    make = partial(make_phantom, size="brats")
    study = write_phantoms(folder / "data", count=1, layout=_SCHEME, seed=_SEED, make=make)[0]

    predictions = folder / "predictions"
    inference = bundle_dir(BUNDLE) / "configs" / "inference.yaml"
    command = ["python", "-m", "monai.bundle", "run", "--config_file", str(inference)]
    command += ["--input", str(study), "--output_dir", str(predictions)]
    say(f"Segmenting:\n  {shlex.join(command)}")
    if subprocess.run([sys.executable, "-W", "ignore", *command[1:]]).returncode:
        raise BundleError("The segmentation failed; what went wrong stands above.")

    label_map = predictions / f"{study.name}_seg.nii.gz"
    picture = _picture(study, label_map, folder / "overlay.png")
    truth = study / f"{study.name}-seg.nii.gz"
    say(f"Scoring {label_map.name}")
    scores = evaluate(label_map, truth, scheme=_SCHEME, output=predictions)
    return Demo(folder, study, label_map, picture, scores, shlex.join(command))


def _say_nothing(line: str) -> None:
    """For a caller who does not listen."""


def _picture(case: Path, label_map: Path, path: Path) -> Path:
    image = nib.load(case / f"{case.name}-t1c.nii.gz")
    labels, truth = (
        np.asarray(nib.load(file).dataobj) for file in (label_map, case / f"{case.name}-seg.nii.gz")
    )
    return save_overlay(
        path,
        np.asarray(image.dataobj),
        labels,
        affine=image.affine,
        scheme=_SCHEME,
        truth=truth,
        title=f"Phantom {case.name}, T1c",
    )
