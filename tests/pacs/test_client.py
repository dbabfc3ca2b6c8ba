"""echo, find, fetch and send against an archive in this process."""

import json
import shutil
import socket
import threading

import pytest
from pydicom import dcmread

from monai_tumor.dicom.files import quiet
from monai_tumor.errors import DependencyError, InputError, PacsError
from monai_tumor.pacs import (
    Access,
    Level,
    Query,
    Status,
    Tls,
    echo,
    fetch,
    find,
    send,
)
from pacs.peers import archive, certificate, node, study

QUICK = Access(timeout=5)


@pytest.fixture
def sent(tmp_path):
    """An archive that holds a study of two series, the study's UID and its files."""
    uid, files = study(tmp_path / "study", series=2, PatientID="P7")
    with archive() as pacs:
        result = send(pacs.node, [tmp_path / "study"], QUICK)
        assert [one.status for one in result.files] == [Status.STORED] * 6
        yield pacs, uid, files


def test_echo():
    with archive() as pacs:
        result = echo(str(pacs.node), QUICK)
    assert str(result).startswith(f"{pacs.node} answers (")
    assert result.as_dict()["address"] == str(pacs.node)


def test_what_was_sent_is_found(sent):
    pacs, uid, _ = sent
    found = find(pacs.node, Query({"PatientID": "P7"}), QUICK)
    assert [one["StudyInstanceUID"] for one in found.matches] == [uid]
    assert found.matches[0]["PatientName"] == "Secret^Name"
    series = find(pacs.node, Query({"StudyInstanceUID": uid}, Level.SERIES), QUICK)
    assert len({one["SeriesInstanceUID"] for one in series.matches}) == 2
    assert "2 of level series" in str(series)
    assert find(pacs.node, Query({"PatientID": "none"}), QUICK).matches == ()
    json.dumps(found.as_dict())


def test_a_search_is_cut_at_its_limit(sent):
    pacs, uid, _ = sent
    query = Query({"StudyInstanceUID": uid}, Level.INSTANCE, limit=4)
    found = find(pacs.node, query, QUICK)
    assert (len(found.matches), found.cut) == (4, True)
    assert "there are more" in str(found)


def test_fetch_by_c_get_brings_the_same_pixels_and_may_be_repeated(sent, tmp_path):
    pacs, uid, files = sent
    for _ in range(2):
        got = fetch(pacs.node, uid, tmp_path / "got", QUICK)
        assert (len(got.files), got.failed) == (6, 0)
    with quiet():
        originals = {dcmread(path).SOPInstanceUID: dcmread(path) for path in files}
        for path in got.files:
            one = dcmread(path)
            assert path == tmp_path / "got" / one.SeriesInstanceUID / f"{one.SOPInstanceUID}.dcm"
            assert one.PixelData == originals[one.SOPInstanceUID].PixelData
    assert "6 instances of 2 series" in str(got)


def test_fetch_of_a_series_brings_no_other(sent, tmp_path):
    pacs, uid, files = sent
    with quiet():
        series = dcmread(files[0]).SeriesInstanceUID
    got = fetch(pacs.node, uid, tmp_path / "got", QUICK, series=series)
    assert [path.parent.name for path in got.files] == [series] * 3


def test_fetch_by_c_move_to_a_receiver_of_ours(sent, tmp_path):
    pacs, uid, _ = sent
    ours = node("OURS")
    pacs.destinations["OURS"] = ours
    got = fetch(pacs.node, uid, tmp_path / "got", QUICK, receiver=ours)
    assert (len(got.files), got.failed) == (6, 0)
    with pytest.raises(PacsError, match=r"refuses C-MOVE to STRANGER@.*0xA801"):
        fetch(pacs.node, uid, tmp_path / "not", QUICK, receiver=node("STRANGER"))


def test_fetch_of_nothing_is_an_error(sent, tmp_path):
    pacs, _, _ = sent
    with pytest.raises(PacsError, match=r"sent nothing of study 1\.2\.3: it has none"):
        fetch(pacs.node, "1.2.3", tmp_path / "got", QUICK)
    with pytest.raises(InputError, match="is no UID"):
        fetch(pacs.node, "../../etc", tmp_path / "got", QUICK)


def test_an_archive_without_c_get_is_named(tmp_path):
    with archive(without=("get",)) as pacs, pytest.raises(PacsError, match="use --move"):
        fetch(pacs.node, "1.2.3", tmp_path / "got", QUICK)


def test_send_tells_what_became_of_each_file(tmp_path):
    _, files = study(tmp_path / "study")
    (tmp_path / "study" / "notes.txt").write_text("no DICOM")
    with archive() as pacs:
        pacs.answer = 0xB000
        result = send(pacs.node, [tmp_path / "study"], QUICK)
        by_name = {one.path.name: one for one in result.files}
        assert by_name["notes.txt"].status is Status.FAILED
        assert by_name[files[0].name].status is Status.WARNED
        assert not result.complete
        pacs.answer = 0xA700
        refused = send(pacs.node, files, QUICK)
    assert {one.reason for one in refused.files} == {"status 0xA700"}
    assert "3 not stored" in str(refused)


def test_sending_again_is_safe(sent, tmp_path):
    pacs, _, files = sent
    assert send(pacs.node, files, QUICK).complete
    assert len(pacs.held) == 6
    pacs.answer = 0x0111  # as archives say that keep the first
    assert send(pacs.node, files, QUICK).complete


def test_a_broken_connection_is_made_again(tmp_path):
    _, files = study(tmp_path / "study")
    with archive() as pacs:
        pacs.hang_up_after = 2
        result = send(pacs.node, files, QUICK)
        assert result.complete
        assert (len(pacs.held), pacs.stores) == (3, 4)


def test_a_wrong_title_is_named(tmp_path):
    with archive() as pacs:
        wrong = f"OTHER@127.0.0.1:{pacs.node.port}"
        with pytest.raises(PacsError, match="no AE title of that name is there"):
            echo(wrong, QUICK)


def test_nobody_there():
    with pytest.raises(PacsError, match=r"Cannot reach .*refused"):
        echo(node(), QUICK)
    with pytest.raises(PacsError, match=r"Cannot reach PACS@no\.such\.host\.invalid"):
        echo("PACS@no.such.host.invalid:104", QUICK)
    with pytest.raises(PacsError, match=r"Connection refused.*Check the address"):
        echo(f"http://127.0.0.1:{node().port}/dicom-web", QUICK)


def test_one_that_says_nothing_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(PacsError, match=r"did not answer within 0\.5 s"):
            echo(f"PACS@127.0.0.1:{port}", Access(timeout=0.5))
        with pytest.raises(PacsError, match=r"no answer within 0\.5 s"):
            echo(f"http://127.0.0.1:{port}/x", Access(timeout=0.5))


def test_a_web_page_is_no_dicomweb():
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p/>"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            call, _ = server.accept()
            call.recv(10_000)
            call.sendall(page)
            call.close()

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(PacsError, match="does not answer as DICOMweb does"):
            echo(url, QUICK)
        thread.join()


def test_a_password_goes_over_https_only():
    with pytest.raises(InputError, match="use https"):
        echo("http://127.0.0.1:1/x", Access(user="me", password="s3cret"))
    assert "s3cret" not in repr(Access(user="me", password="s3cret"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl absent")
def test_tls(tmp_path):
    made, key = certificate(tmp_path, "archive")
    other, _ = certificate(tmp_path, "other")
    ours, our_key = certificate(tmp_path, "ours")
    with archive(tls=Tls(ca=ours, certificate=made, key=key).server()) as pacs:
        good = Access(timeout=5, tls=Tls(ca=made, certificate=ours, key=our_key))
        assert echo(pacs.node, good).seconds < 5
        wrong = Access(timeout=5, tls=Tls(ca=other, certificate=ours, key=our_key))
        with pytest.raises(PacsError, match="TLS failed"):
            echo(pacs.node, wrong)
        with pytest.raises(PacsError, match=r"TLS|did not answer"):  # no certificate of ours
            echo(pacs.node, Access(timeout=5, tls=Tls(ca=made)))
        with pytest.raises(PacsError, match="whether it wants TLS"):
            echo(pacs.node, Access(timeout=2))
    with pytest.raises(InputError, match="The TLS files cannot be used"):
        echo(pacs.node, Access(tls=Tls(ca=made, certificate=ours, key=key)))
    with pytest.raises(InputError, match="needs a certificate"):
        Tls(ca=made).server()


def test_wrong_queries_are_named():
    with pytest.raises(InputError, match="'Shoesize' is no DICOM keyword"):
        Query({"Shoesize": "44"})
    with pytest.raises(InputError, match="finds nothing"):
        Query(limit=0)
    with pytest.raises(InputError, match="give one above 0"):
        Access(timeout=0)


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pynetdicom", None)
    with pytest.raises(DependencyError, match=r"pip install 'monai-tumor\[pacs\]'"):
        echo(node(), QUICK)
