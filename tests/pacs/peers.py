"""An archive to talk to, callers that misbehave, and small studies to send."""

import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom.generator import Grid, classic, save_all
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt
from pynetdicom import sop_class as sop

from monai_tumor.dicom.files import quiet
from monai_tumor.pacs import Node

SMALL = {"shape": (4, 5), "count": 3}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def node(title: str = "ARCHIVE") -> Node:
    return Node(title, "127.0.0.1", free_port())


def study(folder: Path, series: int = 1, **tags) -> tuple[str, list[Path]]:
    """The UID of a study of tiny MR slices, and its files."""
    grids = [Grid(**SMALL) for _ in range(series)]
    for grid in grids[1:]:
        grid.study = grids[0].study
    with quiet():
        for number, grid in enumerate(grids):
            save_all(classic(grid, **tags), folder / f"series{number}")
    return grids[0].study, sorted(path for path in folder.rglob("*") if path.is_file())


def until(holds: Callable[[], object], seconds: float = 15) -> None:
    """Wait for something that another thread or process brings about."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


class Archive:
    """A PACS in memory: C-ECHO, C-STORE, C-FIND, C-GET, C-MOVE."""

    def __init__(self, where: Node, tls: ssl.SSLContext | None = None) -> None:
        self.node = where
        self.tls = tls
        self.held: dict[str, Dataset] = {}
        self.bytes: dict[str, bytes] = {}
        self.answer = 0x0000  # to a C-STORE
        self.destinations: dict[str, Node] = {}
        self.hang_up_after: int | None = None
        self.stores = 0

    def store(self, event) -> int:
        self.stores += 1
        if self.hang_up_after == self.stores:
            event.assoc.abort()
            return 0xC000
        if self.answer < 0xA000:
            one = event.dataset
            one.file_meta = event.file_meta
            self.held[one.SOPInstanceUID] = one
            self.bytes[str(one.SOPInstanceUID)] = event.encoded_dataset(include_meta=False)
        return self.answer

    def _matching(self, wanted: Dataset) -> list[Dataset]:
        keys = ("StudyInstanceUID", "SeriesInstanceUID", "PatientID")
        fixed = [k for k in keys if wanted.get(k)]
        return [one for one in self.held.values() if all(one[k] == wanted[k] for k in fixed)]

    def find(self, event) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier
        level = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}.get(
            wanted.QueryRetrieveLevel, "SOPInstanceUID"
        )
        for one in {m[level].value: m for m in self._matching(wanted)}.values():
            if event.is_cancelled:
                yield 0xFE00, None
                return
            answer = Dataset()
            answer.QueryRetrieveLevel = wanted.QueryRetrieveLevel
            for element in wanted:
                if element.keyword in one:
                    answer[element.tag] = one[element.tag]
            yield 0xFF00, answer
        yield 0x0000, None

    def get(self, event) -> Iterator[object]:
        found = self._matching(event.identifier)
        yield len(found)
        for one in found:
            yield 0xFF00, one

    def move(self, event) -> Iterator[object]:
        to = self.destinations.get(event.move_destination)
        if to is None:
            yield None, None
            return
        yield to.host, to.port, {"ae_title": to.title}
        yield from self.get(event)


@contextmanager
def archive(tls: ssl.SSLContext | None = None, without: tuple[str, ...] = ()) -> Iterator[Archive]:
    one = Archive(node(), tls)
    ae = AE(ae_title=one.node.title)
    ae.require_called_aet = True
    for context in AllStoragePresentationContexts[:130]:
        ae.add_supported_context(context.abstract_syntax, scu_role=True, scp_role=True)
    models = {
        "echo": sop.Verification,
        "find": sop.StudyRootQueryRetrieveInformationModelFind,
        "get": sop.StudyRootQueryRetrieveInformationModelGet,
        "move": sop.StudyRootQueryRetrieveInformationModelMove,
    }
    for name, model in models.items():
        if name not in without:
            ae.add_supported_context(model)
    contexts = [c.abstract_syntax for c in AllStoragePresentationContexts[:100]]
    ae.requested_contexts = [build_context(c, ExplicitVRLittleEndian) for c in contexts]
    handlers = [
        (evt.EVT_C_STORE, one.store),
        (evt.EVT_C_FIND, one.find),
        (evt.EVT_C_GET, one.get),
        (evt.EVT_C_MOVE, one.move),
    ]
    server = ae.start_server(
        (one.node.host, one.node.port), block=False, evt_handlers=handlers, ssl_context=tls
    )
    try:
        yield one
    finally:
        server.shutdown()
        ae.shutdown()


@contextmanager
def calling(where: Node, title: str = "MODALITY") -> Iterator[object]:
    """An association that sends MR images and is released at the end."""
    ae = AE(ae_title=title)
    association = ae.associate(
        where.host,
        where.port,
        contexts=[build_context(sop.MRImageStorage, ExplicitVRLittleEndian)],
        ae_title=where.title,
    )
    assert association.is_established
    yield association
    if association.is_established:
        association.release()


def store(association, path: Path) -> int:
    """The status of a C-STORE; -1 where the connection is broken."""
    dataset = dcmread(path)
    try:
        with quiet():
            answer = association.send_c_store(dataset)
    except RuntimeError:  # the peer's end was noticed before it was sent
        return -1
    return answer.Status if "Status" in answer else -1


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for the address 127.0.0.1 that signs itself, and its key."""
    made, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
    named = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(made)]
    subprocess.run([*command, *curve, *named, *files], check=True, capture_output=True)
    return made, key
