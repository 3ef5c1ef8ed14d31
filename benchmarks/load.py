"""Apps: they send, wait for each reply, and do nothing else."""

import asyncio
import time
from collections.abc import Awaitable, Callable

LINE = b"x" * 76 + b"\r\n"


def message(octets: int) -> bytes:
    """About so many octets, with headers, ending with the end of data."""
    return b"From: noreply@contoso.com\r\nSubject: bench\r\n\r\n" + LINE * (octets // len(LINE)) + b".\r\n"


class App:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> None:
        """Connect and greet."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        await self.reader.readline()
        await self.ask(b"EHLO bench\r\n")

    async def ask(self, octets: bytes) -> bytes:
        """The last line of the reply."""
        self.writer.write(octets)
        while (line := await self.reader.readline())[3:4] == b"-":
            pass
        return line

    async def send(self, content: bytes) -> None:
        """One message, which must be accepted."""
        await self.ask(b"MAIL FROM:<noreply@contoso.com>\r\n")
        await self.ask(b"RCPT TO:<a@example.com>\r\n")
        await self.ask(b"DATA\r\n")
        reply = await self.ask(content)
        if not reply.startswith(b"250"):
            raise RuntimeError(f"not accepted: {reply.decode()}")

    async def close(self) -> None:
        """Leave politely."""
        await self.ask(b"QUIT\r\n")
        self.writer.close()


async def kept(port: int, *, apps: int, messages: int, octets: int) -> None:
    """Each app sends all of its share over one connection."""
    content = message(octets)

    async def run() -> None:
        app = App(port)
        await app.open()
        for _ in range(messages // apps):
            await app.send(content)
        await app.close()

    await asyncio.gather(*(run() for _ in range(apps)))


async def new(port: int, *, apps: int, messages: int, octets: int) -> None:
    """Each message comes over a connection of its own."""
    content = message(octets)

    async def run() -> None:
        for _ in range(messages // apps):
            app = App(port)
            await app.open()
            await app.send(content)
            await app.close()

    await asyncio.gather(*(run() for _ in range(apps)))


def timed(load: Callable[..., Awaitable[None]], port: int, *, apps: int, messages: int, octets: int) -> float:
    """Seconds."""

    async def run() -> float:
        began = time.perf_counter()
        await load(port, apps=apps, messages=messages, octets=octets)
        return time.perf_counter() - began

    return asyncio.run(run())
