"""/livez, /readyz and /metrics on their own port: as much HTTP as the postStart hook and scrapers speak."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from o365mailer_sidecar.timeouts import TIMEOUTS, Timeouts

REQUEST_LIMIT: Final = 8192
"""The most bytes of a request's head; a scraper's is under 1 kB."""

CONNECTION_LIMIT: Final = 32
"""Requests at once: the postStart hook, a person, and one scraper or two."""

Page = tuple[int, str]
"""Status and text."""

REASONS: Final = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable",
}  # fmt: skip


class Health:
    """Answers GET for the paths it is given, one request a connection."""

    def __init__(self, pages: Mapping[str, Callable[[], Page]], *, timeouts: Timeouts = TIMEOUTS) -> None:
        self.pages, self.timeouts = pages, timeouts
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        self.open += 1
        try:
            if self.open <= CONNECTION_LIMIT:
                async with asyncio.timeout(self.timeouts.request):
                    writer.write(response(*self._answer(await reader.readuntil(b"\r\n\r\n"))))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self.open -= 1
            writer.close()

    def _answer(self, request: bytes) -> Page:
        words = request.partition(b"\r\n")[0].decode("ascii", "replace").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/"):  # RFC 9112 §3
            return 400, "not an HTTP request\n"
        page = self.pages.get(words[1].partition("?")[0])
        if not page:
            return 404, f"there is {' '.join(self.pages)}\n"
        return page() if words[0] == "GET" else (405, "GET only\n")


def response(status: int, text: str) -> bytes:
    """The whole response; the connection closes after it."""
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
