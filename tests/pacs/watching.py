"""A watcher in a process of its own, that may be killed; its processing waits for a file.

python -m pacs.watching SPOOL TITLE@HOST:PORT GATE
"""

import sys
import threading
import time
from pathlib import Path

from monai_tumor.pacs import WatchOptions, parse_node, watch
from pacs.peers import node, until


class Watching:
    """A watcher in a thread; `process` may be set."""

    def __init__(self, folder: Path, **options):
        self.folder = folder
        self.lines: list[str] = []
        self.calls: list[list[str]] = []
        self.options = WatchOptions(
            **{"listen": node("WATCH"), "quiet_s": 0.3, "retry_s": 0.1} | options
        )
        self.stop = threading.Event()
        self.result = None
        self.then = lambda study, output: []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        self.result = watch(
            self.folder,
            self._process,
            self.options,
            stop=self.stop,
            on_event=lambda event: self.lines.append(str(event)),
        )

    def _process(self, folder, output):
        self.calls.append(sorted(path.stem for path in folder.iterdir()))
        return self.then(folder, output)

    def said(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    def __enter__(self):
        self._thread.start()
        until(lambda: self.lines)
        return self

    def __exit__(self, *error):
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def slow(gate: Path):
    def process(study: Path, output: Path) -> list[Path]:
        (gate.parent / "begun").touch()
        while not gate.exists():
            time.sleep(0.02)
        made = output / "names.dcm"
        made.write_text("\n".join(sorted(path.name for path in study.iterdir())))
        return [made]

    return process


if __name__ == "__main__":
    spool, listen, gate = sys.argv[1:]
    options = WatchOptions(parse_node(listen), quiet_s=1.0)
    watch(Path(spool), slow(Path(gate)), options, on_event=lambda e: print(e, flush=True))
