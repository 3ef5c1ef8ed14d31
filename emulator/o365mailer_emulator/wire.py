"""One SMTP connection as bytes: exact line ends, exact chunks, STARTTLS, and a TCP reset.

It does not use asyncio's streams: their reader keeps bytes that arrived before TLS and returns them afterwards as if
they had come through TLS, and they cannot send a TCP reset.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct

from o365mailer_emulator.errors import ConnectionEnded, LineTooLong

CRLF = b"\r\n"
END_OF_DATA = b"\r\n.\r\n"
HIGH_WATER = 1 << 20  # unread bytes after which the client has to wait


class Wire(asyncio.Protocol):
    """Reads lines, chunks and dot-terminated data; writes bytes. A wait raises ConnectionEnded if the client leaves."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.ended = asyncio.Event()
        self.tls = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._arrived.set()
        if len(self._buffer) > HIGH_WATER and self._transport is not None:
            self._transport.pause_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.ended.set()
        self._arrived.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    @property
    def peer(self) -> str:
        """The client's address."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return str(name[0]) if name else "unknown"

    def pending(self) -> int:
        """How many bytes have arrived that were not read yet."""
        return len(self._buffer)

    async def line(self, *, limit: int) -> bytes:
        """The next line without its CRLF. A lone LF or CR ends nothing.

        A line over ``limit`` bytes is discarded to its end, and LineTooLong is raised once.
        """
        try:
            return await self._until(CRLF, limit=limit)
        except LineTooLong:
            await self._skip(CRLF)
            raise

    async def data(self, *, limit: int) -> bytes:
        """What follows 354 up to CRLF.CRLF, dots unstuffed (RFC 5321 §4.5.2). LineTooLong over ``limit`` bytes."""
        while len(self._buffer) < 3:
            await self._more()
        if self._buffer.startswith(b".\r\n"):
            del self._buffer[:3]
            return b""
        content = await self._until(END_OF_DATA, limit=limit) + CRLF
        if content.startswith(b"."):
            content = content[1:]
        return content.replace(b"\r\n.", b"\r\n")

    async def chunk(self, size: int) -> bytes:
        """Exactly ``size`` bytes (RFC 3030 §2)."""
        while len(self._buffer) < size:
            await self._more()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def write(self, content: bytes) -> None:
        """Sends; waits while the client does not read. Raises ConnectionEnded on an ended connection."""
        if self._transport is None or self.ended.is_set():
            raise ConnectionEnded("the client has gone")
        self._transport.write(content)
        if not self._writable.is_set():
            await self._writable.wait()

    async def secure(self, context: ssl.SSLContext) -> None:
        """The server's side of the handshake. Discards what came in clear after STARTTLS (RFC 3207 §6)."""
        if self._transport is None:
            raise ConnectionEnded("the client has gone")
        self._buffer.clear()
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(self._transport, self, context, server_side=True)
        except (OSError, ssl.SSLError) as wrong:
            raise ConnectionEnded(f"the TLS handshake failed: {type(wrong).__name__}") from wrong
        if secured is None or self.ended.is_set():
            raise ConnectionEnded("the client left during the TLS handshake")
        self._transport = secured
        session = secured.get_extra_info("ssl_object")
        self.tls = f"{session.version()} {session.cipher()[0]}"

    def close(self) -> None:
        """Ends the connection in order."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Ends the connection with a TCP reset. Data in flight is lost."""
        if self._transport is None:
            return
        connection: socket.socket | None = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def _until(self, mark: bytes, *, limit: int) -> bytes:
        searched = 0
        while (found := self._buffer.find(mark, searched)) < 0:
            if len(self._buffer) > limit:
                raise LineTooLong
            searched = max(0, len(self._buffer) - len(mark) + 1)
            await self._more()
        if found > limit:
            raise LineTooLong
        taken = bytes(self._buffer[:found])
        del self._buffer[: found + len(mark)]
        return taken

    async def _skip(self, mark: bytes) -> None:
        while (found := self._buffer.find(mark)) < 0:
            del self._buffer[: max(0, len(self._buffer) - len(mark) + 1)]
            await self._more()
        del self._buffer[: found + len(mark)]

    async def _more(self) -> None:
        if self.ended.is_set():
            raise ConnectionEnded("the client has gone")
        self._arrived.clear()
        if self._transport is not None:
            self._transport.resume_reading()
        await self._arrived.wait()
