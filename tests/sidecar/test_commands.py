"""The arguments of MAIL and RCPT."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.envelope import Recipient, Sender
from o365mailer_sidecar.smtp import commands


@pytest.mark.parametrize(
    ("argument", "expected"),
    [(b"FROM:<a@b.c>", Sender(address="a@b.c")),
     (b"from: <a@b.c>", Sender(address="a@b.c")),
     (b"FROM:a@b.c", Sender(address="a@b.c")),
     (b"FROM:<>", Sender(address="")),
     (b'FROM:<"a b>c"@d.e> SIZE=12', Sender(address='"a b>c"@d.e')),
     (b'FROM:<"a@b"@c.d>', Sender(address='"a@b"@c.d')),
     (b"FROM:<@x.y,@z.w:a@b.c>", Sender(address="a@b.c")),
     ("FROM:<ä@b.c> SMTPUTF8".encode(), Sender(address="ä@b.c", smtputf8=True)),
     ("FROM:<ä@b.c>".encode(), Sender(address="ä@b.c")),
     (b"FROM:<a@b.c> BODY=8BITMIME ret=HDRS ENVID=QQ314159",
      Sender(address="a@b.c", parameters=("RET=HDRS", "ENVID=QQ314159"))),
     (b"FROM:<a@b.c> AUTH=<>", Sender(address="a@b.c"))],
)  # fmt: skip
def test_mail_is_read(argument: bytes, expected: Sender) -> None:
    size = 12 if b"SIZE=12" in argument else 0
    assert commands.parse_sender(argument) == (expected, size)


def test_rcpt_is_read() -> None:
    argument = b"TO:<a@b.c> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@b.c"
    expected = Recipient(address="a@b.c", parameters=("NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;a@b.c"))
    assert commands.parse_recipient(argument) == expected


@pytest.mark.parametrize(
    ("argument", "reply"),
    [(b"", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
     (b"a@b.c", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
     (b"FROM:<a@b.c", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
     (b"FROM:<a@b.c>>", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
     (b"FROM:<a\x01@b.c>", "501 5.5.4 Syntax: MAIL FROM:<address> [parameters]"),
     (b"FROM:<\xff@b.c>", "501 5.5.4 The address is not UTF-8"),
     (b"FROM:<a@b.c> FOO=1", "555 5.5.4 A parameter is not supported"),
     (b"FROM:<a@b.c> SIZE=1 SIZE=2", "501 5.5.4 A parameter is given twice"),
     (b"FROM:<a@b.c> SIZE=x", "501 5.5.4 A parameter's value is malformed"),
     (b"FROM:<a@b.c> SIZE", "501 5.5.4 A parameter's value is malformed"),
     (b"FROM:<a@b.c> SMTPUTF8=1", "501 5.5.4 A parameter's value is malformed")],
)  # fmt: skip
def test_a_wrong_mail_says_what_is_wrong(argument: bytes, reply: str) -> None:
    with pytest.raises(Refused) as refusal:
        commands.parse_sender(argument)
    assert refusal.value.reply.line() == reply.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("argument", "reply"),
    [(b"TO:<>", "501 5.5.4 Syntax: RCPT TO:<address> [parameters]"),
     (b"TO:", "501 5.5.4 Syntax: RCPT TO:<address> [parameters]"),
     (b"TO:<a@b.c@d.e>", "501 5.1.3 The address has more than one @: write user@example.com"),
     (b'TO:<"a"@b.c@d.e>', "501 5.1.3 The address has more than one @: write user@example.com"),
     (b"TO:<a@b.c> NOTIFY=NEVER,DELAY", "501 5.5.4 A parameter's value is malformed"),
     (b"TO:<a@b.c> SIZE=1", "555 5.5.4 A parameter is not supported")],
)  # fmt: skip
def test_a_wrong_rcpt_says_what_is_wrong(argument: bytes, reply: str) -> None:
    with pytest.raises(Refused) as refusal:
        commands.parse_recipient(argument)
    assert refusal.value.reply.line() == reply.encode() + b"\r\n"


@given(argument=st.binary(max_size=200))
def test_what_is_handed_on_never_ends_a_line_or_an_address(argument: bytes) -> None:
    try:
        sender, _ = commands.parse_sender(b"FROM:" + argument)
    except Refused:
        return
    text = " ".join((sender.address, *sender.parameters))
    assert not any(letter < " " or letter == "\x7f" for letter in text)
    outside_quotes = "".join(sender.address.split('"')[::2]) if "\\" not in sender.address else ""
    assert not set(outside_quotes) & set("<> ")
