"""What a program really sends: a connection between it and the sidecar that keeps every byte."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time

BEGIN = re.compile(rb"^DATA[ \t]*\r\n", re.IGNORECASE | re.MULTILINE)
PIPELINED = 1.0
"""Seconds after the message in which a command still belongs to it: Postfix says QUIT at once, swaks as it gives up."""
END = b"\r\n.\r\n"


class Tap:
    """Listens on a free port and hands everything on to another one. Close it when the program has ended.

    With `hold` it keeps to itself what is answered to a message.
    """

    def __init__(self, port: int, *, hold: bool = False) -> None:
        self.target = port
        self.hold, self.held, self.left = hold, threading.Event(), threading.Event()
        """`held` once a whole message was sent; `left` once the program has given up: it closes, or says goodbye."""
        self.held_at = 0.0
        self.said: list[bytearray] = []
        """What each session's client sent."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    @property
    def port(self) -> int:
        """Where the program connects."""
        return int(self.listener.getsockname()[1])

    def messages(self) -> list[bytes]:
        """Every message that was sent up to its end of data, its dots unstuffed (RFC 5321 §4.5.2)."""
        return [message for said in self.said for message in messages(bytes(said))]

    def close(self) -> None:
        """No more sessions; those that are open are waited for."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:  # the relay has ended: so does the session
                client.close()
                continue
            kept = bytearray()
            self.said.append(kept)
            for source, sink, copy in ((client, server, kept), (server, client, None)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=self._pump, args=(source, sink, copy), daemon=True)
                self.threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, copy: bytearray | None) -> None:
        """One direction, to its end."""
        with contextlib.suppress(OSError):
            while data := source.recv(2**18):
                if copy is not None:
                    copy += data
                    self._look(copy)
                elif self.held.is_set():
                    continue
                sink.sendall(data)
        if self.held.is_set():
            if copy is None:  # a program that has said QUIT in advance waits for its reply all the same
                return
            self.left.set()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _look(self, said: bytearray) -> None:
        if self.hold and not self.held.is_set() and messages(bytes(said)):
            self.held_at = time.monotonic()
            self.held.set()
        elif self.held.is_set() and time.monotonic() - self.held_at > PIPELINED:
            self.left.set()


def messages(said: bytes) -> list[bytes]:
    """The messages in one session's bytes."""
    found = []
    position = 0
    while begin := BEGIN.search(said, position):
        end = said.find(END, begin.end() - 2)
        if end < 0:
            break
        data = said[begin.end() - 2 : end + 2]
        found.append(data.replace(b"\r\n..", b"\r\n.")[2:])
        position = end + len(END)
    return found
