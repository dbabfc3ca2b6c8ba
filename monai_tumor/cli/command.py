"""What a command is, and what several of them share."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_tumor.errors import InputError
from monai_tumor.labels import SCHEMES


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        help: one line.
        add_arguments: adds its arguments to a parser.
        run: from the parsed arguments to a result with `as_dict()` and `__str__`.
        left_out: whether a result means exit code 3; None if it never does.
        failed: whether a result means exit code 1, which goes before; None if it never does.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Any]
    left_out: Callable[[Any], bool] | None = None
    failed: Callable[[Any], bool] | None = None


def path_argument(parser: argparse.ArgumentParser) -> None:
    """PATH, of studies."""
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="study, folder, datalist or 4D file"
    )


def scheme_argument(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """--scheme, of label values."""
    parser.add_argument(
        "--scheme",
        choices=list(SCHEMES),
        required=required,
        help="label scheme" + ("" if required else " (default: the one the layout stands for)"),
    )


def some_path(text: str) -> Path:
    """A path; not the working folder in place of a shell variable that is not set."""
    if not text:
        raise argparse.ArgumentTypeError("a path cannot be empty")
    return Path(text)


def pair(text: str, option: str, form: str) -> tuple[str, str]:
    """Both sides of `KEY=VALUE`."""
    key, _, value = text.partition("=")
    if not key or not value:
        raise InputError(f"{option} takes {form}, found {text!r}.")
    return key, value


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """For a command that takes nothing."""
