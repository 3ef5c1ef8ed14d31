"""What hostile and clumsy clients say: lines, messages and fragments, chosen by a seeded die."""

import itertools
import random
from typing import Final

COMMANDS: Final = (
    *(b"EHLO x\r\n", b"HELO x\r\n", b"EHLO\r\n", b"NOOP\r\n", b"NOOP x\r\n", b"RSET\r\n", b"RSET x\r\n", b"HELP\r\n"),
    *(b"VRFY x\r\n", b"EXPN x\r\n", b"STARTTLS\r\n", b"QUIT x\r\n", b"\r\n", b"FROB\r\n", b" \r\n", b"\xc3\xa4\r\n"),
    *(b"MAIL FROM:<noreply@contoso.com>\r\n", b"mail from:<noreply@contoso.com> SIZE=10 BODY=8BITMIME\r\n"),
    *(b"MAIL FROM:<>\r\n", b"MAIL FROM:<boss@contoso.com>\r\n", b"MAIL\r\n", b"MAIL FROM:<a@b> FOO=1\r\n"),
    *(b"MAIL FROM:<noreply@contoso.com> SIZE=99999999999999999999\r\n", b"MAIL FROM:<\xe4@b.c>\r\n"),
    *(b"RCPT TO:<a@example.com>\r\n", b"RCPT TO:<>\r\n", b"RCPT TO:<@a,@b:c@d.e> NOTIFY=NEVER\r\n", b"RCPT TO:a@b\r\n"),
    *(b'RCPT TO:<"a b>"@example.com>\r\n', b"RCPT TO:<a@b> ORCPT=rfc822;x+2B\r\n", b"RCPT TO:<gr\xc3\xbc@x.de>\r\n"),
    *(b"DATA x\r\n", b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n", b"AUTH LOGIN YQ==\r\n", b"AUTH PLAIN AGEAYg==\r\n"),
    *(
        b"AUTH CRAM-MD5\r\n",
        b"*\r\n",
        b"YQ==\r\n",
        b"NOOP " + b"x" * 2500 + b"\r\n",
        b"AUTH PLAIN " + b"A" * 9000 + b"\r\n",
    ),
)
FATAL: Final = (
    *(b"QUIT\r\n", b"NOOP\n", b"NO\rOP\r\n", b"NO\0OP\r\n", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\n", b"\n"),
    *(b"POST http://127.0.0.1:25/ HTTP/1.1\r\n", b"CONNECT x:25\r\n", b"PRI * HTTP/2.0\r\n"),
)
"""Each ends its session."""

ENVELOPE: Final = (b"EHLO x\r\n", b"MAIL FROM:<noreply@contoso.com>\r\n", b"RCPT TO:<a@example.com>\r\n")
LINES: Final = (
    *(b"", b".", b"..", b"...", b". ", b".\t", b"From x", b"\xff\xfe", b"x" * 998, b"x" * 5000, b"MAIL FROM:<a@b>"),
    *(b"QUIT", b"\t", b"caf\xc3\xa9", b"BDAT 3 LAST", b"DATA", b"Subject: y"),
)
ENDS: Final = (
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r",
    b"\0\r\n",
    b"\n.\n",
    b"\r.\r",
)
HEADS: Final = (
    b"From: boss@contoso.com\r\n",
    b"From: a, b\r\n",
    b"no header\r\n",
    b"\r\n",
    b"Received: x\r\n",
    b" y\r\n",
)


def command(die: random.Random) -> bytes:
    """A line; one in eight is mutated."""
    line = die.choice(COMMANDS)
    return mutated(die, line) if die.random() < 0.12 else line


def mutated(die: random.Random, line: bytes) -> bytes:
    """The line with some octets changed, and its end where it was: one command stays one.

    Never DATA, behind which nothing may be said at once.
    """
    octets = bytearray(line[:-2][:200])
    for _ in range(die.randint(1, 3)):
        place = die.randrange(len(octets) + 1)
        octets[place : place + die.randint(0, 2)] = die.randbytes(die.randint(0, 2))
    changed = bytes(octets).replace(b"\n", b"")
    return (changed if changed.strip().upper() != b"DATA" else b"DATA x") + b"\r\n"


def message(die: random.Random, name: str) -> bytes:
    """What follows 354, its end among it; the name makes it known to whoever finds it."""
    head = b"Subject: %s\r\n" % name.encode()
    if die.random() < 0.2:
        head += die.choice(HEADS)
    lines = [die.choice(LINES) + (die.choice(ENDS) if die.random() < 0.2 else b"\r\n") for _ in range(die.randrange(8))]
    if die.random() < 0.01:
        lines.append(b"x" * die.choice((60_000, 80_000)) + b"\r\n")
    return head + b"\r\n" + b"".join(lines) + b"\r\n.\r\n"


def fragments(die: random.Random, octets: bytes) -> list[bytes]:
    """The same octets in giant, tiny or odd pieces."""
    kind = die.random()
    if kind < 0.5:
        return [octets]
    if kind < 0.55 and len(octets) < 300:
        return [octets[place : place + 1] for place in range(len(octets))]
    places = sorted({0, len(octets), *(die.randrange(len(octets) + 1) for _ in range(die.randint(1, 3)))})
    return [octets[one:other] for one, other in itertools.pairwise(places)]
