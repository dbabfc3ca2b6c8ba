"""What a command is, and what several of them share."""

import argparse
from collections.abc import Callable, Iterable
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


def pairs(
    given: Iterable[str], option: str, form: str, *, may_be_empty: bool = False
) -> dict[str, str]:
    """Both sides of each `KEY=VALUE` that `option` was given.

    Args:
        given: what stood behind the option, each time.
        option: for messages.
        form: for messages, such as `ROLE=UID`.
        may_be_empty: whether a value may be.

    Raises:
        InputError: one has another form, or two have one key.
    """
    found: dict[str, str] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not key or not sign or not (value or may_be_empty):
            raise InputError(f"{option} takes {form}, found {text!r}.")
        if key in found:
            raise InputError(
                f"{option} was given for {key!r} twice, {found[key]!r} and {value!r}; give one."
            )
        found[key] = value
    return found


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """For a command that takes nothing."""
