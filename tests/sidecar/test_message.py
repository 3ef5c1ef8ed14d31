"""What is put before the app's octets."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.exchange.parameters import mail_arguments
from o365mailer_sidecar.mail.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.mail.message import date_time, head

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
RECEIVED = b"Received: by o365mailer with ESMTP id QUEUE;\r\n\tMon, 23 Nov 2026 12:00:00 +0000\r\n"
DATE = b"Date: Mon, 23 Nov 2026 12:00:00 +0000\r\n"
IDENTITY = b"Message-ID: <QUEUE.20261123120000@b.c>\r\n"


def envelope(sender: str = "a@b.c", *, smtputf8: bool = False) -> Envelope:
    """From this sender."""
    to = (Recipient(address="x@y.z"),)
    return Envelope(queue_id="QUEUE", sender=Sender(address=sender, smtputf8=smtputf8), recipients=to)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"Subject: x\r\n\r\nDate: not a header\r\n", RECEIVED + DATE + IDENTITY),
     (b"DATE : x\r\n\r\n", RECEIVED + IDENTITY),
     (b"message-id: x\r\ndate: y\r\n\r\n", RECEIVED),
     (b"X-Date: x\r\n folded Date: y\r\n\r\n", RECEIVED + DATE + IDENTITY),
     (b"Date: x\r\n", RECEIVED + IDENTITY),
     (b"\r\nbody\r\n", RECEIVED + DATE + IDENTITY),
     (b"no header\r\n", RECEIVED + DATE + IDENTITY + b"\r\n"),
     (b"", RECEIVED + DATE + IDENTITY + b"\r\n")],
)  # fmt: skip
def test_only_what_is_absent_is_added(content: bytes, expected: bytes) -> None:
    assert head(content, envelope=envelope(), mailbox="m@d.e", now=NOON) == expected


@pytest.mark.parametrize(
    ("sender", "mailbox", "domain"),
    [("", "m@d.e", b"@d.e>"), ("ä@ö.c", "m@d.e", b"@d.e>"), ("root", "m@d.e", b"@d.e>"),
     ("", "m@ü.e", b"@o365mailer.invalid>")],
)  # fmt: skip
def test_the_message_id_has_a_domain_that_can_be_one(sender: str, mailbox: str, domain: bytes) -> None:
    assert head(b"", envelope=envelope(sender), mailbox=mailbox, now=NOON).count(domain + b"\r\n") == 1


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
    arguments = mail_arguments(
        envelope(sender, smtputf8=smtputf8),
        size=9,
        eight_bit=eight_bit,
        utf8_headers=utf8_headers,
        extensions=extensions,
    )
    assert arguments == expected


@pytest.mark.parametrize(
    ("sender", "eight_bit", "utf8_headers", "reply"),
    [("a@b.c", True, False, "554 5.6.3 The message holds 8-bit octets and the submission host takes 7-bit only"),
     ("ä@b.c", False, False, "553 5.6.7 The submission host takes ASCII addresses and headers only"),
     ("a@b.c", True, True, "554 5.6.3 The message holds 8-bit octets and the submission host takes 7-bit only")],
)  # fmt: skip
def test_what_the_host_cannot_carry_is_refused_not_recoded(
    sender: str, eight_bit: bool, utf8_headers: bool, reply: str
) -> None:
    with pytest.raises(Refused) as refusal:
        mail_arguments(
            envelope(sender, smtputf8=True), size=9, eight_bit=eight_bit, utf8_headers=utf8_headers, extensions={"size"}
        )
    assert refusal.value.reply.line() == reply.encode() + b"\r\n"


@given(
    st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # hypothesis adds the zone
    | st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(timezone(timedelta(hours=-3.5))))  # noqa: DTZ001
)
def test_a_date_is_what_the_email_package_makes_of_it(moment: datetime) -> None:
    assert date_time(moment) == format_datetime(moment)
