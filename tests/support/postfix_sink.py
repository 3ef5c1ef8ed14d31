"""Postfix's smtp-sink as the submission host: a second real parser of what the sidecar sends.

It speaks plain SMTP without a login, so a peer of ours stands before it up to the login and then passes on every byte.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cluster_rig.requirements import search_path

from support.completeness import lacking
from support.scratch_submission import Peer, ScratchHost
from support.waiting import eventually

RECIPIENT = re.compile(rb"^X-Rcpt-Args: <(.*)>\n", re.MULTILINE)


class PostfixSink:
    """A running smtp-sink that keeps each message in a file of the folder."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("smtp-sink", path=search_path()) or lacking(
            "smtp-sink is not installed", "make setup-node"
        )
        self.socket, self.dumps = folder / "socket", folder / "dumps"
        self.dumps.mkdir()
        command = [program, "-d", f"{self.dumps}/"]
        if os.geteuid() == 0:  # it insists on giving root up
            command += ["-u", "nobody"]
            for path in (folder, self.dumps):
                shutil.chown(path, "nobody")
        self.process = subprocess.Popen([*command, f"unix:{self.socket}", "10"])

    def script(self, peer: Peer) -> None:
        """For a ScratchHost: everything after the login is between the relay and smtp-sink."""
        eventually(self.socket.exists)
        with socket.socket(socket.AF_UNIX) as sink:
            sink.settimeout(30)
            sink.connect(str(self.socket))
            with sink.makefile("rb") as replies:
                replies.readline()
                sink.sendall(b"EHLO relay\r\n")
                while replies.readline()[3:4] == b"-":
                    pass
            peer.authenticate()
            _join(peer.connection, sink)

    def messages(self) -> list[tuple[list[bytes], bytes]]:
        """Recipients and text of each message as smtp-sink read it: LF at the end of lines, an empty line after it."""
        return [(RECIPIENT.findall(data), data) for data in (file.read_bytes() for file in self.dumps.iterdir())]


def _join(one: socket.socket, other: socket.socket) -> None:
    """Copy bytes in both directions until one side ends."""
    while ready := select.select([one, other], [], [], 30)[0]:
        for source, sink in ((one, other), (other, one)):
            if source in ready:
                data = source.recv(65536)  # more than a TLS record: none is left where select does not see it
                if not data:
                    return
                sink.sendall(data)


@contextlib.contextmanager
def sinking() -> Iterator[tuple[PostfixSink, ScratchHost]]:
    """A running sink, and the host in front of it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        sink = PostfixSink(Path(folder))
        try:
            with ScratchHost(sink.script) as host:
                yield sink, host
        finally:
            sink.process.terminate()
            sink.process.wait(10)
