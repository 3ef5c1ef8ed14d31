"""A file of the spool that is edited in place while Exchange takes its message for some of the recipients."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.scratch_submission import Peer, ScratchHost
from support.sidecar_process import MailerDirectory, Sidecar, document
from support.spooled import RECEIVED, body, envelope, files, spool_in
from support.spooling import dead, number, queued, spooling, submit
from support.waiting import eventually

from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.spool.entry import Event

RECIPIENTS = ("a@example.com", "b@example.com")


class Host:
    """Takes the first recipient and defers the second, has the file edited, and takes the message."""

    def __init__(self, folder: Path, edit: Callable[[bytes], bytes]) -> None:
        self.folder, self.edit = folder, edit
        self.original: bytes | None = None
        self.served: list[str] = []

    def file(self) -> Path:
        """The one message that there is."""
        (found,) = self.folder.glob("spool/0/*/[!.]*")
        return found

    def serve(self, peer: Peer) -> None:
        """One connection."""
        peer.authenticate()
        to: list[str] = []
        while line := peer.line():
            verb = line[:4].upper()
            if verb == b"QUIT":
                return
            if verb == b"RCPT" and self.original is None and b"b@" in line:
                peer.say(b"450 4.2.1 later\r\n")
            elif verb == b"DATA":
                peer.say(b"354 go\r\n")
                peer.message()
                if self.original is None:
                    self.original = self.file().read_bytes()
                    self.file().write_bytes(self.edit(self.original))
                self.served += to
                to = []
                peer.say(b"250 2.0.0 OK\r\n")
            else:
                to += [line.decode().partition("<")[2].partition(">")[0]] if verb == b"RCPT" else []
                peer.say(b"250 2.1.0 ok\r\n")


def repaired(host: Host, sidecar: Sidecar, folder: Path, queue_id: str) -> None:
    """The file as it was before the attempt, and `spool retry`."""
    assert host.original
    host.file().write_bytes(host.original)
    retry = [sys.executable, "-m", "o365mailer_sidecar.main", "spool", "retry", queue_id]
    subprocess.run([*retry, "--spool-dir", f"{folder}/spool"], check=True, capture_output=True)
    sidecar.event("message", queue_id=queue_id, outcome="accepted")


def header_spoilt(content: bytes) -> bytes:
    """Its first byte."""
    return b"x" + content[1:]


def cut_short(content: bytes) -> bytes:
    """All but its beginning is gone."""
    return content[:40]


@pytest.mark.promise("spool-sets-damaged-files-aside", "all-recipients-or-none")
@pytest.mark.parametrize("edit", [header_spoilt, cut_short])
def test_an_app_that_waits_is_told_the_truth_and_no_recipient_is_served_twice(
    directory: MailerDirectory, tmp_path: Path, edit: Callable[[bytes], bytes]
) -> None:
    host = Host(tmp_path, edit)
    with ScratchHost(host.serve) as scratch:
        scratch.describe(directory)
        with spooling(directory, tmp_path) as sidecar:
            reply = submit(sidecar, *RECIPIENTS)
            assert reply.startswith("250 2.0.0 Office 365 has it for 1 of 2 recipients; for the others its file in")
            queue_id = number(reply)
            sidecar.event("spool_damaged", queue_id=queue_id)
            assert host.file().parent.name == "damaged"
            repaired(host, sidecar, tmp_path, queue_id)
        assert sidecar.events("session_failed") == sidecar.events("library_message") == []
    assert host.served == ["a@example.com", "b@example.com"]
    assert (queued(tmp_path), dead(tmp_path)) == ([], [])


@pytest.mark.promise("spool-sets-damaged-files-aside")
@pytest.mark.parametrize("edit", [header_spoilt, cut_short])
def test_a_message_of_the_spool_is_set_aside_and_no_recipient_is_served_twice(
    directory: MailerDirectory, tmp_path: Path, edit: Callable[[bytes], bytes]
) -> None:
    host = Host(tmp_path, edit)
    with ScratchHost(host.serve) as scratch:
        directory.write(mailer_json=json.dumps(document("127.0.0.1", scratch.port)))
        with spooling(directory, tmp_path) as sidecar:
            queue_id = number(submit(sidecar, *RECIPIENTS))
            scratch.describe(directory)
            sidecar.process.send_signal(signal.SIGHUP)
            sidecar.event("spool_damaged", queue_id=queue_id)
            eventually(lambda: sidecar.metric("o365mailer_spool_messages") == 0)
            repaired(host, sidecar, tmp_path, queue_id)
        assert sidecar.events("scheduler_failed") == sidecar.events("library_message") == []
    assert host.served == ["a@example.com", "b@example.com"]


@pytest.mark.promise("spool-sets-damaged-files-aside")
async def test_a_file_that_an_editor_saves_over_what_happened_meanwhile_serves_no_recipient_twice(
    tmp_path: Path,
) -> None:
    with spool_in(tmp_path) as spool:
        stored = await spool.store(Message(envelope("A", *RECIPIENTS), body(), RECEIVED))
        before = files(tmp_path)["A"]
        await spool.record(stored, Event(at=RECEIVED, event="attempt", accepted=RECIPIENTS[:1]), durable=True)
        (tmp_path / "0" / "queue" / "A").write_bytes(before)
        opened = await spool.open(stored)
        due, content = opened.envelope, opened.body
        content.close()
    assert [to.address for to in due.recipients] == ["b@example.com"]
