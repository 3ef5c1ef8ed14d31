"""Apps that send and wait for each reply. Bare protocols on uvloop, so that they are not what is
measured.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, cast

import uvloop

MAILBOX: Final = "noreply@contoso.com"
LINE: Final = b"x" * 76 + b"\r\n"
LOGIN: Final = b"AUTH PLAIN " + base64.b64encode(f"\0{MAILBOX}\0any".encode()) + b"\r\n"


def message(size: int) -> bytes:
    """A message of about `size` bytes, with headers and the end of data."""
    head = f"From: {MAILBOX}\r\nSubject: bench\r\n\r\n".encode()
    return head + LINE * max(1, size // len(LINE)) + b".\r\n"


class App(asyncio.Protocol):
    """One connection that sends its pieces one by one, each after the reply to the one before."""

    def __init__(self, script: Iterator[bytes], *, heard: Callable[[bytes, bytes], None] | None = None) -> None:
        self.script, self.heard = script, heard
        self.said = self.buffer = b""
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read a reply or a part of one."""
        self.buffer += data
        last = self.buffer[self.buffer.rfind(b"\n", 0, -1) + 1 :]
        if not last.endswith(b"\n") or last[3:4] == b"-":
            return
        reply, self.buffer = last, b""
        if reply[:1] not in b"23" or (self.said.endswith(b".\r\n") and not reply.startswith(b"250")):
            self._end(RuntimeError(f"not accepted: {reply.decode()}"))
            return
        if self.heard:
            self.heard(self.said, reply)
        self.said = next(self.script, b"")
        if self.said:
            self.transport.write(self.said)
        else:
            self._end()

    def _end(self, error: Exception | None = None) -> None:
        self.transport.close()
        if not self.over.done():
            if error:
                self.over.set_exception(error)
            else:
                self.over.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that ends too early is an error."""
        self._end(error or ConnectionError("the relay hung up"))


def script(content: bytes, *, messages: int, login: bool = False) -> Iterator[bytes]:
    """The pieces of a session."""
    yield b"EHLO bench\r\n"
    if login:
        yield LOGIN
    for _ in range(messages):
        yield f"MAIL FROM:<{MAILBOX}>\r\n".encode()
        yield b"RCPT TO:<a@example.com>\r\n"
        yield b"DATA\r\n"
        yield content
    yield b"QUIT\r\n"


async def session(port: int, said: Iterator[bytes], *, heard: Callable[[bytes, bytes], None] | None = None) -> None:
    """Send all pieces over one connection. Raises RuntimeError for a refusal, OSError for a broken connection."""
    _, app = await asyncio.get_running_loop().create_connection(lambda: App(said, heard=heard), "127.0.0.1", port)
    await app.over


async def kept(port: int, *, apps: int, messages: int, size: int, login: bool = False) -> None:
    """Each app sends all of its share over one connection."""
    content = message(size)
    share = messages // apps
    await asyncio.gather(*(session(port, script(content, messages=share, login=login)) for _ in range(apps)))


async def new(port: int, *, apps: int, messages: int, size: int, login: bool = False) -> None:
    """Each message has a connection of its own."""
    content = message(size)

    async def run() -> None:
        for _ in range(messages // apps):
            await session(port, script(content, messages=1, login=login))

    await asyncio.gather(*(run() for _ in range(apps)))


def timed(work: Coroutine[Any, Any, None]) -> float:
    """Run it and return the seconds that it took."""

    async def run() -> float:
        began = time.perf_counter()
        await work
        return time.perf_counter() - began

    return uvloop.run(run())
