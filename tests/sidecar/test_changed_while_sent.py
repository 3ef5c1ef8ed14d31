"""A message whose file changes while it is sent is never finished: no end of data follows what is not whole."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.scratch_submission import Peer, ScratchHost
from support.sidecar_process import MailerDirectory, document, running
from support.spooling import number, queued, spooling, submit

from o365mailer_sidecar.errors import Damaged, StoreFailed
from o365mailer_sidecar.message.body import Body

LARGE = b"Subject: large\r\n\r\n" + (b"a" * 998 + b"\r\n") * 8_000
"""More than the buffers between relay and host hold: its end is not read before the host reads."""

Change = Callable[[Path], None]


def shorter(file: Path) -> None:
    """Its end is gone."""
    os.truncate(file, file.stat().st_size - 1_000_000)


def empty(file: Path) -> None:
    """All of it is gone."""
    os.truncate(file, 0)


def other(file: Path) -> None:
    """One byte of it, and its length is the same."""
    with file.open("r+b") as opened:
        opened.seek(-5_000, os.SEEK_END)
        opened.write(b"b")


def longer(file: Path) -> None:
    """Something is put in before its end."""
    with file.open("r+b") as opened:
        opened.seek(-5_000, os.SEEK_END)
        end = opened.read()
        opened.seek(-5_000, os.SEEK_END)
        opened.write(b"something more" + end)


class Host:
    """Takes every message that ends, and does something to the first before it reads it."""

    def __init__(self, change: Callable[[], None]) -> None:
        self.changes = [change]
        self.whole: list[bytes] = []
        self.cut = 0

    def serve(self, peer: Peer) -> None:
        """One connection."""
        peer.authenticate()
        while line := peer.line():
            verb = line[:4].upper()
            if verb == b"QUIT":
                return
            if verb != b"DATA":
                peer.say(b"250 2.1.0 ok\r\n")
                continue
            peer.say(b"354 go\r\n")
            if self.changes:
                self.changes.pop()()
            message = peer.message()
            if peer.heard.endswith(b"\r\n.\r\n"):
                self.whole.append(message)
                peer.say(b"250 2.0.0 OK\r\n")
            else:
                self.cut += 1


@pytest.mark.promise("spool-sets-damaged-files-aside")
@pytest.mark.parametrize(
    ("change", "checked"),
    [(shorter, True), (empty, True), (other, True), (longer, True), (shorter, False), (other, False)],
)
def test_a_spooled_message_that_changes_is_set_aside_and_sent_when_it_is_repaired(
    directory: MailerDirectory, tmp_path: Path, change: Change, checked: bool
) -> None:
    def file() -> Path:
        (found,) = tmp_path.glob("spool/0/*/[!.]*")
        return found

    host = Host(lambda: change(file()))
    with ScratchHost(host.serve) as scratch:
        scratch.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        directory.write(mailer_json=json.dumps(document("127.0.0.1", scratch.port)))
        with spooling(directory, tmp_path) as sidecar:
            queue_id = number(submit(sidecar, content=LARGE))
            if not checked:
                header, _, rest = file().read_bytes().partition(b"\n")
                crc = header.index(b'"crc32":"') + 9
                file().write_bytes(header[:crc] + b"unchecked" + header[crc + 8 :] + b"\n" + rest)
            original = file().read_bytes()
            scratch.describe(directory)
            sidecar.process.send_signal(signal.SIGHUP)  # it looks at once
            sidecar.event("spool_damaged", queue_id=queue_id)
            assert (host.whole, file().parent.name) == ([], "damaged")
            assert submit(sidecar).startswith("250 2.0.0 Office 365 has it"), "it stops nothing"
            file().write_bytes(original)
            retry = [sys.executable, "-m", "o365mailer_sidecar.main", "spool", "retry", queue_id]
            subprocess.run([*retry, "--spool-dir", f"{tmp_path}/spool"], check=True, capture_output=True)
            sidecar.event("message", queue_id=queue_id, outcome="accepted")
    assert (host.cut, queued(tmp_path)) == (1, [])
    assert [message.endswith(LARGE) for message in host.whole] == [False, True]


@pytest.mark.promise("spool-sets-damaged-files-aside")
def test_without_a_spool_the_app_is_told_to_send_it_again(directory: MailerDirectory) -> None:
    def scratch_file() -> Path:
        descriptors = Path(f"/proc/{sidecar.process.pid}/fd").iterdir()
        (found,) = [each for each in descriptors if str(each.readlink()).endswith("(deleted)") and each.stat().st_size]
        return found

    host = Host(lambda: shorter(scratch_file()))
    with ScratchHost(host.serve) as scratch:
        scratch.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        scratch.describe(directory)
        with running(directory.path) as sidecar:
            reply = submit(sidecar, content=LARGE)
            assert reply.startswith(
                "451 4.3.0 The message cannot be read back from the relay's disk: its file has become shorter; "
                "nothing was sent, try again later"
            )
            assert host.whole == []
            assert submit(sidecar, content=LARGE).startswith("250 2.0.0 Office 365 has it")
            assert sidecar.event("message")["reason"] == "damaged"
    assert (host.cut, [message.endswith(LARGE) for message in host.whole]) == (1, [True])


@pytest.mark.promise("spool-sets-damaged-files-aside")
def test_a_disk_that_gives_nothing_back_ends_no_message(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb", buffering=0) as unreadable:
        unreadable.write(b"x" * 100)
        blocks = Body(b"", False, unreadable, 100).blocks()
        with pytest.raises(StoreFailed, match="its disk failed: Bad file descriptor"):
            next(blocks)
    (tmp_path / "file").write_bytes(b"x" * 99)
    with (tmp_path / "file").open("rb", buffering=0) as short:
        blocks = Body(b"", False, short, 100).blocks()
        assert next(blocks) == b"x" * 99
        with pytest.raises(Damaged, match="its file has become shorter"):
            next(blocks)
