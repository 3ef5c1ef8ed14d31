"""Logins at Exchange that the controller tries, as errands. canary.py says when, and what follows from one.

SMTP is in `exchange/login.py`: one connection, ten seconds at most, never a mail.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from o365mailer_operator.controller.canary import LoginAim, Tried
from o365mailer_operator.controller.context import Context
from o365mailer_operator.controller.errands import HOST_PLACES, Errand, Errands, Place
from o365mailer_operator.controller.mailer import Key
from o365mailer_operator.exchange.login import DEADLINE, LOOK_LIMIT, Credentials, Target, try_login
from o365mailer_operator.exchange.result import Fault, LoginResult, Stage
from o365mailer_operator.token.wire import trust_in

LIMIT: Final = DEADLINE + LOOK_LIMIT + 5.0
"""Seconds for one errand: more than all the deadlines in it."""
NAMESPACE_PLACES: Final = 4
"""Logins of one namespace at once: half of its host's, so that a user who makes a thousand mailers leaves room."""

log = logging.getLogger(__name__)


class Logins:
    """Tries logins, outside of reconciles. `due` makes a mailer due at once."""

    def __init__(self, context: Context, *, due: Callable[[Key], None]) -> None:
        self.lease = context.lease
        self.metrics = context.metrics
        self.clock = context.clock
        self.errands: Errands[Tried] = Errands("login", due=due, clock=context.clock, metrics=context.metrics)
        self.attempt: Callable[[Target, Credentials], Awaitable[LoginResult]] = try_login
        self.public: ssl.SSLContext | None = None
        """Trust in the public authorities, once it is needed: reading them takes 20 ms."""

    def result(self, key: Key) -> Tried | None:
        """What the mailer's last login has brought, until it is dropped."""
        found = self.errands.find(key)
        return found.result if found else None

    def is_wanted(self, key: Key, aim: LoginAim | None) -> bool:
        """Whether a login for this aim is still to be started."""
        if aim is None:
            return False
        found = self.errands.find(key)
        return found is None or found.aim != aim.name or not found.under_way

    def start(self, key: Key, aim: LoginAim) -> None:
        """Try the login as soon as there is a place for it. The mailer becomes due when it has ended."""
        failure = LoginResult(host=aim.host, port=aim.port, stage=Stage.DNS, fault=Fault.SILENT, detail="no end")
        errand = Errand(
            aim=aim.name,
            places=(
                Place(f"host {aim.host.lower()}:{aim.port}", HOST_PLACES),
                Place(f"namespace {key.namespace}", NAMESPACE_PLACES),
                Place(f"mailbox {aim.mailbox.lower()} {aim.host.lower()}:{aim.port}", 1),
            ),
            run=lambda: self._try(key, aim),
            limit=LIMIT,
            failure=Tried(aim, self.clock.now(), failure),
        )
        self.errands.start(key, errand)

    async def _try(self, key: Key, aim: LoginAim) -> Tried:
        """Raises NotLeading."""
        self.lease.check()
        target = Target(aim.host, aim.port, self._trust(aim.authorities), private=aim.authorities is not None)
        result = await self.attempt(target, Credentials(aim.mailbox, aim.token))
        self.metrics.logins.labels(result.reason).inc()
        self.metrics.login_seconds.observe(result.seconds)
        log.info(
            "a login was tried",
            extra={"mailer": str(key), "reason": result.reason, "stage": result.stage.value, "host": result.place},
        )
        return Tried(aim, self.clock.now(), result)

    def _trust(self, authorities: str | None) -> ssl.SSLContext:
        if authorities is not None:
            return trust_in(authorities)
        if self.public is None:
            self.public = trust_in(None)
        return self.public
