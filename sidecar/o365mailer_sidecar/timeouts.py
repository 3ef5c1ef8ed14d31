"""How long each step is waited for, on both sides: one table, with where each figure comes from.

RFC 5321 §4.5.3.2 names the least that a client should wait. It is kept from MAIL on, where hanging up may cost a
message. Before MAIL nothing is at stake but the wait itself, which an app with its ten seconds sees, and behind one
name there are several front ends: those steps get seconds, and a new attempt goes to another address.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """All in seconds."""

    # --- To Exchange, before a message ---

    resolve: float = 10.0
    """For the name. The C library asks each server of resolv.conf twice, 5 s each; past two of those it is away."""
    connect: float = 4.0
    """For TCP with one address, before the next is tried; SYN is repeated after 1 s and 3 s."""
    all_addresses: float = 30.0
    """For TCP with any of them."""
    greeting: float = 30.0
    """For the 220. RFC 5321 §4.5.3.2.1 has 5 minutes, for hosts that greet late under load; Exchange answers 4xx."""
    ehlo: float = 30.0
    """For the reply to EHLO, in clear and under TLS. The RFC has no figure; as for the greeting."""
    starttls: float = 30.0
    """For the 220 to STARTTLS. RFC 3207 has no figure; as for the greeting."""
    tls: float = 30.0
    """For the handshake."""
    auth: float = 60.0
    """For each reply to AUTH. RFC 4954 has no figure; Exchange asks Entra and the mailbox's server meanwhile."""

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
    """For the reply to the end of data, or to a chunk: RFC 5321 §4.5.3.2.6. Cut short it means two mails."""
    rest: float = 3.0
    """For replies that decide nothing any more, RSET's among them: the verdict is known, and the app waits for it."""
    quit: float = 1.0
    """For the reply to QUIT: it changes nothing, and the connection counts for the mailbox until it is closed."""

    # --- To apps ---

    idle: float = 300.0
    """Without an octet from the app, in a message or between commands: RFC 5321 §4.5.3.2.7."""
    farewell: float = 10.0
    """For an app that was told goodbye to read it; one that never does would keep its place for ever."""
    last_words: float = 1.0
    """Beyond the grace, when the process ends: a withdrawn message's 451 may leave."""

    # --- To clients of the health port ---

    request: float = 5.0
    """For a request to arrive and its answer to leave; the postStart hook waits 1 s, Prometheus 10 s."""


TIMEOUTS: Final = Timeouts()
