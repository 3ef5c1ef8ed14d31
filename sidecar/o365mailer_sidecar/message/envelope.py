"""The envelope of a message: who sends it, to whom, and what the app asked for with it (RFC 5321 §2.3.1).

Sender and Recipient are stored as they are: they are members of the header of a spooled file.
"""

import re
from typing import Final

import msgspec

QUOTED: Final = r'"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"'
PLAIN: Final = r'[^\s<>"\x00-\x1f\x7f]++'
ADDRESS: Final = re.compile(rf"(?:{QUOTED}|{PLAIN})*")
"""What may stand between the angle brackets of a path: no control character, and no bracket, space or quote outside
quotes. An address is held to it where an app names it, where the spool is read, and where Exchange is told of it: any
other could end its place in the command, and Exchange would read another address than policy has judged."""

PARAMETER: Final = re.compile(r"[\x21-\x7e]+")
"""What a parameter of MAIL or RCPT may hold (RFC 5321 §4.1.2), for the same reason."""


def domains(address: str) -> int:
    """How many domains one may read in it: one at most, or two readers may take two addresses for it."""
    return address.count("@") if address.count("@") < 2 else re.sub(QUOTED, "", address).count("@")


class Recipient(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One forward-path."""

    address: str
    parameters: tuple[str, ...] = ()
    """NOTIFY and ORCPT (RFC 3461 §4.1, §4.2), as the app wrote them."""


class Sender(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The reverse-path, and the parameters of MAIL that go to Exchange."""

    address: str
    """Empty for `<>`."""
    smtputf8: bool = False
    """The app asked for internationalized addresses or headers (RFC 6531)."""
    parameters: tuple[str, ...] = ()
    """RET and ENVID (RFC 3461 §4.3, §4.4), as the app wrote them."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a session hands to the relay except the body."""

    queue_id: str
    sender: Sender
    recipients: tuple[Recipient, ...]
    protocol: str = "ESMTP"
    """For the Received line (RFC 3848)."""

    @property
    def internationalized(self) -> bool:
        """Whether an address cannot be written in ASCII."""
        for recipient in self.recipients:
            if not recipient.address.isascii():
                return True
        return not self.sender.address.isascii()
