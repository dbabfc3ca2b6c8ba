"""The watcher: studies in by C-STORE, results out, and what happens when things go wrong."""

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from monai_tumor.dicom.files import quiet
from monai_tumor.dicom.results import MANUFACTURER
from monai_tumor.errors import InputError, PacsError, StudyError
from monai_tumor.pacs import (
    Access,
    Node,
    Room,
    Tls,
    WatchOptions,
    echo,
    parse_node,
    send,
    watch,
)
from monai_tumor.pacs.spool import Spool, State
from pacs.peers import archive, calling, certificate, free_port, node, store, study, until
from pacs.watching import Watching

FULL, NOT_UNDERSTOOD = 0xA700, 0xC000
TESTS = Path(__file__).resolve().parents[1]


def copy_of_first(folder: Path, output: Path) -> list[Path]:
    """A result: the first instance, as if derived."""
    with quiet():
        one = dcmread(min(folder.iterdir()))
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        one.Manufacturer = MANUFACTURER
        one.save_as(output / "result.dcm")
    return [output / "result.dcm"]


def uids(files) -> list[str]:
    with quiet():
        return sorted(str(dcmread(path).SOPInstanceUID) for path in files)


def test_a_study_is_processed_once_complete_and_its_results_are_sent(tmp_path):
    uid, files = study(tmp_path / "in", series=2)
    with archive() as pacs, Watching(tmp_path / "spool", destination=pacs.node) as watching:
        watching.then = copy_of_first
        pacs.answer = FULL  # the first try fails
        with calling(watching.options.listen) as caller:
            assert [store(caller, path) for path in files] == [0] * 6
            time.sleep(0.6)  # longer than it must be quiet, but the caller is there
            assert watching.calls == []
        until(lambda: watching.said("again in 0.1 s"))
        pacs.answer = 0
        until(lambda: watching.said("1 results sent to"))
        assert watching.calls == [uids(files)]
        assert list(pacs.held) == ["1.2.3.4"]
        # Sent again, the very same is no news; nor are our own results, forwarded to us.
        assert send(watching.options.listen, [tmp_path / "in"], Access(timeout=5)).complete
        results = tmp_path / "spool" / "done" / uid / "results"
        sent = send(watching.options.listen, [results], Access(timeout=5))
        assert sent.complete, str(sent)
        time.sleep(0.6)
        assert len(watching.calls) == 1
    assert str(watching.result) == "1 studies done, 0 failed; 0 waiting"
    assert watching.result.as_dict()["done"] == 1
    noted = json.loads((tmp_path / "spool" / "done" / uid / "study.json").read_text())
    assert noted == {"attempts": 1, "files": ["result.dcm"], "reason": ""}


def test_late_instances_are_processed_with_the_others(tmp_path):
    _, files = study(tmp_path / "in")
    begun, go_on = threading.Event(), threading.Event()

    def wait(folder, output):
        begun.set()
        assert go_on.wait(20)
        return []

    with Watching(tmp_path / "spool") as watching:
        watching.then = wait
        send(watching.options.listen, files[:2], Access(timeout=5))
        assert begun.wait(20)
        send(watching.options.listen, files[2:], Access(timeout=5))
        time.sleep(0.6)
        assert len(watching.calls) == 1
        go_on.set()
        until(lambda: len(watching.calls) == 2)
    assert watching.calls == [uids(files[:2]), uids(files)]


def test_a_sender_that_dies_and_one_that_sends_again(tmp_path):
    _, files = study(tmp_path / "in")
    with Watching(tmp_path / "spool") as watching:
        with calling(watching.options.listen) as caller:
            store(caller, files[0])
            caller.abort()
        time.sleep(0.8)
        assert watching.calls == []  # half a study
        send(watching.options.listen, files, Access(timeout=5))
        until(lambda: watching.calls)
    assert watching.calls == [uids(files)]


def test_a_sender_that_dies_and_never_comes_back(tmp_path):
    uid, files = study(tmp_path / "in")
    with Watching(tmp_path / "spool", give_up_s=0.5) as watching:
        with calling(watching.options.listen) as caller:
            store(caller, files[0])
            caller.abort()
        until(lambda: watching.said("failed: it was broken off"))
    assert watching.calls == []
    assert (tmp_path / "spool" / "failed" / uid / "instances").is_dir()
    assert "see" in str(watching.result)


def test_hanging_up_may_be_taken_as_the_end(tmp_path):
    _, files = study(tmp_path / "in")
    with Watching(tmp_path / "spool", hang_up_is_end=True) as watching:
        with calling(watching.options.listen) as caller:
            store(caller, files[0])
            caller.abort()
        until(lambda: watching.calls)


def test_a_full_spool_says_so_and_takes_more_later(tmp_path):
    _, files = study(tmp_path / "in")
    _, others = study(tmp_path / "other")
    room = Room(studies=1, free_bytes=0)
    with Watching(tmp_path / "spool", room=room) as watching:
        with calling(watching.options.listen) as caller:
            assert store(caller, files[0]) == 0
            assert store(caller, others[0]) == FULL
            assert store(caller, files[1]) == 0
        until(lambda: len(watching.calls) == 1)
        until(lambda: not any((tmp_path / "spool" / "processing").iterdir()))
        assert send(watching.options.listen, others, Access(timeout=5)).complete
        until(lambda: len(watching.calls) == 2)
    assert watching.said("refused: 1 studies are waiting")


def test_a_study_whose_first_instance_was_refused_is_not_whole(tmp_path):
    _, files = study(tmp_path / "in")
    _, others = study(tmp_path / "other")
    room = Room(studies=1, free_bytes=0)
    with Watching(tmp_path / "spool", room=room) as watching:
        with calling(watching.options.listen) as first:
            assert store(first, files[0]) == 0
            with calling(watching.options.listen) as caller:
                assert store(caller, others[0]) == FULL
                first.release()
                until(lambda: len(watching.calls) == 1)
                until(lambda: store(caller, others[1]) == 0)  # there is room again
        time.sleep(1.0)  # longer than a study must be quiet
        assert len(watching.calls) == 1
        assert send(watching.options.listen, others, Access(timeout=5)).complete
        until(lambda: len(watching.calls) == 2)
        assert len(watching.calls[1]) == len(others)


def test_an_endless_instance_is_hung_up_on(tmp_path):
    _, files = study(tmp_path / "in")
    room = Room(instance_bytes=20_000, free_bytes=0)
    with Watching(tmp_path / "spool", room=room) as watching:
        with quiet(), calling(watching.options.listen) as caller:
            large = dcmread(files[0])
            large.PixelData = b"\0" * 200_000
            answer = caller.send_c_store(large)
            assert "Status" not in answer
            until(lambda: not caller.is_established)
        assert not any((tmp_path / "spool" / "received").iterdir())


def test_what_names_no_study_is_refused_and_the_rest_not_taken_for_all(tmp_path):
    _, files = study(tmp_path / "in")
    with quiet():
        bad = dcmread(files[0])
        bad.StudyInstanceUID = "../../../evil"
        bad.save_as(files[0])
    with Watching(tmp_path / "spool") as watching:
        with calling(watching.options.listen) as caller:
            assert [store(caller, path) for path in files] == [NOT_UNDERSTOOD, 0, 0]
        time.sleep(0.8)
    assert watching.calls == []
    assert watching.said("is no UID")
    assert not (tmp_path / "evil").exists()


def test_failures_of_processing(tmp_path):
    _, files = study(tmp_path / "in")

    def fail(folder, output):
        raise InputError("No t1c series.\nAdd one.")

    def stray(folder, output):
        return [files[0]]

    with Watching(tmp_path / "spool") as watching:
        for then, words in (
            (fail, "failed: No t1c series. Add one."),
            (stray, "is no file in"),
            (lambda folder, output: 1 / 0, "failed: ZeroDivisionError: division by zero"),
            (copy_of_first, "done: 1 results"),
        ):
            watching.then = then
            send(watching.options.listen, files, Access(timeout=5))
            until(lambda words=words: watching.said(words))
    assert (watching.result.done, watching.result.failed) == (1, 3)


def test_results_that_nobody_takes_are_failed(tmp_path):
    _, files = study(tmp_path / "in")
    options = {"destination": node(), "send_attempts": 2, "access": Access(timeout=2)}
    with Watching(tmp_path / "spool", **options) as watching:
        watching.then = copy_of_first
        send(watching.options.listen, files, Access(timeout=5))
        until(lambda: watching.said("failed: not sent in 2 tries: Cannot reach"))


def test_a_full_disk_does_not_end_the_outbox(tmp_path, monkeypatch):
    _, files = study(tmp_path / "in")
    move, failures = Spool.move, []

    def full(self, study, old, new):
        if old is State.SENDING and len(failures) < 2:
            failures.append(study)
            raise OSError(28, "No space left on device")
        return move(self, study, old, new)

    monkeypatch.setattr(Spool, "move", full)
    with archive() as pacs, Watching(tmp_path / "spool", destination=pacs.node) as watching:
        watching.then = copy_of_first
        send(watching.options.listen, files, Access(timeout=5))
        until(lambda: watching.said("again in 0.2 s: OSError: [Errno 28] No space left"))
        until(lambda: watching.said("1 results sent to"))
        assert list(pacs.held) == ["1.2.3.4"]


@pytest.mark.parametrize("at", [State.RECEIVED, State.PROCESSING])
def test_a_full_disk_does_not_end_the_processing(tmp_path, monkeypatch, at):
    _, files = study(tmp_path / "in")
    move, failures = Spool.move, []

    def full(self, study, old, new):
        if old is at and len(failures) < 4:  # more often than a study may end the process
            failures.append(study)
            raise OSError(28, "No space left on device")
        return move(self, study, old, new)

    monkeypatch.setattr(Spool, "move", full)
    with Watching(tmp_path / "spool") as watching:
        watching.then = copy_of_first
        send(watching.options.listen, files, Access(timeout=5))
        until(lambda: watching.said("done: 1 results"))
    assert len([line for line in watching.lines if "put off, and tried again" in line]) == 1
    assert watching.said("No space left on device")


@pytest.mark.parametrize("error", [OSError, InputError, StudyError])
def test_a_study_that_a_full_disk_kept_from_its_results_is_no_failed_one(tmp_path, error):
    _, files = study(tmp_path / "in")

    def full(folder, output):
        if len(watching.calls) < 5:
            raise error(f"Cannot write: {os.strerror(28)}.")
        return copy_of_first(folder, output)

    with Watching(tmp_path / "spool", retry_s=0.02) as watching:
        watching.then = full
        send(watching.options.listen, files, Access(timeout=5))
        until(lambda: watching.said("done: 1 results"))
    assert len(watching.calls) == 5
    assert len([line for line in watching.lines if "put off, and tried again" in line]) == 1


@pytest.mark.parametrize("error", [OSError, InputError])
def test_an_interrupt_on_a_full_disk_ends_it(tmp_path, monkeypatch, error):
    instances = tmp_path / "spool" / "processing" / "1.2" / "instances"
    instances.mkdir(parents=True)

    def full(path, content):
        raise error(os.strerror(28))

    def interrupt(study, output):
        monkeypatch.setattr(sys.modules["monai_tumor.pacs.watch"], "write_json", full)
        raise KeyboardInterrupt

    watched = watch(tmp_path / "spool", interrupt, WatchOptions(node("WATCH")))
    assert (watched.done, watched.failed, watched.waiting) == (0, 0, 1)
    assert instances.is_dir()


def test_what_one_study_cannot_do_keeps_no_other_waiting(tmp_path, monkeypatch):
    first, files = study(tmp_path / "in")
    _, others = study(tmp_path / "other")
    move = Spool.move

    def stuck(self, study, old, new):
        if study == first and old is State.PROCESSING:
            raise PermissionError(13, "Permission denied")
        return move(self, study, old, new)

    monkeypatch.setattr(Spool, "move", stuck)
    with Watching(tmp_path / "spool", retry_s=1.0) as watching:
        send(watching.options.listen, files, Access(timeout=5))
        until(lambda: watching.said("put off, and tried again"))
        send(watching.options.listen, others, Access(timeout=5))
        until(lambda: watching.said("done: 0 results"))


def test_who_may_call_and_by_what_name(tmp_path):
    with Watching(tmp_path / "spool", callers=("GOOD",)) as watching:
        here = watching.options.listen
        assert echo(here, Access(title="GOOD", timeout=5))
        with pytest.raises(PacsError, match="does not know our AE title"):
            echo(here, Access(title="BAD", timeout=5))
        with pytest.raises(PacsError, match="no AE title of that name"):
            echo(replace(here, title="OTHER"), Access(title="GOOD", timeout=5))
        with pytest.raises(PacsError, match=r"Cannot listen on .* in use"):
            watch(tmp_path / "other", copy_of_first, WatchOptions(here))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl absent")
def test_tls(tmp_path):
    made, key = certificate(tmp_path, "watch")
    _, files = study(tmp_path / "in")
    with Watching(tmp_path / "spool", tls=Tls(certificate=made, key=key)) as watching:
        access = Access(timeout=5, tls=Tls(ca=made))
        assert send(watching.options.listen, files, access).complete
        until(lambda: watching.calls)


MUTE = (b"", b"\x01\x00", b"\x01\x00\x00\x00\x10\x00half", b"GET / HTTP/1.1\r\n\r\n")


def test_callers_that_say_half_a_word_block_neither_others_nor_the_end(tmp_path):
    _, files = study(tmp_path / "in")
    with ExitStack() as stack, Watching(tmp_path / "spool") as watching:
        here = (watching.options.listen.host, watching.options.listen.port)
        for said in MUTE:
            mute = stack.enter_context(socket.create_connection(here))
            mute.sendall(said)
        assert send(watching.options.listen, files, Access(timeout=5)).complete
        until(lambda: watching.calls)
    assert watching.calls == [uids(files)]


def is_hung_up(caller: socket.socket) -> bool:
    caller.settimeout(0.02)
    try:
        return caller.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("said", MUTE[:3])
def test_callers_that_say_too_little_are_hung_up_on(tmp_path, said):
    _, files = study(tmp_path / "in")
    with ExitStack() as stack, Watching(tmp_path / "spool", first_s=0.5) as watching:
        here = (watching.options.listen.host, watching.options.listen.port)
        mute = [stack.enter_context(socket.create_connection(here)) for _ in range(11)]
        for one in mute:
            one.sendall(said)
        until(lambda: all(map(is_hung_up, mute)))
        assert send(watching.options.listen, files, Access(timeout=5)).complete


def test_callers_that_come_and_go_without_a_word_hold_no_places(tmp_path):
    with Watching(tmp_path / "spool", first_s=60) as watching:
        here = watching.options.listen
        for _ in range(11):
            socket.create_connection((here.host, here.port)).close()
        until(lambda: not any("AcceptorThread" in one.name for one in threading.enumerate()))
        assert echo(here, Access(timeout=5))


def test_a_caller_that_drips_is_hung_up_on(tmp_path):
    with Watching(tmp_path / "spool", first_s=0.5) as watching:
        here = (watching.options.listen.host, watching.options.listen.port)
        with socket.create_connection(here) as one:
            one.sendall(b"\x01\x00\x00\x00\x10\x00")

            def dripped_until_hung_up():
                with suppress(OSError):
                    one.sendall(b"x")
                return is_hung_up(one)

            until(dripped_until_hung_up)


def test_an_association_without_a_message_ends_sooner_than_one_with(tmp_path):
    _, files = study(tmp_path / "in")
    with Watching(tmp_path / "spool", first_s=0.5, idle_s=30) as watching:
        here = watching.options.listen
        with calling(here) as silent, calling(here) as caller:
            assert store(caller, files[0]) == 0
            until(lambda: not silent.is_established)
            assert [store(caller, path) for path in files[1:]] == [0, 0]
        until(lambda: watching.calls)


def test_a_unit_that_claims_gigabytes_is_hung_up_on_before_they_come(tmp_path):
    with Watching(tmp_path / "spool", first_s=30) as watching:
        here = (watching.options.listen.host, watching.options.listen.port)
        with socket.create_connection(here) as one:
            one.sendall(b"\x01\x00\xff\xff\xff\xff")
            until(lambda: is_hung_up(one), 5)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl absent")
def test_callers_that_never_make_the_handshake_of_tls_block_nobody(tmp_path):
    made, key = certificate(tmp_path, "watch")
    _, files = study(tmp_path / "in")
    tls = Tls(certificate=made, key=key)
    with ExitStack() as stack, Watching(tmp_path / "spool", tls=tls, first_s=1.0) as watching:
        here = (watching.options.listen.host, watching.options.listen.port)
        mute = [stack.enter_context(socket.create_connection(here)) for _ in range(3)]
        mute[1].sendall(b"\x16\x03")
        access = Access(timeout=5, tls=Tls(ca=made))
        assert send(watching.options.listen, files, access).complete
        until(lambda: all(map(is_hung_up, mute)))


def test_connections_are_bounded(tmp_path):
    with ExitStack() as stack, Watching(tmp_path / "spool", first_s=30) as watching:
        here = (watching.options.listen.host, watching.options.listen.port)
        mute = [stack.enter_context(socket.create_connection(here)) for _ in range(25)]
        until(lambda: sum(map(is_hung_up, mute)) == 5)


def test_more_callers_than_are_served_are_told_to_come_again(tmp_path):
    _, files = study(tmp_path / "in")
    with Watching(tmp_path / "spool") as watching:
        here = watching.options.listen
        with ExitStack() as stack:
            first, *_ = [stack.enter_context(calling(here)) for _ in range(10)]
            with pytest.raises(PacsError, match="too many connections; try again later"):
                echo(here, Access(timeout=5))
            assert [store(first, path) for path in files] == [0] * 3
        until(lambda: watching.calls)
        assert echo(here, Access(timeout=5))


def test_killed_while_sending_it_sends(tmp_path):
    _, files = study(tmp_path / "in")
    sending = tmp_path / "spool" / "sending" / "1.2"
    (sending / "instances").mkdir(parents=True)
    (sending / "results").mkdir()
    copy_of_first(files[0].parent, sending / "results")
    notes = {"attempts": 1, "files": ["result.dcm"], "reason": ""}
    (sending / "study.json").write_text(json.dumps(notes))
    with archive() as pacs, Watching(tmp_path / "spool", destination=pacs.node) as watching:
        until(lambda: watching.said("1 results sent to"))
        assert list(pacs.held) == ["1.2.3.4"]
    assert watching.calls == []
    assert (tmp_path / "spool" / "done" / "1.2").is_dir()


# pynetdicom's caller leaves the sockets of failed handshakes to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl absent")
def test_tls_of_another_and_none_at_all(tmp_path, caplog):
    made, key = certificate(tmp_path, "watch")
    ours, our_key = certificate(tmp_path, "ours")
    other, other_key = certificate(tmp_path, "other")
    _, files = study(tmp_path / "in")
    with Watching(tmp_path / "spool", tls=Tls(ours, made, key)) as watching:
        here = watching.options.listen
        for wrong in (Tls(other, ours, our_key), Tls(made, other, other_key), Tls(made), None):
            with pytest.raises(PacsError):
                echo(here, Access(timeout=3, tls=wrong))
        assert send(here, files, Access(timeout=5, tls=Tls(made, ours, our_key))).complete
        until(lambda: watching.calls)
    until(lambda: not any("run_reactor" in one.name for one in threading.enumerate()))
    caplog.clear()  # its tracebacks hold them
    gc.collect()


def test_numbers_that_cannot_be():
    with pytest.raises(InputError, match="quiet_s of 0 cannot be"):
        WatchOptions(node(), quiet_s=0)


# -- killed


@contextmanager
def process_watching(spool: Path, listen: Node, gate: Path):
    command = [sys.executable, "-m", "pacs.watching", str(spool), str(listen), str(gate)]
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    one = subprocess.Popen(
        command, cwd=TESTS, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE
    )
    try:
        assert b"listening" in one.stdout.readline()
        yield one
    finally:
        one.kill()
        one.wait()
        one.stdout.close()


def kill(process: subprocess.Popen) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
def test_kill_while_receiving_and_while_processing(tmp_path):
    uid, files = study(tmp_path / "in", series=2)
    spool, gate = tmp_path / "spool", tmp_path / "gate"
    listen = parse_node(f"WATCH@127.0.0.1:{free_port()}")
    with process_watching(spool, listen, gate) as first:
        with calling(listen) as caller:
            assert [store(caller, path) for path in files[:4]] == [0] * 4
            kill(first)
            assert store(caller, files[4]) != 0
        held = spool / "received" / uid / "instances"
        assert sorted(path.stem for path in held.glob("*.dcm")) == uids(files[:4])
        for path in held.glob("*.dcm"):
            dcmread(path)  # whole
    with process_watching(spool, listen, gate) as second:
        time.sleep(2)  # it is quiet for longer than needed, and yet half a study is not begun
        assert not (tmp_path / "begun").exists()
        assert send(listen, files, Access(timeout=5)).complete
        until(lambda: (tmp_path / "begun").exists())
        kill(second)
        assert (spool / "processing" / uid).is_dir()
    gate.touch()
    with process_watching(spool, listen, gate):
        until(lambda: (spool / "done" / uid).is_dir())
    result = (spool / "done" / uid / "results" / "names.dcm").read_text().split()
    assert result == [f"{one}.dcm" for one in uids(files)]


def test_a_study_that_kills_its_process_each_time_is_failed(tmp_path):
    processing = tmp_path / "spool" / "processing" / "1.2"
    (processing / "instances").mkdir(parents=True)
    (processing / "study.json").write_text('{"attempts": 3, "files": [], "reason": ""}')
    with Watching(tmp_path / "spool") as watching:
        until(lambda: watching.said("it ended the process 3 times"))
    assert watching.calls == []
