"""Exchange's submission service: listens, runs a session for each connection, assigns each mailbox's slots."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from o365mailer_emulator.bearer import Directory, Grant
from o365mailer_emulator.behaviour import Behaviour, behaviour
from o365mailer_emulator.errors import ConnectionEnded
from o365mailer_emulator.ledger import Ledger
from o365mailer_emulator.lockout import Lockouts
from o365mailer_emulator.rights import Rights
from o365mailer_emulator.script import Script
from o365mailer_emulator.signing import Mint
from o365mailer_emulator.tenancy import Mailbox, Tenancy
from o365mailer_emulator.traffic import Traffic
from o365mailer_emulator.wire import Wire


class Session(Protocol):
    """What this module needs of a session. ``session`` has the dialogue."""

    wire: Wire
    number: int
    grant: Grant | None

    async def run(self) -> None:
        """Speaks until one side ends the session. Raises ConnectionEnded."""


class Submission:
    """The service at smtp.office365.com:587. A change of the configuration replaces ``tenancy`` as a whole."""

    def __init__(
        self,
        *,
        tenancy: Tenancy,
        ledger: Ledger,
        script: Script,
        tls_context: ssl.SSLContext,
        mint: Mint,
        session: Callable[[Wire, Submission, int], Session],
    ) -> None:
        self.ledger = ledger
        self.tenancy = tenancy
        self.rights = Rights(tenancy, clock=ledger.clock)
        self.script = script
        self.tls_context = tls_context
        self.verification_key = mint.key.private.public_key()
        self.clock, self.fresh_id = ledger.clock, mint.fresh_id
        self.traffic = Traffic(clock=ledger.clock)
        self.lockouts = Lockouts(clock=ledger.clock)
        self._session = session
        self._sessions: dict[asyncio.Task[None], Session] = {}
        self._authenticated: list[Session] = []
        self._number = 0

    async def listen(self, host: str | None, port: int) -> asyncio.Server:
        """Listens; port 0 takes a free port. Raises OSError if the address cannot be used."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(self._connected, host, port, backlog=512)

    def replace(self, tenancy: Tenancy, *, at_once: bool = False) -> None:
        """Put a configuration in force. Rights in it spread as the setting ``effectiveAfter`` says, or at once."""
        self.tenancy = tenancy
        if at_once:
            self.rights.reset(tenancy)
        else:
            self.rights.change(tenancy)

    @property
    def directory(self) -> Directory:
        """The configuration as a login sees it now."""
        return Directory(self.tenancy, self.rights.in_force, self.verification_key, self.behaviour.no_right)

    def enter(self, session: Session) -> None:
        """Registers a session that has authenticated."""
        self._authenticated.append(session)
        tally = self.ledger.tally
        tally.authenticated_peak = max(tally.authenticated_peak, len(self._authenticated))

    @property
    def behaviour(self) -> Behaviour:
        """The values in force for undocumented behaviour."""
        return behaviour(self.tenancy.settings)

    def full(self, mailbox: Mailbox) -> bool:
        """Whether every slot of the mailbox is in use, so that AUTH gets 432."""
        if self.behaviour.slots == "connection":
            taken = len(self._open(mailbox))
        else:
            taken = self.traffic.running(mailbox.address)
        return taken >= self.tenancy.settings.connections_per_mailbox

    def crowded(self, session: Session) -> bool:
        """Whether the session's message finds no slot. If connections use slots, the oldest connections have them."""
        if session.grant is None:
            return False
        if self.behaviour.slots == "submission":
            return self.full(session.grant.mailbox)
        return session in self._open(session.grant.mailbox)[self.tenancy.settings.connections_per_mailbox :]

    def lock(self, mailbox: Mailbox) -> str | None:
        """The name of the reply that refuses every message of the mailbox, which its errors have locked."""
        lock = self.lockouts.lock(mailbox.address)
        return lock.reply if lock else None

    def heard(self, mailbox: Mailbox, reply: str) -> None:
        """Counts a reply to the mailbox; too many errors lock it."""
        lock = self.lockouts.heard(mailbox.address, reply, self.behaviour.lock_after)
        if lock:
            self.ledger.note("locked", mailbox=mailbox.address, reply=lock.reply, until=lock.until)

    def _open(self, mailbox: Mailbox) -> list[Session]:
        address = mailbox.address.lower()
        return [
            other for other in self._authenticated if other.grant and other.grant.mailbox.address.lower() == address
        ]

    async def drop(self) -> None:
        """Resets every open connection and waits until its session has ended."""
        tasks = list(self._sessions)
        for task, session in list(self._sessions.items()):
            session.wire.reset()
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _connected(self) -> Wire:
        return _Accepted(self)

    def begin(self, wire: Wire) -> None:
        """Starts the session of a new connection."""
        self._number += 1
        session = self._session(wire, self, self._number)
        task = asyncio.get_running_loop().create_task(self._serve(session))
        self._sessions[task] = session
        task.add_done_callback(self._sessions.pop)

    async def _serve(self, session: Session) -> None:
        tally = self.ledger.tally
        tally.connections += 1
        tally.open_now += 1
        tally.open_peak = max(tally.open_peak, tally.open_now)
        self.ledger.note("connected", session=session.number)
        try:
            with suppress(ConnectionEnded, asyncio.CancelledError):
                await session.run()
        finally:
            session.wire.close()
            if session in self._authenticated:
                self._authenticated.remove(session)
            self.ledger.tally.open_now -= 1
            self.ledger.note("closed", session=session.number)


class _Accepted(Wire):
    """A wire that starts its session once it is connected."""

    def __init__(self, service: Submission) -> None:
        super().__init__()
        self._service = service

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._service.begin(self)
