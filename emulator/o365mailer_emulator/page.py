"""The page: messages in the mailboxes, issued tokens, scripted failures. Plain HTML, no JavaScript.

The page shows what strangers put into messages. All of it is escaped; should that ever fail, the content security
policy still forbids scripts and foreign content.
"""

from __future__ import annotations

import email
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import HeaderParser
from typing import Any

from aiohttp import web

from o365mailer_emulator import sections
from o365mailer_emulator.ledger import Message
from o365mailer_emulator.markup import Markup, document, facts, joined, tag
from o365mailer_emulator.service import Service

REFRESH = 5  # seconds between two reloads; ?refresh=off stops them
SHOWN_SOURCE = 200_000  # bytes of a message's source that its page shows; the .eml link has all
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def header_fields(content: bytes) -> list[list[str]]:
    """The header fields in order, each as a name and its unfolded, decoded value.

    Bytes above 127 are UTF-8 (RFC 6532 §3.1), as Python's ``send_message`` writes an address that needs it.
    """
    head = content.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    parsed = HeaderParser(policy=policy.compat32).parsestr(head)
    return [[name, _decoded(str(value))] for name, value in parsed.items()]


def header_value(content: bytes, name: str) -> str:
    """The first such field's value; empty when there is none."""
    return next((value for found, value in header_fields(content) if found.lower() == name.lower()), "")


@dataclass(frozen=True)
class Pages:
    """The overview, a page for each message, and its source as a file."""

    service: Service
    addresses: Callable[[], dict[str, Any]]

    async def overview(self, request: web.Request) -> web.Response:
        """The overview. The browser reloads it every few seconds unless ``?refresh=off``."""
        fresh = request.query.get("refresh") != "off"
        toggle = tag("a", "Stop refreshing", href="/?refresh=off") if fresh else tag("a", "Keep refreshing", href="/")
        now = _moment(self.service.clock())
        header = tag(
            "header",
            tag("h1", "Office 365, emulated"),
            tag("p", "Entra's token endpoint and Exchange Online's SMTP submission, for tests and first steps."),
            tag("p", f"As of {now} UTC. ", toggle),
        )
        service = self.service
        parts = [
            sections.mailboxes(service, when=_moment),
            sections.messages(service.ledger, when=_moment, subject=_subject),
            sections.refused_tokens(service.ledger, when=_moment),
            sections.refused_logins(service.ledger, when=_moment),
            sections.simulated(service),
            sections.unknowns(service),
            sections.applications(service.tenancy),
            sections.tokens(service.ledger, when=_moment, now=service.clock()),
            sections.counters(service.ledger.tally),
            sections.directions(self.addresses(), service.tenancy),
        ]
        footer = tag("footer", "Nothing here is a real mailbox, and no credential shown here opens one.")
        return _page(
            document("Office 365, emulated", header, tag("main", *parts), footer, refresh=REFRESH if fresh else None)
        )

    async def message(self, request: web.Request) -> web.Response:
        """One message: envelope, header, readable text, source. 404 when it is not, or no longer, kept."""
        message = self._find(request)
        subject = _subject(message) or "(no subject)"
        source = message.content[:SHOWN_SOURCE].decode("utf-8", "replace")
        cut = len(message.content) > SHOWN_SOURCE
        note = tag("p", f"The first {SHOWN_SOURCE:,} bytes.", class_="soft") if cut else Markup()
        eml = tag("a", "as a file", href=f"/message/{message.number}.eml")
        header = tag("header", tag("p", tag("a", "← All messages", href="/")), tag("h1", subject))
        main = tag(
            "main",
            tag("section", tag("h2", "Envelope"), facts(_envelope(message))),
            tag("section", tag("h2", "Header"), facts((name, value) for name, value in header_fields(message.content))),
            tag("section", tag("h2", "Text"), _text(message.content)),
            tag("section", tag("h2", "Source, ", eml), note, tag("pre", source)),
        )
        return _page(document(subject, header, main))

    async def source(self, request: web.Request) -> web.Response:
        """The message as it arrived."""
        message = self._find(request)
        disposition = f'attachment; filename="message-{message.number}.eml"'
        headers = {**HEADERS, "Content-Disposition": disposition}
        return web.Response(body=message.content, content_type="message/rfc822", headers=headers)

    def _find(self, request: web.Request) -> Message:
        number = int(request.match_info["number"])
        for message in self.service.ledger.messages:
            if message.number == number:
                return message
        raise web.HTTPNotFound(text=f"There is no message {number}; it may have been forgotten by a reset.")


def _envelope(message: Message) -> list[tuple[str, object]]:
    return [
        ("From", message.reverse_path or "<> (the null reverse-path)"),
        ("To", joined(tag("div", recipient) for recipient in message.recipients)),
        ("Mailbox", message.mailbox),
        ("Received", f"{_moment(message.received)} UTC"),
        ("Transport", f"{message.tls}, {'BDAT' if message.chunked else 'DATA'}, connection {message.session}"),
        ("Token", tag("code", message.token)),
        ("Size", f"{len(message.content):,} bytes"),
    ]


def _text(content: bytes) -> Markup:
    """The first readable part, with the attachments named; HTML is shown as its source."""
    try:
        parsed = email.message_from_bytes(content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)  # noqa: S101 - the policy says so
        body = parsed.get_body(preferencelist=("plain", "html"))
        text = str(body.get_content()) if body is not None else ""
        names = [part.get_filename() or part.get_content_type() for part in parsed.iter_attachments()]
    except Exception:  # noqa: BLE001 - see _decoded
        return tag("p", "This message cannot be decoded; see the source.", class_="empty")
    listed = tag("p", "Attached: " + ", ".join(names), class_="soft") if names else Markup()
    return joined([tag("pre", text) if text.strip() else tag("p", "No text.", class_="empty"), listed])


def _subject(message: Message) -> str:
    return next((value for name, value in header_fields(message.content) if name.lower() == "subject"), "")


def _decoded(value: str) -> str:
    """The field as a person reads it; as it was sent where it cannot be decoded.

    The email package raises many kinds of error on a malformed message: HeaderParseError, LookupError, ValueError,
    AttributeError, IndexError. One message must not take the page, or ``/messages``, away from the others.
    """
    unfolded = " ".join(value.split())
    try:
        return str(make_header(decode_header(unfolded)))
    except Exception:  # noqa: BLE001
        return unfolded


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _page(text: str) -> web.Response:
    """As UTF-8, with a question mark for what that cannot say: a decoded header may hold a lone surrogate."""
    body = text.encode("utf-8", "replace")
    return web.Response(body=body, content_type="text/html", charset="utf-8", headers=HEADERS)
