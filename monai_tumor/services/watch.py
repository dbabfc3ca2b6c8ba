"""The PACS watcher that segments what it receives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from monai_tumor.errors import StudyError
from monai_tumor.inference import Segmenter
from monai_tumor.pacs import Event, Watched, WatchOptions, watch
from monai_tumor.services.segment import segment_all

Process = Callable[[Path, Path], list[Path]]


def watch_and_segment(
    spool: Path,
    options: WatchOptions,
    *,
    bundle: str | Path = "brats_ensemble",
    on_event: Callable[[Event], None] | None = None,
    **segmenter_options: Any,
) -> Watched:
    """Receive studies, segment each when it is complete, send SEG and SR; until interrupted.

    Args:
        spool: a folder of the watcher's own.
        options: where to listen, where results go, how much is kept; see `monai_tumor.pacs`.
        bundle: whose network.
        on_event: told of what happens, by several threads.
        segmenter_options: of `Segmenter`, which is loaded once.

    Raises:
        PacsError: one cannot listen there.
        InputError: the spool cannot be written, or another process has it.
        DependencyError: the extra `pacs` is not installed.
        BundleError: as `Segmenter`.
    """
    return watch(spool, segmenting(bundle, **segmenter_options), options, on_event=on_event)


def segmenting(bundle: str | Path = "brats_ensemble", **segmenter_options: Any) -> Process:
    """What `watch` calls with a study and an output folder: gives the SEG, SR and key images.

    Args:
        bundle: whose network; it is loaded once.
        segmenter_options: of `Segmenter`.

    Raises:
        BundleError: as `Segmenter`.
    """
    segmenter = Segmenter(bundle, **segmenter_options)

    def process(study: Path, output: Path) -> list[Path]:
        run = segment_all([study], output, bundle=segmenter)
        if run.errors:
            raise StudyError("; ".join(run.errors.values()))
        files = [path for one in run.done.values() for path in one.dicom_files]
        if not files:
            reasons = [why for one in run.done.values() for why in one.not_written.values()]
            raise StudyError(f"No DICOM was written: {'; '.join(reasons)}")
        return files

    return process
