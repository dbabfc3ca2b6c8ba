"""The PACS watcher that segments what it receives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from monai_tumor.pacs import Event, Watched, WatchOptions, watch


def watch_and_segment(
    spool: Path,
    options: WatchOptions,
    *,
    on_event: Callable[[Event], None] | None = None,
    **segment_options: Any,
) -> Watched:
    """Receive studies, segment each when it is complete, send SEG and SR; until interrupted.

    Args:
        spool: a folder of the watcher's own.
        options: where to listen, where results go, how much is kept; see `monai_tumor.pacs`.
        on_event: told of what happens, by several threads.
        segment_options: for `monai_tumor.services.segment_dicom.segment_dicom`.

    Raises:
        PacsError: one cannot listen there.
        InputError: the spool cannot be written, or another process has it.
        DependencyError: the extra `pacs` is not installed.
    """
    from monai_tumor.services import segment_dicom  # type: ignore[attr-defined,unused-ignore]

    def process(study: Path, output: Path) -> list[Path]:
        return list(segment_dicom.segment_dicom(study, output, **segment_options).dicom_files)

    return watch(spool, process, options, on_event=on_event)
