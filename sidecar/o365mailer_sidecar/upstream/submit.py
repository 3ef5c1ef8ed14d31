"""Submits one message to Exchange. Raises `Blocked` if the relay knows in advance that an attempt would fail."""

import asyncio
from typing import Final

from o365mailer_contract.quantities import seconds
from o365mailer_contract.replies import Outcome
from o365mailer_sidecar import replies
from o365mailer_sidecar.context import Context
from o365mailer_sidecar.errors import Away, Blocked, Distrusted, Lost, NotAdmitted, NotReady, TokenRefused, Withdrawn
from o365mailer_sidecar.mailer import Authorities, Mailer
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.outgoing import Outgoing
from o365mailer_sidecar.message.policy import Applied, policy_of
from o365mailer_sidecar.reply import shortened
from o365mailer_sidecar.smtp.connection import PATIENCE, Connection, SmtpClient
from o365mailer_sidecar.smtp.protocol import CLOSING
from o365mailer_sidecar.telemetry.metrics import labels
from o365mailer_sidecar.upstream.attempt import Attempt
from o365mailer_sidecar.upstream.blocks import (
    NOT_ASKED,
    NOT_READY,
    TOKEN_REFUSED,
    HostBackoff,
    RateLimit,
    SendGuard,
    TokenBackoff,
)
from o365mailer_sidecar.upstream.classify import Verdicts, auth_refusal, classify, classify_all, told
from o365mailer_sidecar.upstream.fair_share import FairShare
from o365mailer_sidecar.upstream.pool import Pool

THROTTLED_TRIES: Final = 6
"""How often one message is offered to a mailbox that answers 432 before the app, or the queue, is told."""

Submitted = tuple[Envelope, Verdicts]


class Upstream:
    """Submits to the host that the mailer directory names."""

    def __init__(self, context: Context, *, name: str = "localhost") -> None:
        self.directory, self.clock = context.directory, context.clock
        self.log, self.metrics = context.log, context.metrics
        self.client = SmtpClient(name=name, now=self.clock.now, metrics=self.metrics, refusal=auth_refusal)
        self.authorities = Authorities()
        self.host, self.token, self.rate = HostBackoff(), TokenBackoff(), RateLimit()
        self.guard = SendGuard(context)
        self.share = FairShare(dice=context.dice)
        self.pool = Pool(connect=self._connect, share=self.share)
        context.metrics.watch("concurrency_window", lambda: self.share.share(limit=self.pool.limit))
        context.metrics.watch("blocked", self._blocks)

    # --- Whether an attempt makes sense -------------------------------------------------------------------------------

    def blocked(self) -> Blocked | None:
        """Why an attempt would fail now; None if it may succeed."""
        try:
            self._check(self._mailer())
        except Blocked as blocked:
            return blocked
        return None

    def _blocks(self) -> dict[str, float]:
        """What the metric shows: the guard's reasons, and a refusal of the token in use."""
        found, token = self.guard.open_for(), self.directory.token
        if token and token.value == self.token.token:
            found.add((Outcome.UNAUTHORIZED, TOKEN_REFUSED))
        return {labels(outcome=outcome.value, reason=reason): 1 for outcome, reason in found}

    def _mailer(self) -> Mailer:
        try:
            return self.directory.mailer()
        except NotReady as error:
            reply = replies.filled(replies.NOT_READY, reason=shortened(str(error)))
            raise Blocked(NOT_READY, reply, until=float("inf")) from None

    def _check(self, mailer: Mailer, message: Applied | None = None) -> None:
        now = self.clock.monotonic()
        self.token.check(mailer.token.value, mailer.settings.mailbox, now=now)
        self.guard.belongs_to(mailer.settings.mailbox)
        self.guard.check(message)
        self.host.check(now=now)

    # --- `limits.messagesPerMinute` -----------------------------------------------------------------------------------

    @property
    def _per_minute(self) -> int | None:
        return self.directory.settings.limits.messages_per_minute if self.directory.settings else None

    def reserve_moment(self, *, now: float) -> float:
        """When the next message from the spool may begin. Both are times of the event loop."""
        return self.rate.reserve(per_minute=self._per_minute, now=now)

    def begin_spooled(self) -> None:
        """A message from the spool begins: use up the moment that was reserved."""
        self.rate.use(per_minute=self._per_minute, now=self.clock.monotonic())

    async def _wait_for_moment(self, mailer: Mailer) -> None:
        """Raises Blocked when an app's next moment would come after `confirmWithin`."""
        limit, now = mailer.settings.limits.messages_per_minute, self.clock.monotonic()
        moment = self.rate.moment(per_minute=limit, now=now)
        if moment - now > seconds(mailer.settings.delivery.confirm_within):
            reply = replies.filled(replies.PACED, limit=limit, seconds=round(moment - now))
            raise Blocked(NOT_ASKED, reply, until=moment)
        self.rate.take(moment, per_minute=limit)
        if moment > now:
            await asyncio.sleep(moment - now)

    # --- One message --------------------------------------------------------------------------------------------------

    async def transact(self, message: Message, attempt: Attempt) -> Submitted:
        """The envelope as it was sent, after policy, and what Exchange's replies mean.

        If Exchange refuses the token, the message is tried again if the directory has a newer one by then. If the
        mailbox has no connection for it (432), it is tried a few times, as long as an app would wait for the next.
        Raises Blocked, Refused, Lost, Withdrawn, Damaged, StoreFailed.
        """
        began, tries = self.clock.monotonic(), 0
        while True:
            mailer = self._mailer()
            try:
                submitted = await self._on_live_connection(mailer, message, attempt)
            except Blocked as blocked:
                if blocked.reason == TOKEN_REFUSED and self._has_newer_token(mailer):
                    continue
                raise
            except NotAdmitted as error:  # 432 to AUTH
                tries += 1
                if self._gives_up(began, tries):
                    raise Blocked(NOT_ASKED, told(classify(error.reply)), until=self.share.resume_at) from None
                continue
            if submitted[1].decisive.outcome is not Outcome.THROTTLED:
                return submitted
            attempt.returned()
            tries += 1
            if attempt.withdrawn or self._gives_up(began, tries):
                return submitted

    def _has_newer_token(self, mailer: Mailer) -> bool:
        self.directory.look()
        return self._mailer().token.value != mailer.token.value

    def _gives_up(self, began: float, tries: int) -> bool:
        settings = self.directory.settings
        patience = seconds(settings.delivery.confirm_within) if settings else 0.0
        return tries == THROTTLED_TRIES or self.share.resume_at > began + patience

    async def _on_live_connection(self, mailer: Mailer, message: Message, attempt: Attempt) -> Submitted:
        """A connection that turns out to be dead is replaced once, while no byte of the message has left."""
        # By the settings that it is sent with, whatever was said at MAIL and RCPT; before asking whether Exchange is
        # there, because what is not allowed now will not be when it is back.
        applied = policy_of(mailer.settings).applied(message)
        self._check(mailer, applied)
        if not attempt.paced and mailer.settings.limits.messages_per_minute:
            await self._wait_for_moment(mailer)
        attempt.paced = True
        try:
            connection = await self.pool.take(mailer)
            reused = connection.messages > 0
            verdicts = await self._over(connection, applied, attempt)
            # 421 on a connection that was idle is the host's right, and no verdict (RFC 5321 §3.8).
            if attempt.sending or not (reused and verdicts.decisive.reply.code == CLOSING):
                return applied.envelope, verdicts
        except Lost:
            if not reused or attempt.sending:
                raise
        if attempt.withdrawn:
            raise Withdrawn
        connection = await self.pool.take(mailer, fresh=True)
        return applied.envelope, await self._over(connection, applied, attempt)

    async def _over(self, connection: Connection, message: Applied, attempt: Attempt) -> Verdicts:
        """Over this connection of the pool, which gets it back."""
        began, cooldown, probe = self.clock.monotonic(), self.guard.cooldown, False
        try:
            attempt.begin()
            self.guard.check(message)  # again: the message may have waited for its connection
            probe = cooldown.begin_probe()
            answers = await connection.transact(Outgoing(message), attempt)
            self.guard.heard(message, answers)
        except BaseException:
            self.pool.cut(connection)
            raise
        finally:
            if probe:
                cooldown.probing = False
            now = self.clock.monotonic()
            attempt.upstream += now - began
            self.metrics.observe("upstream_seconds", now - began)
        verdicts = classify_all(message.envelope, answers)
        if verdicts.decisive.outcome is Outcome.ACCEPTED:
            self.share.accepted(connection, seconds=now - began, limit=self.pool.limit, now=now)
        elif verdicts.decisive.outcome is Outcome.THROTTLED:
            self.share.throttled(connection, now=now)
        self.pool.give_back(connection)
        return verdicts

    # --- Connections --------------------------------------------------------------------------------------------------

    async def _connect(self, mailer: Mailer) -> Connection:
        """Raises Blocked, or NotAdmitted for 432."""
        # Checked again: a message that waited for its turn in the pool may wait for nothing by now.
        self._check(mailer)
        began = self.clock.monotonic()
        try:
            connection = await self.client.connect(mailer, self.authorities(mailer.ca))
        except NotAdmitted as error:
            self._not_admitted(error)
            raise
        except Away as error:
            raise self._away(error) from None
        except TokenRefused as error:
            raise self._token_refused(error, mailer) from None
        except asyncio.CancelledError:
            # The app was told to try again while nothing answered: the next one should be told at once.
            if self.clock.monotonic() - began > PATIENCE:
                self._away(Away(f"{mailer.settings.submission.host} does not answer"))
            raise
        self._connected("opened")
        self.token.accepted()
        return connection

    def _connected(self, result: str) -> None:
        self.metrics.count("upstream_connections_total", labels(result=result))
        if self.host.succeeded():
            self.log.event("upstream_back")

    def _not_admitted(self, error: NotAdmitted) -> None:
        """A reply to AUTH that is not about the token. Returns for 432; raises Blocked for all others."""
        verdict = classify(error.reply)
        if verdict.outcome is Outcome.THROTTLED:
            self.share.throttled(None, now=self.clock.monotonic())
            self._connected(verdict.outcome.value)
        elif verdict.outcome in (Outcome.QUOTA, Outcome.LOCKED):
            self.guard.mailbox_refused(verdict)
            self._connected(verdict.outcome.value)
            self.guard.check()
        else:
            raise self._away(error) from None

    def _away(self, error: Away) -> Blocked:
        """Note that the host could not be reached; what to raise."""
        news = self.host.failed(str(error), now=self.clock.monotonic())
        self._failed("distrusted" if isinstance(error, Distrusted) else "away", error, news=news)
        return self.host.blocked()

    def _token_refused(self, error: TokenRefused, mailer: Mailer) -> Blocked:
        """Note that Exchange refused the token; what to raise."""
        news = self.token.refused(mailer.token.value, str(error), now=self.clock.monotonic())
        self._failed("token_refused", error, news=news)
        return self.token.blocked(mailer.settings.mailbox)

    def _failed(self, result: str, error: Exception, *, news: bool) -> None:
        """Logged once: an outage is a few lines, not one a message."""
        self.metrics.count("upstream_connections_total", labels(result=result))
        if news:
            self.log.event(f"upstream_{result}", level="warning", reason=str(error))
