"""The envelope of one message: its sender, its recipients and their parameters (RFC 5321 §2.3.1).

The header of a spooled file holds `Sender` and `Recipient` as they are: their members are part of the file's format.
"""

import re
from dataclasses import dataclass, field
from typing import Final

import msgspec

from o365mailer_sidecar.reply import Reply

QUOTED: Final = r'"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"'
PLAIN: Final = r'[^\s<>"\x00-\x1f\x7f]++'
ADDRESS: Final = re.compile(rf"(?:{QUOTED}|{PLAIN})*")
"""What may stand between the angle brackets of a path: no control character, and no bracket, space or quote outside
quotes. An app's command and a file of the spool are both held to it."""


def domains(address: str) -> int:
    """How many domains one may read in it: one at most, or two readers may take two addresses for it."""
    return address.count("@") if address.count("@") < 2 else re.sub(QUOTED, "", address).count("@")


class Recipient(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One forward-path, and the DSN parameters that came with it (RFC 3461 §4.1, §4.2), as the app wrote them."""

    address: str
    parameters: tuple[str, ...] = ()


class Sender(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The reverse-path (empty for `<>`), and the parameters of MAIL that matter further on."""

    address: str
    smtputf8: bool = False
    """The app asked for internationalized addresses or headers (RFC 6531)."""
    parameters: tuple[str, ...] = ()
    """RET and ENVID (RFC 3461 §4.3, §4.4), as the app wrote them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a session hands to the relay beside the body."""

    queue_id: str
    sender: Sender
    recipients: tuple[Recipient, ...]
    protocol: str = "ESMTP"
    """For the Received line (RFC 3848)."""

    @property
    def internationalized(self) -> bool:
        """Whether an address cannot be written in ASCII."""
        return not all(path.isascii() for path in self.paths)

    @property
    def paths(self) -> tuple[str, ...]:
        """All addresses, the sender's first."""
        return (self.sender.address, *(recipient.address for recipient in self.recipients))


@dataclass(slots=True)
class EnvelopeDraft:
    """An envelope while the app is still writing it."""

    queue_id: str
    sender: Sender
    size: int
    """Bytes that the app announced; 0 when it announced none."""
    recipients: list[Recipient] = field(default_factory=list)
    refusal: Reply | None = None
    """The reply to the last recipient that was refused."""

    def envelope(self, *, protocol: str) -> Envelope:
        """The finished envelope."""
        return Envelope(
            queue_id=self.queue_id, sender=self.sender, recipients=tuple(self.recipients), protocol=protocol
        )
