"""The result of one attempt: for the message, for each recipient, and for an app that waits.

Every way in which an attempt can end without a verdict gets its reply and its reason here.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from o365mailer_contract.replies import Outcome
from o365mailer_contract.settings import Settings
from o365mailer_sidecar import replies
from o365mailer_sidecar.errors import Blocked, Damaged, Lost, Refused, StoreFailed, Withdrawn
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.policy import policy_of
from o365mailer_sidecar.reply import Reply, shortened
from o365mailer_sidecar.upstream.attempt import Attempt
from o365mailer_sidecar.upstream.blocks import NOT_ASKED, OF_THE_MAILBOX, TOKEN_REFUSED
from o365mailer_sidecar.upstream.classify import WITHHELD, Verdicts, accepted, told
from o365mailer_sidecar.upstream.submit import Upstream

DAMAGED: Final = "damaged"
"""The reason if the message's file changed while it was sent. The relay cut the connection before the end of data."""


class RecipientVerdict(NamedTuple):
    """The outcome for one address of the app's envelope."""

    address: str
    outcome: Outcome
    reply: Reply


class Result(NamedTuple):
    """How one attempt ended."""

    reply: Reply
    """The reply for the app, unless the message is queued."""
    outcome: Outcome
    reason: str
    """The label in the log and in metrics."""
    recipients: tuple[RecipientVerdict, ...] = ()
    """Empty: the outcome is every recipient's."""
    own: bool = True
    """Whether it counts as an attempt of this message. One that the host, the mailbox or the token ended does not."""
    until: float = 0.0
    """Another attempt before this time of the event loop would fail; 0: unknown."""
    asked: bool = False
    """Whether Exchange was asked about this message. Only then can the attempt count against the message's age."""

    def of(self, envelope: Envelope) -> tuple[RecipientVerdict, ...]:
        """The verdict for every recipient of the app's envelope."""
        return self.recipients or tuple(
            RecipientVerdict(to.address, self.outcome, self.reply) for to in envelope.recipients
        )


Failed = Callable[[str, BaseException], None]
"""Logs a defect of the relay."""


async def result_of(upstream: Upstream, message: Message, attempt: Attempt, *, failed: Failed) -> Result:
    """Make one attempt. Raises nothing but CancelledError."""
    try:
        sent, verdicts = await upstream.transact(message, attempt)
        return concluded(message.envelope, sent, verdicts)
    except Refused as refusal:
        return _refused(message.envelope, refusal.reply, upstream.directory.settings)
    except Blocked as blocked:
        outcome = Outcome.UNAUTHORIZED if blocked.reason == TOKEN_REFUSED else Outcome.DEFERRED
        # What waits for the host or the token is due at once: the queue asks `Upstream.blocked` when that is.
        until = blocked.until if blocked.reason == NOT_ASKED else 0.0
        return Result(blocked.reply, outcome, blocked.reason, own=False, until=until)
    except Lost as error:
        lost = replies.NO_VERDICT if attempt.committed else replies.LOST
        reply = replies.filled(lost, reason=shortened(str(error)))
        return Result(reply, Outcome.DEFERRED, "connection-lost", asked=True)
    except (Damaged, StoreFailed) as error:
        reply = replies.filled(replies.UNREADABLE, reason=error)
        return Result(reply, Outcome.DEFERRED, DAMAGED if isinstance(error, Damaged) else "disk")
    except Withdrawn:
        return Result(replies.UNFINISHED, Outcome.DEFERRED, "withdrawn", own=False)
    except Exception as error:  # noqa: BLE001  # the app must get a reply, and never a 250 for a defect of ours
        failed("relay_failed", error)
        return Result(replies.BROKEN, Outcome.DEFERRED, "internal")


def _refused(envelope: Envelope, reply: Reply, settings: Settings | None) -> Result:
    """Policy forbids the message. If it forbids only some recipients, the message is due without them."""
    barred = [_barred(to.address, settings) for to in envelope.recipients]
    if all(barred) or not any(barred):
        return Result(reply, Outcome.REFUSED, "policy")
    recipients = tuple(
        RecipientVerdict(to.address, Outcome.REFUSED if said else Outcome.DEFERRED, said or reply)
        for to, said in zip(envelope.recipients, barred, strict=True)
    )
    return Result(reply, Outcome.REFUSED, "policy", recipients)


def _barred(address: str, settings: Settings | None) -> Reply | None:
    try:
        if settings:
            policy_of(settings).check_recipient(address)
    except Refused as refusal:
        return refusal.reply
    return None


def concluded(envelope: Envelope, sent: Envelope, verdicts: Verdicts) -> Result:
    """The result of an attempt that Exchange has answered. `sent` is the envelope that policy made of the app's."""
    decisive, found = verdicts
    reply = accepted(decisive.reply) if decisive.outcome is Outcome.ACCEPTED else told(decisive)
    if not found:
        own = decisive.outcome not in OF_THE_MAILBOX
        return Result(reply, decisive.outcome, decisive.reason, own=own, asked=True)
    outcomes = {verdict.outcome for verdict in found}
    own = not outcomes & OF_THE_MAILBOX
    if len(outcomes) == 1:
        return Result(reply, found[0].outcome, found[0].reason, own=own, asked=True)
    if len(sent.recipients) != len(envelope.recipients):  # redirected: several stand for one
        found = found[:1] * len(envelope.recipients)
    recipients = [
        RecipientVerdict(to.address, verdict.outcome, verdict.reply)
        for to, verdict in zip(envelope.recipients, found, strict=True)
    ]
    # A recipient that the app named twice, and that Exchange accepted once, has the message.
    served = {each.address: each for each in recipients if each.outcome is Outcome.ACCEPTED}
    recipients = [served.get(each.address, each) for each in recipients]
    if all(each.outcome is Outcome.ACCEPTED for each in recipients):
        return Result(reply, Outcome.ACCEPTED, "accepted", asked=True)
    first = next(verdict for verdict in found if verdict.reason not in ("accepted", WITHHELD))
    return Result(reply, first.outcome, first.reason, tuple(recipients), own=own, asked=True)
