"""What happened: messages that arrived, tokens issued, counters and a numbered list of events.

Every client of the control address can read all of it, so it never contains a token or a secret. A reader can wait for
a change instead of sleeping (``until``).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message that a mailbox accepted, with facts about its session."""

    number: int
    mailbox: str
    reverse_path: str
    recipients: list[str]
    parameters: list[str]
    content: bytes
    received: float
    token: str
    tls: str
    chunked: bool
    session: int


@dataclass(frozen=True, kw_only=True)
class IssuedToken:
    """An issued token by its identifier (the claim ``uti``), never the token itself. Times are epoch seconds."""

    uti: str
    client_id: str
    tenant: str
    audience: str
    issued: float
    expires: float
    credential: str


@dataclass
class Tally:
    """The counters. Only ``open_now`` ever decreases."""

    connections: int = 0
    open_now: int = 0
    open_peak: int = 0
    tls_handshakes: int = 0
    tls_failures: int = 0
    auth_ok: int = 0
    auth_failed: int = 0
    auth_expired: int = 0
    messages: int = 0
    tokens_issued: int = 0
    tokens_refused: int = 0
    authenticated_peak: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    replies: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)


class Ledger:
    """Everything since the last reset. It is used in one event loop, so it needs no locks."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.tally = Tally()
        self._changed = asyncio.Event()
        self.clear()

    def clear(self) -> None:
        """Forgets everything. Numbers start again at 1."""
        open_now = self.tally.open_now
        self.tally = Tally(open_now=open_now, open_peak=open_now)
        self.messages: deque[Message] = deque()
        self.tokens: list[IssuedToken] = []
        self.events: list[dict[str, Any]] = []
        self._notify()

    def note(self, kind: str, **details: Any) -> None:
        """Adds an event. ``details`` must be JSON and contain no secrets."""
        self.events.append({"n": len(self.events) + 1, "at": self.clock(), "kind": kind, **details})
        self._notify()

    def keep(self, message: Message, *, kept: int) -> None:
        """Adds a message. Of all mailboxes' messages, only the latest ``kept`` stay."""
        self.tally.messages += 1
        self.messages.append(message)
        while len(self.messages) > kept:
            self.messages.popleft()
        self.note("message", message=message.number, mailbox=message.mailbox, session=message.session)

    def issue(self, token: IssuedToken) -> None:
        """Records a token by its identifier."""
        self.tally.tokens_issued += 1
        self.tokens.append(token)
        self.note("token", uti=token.uti, client=token.client_id, credential=token.credential)

    async def until(self, satisfied: Callable[[], bool], *, seconds: float) -> bool:
        """Waits until ``satisfied`` is true, at most ``seconds``. Returns whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not satisfied():
                    await self._changed.wait()
        return satisfied()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
