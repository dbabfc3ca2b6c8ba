"""Round trips with a real PACS: Orthanc with its DICOMweb plug-in, started here on free ports."""

import json
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import requests
from dicom.masks import in_order, points_in, points_of
from pydicom import dcmread

from monai_tumor.data.phantom import Phantom, make_phantom, write_dicom_phantom
from monai_tumor.dicom import Algorithm, Mask, assign, convert, export
from monai_tumor.dicom.codes import TISSUES
from monai_tumor.dicom.files import quiet
from monai_tumor.errors import PacsError
from monai_tumor.labels import Modality, scheme
from monai_tumor.pacs import Access, Level, Node, Query, Web, echo, fetch, find, send
from monai_tumor.services.watch import segmenting
from pacs.peers import free_port, until
from pacs.watching import Watching

_PROGRAM = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")
_PLUGIN = next(
    (
        path
        for folder in ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins")
        for path in Path(folder).glob("libOrthancDicomWeb.so")
    ),
    None,
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        _PROGRAM is None or _PLUGIN is None, reason="Orthanc absent: Debian orthanc-dicomweb"
    ),
]
ACCESS = Access(timeout=60)


@dataclass(frozen=True)
class Orthanc:
    node: Node
    web: Web
    watcher: Node  # it knows this one as "watcher"
    mover: Node  # and this as "mover"
    rest: str

    def post(self, path: str, **content) -> object:
        answer = requests.post(f"{self.rest}/{path}", json=content, timeout=120)
        answer.raise_for_status()
        return answer.json()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orthanc")
    ports = [free_port() for _ in range(4)]
    nodes = [
        Node(title, "127.0.0.1", port)
        for title, port in zip(("ORTHANC", "WATCH", "MOVER"), ports, strict=False)
    ]
    config = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(_PLUGIN)],
        "DicomAet": "ORTHANC",
        "DicomPort": ports[0],
        "DicomCheckCalledAet": True,
        "HttpPort": ports[3],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {
            "watcher": ["WATCH", "127.0.0.1", ports[1]],
            "mover": ["MOVER", "127.0.0.1", ports[2]],
        },
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    rest = f"http://127.0.0.1:{ports[3]}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(_PROGRAM), str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder
        )
        try:
            until(lambda: process.poll() is not None or _answers(nodes[0]), 120)
            assert process.poll() is None, (folder / "log").read_text()
            yield Orthanc(nodes[0], Web(f"{rest}/dicom-web"), nodes[1], nodes[2], rest)
        finally:
            process.terminate()
            process.wait(60)


def _answers(node: Node) -> bool:
    try:
        return echo(node, Access(timeout=5)).seconds > 0
    except PacsError:
        return False


def phantom(seed: int, folder: Path) -> tuple[Phantom, str]:
    made = make_phantom(seed, size="small", spacing=2.0)
    series = write_dicom_phantom(folder, made)
    return made, str(dcmread(series[0] / "0001.dcm").StudyInstanceUID)


def pixels(files) -> dict[str, bytes]:
    with quiet():
        return {str(one.SOPInstanceUID): one.PixelData for one in map(dcmread, files)}


def test_watch_sends_seg_and_sr_of_what_orthanc_stores_to_it(orthanc, tmp_path):
    truth, uid = phantom(1, tmp_path / "in")

    def export_truth(study: Path, output: Path) -> list[Path]:
        series = assign(convert(study, tmp_path / "nifti"))
        assert len(series) == 4
        mask = Mask(
            truth.label,
            truth.affine,
            truth.scheme,
            Algorithm("truth", "1"),
            "phantom",
            datetime(2026, 1, 2),
        )
        uid_of_t1c = series[Modality.T1C].series_uid
        return list(export(mask, study, output, series=uid_of_t1c).files)

    assert send(orthanc.node, [tmp_path / "in"], ACCESS).complete
    options = {"listen": orthanc.watcher, "destination": orthanc.node, "quiet_s": 2.0}
    with Watching(tmp_path / "spool", **options) as watching:
        watching.then = export_truth
        (stored,) = orthanc.post("tools/find", Level="Study", Query={"StudyInstanceUID": uid})
        orthanc.post("modalities/watcher/store", Resources=[stored], Synchronous=True)
        until(lambda: watching.result or watching.said("2 results sent to"), 120)
    assert len(watching.calls) == 1
    assert len(watching.calls[0]) == 4 * truth.label.shape[2]

    series = find(orthanc.web, Query({"StudyInstanceUID": uid}, Level.SERIES), ACCESS).matches
    assert Counter(one["Modality"] for one in series) == {"MR": 4, "SEG": 1, "SR": 1}
    (seg,) = (one["SeriesInstanceUID"] for one in series if one["Modality"] == "SEG")
    got = fetch(orthanc.web, uid, tmp_path / "seg", ACCESS, series=seg)
    found = points_in(got.files[0])
    values = {tissue: value for value, tissue in scheme(truth.scheme).tissues.items()}
    expected = {
        code.value: points_of(truth.label, truth.affine, values[tissue])
        for tissue, code in TISSUES.items()
        if tissue in values and (truth.label == values[tissue]).any()
    }
    assert set(found) == set(expected)
    for code, points in expected.items():
        np.testing.assert_allclose(found[code], in_order(points), atol=0.02)


def test_watch_segments_what_orthanc_stores_to_it(orthanc, tmp_path):
    truth = make_phantom(11, size="brain", spacing=2.0)
    write_dicom_phantom(tmp_path / "in", truth)
    uid = dcmread(next((tmp_path / "in").rglob("*.dcm"))).StudyInstanceUID
    assert send(orthanc.node, [tmp_path / "in"], ACCESS).complete
    options = {"listen": orthanc.watcher, "destination": orthanc.node, "quiet_s": 2.0}
    with Watching(tmp_path / "spool", **options) as watching:
        watching.then = segmenting("brats_segresnet", device="cpu", backend="torch")
        (stored,) = orthanc.post("tools/find", Level="Study", Query={"StudyInstanceUID": uid})
        orthanc.post("modalities/watcher/store", Resources=[stored], Synchronous=True)
        until(lambda: watching.result or watching.said("5 results sent to"), 300)
    series = find(orthanc.web, Query({"StudyInstanceUID": uid}, Level.SERIES), ACCESS).matches
    kinds = Counter(one["Modality"] for one in series)
    assert (kinds["MR"], kinds["SEG"], kinds["SR"]) == (4, 1, 1)
    (seg,) = (one["SeriesInstanceUID"] for one in series if one["Modality"] == "SEG")
    found = points_in(fetch(orthanc.web, uid, tmp_path / "seg", ACCESS, series=seg).files[0])
    tumour = {tuple(np.rint(p)) for points in found.values() for p in points}
    true = {
        tuple(np.rint(p))
        for value in np.unique(truth.label[truth.label > 0])
        for p in points_of(truth.label, truth.affine, value)
    }
    assert 2 * len(tumour & true) / (len(tumour) + len(true)) > 0.6  # a phantom it never saw


def test_stow_qido_wado(orthanc, tmp_path):
    _, uid = phantom(2, tmp_path / "in")
    files = sorted((tmp_path / "in").rglob("*.dcm"))
    assert echo(orthanc.web, ACCESS).seconds < 60
    for _ in range(2):  # the second time changes nothing
        assert send(orthanc.web, files[::10], ACCESS).complete
    found = find(orthanc.web, Query({"PatientID": "Phantom00002"}), ACCESS)
    assert [one["StudyInstanceUID"] for one in found.matches] == [uid]
    instances = find(orthanc.web, Query({"StudyInstanceUID": uid}, Level.INSTANCE), ACCESS)
    assert len(instances.matches) == len(files[::10])
    cut = find(orthanc.web, Query({"StudyInstanceUID": uid}, Level.INSTANCE, limit=2), ACCESS)
    assert (len(cut.matches), cut.cut) == (2, True)
    got = fetch(orthanc.web, uid, tmp_path / "got", ACCESS)
    assert pixels(got.files) == pixels(files[::10])
    with pytest.raises(PacsError, match=r"404|sent nothing"):
        fetch(orthanc.web, "1.2.3", tmp_path / "none", ACCESS)


def test_find_get_and_move(orthanc, tmp_path):
    _, uid = phantom(3, tmp_path / "in")
    files = sorted((tmp_path / "in").rglob("*.dcm"))[::10]
    assert send(orthanc.node, files, ACCESS).complete
    found = find(orthanc.node, Query({"PatientID": "Phantom00003"}), ACCESS)
    assert [one["StudyInstanceUID"] for one in found.matches] == [uid]
    series = find(orthanc.node, Query({"StudyInstanceUID": uid}, Level.SERIES), ACCESS)
    assert {one["Modality"] for one in series.matches} == {"MR"}
    assert pixels(fetch(orthanc.node, uid, tmp_path / "get", ACCESS).files) == pixels(files)
    moved = fetch(
        orthanc.node,
        uid,
        tmp_path / "move",
        Access(title="MOVER", timeout=60),
        receiver=orthanc.mover,
    )
    assert pixels(moved.files) == pixels(files)
    wrong = Node("WRONG", orthanc.node.host, orthanc.node.port)
    with pytest.raises(PacsError, match="no AE title of that name"):
        echo(wrong, ACCESS)
