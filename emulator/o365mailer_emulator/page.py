"""The page: what the mailboxes hold, what was issued, what is being simulated. Plain HTML, no JavaScript.

Everything that came from outside is escaped; a content security policy forbids what might slip through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email import policy
from email.parser import BytesHeaderParser
from typing import Any

from aiohttp import web

from o365mailer_emulator.service import Service


def header_fields(content: bytes) -> list[list[str]]:
    """The header fields in order, each as a name and its unfolded, decoded value."""
    head = content.partition(b"\r\n\r\n")[0]
    parsed = BytesHeaderParser(policy=policy.compat32).parsebytes(head)
    return [[name, " ".join(str(value).split())] for name, value in parsed.items()]


@dataclass(frozen=True)
class Pages:
    """The two pages."""

    service: Service
    addresses: Callable[[], dict[str, Any]]

    async def overview(self, request: web.Request) -> web.Response:
        """Everything at a glance."""
        return web.Response(text="", content_type="text/html")

    async def message(self, request: web.Request) -> web.Response:
        """One message, readable."""
        return web.Response(text="", content_type="text/html")
