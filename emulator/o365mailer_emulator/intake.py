"""What happens at the end of data: take a slot of the mailbox, wait, decide, keep the message.

The message is kept before its 250 is sent, and also if the client left while its submission ran: Exchange finishes what
it has begun.
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

DICE = 2**32  # the number of values of four bytes of a fresh id


@contextmanager
def slot(service: Submission, grant: Grant, *, crowded: bool) -> Iterator[None]:
    """Holds a slot during one submission and frees it before the reply is sent. Does nothing if ``crowded``."""
    if crowded:
        yield
        return
    address = grant.mailbox.address
    ticket = service.traffic.begin(address)
    try:
        yield
    finally:
        service.traffic.end(address, ticket)


async def refusal(service: Submission, transaction: Transaction, grant: Grant, *, crowded: bool) -> str | None:
    """Waits as long as a submission takes, and returns the reply that refuses the message, or None."""
    if not crowded:
        await asyncio.sleep(_latency(service, grant))
    else:
        service.traffic.refused(grant.mailbox.address)
    mailbox = service.tenancy.mailbox(grant.mailbox.address) or grant.mailbox
    lock = mailbox.locked or service.lock(mailbox)
    if not crowded and lock:
        return replies.NAMED[lock].text
    if not crowded and not grant.right:
        return replies.NAMED["mailbox-logon"].text
    return verdict.refusal(
        content=bytes(transaction.content),
        reverse_path=transaction.reverse_path,
        mailbox=mailbox,
        settings=service.tenancy.settings,
        crowded=crowded,
    )


def keep(service: Submission, transaction: Transaction, grant: Grant, *, session: int, tls: str) -> str:
    """Puts the message into its mailbox and returns the text of its 250."""
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
    """Seconds until this submission's reply: its own time, and the delay of a mailbox that is over its pace."""
    axes, settings = service.behaviour, service.tenancy.settings
    seconds = axes.submission_seconds
    if axes.submission_jitter:
        seconds += axes.submission_jitter * (2 * int(service.fresh_id(4), 16) / DICE - 1)
    if settings.pace:
        seconds += service.traffic.late(grant.mailbox.address, pace=settings.pace, seconds=settings.pace_seconds)
    return max(seconds, 0)
