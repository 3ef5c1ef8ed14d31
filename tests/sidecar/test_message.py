"""What is sent in place of the app's header: all changes of one table, and its body byte for byte."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_contract.settings import Recipients, Senders
from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.body import Body
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.message.outgoing import Outgoing, date_time
from o365mailer_sidecar.message.policy import Applied, Policy
from o365mailer_sidecar.smtp.transaction import mail_command

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RECEIVED = b"Received: by o365mailer with ESMTP id QUEUE;\r\n\tMon, 23 Nov 2026 12:00:00 +0000\r\n"
AUTHOR = b"From: a@b.c\r\n"
DATE = b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\n"
IDENTITY = b"Message-ID: <QUEUE.20261123120000@b.c>\r\n"


def envelope(sender: str = "a@b.c", *, smtputf8: bool = False) -> Envelope:
    """From this sender."""
    to = (Recipient(address="x@y.z"),)
    return Envelope(queue_id="QUEUE", sender=Sender(address=sender, smtputf8=smtputf8), recipients=to)


def sent(content: bytes, sent_by: Envelope | None = None, *, mailbox: str = "m@d.e") -> bytes:
    """The message as Exchange gets it."""
    message = Message(sent_by or envelope(), Body(content), NOON)
    policy = Policy(mailbox, Senders(), Recipients())
    outgoing = Outgoing(Applied(message, policy, message.envelope, author="", rewritten=False))
    arrived = b"".join(outgoing.stuffed()).replace(b"\r\n..", b"\r\n.")
    assert outgoing.size == len(arrived)
    return arrived


@pytest.mark.promise("message-unchanged")
@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"Subject: x\r\n\r\nDate: not a header\r\n", RECEIVED + AUTHOR + DATE + IDENTITY),
     (b"DATE : x\r\n\r\n", RECEIVED + AUTHOR + IDENTITY),
     (b"message-id: x\r\ndate: y\r\n\r\n", RECEIVED + AUTHOR),
     (b"message-id: x\r\ndate: y\r\nFROM : z\r\n\r\n", RECEIVED),
     (b"X-Date: x\r\n folded Date: y\r\n\r\n", RECEIVED + AUTHOR + DATE + IDENTITY),
     (b"Date: x\r\n", RECEIVED + AUTHOR + IDENTITY),
     (b"\r\nbody\r\n", RECEIVED + AUTHOR + DATE + IDENTITY),
     (b"no header\r\n", RECEIVED + AUTHOR + DATE + IDENTITY + b"\r\n"),
     (b"", RECEIVED + AUTHOR + DATE + IDENTITY + b"\r\n")],
)  # fmt: skip
def test_only_what_is_absent_is_added(content: bytes, expected: bytes) -> None:
    assert sent(content) == expected + content


@pytest.mark.promise("message-unchanged")
@pytest.mark.parametrize(
    ("sender", "author"),
    [("a@b.c", b"a@b.c"), ('"a b"@c.d', b'"a b"@c.d'), ("a@[IPv6:::1]", b"a@[IPv6:::1]"), ("", b"m@d.e"),
     ("root", b"m@d.e"), ("a(x@y.z)@b.c", b"m@d.e"), ("a,x@y.z", b"m@d.e"), ("=?utf-8?q?x?=@b.c", b"m@d.e")],
)  # fmt: skip
def test_the_author_that_is_added_is_the_reverse_path_if_every_reader_can_read_it(sender: str, author: bytes) -> None:
    arrived = sent(b"Subject: x\r\n\r\n", envelope(sender))
    assert arrived.startswith(RECEIVED + b"From: " + author + b"\r\nDate: ")


KNOWN = b"From: a@b.c\r\nDate: x\r\nMessage-ID: y\r\n"
BODY = b"\r\nBcc: x\r\nFrom y\r\n\xef\xbb\xbf\r\n"
ASCTIME = b"Mon Jan  1 00:00:00 2024\r\n"
NOT_BCC = b"X-Bcc: v\r\nBcc-X: v\r\nX: y\r\n Bcc: v\r\n"
TEXT = b"This is the text.\r\nBcc: x\r\n\r\nmore\r\n"


@pytest.mark.promise("message-unchanged")
@pytest.mark.parametrize(
    ("content", "expected"),
    [pytest.param(KNOWN + BODY, KNOWN + BODY, id="nothing"),
     pytest.param(KNOWN + b"Bcc: v@w.x\r\nTo: z\r\n" + BODY, KNOWN + b"To: z\r\n" + BODY, id="bcc"),
     pytest.param(b"bcc:v,\r\n\tw\r\nResent-Bcc :\r\n" + KNOWN + b"BCC:\r\n" + BODY, KNOWN + BODY, id="bcc-kinds"),
     pytest.param(KNOWN + NOT_BCC + BODY, KNOWN + NOT_BCC + BODY, id="no-bcc"),
     pytest.param(KNOWN + b"Bcc: v@w.x\r\n", KNOWN, id="bcc-ends-the-message"),
     pytest.param(b"From root@h " + ASCTIME + KNOWN + BODY, KNOWN + BODY, id="mbox"),
     pytest.param(b">From r remote from x\r\n folded\r\nFrom -\r\n" + KNOWN + BODY, KNOWN + BODY, id="mbox-kinds"),
     pytest.param(b"\xef\xbb\xbf" + KNOWN + BODY, KNOWN + BODY, id="bom"),
     pytest.param(b"\xef\xbb\xbfFrom x\r\n\xef\xbb\xbf" + KNOWN + BODY, KNOWN + BODY, id="bom-and-mbox"),
     pytest.param(KNOWN + TEXT, KNOWN + b"\r\n" + TEXT, id="no-empty-line"),
     pytest.param(KNOWN + b".\r\n", KNOWN + b"\r\n.\r\n", id="a-dot-instead-of-the-empty-line"),
     pytest.param(KNOWN + b"Bcc: v\r\n: no name\r\n" + TEXT, KNOWN + b"\r\n: no name\r\n" + TEXT, id="no-name"),
     pytest.param(KNOWN + b"X\x0b: y\r\n" + TEXT, KNOWN + b"\r\nX\x0b: y\r\n" + TEXT, id="no-ftext"),
     pytest.param(KNOWN + b"From x\r\n" + TEXT, KNOWN + b"\r\nFrom x\r\n" + TEXT, id="mbox-in-the-header"),
     pytest.param(KNOWN + b"X:\r\n \r\n" + BODY, KNOWN + b"X:\r\n \r\n" + BODY, id="folded-blank")],
)  # fmt: skip
def test_what_else_of_a_header_is_changed(content: bytes, expected: bytes) -> None:
    assert sent(content) == RECEIVED + expected


@pytest.mark.promise("message-unchanged")
@pytest.mark.parametrize(
    "content", [b"From now on\r\n\r\nall is well\r\n", b"\xef\xbb\xbfhello\r\n", b"From x\r\ny\r\n", b">From x\r\n"]
)
def test_text_that_begins_like_an_mbox_file_is_text(content: bytes) -> None:
    assert sent(content) == RECEIVED + AUTHOR + DATE + IDENTITY + b"\r\n" + content


@pytest.mark.promise("message-unchanged")
def test_an_mbox_line_without_a_header_after_it_is_dropped_if_it_has_a_time() -> None:
    content = b"From root@h " + ASCTIME + b"\r\nbody\r\n"
    assert sent(content) == RECEIVED + AUTHOR + DATE + IDENTITY + b"\r\nbody\r\n"


@pytest.mark.parametrize(
    ("sender", "mailbox", "domain"),
    [("", "m@d.e", b"@d.e>"), ("ä@ö.c", "m@d.e", b"@d.e>"), ("root", "m@d.e", b"@d.e>"),
     ("", "m@ü.e", b"@o365mailer.invalid>")],
)  # fmt: skip
def test_the_message_id_has_a_domain_that_can_be_one(sender: str, mailbox: str, domain: bytes) -> None:
    assert sent(b"", envelope(sender), mailbox=mailbox).count(domain + b"\r\n") == 1


def announced(sent_by: Envelope, **needs: bool) -> Outgoing:
    """A message of 9 bytes with these needs, as far as MAIL says them."""
    return cast(Outgoing, SimpleNamespace(envelope=sent_by, size=9, utf8_written=False, **needs))


@pytest.mark.parametrize(
    ("sender", "smtputf8", "eight_bit", "utf8_headers", "extensions", "expected"),
    [("a@b.c", False, False, False, {"size"}, [b"FROM:<a@b.c>", b"SIZE=9"]),
     ("", False, True, False, {"8bitmime"}, [b"FROM:<>", b"BODY=8BITMIME"]),
     ("a@b.c", True, False, False, {"smtputf8"}, [b"FROM:<a@b.c>", b"SMTPUTF8"]),
     ("ä@b.c", False, False, False, {"smtputf8"}, ["FROM:<ä@b.c>".encode(), b"SMTPUTF8"]),
     ("a@b.c", True, False, False, set(), [b"FROM:<a@b.c>"])],
)  # fmt: skip
def test_mail_says_what_the_host_announced(
    sender: str, smtputf8: bool, eight_bit: bool, utf8_headers: bool, extensions: set[str], expected: list[bytes]
) -> None:
    message = announced(envelope(sender, smtputf8=smtputf8), eight_bit=eight_bit, utf8_headers=utf8_headers)
    assert mail_command(message, extensions).split() == [b"MAIL", *expected]


@pytest.mark.parametrize(
    ("sender", "eight_bit", "utf8_headers", "reply"),
    [("a@b.c", True, False, "554 5.6.3 The message holds 8-bit text and the submission host takes 7-bit only"),
     ("ä@b.c", False, False, "553 5.6.7 The submission host takes ASCII addresses and headers only"),
     ("a@b.c", True, True, "554 5.6.3 The message holds 8-bit text and the submission host takes 7-bit only")],
)  # fmt: skip
def test_what_the_host_cannot_carry_is_refused_not_recoded(
    sender: str, eight_bit: bool, utf8_headers: bool, reply: str
) -> None:
    with pytest.raises(Refused) as refusal:
        mail_command(
            announced(envelope(sender, smtputf8=True), eight_bit=eight_bit, utf8_headers=utf8_headers), {"size"}
        )
    assert refusal.value.reply.line() == reply.encode() + b"\r\n"


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone
    | st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(timezone(timedelta(hours=-3.5))))  # noqa: DTZ001
)
def test_a_date_is_what_the_email_package_makes_of_it(moment: datetime) -> None:
    assert date_time(moment) == format_datetime(moment)
