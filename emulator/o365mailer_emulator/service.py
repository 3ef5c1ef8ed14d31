"""Puts the emulator's parts together. The only place that changes or resets its state."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable

from o365mailer_emulator.ledger import Ledger
from o365mailer_emulator.script import Script
from o365mailer_emulator.session import Session
from o365mailer_emulator.signing import Mint
from o365mailer_emulator.submission import Submission
from o365mailer_emulator.tenancy import Tenancy


class Service:
    """Everything that the three addresses serve.

    ``clock`` returns epoch seconds and ``fresh_id`` a random hexadecimal text of so many bytes. Both are passed in, so
    that a test can control them.
    """

    def __init__(
        self,
        *,
        tenancy: Tenancy,
        tls_context: ssl.SSLContext,
        clock: Callable[[], float],
        fresh_id: Callable[[int], str],
    ) -> None:
        self._initial = tenancy
        self.tenancy = tenancy.copy()
        self._clock = clock
        self.tls_context = tls_context
        self.resets = 0
        """How often `reset` was called: a request to Entra that a rule held up meanwhile leaves no trace."""
        self.started = datetime.datetime.fromtimestamp(clock(), datetime.UTC)
        self.ledger = Ledger(clock=self.clock)
        self.script = Script()
        self.mint = Mint(clock=self.clock, fresh_id=fresh_id)
        self.submission = Submission(
            tenancy=self.tenancy,
            ledger=self.ledger,
            script=self.script,
            tls_context=tls_context,
            mint=self.mint,
            session=Session,
        )

    def clock(self) -> float:
        """Epoch seconds, with the setting ``clockOffset``."""
        return self._clock() + self.tenancy.settings.clock_offset

    def replace_tenancy(self, tenancy: Tenancy, *, at_once: bool = False) -> None:
        """Replaces the configuration. The ledger keeps what happened before. ``at_once``: rights do not spread."""
        self.tenancy = tenancy
        self.submission.replace(tenancy, at_once=at_once)
        self.ledger.note("configuration")

    async def reset(self) -> None:
        """Restores the state at the start and resets open connections. Issued tokens stay valid.

        A request to Entra that a rule holds up is not answered; its connection is reset when the rule's time is over.
        """
        self.resets += 1
        self.script.clear()
        await self.submission.drop()
        self.replace_tenancy(self._initial.copy(), at_once=True)
        self.ledger.clear()
        self.submission.traffic.clear()
        self.submission.lockouts.clear()
