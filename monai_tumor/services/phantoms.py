"""A folder of phantom studies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from monai_tumor.data.phantom import make_phantom, write_phantoms


@dataclass(frozen=True)
class PhantomSet:
    """Phantom studies that were written.

    Attributes:
        folder: where to.
        layout: msd, brats2021, brats2023 or dicom; it says which label scheme holds (dicom: that
            of brats2023).
        paths: what `write_phantoms` wrote.
    """

    folder: Path
    layout: str
    paths: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        paths = [str(path) for path in self.paths]
        return {"folder": str(self.folder), "layout": self.layout, "paths": paths}

    def __str__(self) -> str:
        """How many, and where."""
        return f"{len(self.paths)} phantom studies in {self.folder}, layout {self.layout}"


def phantoms(
    folder: Path,
    *,
    count: int,
    layout: str,
    seed: int = 0,
    on_written: Callable[[Path, int, int], None] | None = None,
    **options: Any,
) -> PhantomSet:
    """What was written: `count` phantom studies.

    Args:
        folder: made if need be.
        count: how many.
        layout: msd, brats2021, brats2023 or dicom.
        seed: same seed, same studies.
        on_written: called with the path, its number and `count`, for a progress bar.
        **options: for `monai_tumor.data.phantom.make_phantom`.

    Raises:
        InputError: options that make no phantom.
        DependencyError: the anatomy is not installed.
    """
    written = 0

    def count_up(path: Path) -> None:
        nonlocal written
        written += 1
        if on_written is not None:
            on_written(path, written, count)

    paths = write_phantoms(
        folder,
        count=count,
        layout=layout,
        seed=seed,
        make=partial(make_phantom, **options),
        on_written=count_up,
    )
    return PhantomSet(folder, layout, tuple(paths))
