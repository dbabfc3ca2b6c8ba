"""From nothing to a segmented brain tumour, with data that is made on the spot."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from monai_tumor.data.phantom import make_phantom, write_phantoms
from monai_tumor.errors import TrainingError
from monai_tumor.paths import bundle_dir, config
from monai_tumor.report.pictures import save_overlay
from monai_tumor.services.evaluate import Evaluation, evaluate

BUNDLE = "brats_segresnet"
_STUDIES = 9  # one of them is not trained on
_SCHEME = "brats2023"
_SPACING_MM = 2.5


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Attributes:
        folder: everything lies below it.
        label_map: the segmentation of the unseen study.
        picture: it, over the image, beside the truth.
        evaluation: its scores.
        commands: the bundle commands that were run, ready to paste.
    """

    folder: Path
    label_map: Path
    picture: Path
    evaluation: Evaluation
    commands: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "folder": str(self.folder),
            "label_map": str(self.label_map),
            "picture": str(self.picture),
            "evaluation": self.evaluation.as_dict(),
            "commands": list(self.commands),
        }

    def __str__(self) -> str:
        """Scores, where to look, what to try next."""
        return "\n".join(
            [
                "",
                f"One phantom study that the network never saw, {_SPACING_MM:g} mm voxels:",
                "",
                str(self.evaluation),
                "",
                f"picture      {self.picture}",
                f"label map    {self.label_map}",
                f"curves       tensorboard --logdir {self.folder / 'runs'}",
                "",
                "Phantoms are easier than patients: these figures say that all works, no more.",
                "",
                "Next: look at your own studies, then train on them.",
                "  monai-tumor inspect FOLDER",
                "  python -m monai.bundle run training \\",
                f"    --config_file {bundle_dir(BUNDLE) / 'configs' / 'train.yaml'} \\",
                "    --dataset_dir FOLDER",
            ]
        )


def demo(
    folder: Path | str,
    *,
    on_step: Callable[[str], None] | None = None,
    on_phantom: Callable[[Path, int, int], None] | None = None,
) -> Demo:
    """Make phantom studies, train a SegResNet on them, segment and score one it never saw.

    Training and inference are plain `python -m monai.bundle` commands in processes of their own;
    their output goes to this one's. A demo that was interrupted goes on where it was.

    Args:
        folder: made if need be; gets `data/`, `runs/` and `overlay.png`.
        on_step: called with a line that says what comes next.
        on_phantom: called with the path of each phantom that is there, its number and how many
            there will be, for a progress bar.

    Raises:
        TrainingError: a command failed; it has said why.
        DependencyError: the anatomy of the phantoms is not installed.
    """
    folder = Path(folder).resolve()
    say = on_step or _say_nothing
    training, unseen = folder / "data" / "training", folder / "data" / "unseen"
    say(f"Making {_STUDIES} phantom studies in {folder / 'data'}")
    _phantoms(training, range(1, _STUDIES), 1, on_phantom)
    _phantoms(unseen, range(_STUDIES, _STUDIES + 1), 2, on_phantom)

    run = folder / "runs" / BUNDLE
    configs = bundle_dir(BUNDLE) / "configs"
    train = _command("training", configs / "train.yaml", dataset_dir=training, output_dir=run)
    segment = _command("run", configs / "inference.yaml", input=unseen, run_dir=run)
    for title, command in (("Training", train), ("Segmenting", segment)):
        say(f"{title}:\n  {shlex.join(command)}")
        if subprocess.run([sys.executable, "-W", "ignore", "-m", *command[2:]]).returncode:
            raise TrainingError(f"{title} failed; what went wrong stands above.")

    case = next(path for path in sorted(unseen.iterdir()) if path.is_dir())
    label_map = run / "predictions" / f"{case.name}_seg.nii.gz"
    picture = _picture(case, label_map, folder / "overlay.png")
    truth = case / f"{case.name}-seg.nii.gz"
    say(f"Scoring {label_map.name}")
    scores = evaluate(label_map, truth, scheme=_SCHEME, output=run / "predictions")
    return Demo(folder, label_map, picture, scores, (shlex.join(train), shlex.join(segment)))


def _say_nothing(line: str) -> None:
    """For a caller who does not listen."""


def _phantoms(
    folder: Path,
    numbers: range,
    seed: int,
    on_phantom: Callable[[Path, int, int], None] | None,
) -> None:
    """Those of all phantoms that have these numbers, unless they are there."""

    def make(number: int) -> Any:
        return make_phantom(number, spacing=_SPACING_MM)

    def tell(path: Path) -> None:
        if on_phantom is not None:
            on_phantom(path, next(remaining), _STUDIES)

    remaining, done = iter(numbers), folder / ".complete"
    if done.is_file():
        for _ in numbers:
            tell(folder)
        return
    options: dict[str, Any] = {"layout": _SCHEME, "seed": seed, "make": make}
    write_phantoms(folder, count=len(numbers), on_written=tell, **options)
    done.touch()


def _command(run_id: str, config_file: Path, **options: Path) -> list[str]:
    files = f"['{config_file}','{config('demo')}']"
    command = ["python", "-m", "monai.bundle", "run", run_id, "--config_file", files]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return command


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
