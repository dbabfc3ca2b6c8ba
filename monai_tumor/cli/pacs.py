"""The command `pacs`, a row of the table in `cli`: its actions echo, find, fetch, send, watch."""

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_tumor.cli.command import Command, pairs
from monai_tumor.errors import InputError

if TYPE_CHECKING:
    from monai_tumor.pacs import Access, Event, Tls

_ADDRESS = "AETITLE@host:port, or https://host/path for DICOMweb"


def _arguments(parser: argparse.ArgumentParser) -> None:
    """The actions, each with arguments of its own."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str) -> argparse.ArgumentParser:
        one = actions.add_parser(name, help=text, description=text)
        # Not to overwrite what stands before the action.
        one.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON"
        )
        return one

    echo = action("echo", "Ask a PACS whether it answers.")
    find = action("find", "Search a PACS for studies, series or instances.")
    fetch = action("fetch", "Bring a study from a PACS into a folder.")
    send = action("send", "Send DICOM files to a PACS.")
    watch = action("watch", "Receive studies, segment each, send SEG and SR; until interrupted.")
    for one in (echo, find, fetch, send):
        one.add_argument("address", metavar="ADDRESS", help=_ADDRESS)
    _find_arguments(find)
    _fetch_arguments(fetch)
    send.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="files, folders, zip")
    _watch_arguments(watch)
    for one in (echo, find, fetch, send, watch):
        _access_arguments(one)


def _find_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--level", choices=["study", "series", "instance"], default="study")
    parser.add_argument(
        "-k",
        "--key",
        action="append",
        default=[],
        metavar="KEYWORD=VALUE",
        help="PatientID=123, StudyDate=20260101-, PatientName=DOE*; may be repeated",
    )
    parser.add_argument("--limit", type=int, default=1000, help="most matches (1000)")


def _fetch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY_UID", help="as `pacs find` prints it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--series", metavar="UID", help="this series alone")
    parser.add_argument(
        "--move",
        metavar="AETITLE@host:port",
        help="by C-MOVE to this address of ours, which the PACS must know (default: C-GET)",
    )


def _watch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "listen", metavar="LISTEN", help="AETITLE@host:port of ours; host 0.0.0.0 for all networks"
    )
    parser.add_argument("--spool", type=Path, required=True, help="folder of the watcher's own")
    parser.add_argument("--to", metavar="ADDRESS", help=f"where results go: {_ADDRESS}")
    parser.add_argument("--bundle", default="brats_ensemble", help="by name (brats_ensemble)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument(
        "--quiet", type=float, default=60.0, help="seconds until a study is complete (60)"
    )
    parser.add_argument(
        "--give-up", type=float, default=3600.0, help="seconds until a broken-off one fails (3600)"
    )
    parser.add_argument(
        "--hang-up-is-end",
        action="store_true",
        help="for senders that never say goodbye: take a hang-up as the end of a study",
    )
    parser.add_argument(
        "--allow", action="append", default=[], metavar="AETITLE", help="who may send (all)"
    )
    parser.add_argument("--max-studies", type=int, default=100, help="that wait (100)")
    parser.add_argument("--max-gib", type=float, default=100.0, help="of the spool (100)")
    parser.add_argument("--keep-days", type=float, default=7.0, help="done and failed ones (7)")
    parser.add_argument(
        "--listen-tls",
        action="store_true",
        help="receive by TLS: --tls-cert, --tls-key; with --tls-ca from known callers alone",
    )


def _access_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("connection")
    group.add_argument("--title", help="our AE title (MONAI_TUMOR; of `watch` the one it has)")
    group.add_argument("--timeout", type=float, default=30.0, help="seconds to wait (30)")
    group.add_argument("--tls", action="store_true", help="TLS, by default with the system's CAs")
    group.add_argument("--tls-ca", type=Path, metavar="PEM", help="TLS by these certificates")
    group.add_argument("--tls-cert", type=Path, metavar="PEM", help="our certificate")
    group.add_argument("--tls-key", type=Path, metavar="PEM", help="its key")
    group.add_argument("--user", help="of DICOMweb")
    group.add_argument("--password-file", type=Path, metavar="FILE", help="its first line counts")


def _run(options: argparse.Namespace) -> Any:
    """The result of an action."""
    return {"echo": _echo, "find": _find, "fetch": _fetch, "send": _send, "watch": _watch}[
        options.action
    ](options)


def _left_out(result: Any) -> bool:
    """Whether a result means that something was left out, or failed."""
    from monai_tumor.pacs import Fetched, Found, Sent, Watched

    match result:
        case Found():
            return result.cut
        case Sent():
            return not result.complete
        case Fetched() | Watched():
            return result.failed > 0
    return False


def _echo(options: argparse.Namespace) -> Any:
    from monai_tumor.pacs import echo

    return echo(options.address, _access(options))


def _find(options: argparse.Namespace) -> Any:
    from monai_tumor.pacs import Level, Query, find

    form = "KEYWORD=VALUE, such as PatientID=123"
    match = pairs(options.key, "-k", form, may_be_empty=True)
    query = Query(match, Level(options.level), options.limit)
    return find(options.address, query, _access(options))


def _fetch(options: argparse.Namespace) -> Any:
    from monai_tumor.pacs import fetch, parse_node

    receiver = parse_node(options.move) if options.move else None
    access = _access(options, title=receiver.title if receiver else None)
    return fetch(
        options.address,
        options.study,
        options.output,
        access,
        series=options.series,
        receiver=receiver,
    )


def _send(options: argparse.Namespace) -> Any:
    from monai_tumor.pacs import send

    return send(options.address, options.inputs, _access(options))


def _watch(options: argparse.Namespace) -> Any:
    from monai_tumor.pacs import Room, WatchOptions, parse_address, parse_node
    from monai_tumor.services.watch import watch_and_segment

    listen = parse_node(options.listen)
    chosen = WatchOptions(
        listen=listen,
        destination=parse_address(options.to) if options.to else None,
        access=_access(options, title=listen.title),
        tls=_tls_files(options) if options.listen_tls else None,
        callers=tuple(options.allow),
        quiet_s=options.quiet,
        give_up_s=options.give_up,
        hang_up_is_end=options.hang_up_is_end,
        room=Room(
            studies=options.max_studies,
            spool_bytes=round(options.max_gib * 2**30),
            keep_s=options.keep_days * 86_400,
        ),
    )
    with _terminated_as_interrupted():
        return watch_and_segment(
            options.spool, chosen, on_event=_log, bundle=options.bundle, device=options.device
        )


def _log(event: "Event") -> None:
    with suppress(OSError):  # a log on a full disk must not end the watcher
        print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {event}", file=sys.stderr, flush=True)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let a service manager's SIGTERM end the body as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def _access(options: argparse.Namespace, title: str | None = None) -> "Access":
    from monai_tumor.pacs import Access

    named = options.tls_ca is not None or options.tls_cert is not None
    # With --listen-tls the files are for receiving; --tls says that results go by TLS too.
    wanted = options.tls or (named and not getattr(options, "listen_tls", False))
    return Access(
        title=options.title or title or Access.title,
        tls=_tls_files(options) if wanted else None,
        timeout=options.timeout,
        user=options.user,
        password=_password(options),
    )


def _tls_files(options: argparse.Namespace) -> "Tls":
    from monai_tumor.pacs import Tls

    return Tls(options.tls_ca, options.tls_cert, options.tls_key)


def _password(options: argparse.Namespace) -> str | None:
    if options.password_file is None:
        return None
    try:
        lines: list[str] = options.password_file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {options.password_file}: {error}.") from error
    if not lines or options.user is None:
        raise InputError("--password-file needs --user, and a password in its first line.")
    return lines[0]


COMMANDS = {
    "pacs": Command(
        "Talk to a PACS by DICOM or DICOMweb: echo, find, fetch, send, watch.",
        _arguments,
        _run,
        left_out=_left_out,
    ),
}
