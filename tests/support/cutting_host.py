"""A submission host that ends the connection after any byte of what it says or of what the relay says.

It speaks SMTP as Exchange does (STARTTLS, AUTH, PIPELINING), and counts a message as arrived when the last
byte of it has come, whatever becomes of the reply.
"""

import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from support.scratch_submission import Peer, ScratchHost

CLEAR: Final = b"250-host\r\n250-PIPELINING\r\n250 STARTTLS\r\n"
SECURE: Final = b"250-host\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH XOAUTH2\r\n"
Side = Literal["host", "relay"]
Ending = Literal["reset", "close"]
SIDES: Final[tuple[Side, ...]] = ("host", "relay")
SUBJECT: Final = re.compile(rb"(?m)^Subject: ([^\r\n]*)")


@dataclass(frozen=True)
class Cut:
    """After so many bytes of one side, counted from the beginning of the connection's nth message.

    The first message's count includes everything that comes before it.
    """

    side: Side
    size: int
    message: int = 1
    ending: Ending = "reset"


class Ended(Exception):
    """The connection is over, on purpose or because the relay has gone."""


class Talk:
    """One connection; `stage` is the last verb that was heard, or the last reply that was begun."""

    def __init__(self, peer: Peer, cut: Cut | None, arrive: Callable[[bytes], None]) -> None:
        self.peer, self.cut, self.arrive = peer, cut, arrive
        self.unread = b""
        self.said = self.heard = 0
        self.message = 1
        self.spent = self.cut_short = False
        self.stage = "connect"

    def _left(self, side: Side) -> int | None:
        """Bytes of this side until the cut; None while there is none for this message."""
        if self.cut is None or self.cut.side != side or self.cut.message != self.message:
            return None
        return self.cut.size - (self.said if side == "host" else self.heard)

    def say(self, data: bytes) -> None:
        """Send as many of these bytes as the cut allows."""
        if self.spent:  # the relay's last byte has been read: nothing is said any more, only read
            if not self.unread:
                self.end()
            return
        left = self._left("host")
        self.peer.say(data if left is None else data[:left])
        self.said += len(data) if left is None else min(left, len(data))
        if left is not None and left <= len(data):
            self.end()

    def _more(self) -> None:
        left = self._left("relay")
        if self.spent or left == 0:
            self.end()
        data = self.peer.connection.recv(65536)
        if not data:
            raise Ended
        taken = data if left is None else data[:left]
        self.heard += len(taken)
        self.unread += taken
        self.spent = left is not None and len(taken) == left

    def line(self) -> bytes:
        """The next line without its end."""
        while b"\r\n" not in self.unread:
            self._more()
        line, _, self.unread = self.unread.partition(b"\r\n")
        self.stage = line[:4].decode().strip()
        return line

    def end(self) -> None:
        """Raises Ended: the connection is gone."""
        self.cut_short = True
        if self.cut is None or self.cut.ending == "reset":
            linger = struct.pack("ii", 1, 0)
            self.peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.peer.connection.close()
        raise Ended

    def converse(self) -> None:
        """Serve a session from the greeting on. Raises Ended."""
        if self._left("relay") == 0:
            self.end()
        self.say(b"220 host ESMTP\r\n")
        self.line()
        self.say(CLEAR)
        self.line()
        self.say(b"220 go\r\n")
        assert not self.unread
        self.peer.connection = self.peer.context.wrap_socket(self.peer.connection, server_side=True)
        while True:
            self._obey(self.line())

    def _obey(self, line: bytes) -> None:
        verb = line[:4].upper()
        if verb == b"DATA":
            self._data()
        else:
            replies = {b"EHLO": SECURE, b"AUTH": b"235 ok\r\n", b"QUIT": b"221 bye\r\n"}
            self.say(replies.get(verb, b"250 ok\r\n"))

    def _data(self) -> None:
        self.say(b"354 go\r\n")
        self.stage = "content"
        while b"\r\n.\r\n" not in self.unread:
            self._more()
        content, _, self.unread = self.unread.partition(b"\r\n.\r\n")
        self._arrive((content + b"\r\n").replace(b"\r\n.", b"\r\n"))

    def _arrive(self, content: bytes) -> None:
        self.arrive(content)
        self.stage = "verdict"
        self.say(b"250 2.0.0 taken\r\n")
        self.said = self.heard = 0
        self.message += 1
        self.stage = "next"


class CuttingHost(ScratchHost):
    """Cuts the next connection that comes after `cut` was set; later ones are left alone."""

    def __init__(self) -> None:
        super().__init__(self._converse)
        self.cut: Cut | None = None
        self.contents: dict[str, list[bytes]] = {}
        """The messages that arrived, by subject."""
        self.cut_talks: list[Talk] = []

    def arrived(self, subject: str) -> int:
        """How often the message arrived."""
        return len(self.contents.get(subject, ()))

    def _arrive(self, content: bytes) -> None:
        found = SUBJECT.search(content)
        self.contents.setdefault(found[1].decode("latin-1") if found else "", []).append(content)

    def _converse(self, peer: Peer) -> None:
        cut, self.cut = self.cut, None
        # Else Nagle's algorithm keeps replies back, and a reset throws away what has been said.
        peer.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk = Talk(peer, cut, self._arrive)
        if cut:
            self.cut_talks.append(talk)
        with suppress(Ended):
            talk.converse()
