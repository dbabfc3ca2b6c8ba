"""A watcher in a process of its own, that may be killed; its processing waits for a file.

python -m pacs.watching SPOOL TITLE@HOST:PORT GATE
"""

import sys
import time
from pathlib import Path

from monai_tumor.pacs import WatchOptions, parse_node, watch


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
