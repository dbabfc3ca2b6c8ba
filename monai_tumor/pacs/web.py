"""QIDO, WADO and STOW, by dicomweb-client."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread

from monai_tumor.dicom.files import quiet
from monai_tumor.errors import InputError, MonaiTumorError, PacsError
from monai_tumor.pacs.access import Access, failure, one_line
from monai_tumor.pacs.address import Web
from monai_tumor.pacs.instances import BadInstanceError, put, read_instance
from monai_tumor.pacs.outgoing import read_outgoing
from monai_tumor.pacs.results import (
    Echoed,
    Fetched,
    Found,
    Level,
    Query,
    SentFile,
    Status,
    texts,
)


def echo(web: Web, access: Access) -> Echoed:
    """That `web` answers a search for one study; DICOMweb has no echo."""
    begun = monotonic()
    with _client(web, access) as client:
        client.search_for_studies(limit=1)
    return Echoed(str(web), monotonic() - begun)


def find(web: Web, access: Access, query: Query) -> Found:
    """What `web` holds, by QIDO."""
    match = dict(query.match)
    study, series = match.pop("StudyInstanceUID", None), match.pop("SeriesInstanceUID", None)
    with quiet(), _client(web, access) as client:
        common = {"limit": query.limit + 1, "fields": list(query.keys), "search_filters": match}
        if query.level is Level.STUDY:
            if study:
                match["StudyInstanceUID"] = study
            rows = client.search_for_studies(**common)
        elif query.level is Level.SERIES:
            if series:
                match["SeriesInstanceUID"] = series
            rows = client.search_for_series(study, **common)
        else:
            rows = client.search_for_instances(study, series, **common)
        matches = [texts(Dataset.from_json(row), query.keys) for row in rows]
    cut = len(matches) > query.limit
    return Found(str(web), query.level, tuple(matches[: query.limit]), cut)


def get(web: Web, access: Access, study: str, series: str | None, folder: Path) -> Fetched:
    """A study or series, by WADO; instances come as they are stored, or uncompressed."""
    paths, failed, notes = [], 0, []
    with quiet(), _client(web, access) as client:
        parts = client.iter_series(study, series) if series else client.iter_study(study)
        for part in parts:
            try:
                one = read_instance(_encoded(part))
                if one.study != study:
                    raise BadInstanceError(f"An instance of another study, {one.study}, was sent.")
            except BadInstanceError as error:
                failed += 1
                notes.append(one_line(error))
                continue
            path = folder / one.series / f"{one.uid}.dcm"
            put(one.content, path)
            paths.append(path)
    if not paths:
        reason = "; ".join([f"{failed} failed", *notes]) if failed else "it has none"
        raise failure(f"{web} sent nothing of study {study}: {reason}.")
    return Fetched(
        str(web), study, folder, tuple(sorted(set(paths))), failed, tuple(dict.fromkeys(notes))
    )


def send(
    web: Web, access: Access, files: Sequence[Path], on_sent: Callable[[SentFile], None]
) -> None:
    """Send files by STOW, one in a request, so that each one's fate is known.

    Raises:
        PacsError: the service cannot be reached; what was told to `on_sent` holds.
    """
    with _client(web, access) as client:
        for path in files:
            one = read_outgoing(path)
            on_sent(one if isinstance(one, SentFile) else _store(client, path, one.uid))


def _store(client: Any, path: Path, uid: str) -> SentFile:
    try:
        with quiet():
            instance = dcmread(path)
            answer = client.store_instances([instance])
    except requests.RequestException as error:
        if error.response is None or error.response.status_code in (401, 403, 404, 502, 503, 504):
            raise
        return SentFile(path, uid, Status.FAILED, _said(error))
    except Exception as error:  # pydicom raises nearly any class on a file that it cannot encode
        reason = f"it cannot be encoded ({type(error).__name__}: {one_line(error)})"
        return SentFile(path, uid, Status.FAILED, reason)
    for item in answer.get("FailedSOPSequence", []):
        return SentFile(path, uid, Status.FAILED, f"reason 0x{item.get('FailureReason', 0):04X}")
    for item in answer.get("ReferencedSOPSequence", []):
        warning = item.get("WarningReason")
        if warning:
            return SentFile(path, uid, Status.WARNED, f"reason 0x{warning:04X}")
    return SentFile(path, uid, Status.STORED)


@contextmanager
def _client(web: Web, access: Access) -> Iterator[Any]:
    """A client of `web`; its errors become ours.

    Raises:
        PacsError: it cannot be reached or refuses.
    """
    session = requests.Session()
    session.trust_env = False  # no proxies, certificates or passwords that the user did not name
    if access.tls is not None:
        access.tls.client()  # so that files that cannot be used are named
        session.verify = str(access.tls.ca) if access.tls.ca else True
        if access.tls.certificate is not None:
            own, key = str(access.tls.certificate), access.tls.key
            session.cert = (own, str(key)) if key else own
    if access.user is not None:
        if not web.url.startswith("https:"):
            raise InputError(f"A password over {web} can be read by others; use https.")
        session.auth = (access.user, access.password or "")
    client = DICOMwebClient(url=web.url, session=session, timeout=access.timeout)
    client.set_http_retry_params(retry=False)
    try:
        with session, warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="dicomweb_client")
            yield client
    except requests.RequestException as error:
        if isinstance(error, requests.JSONDecodeError):
            raise _no_dicomweb(web, error) from error
        raise _refused(web, error, access) from error
    except MonaiTumorError:
        raise
    except Exception as error:  # dicomweb-client and pydicom raise nearly any class on odd answers
        raise _no_dicomweb(web, error) from error


def _no_dicomweb(web: Web, error: Exception) -> PacsError:
    said = one_line(error)
    return failure(f"{web} does not answer as DICOMweb does ({said}); check the path.")


def _refused(web: Web, error: requests.RequestException, access: Access) -> PacsError:
    if isinstance(error, requests.exceptions.SSLError):
        advice = f"TLS failed ({_said(error)}). Check --tls-ca and the certificates."
    elif isinstance(error, requests.Timeout):
        advice = f"no answer within {access.timeout:g} s. Try again, or with a longer --timeout."
    elif error.response is None:
        advice = f"{_said(error)}. Check the address, and whether it runs."
    elif error.response.status_code in (401, 403):
        advice = f"{_said(error)}. Give --user and --password-file, or a certificate."
    elif error.response.status_code == 404:
        advice = f"{_said(error)}. Check the path of the address, and the UIDs."
    else:
        advice = f"{_said(error)}."
    return failure(f"{web}: {advice}")


def _said(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP {error.response.status_code} {one_line(error.response.reason or '')}".strip()
    cause: BaseException = error
    while isinstance(cause.args[0] if cause.args else None, BaseException):
        cause = cause.args[0]
    reason = getattr(cause, "reason", None)
    return one_line(reason if isinstance(reason, BaseException) else cause)


def _encoded(instance: Dataset) -> bytes:
    """An instance as the bytes of a DICOM file.

    Raises:
        BadInstanceError: it cannot be written.
    """
    buffer = BytesIO()
    try:
        instance.save_as(buffer, enforce_file_format=True)
    except Exception as error:  # pydicom raises nearly any class
        raise BadInstanceError(f"An instance cannot be encoded ({one_line(error)}).") from error
    return buffer.getvalue()
