"""What hostile and clumsy clients say: lines, messages and fragments, as Hypothesis' strategies."""

import itertools
from typing import Final

from hypothesis import strategies as st

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


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A command with some bytes changed, and its end where it was: one command stays one.

    Never DATA, after which nothing may be said at once.
    """
    data = bytearray(draw(st.sampled_from(COMMANDS))[:-2][:200])
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    changed = bytes(data).replace(b"\n", b"")
    return (changed if changed.strip().upper() != b"DATA" else b"DATA x") + b"\r\n"


commands: Final = st.one_of(
    st.sampled_from(COMMANDS),
    st.sampled_from((*ENVELOPE, b"RSET\r\n")),  # twice as likely as the rest: order is what is at stake
    mutated(),
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"") + b"\r\n"),
)
heads: Final = st.lists(st.sampled_from(HEADS), max_size=2).map(b"".join)
bodies: Final = st.builds(
    lambda lines, giant: b"".join(lines) + b"x" * giant,
    st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)).map(b"".join), max_size=8),
    st.sampled_from((0, 0, 0, 0, 0, 0, 60_000, 80_000)),
)
cuts: Final = st.lists(st.integers(min_value=0, max_value=200), max_size=4) | st.just(list(range(200)))
"""Where bytes are cut into fragments; the last is every byte of its own, and no cut at all is one giant."""


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """In fragments."""
    edges = sorted({0, len(data), *(place for place in places if place < len(data))})
    return [data[one:other] for one, other in itertools.pairwise(edges)]
