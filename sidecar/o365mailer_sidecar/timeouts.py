"""How long the relay waits for each step, towards Exchange and towards apps: one table, with the source of each figure.

RFC 5321 §4.5.3.2 has the least that a client should wait. The relay keeps to it from MAIL on, where hanging up may cost
a message. Before MAIL only the app's wait is at stake, and one name has several front ends: those steps get seconds,
and a new attempt goes to another address.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """All in seconds."""

    # --- To Exchange, before a message ---

    resolve: float = 10.0
    """For the name. The C library asks each server of resolv.conf twice, 5 s each: enough for one server."""
    connect: float = 4.0
    """For TCP with one address. The kernel repeats the SYN after 1 s and 3 s."""
    all_addresses: float = 30.0
    """For TCP with all addresses together."""
    greeting: float = 30.0
    """For the 220. RFC 5321 §4.5.3.2.1 has 5 minutes, for hosts that greet late under load; Exchange answers 4xx."""
    ehlo: float = 30.0
    """For the reply to EHLO, in clear and under TLS. The RFC has no figure; as for the greeting."""
    starttls: float = 30.0
    """For the 220 to STARTTLS. RFC 3207 has no figure; as for the greeting."""
    tls: float = 30.0
    """For the handshake."""
    auth: float = 60.0
    """For each reply to AUTH. RFC 4954 has no figure; Exchange asks Entra and the mailbox's server first."""

    # --- To Exchange, from MAIL on ---

    mail: float = 300.0
    """RFC 5321 §4.5.3.2.2."""
    rcpt: float = 300.0
    """RFC 5321 §4.5.3.2.3, for each."""
    data: float = 120.0
    """For the 354: RFC 5321 §4.5.3.2.4."""
    block: float = 180.0
    """For the host to take a block of the message: RFC 5321 §4.5.3.2.5."""
    final: float = 600.0
    """For the reply to the end of data: RFC 5321 §4.5.3.2.6. A client that gives up sooner sends the mail twice."""
    rest: float = 3.0
    """For replies that change nothing, such as RSET's: the verdict is known, and the app waits for it."""
    quit: float = 1.0
    """For the reply to QUIT. It changes nothing, and the connection counts for the mailbox until it is closed."""

    # --- To apps ---

    idle: float = 300.0
    """Without a byte from the app, in a message or between commands: RFC 5321 §4.5.3.2.7."""
    farewell: float = 10.0
    """For an app to read the last reply. An app that never reads would keep its session for ever."""
    last_words: float = 1.0
    """After the grace, when the process ends, for the 451 of a withdrawn message to leave."""

    # --- To clients of the health port ---

    request: float = 5.0
    """For a request to arrive and its answer to leave. The postStart hook waits 1 s, Prometheus 10 s."""


TIMEOUTS: Final = Timeouts()
