"""Exchange's replies, one to each command: aiosmtplib's protocol, strict where it is lax.

aiosmtplib 5.1.3 keeps what arrives behind a reply and reads it as the next one: a second reply that comes with 354
would become the verdict on a message that is refused. It also takes the last line's code for the whole reply.
"""

import asyncio
import re
from typing import Final

from aiosmtplib import SMTPResponse, SMTPResponseException
from aiosmtplib.protocol import SMTPProtocol

REPLY: Final = re.compile(rb"(?:([2-5][0-9]{2})-[^\n]*\n(?=\1))*[2-5][0-9]{2}(?: [^\n]*|\r)?\n")
"""RFC 5321 §4.2: three digits, the same in every line. A lone LF ends a line too: nothing is at stake in a reply."""


class Hearing(SMTPProtocol):
    """Notices what is said out of turn; who drives the connection asks, and does not go on with it."""

    out_of_turn = False
    """Octets have come that no command asked for. Stays True."""

    @property
    def answered(self) -> bool:
        """Whether a reply is here that nobody has taken yet."""
        return self._response_waiter is not None and self._response_waiter.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS stands: the host's greeting was before it, so nothing is due."""
        super().connection_made(transport)
        self._response_pending = False

    def data_received(self, data: bytes) -> None:
        """A reply, or a part of it."""
        due = self._response_pending and not self.answered
        super().data_received(data)
        if not due or (self.answered and self._buffer):
            self.out_of_turn = True

    def _read_response_from_buffer(self) -> SMTPResponse | None:
        octets = bytes(self._buffer)
        response = super()._read_response_from_buffer()
        if response and not REPLY.fullmatch(octets[: len(octets) - len(self._buffer)]):
            raise SMTPResponseException(-1, "malformed")
        return response
