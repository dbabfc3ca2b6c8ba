"""Ask a PACS, bring from it, send to it: by the DICOM protocol or DICOMweb, as its address says."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from monai_tumor.errors import InputError, PacsError
from monai_tumor.pacs.access import Access, require_packages
from monai_tumor.pacs.address import Address, Node, Web, parse_address
from monai_tumor.pacs.instances import BadInstanceError, checked_uid
from monai_tumor.pacs.outgoing import outgoing_files
from monai_tumor.pacs.results import Echoed, Fetched, Found, Query, Sent, SentFile

_DEFAULT = Access()


def echo(address: Address | str, access: Access = _DEFAULT) -> Echoed:
    """That a PACS answers: a C-ECHO, or by DICOMweb a search for one study.

    Args:
        address: `AETITLE@host:port` or `https://host/path`.
        access: our title, TLS, timeout, password.

    Raises:
        PacsError: it does not, and why.
        InputError: no such address.
        DependencyError: the extra `pacs` is not installed.
    """
    where = _address(address)
    return _protocol(where).echo(where, access)


def find(address: Address | str, query: Query, access: Access = _DEFAULT) -> Found:
    """What a PACS holds: by C-FIND or QIDO.

    Args:
        address: `AETITLE@host:port` or `https://host/path`.
        query: what to look for.
        access: our title, TLS, timeout, password.

    Raises:
        PacsError: it cannot be reached or refuses.
        InputError: no such address.
        DependencyError: the extra `pacs` is not installed.
    """
    where = _address(address)
    return _protocol(where).find(where, access, query)


def fetch(
    address: Address | str,
    study: str,
    output: Path,
    access: Access = _DEFAULT,
    *,
    series: str | None = None,
    receiver: Node | None = None,
) -> Fetched:
    """A study, or a series of it, brought into a folder: by C-GET, C-MOVE or WADO.

    Files are called `<series UID>/<instance UID>.dcm`; fetched again they are replaced.

    Args:
        address: `AETITLE@host:port` or `https://host/path`.
        study: study instance UID.
        output: folder to write.
        access: our title, TLS, timeout, password.
        series: series instance UID; None for all of the study.
        receiver: bring by C-MOVE, to this address of ours, which the PACS must know by its title.

    Raises:
        PacsError: it cannot be reached, refuses, or has nothing of it.
        InputError: no such address or UID, or the folder cannot be written.
        DependencyError: the extra `pacs` is not installed.
    """
    where = _address(address)
    try:
        checked_uid(study, "study")
        if series is not None:
            checked_uid(series, "series")
    except BadInstanceError as error:
        raise InputError(f"{error} Give one as `pacs find` prints it.") from error
    folder = Path(output)
    if receiver is None:
        return _protocol(where).get(where, access, study, series, folder)
    if isinstance(where, Web):
        raise InputError("C-MOVE is of the DICOM protocol; leave out --move for DICOMweb.")
    return _protocol(where).move(where, access, study, series, folder, receiver)


def send(
    address: Address | str,
    inputs: Iterable[Path | str],
    access: Access = _DEFAULT,
    *,
    on_sent: Callable[[SentFile], None] | None = None,
) -> Sent:
    """What became of each file that was sent: by C-STORE or STOW.

    Sending the same files again is safe: an archive keeps one of each SOP instance UID.

    Args:
        address: `AETITLE@host:port` or `https://host/path`.
        inputs: files, folders, zip archives, DICOMDIR.
        access: our title, TLS, timeout, password.
        on_sent: called with each file's fate as soon as it is known.

    Raises:
        PacsError: it cannot be reached; the message says how many files were stored before.
        InputError: no such address, or no files.
        DependencyError: the extra `pacs` is not installed.
    """
    where = _address(address)
    done: list[SentFile] = []

    def note(one: SentFile) -> None:
        done.append(one)
        if on_sent is not None:
            on_sent(one)

    with outgoing_files(inputs) as files:
        try:
            _protocol(where).send(where, access, files, note)
        except PacsError as error:
            if not done:
                raise
            raise PacsError(
                f"{error} {len(done)} of {len(files)} files were dealt with before; sending all "
                "again is safe."
            ) from error
    return Sent(str(where), tuple(done))


def _address(address: Address | str) -> Address:
    where = parse_address(address) if isinstance(address, str) else address
    require_packages()
    return where


def _protocol(where: Address) -> Any:
    """The module that speaks it."""
    from monai_tumor.pacs import dimse, web

    return web if isinstance(where, Web) else dimse
