"""`monai-tumor pacs` as a user types it: output, exit codes, messages."""

import io
import json
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from monai_tumor.cli import main
from monai_tumor.errors import PacsError
from monai_tumor.pacs import Access, Status, send
from pacs.peers import archive, node, study, until

UNAVAILABLE = PacsError.exit_code


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pacs")
    uid, _ = study(folder / "study", PatientID="P7")
    with archive() as one:
        assert send(one.node, [folder / "study"], Access(timeout=5)).complete
        yield SimpleNamespace(archive=one, address=str(one.node), uid=uid, folder=folder)


def test_echo_and_find(pacs, capsys):
    assert main(["pacs", "echo", pacs.address]) == 0
    assert "answers" in capsys.readouterr().out
    assert main(["pacs", "find", pacs.address, "-k", "PatientID=P7"]) == 0
    assert pacs.uid in capsys.readouterr().out
    for command in (["pacs", "--json", "find"], ["pacs", "find", "--json"]):
        assert main([*command, pacs.address, "-k", "PatientID=P7"]) == 0
        assert json.loads(capsys.readouterr().out)["matches"][0]["StudyInstanceUID"] == pacs.uid
    query = ["-k", f"StudyInstanceUID={pacs.uid}", "--level", "instance", "--limit", "2"]
    assert main(["pacs", "find", pacs.address, *query]) == 3
    assert main(["pacs", "find", pacs.address, "-k", "P7"]) == 4
    assert "-k takes KEYWORD=VALUE" in capsys.readouterr().err


def test_fetch_and_send(pacs, tmp_path, capsys):
    assert main(["pacs", "fetch", pacs.address, pacs.uid, "-o", str(tmp_path / "got")]) == 0
    assert "3 instances of 1 series" in capsys.readouterr().out
    assert main(["pacs", "send", pacs.address, str(tmp_path / "got"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {one["status"] for one in said["files"]} == {str(Status.STORED)}
    (tmp_path / "got" / "notes").write_text("no DICOM")
    assert main(["pacs", "send", pacs.address, str(tmp_path / "got")]) == 3


def test_errors_are_one_line(pacs, tmp_path, capsys):
    nobody = str(node())
    assert main(["pacs", "echo", nobody, "--timeout", "2"]) == UNAVAILABLE
    assert main(["pacs", "echo", "nonsense"]) == 4
    assert main(["pacs", "echo", pacs.address, "--title", "MUCH TOO LONG A TITLE"]) == 4
    assert main(["pacs", "echo", pacs.address, "--tls-ca", str(tmp_path / "none.pem")]) == 4
    missing = str(tmp_path / "none")
    assert main(["pacs", "echo", "https://host/x", "--user", "me", "--password-file", missing]) == 4
    assert main(["pacs", "fetch", pacs.address, pacs.uid, "-o", "x", "--move", "nonsense"]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert [line[:7] for line in lines] == ["error: "] * 6


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is of POSIX")
def test_watch_segments_until_it_is_terminated(pacs, tmp_path, capsys, monkeypatch):
    calls = []

    def segmenting(bundle: str, **options):
        calls.append((bundle, options))
        return lambda study, output: calls.append(len(list(study.iterdir()))) or []

    monkeypatch.setattr("monai_tumor.services.watch.segmenting", segmenting)
    listen, spool = node("WATCH"), tmp_path / "spool"

    def send_and_terminate() -> None:
        try:
            until(lambda: (spool / "failed").is_dir())
            until(lambda: _sent(listen, pacs.folder / "study"))
            until(lambda: (spool / "done" / pacs.uid).is_dir())
            time.sleep(0.5)  # it is counted just after
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=send_and_terminate)
    thread.start()
    before = signal.getsignal(signal.SIGTERM)
    command = ["pacs", "watch", str(listen), "--spool", str(spool), "--quiet", "0.3"]
    assert main([*command, "--device", "cpu", "--allow", "MONAI_TUMOR"]) == 0
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert calls == [("brats_ensemble", {"device": "cpu"}), 3]
    output = capsys.readouterr()
    assert output.out == "1 studies done, 0 failed; 0 waiting\n"
    assert f"study {pacs.uid}: processing" in output.err


def test_a_log_on_a_full_disk_does_not_end_the_watcher(tmp_path, capsys, monkeypatch):
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    def interrupt(study, output):
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_tumor.services.watch.segmenting", lambda *_, **__: interrupt)
    monkeypatch.setattr(sys, "stderr", Full())
    (tmp_path / "spool" / "processing" / "1.2" / "instances").mkdir(parents=True)
    assert main(["pacs", "watch", str(node("WATCH")), "--spool", str(tmp_path / "spool")]) == 0
    assert capsys.readouterr().out == "0 studies done, 0 failed; 1 waiting\n"


def _sent(listen, folder) -> bool:
    try:
        return send(listen, [folder], Access(timeout=5)).complete
    except PacsError:  # it does not listen yet
        return False
