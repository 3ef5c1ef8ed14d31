"""One mail, from its end of data on: every part of the relay hands on the same object."""

from datetime import datetime

from o365mailer_sidecar.message.body import Body
from o365mailer_sidecar.message.envelope import Envelope
from o365mailer_sidecar.message.header import Header


class Message:
    """What an app sent, and when. Nothing changes it on its way; `Outgoing` makes what Exchange gets of it."""

    __slots__ = ("body", "envelope", "header", "received")

    def __init__(self, envelope: Envelope, body: Body, received: datetime) -> None:
        self.envelope, self.body = envelope, body
        self.received = received
        """When the relay had all of it, UTC: its Received, Date and Message-ID are the same in every attempt."""
        self.header = Header(body.content)

    @property
    def queue_id(self) -> str:
        """Its name in replies, Received, log and spool."""
        return self.envelope.queue_id
