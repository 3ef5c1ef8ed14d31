"""A message on its way out, for tests of what Exchange is told."""

from datetime import UTC, datetime

from o365mailer_contract.settings import Recipients, Senders
from o365mailer_sidecar.message.body import Body
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.outgoing import Outgoing
from o365mailer_sidecar.message.policy import Policy


def outgoing(envelope: Envelope, content: bytes = b"Subject: x\r\n\r\n") -> Outgoing:
    """From the mailbox noreply@contoso.com, which may send as itself to all recipients."""
    message = Message(envelope, Body(content), datetime.now(UTC))
    return Outgoing(Policy("noreply@contoso.com", Senders(), Recipients()).applied(message))
