"""The command line: a table of commands, each of which calls one function and prints its result.

Exit codes: 0 done; 1 any other failure that has a message, or a defect of ours in one study of
many; 2 wrong usage; 3 done, but something was left out or has problems; 4 input that cannot be
used; 5 a bundle or its weights; 6 training; 7 an optional package is missing; 8 a PACS cannot be
reached or refuses; 130 interrupted.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import Any

from monai_tumor import __version__
from monai_tumor.cli import dicom, pacs, segmenting, slices, studies
from monai_tumor.errors import MonaiTumorError

LEFT_OUT = 3
INTERRUPTED = 130
COMMANDS = {
    **studies.COMMANDS,
    **segmenting.COMMANDS,
    **dicom.COMMANDS,
    **slices.COMMANDS,
    **pacs.COMMANDS,
}
_RESEARCH = "Research use only. Not a medical device; not for diagnosis."
_SUMMARY = "Brain-tumour segmentation as MONAI bundles: inspect, segment, evaluate, compare."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    command = COMMANDS[options.command]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files may be in any encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        result = command.run(options)
        _show(result, options.json)
    except MonaiTumorError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, `head` say, has gone
        sys.stderr.close()
        return 0
    if command.failed is not None and command.failed(result):
        return MonaiTumorError.exit_code
    return LEFT_OUT if command.left_out is not None and command.left_out(result) else 0


def _show(result: Any, as_json: bool) -> None:
    try:
        if as_json:
            print(json.dumps(result.as_dict(), indent=2, ensure_ascii=False))
        else:
            print(result)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk
        with suppress(OSError):
            sys.stdout.close()  # which would be tried again at the end
        raise MonaiTumorError(
            f"The work is done, but its result cannot be printed: {error.strerror}."
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="monai-tumor", description=f"{_SUMMARY} {_RESEARCH}")
    parser.add_argument("--version", action="version", version=f"monai-tumor {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.help, description=command.help)
        command.add_arguments(one)
        one.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser
