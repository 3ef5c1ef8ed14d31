"""The end of data: a slot of the mailbox, the time that the submission takes, the verdict, the message kept.

The message is kept before its 250 is sent, and also for a client that left while its submission ran: what Exchange has
begun it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from o365mailer_emulator import replies, verdict
from o365mailer_emulator.bearer import Grant
from o365mailer_emulator.ledger import Message

if TYPE_CHECKING:
    from o365mailer_emulator.envelope import Transaction
    from o365mailer_emulator.submission import Submission

DICE = 2**32  # as many as four octets of a fresh id can say


@contextmanager
def slot(service: Submission, grant: Grant, *, crowded: bool) -> Iterator[None]:
    """Held for one submission, and free again before its reply is on its way; nothing for one that is ``crowded``."""
    if crowded:
        yield
        return
    address = grant.mailbox.address
    ticket = service.traffic.begin(address)
    try:
        yield
    finally:
        service.traffic.end(address, ticket)


async def judge(service: Submission, transaction: Transaction, grant: Grant, *, crowded: bool) -> str | None:
    """The reply that refuses the message, or None, after the seconds that a submission takes."""
    if not crowded:
        await asyncio.sleep(_latency(service, grant))
    else:
        service.traffic.refused(grant.mailbox.address)
    return verdict.refusal(
        content=bytes(transaction.content),
        reverse_path=transaction.reverse_path,
        mailbox=service.tenancy.mailbox(grant.mailbox.address) or grant.mailbox,
        settings=service.tenancy.settings,
        crowded=crowded,
    )


def keep(service: Submission, transaction: Transaction, grant: Grant, *, session: int, tls: str) -> str:
    """Puts the message into its mailbox; returns the words of its 250."""
    content = bytes(transaction.content)
    ledger = service.ledger
    ledger.keep(
        Message(
            number=ledger.tally.messages + 1,
            mailbox=grant.mailbox.address,
            reverse_path=transaction.reverse_path,
            recipients=transaction.recipients,
            parameters=transaction.parameters,
            content=content,
            received=service.clock(),
            token=grant.uti,
            tls=tls,
            chunked=transaction.chunked,
            session=session,
        ),
        kept=service.tenancy.settings.kept_messages,
    )
    identifier = verdict.message_id(content) or f"<{service.fresh_id(16)}@{replies.BACKEND}>"
    return replies.ACCEPTED.replace("{message_id}", identifier)


def _latency(service: Submission, grant: Grant) -> float:
    """Seconds until this submission's reply: its own time, and its turn where the mailbox is paced."""
    axes = service.behaviour
    seconds = axes.submission_seconds
    if axes.submission_jitter:
        seconds += axes.submission_jitter * (2 * int(service.fresh_id(4), 16) / DICE - 1)
    if axes.pace:
        pause = service.tenancy.settings.pace_seconds
        seconds += service.traffic.late(grant.mailbox.address, pace=axes.pace, seconds=pause)
    return max(seconds, 0)
