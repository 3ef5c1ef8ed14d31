"""One message to Exchange and its answers, or why there are none: pool, fresh token, and when not even to ask."""

import asyncio
from typing import Final

from o365mailer_contract.quantities import seconds
from o365mailer_contract.replies import Outcome
from o365mailer_sidecar import replies
from o365mailer_sidecar.context import Context
from o365mailer_sidecar.errors import (
    Away,
    Distrusted,
    Held,
    Lost,
    NotAdmitted,
    NotReady,
    TokenRefused,
    UpstreamError,
    Withdrawn,
)
from o365mailer_sidecar.mailer import Authorities, Mailer
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.outgoing import Outgoing
from o365mailer_sidecar.message.policy import applied, policy_of
from o365mailer_sidecar.reply import Reply, shortened
from o365mailer_sidecar.smtp.connection import PATIENCE, Connection, connect
from o365mailer_sidecar.smtp.dial import Dialer
from o365mailer_sidecar.smtp.protocol import CLOSING
from o365mailer_sidecar.telemetry.metrics import labels
from o365mailer_sidecar.upstream.attempt import Attempt
from o365mailer_sidecar.upstream.blocks import (
    AWAY,
    NOT_ASKED,
    NOT_READY,
    TOKEN_REFUSED,
    Blocked,
    HostBackoff,
    RateLimit,
    TokenBackoff,
)
from o365mailer_sidecar.upstream.classify import Verdicts, classify, classify_all, told
from o365mailer_sidecar.upstream.fair_share import FairShare
from o365mailer_sidecar.upstream.guard import SendGuard, Traveller
from o365mailer_sidecar.upstream.pool import Pool

CROWDED_TRIES: Final = 6
"""Times that one message is offered to a crowded mailbox before whoever keeps it is told; each waits for its turn."""

Submitted = tuple[Envelope, Verdicts]


class Upstream:
    """Submits to what the mailer directory names."""

    def __init__(self, context: Context, *, name: str = "localhost") -> None:
        self.directory, self.clock, self.log, self.metrics = (
            context.directory,
            context.clock,
            context.log,
            context.metrics,
        )
        self.name = name
        self.authorities = Authorities()
        self.availability = HostBackoff()
        self.refused_tokens = TokenBackoff()
        self.dialer = Dialer()
        self.pool = Pool(connect=self._connect, window=FairShare(uniform=context.dice))
        self.pace = RateLimit()
        self.gate = SendGuard(monotonic=self.clock.monotonic, uniform=context.dice, log=self.log)
        self.metrics.watch("concurrency_window", lambda: self.pool.window.share(limit=self.pool.limit))
        self.metrics.watch("blocked", self.gate.open_for)

    async def transact(self, message: Message, attempt: Attempt) -> Submitted:
        """The envelope as it was sent, policy applied, and what Exchange's replies mean.

        A token that is refused is replaced once, if the directory has another by then; a connection that turns out to
        be dead is replaced once, while no octet of the message has left; a message for which the mailbox has no room
        now is offered a few times. Raises NotReady, TokenRefused, Away, Lost, Refused, Withdrawn, Held.
        """
        began, tries = self.clock.monotonic(), 0
        while True:
            tries += 1
            try:
                submitted = await self._with_newest_token(message, attempt, pace=tries == 1)
            except NotAdmitted as error:
                verdict = classify(error.reply)
                if verdict.outcome is not Outcome.THROTTLED:
                    raise
                if self._gives_up(began, tries):
                    raise Held(told(verdict), until=self.pool.window.resume_at) from None
                continue
            if submitted[1].decisive.outcome is not Outcome.THROTTLED:
                return submitted
            attempt.refused()
            if attempt.withdrawn or self._gives_up(began, tries):
                return submitted

    def _gives_up(self, began: float, tries: int) -> bool:
        """Whether a crowded mailbox was asked often enough, or its next turn is too late for an app that waits."""
        settings = self.directory.settings
        patience = seconds(settings.delivery.confirm_within) if settings else 0.0
        return tries == CROWDED_TRIES or self.pool.window.resume_at > began + patience

    async def _with_newest_token(self, message: Message, attempt: Attempt, *, pace: bool) -> Submitted:
        mailer = self.directory.mailer()
        try:
            return await self._on_live_connection(mailer, message, attempt, pace=pace)
        except TokenRefused:
            self.directory.look()
            newer = self.directory.mailer()
            if newer.token.value == mailer.token.value:
                raise
            return await self._on_live_connection(newer, message, attempt, pace=False)

    async def _on_live_connection(self, mailer: Mailer, message: Message, attempt: Attempt, *, pace: bool) -> Submitted:
        # By the settings that it is sent with, whatever was said at MAIL and RCPT; before asking whether Exchange is
        # there, because what is not allowed now will not be when it is back.
        permitted = applied(policy_of(mailer.settings), message.envelope, message.header)
        envelope, traveller = permitted.envelope, Traveller(permitted.envelope, permitted.author)
        self._check_worth_asking(mailer, traveller)
        if pace and not attempt.paced:
            await self._paced(mailer)
        mailbox, now = mailer.settings.mailbox, message.received
        outgoing = Outgoing(message.body, envelope=envelope, mailbox=mailbox, now=now, applied=permitted)
        try:
            async with self.pool.lend(mailer) as connection:
                reused = connection.messages > 0
                verdicts = await self._transact(connection, traveller, outgoing, attempt)
            # 421 on a connection that was idle is the host's right, and no verdict (RFC 5321 §3.8).
            if attempt.begun or not (reused and verdicts.decisive.reply.code == CLOSING):
                return envelope, verdicts
        except Lost:
            if not reused or attempt.begun:
                raise
        if attempt.withdrawn:
            raise Withdrawn
        async with self.pool.lend(mailer, fresh=True) as connection:
            return envelope, await self._transact(connection, traveller, outgoing, attempt)

    @property
    def _per_minute(self) -> int | None:
        return self.directory.settings.limits.messages_per_minute if self.directory.settings else None

    def reserve_moment(self, *, now: float) -> float:
        """When the next message from the spool may begin, by the mailer's pace. Both are times of the event loop."""
        return self.pace.reserve(per_minute=self._per_minute, now=now)

    def begin_spooled(self) -> None:
        """A message from the spool begins: use up the moment that was reserved."""
        self.pace.use(per_minute=self._per_minute, now=self.clock.monotonic())

    async def _paced(self, mailer: Mailer) -> None:
        """Wait for this message's moment. Raises Held when that is too late for whoever waits."""
        limit, now = mailer.settings.limits.messages_per_minute, self.clock.monotonic()
        moment = self.pace.moment(per_minute=limit, now=now)
        if moment - now > seconds(mailer.settings.delivery.confirm_within):
            words = {"limit": limit, "seconds": round(moment - now)}
            raise Held(replies.filled(replies.PACED, **words), until=moment)
        self.pace.take(moment, per_minute=limit)
        if moment > now:
            await asyncio.sleep(moment - now)

    async def _transact(
        self, connection: Connection, traveller: Traveller, outgoing: Outgoing, attempt: Attempt
    ) -> Verdicts:
        attempt.underway, began = True, self.clock.monotonic()
        try:
            with self.gate.passage(traveller):
                answers = await connection.transact(traveller.envelope, outgoing, attempt)
                self.gate.heard(traveller, answers)
        finally:
            spent = self.clock.monotonic() - began
            attempt.upstream += spent
            self.metrics.observe("upstream_seconds", spent)
        verdicts = classify_all(traveller.envelope, answers)
        if verdicts.decisive.outcome is Outcome.ACCEPTED:
            self.pool.accepted(connection, seconds=spent)
        elif verdicts.decisive.outcome is Outcome.THROTTLED:
            self.pool.crowded(connection)
        return verdicts

    def blocked(self) -> Blocked | None:
        """Why asking now is pointless; None when an attempt is worth it."""
        try:
            mailer = self.directory.mailer()
        except NotReady as error:
            reply = replies.filled(replies.NOT_READY, reason=shortened(str(error)))
            return Blocked(reason=NOT_READY, reply=reply, until=float("inf"))
        try:
            self._check_worth_asking(mailer)
        except TokenRefused as error:
            reply = replies.filled(replies.TOKEN_REFUSED, mailbox=mailer.settings.mailbox, answer=error)
            return Blocked(reason=TOKEN_REFUSED, reply=reply, until=self.refused_tokens.until)
        except Away as error:
            reply = replies.filled(replies.AWAY, reason=shortened(str(error)))
            return Blocked(reason=AWAY, reply=reply, until=self.availability.until)
        except Held as error:
            return Blocked(reason=NOT_ASKED, reply=error.reply, until=error.until)
        return None

    def _check_worth_asking(self, mailer: Mailer, traveller: Traveller | None = None) -> None:
        now = self.clock.monotonic()
        if answer := self.refused_tokens.answer_for(mailer.token.value, now=now):
            raise TokenRefused(answer)
        self.gate.belongs_to(mailer.settings.mailbox)
        self.gate.check(traveller)
        if reason := self.availability.away(now=now):
            raise Away(reason)

    async def _connect(self, mailer: Mailer) -> Connection:
        # Asked again: whoever waited for its turn in the pool may have learned meanwhile that there is no point.
        self._check_worth_asking(mailer)
        began = self.clock.monotonic()
        try:
            context = self.authorities(mailer.ca)
            connection = await connect(
                mailer,
                context=context,
                name=self.name,
                now=self.clock.now(),
                metrics=self.metrics,
                dialer=self.dialer,
            )
        except UpstreamError as error:
            if isinstance(error, NotAdmitted) and self._concerns_mailbox(error.reply):
                self.gate.check()
                raise
            self._failed(error, mailer)
            raise
        except asyncio.CancelledError:
            # The app was told to try again while nothing answered: the next one should be told at once.
            if self.clock.monotonic() - began > PATIENCE:
                self._failed(Away(f"{mailer.settings.submission.host} does not answer"), mailer)
            raise
        self.metrics.count("upstream_connections_total", 'result="opened"')
        self.refused_tokens.accepted()
        self._reached()
        return connection

    def _reached(self) -> None:
        if self.availability.succeeded():
            self.log.event("upstream_back")

    def _concerns_mailbox(self, reply: Reply) -> bool:
        """Whether the answer to AUTH speaks of the mailbox, so that the host is not away; it is taken note of."""
        verdict = classify(reply)
        if verdict.outcome is Outcome.THROTTLED:
            self.pool.crowded()
        elif verdict.outcome in (Outcome.QUOTA, Outcome.LOCKED):
            self.gate.rests(reply, verdict)
        else:
            return False
        self.metrics.count("upstream_connections_total", labels(result=verdict.outcome.value))
        self._reached()
        return True

    def _failed(self, error: UpstreamError, mailer: Mailer) -> None:
        """Remember it, and say so once: an outage is a few lines, not one a message."""
        now = self.clock.monotonic()
        if isinstance(error, TokenRefused):
            result, news = "token_refused", self.refused_tokens.refused(mailer.token.value, str(error), now=now)
        else:
            result = "distrusted" if isinstance(error, Distrusted) else "away"
            news = self.availability.failed(str(error), now=now)
        self.metrics.count("upstream_connections_total", f'result="{result}"')
        if news:
            self.log.event(f"upstream_{result}", level="warning", reason=str(error))
