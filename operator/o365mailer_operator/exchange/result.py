"""What one login attempt found: how far it came, and why no further. Pure."""

import enum
import re
from dataclasses import dataclass
from typing import Final

from o365mailer_contract.replies import Outcome, Rule, rule_for
from o365mailer_operator.exchange.certificate import Peer
from o365mailer_operator.printable import printable

LONGEST_TEXT: Final = 200
"""Characters of a reply that are shown. Exchange appends up to 3 KB of diagnostics, with addresses in them."""


class Stage(enum.StrEnum):
    """The stages of a login in their order."""

    DNS = "dns"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    TLS = "tls"
    EHLO_IN_TLS = "ehlo-in-tls"
    """RFC 3207 §4.2: the client asks again what the host offers."""
    AUTH = "auth"
    DONE = "done"
    """Every stage that was asked for worked."""


class Fault(enum.StrEnum):
    """Why an attempt ended without a reply that says so. The values are reasons, as those of `contract/replies.py`."""

    UNKNOWN_HOST = "dns-unknown"
    """The name servers say that there is no such name, or no address of it."""
    DNS_SILENT = "dns-silent"
    """The name servers do not answer, or cannot."""
    REFUSED = "connection-refused"
    UNREACHABLE = "unreachable"
    """The network has no route, or forbids it."""
    SILENT = "silent"
    """No answer in time."""
    CLOSED = "closed"
    """The connection ended."""
    NO_SMTP = "no-smtp"
    """What came is no SMTP."""
    NO_STARTTLS = "no-starttls"
    INJECTED = "injected"
    """Bytes came in clear together with the reply to STARTTLS (RFC 3207 §6)."""
    UNTRUSTED = "tls-untrusted"
    """No trusted authority signed the certificate."""
    WRONG_NAME = "tls-name"
    """The certificate is for other names."""
    EXPIRED = "tls-expired"
    NOT_YET_VALID = "tls-not-yet-valid"
    TLS = "tls-failed"
    """Any other failure of the handshake."""
    NO_XOAUTH2 = "no-xoauth2"
    """Under TLS, the host does not offer AUTH XOAUTH2."""


@dataclass(frozen=True)
class Reply:
    """An SMTP reply: its code, its enhanced code (RFC 3463, empty if there is none) and its text in one line."""

    code: int
    enhanced: str
    text: str

    @classmethod
    def of(cls, code: int, message: str) -> "Reply":
        """The reply of a code and its lines."""
        lines = [re.fullmatch(r"(?:([245]\.\d{1,3}\.\d{1,3})[ \t]+)?(.*)", line) for line in message.splitlines()]
        found = [line for line in lines if line]
        enhanced = next((line[1] for line in found if line[1]), "")
        text = " ".join(line[2] for line in found if line[2])
        return cls(code, enhanced, printable(text, longest=None))

    @property
    def rule(self) -> Rule:
        """What the reply means."""
        return rule_for(self.code, self.enhanced, self.text)

    def __str__(self) -> str:
        text = self.text.partition("[BeginDiagnosticData]")[0]
        shown = f"{text[:LONGEST_TEXT].rstrip()}…" if len(text) > LONGEST_TEXT else text.rstrip()
        return " ".join(part for part in (str(self.code), self.enhanced, shown) if part)


@dataclass(frozen=True, kw_only=True)
class LoginResult:
    """What one attempt found. Exactly one of `fault` and `reply` is set if it failed, none if all of it worked."""

    host: str
    port: int
    private: bool = False
    """Whether only authorities that the mailer names were trusted."""
    stage: Stage
    """Where it ended; DONE if all that was asked for worked."""
    fault: Fault | None = None
    reply: Reply | None = None
    """The reply that ended it."""
    detail: str = ""
    """The system's or TLS' own words for the fault."""
    addresses: tuple[str, ...] = ()
    """What DNS said."""
    peer: Peer | None = None
    """Who the host is, by its certificate; with the fault UNTRUSTED, who it claims to be."""
    seconds: float = 0.0

    @property
    def place(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def ok(self) -> bool:
        """Whether all that was asked for worked."""
        return self.stage is Stage.DONE

    @property
    def rule(self) -> Rule | None:
        """What the reply that ended it means."""
        return self.reply.rule if self.reply else None

    @property
    def reason(self) -> str:
        """One word: of `Fault`, of `contract/replies.py`, or `accepted`."""
        if self.fault:
            return self.fault.value
        return self.rule.reason if self.rule else "accepted"

    @property
    def refused(self) -> bool:
        """Whether Exchange refused the login itself. Time alone does not heal it, unless rights are still spreading."""
        return self.stage is Stage.AUTH and self.rule is not None and self.rule.outcome in _VERDICTS

    @property
    def busy(self) -> bool:
        """Whether Exchange said "not now" (432, 421, 451): it says nothing about the right to log in."""
        return self.rule is not None and self.rule.outcome not in _VERDICTS


_VERDICTS: Final = frozenset({Outcome.UNAUTHORIZED, Outcome.REFUSED, Outcome.LOCKED})
