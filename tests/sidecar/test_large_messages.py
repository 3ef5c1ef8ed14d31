"""The relay buffers messages over 256 KiB in an unlinked file, and its memory stays flat."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

from o365mailer_contract import names
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.body import BodyReader

LARGE = b"Subject: large\r\n\r\n" + b"".join(b"%075d\r\n" % number for number in range(40_000))


def peak(sidecar: Sidecar) -> float:
    """MiB."""
    for line in Path(f"/proc/{sidecar.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError


def test_every_byte_of_a_large_message_arrives(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with running(directory.path, environment={names.ENV_SCRATCH_DIR: str(scratch)}) as sidecar:
        for _ in range(2):
            with Wire(sidecar.port) as app:
                app.begin()
                assert app.deliver(LARGE).startswith("250")
        assert list(scratch.iterdir()) == [], "the file has no name"
    assert [base64.b64decode(message["content"])[-len(LARGE) :] == LARGE for message in emulator.messages()] == [
        True
    ] * 2


@pytest.mark.promise("memory-and-disk-are-bounded")
@pytest.mark.timeout(120)
def test_three_messages_of_25_mib_at_once_take_no_more_than_48_mib(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    directory.write_for(emulator, delivery={"confirmWithin": "60s"})
    content = b"Subject: large\r\n\r\n" + (b"x" * 76 + b"\r\n") * (25 * 2**20 // 78)
    with running(directory.path) as sidecar:
        apps = [Wire(sidecar.port) for _ in range(3)]
        for app in apps:
            app.socket.settimeout(100)
            app.begin()
            assert app.ask("DATA").startswith("354")
            app.send(content)
        before = peak(sidecar)
        for app in apps:
            app.send(b".\r\n")
        assert all(app.reply().startswith("250") for app in apps)
        assert before <= peak(sidecar) <= 48
        for app in apps:
            app.socket.close()


@pytest.mark.promise("memory-and-disk-are-bounded")
def test_a_full_disk_is_452_and_small_messages_go_on(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    # A limit on the size of files is what a full disk is to a writer: an error in the middle of a write.
    prefix = ["prlimit", f"--fsize={2**20}", "--"]
    with (
        running(directory.path, prefix=prefix, arguments=["--scratch-dir", str(tmp_path)]) as sidecar,
        Wire(sidecar.port) as app,
    ):
        app.begin()
        assert app.deliver(LARGE).startswith("452 4.3.1 No room for a message of this size in the scratch directory")
        assert sidecar.event("message", outcome="deferred")["code"] == 452
        app.begin()
        assert app.deliver(b"Subject: small\r\n\r\n").startswith("250")
        app.begin()
        assert app.deliver(LARGE[: 2**19] + b"\r\n").startswith("250"), "the control: what fits is taken"
    assert len(emulator.messages()) == 2


def test_a_body_is_the_same_in_memory_and_in_a_file(tmp_path: Path) -> None:
    for lines in (1, 3_000, 4_000, 9_000):
        content = (b"%075d\r\n" % lines) * lines
        reader = BodyReader(size_limit=10**7, line_endings="Normalize", scratch=tmp_path)
        wire = content + b".\r\n"
        parts = [wire[start : start + 100_000] for start in range(0, len(wire), 100_000)]
        assert [reader.feed(part) for part in parts][-1] == b""
        body = reader.body()
        assert (body.file is not None) == (len(content) > 2**18)
        assert b"".join(body.blocks()) == content
        assert len(body) == len(content)
        assert content.startswith(body.content)
        assert len(body.content) == min(len(content), 2**18)


def test_a_directory_that_went_away_is_452(tmp_path: Path) -> None:
    reader = BodyReader(size_limit=10**7, line_endings="Normalize", scratch=tmp_path / "gone")
    assert reader.feed(b"x" * 2**19 + b"\r\n.\r\n") == b""
    with pytest.raises(Refused, match="No room"):
        reader.body()


def test_a_scratch_directory_that_cannot_be_written_to_is_said_at_start(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    command = [sys.executable, "-m", "o365mailer_sidecar.main", "--scratch-dir", str(missing)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert f"--scratch-dir: '{missing}' is not a directory that can be written to" in ended.stderr
