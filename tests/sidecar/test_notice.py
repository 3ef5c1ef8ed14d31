"""What a notice says, and to whom."""

import tracemalloc
from datetime import UTC, datetime

import pytest

from o365mailer_sidecar.message.body import Body
from o365mailer_sidecar.message.envelope import Envelope, Recipient, Sender
from o365mailer_sidecar.message.message import Message
from o365mailer_sidecar.queue.notice import LISTED, Failure, addressee, composed, envelope_for

RECEIVED = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def message(head: bytes, sender: str = "app@contoso.com") -> Message:
    """To one recipient, with these header fields."""
    to = (Recipient(address="a@example.com"),)
    envelope = Envelope(queue_id="Q1", sender=Sender(address=sender), recipients=to)
    return Message(envelope, Body(head + b"\r\n"), RECEIVED)


def failures(*parameters: str) -> list[Failure]:
    """Of that one."""
    return [Failure(Recipient(address="a@example.com", parameters=parameters), "550 5.1.10 not found")]


@pytest.mark.promise("failed-mail-is-reported")
@pytest.mark.parametrize(
    ("sender", "head", "parameters", "notify", "expected"),
    [("app@contoso.com", b"", (), "sender", "app@contoso.com"),
     ("app@contoso.com", b"", (), "ops@contoso.com", "ops@contoso.com"),
     ("app@contoso.com", b"", (), None, None),
     ("", b"", (), "ops@contoso.com", None),
     ("app@contoso.com", b"", ("NOTIFY=NEVER",), "sender", None),
     ("app@contoso.com", b"", ("NOTIFY=SUCCESS",), "sender", None),
     ("app@contoso.com", b"", ("NOTIFY=SUCCESS,FAILURE",), "sender", "app@contoso.com"),
     ("app@contoso.com", b"Auto-Submitted: no\r\n", (), "sender", "app@contoso.com"),
     ("app@contoso.com", b"Auto-Submitted: no (a person)\r\nTo: x\r\n", (), "sender", "app@contoso.com"),
     ("app@contoso.com", b"To: x\r\nauto-submitted:\r\n auto-replied\r\n", (), "sender", None),
     ("app@contoso.com", b"Auto-Submitted: notably\r\n", (), "sender", None),
     ("app@contoso.com", b"Content-Type:multipart/report; x=y\r\n", (), "sender", None),
     ("app@contoso.com", b"Content-Type: multipart/reported\r\n", (), "sender", "app@contoso.com"),
     ("app@contoso.com", b"X-Auto-Submitted: auto-replied\r\n", (), "sender", "app@contoso.com")],
)  # fmt: skip
def test_who_is_told(
    sender: str, head: bytes, parameters: tuple[str, ...], notify: str | None, expected: str | None
) -> None:
    assert addressee(message(head, sender), failures(*parameters), notify=notify) == expected


@pytest.mark.promise("failed-mail-is-reported")
def test_there_is_no_notice_about_a_notice() -> None:
    sent = envelope_for("ops@contoso.com", mailbox="noreply@contoso.com", queue_id="Q2")
    content = composed(message(b""), failures(), mailbox="noreply@contoso.com", to="ops@contoso.com")
    head = content.partition(b"\r\n\r\n")[0] + b"\r\n"
    assert addressee(Message(sent, Body(head), RECEIVED), failures(), notify="ops@contoso.com") is None
    assert addressee(message(head), failures(), notify="ops@contoso.com") is None, "nor if it had a sender"
    assert sent.sender.address == ""
    assert sent.recipients[0].parameters == ("NOTIFY=NEVER",)


@pytest.mark.promise("failed-mail-is-reported")
def test_headers_of_the_original_cannot_make_headers_of_the_notice() -> None:
    head = (
        b"Subject: a\r\n\tb\x07\r\nMessage-ID: <x@y>\r\n <z@w>\r\nTo: "
        + b"t" * 2000
        + b"\r\nBcc: hidden@example.com\r\n"
    )
    content = composed(message(head), failures(), mailbox="noreply@contoso.com", to="app@contoso.com")
    headers, _, body = content.partition(b"\r\n\r\n")
    assert [line.partition(b":")[0] for line in headers.split(b"\r\n")] == [
        b"From", b"To", b"Subject", b"Auto-Submitted", b"MIME-Version", b"Content-Type", b"Content-Transfer-Encoding",
    ]  # fmt: skip
    assert b"Subject: Undelivered: a b\r\n" in headers
    assert b"hidden" not in content
    assert max(len(line) for line in content.split(b"\r\n")) < 998
    assert body.endswith(b"\r\n")


HOSTILE = {
    "one long line": b"Subject: " + b"s" * 250_000 + b"\r\n",
    "folded at every byte": b"Subject: " + b"\r\n s" * 60_000 + b"\r\n",
    "folded and empty": b"Subject:" + b"\r\n " * 80_000 + b"\r\n",
    "spaces before the colon": b"Subject" + b" " * 250_000 + b": s\r\n",
    "many words": b"Subject: " + b"s " * 125_000 + b"\r\n",
    "many fields": b"Subject: s\r\n" * 20_000,
    "nearly automatic": b"Auto-Submitted:" + b"\r\n " * 80_000 + b"no\r\n",
    "8-bit": b"Subject: " + b"\xff\xf0" * 125_000 + b"\r\n",
}


@pytest.mark.promise("failed-mail-is-reported")
@pytest.mark.parametrize("head", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_takes_little_memory_and_a_notice_stays_small(head: bytes) -> None:
    failed = [Failure(Recipient(address=f"{number}@example.com"), "550 " + "x" * 900) for number in range(1000)]
    failing = message(head)
    tracemalloc.start()
    try:
        to = addressee(failing, failed, notify="ops@contoso.com")
        content = composed(failing, failed, mailbox="noreply@contoso.com", to="ops@contoso.com")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert to == "ops@contoso.com"
    assert peak < 2**20
    assert len(content) < 2**17
    assert content.count(b"@example.com>: 550 xxx") == LISTED
    assert b"  and 900 more (`spool show Q1` lists all)\r\n" in content
    assert max(len(line) for line in content.split(b"\r\n")) < 998


@pytest.mark.promise("failed-mail-is-reported")
@pytest.mark.parametrize(
    ("to", "mailbox", "needed"),
    [("ops@contoso.com", "noreply@contoso.com", False),
     ("\xf8ps@contoso.com", "noreply@contoso.com", True),
     ("ops@contoso.com", "gr\xfc\xdfe@contoso.com", True)],
)  # fmt: skip
def test_a_notice_asks_for_smtputf8_when_an_address_of_it_needs_it(to: str, mailbox: str, needed: bool) -> None:
    assert envelope_for(to, mailbox=mailbox, queue_id="Q2").sender.smtputf8 is needed


def test_a_subject_that_is_not_ascii_stays_in_the_text() -> None:
    head = "Subject: Grüße\r\n".encode()
    content = composed(message(head), failures(), mailbox="noreply@contoso.com", to="app@contoso.com")
    headers, _, body = content.partition(b"\r\n\r\n")
    assert b"Subject: Undelivered mail\r\n" in headers
    assert headers.isascii()
    assert headers.endswith(b"Content-Transfer-Encoding: 8bit")
    assert "Grüße".encode() in body
